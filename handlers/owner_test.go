package handlers

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"drydock/model"
)

// declare puts a pool of hosts that somebody else's rules apply to.
func (h *harness) declare(name string, hosts int, change func(*model.Blueprint)) {
	h.t.Helper()
	raw, err := json.Marshal(poolConfig(hosts, 1))
	if err != nil {
		h.t.Fatal(err)
	}
	bp := &model.Blueprint{Namespace: h.ns, Name: name, Kind: "pool", Type: "host", Enabled: true, Config: raw}
	change(bp)
	h.putBlueprint(bp)
}

func (h *harness) leasesOf(owner string, n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = h.lease(model.NewLease{Owner: owner})
	}
	return ids
}

func (h *harness) states(ids []string) map[model.LeaseState]int {
	h.t.Helper()
	counts := map[model.LeaseState]int{}
	for _, id := range ids {
		counts[h.readLease(id).Status]++
	}
	return counts
}

func (h *harness) decide(blueprint, owner string, status model.AuthorizationStatus, reason string) *model.Authorization {
	h.t.Helper()
	a, wake, err := h.store.Authorize(h.ctx, model.Authorization{
		Namespace: h.ns, Blueprint: blueprint, Owner: owner, Status: status, Author: "olga", Reason: reason,
	})
	if err != nil {
		h.t.Fatal(err)
	}
	_ = h.Enqueue(h.ctx, wake...)
	return a
}

func TestQuotaHoldsBackOneOwnerAndNobodyElse(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.declare("lab", 5, func(bp *model.Blueprint) { bp.Quota = 2 })
	ada := h.leasesOf("ada", 4)
	bob := h.leasesOf("bob", 1)
	h.drain()
	if got := h.states(ada); got[model.LeaseActive] != 2 || got[model.LeasePending] != 2 {
		t.Fatalf("ada's leases are %v, want 2 active and 2 pending", got)
	}
	h.wantLease(bob[0], model.LeaseActive)
	if n := len(h.resources(model.ResourceActive)); n != 3 {
		t.Errorf("%d resources were made, want 3: none for a lease that may not have it", n)
	}
	w := h.readLease(ada[3]).Waiting
	if want := `lab: owner "ada" has all of its quota of 2`; !strings.Contains(w.Reason, want) {
		t.Errorf("reason %q, want one with %q", w.Reason, want)
	}
	h.verify()

	// The event alone serves the next one, in order.
	h.releaseLease(ada[0])
	h.drain()
	h.wantLease(ada[2], model.LeaseActive)
	h.wantLease(ada[3], model.LeasePending)
	// A larger quota is an event too.
	h.declare("lab", 5, func(bp *model.Blueprint) { bp.Quota = 3 })
	h.drain()
	h.wantLease(ada[3], model.LeaseActive)
	h.verify()
}

// TestOwnerAtQuotaDoesNotHoldUpOthers: everybody asks for the same, the first in the queue may not have it.
func TestOwnerAtQuotaDoesNotHoldUpOthers(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.declare("lab", 2, func(bp *model.Blueprint) { bp.Quota = 1 })
	ada := h.leasesOf("ada", 1)
	carl := h.leasesOf("carl", 1)
	h.drain()
	more := h.leasesOf("ada", 3)
	bob := h.leasesOf("bob", 2)
	h.drain()
	h.releaseLease(carl[0])
	h.drain()
	h.wantLease(bob[0], model.LeaseActive)
	if got := h.states(more); got[model.LeasePending] != 3 {
		t.Errorf("ada's other leases are %v, want all pending", got)
	}
	h.releaseLease(ada[0])
	h.drain()
	h.wantLease(more[0], model.LeaseActive)
	h.wantLease(bob[1], model.LeasePending)
	h.verify()
}

func TestQuotaOfOneBlueprintLeavesTheOther(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.declare("narrow", 3, func(bp *model.Blueprint) { bp.Quota = 1 })
	h.declare("wide", 1, func(*model.Blueprint) {})
	ids := h.leasesOf("ada", 3)
	h.drain()
	if got := h.states(ids); got[model.LeaseActive] != 2 {
		t.Fatalf("leases are %v, want 2 active: one on each blueprint", got)
	}
	bob := h.leasesOf("bob", 2)
	h.drain()
	// Ada's third waits for "wide" and must not stand between bob and "narrow".
	if got := h.states(bob); got[model.LeaseActive] != 1 {
		t.Errorf("bob's leases are %v, want one active", got)
	}
	h.verify()
}

func TestOwnersThatABlueprintDoesNotList(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.declare("lab", 2, func(bp *model.Blueprint) { bp.Authorize = model.Authorize{Only: true, Owners: []string{"ada"}} })
	eve, ada := h.leasesOf("eve", 1), h.leasesOf("ada", 1)
	h.drain()
	h.wantLease(ada[0], model.LeaseActive)
	if w := h.wantLease(eve[0], model.LeasePending).Waiting; !strings.Contains(w.Reason, `"eve" is not among the owners`) {
		t.Errorf("reason %q", w.Reason)
	}
	h.declare("lab", 2, func(bp *model.Blueprint) { bp.Authorize = model.Authorize{Only: true, Owners: []string{"eve"}} })
	h.drain()
	h.wantLease(eve[0], model.LeaseActive)
	h.wantLease(ada[0], model.LeaseActive) // to be taken off the list ends no lease
	h.verify()
}

func TestAuthorizationIsRequestedApprovedAndRevoked(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.declare("lab", 3, func(bp *model.Blueprint) { bp.Authorize = model.Authorize{Request: true} })
	ids := h.leasesOf("ada", 2)
	bob := h.leasesOf("bob", 1)
	h.drain()
	page, err := h.store.Authorizations(h.ctx, h.ns, model.AuthorizationFilter{Status: model.AuthorizationRequested, Limit: 10})
	if err != nil || len(page.Items) != 2 || page.Items[0].Owner != "ada" || page.Items[1].Owner != "bob" {
		t.Fatalf("requested are %+v, %v, want ada's and bob's", page.Items, err)
	}
	if w := h.wantLease(ids[0], model.LeasePending).Waiting; !strings.Contains(w.Reason, "waits for an operator's approval") {
		t.Errorf("reason %q", w.Reason)
	}
	h.decide("lab", "ada", model.AuthorizationApproved, "")
	h.drain()
	h.wantLease(ids[0], model.LeaseActive)
	h.wantLease(ids[1], model.LeaseActive)
	h.wantLease(bob[0], model.LeasePending)
	h.verify()

	// Revoking ends no lease, and says how many live on.
	if a := h.decide("lab", "ada", model.AuthorizationDeclined, "the project is over"); a.Leases != 2 {
		t.Errorf("%d leases live on by the record, want 2", a.Leases)
	}
	late := h.leasesOf("ada", 1)
	h.drain()
	h.wantLease(ids[0], model.LeaseActive)
	h.wantLease(late[0], model.LeaseDestroyed)
	if log := h.logText(model.LeaseRef(h.ns, late[0])); !strings.Contains(log, `broken: no blueprint may serve it: lab: owner "ada" was declined`) {
		t.Errorf("log:\n%s", log)
	}
	h.decide("lab", "bob", model.AuthorizationDeclined, "")
	h.drain()
	h.wantLease(bob[0], model.LeaseDestroyed)
	h.verify()
}

// TestQuotaCountsWhatIsBeingMade: leases that a resource is being made for count, so that none is made in vain.
func TestQuotaCountsWhatIsBeingMade(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	bp := &model.Blueprint{Namespace: h.ns, Name: "slow", Kind: "scripted", Type: "host", Quota: 2, Enabled: true, Config: json.RawMessage("{}")}
	h.putBlueprint(bp)
	ids := h.leasesOf("ada", 5)
	for _, id := range ids {
		if err := h.updater.Update(h.ctx, model.LeaseRef(h.ns, id)); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(h.resources(model.ResourcePending)); n != 2 {
		t.Fatalf("%d resources are being made, want 2", n)
	}
	// One that was allocated for goes away before it could take it: its reservation goes to the next.
	h.releaseLease(ids[0])
	h.drain()
	if got := h.states(ids); got[model.LeaseActive] != 2 || got[model.LeasePending] != 2 {
		t.Errorf("leases are %v, want 2 active and 2 pending: %s", got, fmt.Sprint(h.resources("")))
	}
	h.verify()
}

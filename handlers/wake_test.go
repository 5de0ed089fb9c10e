package handlers

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"drydock/blueprints"
	"drydock/model"
	"drydock/store"
)

// The wake-ups that random simulations found lost: a lease waited for what it could have, until its poll.

// TestDeclarationWakesWhoStandsAtTheGatesOfAnother: a lease that no blueprint admits is still one that waits for the next blueprint.
func TestDeclarationWakesWhoStandsAtTheGatesOfAnother(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.declare("narrow", 3, func(bp *model.Blueprint) { bp.Quota = 1 })
	ids := h.leasesOf("ada", 2)
	h.drain()
	h.wantLease(ids[0], model.LeaseActive)
	h.wantLease(ids[1], model.LeasePending)
	h.declare("wide", 1, func(*model.Blueprint) {})
	h.drain()
	h.wantLease(ids[1], model.LeaseActive)
	h.verify()
}

// TestWordReachesBeyondWaiterThatItIsNothingFor frees two hosts at once. Between the two who could have them stands one who could not.
func TestWordReachesBeyondWaiterThatItIsNothingFor(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	linux := map[string]string{"os": "linux", "gpu": "yes"}
	h.put("lab", "pool", "host", 0, map[string]any{"hosts": []hostConfig{
		{Name: "h1", Attributes: linux}, {Name: "h2", Attributes: linux}, {Name: "h3", Attributes: map[string]string{"os": "bsd"}},
	}})
	var holders []string
	for range 3 {
		holders = append(holders, h.lease(model.NewLease{}))
	}
	h.drain()
	var waiters []string
	for _, attributes := range []map[string]string{{"os": "linux"}, {"os": "bsd"}, {"gpu": "yes"}} {
		waiters = append(waiters, h.lease(model.NewLease{Attributes: attributes}))
		h.clock.advance(time.Millisecond)
	}
	h.drain()
	for _, id := range holders {
		if h.readResource(h.wantLease(id, model.LeaseActive).Resource).Attributes["os"] == "linux" {
			h.releaseLease(id)
		}
	}
	h.drain()
	h.wantLease(waiters[0], model.LeaseActive)
	h.wantLease(waiters[1], model.LeasePending)
	h.wantLease(waiters[2], model.LeaseActive)
	h.verify()
}

// TestLeaseWithAnAllocationDoesNotSpin: while a resource is made for a lease, another blueprint is declared that takes an operator's
// approval, which nobody asks for then. The lease waits quietly.
func TestLeaseWithAnAllocationDoesNotSpin(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.kind.hooks.ActivateResource = func(context.Context, blueprints.Call, *model.Resource) (blueprints.Changes, error) {
		return blueprints.Changes{}, blueprints.Yield(time.Hour, "booting")
	}
	h.declareScripted("vms", func(bp *model.Blueprint) { bp.Limit = 1 })
	id := h.leasesOf("ada", 1)[0]
	h.drain()
	h.declare("lab", 1, func(bp *model.Blueprint) { bp.Authorize = model.Authorize{Request: true} })
	h.queue = append(h.queue, model.LeaseRef(h.ns, id))
	h.drain()
	if w := h.wantLease(id, model.LeasePending).Waiting; strings.Contains(w.Reason, "others were quicker") {
		t.Errorf("reason %q", w.Reason)
	}
	h.verify()
}

// TestWordReachesWhoIsAdmittedElsewhere: two ask for the same, and each is admitted by another blueprint. The first takes the last that its
// own can make.
func TestWordReachesWhoIsAdmittedElsewhere(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for _, enabled := range []bool{false, true} {
		for name, owner := range map[string]string{"lab": "ada", "range": "carl"} {
			h.declare(name, 1, func(bp *model.Blueprint) {
				bp.Enabled, bp.Authorize = enabled, model.Authorize{Only: true, Owners: []string{owner}}
			})
		}
		if !enabled {
			h.leasesOf("ada", 1)
			h.leasesOf("carl", 1)
			h.drain()
		}
	}
	h.drain()
	page, err := h.store.Leases(h.ctx, h.ns, model.LeaseFilter{Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range page.Items {
		if l.Status != model.LeaseActive {
			t.Errorf("%s's lease is %s; log:\n%s", l.Owner, l.Status, h.logText(l.Ref))
		}
	}
	h.verify()
}

// TestWaitersDoNotWakeEachOtherWithoutEnd: the first leaves a blueprint in peace whose resources broke, the second waits for its turn at
// it, and there is room that neither can use.
func TestWaitersDoNotWakeEachOtherWithoutEnd(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.kind.hooks.ActivateResource = func(context.Context, blueprints.Call, *model.Resource) (blueprints.Changes, error) {
		return blueprints.Changes{}, errors.New("no image")
	}
	h.pool(0, 1, 2)
	h.lease(model.NewLease{})
	h.drain()
	h.declareScripted("vms", func(bp *model.Blueprint) { bp.Limit = 1 })
	only := []string{"vms"}
	h.lease(model.NewLease{Blueprints: only})
	h.drain()
	h.lease(model.NewLease{Blueprints: []string{"vms", "other"}})
	h.drain() // fails when there is no end to it
	h.sweep(3 * time.Second)
	h.drain()
	h.verify()
}

// TestMoreCommandsThanOneTaskMayConsume: what is left is another task's at once, not that of the sweeper ten seconds later.
func TestMoreCommandsThanOneTaskMayConsume(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.updater.maxRounds = 2
	h.pool(0, 1, 1)
	ref := model.LeaseRef(h.ns, h.lease(model.NewLease{Type: "host"}))
	h.drain()
	var batch []model.Command
	for range h.updater.maxRounds*store.MaxClaimed + 1 {
		batch = append(batch, model.Command{
			ID: model.NewID(), Target: ref, Name: model.CommandExtend, Args: []byte(`{"ttl":"1h"}`), Author: "tester",
			Origin: model.Origin{Via: model.ViaAPI},
		})
	}
	results, err := h.store.SendAll(h.ctx, batch)
	if err != nil {
		t.Fatal(err)
	}
	if len(results[0].Wake) != 1 {
		t.Fatalf("the first command wakes %v, want the lease", results[0].Wake)
	}
	if err := h.updater.Update(h.ctx, ref); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(h.queue, []model.Ref{ref}) {
		t.Errorf("the tasks after the first are %v, want one of the lease", h.queue)
	}
	h.drain()
	h.verify()
}

package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"drydock/blueprints"
	"drydock/model"
)

// declareScripted puts a blueprint of the scripted kind.
func (h *harness) declareScripted(name string, change func(*model.Blueprint)) {
	h.t.Helper()
	bp := &model.Blueprint{
		Namespace: h.ns, Name: name, Kind: "scripted", Type: "host", Enabled: true, Config: json.RawMessage(`{}`),
	}
	change(bp)
	h.putBlueprint(bp)
}

func (h *harness) idle(name string) int {
	h.t.Helper()
	stock, err := h.store.Stock(h.ctx, h.ns, name)
	if err != nil {
		h.t.Fatal(err)
	}
	return stock.Idle
}

func TestSparesAreKeptReady(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.declareScripted("vms", func(bp *model.Blueprint) { bp.MinIdle, bp.Limit = 2, 3 })
	h.drain()
	if n := h.idle("vms"); n != 2 {
		t.Fatalf("%d idle resources, want 2", n)
	}
	if log := h.logText(h.resources(model.ResourceActive)[0].Ref); !strings.Contains(log, "allocated to be kept idle") {
		t.Errorf("log:\n%s", log)
	}
	// A lease takes a spare at once, and the event has another made.
	first := h.lease(model.NewLease{})
	h.drain()
	h.wantLease(first, model.LeaseActive)
	if n := h.idle("vms"); n != 2 {
		t.Errorf("%d idle resources after one was leased, want 2", n)
	}
	// The limit holds.
	second := h.lease(model.NewLease{})
	h.drain()
	h.wantLease(second, model.LeaseActive)
	if n, all := h.idle("vms"), len(h.resources(model.ResourceActive)); n != 1 || all != 3 {
		t.Errorf("%d idle of %d resources, want 1 of 3", n, all)
	}
	h.verify()
	// What is given back is idle again; one that is destroyed is replaced.
	h.releaseLease(first)
	h.drain()
	if n := h.idle("vms"); n != 2 {
		t.Errorf("%d idle resources after one was given back, want 2", n)
	}
	h.releaseResource(h.readLease(second).Resource)
	h.drain()
	if n, all := h.idle("vms"), len(h.resources(model.ResourceActive)); n != 2 || all != 2 {
		t.Errorf("%d idle of %d resources, want 2 of 2", n, all)
	}
	h.verify()
}

// TestThoseWhoWaitComeBeforeSpares: what there is room for is made for a waiting lease and not to be kept idle.
func TestThoseWhoWaitComeBeforeSpares(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	var made []string
	h.kind.hooks = &blueprints.Hooks{
		ActivateResource: func(_ context.Context, call blueprints.Call, _ *model.Resource) (blueprints.Changes, error) {
			made = append(made, call.Object.ID)
			return blueprints.Changes{}, nil
		},
	}
	id := h.lease(model.NewLease{})
	h.drain()
	h.declareScripted("vms", func(bp *model.Blueprint) { bp.MinIdle, bp.Limit = 1, 1 })
	// The blueprint's own update comes first, and leaves the room to the lease.
	if err := h.updater.Update(h.ctx, model.BlueprintRef(h.ns, "vms")); err != nil {
		t.Fatal(err)
	}
	h.drain()
	if r := h.readResource(h.wantLease(id, model.LeaseActive).Resource); r.Work.ForLease != id || len(made) != 1 {
		t.Errorf("the resource was made for %q, want %q; made: %v", r.Work.ForLease, id, made)
	}
	h.verify()
}

// TestNothingIsMadeAtTheLimit: the hook that makes a spare is outside work, which nothing takes back when the write then finds no room.
func TestNothingIsMadeAtTheLimit(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	made := 0
	h.kind.hooks = &blueprints.Hooks{
		Allocate: func(_ context.Context, _ blueprints.Call, _ model.Request, offer blueprints.Offer) (blueprints.Offer, error) {
			made++
			return offer, nil
		},
	}
	h.declareScripted("vms", func(bp *model.Blueprint) { bp.MinIdle, bp.Limit = 1, 1 })
	h.drain()
	id, waits := h.lease(model.NewLease{}), h.lease(model.NewLease{})
	h.settle()
	h.wantLease(id, model.LeaseActive)
	h.wantLease(waits, model.LeasePending)
	if n := h.idle("vms"); n != 0 || made != 1 {
		t.Errorf("%d made and %d of them idle, want 1 and none", made, n)
	}
	h.releaseResource(h.readLease(id).Resource)
	h.settle()
	if r := h.readResource(h.wantLease(waits, model.LeaseActive).Resource); r.Work.ForLease != waits || made != 2 {
		t.Errorf("the second was made for %q, want %q; %d made, want 2", r.Work.ForLease, waits, made)
	}
	h.verify()
}

// TestPatienceBeginsAnew: a blueprint that was held back for long, and then had no room, is as patient as ever when it has.
func TestPatienceBeginsAnew(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	ids := []string{h.lease(model.NewLease{}), h.lease(model.NewLease{})}
	h.drain()
	h.declareScripted("vms", func(bp *model.Blueprint) { bp.MinIdle, bp.Limit = 1, 1 })
	update := func(ref model.Ref) {
		t.Helper()
		if err := h.updater.Update(h.ctx, ref); err != nil {
			t.Fatal(err)
		}
	}
	for range sparesPatience - 1 {
		update(model.BlueprintRef(h.ns, "vms"))
	}
	h.drain()
	first := h.readResource(h.wantLease(ids[0], model.LeaseActive).Resource)
	h.send(first.Ref, model.CommandRelease, "")
	update(first.Ref)
	update(model.LeaseRef(h.ns, ids[0]))
	update(first.Ref)
	h.wantResource(first.ID, model.ResourceDestroyed)
	update(model.BlueprintRef(h.ns, "vms"))
	h.drain()
	if r := h.readResource(h.wantLease(ids[1], model.LeaseActive).Resource); r.Work.ForLease != ids[1] {
		t.Errorf("the second was made for %q, want %q", r.Work.ForLease, ids[1])
	}
	h.verify()
}

// TestSparesAreKeptReadyWhoeverWaits: a lease waits for a host that is in use. What could be made meanwhile is nothing to it.
func TestSparesAreKeptReadyWhoeverWaits(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	linux := map[string]string{"os": "linux"}
	h.put("lab", "pool", "host", 0, map[string]any{"hosts": []hostConfig{
		{Name: "l1", Attributes: linux}, {Name: "b1", Attributes: map[string]string{"os": "bsd"}},
	}})
	ids := []string{h.lease(model.NewLease{Attributes: linux}), h.lease(model.NewLease{Attributes: linux})}
	h.drain()
	h.wantLease(ids[1], model.LeasePending)
	bp, err := h.store.Blueprint(h.ctx, h.ns, "lab")
	if err != nil {
		t.Fatal(err)
	}
	bp.MinIdle = 1
	h.putBlueprint(bp)
	h.settle()
	if n := h.idle("lab"); n != 1 {
		t.Errorf("%d idle resources, want 1", n)
	}
	h.wantLease(ids[1], model.LeasePending)
	h.verify()
}

func TestSpareThatCannotBeMadeIsTriedAgain(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	var keys []string
	h.kind.hooks = &blueprints.Hooks{
		Allocate: func(_ context.Context, call blueprints.Call, _ model.Request, offer blueprints.Offer) (blueprints.Offer, error) {
			keys = append(keys, call.Key)
			if len(keys) < 3 {
				return offer, errors.New("no quota at the cloud")
			}
			return offer, nil
		},
	}
	h.declareScripted("vms", func(bp *model.Blueprint) { bp.MinIdle = 1 })
	h.drain()
	for range 3 {
		h.sweep(5 * time.Minute)
		h.drain()
	}
	if n := h.idle("vms"); n != 1 {
		t.Fatalf("%d idle resources, want 1", n)
	}
	if len(keys) != 3 || keys[0] != keys[2] {
		t.Errorf("keys %v, want three times the same", keys)
	}
	if log := h.logText(model.BlueprintRef(h.ns, "vms")); !strings.Contains(log, "no quota at the cloud") {
		t.Errorf("log:\n%s", log)
	}
	h.verify()
}

func TestIdleResourcesRetireAndSparesStay(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.declareScripted("vms", func(bp *model.Blueprint) { bp.MinIdle, bp.MaxIdleAge = 1, time.Hour })
	h.drain()
	ids := h.leasesOf("ada", 3)
	h.drain()
	for _, id := range ids {
		h.wantLease(id, model.LeaseActive)
		h.releaseLease(id)
	}
	h.drain()
	if n := h.idle("vms"); n != 4 {
		t.Fatalf("%d idle resources, want 4", n)
	}
	h.sweep(59 * time.Minute)
	h.drain()
	if n := h.idle("vms"); n != 4 {
		t.Fatalf("%d idle resources within the hour, want 4", n)
	}
	h.sweep(2 * time.Minute)
	h.drain()
	for range 3 {
		h.sweep(time.Minute)
		h.drain()
	}
	if n := h.idle("vms"); n != 1 {
		t.Errorf("%d idle resources after the hour, want the one that is kept", n)
	}
	for _, r := range h.resources(model.ResourceDestroyed) {
		c := h.commands(r.Ref)
		if len(c) != 1 || c[0].Name != model.CommandReclaim || c[0].Outcome != model.OutcomeApplied || c[0].Author != model.SystemAuthor ||
			c[0].Reason != "idle for 1h0m0s" {
			t.Errorf("history of %s: %+v", r.Name, c)
		}
	}
	h.verify()
	// One that is in use stays, however old it is.
	id := h.lease(model.NewLease{})
	h.drain()
	for range 3 {
		h.sweep(2 * time.Hour)
		h.drain()
	}
	h.wantLease(id, model.LeaseActive)
	h.wantResource(h.readLease(id).Resource, model.ResourceActive)
	h.verify()
}

// TestDeclarationReachesWhatIsThere: hosts take the attributes and the capacity of a new declaration without a command, and a host that
// is gone from it goes when nobody uses it.
func TestDeclarationReachesWhatIsThere(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.pool(0, 3, 1)
	ids := h.leasesOf("ada", 3)
	h.drain()
	h.releaseLease(ids[2])
	h.drain()
	used, idle := h.readLease(ids[1]).Resource, h.readLease(ids[2]).Resource
	config := poolConfig(1, 2)
	h.put("lab", "pool", "host", 0, config)
	h.drain()
	kept := h.wantResource(h.readLease(ids[0]).Resource, model.ResourceActive)
	if kept.Capacity != 2 {
		t.Errorf("capacity of the host that stays is %d, want 2", kept.Capacity)
	}
	if log := h.logText(kept.Ref); !strings.Contains(log, "updated: read again: lab has been declared anew") {
		t.Errorf("log:\n%s", log)
	}
	h.wantResource(idle, model.ResourceDestroyed)
	h.wantResource(used, model.ResourceActive)
	h.wantLease(ids[1], model.LeaseActive)
	h.verify()
	h.releaseLease(ids[1])
	h.drain()
	h.sweep(time.Second)
	h.drain()
	h.wantResource(used, model.ResourceDestroyed)
	h.verify()
	// The same words again change nothing.
	rev, err := h.store.BlueprintsRev(h.ctx, h.ns)
	if err != nil {
		t.Fatal(err)
	}
	h.put("lab", "pool", "host", 0, config)
	if again, _ := h.store.BlueprintsRev(h.ctx, h.ns); again != rev {
		t.Errorf("revision %d after the same declaration, want %d", again, rev)
	}
}

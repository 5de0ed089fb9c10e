package handlers

import (
	"context"
	"errors"
	"maps"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"drydock/blueprints"
	"drydock/model"
)

// TestWaiterAsksOneResourceAtATimeToMakeRoom: three idle resources of the wrong shape could make room, and the first that is asked takes
// its time.
func TestWaiterAsksOneResourceAtATimeToMakeRoom(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	linux := map[string]string{"os": "linux"}
	h.put("lab", "pool", "host", 3, map[string]any{"hosts": []hostConfig{
		{Name: "l1", Attributes: linux}, {Name: "l2", Attributes: linux}, {Name: "l3", Attributes: linux},
		{Name: "m1", Attributes: map[string]string{"os": "macos"}},
	}})
	var holders []string
	for range 3 {
		holders = append(holders, h.lease(model.NewLease{Attributes: linux}))
	}
	h.drain()
	for _, id := range holders {
		h.releaseLease(id)
	}
	h.drain()
	h.clock.advance(DefaultReclaimGrace)
	mac := model.LeaseRef(h.ns, h.lease(model.NewLease{Attributes: map[string]string{"os": "macos"}}))
	// Only the lease's own update runs, again and again.
	for range 5 {
		if err := h.updater.Update(h.ctx, mac); err != nil {
			t.Fatal(err)
		}
	}
	reclaims := 0
	for _, r := range h.resources(model.ResourceActive) {
		reclaims += len(h.commands(r.Ref))
	}
	if reclaims != 1 {
		t.Errorf("%d resources were asked to make room, want 1", reclaims)
	}
	h.drain()
	h.wantLease(mac.ID, model.LeaseActive)
	if n := len(h.resources(model.ResourceDestroyed)); n != 1 {
		t.Errorf("%d resources made room, want 1", n)
	}
	h.verify()
}

// TestNewResourceIsCheckedLikeAnOldOne: a blueprint has made a resource for a lease, and does not let it on it any more.
func TestNewResourceIsCheckedLikeAnOldOne(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.put("s", "scripted", "host", 1, scriptedConfig{})
	id := h.lease(model.NewLease{})
	if err := h.updater.Update(h.ctx, model.LeaseRef(h.ns, id)); err != nil {
		t.Fatal(err)
	}
	res := h.resources(model.ResourcePending)[0]
	h.put("s", "scripted", "host", 1, scriptedConfig{Refuse: true})
	h.drain()
	h.wantResource(res.ID, model.ResourceActive)
	h.wantLease(id, model.LeasePending)
	h.put("s", "scripted", "host", 1, scriptedConfig{})
	h.drain()
	if l := h.wantLease(id, model.LeaseActive); l.Resource != res.ID {
		t.Errorf("the lease is on %s, want %s", l.Resource, res.ID)
	}
	h.verify()
}

func TestPendingResourceIsNotLeased(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	ready := false
	h.kind.hooks.ActivateResource = func(context.Context, blueprints.Call, *model.Resource) (blueprints.Changes, error) {
		if !ready {
			return blueprints.Changes{}, blueprints.Yield(time.Minute, "booting")
		}
		return blueprints.Changes{}, nil
	}
	h.put("s", "scripted", "host", 1, scriptedConfig{Capacity: 2})
	a, b := h.lease(model.NewLease{}), h.lease(model.NewLease{})
	h.drain()
	h.wantLease(a, model.LeasePending)
	h.wantLease(b, model.LeasePending)
	if r := h.resources(model.ResourcePending)[0]; len(r.Leases) > 0 {
		t.Errorf("leases %v have places on a resource that is pending", r.Leases)
	}
	ready = true
	h.sweep(time.Minute)
	h.drain()
	h.wantLease(a, model.LeaseActive)
	h.wantLease(b, model.LeaseActive)
	h.verify()
}

// TestResourceThatFailsToActivateIsReplaced: the lease that it was made for waits again, its slot locks are free, and it gets another.
func TestResourceThatFailsToActivateIsReplaced(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	tries := 0
	h.kind.hooks.ActivateResource = func(context.Context, blueprints.Call, *model.Resource) (blueprints.Changes, error) {
		if tries++; tries == 1 {
			return blueprints.Changes{}, errors.New("no image")
		}
		return blueprints.Changes{}, nil
	}
	h.put("s", "scripted", "host", 1, scriptedConfig{Slots: []string{"licence:1"}})
	id := h.lease(model.NewLease{})
	h.drain()
	l := h.wantLease(id, model.LeaseActive)
	failed := h.resources(model.ResourceDestroyed)
	if len(failed) != 1 || failed[0].ID == l.Resource {
		t.Fatalf("destroyed are %v, want the first", failed)
	}
	if slots, err := h.store.Slots(h.ctx, failed[0].Ref); err != nil || len(slots) > 0 {
		t.Errorf("the failed one holds slot locks %v, %v", slots, err)
	}
	h.verify()
}

// TestRequesterNeverWritesTheLeaseAgain: all of its calls that come again, late, leave the lease as the worker has made it.
func TestRequesterNeverWritesTheLeaseAgain(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.pool(0, 1, 1)
	n := model.NewLease{Type: "host", TTL: time.Minute, Owner: "ada"}
	idem := model.Idempotency{Key: "k", Fingerprint: "f"}
	id := model.NewID()
	first, err := h.store.CreateLease(h.ctx, h.ns, id, n, idem)
	if err != nil {
		t.Fatal(err)
	}
	_ = h.Enqueue(h.ctx, first.Wake...)
	h.drain()
	h.wantLease(id, model.LeaseActive)
	key := "drydock:{" + h.ns + "}:lease:" + id
	before := h.rdb.HGetAll(h.ctx, key).Val()
	h.clock.advance(time.Second)
	for _, again := range []string{id, model.NewID()} {
		created, err := h.store.CreateLease(h.ctx, h.ns, again, n, idem)
		if err != nil || created.Lease.ID != id || len(created.Wake) > 0 {
			t.Errorf("created again: %+v, %v", created, err)
		}
	}
	if diff := cmp.Diff(before, h.rdb.HGetAll(h.ctx, key).Val()); diff != "" {
		t.Errorf("the lease was written (-before +after):\n%s", diff)
	}
	h.verify()
}

// TestAttributesCannotOverwriteInternalFields names attributes like fields of a stored lease.
func TestAttributesCannotOverwriteInternalFields(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	attributes := map[string]string{
		"status": "active", "resource": "r1", "owner": "eve", "writer": "w", "version": "99", "fence": "99", "id": "x", "type": "gpu",
		"slots": `["s"]`, "until": "1", "blueprint": "other", "releases": "7", "woken": "1", "order": "0",
	}
	h.put("lab", "pool", "host", 0, map[string]any{"hosts": []hostConfig{{Name: "h1", Attributes: attributes}}})
	id := h.lease(model.NewLease{Owner: "ada", Attributes: attributes})
	l := h.wantLease(id, model.LeasePending)
	if l.ID != id || l.Owner != "ada" || l.Type != "host" || l.Resource != "" || l.Fence != 0 || l.Releasing || !l.Until.IsZero() {
		t.Errorf("the lease is %+v", l)
	}
	h.drain()
	l = h.wantLease(id, model.LeaseActive)
	r := h.readResource(l.Resource)
	if !maps.Equal(l.Attributes, attributes) || !maps.Equal(r.Attributes, attributes) || r.Type != "host" || r.Blueprint != "lab" {
		t.Errorf("lease %+v on resource %+v", l, r)
	}
	h.verify()
}

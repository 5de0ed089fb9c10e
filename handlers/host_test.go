package handlers

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"drydock/blueprints"
	"drydock/model"
)

// copies declares a pool of hosts and working copies on them, and notes the hooks that ran.
func copies(t *testing.T) (h *harness, steps *[]string) {
	t.Helper()
	h = newHarness(t)
	steps = &[]string{}
	note := func(step string, call blueprints.Call) {
		at := "nowhere"
		if call.Host != nil && call.Host.Resource != nil {
			at = call.Host.Resource.Name
		}
		*steps = append(*steps, step+" on "+at)
	}
	h.kind.hooks = &blueprints.Hooks{
		ActivateResource: func(_ context.Context, call blueprints.Call, _ *model.Resource) (blueprints.Changes, error) {
			note("activate", call)
			return blueprints.Changes{}, nil
		},
		ActivateLease: func(_ context.Context, call blueprints.Call, _ *model.Resource, _ *model.Lease) error {
			note("activate lease", call)
			return nil
		},
		ReleaseLease: func(_ context.Context, call blueprints.Call, _ *model.Resource, _ *model.Lease) error {
			note("release lease", call)
			return nil
		},
		DestroyResource: func(_ context.Context, call blueprints.Call, _ *model.Resource) error {
			note("destroy", call)
			return nil
		},
	}
	h.pool(0, 1, 1)
	h.declareScripted("copies", func(bp *model.Blueprint) {
		bp.Type, bp.On = "copy", &model.SubLease{Type: "host", Attributes: map[string]string{"os": "linux"}}
	})
	return h, steps
}

// sub returns the lease that a resource stands on.
func (h *harness) sub(resource string) *model.Lease {
	h.t.Helper()
	return h.readLease(h.readResource(resource).Work.SubLease)
}

// activeCopy has a working copy leased, and returns its lease, itself and the lease that it stands on.
func (h *harness) activeCopy() (lease string, res *model.Resource, sub *model.Lease) {
	h.t.Helper()
	lease = h.lease(model.NewLease{Type: "copy"})
	h.drain()
	res = h.readResource(h.wantLease(lease, model.LeaseActive).Resource)
	return lease, res, h.sub(res.ID)
}

// settle has everything done that is due within some seconds.
func (h *harness) settle() {
	h.t.Helper()
	for range 4 {
		h.drain()
		h.sweep(time.Second)
	}
	h.drain()
}

func TestResourceStandsOnALeaseOfItsOwn(t *testing.T) {
	t.Parallel()
	h, steps := copies(t)
	id, res, sub := h.activeCopy()
	if sub.Status != model.LeaseActive || sub.Owner != "blueprint:copies" || sub.Type != "host" {
		t.Fatalf("it stands on %+v", sub)
	}
	h.verify()
	// Its holder gives it back; the copy stays, and so does the lease on the host.
	h.releaseLease(id)
	h.drain()
	if got := h.sub(res.ID).Status; got != model.LeaseActive {
		t.Errorf("after its holder has left it stands on a lease that is %s", got)
	}
	h.releaseResource(res.ID)
	h.drain()
	h.wantResource(res.ID, model.ResourceDestroyed)
	h.wantLease(sub.ID, model.LeaseDestroyed)
	want := []string{"activate on h1", "activate lease on h1", "release lease on h1", "destroy on h1"}
	if !slices.Equal(*steps, want) {
		t.Errorf("hooks %q, want %q", *steps, want)
	}
	if c := h.commands(sub.Ref); len(c) != 1 || c[0].Author != model.SystemAuthor || c[0].Outcome != model.OutcomeApplied {
		t.Errorf("commands of the lease below: %+v", c)
	}
	h.verify()
}

// TestHostIsGivenBackAfterTheCleanUpAndNotBefore: while what stands on it cannot be cleaned up, the lease on the host lives on.
func TestHostIsGivenBackAfterTheCleanUpAndNotBefore(t *testing.T) {
	t.Parallel()
	h, _ := copies(t)
	fails := 2
	h.kind.hooks.DestroyResource = func(context.Context, blueprints.Call, *model.Resource) error {
		if fails--; fails >= 0 {
			return fmt.Errorf("busy files")
		}
		return nil
	}
	_, res, sub := h.activeCopy()
	h.releaseResource(res.ID)
	h.drain()
	h.wantResource(res.ID, model.ResourceReleased)
	h.wantLease(sub.ID, model.LeaseActive)
	h.settle()
	h.wantResource(res.ID, model.ResourceDestroyed)
	h.wantLease(sub.ID, model.LeaseDestroyed)
	h.verify()
}

func TestDeathOfTheHostReachesTheWorkingCopy(t *testing.T) {
	t.Parallel()
	h, steps := copies(t)
	id, res, sub := h.activeCopy()
	h.releaseResource(sub.Resource)
	h.drain()
	h.wantLease(id, model.LeaseDestroyed)
	h.wantResource(res.ID, model.ResourceDestroyed)
	h.wantLease(sub.ID, model.LeaseDestroyed)
	h.wantResource(sub.Resource, model.ResourceDestroyed)
	if !slices.Contains(*steps, "destroy on h1") {
		t.Errorf("hooks %q: the copy was not cleaned up while the host was there", *steps)
	}
	if log := h.logText(res.Ref); !strings.Contains(log, "the lease that it stands on has ended") {
		t.Errorf("log of the copy:\n%s", log)
	}
	h.verify()
}

// TestHostThatCannotBeCleanedUpIsLetGoAfterTheGrace: a dead host would never let go of its working copy.
func TestHostThatCannotBeCleanedUpIsLetGoAfterTheGrace(t *testing.T) {
	t.Parallel()
	h, _ := copies(t)
	h.kind.hooks.DestroyResource = func(context.Context, blueprints.Call, *model.Resource) error { return fmt.Errorf("no route to host") }
	_, res, sub := h.activeCopy()
	h.releaseResource(sub.Resource)
	h.settle()
	h.wantResource(res.ID, model.ResourceReleased)
	h.wantLease(sub.ID, model.LeaseReleased)
	h.sweep(DefaultDestroyGrace)
	h.settle()
	h.sweep(10 * time.Minute)
	h.settle()
	h.wantLease(sub.ID, model.LeaseDestroyed)
	h.wantResource(sub.Resource, model.ResourceDestroyed)
	h.wantResource(res.ID, model.ResourceDestroyed)
	if log := h.logText(res.Ref); !strings.Contains(log, "what it stood on is gone") {
		t.Errorf("log of the copy:\n%s", log)
	}
	h.verify()
}

func TestReleaseWhileItWaitsForItsHost(t *testing.T) {
	t.Parallel()
	h, steps := copies(t)
	holder := h.lease(model.NewLease{Type: "host"})
	h.drain()
	h.wantLease(holder, model.LeaseActive)
	id := h.lease(model.NewLease{Type: "copy"})
	h.drain()
	h.wantLease(id, model.LeasePending)
	res := h.resources(model.ResourcePending)[0]
	sub := h.sub(res.ID)
	if sub.Status != model.LeasePending {
		t.Fatalf("it is to stand on a lease that is %s, want pending", sub.Status)
	}
	h.releaseResource(res.ID)
	h.drain()
	h.wantResource(res.ID, model.ResourceDestroyed)
	h.wantLease(sub.ID, model.LeaseDestroyed)
	if len(*steps) > 1 || len(*steps) == 1 && (*steps)[0] != "destroy on nowhere" {
		t.Errorf("hooks %q of a copy that never was", *steps)
	}
	// The lease has another one made; it becomes active when there is a host.
	h.releaseLease(holder)
	h.settle()
	h.wantLease(id, model.LeaseActive)
	h.verify()
}

// TestSubLeaseThatIsReleasedTakesTheResourceAlong: whoever releases the lease below releases what stands on it.
func TestSubLeaseThatIsReleasedTakesTheResourceAlong(t *testing.T) {
	t.Parallel()
	h, _ := copies(t)
	id, res, sub := h.activeCopy()
	h.releaseLease(sub.ID)
	h.drain()
	h.wantLease(id, model.LeaseDestroyed)
	h.wantResource(res.ID, model.ResourceDestroyed)
	h.wantLease(sub.ID, model.LeaseDestroyed)
	h.wantResource(sub.Resource, model.ResourceActive)
	h.verify()
}

func TestBlueprintsThatLeaseFromEachOtherInACircle(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.declareScripted("hens", func(bp *model.Blueprint) { bp.Type, bp.On = "hen", &model.SubLease{Type: "egg"} })
	h.declareScripted("eggs", func(bp *model.Blueprint) { bp.Type, bp.On = "egg", &model.SubLease{Type: "hen"} })
	id := h.lease(model.NewLease{Type: "hen"})
	h.drain()
	broken := false
	for _, r := range h.resources("") {
		broken = broken || strings.Contains(h.logText(r.Ref), "blueprints lease from each other in a circle")
		if r.Work.Depth > model.MaxDepth {
			t.Errorf("resource at depth %d, want at most %d", r.Work.Depth, model.MaxDepth)
		}
	}
	if !broken {
		t.Error("nobody noticed the circle")
	}
	h.wantLease(id, model.LeasePending)
	h.verify()
}

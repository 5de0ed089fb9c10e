package handlers

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"drydock/blueprints"
	"drydock/model"
)

// TestBlueprintWhoseResourcesBreakIsLeftInPeace: a lease does not have one broken resource made after the other as fast as it can.
func TestBlueprintWhoseResourcesBreakIsLeftInPeace(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	broken := true
	h.kind.hooks = &blueprints.Hooks{
		ActivateResource: func(context.Context, blueprints.Call, *model.Resource) (blueprints.Changes, error) {
			if broken {
				return blueprints.Changes{}, errors.New("no image")
			}
			return blueprints.Changes{}, nil
		},
	}
	h.declareScripted("vms", func(*model.Blueprint) {})
	id := h.lease(model.NewLease{})
	h.drain()
	if n := len(h.resources("")); n != 2 {
		t.Fatalf("%d resources were made at once, want 2", n)
	}
	if w := h.wantLease(id, model.LeasePending).Waiting; !strings.Contains(w.Reason, "vms failed to make one 2 times in a row") {
		t.Errorf("reason %q", w.Reason)
	}
	h.sweep(time.Second)
	h.drain()
	if n := len(h.resources("")); n != 2 {
		t.Errorf("%d resources within the delay, want 2", n)
	}
	h.sweep(2 * time.Second)
	h.drain()
	if n := len(h.resources("")); n != 3 {
		t.Errorf("%d resources after the delay, want 3", n)
	}
	// Another blueprint is not held responsible.
	h.pool(0, 1, 1)
	h.drain()
	h.wantLease(id, model.LeaseActive)
	other := h.lease(model.NewLease{})
	broken = false
	h.drain()
	h.wantLease(other, model.LeaseActive)
	h.verify()
}

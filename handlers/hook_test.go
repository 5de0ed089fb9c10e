package handlers

import (
	"context"
	"fmt"
	"testing"
	"time"

	"drydock/blueprints"
	"drydock/model"
)

// TestHookTriedAgainHasThePen: the intent of a hook that is tried again was stored by the run before, and still this run takes the pen before it
// goes outside: what is stored has its fence, and a writer that no run before it had. Otherwise an older run could go on writing under the
// hook, and a target could not tell the two apart.
func TestHookTriedAgainHasThePen(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	tries := map[string]int{}
	writers := map[string]string{} // to the fence of the run
	try := func(name string, call blueprints.Call) error {
		key := fmt.Sprintf("drydock:{%s}:%s:%s", h.ns, call.Object.Kind, call.Object.ID)
		stored, err := h.rdb.HMGet(h.ctx, key, "writer", "fence", "hook").Result()
		if err != nil {
			t.Fatal(err)
		}
		writer, run := fmt.Sprint(stored[0]), fmt.Sprintf("%s, fence %d", call.Object, call.Fence)
		if stored[1] != fmt.Sprint(call.Fence) || stored[2] == "" {
			t.Errorf("try %d to %s: fence %v and hook %q are stored, and the hook was called with fence %d", tries[name]+1, name, stored[1], stored[2], call.Fence)
		}
		if before, ok := writers[writer]; ok && before != run {
			t.Errorf("try %d to %s: %s still has the pen, and the hook was called for %s", tries[name]+1, name, before, run)
		}
		writers[writer] = run
		if tries[name]++; tries[name] == 1 {
			return blueprints.Yield(time.Second, "later")
		}
		return nil
	}
	h.kind.hooks = &blueprints.Hooks{
		Allocate: func(_ context.Context, call blueprints.Call, _ model.Request, offer blueprints.Offer) (blueprints.Offer, error) {
			return offer, try("allocate for a "+string(call.Object.Kind), call)
		},
		ActivateResource: func(_ context.Context, call blueprints.Call, _ *model.Resource) (blueprints.Changes, error) {
			return blueprints.Changes{}, try("activate the resource", call)
		},
		DestroyResource: func(_ context.Context, call blueprints.Call, _ *model.Resource) error {
			return try("destroy the resource", call)
		},
		AcquireLease: func(_ context.Context, call blueprints.Call, _ *model.Resource, _ *model.Lease) ([]string, error) {
			return nil, try("acquire", call)
		},
		ActivateLease: func(_ context.Context, call blueprints.Call, _ *model.Resource, _ *model.Lease) error {
			return try("activate the lease", call)
		},
		ReleaseLease: func(_ context.Context, call blueprints.Call, _ *model.Resource, _ *model.Lease) error {
			return try("release", call)
		},
		DestroyLease: func(_ context.Context, call blueprints.Call, _ *model.Resource, _ *model.Lease) error {
			return try("destroy the lease", call)
		},
	}
	later := func() {
		for range 10 {
			h.drain()
			h.sweep(2 * time.Second)
		}
		h.drain()
	}
	h.declareScripted("vms", func(*model.Blueprint) {})
	id := h.lease(model.NewLease{})
	later()
	res := h.wantLease(id, model.LeaseActive).Resource
	h.declareScripted("spares", func(bp *model.Blueprint) { bp.MinIdle = 1 })
	later()
	h.releaseLease(id)
	later()
	h.wantLease(id, model.LeaseDestroyed)
	h.releaseResource(res)
	later()
	h.wantResource(res, model.ResourceDestroyed)
	const hooks = 8
	if len(tries) != hooks {
		t.Errorf("these hooks ran: %v; want %d", tries, hooks)
	}
	for name, n := range tries {
		if n < 2 {
			t.Errorf("%d tries to %s, want another one", n, name)
		}
	}
	h.verify()
}

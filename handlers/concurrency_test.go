package handlers

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"drydock/blueprints"
	"drydock/locks"
	"drydock/model"
	"drydock/store"
)

// TestPausedWorkerIsRefusedByItsWriterAlone suspends a worker in a hook while another claims the object and has written nothing
// yet: the version is still what the first one read, so only the writer tells them apart.
func TestPausedWorkerIsRefusedByItsWriterAlone(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.put("s", "scripted", "host", 0, scriptedConfig{})
	type visit struct{ resume chan struct{} }
	entered := make(chan visit)
	h.kind.hooks.ActivateLease = func(context.Context, blueprints.Call, *model.Resource, *model.Lease) error {
		v := visit{make(chan struct{})}
		entered <- v
		<-v.resume
		return nil
	}
	id := h.lease(model.NewLease{})
	ref := model.LeaseRef(h.ns, id)
	finished := make(chan error, 2)
	run := func() { finished <- h.updater.Update(context.WithoutCancel(h.ctx), ref) }

	// The lease waits for its resource first.
	if err := h.updater.Update(h.ctx, ref); err != nil {
		t.Fatal(err)
	}
	res := h.resources(model.ResourcePending)[0]
	if err := h.updater.Update(h.ctx, res.Ref); err != nil {
		t.Fatal(err)
	}
	go run()
	paused := <-entered
	if err := h.rdb.Del(h.ctx, store.LockKey(ref)).Err(); err != nil {
		t.Fatal(err)
	}
	go run()
	other := <-entered
	close(paused.resume)
	if err := <-finished; err != nil {
		t.Errorf("the paused worker: %v, want a quiet stop", err)
	}
	h.wantLease(id, model.LeaseAcquired)
	close(other.resume)
	if err := <-finished; err != nil {
		t.Errorf("the other worker: %v", err)
	}
	h.wantLease(id, model.LeaseActive)
	h.verify()
}

// drainWith runs the queued tasks on so many workers at once until there are none.
func (h *harness) drainWith(workers int) {
	h.t.Helper()
	var wg sync.WaitGroup
	var mu sync.Mutex
	idle := sync.NewCond(&mu)
	running := 0
	for range workers {
		wg.Go(func() {
			for {
				mu.Lock()
				var ref model.Ref
				for {
					h.mu.Lock()
					found := len(h.queue) > 0
					if found {
						i := rand.IntN(len(h.queue))
						ref = h.queue[i]
						h.queue = append(h.queue[:i], h.queue[i+1:]...)
					}
					h.mu.Unlock()
					if found {
						break
					}
					if running == 0 {
						mu.Unlock()
						idle.Broadcast()
						return
					}
					idle.Wait()
				}
				running++
				mu.Unlock()
				// On a busy machine a lock may time out. The sweeper brings such an object back; here the worker itself does.
				err := h.updater.Update(h.ctx, ref)
				for try := 0; errors.Is(err, locks.ErrUnavailable) && try < 10; try++ {
					err = h.updater.Update(h.ctx, ref)
				}
				if err != nil {
					h.t.Errorf("update %s: %v", ref, err)
				}
				mu.Lock()
				running--
				mu.Unlock()
				idle.Broadcast()
			}
		})
	}
	wg.Wait()
}

// TestManyWorkersNeverExceedLimits lets eight workers serve leases, releases and resource releases in random order and checks
// after each burst what must always hold.
func TestManyWorkersNeverExceedLimits(t *testing.T) {
	t.Parallel()
	const seed = 20
	rnd := rand.New(rand.NewPCG(seed, seed))
	t.Logf("seed %d", seed)
	h := newHarness(t)
	h.pool(3, 5, 2)
	h.put("s", "scripted", "host", 2, scriptedConfig{Capacity: 2})
	var ids []string
	for round := range 30 {
		for range rnd.IntN(8) {
			ids = append(ids, h.lease(model.NewLease{Priority: rnd.IntN(3)}))
		}
		for range rnd.IntN(12) {
			if len(ids) > 0 {
				h.releaseLease(ids[rnd.IntN(len(ids))])
			}
		}
		if active := h.resources(model.ResourceActive); len(active) > 0 && rnd.IntN(4) == 0 {
			h.releaseResource(active[rnd.IntN(len(active))].ID)
		}
		h.drainWith(8)
		// Locks that were found busy are tried again.
		for range 6 {
			h.sweep(time.Second)
			h.drainWith(8)
		}
		perBlueprint := map[string]int{}
		for _, st := range []model.ResourceState{model.ResourcePending, model.ResourceActive, model.ResourceReleased, model.ResourceBroken} {
			for _, r := range h.resources(st) {
				perBlueprint[r.Blueprint]++
			}
		}
		if perBlueprint["lab"] > 3 || perBlueprint["s"] > 2 {
			t.Fatalf("round %d: resources by blueprint %v, limits are lab 3 and s 2", round, perBlueprint)
		}
		h.verify()
		h.wantNobodyWaitsForNothing(fmt.Sprintf("round %d", round))
		if t.Failed() {
			return
		}
	}
	for _, id := range ids {
		h.releaseLease(id)
	}
	h.drainWith(8)
	for range 6 {
		h.sweep(time.Second)
		h.drainWith(8)
	}
	for _, id := range ids {
		h.wantLease(id, model.LeaseDestroyed)
	}
	h.verify()
}

// wantNobodyWaitsForNothing checks that no lease waits while there is room that any lease could take.
func (h *harness) wantNobodyWaitsForNothing(when string) {
	h.t.Helper()
	page, err := h.store.Leases(h.ctx, h.ns, model.LeaseFilter{Status: model.LeasePending, Limit: model.MaxPageLimit})
	if err != nil {
		h.t.Fatal(err)
	}
	if len(page.Items) == 0 {
		return
	}
	for _, r := range h.resources(model.ResourceActive) {
		if r.Free() > 0 {
			l := page.Items[0]
			h.t.Errorf("%s: %d leases wait while %s has room; one log:\n%s", when, len(page.Items), r.Name, h.logText(l.Ref))
			return
		}
	}
}

// TestBurstIsServedByEventsAlone asks for as many leases at once as there are hosts, twice: with no resource yet, and with all of
// them idle. Nobody may be left to the poll.
func TestBurstIsServedByEventsAlone(t *testing.T) {
	t.Parallel()
	const n = 200
	h := newHarness(t)
	h.pool(0, n, 1)
	for round := range 2 {
		ids := make([]string, n)
		for i := range ids {
			ids[i] = h.lease(model.NewLease{})
		}
		h.drainWith(8)
		// Locks that were found busy are tried again; no poll is due yet.
		for range 6 {
			h.sweep(time.Second)
			h.drainWith(8)
		}
		for i, id := range ids {
			if l := h.readLease(id); l.Status != model.LeaseActive {
				t.Fatalf("round %d: lease %d of %d is %s, waiting %+v; log:\n%s", round, i+1, n, l.Status, l.Waiting, h.logText(l.Ref))
			}
			h.releaseLease(id)
		}
		h.drainWith(8)
		h.verify()
	}
}

// TestWaitersOfOneMillisecondAreAllServed frees as many places as there are waiters, who all came in the same millisecond and ask
// for different things that every host has. Nobody may be left to the poll.
func TestWaitersOfOneMillisecondAreAllServed(t *testing.T) {
	t.Parallel()
	const n, seed = 8, 7
	rnd := rand.New(rand.NewPCG(seed, seed))
	attributes := map[string]string{}
	for i := range n {
		attributes[fmt.Sprintf("a%d", i)] = "1"
	}
	hosts := make([]hostConfig, n)
	for i := range hosts {
		hosts[i] = hostConfig{Name: fmt.Sprintf("h%d", i), Attributes: attributes}
	}
	for round := range 20 {
		h := newHarness(t)
		h.put("lab", "pool", "host", 0, map[string]any{"hosts": hosts})
		holders, waiters := make([]string, n), make([]string, n)
		for i := range holders {
			holders[i] = h.lease(model.NewLease{})
		}
		h.drain()
		for i, a := range rnd.Perm(n) {
			waiters[i] = h.lease(model.NewLease{Attributes: map[string]string{fmt.Sprintf("a%d", a): "1"}})
		}
		h.drain()
		// The releases' own updates run before those of whom they wake.
		for _, id := range holders {
			h.releaseLease(id)
		}
		h.drain()
		for i, id := range waiters {
			if l := h.readLease(id); l.Status != model.LeaseActive {
				t.Fatalf("seed %d, round %d: waiter %d of %d is %s at position %d", seed, round, i+1, n, l.Status, l.Waiting.Position)
			}
		}
		h.verify()
	}
}

package handlers

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"drydock/model"
)

// signalHandler is a log that signals each record.
type signalHandler struct {
	slog.Handler
	records chan<- slog.Record
}

func (h signalHandler) Enabled(context.Context, slog.Level) bool { return true }

func (h signalHandler) Handle(_ context.Context, r slog.Record) error {
	h.records <- r
	return nil
}

// TestJanitor: a destroyed lease is there for as long as the retention, and then it is not; what lives is not touched, however old.
func TestJanitor(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.pool(0, 2, 1)
	old, live := h.lease(model.NewLease{Owner: "ada"}), h.lease(model.NewLease{Owner: "ada"})
	h.drain()
	h.releaseLease(old)
	h.drain()
	h.wantLease(old, model.LeaseDestroyed)
	janitor := NewJanitor(h.store, JanitorConfig{})
	collect := func(want int) {
		t.Helper()
		h.verify()
		if n, err := janitor.Collect(h.ctx, h.ns); n != want || err != nil {
			t.Errorf("collected %d, %v, want %d", n, err, want)
		}
		h.verify()
	}
	h.clock.advance(DefaultRetention - time.Second)
	young := h.lease(model.NewLease{Owner: "ada"})
	h.drain()
	h.releaseLease(young)
	h.drain()
	collect(0)
	h.wantLease(old, model.LeaseDestroyed)
	if text := h.logText(model.LeaseRef(h.ns, old)); text == "" {
		t.Error("the log is gone before the lease is")
	}
	h.clock.advance(time.Second)
	collect(1)
	if _, err := h.store.Lease(h.ctx, h.ns, old); model.KindOf(err) != model.ErrorNotFound {
		t.Errorf("read of what was collected: %v, want not found", err)
	}
	if _, err := h.trySend(model.LeaseRef(h.ns, old), model.CommandRelease, ""); model.KindOf(err) != model.ErrorNotFound {
		t.Errorf("release of what was collected: %v, want not found", err)
	}
	h.wantLease(young, model.LeaseDestroyed)
	h.wantLease(live, model.LeaseActive)

	// A task for what was collected finds nothing to do, and what lives goes on living.
	if err := h.updater.Update(h.ctx, model.LeaseRef(h.ns, old)); err != nil {
		t.Errorf("update of what was collected: %v", err)
	}
	h.releaseLease(live)
	h.drain()
	h.wantLease(live, model.LeaseDestroyed)
	h.clock.advance(DefaultRetention)
	collect(2)
	if n := len(h.resources(model.ResourceActive)); n != 2 {
		t.Errorf("%d resources are active, want both", n)
	}
}

// TestJanitorRuns: it looks at once, again after the interval, only at its namespaces, and stops when it is told to.
func TestJanitorRuns(t *testing.T) {
	t.Parallel()
	h, other := newHarness(t), newHarness(t)
	destroy := func(h *harness) {
		h.pool(0, 1, 1)
		id := h.lease(model.NewLease{})
		h.drain()
		h.releaseLease(id)
		h.drain()
		h.wantLease(id, model.LeaseDestroyed)
		h.clock.advance(time.Hour)
	}
	destroy(h)
	destroy(other)
	records := make(chan slog.Record, 10)
	janitor := NewJanitor(h.store, JanitorConfig{
		Retention: time.Hour, Interval: time.Millisecond, Namespaces: []string{h.ns}, Logger: slog.New(signalHandler{records: records}),
	})
	ctx, cancel := context.WithCancel(h.ctx)
	var wg sync.WaitGroup
	wg.Go(func() { janitor.Run(ctx) })
	for range 2 {
		select {
		case r := <-records:
			if r.Level != slog.LevelInfo || len(h.leases()) > 0 {
				t.Errorf("%s, and these leases are left: %v", r.Message, h.leases())
			}
		case <-time.After(30 * time.Second):
			t.Fatal("nothing was collected in 30 seconds")
		}
		destroy(h)
	}
	cancel()
	wg.Wait()
	if n := len(other.leases()); n != 1 {
		t.Errorf("%d leases are left in a namespace of somebody else, want 1", n)
	}
}

func (h *harness) leases() []*model.Lease {
	h.t.Helper()
	page, err := h.store.Leases(h.ctx, h.ns, model.LeaseFilter{})
	if err != nil {
		h.t.Fatal(err)
	}
	return page.Items
}

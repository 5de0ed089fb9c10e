package handlers

import (
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"drydock/model"
	"drydock/store"
)

// TestAFormerHolderDoesNotStopTheRightfulOne: a run that has lost its lock writes between the look and the first write of the one that
// holds it. That one must not take it for the writer who sees to the object.
func TestAFormerHolderDoesNotStopTheRightfulOne(t *testing.T) {
	t.Parallel()
	for name, write := range map[string]func(h *harness, c *store.Claim) error{
		"puts the object off": func(h *harness, c *store.Claim) error {
			_, err := h.store.Finish(h.ctx, c, c.Now)
			return err
		},
		"does its first step": func(h *harness, c *store.Claim) error {
			_, err := h.store.ApplyLease(h.ctx, c, store.LeaseStep{})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			h.pool(0, 1, 1)
			id := h.lease(model.NewLease{})
			h.drain()
			h.wantLease(id, model.LeaseActive)
			h.releaseLease(id)
			former, err := h.store.Begin(h.ctx, model.LeaseRef(h.ns, id), "former")
			if err != nil {
				t.Fatal(err)
			}
			client := redis.NewClient(h.rdb.Options())
			defer func() { _ = client.Close() }()
			client.AddHook(&beforeScript{isOne: writesStep, fn: func() {
				if err := write(h, former); err != nil && !errors.Is(err, model.ErrStaleWriter) {
					t.Error(err)
				}
			}})
			h.updater = NewUpdater(store.New(client, store.Config{Now: h.clock.Now}), h.locks, h, h.updater.catalog.registry, h.updater.cfg)
			h.drain()
			h.sweep(100 * time.Millisecond)
			h.drain()
			h.wantLease(id, model.LeaseDestroyed)
			h.verify()
		})
	}
}

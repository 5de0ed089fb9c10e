package handlers

import (
	"context"
	"errors"
	"strings"
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
			client.AddHook(&beforeStep{fn: func() {
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

// beforeStep runs a function before the first step of an update is written.
type beforeStep struct{ fn func() }

func (b *beforeStep) DialHook(next redis.DialHook) redis.DialHook { return next }

func (b *beforeStep) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (b *beforeStep) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		args := cmd.Args()
		if len(args) > 6 && b.fn != nil && strings.HasPrefix(cmd.Name(), "eval") {
			if step, ok := args[len(args)-1].(string); ok && strings.Contains(step, `"writer"`) {
				fn := b.fn
				b.fn = nil
				fn()
			}
		}
		return next(ctx, cmd)
	}
}

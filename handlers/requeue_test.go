package handlers

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"drydock/blueprints"
	"drydock/model"
	"drydock/store"
)

// TestBegunActivationIsCleanedUp: a resource is released between a lease's claim and its look at the resource. Had the lease's activation
// been begun before, by a worker that died or because the hook said "not yet", then what it made must be cleaned up before the resource is.
func TestBegunActivationIsCleanedUp(t *testing.T) {
	t.Parallel()
	for name, begun := range map[string]bool{"begun": true, "not begun": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			h.put("s", "scripted", "host", 0, scriptedConfig{})
			var steps []string
			h.kind.hooks = &blueprints.Hooks{
				ActivateLease: func(context.Context, blueprints.Call, *model.Resource, *model.Lease) error {
					steps = append(steps, "activate lease")
					return &blueprints.YieldError{After: time.Second, Reason: "booting"}
				},
				DestroyLease: func(context.Context, blueprints.Call, *model.Resource, *model.Lease) error {
					steps = append(steps, "destroy lease")
					return nil
				},
				DestroyResource: func(context.Context, blueprints.Call, *model.Resource) error {
					steps = append(steps, "destroy resource")
					return nil
				},
			}
			other := h.updater
			fast := redis.NewClient(h.rdb.Options())
			t.Cleanup(func() { _ = fast.Close() })
			onRead := &beforeRead{prefix: "drydock:{" + h.ns + "}:resource:"}
			fast.AddHook(onRead)
			id := h.lease(model.NewLease{})
			release := func() {
				res := h.readLease(id).Resource
				h.releaseResource(res)
				if err := other.Update(h.ctx, model.ResourceRef(h.ns, res)); err != nil {
					t.Error(err)
				}
			}
			if begun {
				h.drain()
				h.wantLease(id, model.LeaseAcquired)
			}
			onRead.when = func() bool { return h.readLease(id).Status == model.LeaseAcquired }
			onRead.fn = release
			h.updater = NewUpdater(store.New(fast, store.Config{Now: h.clock.Now}), h.locks, h, other.catalog.registry, other.cfg)
			if begun {
				h.sweep(2 * time.Second)
			}
			h.drain()
			h.wantLease(id, model.LeaseDestroyed)
			if onRead.fn != nil {
				t.Fatal("the resource was not released in between")
			}
			want := []string{"destroy resource"}
			if begun {
				want = []string{"activate lease", "destroy lease", "destroy resource"}
			}
			if !slices.Equal(steps, want) {
				t.Errorf("the steps were %q, want %q", steps, want)
			}
			h.verify()
		})
	}
}

// beforeRead runs a function before a resource is read, once, when it is time.
type beforeRead struct {
	prefix string
	when   func() bool
	fn     func()
}

func (b *beforeRead) DialHook(next redis.DialHook) redis.DialHook { return next }

func (b *beforeRead) look(cmds ...redis.Cmder) {
	for _, cmd := range cmds {
		if args := cmd.Args(); b.fn != nil && cmd.Name() == "hgetall" && len(args) > 1 {
			if key, ok := args[1].(string); ok && len(key) > len(b.prefix) && key[:len(b.prefix)] == b.prefix && b.when() {
				fn := b.fn
				b.fn = nil
				fn()
			}
		}
	}
}

func (b *beforeRead) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		b.look(cmd)
		return next(ctx, cmd)
	}
}

func (b *beforeRead) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		b.look(cmds...)
		return next(ctx, cmds)
	}
}

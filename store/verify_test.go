package store

import (
	"strings"
	"testing"

	"drydock/model"
)

// TestVerifyFindsEachBreach breaks one thing at a time behind the scripts' back.
func TestVerifyFindsEachBreach(t *testing.T) {
	t.Parallel()
	seed := func(t *testing.T) *env {
		e := newEnv(t)
		ref := e.leaseIn("l1", model.LeaseActive)
		e.send(ref, "c1", model.CommandRelease)
		e.send(ref, "c2", model.CommandRelease)
		c := e.claim(ref)
		e.applyLease(c, LeaseStep{Step: Step{Consume: consumed(c, model.OutcomeRefused)[:1]}})
		e.leaseIn("gone", model.LeaseDestroyed)
		e.lease("waiting", model.NewLease{})
		return e
	}
	seed(t).wantVerified()

	lease := func(e *env) string { return objectKey(e.leaseRef("l1")) }
	tests := []struct {
		name  string
		spoil func(e *env) error
		want  string
	}{
		{"indexed and missing", func(e *env) error { return e.rdb.Del(e.ctx, lease(e)).Err() }, "does not exist"},
		{"not in wake", func(e *env) error { return e.rdb.ZRem(e.ctx, wakeKey(e.ns), "lease:l1").Err() }, "not in wake"},
		{"waiting, not in wake", func(e *env) error { return e.rdb.ZRem(e.ctx, wakeKey(e.ns), "lease:waiting").Err() }, "not in wake"},
		{"command twice", func(e *env) error { return e.rdb.RPush(e.ctx, lease(e)+":commands", "c1").Err() }, "twice"},
		{"command lost", func(e *env) error { return e.rdb.LPop(e.ctx, lease(e)+":commands").Err() }, "2 commands were stored and 1 are in its lists"},
		{"record lost", func(e *env) error { return e.rdb.HDel(e.ctx, lease(e)+":records", "c2").Err() }, "no record"},
		{"no outcome", func(e *env) error { return e.rdb.HDel(e.ctx, lease(e)+":records", "c1:outcome").Err() }, "without an outcome"},
		{"outcome and waiting", func(e *env) error {
			return e.rdb.HSet(e.ctx, lease(e)+":records", "c2:outcome", `{"outcome":"refused"}`).Err()
		}, "still waits"},
		{"unreadable outcome", func(e *env) error { return e.rdb.HSet(e.ctx, lease(e)+":records", "c1:outcome", `{`).Err() }, "unreadable"},
		{"applied twice", func(e *env) error {
			applied := `{"outcome":"applied"}`
			return e.rdb.HSet(e.ctx, lease(e)+":records", "c1:outcome", applied, "c2:outcome", applied).Err()
		}, "2 release commands were applied"},
		{"miscounted releases", func(e *env) error { return e.rdb.HSet(e.ctx, lease(e), "releases", 2).Err() }, "counts 2 waiting releases and has 1"},
		{"destroyed with a command", func(e *env) error {
			return e.rdb.RPush(e.ctx, objectKey(e.leaseRef("gone"))+":commands", "c9").Err()
		}, "is destroyed and has 1 waiting commands"},
		{"collectable", func(e *env) error { return e.rdb.ZAdd(e.ctx, collectableKey(e.ns), redisZ("lease:l1")).Err() }, "is active and collectable: true"},
		{"not collectable", func(e *env) error { return e.rdb.ZRem(e.ctx, collectableKey(e.ns), "lease:gone").Err() }, "is destroyed and collectable: false"},
		{"two indexes", func(e *env) error {
			return e.rdb.ZAdd(e.ctx, statusKey(e.ns, model.KindLease, "pending"), redisZ("l1")).Err()
		}, `is "active" and stands in the index of "pending"`},
		{"no index", func(e *env) error {
			return e.rdb.ZRem(e.ctx, statusKey(e.ns, model.KindResource, "active"), "r-l1").Err()
		}, "is active and not in that index"},
		{"over capacity", func(e *env) error { return e.rdb.HSet(e.ctx, objectKey(e.resourceRef("r-l1")), "capacity", 0).Err() }, "a capacity of 0"},
		{"no place", func(e *env) error { return e.rdb.Del(e.ctx, resourceLeasesKey(e.ns, "r-l1")).Err() }, "has no place there"},
		{"slot lock of nobody", func(e *env) error { return e.rdb.Set(e.ctx, slotKey(e.ns, "s9"), "lease:gone", 0).Err() }, "which does not say so"},
		{"slot lock lost", func(e *env) error { return e.rdb.Del(e.ctx, slotKey(e.ns, "slot-l1")).Err() }, `which is held by ""`},
		{"active on a destroyed resource", func(e *env) error {
			c := e.claim(e.resourceRef("r-l1"))
			_, err := e.ApplyResource(e.ctx, c, ResourceStep{Path: []model.ResourceState{model.ResourceReleased, model.ResourceDestroyed}})
			return err
		}, "is active on a destroyed resource"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := seed(t)
			e.must(tt.spoil(e))
			problems, err := e.Verify(e.ctx, e.ns)
			e.must(err)
			if !strings.Contains(strings.Join(problems, "\n"), tt.want) {
				t.Errorf("Verify = %q, want a sentence with %q", problems, tt.want)
			}
		})
	}
}

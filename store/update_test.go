package store

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"drydock/model"
)

func TestClaim(t *testing.T) {
	t.Parallel()
	t.Run("a lease with a command", func(t *testing.T) {
		t.Parallel()
		e := newEnv(t)
		ref := e.leaseIn("l1", model.LeaseActive)
		e.send(ref, "c1", model.CommandRelease)
		_, err := e.Busy(e.ctx, ref, "token", time.Millisecond)
		e.must(err)
		old := e.pen(ref)
		e.clock.advance(time.Second)
		before := e.dump()
		c := e.claim(ref)
		e.wantChanges(before, expect{
			"lease:l1 writer": "<writer>", "lease:l1 fence": fmt.Sprint(old.Fence + 1), "lease:l1 woken": "0",
			"wake lease:l1": at(DefaultVisibility + time.Second), "lease:l1 busy": "",
		})
		if stored := e.pen(ref).Writer; c.Writer == old.Writer || stored != c.Writer {
			t.Errorf("writer %s, stored %s, before %s: want a fresh one, stored", c.Writer, stored, old.Writer)
		}
		if c.Fence != old.Fence+1 || c.Lease.Fence != c.Fence || c.Worker != "w1" || c.Resource != nil || !c.Now.Equal(start.Add(time.Second)) {
			t.Errorf("claim = %+v", c)
		}
		want := command(ref, "c1", model.CommandRelease)
		want.SentAt = start
		if diff := cmp.Diff([]*model.Command{&want}, c.Commands); diff != "" {
			t.Errorf("claimed commands (-want +got):\n%s", diff)
		}
		read, err := e.Lease(e.ctx, e.ns, "l1")
		e.must(err)
		if diff := cmp.Diff(read, c.Lease); diff != "" {
			t.Errorf("claimed lease (-read +claimed):\n%s", diff)
		}
	})
	t.Run("a resource with leases", func(t *testing.T) {
		t.Parallel()
		e := newEnv(t)
		e.leaseIn("l1", model.LeaseActive)
		ref := e.resourceRef("r-l1")
		c := e.claim(ref)
		read, err := e.Resource(e.ctx, e.ns, ref.ID)
		e.must(err)
		if diff := cmp.Diff(read, c.Resource); diff != "" || !slices.Equal(read.Leases, []string{"l1"}) {
			t.Errorf("claimed resource, leases %v (-read +claimed):\n%s", read.Leases, diff)
		}
		if rev := e.blueprint(bp).Rev; c.BlueprintsRev != rev || rev == 0 {
			t.Errorf("revision of the blueprints %d, want %d", c.BlueprintsRev, rev)
		}
		if len(c.Commands) > 0 || c.Lease != nil {
			t.Errorf("claim = %+v, want neither commands nor a lease", c)
		}
	})
	t.Run("commands in order, a bounded number", func(t *testing.T) {
		t.Parallel()
		e := newEnv(t)
		ref := e.lease("l1", model.NewLease{})
		var want, got []string
		for i := range MaxClaimed + 1 {
			want = append(want, fmt.Sprintf("c%d", 999-i))
			e.send(ref, want[i], model.CommandExtend)
		}
		for _, cmd := range e.claim(ref).Commands {
			got = append(got, cmd.ID)
		}
		if diff := cmp.Diff(want[:MaxClaimed], got); diff != "" {
			t.Errorf("claimed commands (-want +got):\n%s", diff)
		}
	})
}

// TestClaimExpires: expiry comes first in an update. An object whose end has passed gets one release of Drydock's own, behind
// what waits, once for each end.
func TestClaimExpires(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	ref := e.lease("l1", model.NewLease{TTL: time.Minute})
	e.send(ref, "c1", model.CommandExtend)

	e.clock.advance(time.Minute - time.Millisecond)
	if c := e.claim(ref); len(c.Commands) != 1 {
		t.Fatalf("a moment before the end: %d commands, want 1", len(c.Commands))
	}
	e.clock.advance(time.Millisecond)
	before := e.dump()
	c := e.claim(ref)
	pen := e.pen(ref)
	e.wantChanges(before, expect{
		"lease:l1 writer": "<writer>", "lease:l1 fence": fmt.Sprint(pen.Fence), "wake lease:l1": at(DefaultVisibility + time.Minute),
		"lease:l1 expired": at(time.Minute), "lease:l1 releases": "1", "lease:l1:commands": "c1 <id>",
		"lease:l1:records <id>": fmt.Sprintf(
			`{"sent_ms":%s,"command":"release","author":"drydock","origin":{"via":"worker"},"reason":"its until has passed"}`, at(time.Minute)),
		"lease:l1:log +1": "c=<id> e=command-sent t=release: its until has passed",
	})
	if len(c.Commands) != 2 || c.Commands[1].Name != model.CommandRelease || c.Commands[1].Author != model.SystemAuthor || !c.Lease.Releasing {
		t.Fatalf("claimed %v, releasing %t, want c1 and a release by %s", c.Commands, c.Lease.Releasing, model.SystemAuthor)
	}
	e.clock.advance(time.Hour)
	if again := e.claim(ref); len(again.Commands) != 2 {
		t.Errorf("the next claim finds %d commands, want no second release", len(again.Commands))
	}

	// A new end that passes brings a new release.
	c = e.claim(ref)
	later := c.Now.Add(time.Minute)
	e.applyLease(c, LeaseStep{WorkChanges: WorkChanges{Until: &later}, Step: Step{Consume: consumed(c, model.OutcomeRefused)}})
	if c = e.claim(ref); len(c.Commands) != 0 {
		t.Errorf("before the new end: %d commands, want none", len(c.Commands))
	}
	e.clock.advance(time.Minute)
	if c = e.claim(ref); len(c.Commands) != 1 || c.Commands[0].Name != model.CommandRelease {
		t.Errorf("after the new end: %v, want one release", c.Commands)
	}
	e.wantVerified()
}

func TestClaimOfAnEndedObjectExpiresNothing(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	for _, state := range []model.LeaseState{model.LeaseReleased, model.LeaseBroken} {
		id := "l-" + string(state)
		ref := e.leaseIn(id, state)
		e.must(e.rdb.HSet(e.ctx, objectKey(ref), "until", at(0)).Err())
		want := 0
		if state.Commandable() {
			want = 1
		}
		if c := e.claim(ref); len(c.Commands) != want {
			t.Errorf("%s lease past its end: %d commands, want %d", state, len(c.Commands), want)
		}
	}
	ref := e.resource("r1", spec{})
	e.must(e.rdb.HSet(e.ctx, objectKey(ref), "until", at(0)).Err())
	if c := e.claim(ref); len(c.Commands) != 1 || c.Commands[0].Target != ref {
		t.Errorf("active resource past its end: %v, want a release", c.Commands)
	}
}

func TestClaimRefused(t *testing.T) {
	t.Parallel()
	t.Run("unknown schema", func(t *testing.T) {
		t.Parallel()
		for _, version := range []string{"2", "99", "", "x"} {
			e := newEnv(t)
			ref := e.leaseIn("l1", model.LeaseActive)
			e.send(ref, "c1", model.CommandRelease)
			e.must(e.rdb.HSet(e.ctx, objectKey(ref), "schema", version).Err())
			e.wantNoChange(func() {
				if c, err := e.Claim(e.ctx, ref, "w1"); c != nil || !errors.Is(err, model.ErrSchemaVersion) {
					t.Errorf("schema %q: claim %v, %v, want %v", version, c, err, model.ErrSchemaVersion)
				}
			})
		}
	})
	t.Run("destroyed", func(t *testing.T) {
		t.Parallel()
		e := newEnv(t)
		ref := e.leaseIn("l1", model.LeaseDestroyed)
		e.must(e.rdb.ZAdd(e.ctx, wakeKey(e.ns), redisZ("lease:l1")).Err())
		e.must(e.rdb.HSet(e.ctx, objectKey(ref), "woken", "1").Err())
		before := e.dump()
		if c, err := e.Claim(e.ctx, ref, "w1"); c != nil || err != nil {
			t.Errorf("claim = %v, %v, want nothing", c, err)
		}
		e.wantChanges(before, expect{"lease:l1 woken": "0", "wake lease:l1": gone})
	})
	t.Run("missing", func(t *testing.T) {
		t.Parallel()
		e := newEnv(t)
		e.leaseIn("l1", model.LeaseActive)
		e.must(e.rdb.ZAdd(e.ctx, wakeKey(e.ns), redisZ("lease:nobody")).Err())
		before := e.dump()
		if c, err := e.Claim(e.ctx, e.leaseRef("nobody"), "w1"); c != nil || err != nil {
			t.Errorf("claim = %v, %v, want nothing", c, err)
		}
		e.wantChanges(before, expect{"wake lease:nobody": gone})
	})
}

func TestTouch(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	ref := e.leaseIn("l1", model.LeaseActive)
	stale, c := e.claim(ref), e.claim(ref)
	e.clock.advance(5 * time.Second)
	before := e.dump()
	e.must(e.Touch(e.ctx, c))
	e.wantChanges(before, expect{"wake lease:l1": at(DefaultVisibility + 5*time.Second)})

	e.clock.advance(time.Second)
	nobody := &Claim{Ref: e.leaseRef("nobody"), Writer: c.Writer}
	for _, other := range []*Claim{stale, nobody} {
		e.wantNoChange(func() {
			if err := e.Touch(e.ctx, other); !errors.Is(err, model.ErrStaleWriter) {
				t.Errorf("touch %s: %v, want %v", other.Ref, err, model.ErrStaleWriter)
			}
		})
	}
}

func TestBusy(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	ref := e.leaseIn("l1", model.LeaseActive)
	e.send(ref, "c1", model.CommandRelease)
	busy := func(token string) time.Duration {
		d, err := e.Busy(e.ctx, ref, token, 100*time.Millisecond)
		e.must(err)
		return d
	}

	before := e.dump()
	if d := busy("t1"); d != 100*time.Millisecond {
		t.Errorf("first delay %v, want 100ms", d)
	}
	// The visibility is later: the object is brought forward to when its holder may be done.
	e.wantChanges(before, expect{"lease:l1 busy": "1 t1", "wake lease:l1": at(100 * time.Millisecond)})
	e.clock.advance(50 * time.Millisecond)
	e.wantNoChange(func() {
		if d := busy("t1"); d != 100*time.Millisecond {
			t.Errorf("the same attempt again: %v, want 100ms", d)
		}
	})

	var got []time.Duration
	for i := range 10 {
		e.clock.advance(20 * time.Second)
		got = append(got, busy(fmt.Sprintf("t%d", i+2)))
	}
	var want []time.Duration
	for _, ms := range []int64{200, 400, 800, 1600, 3200, 6400, 11000, 11000, 11000, 11000} {
		want = append(want, time.UnixMilli(ms).Sub(time.UnixMilli(0)))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("delays (-want +got):\n%s", diff)
	}
	// What is owed sooner stays owed then.
	if wake := e.dump().Values["wake lease:l1"]; wake != at(100*time.Millisecond) {
		t.Errorf("put off to %s, want it left at %s", wake, at(100*time.Millisecond))
	}
	e.claim(ref)
	if d := busy("after"); d != 100*time.Millisecond {
		t.Errorf("after a claim: %v, want the first delay again", d)
	}
	e.wantNoChange(func() {
		if d, err := e.Busy(e.ctx, e.leaseRef("nobody"), "t", time.Second); d != 0 || err != nil {
			t.Errorf("busy of nobody = %v, %v, want 0", d, err)
		}
	})
}

// TestBusyLooksAgainWhenTheLockHasExpired: its holder has died, and by the doubling alone the object would wait for almost as long again.
func TestBusyLooksAgainWhenTheLockHasExpired(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	ref := e.lease("l1", model.NewLease{})
	const lives = time.Second
	e.must(e.rdb.Set(e.ctx, LockKey(ref), "of the dead", lives).Err())
	e.must(e.rdb.HSet(e.ctx, objectKey(ref), "busy", "8 t").Err())
	if d, err := e.Busy(e.ctx, ref, "u", 100*time.Millisecond); d <= 0 || d > lives+100*time.Millisecond || err != nil {
		t.Errorf("the ninth delay = %v, %v, want as long as the lock lives, which is %v", d, err, lives)
	}
	if d, err := e.Busy(e.ctx, e.lease("l2", model.NewLease{}), "u", 100*time.Millisecond); d != 100*time.Millisecond || err != nil {
		t.Errorf("the first delay without a lock = %v, %v, want 100ms", d, err)
	}
}

// TestBusyForVeryLong: the doubling must not overflow.
func TestBusyForVeryLong(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	ref := e.lease("l1", model.NewLease{})
	e.must(e.rdb.HSet(e.ctx, objectKey(ref), "busy", "5000 t").Err())
	if d, err := e.Busy(e.ctx, ref, "u", time.Millisecond); d != DefaultVisibility || err != nil {
		t.Errorf("the 5001st delay = %v, %v, want %v", d, err, DefaultVisibility)
	}
}

func TestDue(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	for i := range 5 {
		e.createLease(fmt.Sprintf("l%d", i), model.NewLease{})
		e.clock.advance(time.Second)
	}
	// They are due from 11 s to 15 s.
	e.wantNoChange(func() {
		refs, left, err := e.Due(e.ctx, e.ns, 10)
		if len(refs) > 0 || left != 0 || err != nil {
			t.Errorf("before their time: %v, %d left, %v", refs, left, err)
		}
	})
	e.clock.advance(DefaultVisibility - 2*time.Second) // 14 s: l0 to l3
	before := e.dump()
	refs, left, err := e.Due(e.ctx, e.ns, 3)
	e.must(err)
	e.wantRefs(refs, "lease:l0", "lease:l1", "lease:l2")
	if left != 1 {
		t.Errorf("%d left, want 1", left)
	}
	again := at(14*time.Second + DefaultVisibility)
	e.wantChanges(before, expect{"wake lease:l0": again, "wake lease:l1": again, "wake lease:l2": again})
	if refs, left, err = e.Due(e.ctx, e.ns, 3); err != nil || left != 0 {
		t.Errorf("the rest: %d left, %v, want none", left, err)
	}
	e.wantRefs(refs, "lease:l3")
	e.clock.advance(DefaultVisibility)
	if refs, _, err = e.Due(e.ctx, e.ns, 10); len(refs) != 5 || err != nil {
		t.Errorf("a visibility later: %v, %v, want all five again", refs, err)
	}
	if refs, left, err = e.Due(e.ctx, "nowhere-"+e.ns, 10); len(refs) > 0 || left > 0 || err != nil {
		t.Errorf("in a namespace without anything: %v, %d, %v", refs, left, err)
	}
}

// TestDueHandsOutEachObjectOnce lets many sweepers ask at once.
// TestHaveDue: of many namespaces, those are named in which somebody would be handed out.
func TestHaveDue(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.createLease("l1", model.NewLease{})
	others := []string{e.ns + "-nothing", e.ns, e.ns + "-neither"}
	for _, tt := range []struct {
		after time.Duration
		want  []string
	}{{0, nil}, {e.Visibility() - time.Millisecond, nil}, {time.Millisecond, []string{e.ns}}, {time.Hour, []string{e.ns}}} {
		e.clock.advance(tt.after)
		got, err := e.HaveDue(e.ctx, others)
		e.must(err)
		if !slices.Equal(got, tt.want) {
			t.Errorf("after %v more: %v, want %v", tt.after, got, tt.want)
		}
	}
	refs, _, err := e.Due(e.ctx, e.ns, 10)
	e.must(err)
	if got, err := e.HaveDue(e.ctx, others); len(refs) != 1 || err != nil || len(got) != 0 {
		t.Errorf("after %v were handed out: %v, %v, want none", refs, got, err)
	}
	if got, err := e.HaveDue(e.ctx, nil); err != nil || got != nil {
		t.Errorf("of no namespace: %v, %v", got, err)
	}
}

func TestDueHandsOutEachObjectOnce(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	const n = 200
	want := map[string]int{}
	for i := range n {
		id := fmt.Sprintf("l%03d", i)
		e.createLease(id, model.NewLease{})
		want["lease:"+id] = 1
	}
	e.clock.advance(DefaultVisibility)
	var wg sync.WaitGroup
	var mu sync.Mutex
	got := map[string]int{}
	for range 8 {
		wg.Go(func() {
			for range n {
				refs, left, err := e.Due(e.ctx, e.ns, 7)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for _, ref := range refs {
					got[ref.Member()]++
				}
				mu.Unlock()
				if left == 0 {
					return
				}
			}
		})
	}
	wg.Wait()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("handed out (-want +got):\n%s", diff)
	}
}

func TestDuePassesOverRubbish(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.createLease("l1", model.NewLease{})
	e.must(e.rdb.ZAdd(e.ctx, wakeKey(e.ns), redisZ("rubbish")).Err())
	e.clock.advance(DefaultVisibility)
	refs, _, err := e.Due(e.ctx, e.ns, 10)
	e.must(err)
	e.wantRefs(refs, "lease:l1")
}

func TestFinish(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	ref := e.lease("l1", model.NewLease{})
	stale, c := e.claim(ref), e.claim(ref)
	finish := func(c *Claim, lookAgain time.Time) bool {
		t.Helper()
		again, err := e.Finish(e.ctx, c, lookAgain)
		e.must(err)
		return again
	}

	before := e.dump()
	if finish(c, start.Add(time.Minute)) {
		t.Error("again, although nothing came in")
	}
	e.wantChanges(before, expect{"wake lease:l1": at(time.Minute)})
	before = e.dump()
	if finish(c, time.Time{}) {
		t.Error("again, although nothing came in")
	}
	e.wantChanges(before, expect{"wake lease:l1": gone})

	e.wantNoChange(func() {
		if _, err := e.Finish(e.ctx, stale, time.Time{}); !errors.Is(err, model.ErrStaleWriter) {
			t.Errorf("by a stale claim: %v, want %v", err, model.ErrStaleWriter)
		}
		if _, err := e.Finish(e.ctx, &Claim{Ref: e.leaseRef("nobody"), Writer: "x"}, time.Time{}); !errors.Is(err, model.ErrStaleWriter) {
			t.Errorf("of nobody: %v, want %v", err, model.ErrStaleWriter)
		}
	})

	// Something came in since the claim.
	e.send(ref, "c1", model.CommandExtend)
	e.wantNoChange(func() {
		if !finish(c, time.Time{}) {
			t.Error("done, although a command came in")
		}
	})
	// The claim took note of it, and left the command there.
	c = e.claim(ref)
	e.wantNoChange(func() {
		if !finish(c, start.Add(time.Minute)) {
			t.Error("done, although a command waits")
		}
	})
	e.applyLease(c, LeaseStep{Step: Step{Consume: consumed(c, model.OutcomeRefused)}})
	if finish(c, start.Add(time.Minute)) {
		t.Error("again, although the command was consumed")
	}
}

// TestOwedTellsOfWhatNobodyClaimed is the look after the unlock.
func TestOwedTellsOfWhatNobodyClaimed(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	owed := func(ref model.Ref, want bool) {
		t.Helper()
		if got, err := e.Owed(e.ctx, ref); got != want || err != nil {
			t.Errorf("Owed(%s) = %t, %v, want %t", ref, got, err, want)
		}
	}
	ref := e.lease("l1", model.NewLease{})
	owed(ref, false)
	e.send(ref, "c1", model.CommandExtend)
	owed(ref, true)
	e.claim(ref)
	owed(ref, false)
	owed(e.leaseRef("nobody"), false)
}

package store

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/redis/go-redis/v9"

	"drydock/model"
)

func (e *env) begin(ref model.Ref) *Claim {
	e.Helper()
	c, err := e.Begin(e.ctx, ref, "w1")
	e.must(err)
	if c == nil {
		e.Fatalf("begin %s: nothing is owed", ref)
	}
	return c
}

// refuse is a step that consumes what the claim has seen and leaves the state.
func refuse(c *Claim) Step { return Step{Consume: consumed(c, model.OutcomeRefused)} }

// TestBegin: a run that begins sees what a claim would show, and changes nothing.
func TestBegin(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	lease := e.leaseIn("l1", model.LeaseActive)
	for _, ref := range []model.Ref{lease, e.resourceRef("r-l1")} {
		e.send(ref, "c-"+ref.ID, model.CommandRelease)
		var began *Claim
		e.wantNoChange(func() { began = e.begin(ref) })
		if began.Taken() {
			t.Errorf("%s: a look has the pen", ref)
		}
		claimed := e.claim(ref)
		writers := cmpopts.IgnoreFields(model.Work{}, "Writer")
		if diff := cmp.Diff(claimed.Lease, began.Lease, writers); diff != "" {
			t.Errorf("%s (-claimed +begun):\n%s", ref, diff)
		}
		if diff := cmp.Diff(claimed.Resource, began.Resource, writers); diff != "" {
			t.Errorf("%s (-claimed +begun):\n%s", ref, diff)
		}
		if diff := cmp.Diff(claimed.Commands, began.Commands); diff != "" || len(began.Commands) != 1 {
			t.Errorf("%s: commands (-claimed +begun):\n%s", ref, diff)
		}
		if began.Fence != claimed.Fence || began.BlueprintsRev != claimed.BlueprintsRev || !began.Now.Equal(claimed.Now) || began.Writer == claimed.Writer {
			t.Errorf("%s: begun as %+v, claimed as %+v", ref, began, claimed)
		}
	}
}

func TestBeginOfWhatIsOwedNothing(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	destroyed := e.leaseIn("l1", model.LeaseDestroyed)
	for _, ref := range []model.Ref{destroyed, e.leaseRef("nobody")} {
		e.must(e.rdb.ZAdd(e.ctx, wakeKey(e.ns), redisZ(ref.Member())).Err())
		if c, err := e.Begin(e.ctx, ref, "w1"); c != nil || err != nil {
			t.Errorf("begin %s = %v, %v, want nothing", ref, c, err)
		}
		if at, err := e.rdb.ZScore(e.ctx, wakeKey(e.ns), ref.Member()).Result(); !errors.Is(err, redis.Nil) {
			t.Errorf("%s is in wake at %v, %v", ref, at, err)
		}
	}
	ref := e.lease("newer", model.NewLease{})
	e.must(e.rdb.HSet(e.ctx, objectKey(ref), "schema", schemaVersion+1).Err())
	e.wantNoChange(func() {
		if c, err := e.Begin(e.ctx, ref, "w1"); c != nil || !errors.Is(err, model.ErrSchemaVersion) {
			t.Errorf("begin of a newer version = %v, %v", c, err)
		}
	})
}

// TestBeginOfWhatHasEnded: the release that comes of a passed end is a write, which takes the pen.
func TestBeginOfWhatHasEnded(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	ref := e.lease("l1", model.NewLease{TTL: time.Minute})
	e.clock.advance(time.Minute - time.Millisecond)
	if c := e.begin(ref); c.Taken() || len(c.Commands) != 0 {
		t.Errorf("a moment before its end: %+v", c)
	}
	e.clock.advance(time.Millisecond)
	if c := e.begin(ref); !c.Taken() || len(c.Commands) != 1 || c.Commands[0].Author != model.SystemAuthor {
		t.Errorf("at its end: %+v, want the pen and one release", c)
	}
	if c := e.begin(ref); c.Taken() || len(c.Commands) != 1 {
		t.Errorf("after its end: %+v, want the same release and no second one", c)
	}
}

// TestTheFirstWriteTakesThePen: with what the step does, in one write.
func TestTheFirstWriteTakesThePen(t *testing.T) {
	t.Parallel()
	for _, finish := range []bool{false, true} {
		t.Run(fmt.Sprintf("finish %t", finish), func(t *testing.T) {
			t.Parallel()
			e := newEnv(t)
			ref := e.leaseIn("l1", model.LeaseActive)
			e.send(ref, "c1", model.CommandExtend)
			_, err := e.Busy(e.ctx, ref, "token", time.Millisecond)
			e.must(err)
			old := e.pen(ref)
			e.clock.advance(time.Second)
			c := e.begin(ref)
			before := e.dump()
			st := refuse(c)
			st.Finish = finish
			a := e.applyLease(c, LeaseStep{Step: st})
			got := changes(before, e.dump())
			wake := at(DefaultVisibility + time.Second)
			if finish {
				wake = gone
			}
			for key, want := range map[string]string{
				"lease:l1 fence": fmt.Sprint(old.Fence + 1), "lease:l1 woken": "0", "lease:l1 busy": "", "wake lease:l1": wake,
				"lease:l1:records c1:outcome": fmt.Sprintf(`{"consumed_ms":%s,"outcome":"refused","fence":%d,"worker":"w1"}`, at(time.Second), old.Fence+1),
			} {
				if got[key] != want {
					t.Errorf("%s became %q, want %q", key, got[key], want)
				}
			}
			if stored := e.pen(ref).Writer; stored != c.Writer || !c.Taken() || a.Done != finish {
				t.Errorf("stored writer %s, want %s; taken %t, applied %+v", stored, c.Writer, c.Taken(), a)
			}
			// The second write of the run is one under the pen.
			e.applyLease(c, LeaseStep{Step: Step{Finish: true}})
			e.wantVerified()
		})
	}
}

// TestTheFirstWriteIsStale: when anybody has written since the run began, or somebody holds the pen by now.
func TestTheFirstWriteIsStale(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		meddle  func(e *env, ref model.Ref, former *Claim)
		allowed bool
	}{
		{"somebody has claimed it", func(e *env, ref model.Ref, _ *Claim) { e.claim(ref) }, false},
		{"somebody's first write came first", func(e *env, ref model.Ref, _ *Claim) {
			c := e.begin(ref)
			e.applyLease(c, LeaseStep{Step: refuse(c)})
		}, false},
		{"somebody has finished it", func(e *env, ref model.Ref, _ *Claim) {
			_, err := e.Finish(e.ctx, e.begin(ref), start.Add(time.Hour))
			e.must(err)
		}, false},
		{"who had the pen went on writing", func(e *env, _ model.Ref, former *Claim) { e.applyLease(former, LeaseStep{Step: refuse(former)}) }, false},
		{"another command came in", func(e *env, ref model.Ref, _ *Claim) { e.send(ref, "c2", model.CommandExtend) }, true},
		{"somebody else has begun", func(e *env, ref model.Ref, _ *Claim) { e.begin(ref) }, true},
	} {
		for _, finish := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, finish %t", tt.name, finish), func(t *testing.T) {
				t.Parallel()
				e := newEnv(t)
				ref := e.leaseIn("l1", model.LeaseActive)
				e.send(ref, "c1", model.CommandExtend)
				former := e.claim(ref)
				c := e.begin(ref)
				tt.meddle(e, ref, former)
				write := func() error {
					if finish {
						_, err := e.Finish(e.ctx, c, time.Time{})
						return err
					}
					_, err := e.ApplyLease(e.ctx, c, LeaseStep{Step: refuse(c)})
					return err
				}
				if tt.allowed {
					e.must(write())
					return
				}
				e.wantNoChange(func() {
					if err := write(); !errors.Is(err, model.ErrStaleWriter) {
						t.Errorf("the first write: %v, want %v", err, model.ErrStaleWriter)
					}
				})
			})
		}
	}
}

// TestWordsBetweenTheLookAndTheWrite: what was said since a run began makes it run again, and what it had heard does not.
func TestWordsBetweenTheLookAndTheWrite(t *testing.T) {
	t.Parallel()
	word := func(e *env, ref model.Ref) {
		e.Helper()
		// As another lease's write gives it: a word without a command.
		e.must(e.rdb.HSet(e.ctx, objectKey(ref), "woken", model.NewWriter()).Err())
		e.must(e.rdb.ZAdd(e.ctx, wakeKey(e.ns), redisZ(ref.Member())).Err())
	}
	for _, words := range []int{0, 1, 2} {
		for name, write := range map[string]func(e *env, c *Claim) (again bool){
			"apply": func(e *env, c *Claim) bool { return e.applyLease(c, LeaseStep{Step: Step{Finish: true}}).Again },
			"finish": func(e *env, c *Claim) bool {
				again, err := e.Finish(e.ctx, c, time.Time{})
				e.must(err)
				return again
			},
			"two writes": func(e *env, c *Claim) bool {
				e.applyLease(c, LeaseStep{})
				return e.applyLease(c, LeaseStep{Step: Step{Finish: true}}).Again
			},
		} {
			t.Run(fmt.Sprintf("%s, %d words", name, words), func(t *testing.T) {
				t.Parallel()
				e := newEnv(t)
				ref := e.lease("l1", model.NewLease{})
				word(e, ref)
				word(e, ref)
				c := e.begin(ref)
				for range words {
					word(e, ref)
				}
				if again := write(e, c); again != (words > 0) {
					t.Errorf("again = %t after %d words that it has not heard", again, words)
				}
				if owed, err := e.Owed(e.ctx, ref); owed != (words > 0) || err != nil {
					t.Errorf("owed = %t, %v", owed, err)
				}
				if c := e.begin(ref); write(e, c) {
					t.Error("again, although nothing was said since")
				}
			})
		}
	}
}

// TestFinishOfALookThatFoundNothing writes nothing, as long as the object stays where it is in the wake index.
func TestFinishOfALookThatFoundNothing(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	ref := e.leaseIn("l1", model.LeaseActive)
	end := start.Add(time.Hour)
	for _, lookAgain := range []time.Time{end, {}} {
		if _, err := e.Finish(e.ctx, e.claim(ref), lookAgain); err != nil {
			t.Fatal(err)
		}
		e.wantNoChange(func() {
			c := e.begin(ref)
			if again, err := e.Finish(e.ctx, c, lookAgain); again || err != nil || c.Taken() {
				t.Errorf("finish = %t, %v, taken %t", again, err, c.Taken())
			}
		})
		before := e.dump()
		later := start.Add(2 * time.Hour)
		c := e.begin(ref)
		if again, err := e.Finish(e.ctx, c, later); again || err != nil {
			t.Errorf("finish = %t, %v", again, err)
		}
		if got := changes(before, e.dump()); got["wake lease:l1"] != at(2*time.Hour) || got["lease:l1 writer"] == "" {
			t.Errorf("finish with another instant changed %v, want that and the pen", got)
		}
	}
}

// TestFinishOfALookForgetsThatTheLockWasBusy: the pauses at a busy lock begin anew once it is free.
func TestFinishOfALookForgetsThatTheLockWasBusy(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	ref := e.leaseIn("l1", model.LeaseActive)
	_, err := e.Finish(e.ctx, e.claim(ref), start.Add(time.Hour))
	e.must(err)
	const first = time.Millisecond
	_, err = e.Busy(e.ctx, ref, "t1", first)
	e.must(err)
	_, err = e.Finish(e.ctx, e.begin(ref), start.Add(first))
	e.must(err)
	if delay, err := e.Busy(e.ctx, ref, "t2", first); delay != first || err != nil {
		t.Errorf("the next pause lasts %v, %v, want %v", delay, err, first)
	}
}

// TestRacingBegins is [TestRacingSendersAndClaimers] for runs that begin with a look: whoever writes first has the pen.
func TestRacingBegins(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	ref := e.leaseIn("l1", model.LeaseActive)
	e.send(ref, "c1", model.CommandExtend)
	const runs = 8
	claims := make([]*Claim, runs)
	for i := range claims {
		claims[i] = e.begin(ref)
	}
	errs := make(chan error, runs)
	for _, c := range claims {
		go func() {
			_, err := e.ApplyLease(e.ctx, c, LeaseStep{Step: refuse(c)})
			errs <- err
		}()
	}
	written := 0
	for range runs {
		switch err := <-errs; {
		case err == nil:
			written++
		case !errors.Is(err, model.ErrStaleWriter):
			t.Error(err)
		}
	}
	if written != 1 {
		t.Errorf("%d of %d runs that saw the same wrote, want 1", written, runs)
	}
	e.wantVerified()
}

// TestTheLastLeaseLeavesDuringAnUpdate: the time at which the resource is to go for being idle is not overwritten by a run that took
// it to be in use.
func TestTheLastLeaseLeavesDuringAnUpdate(t *testing.T) {
	t.Parallel()
	for name, finish := range map[string]func(e *env, c *Claim) (again bool){
		"apply": func(e *env, c *Claim) bool { return e.applyResource(c, ResourceStep{Step: Step{Finish: true}}).Again },
		"finish": func(e *env, c *Claim) bool {
			again, err := e.Finish(e.ctx, c, start.Add(time.Hour))
			e.must(err)
			return again
		},
	} {
		for _, begin := range []func(e *env, ref model.Ref) *Claim{(*env).begin, (*env).claim} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				e := newEnv(t)
				lease, ref := e.leaseIn("l1", model.LeaseActive), e.resourceRef("r-l1")
				after := time.Minute
				e.applyResource(e.claim(ref), ResourceStep{RetireAfter: &after, Step: Step{Finish: true}})
				c := begin(e, ref)
				e.applyLease(e.claim(lease), LeaseStep{
					Path: []model.LeaseState{model.LeaseReleased, model.LeaseDestroyed}, Step: Step{Finish: true},
				})
				if !finish(e, c) {
					t.Error("done, although the resource has become idle")
				}
				if got, err := e.rdb.ZScore(e.ctx, wakeKey(e.ns), ref.Member()).Result(); err != nil || got > float64(start.Add(after).UnixMilli()) {
					t.Errorf("in wake at %.0f, %v, want not after it retires", got, err)
				}
				if finish(e, begin(e, ref)) {
					t.Error("again, although nothing has changed since")
				}
			})
		}
	}
}

// between sends the commands of the first short pipeline one by one, and does something behind the first.
type between struct {
	redis.Hook

	do func()
}

func (*between) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (*between) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (b *between) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if b.do == nil || cmds[0].Name() == "hello" || cmds[0].Name() == "client" {
			return next(ctx, cmds)
		}
		do := b.do
		b.do = nil
		first := next(ctx, cmds[:1])
		do()
		return errors.Join(first, next(ctx, cmds[1:]))
	}
}

// TestBeginWhileOthersWrite: what comes in between the reads of a look is not lost with it.
func TestBeginWhileOthersWrite(t *testing.T) {
	t.Parallel()
	// beginAround has others write in the middle of a look.
	beginAround := func(e *env, ref model.Ref, others func()) *Claim {
		client := redis.NewClient(e.rdb.Options())
		e.Cleanup(func() { _ = client.Close() })
		client.AddHook(&between{do: others})
		s := New(client, e.cfg)
		e.Cleanup(s.Close)
		c, err := s.Begin(e.ctx, ref, "w1")
		e.must(err)
		return c
	}
	t.Run("a command", func(t *testing.T) {
		t.Parallel()
		e := newEnv(t)
		ref := e.leaseIn("l1", model.LeaseActive)
		c := beginAround(e, ref, func() { e.send(ref, "c1", model.CommandExtend) })
		if len(c.Commands) != 1 {
			t.Fatalf("the look shows %d commands, want the one that came in", len(c.Commands))
		}
		st := refuse(c)
		st.Finish = true
		if a := e.applyLease(c, LeaseStep{Step: st}); !a.Again {
			t.Error("nothing asks for another look, although a word has not been heard")
		}
	})
	t.Run("another run", func(t *testing.T) {
		t.Parallel()
		e := newEnv(t)
		ref := e.leaseIn("l1", model.LeaseActive)
		e.send(ref, "c1", model.CommandExtend)
		c := beginAround(e, ref, func() {
			other := e.begin(ref)
			e.applyLease(other, LeaseStep{Step: refuse(other)})
		})
		if _, err := e.ApplyLease(e.ctx, c, LeaseStep{Step: refuse(c)}); !errors.Is(err, model.ErrStaleWriter) {
			t.Errorf("the first write = %v, want stale", err)
		}
	})
	t.Run("a lease that leaves its resource", func(t *testing.T) {
		t.Parallel()
		e := newEnv(t)
		lease, ref := e.leaseIn("l1", model.LeaseActive), e.resourceRef("r-l1")
		after := time.Minute
		e.applyResource(e.claim(ref), ResourceStep{RetireAfter: &after, Step: Step{Finish: true}})
		c := beginAround(e, ref, func() {
			e.clock.advance(time.Second)
			e.applyLease(e.claim(lease), LeaseStep{Path: []model.LeaseState{model.LeaseReleased, model.LeaseDestroyed}, Step: Step{Finish: true}})
		})
		if again, err := e.Finish(e.ctx, c, start.Add(after)); !again || err != nil {
			t.Errorf("finish = %t, %v, want another look at a resource that has become idle", again, err)
		}
	})
}

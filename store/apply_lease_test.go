package store

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"drydock/model"
)

// written is what every write of an object leaves: the version raised, the instant.
func written(member string, version int, d time.Duration) expect {
	if d == 0 {
		return expect{member + " version": fmt.Sprint(version)} // seeded at that instant
	}
	return expect{member + " version": fmt.Sprint(version), member + " updated": at(d)}
}

// moved is what a change of state leaves.
func moved(plural, id, from, to string) expect {
	return expect{
		plural[:len(plural)-1] + ":" + id + " status": to, plural + ":" + from + " " + id: gone, plural + ":" + to + " " + id: "0",
	}
}

func event(member, name, status string) expect {
	if name != "" {
		name = "e=" + name + " "
	}
	return expect{"events +1": name + "o=" + member + " s=" + status}
}

func TestApplyLeaseConsumes(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	ref := e.leaseIn("l1", model.LeaseActive)
	for _, cid := range []string{"c1", "c2", "c3"} {
		e.send(ref, cid, model.CommandRelease)
	}
	c := e.claim(ref)
	version := int(c.version)
	e.clock.advance(time.Second)
	until, failures, hook, slots := start.Add(time.Hour), 3, "destroy", []string{"slot-l1"}
	before := e.dump()
	e.applyLease(c, LeaseStep{
		Step: Step{
			Consume: []Consumption{
				{Command: c.Commands[0], Outcome: model.OutcomeRefused, Detail: "because"},
				{Command: c.Commands[1], Outcome: model.OutcomeSuperseded},
			},
			Log: []Entry{
				{Event: model.EventRefused, Text: "release refused: because", Command: "c1"},
				{Event: model.EventExtended, Text: "until then"},
			},
		},
		WorkChanges: WorkChanges{Until: &until, Failures: &failures, Hook: &hook, Slots: &slots, EndedAt: &until},
	})
	e.wantChanges(before, written("lease:l1", version+1, time.Second), expect{
		"lease:l1:commands": "c3", "lease:l1:history": "c1 c2", "lease:l1 releases": "1",
		"lease:l1:records c1:outcome": fmt.Sprintf(`{"consumed_ms":%s,"outcome":"refused","detail":"because","fence":%d,"worker":"w1"}`,
			at(time.Second), c.Fence),
		"lease:l1:records c2:outcome": fmt.Sprintf(`{"consumed_ms":%s,"outcome":"superseded","fence":%d,"worker":"w1"}`,
			at(time.Second), c.Fence),
		"lease:l1:log +1": fmt.Sprintf("c1=c1 e=extended e1=refused f=%d t=until then t1=release refused: because w=w1", c.Fence),
		"lease:l1 until":  at(time.Hour), "lease:l1 failures": "3", "lease:l1 hook": "destroy", "lease:l1 ended": at(time.Hour),
	}, event("lease:l1", "extended", "active"))
	if int(c.version) != version+1 {
		t.Errorf("the claim's version is %d, want %d", c.version, version+1)
	}
	e.wantVerified()
}

func TestApplyLeaseAcquires(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.resource("r1", spec{capacity: 2})
	ref := e.lease("l1", model.NewLease{})
	c := e.claim(ref)
	version := int(c.version)
	st := e.acquireStep("r1", "s1", "s2")
	st.Path = append(st.Path, model.LeaseActive)
	st.Log = []Entry{{Event: model.EventActivated, Text: "active"}}
	st.Finish = true
	before := e.dump()
	a := e.applyLease(c, st)
	e.wantChanges(before, written("lease:l1", version+1, 0), moved("leases", "l1", "pending", "active"), expect{
		"lease:l1 acquired": at(0), "lease:l1 active": at(0), "lease:l1 failed": "",
		"lease:l1 resource": "r1", "lease:l1 blueprint": bp, "lease:l1 slots": `["s1","s2"]`,
		"lease:l1 allocation": "", "lease:l1 reason": "", "lease:l1 considered": "", "lease:l1 reclaiming": "",
		"resource:r1:leases l1": "0", "leases:by-resource:r1 l1": "0", "blueprint:lab:held: l1": "member", "blueprint:lab:idle r1": gone,
		"slot:s1": "lease:l1", "slot:s2": "lease:l1",
		"free:host r1":    load(1, 0),
		"waiting:host l1": gone, "waiting:host:shapes " + plain: gone, "waiting:host:shape:" + plain + " l1": gone,
		"wake lease:l1":   gone,
		"lease:l1:log +1": fmt.Sprintf("e=activated f=%d t=active w=w1", c.Fence),
	}, event("lease:l1", "activated", "active"))
	if diff := cmp.Diff(Applied{Done: true, Wake: []model.Ref{}}, a); diff != "" {
		t.Errorf("applied (-want +got):\n%s", diff)
	}
	read, err := e.Lease(e.ctx, e.ns, "l1")
	e.must(err)
	if read.Waiting != nil || read.Resource != "r1" || !read.AcquiredAt.Equal(start) || !read.ActivatedAt.Equal(start) {
		t.Errorf("lease = %+v", read)
	}
	e.wantVerified()

	// The second lease takes the last room.
	second := e.lease("l2", model.NewLease{})
	c = e.claim(second)
	before = e.dump()
	e.applyLease(c, e.acquireStep("r1"))
	if got := changes(before, e.dump())["free:host r1"]; got != gone {
		t.Errorf("a full resource is in the free index: %q", got)
	}
}

// load is the score of a resource in the free index.
func load(leases int, d time.Duration) string {
	return fmt.Sprint(int64(leases)*10_000_000_000_000 + start.Add(d).UnixMilli())
}

func TestApplyLeaseRefused(t *testing.T) {
	t.Parallel()
	acquire := func(e *env, c *Claim) (LeaseStep, *Claim) { return e.acquireStep("r1", "s1", "s2"), c }
	tests := []struct {
		name string
		// seed changes what there is: the waiting lease l1 and the active resource r1, before l1 is claimed.
		seed func(e *env)
		// step is tried with the claim of l1, which has the commands that seed sent, or with another.
		step func(e *env, c *Claim) (LeaseStep, *Claim)
		want error
	}{
		{"stale writer", nil, func(e *env, c *Claim) (LeaseStep, *Claim) { e.claim(c.Ref); return LeaseStep{}, c }, model.ErrStaleWriter},
		{"stale version", nil, func(e *env, c *Claim) (LeaseStep, *Claim) {
			old := *c
			e.applyLease(c, LeaseStep{})
			e.applyLease(c, LeaseStep{})
			return LeaseStep{}, &old
		}, model.ErrStaleWriter},
		{"version of the future", nil, func(_ *env, c *Claim) (LeaseStep, *Claim) { c.version++; return LeaseStep{}, c }, model.ErrStaleWriter},
		{"other state", nil, func(_ *env, c *Claim) (LeaseStep, *Claim) { c.status = "active"; return LeaseStep{}, c }, model.ErrStaleWriter},
		{"no such lease", nil, func(e *env, c *Claim) (LeaseStep, *Claim) {
			c.Ref = e.leaseRef("nobody")
			return LeaseStep{}, c
		}, model.ErrStaleWriter},
		{"head changed", func(e *env) {
			e.send(e.leaseRef("l1"), "c1", model.CommandRelease)
			e.send(e.leaseRef("l1"), "c2", model.CommandRelease)
		}, func(_ *env, c *Claim) (LeaseStep, *Claim) {
			return LeaseStep{Step: Step{Consume: consumed(c, model.OutcomeApplied)[1:]}}, c
		}, model.ErrStaleWriter},
		{"second of the head changed", func(e *env) {
			e.send(e.leaseRef("l1"), "c1", model.CommandRelease)
			e.send(e.leaseRef("l1"), "c2", model.CommandRelease)
		}, func(_ *env, c *Claim) (LeaseStep, *Claim) {
			st := LeaseStep{Step: Step{Consume: consumed(c, model.OutcomeApplied)}}
			other := *c.Commands[1]
			other.ID = "c3"
			st.Consume[1].Command = &other
			return st, c
		}, model.ErrStaleWriter},
		{"a command that is not there", nil, func(_ *env, c *Claim) (LeaseStep, *Claim) {
			return LeaseStep{Step: Step{Consume: []Consumption{{Command: &model.Command{ID: "c1"}}}}}, c
		}, model.ErrStaleWriter},
		{"forbidden transition", nil, func(_ *env, c *Claim) (LeaseStep, *Claim) {
			return LeaseStep{Path: []model.LeaseState{model.LeaseDestroyed}}, c
		}, errTransition},
		{"forbidden second transition", nil, func(_ *env, c *Claim) (LeaseStep, *Claim) {
			return LeaseStep{Path: []model.LeaseState{model.LeaseReleased, model.LeaseActive}}, c
		}, errTransition},
		{"acquired without a place", nil, func(_ *env, c *Claim) (LeaseStep, *Claim) {
			return LeaseStep{Path: []model.LeaseState{model.LeaseAcquired}}, c
		}, errTransition},
		{"a place without acquired", nil, func(e *env, c *Claim) (LeaseStep, *Claim) {
			st := e.acquireStep("r1")
			st.Path = nil
			return st, c
		}, errTransition},
		{"full", func(e *env) {
			e.acquire(e.lease("other", model.NewLease{}), "r1")
		}, acquire, model.ErrResourceUnusable},
		{"no such resource", nil, func(e *env, c *Claim) (LeaseStep, *Claim) {
			st := e.acquireStep("r1")
			st.Acquire.Resource = "nobody"
			return st, c
		}, model.ErrResourceUnusable},
		{"paused", func(e *env) {
			paused := true
			e.applyResource(e.claim(e.resourceRef("r1")), ResourceStep{Paused: &paused})
		}, acquire, model.ErrResourceUnusable},
		{"releasing", func(e *env) {
			e.send(e.resourceRef("r1"), "c1", model.CommandReclaim)
		}, acquire, model.ErrResourceUnusable},
		{"released", func(e *env) {
			e.applyResource(e.claim(e.resourceRef("r1")), ResourceStep{Path: []model.ResourceState{model.ResourceReleased}})
		}, acquire, model.ErrResourceUnusable},
		{"not idle", func(e *env) {
			two := 2
			e.applyResource(e.claim(e.resourceRef("r1")), ResourceStep{Capacity: &two})
			e.acquire(e.lease("other", model.NewLease{}), "r1")
		}, func(e *env, c *Claim) (LeaseStep, *Claim) {
			st := e.acquireStep("r1")
			st.Acquire.Idle = true
			return st, c
		}, model.ErrResourceUnusable},
		{"blueprint changed", nil, func(e *env, c *Claim) (LeaseStep, *Claim) {
			st := e.acquireStep("r1")
			e.putBlueprint(bp, 2)
			return st, c
		}, model.ErrBlueprintChanged},
		{"blueprint removed", nil, func(e *env, c *Claim) (LeaseStep, *Claim) {
			st := e.acquireStep("r1")
			e.must(e.rdb.HDel(e.ctx, prefix(e.ns)+"blueprints:revs", bp).Err())
			return st, c
		}, model.ErrBlueprintChanged},
		{"second slot lock held", func(e *env) {
			e.resource("r2", spec{slots: []string{"s2"}})
		}, acquire, model.ErrSlotHeld},
		{"quota", func(e *env) {
			e.resource("r2", spec{})
			e.acquire(e.lease("other", model.NewLease{}), "r2")
		}, func(e *env, c *Claim) (LeaseStep, *Claim) {
			st := e.acquireStep("r1")
			st.Acquire.Quota = 1
			return st, c
		}, model.ErrQuotaReached},
		{"not approved", nil, func(e *env, c *Claim) (LeaseStep, *Claim) {
			st := e.acquireStep("r1")
			st.Acquire.Approved = true
			return st, c
		}, model.ErrBlueprintChanged},
		{"a gate that is open", nil, func(e *env, c *Claim) (LeaseStep, *Claim) {
			return LeaseStep{Gates: &[]Gate{{Blueprint: bp, Rev: e.blueprint(bp).Rev, Quota: 1}}}, c
		}, model.ErrBlueprintChanged},
		{"active while a release waits", func(e *env) {
			e.send(e.leaseRef("l1"), "c1", model.CommandRelease)
		}, func(e *env, c *Claim) (LeaseStep, *Claim) {
			st := e.acquireStep("r1")
			st.Path = append(st.Path, model.LeaseActive)
			return st, c
		}, ErrReleasing},
		{"too many unread commands", func(e *env) {
			for i := range 1003 {
				e.send(e.leaseRef("l1"), fmt.Sprintf("c%04d", i), model.CommandRelease)
			}
		}, func(_ *env, c *Claim) (LeaseStep, *Claim) {
			return LeaseStep{
				Path: []model.LeaseState{model.LeaseReleased, model.LeaseDestroyed},
				Step: Step{Consume: consumed(c, model.OutcomeSuperseded)[:2]},
			}, c
		}, ErrMoreCommands},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t)
			e.resource("r1", spec{})
			ref := e.lease("l1", model.NewLease{})
			if tt.seed != nil {
				tt.seed(e)
			}
			st, c := tt.step(e, e.claim(ref))
			st.Finish = true
			st.Log = []Entry{{Event: model.EventWaiting, Text: "waits"}}
			version := c.version
			e.wantNoChange(func() {
				a, err := e.ApplyLease(e.ctx, c, st)
				wantStepError(t, err, tt.want)
				if a.Done || a.Again || len(a.Wake) > 0 || c.version != version {
					t.Errorf("applied %+v, version %d, want nothing and %d", a, c.version, version)
				}
			})
		})
	}
}

// errTransition stands for a refused transition: a bug of the caller, so there is no sentinel.
var errTransition = errors.New(`the script answered "transition"`)

func wantStepError(t *testing.T, err, want error) {
	t.Helper()
	switch {
	case errors.Is(want, errTransition):
		if kindOf(err) != model.ErrorInternal || errors.Unwrap(err).Error() != want.Error() {
			t.Errorf("error %v, want an internal one: %v", err, want)
		}
	case !errors.Is(err, want):
		t.Errorf("error %v, want %v", err, want)
	}
}

// TestApplyLeaseStaleFreeIndex: a resource that takes no lease but is still offered would be chosen again and again.
func TestApplyLeaseTakesAnUnusableResourceOutOfTheFreeIndex(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.resource("r1", spec{state: model.ResourceReleased})
	e.must(e.rdb.ZAdd(e.ctx, freeKey(e.ns, "host"), redisZ("r1")).Err())
	c := e.claim(e.lease("l1", model.NewLease{}))
	before := e.dump()
	if _, err := e.ApplyLease(e.ctx, c, e.acquireStep("r1")); !errors.Is(err, model.ErrResourceUnusable) {
		t.Errorf("acquire: %v, want %v", err, model.ErrResourceUnusable)
	}
	e.wantChanges(before, expect{"free:host r1": gone})
}

func TestApplyLeaseTakesItsOwnSlotLockAgain(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.resource("r1", spec{})
	c := e.claim(e.lease("l1", model.NewLease{}))
	e.must(e.rdb.Set(e.ctx, slotKey(e.ns, "s1"), "lease:l1", 0).Err())
	e.applyLease(c, e.acquireStep("r1", "s1"))
	e.wantVerified()
}

func TestApplyLeaseRequeues(t *testing.T) {
	t.Parallel()
	for _, resourceLives := range []bool{true, false} {
		t.Run(fmt.Sprintf("resource lives %t", resourceLives), func(t *testing.T) {
			t.Parallel()
			e := newEnv(t)
			ref := e.leaseIn("l1", model.LeaseAcquired)
			if !resourceLives {
				e.applyResource(e.claim(e.resourceRef("r-l1")), ResourceStep{
					Path: []model.ResourceState{model.ResourceReleased}, Step: Step{Finish: true},
				})
			}
			c := e.claim(ref)
			version := int(c.version)
			e.clock.advance(time.Second)
			before := e.dump()
			a := e.applyLease(c, LeaseStep{
				Path: []model.LeaseState{model.LeasePending}, Requeue: true,
				Step: Step{Log: []Entry{{Event: model.EventRequeued, Text: "waits again"}}},
			})
			order := at(0) // the old place in the queue
			want := []expect{
				written("lease:l1", version+1, time.Second), moved("leases", "l1", "acquired", "pending"),
				{
					"lease:l1 resource": "", "lease:l1 blueprint": "", "lease:l1 slots": "", "lease:l1 acquired": "",
					"resource:r-l1:leases l1": gone, "blueprint:lab:held: l1": gone, "resource:r-l1 idle": at(time.Second), "slot:slot-l1": gone,
					"waiting:host l1": order, "waiting:host:shapes " + plain: order, "waiting:host:shape:" + plain + " l1": order,
					"lease:l1:log +1": fmt.Sprintf("e=requeued f=%d t=waits again w=w1", c.Fence),
				},
				event("lease:l1", "requeued", "pending"),
			}
			if resourceLives {
				// The room is offered to whoever waits: the lease itself.
				want = append(want, expect{"free:host r-l1": load(0, time.Second), "blueprint:lab:idle r-l1": "member", "lease:l1 woken": "1"})
				e.wantRefs(a.Wake, "lease:l1")
			} else {
				want = append(want, expect{"resource:r-l1 woken": "1", "wake resource:r-l1": at(time.Second + DefaultVisibility)})
				e.wantRefs(a.Wake, "resource:r-l1")
			}
			e.wantChanges(before, want...)
			e.wantVerified()
		})
	}
}

func TestApplyLeaseDestroys(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	ref := e.leaseIn("l1", model.LeaseReleased)
	e.createLease("waiter", model.NewLease{})
	e.settle(e.leaseRef("waiter"))
	c := e.claim(ref)
	version := int(c.version)
	before := e.dump()
	a := e.applyLease(c, LeaseStep{
		Path: []model.LeaseState{model.LeaseDestroyed},
		Step: Step{Finish: true, Log: []Entry{{Event: model.EventDestroyed, Text: "destroyed"}}},
	})
	e.wantChanges(before, written("lease:l1", version+1, 0), moved("leases", "l1", "released", "destroyed"), expect{
		"lease:l1 destroyed": at(0), "collectable lease:l1": at(0), "lease:l1 version": fmt.Sprint(version + 1), "wake lease:l1": gone,
		"resource:r-l1:leases l1": gone, "blueprint:lab:held: l1": gone, "resource:r-l1 idle": at(0), "slot:slot-l1": gone,
		"free:host r-l1": load(0, 0), "blueprint:lab:idle r-l1": "member",
		"lease:l1:log +1": fmt.Sprintf("e=destroyed f=%d t=destroyed w=w1", c.Fence),
		// The next in the queue gets the room.
		"lease:waiter woken": "1", "wake lease:waiter": visible,
	}, event("lease:l1", "destroyed", "destroyed"))
	e.wantRefs(a.Wake, "lease:waiter")
	if !a.Done {
		t.Errorf("applied = %+v, want done", a)
	}
	read, err := e.Lease(e.ctx, e.ns, "l1")
	e.must(err)
	if read.Resource != "r-l1" {
		t.Errorf("the destroyed lease says it was on %q, want r-l1 for the history", read.Resource)
	}
	e.wantVerified()
}

// TestApplyLeaseDestroyingDrainsTheQueue: what came in unread is consumed as superseded, so that nothing reads "releasing" for
// ever.
func TestApplyLeaseDestroyingDrainsTheQueue(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	ref := e.leaseIn("l1", model.LeaseActive)
	e.send(ref, "c1", model.CommandRelease)
	c := e.claim(ref)
	e.send(ref, "c2", model.CommandRelease)
	e.send(ref, "c3", model.CommandExtend)
	before := e.dump()
	a := e.applyLease(c, LeaseStep{
		Path: []model.LeaseState{model.LeaseReleased, model.LeaseDestroyed},
		Step: Step{Consume: consumed(c, model.OutcomeApplied), Finish: true},
	})
	got := changes(before, e.dump())
	superseded := fmt.Sprintf(`{"consumed_ms":%s,"outcome":"superseded","detail":"destroyed before it was looked at","fence":%d,"worker":"w1"}`,
		at(0), c.Fence)
	for key, want := range map[string]string{
		"lease:l1:commands": gone, "lease:l1:history": "c1 c2 c3", "lease:l1 releases": "0", "lease:l1 released": at(0),
		"lease:l1:records c1:outcome": fmt.Sprintf(`{"consumed_ms":%s,"outcome":"applied","fence":%d,"worker":"w1"}`, at(0), c.Fence),
		"lease:l1:records c2:outcome": superseded,
		"lease:l1:records c3:outcome": superseded,
	} {
		if got[key] != want {
			t.Errorf("%s became %q, want %q", key, got[key], want)
		}
	}
	// Nothing is owed to it any more, whatever came in.
	if !a.Done || got["lease:l1 woken"] != "0" || got["wake lease:l1"] != gone {
		t.Errorf("applied = %+v, woken %q, wake %q, want done, 0, gone", a, got["lease:l1 woken"], got["wake lease:l1"])
	}
	if c, err := e.Claim(e.ctx, ref, "w1"); c != nil || err != nil {
		t.Errorf("claim of the destroyed lease = %v, %v, want nothing", c, err)
	}
	e.wantVerified()
}

// TestApplyLeaseDrainsAsManyAsOneWriteMay is the bound itself.
func TestApplyLeaseDrainsAsManyAsOneWriteMay(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	ref := e.lease("l1", model.NewLease{})
	c := e.claim(ref)
	for i := range 1000 {
		e.send(ref, fmt.Sprintf("c%04d", i), model.CommandRelease)
	}
	e.applyLease(c, LeaseStep{Path: []model.LeaseState{model.LeaseReleased, model.LeaseDestroyed}})
	if n := e.rdb.LLen(e.ctx, historyKey(ref)).Val(); n != 1000 {
		t.Errorf("%d commands consumed, want 1000", n)
	}
	e.wantVerified()
}

func TestApplyLeaseFinishes(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	ref := e.leaseIn("l1", model.LeaseActive)
	c := e.claim(ref)
	if a := e.applyLease(c, LeaseStep{}); a.Done || a.Again {
		t.Errorf("without finish: %+v", a)
	}
	if a := e.applyLease(c, LeaseStep{Step: Step{Finish: true, LookAgain: start.Add(time.Minute)}}); !a.Done || a.Again {
		t.Errorf("with finish: %+v, want done", a)
	}
	if wake := e.dump().Values["wake lease:l1"]; wake != at(time.Minute) {
		t.Errorf("wake is %s, want %s", wake, at(time.Minute))
	}
	c = e.claim(ref)
	e.send(ref, "c1", model.CommandRelease)
	if a := e.applyLease(c, LeaseStep{Step: Step{Finish: true}}); a.Done || !a.Again {
		t.Errorf("with a command that came in: %+v, want again", a)
	}
	if wake := e.dump().Values["wake lease:l1"]; wake != visible {
		t.Errorf("wake is %s, want it left at %s", wake, visible)
	}
}

// TestApplyLeaseWaits is the queue of those who wait: who stands back, who competes, and whom they wake.
func TestApplyLeaseWaits(t *testing.T) {
	t.Parallel()
	windows := model.NewLease{Attributes: map[string]string{"os": "windows"}}
	shape := shapeOf(windows.Attributes, nil)
	reason, allocation, considered := "nothing is free", "r9", []string{bp}

	seed := func(t *testing.T) (*env, *Claim, dump) {
		e := newEnv(t)
		ref := e.lease("l1", model.NewLease{})
		for _, id := range []string{"l2", "w1", "w2"} {
			e.clock.advance(time.Millisecond)
			n := model.NewLease{}
			if id[0] == 'w' {
				n = windows
			}
			e.lease(id, n)
		}
		return e, e.claim(ref), e.dump()
	}
	const now = 3 * time.Millisecond
	woken := func(id string) expect {
		return expect{"lease:" + id + " woken": "1", "wake lease:" + id: at(DefaultVisibility + now)}
	}

	t.Run("with a reason", func(t *testing.T) {
		t.Parallel()
		e, c, before := seed(t)
		a := e.applyLease(c, LeaseStep{Reason: &reason, Allocation: &allocation, Considered: &considered, Compete: true})
		e.wantChanges(before, written("lease:l1", int(c.version), now), event("lease:l1", "", "pending"), expect{
			"lease:l1 reason": reason, "lease:l1 allocation": "r9", "lease:l1 considered": `["lab"]`,
		})
		e.wantRefs(a.Wake)
		read, err := e.Lease(e.ctx, e.ns, "l1")
		e.must(err)
		if diff := cmp.Diff(&model.Waiting{Position: 1, Reason: reason, Blueprints: considered}, read.Waiting); diff != "" {
			t.Errorf("waiting (-want +got):\n%s", diff)
		}
	})
	t.Run("standing back, then competing again", func(t *testing.T) {
		t.Parallel()
		e, c, before := seed(t)
		e.applyLease(c, LeaseStep{StandBack: true})
		e.wantChanges(before, written("lease:l1", int(c.version), now), event("lease:l1", "", "pending"), expect{
			"waiting:host:shape:" + plain + " l1": gone, "waiting:host:shapes " + plain: at(time.Millisecond),
		}, woken("l2"), woken("w1"))
		e.applyLease(c, LeaseStep{Compete: true})
		after := e.dump()
		for _, key := range []string{"waiting:host:shape:" + plain + " l1", "waiting:host:shapes " + plain} {
			if after.Values[key] != at(0) {
				t.Errorf("%s = %q, want %s again", key, after.Values[key], at(0))
			}
		}
	})
	t.Run("passing on", func(t *testing.T) {
		t.Parallel()
		e, c, before := seed(t)
		a := e.applyLease(c, LeaseStep{Pass: 1})
		// Leases of its own shape could take no more than it could.
		e.wantChanges(before, written("lease:l1", int(c.version), now), event("lease:l1", "", "pending"), woken("w1"))
		e.wantRefs(a.Wake, "lease:w1")
	})
	t.Run("released", func(t *testing.T) {
		t.Parallel()
		e, c, before := seed(t)
		a := e.applyLease(c, LeaseStep{Path: []model.LeaseState{model.LeaseReleased}})
		// What it may have been woken for is theirs.
		e.wantChanges(before, written("lease:l1", int(c.version), now), moved("leases", "l1", "pending", "released"),
			event("lease:l1", "", "released"), woken("l2"), woken("w1"), expect{
				"lease:l1 released": at(now), "waiting:host l1": gone, "waiting:host:shape:" + plain + " l1": gone,
				"waiting:host:shapes " + plain: at(time.Millisecond),
			})
		e.wantRefs(a.Wake, "lease:l2", "lease:w1")
	})
	t.Run("acquired with nothing left", func(t *testing.T) {
		t.Parallel()
		e, _, _ := seed(t)
		e.resource("r1", spec{})
		for _, id := range []string{"l1", "l2", "w1", "w2"} {
			e.settle(e.leaseRef(id))
		}
		a := e.applyLease(e.claim(e.leaseRef("l1")), e.acquireStep("r1"))
		e.wantRefs(a.Wake)
	})
	t.Run("acquired with something left", func(t *testing.T) {
		t.Parallel()
		e, _, _ := seed(t)
		e.resource("r1", spec{})
		for _, id := range []string{"l1", "l2", "w1", "w2"} {
			e.settle(e.leaseRef(id))
		}
		st := e.acquireStep("r1")
		st.Pass = 1
		a := e.applyLease(e.claim(e.leaseRef("l1")), st)
		e.wantRefs(a.Wake, "lease:l2", "lease:w1")
	})
	t.Run("acquired with room for two left", func(t *testing.T) {
		t.Parallel()
		e := newEnv(t)
		e.resource("r1", spec{})
		for i := range 5 {
			e.lease(fmt.Sprintf("l%d", i), model.NewLease{})
		}
		st := e.acquireStep("r1")
		st.Pass = 2
		e.wantRefs(e.applyLease(e.claim(e.leaseRef("l0")), st).Wake, "lease:l1", "lease:l2")
	})
	t.Run("acquired while woken again", func(t *testing.T) {
		t.Parallel()
		e, _, _ := seed(t)
		e.resource("r1", spec{})
		for _, id := range []string{"l1", "l2", "w1", "w2"} {
			e.settle(e.leaseRef(id))
		}
		c := e.claim(e.leaseRef("l1"))
		e.send(c.Ref, "c1", model.CommandExtend)
		// The second word may have been about something else that is free: it is passed on.
		a := e.applyLease(c, e.acquireStep("r1"))
		e.wantRefs(a.Wake, "lease:l2", "lease:w1")
	})
	t.Run("the last shape", func(t *testing.T) {
		t.Parallel()
		e, _, _ := seed(t)
		a := e.applyLease(e.claim(e.leaseRef("w1")), LeaseStep{Pass: 1})
		e.wantRefs(a.Wake)
		if got := e.dump().Values["waiting:host:shapes "+shape]; got != at(2*time.Millisecond) {
			t.Errorf("shape of w1 and w2 stands at %s, want %s", got, at(2*time.Millisecond))
		}
	})
}

// TestApplyWakesWhomTheStepNames: in the same write, and nobody who is not there.
func TestApplyWakesWhomTheStepNames(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	other, lease, resource := e.lease("l1", model.NewLease{}), e.lease("l2", model.NewLease{}), e.resource("r1", spec{})
	e.settle(other)
	st := Step{Wake: []model.Ref{other, e.leaseRef("nobody")}}
	e.wantRefs(e.applyLease(e.claim(lease), LeaseStep{Step: st}).Wake, "lease:l1")
	e.settle(other)
	e.wantRefs(e.applyResource(e.claim(resource), ResourceStep{Step: st}).Wake, "lease:l1")
	if _, there := e.dump().Values["wake lease:nobody"]; there {
		t.Error("nobody is in the wake index")
	}
}

// TestApplyLeaseNotesWhomItAskedToMakeRoom is what a waiting lease keeps about its reclaim.
func TestApplyLeaseNotesWhomItAskedToMakeRoom(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	ref := e.lease("l1", model.NewLease{})
	asked := Reclaiming{Resource: "r1", Command: "c1"}
	e.applyLease(e.claim(ref), LeaseStep{Reclaiming: &asked})
	c := e.claim(ref)
	if w := c.Lease.Work; w.Reclaiming != "r1" || w.ReclaimCommand != "c1" {
		t.Errorf("reclaiming %q by %q, want r1 by c1", w.Reclaiming, w.ReclaimCommand)
	}
	e.applyLease(c, LeaseStep{Reclaiming: &Reclaiming{}})
	if w := e.claim(ref).Lease.Work; w.Reclaiming != "" || w.ReclaimCommand != "" {
		t.Errorf("reclaiming %q by %q, want it forgotten", w.Reclaiming, w.ReclaimCommand)
	}
}

// TestWordIsPassedOnAmongLeasesOfOneMillisecond: of leases that ask for different things and were queued in the same millisecond,
// each is reached, and none twice.
func TestWordIsPassedOnAmongLeasesOfOneMillisecond(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	const n = 5
	for i := range n {
		e.lease(fmt.Sprintf("l%d", i), model.NewLease{Attributes: map[string]string{"rack": fmt.Sprint(i)}})
	}
	e.clock.advance(time.Millisecond)
	e.lease("late", model.NewLease{})
	shapes, err := e.rdb.ZRange(e.ctx, shapesKey(e.ns, "host"), 0, 0).Result()
	e.must(err)
	first, err := e.rdb.ZRange(e.ctx, shapeKey(e.ns, "host", shapes[0]), 0, 0).Result()
	e.must(err)

	reached := map[string]int{first[0]: 1}
	for id := first[0]; len(reached) <= n+1; {
		a := e.applyLease(e.claim(e.leaseRef(id)), LeaseStep{Pass: 1})
		if len(a.Wake) == 0 {
			break
		}
		if id = a.Wake[0].ID; reached[id] > 0 {
			t.Fatalf("the word comes back to %s", id)
		}
		reached[id]++
	}
	want := map[string]int{"l0": 1, "l1": 1, "l2": 1, "l3": 1, "l4": 1, "late": 1}
	if diff := cmp.Diff(want, reached); diff != "" {
		t.Errorf("reached (-want +got):\n%s", diff)
	}
}

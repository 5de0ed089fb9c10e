package store

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"drydock/model"
)

func TestApplyResourceActivates(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.lease("l1", model.NewLease{})
	ref := e.resource("r1", spec{state: model.ResourcePending, capacity: 2, forLease: "l1", attributes: map[string]string{"os": "linux"}})
	for i, os := range []string{"linux", "windows", "linux", "linux"} {
		e.clock.advance(time.Second)
		e.lease(fmt.Sprintf("w%d", i), model.NewLease{Attributes: map[string]string{"os": os}})
	}
	c := e.claim(ref)
	version := int(c.version)
	now := 4 * time.Second
	visible := at(now + DefaultVisibility)
	facts, attributes := "facts", map[string]string{"os": "linux", "gpu": "1"}
	before := e.dump()
	a := e.applyResource(c, ResourceStep{
		Path: []model.ResourceState{model.ResourceActive}, Facts: &facts, Attributes: attributes,
		Step: Step{Finish: true, Log: []Entry{{Event: model.EventActivated, Text: "active"}}},
	})
	e.wantChanges(before, written("resource:r1", version+1, now), moved("resources", "r1", "pending", "active"), expect{
		"resource:r1 active": at(now), "resource:r1 facts": "facts", "resource:r1 attributes": `{"gpu":"1","os":"linux"}`,
		"free:host r1": load(0, now), "blueprint:lab:idle r1": "member",
		"wake resource:r1":   gone,
		"resource:r1:log +1": fmt.Sprintf("e=activated f=%d t=active w=w1", c.Fence),
		// The lease it was made for competes again and is told.
		"waiting:host:shape:" + plain + " l1": at(0), "waiting:host:shapes " + plain: at(0),
		"lease:l1 woken": "1", "wake lease:l1": visible,
		// The room for two is offered: to l1, which is the first that fits, and to the next that fits, which is not w1.
		"lease:w0 woken": "1", "wake lease:w0": visible,
	}, event("resource:r1", "activated", "active"))
	e.wantRefs(a.Wake, "lease:l1", "lease:w0")
	if !a.Done {
		t.Errorf("applied = %+v, want done", a)
	}
	e.wantVerified()
}

// TestApplyResourceOffersItsRoomToThoseWhoFit checks whom a freed resource wakes.
func TestApplyResourceOffersItsRoomToThoseWhoFit(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		waiting []model.NewLease
		room    int
		want    []string
	}{
		{"one room, the first", []model.NewLease{{}, {}}, 1, []string{"lease:l0"}},
		{"room for all", []model.NewLease{{}, {}}, 3, []string{"lease:l0", "lease:l1"}},
		{"wrong value", []model.NewLease{{Attributes: map[string]string{"os": "windows"}}, {}}, 1, []string{"lease:l1"}},
		{"no such attribute", []model.NewLease{{Attributes: map[string]string{"gpu": "1"}}, {}}, 1, []string{"lease:l1"}},
		{"right value", []model.NewLease{{Attributes: map[string]string{"os": "linux"}}, {}}, 1, []string{"lease:l0"}},
		{"another blueprint", []model.NewLease{{Blueprints: []string{"other"}}, {Blueprints: []string{"other", bp}}}, 1, []string{"lease:l1"}},
		{"another type", []model.NewLease{{Type: "gpu"}}, 1, nil},
		{"priority first", []model.NewLease{{}, {Priority: 1}}, 1, []string{"lease:l1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t)
			ref := e.resource("r1", spec{capacity: tt.room, attributes: map[string]string{"os": "linux"}})
			for i, n := range tt.waiting {
				e.clock.advance(time.Second)
				e.lease(fmt.Sprintf("l%d", i), n)
			}
			e.wantRefs(e.applyResource(e.claim(ref), ResourceStep{}).Wake)
			e.wantRefs(e.applyResource(e.claim(ref), ResourceStep{Refill: true}).Wake, tt.want...)
		})
	}
}

// TestApplyResourceTellsItsLeases: a resource that is released or breaks orders each lease on it to release, in the same write.
func TestApplyResourceTellsItsLeases(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	ref := e.resource("r1", spec{capacity: 4, slots: []string{"host:1"}})
	for _, id := range []string{"acquired", "active", "broken", "released"} {
		l := e.lease(id, model.NewLease{})
		e.acquire(l, "r1")
		if state := model.LeaseState(id); state != model.LeaseAcquired {
			path := []model.LeaseState{model.LeaseActive}
			if state != model.LeaseActive {
				path = append(path, state)
			}
			e.applyLease(e.claim(l), LeaseStep{Path: path})
			e.settle(l)
		}
	}
	e.send(e.leaseRef("active"), "c0", model.CommandRelease)
	e.settleWoken("active")
	e.send(ref, "c1", model.CommandRelease)
	c := e.claim(ref)
	version := int(c.version)
	ended := start
	before := e.dump()
	a := e.applyResource(c, ResourceStep{
		Path: []model.ResourceState{model.ResourceReleased}, Cascade: "its resource is released", WorkChanges: WorkChanges{EndedAt: &ended},
		Step: Step{Consume: consumed(c, model.OutcomeApplied), Log: []Entry{{Event: model.EventReleased, Text: "released"}}},
	})
	order := fmt.Sprintf(`{"sent_ms":%s,"command":"release","author":"drydock","origin":{"via":"worker"},"reason":"its resource is released"}`, at(0))
	text := "e=command-sent t=release from drydock via worker: its resource is released"
	want := expect{
		"resource:r1 released": at(0), "resource:r1 ended": at(0), "resource:r1 releases": "0", "resource:r1:commands": gone,
		"resource:r1:history":            "c1",
		"resource:r1:records c1:outcome": fmt.Sprintf(`{"consumed_ms":%s,"outcome":"applied","fence":%d,"worker":"w1"}`, at(0), c.Fence),
		"resource:r1:log +1":             fmt.Sprintf("e=released f=%d t=released w=w1", c.Fence),
		"lease:active releases":          "2", "lease:active:commands": "c0 <id>0002",
		"events +1": "e=command-sent o=lease:acquired s=acquired",
		"events +2": "e=command-sent o=lease:active s=active",
		"events +3": "e=command-sent o=lease:broken s=broken",
		"events +4": "e=released o=resource:r1 s=released",
	}
	for i, id := range []string{"acquired", "active", "broken"} {
		cid := fmt.Sprintf("<id>%04d", i+1)
		want["lease:"+id+":records "+cid] = order
		want["lease:"+id+":log +1"] = "c=" + cid + " " + text
		want["lease:"+id+" woken"], want["wake lease:"+id] = "1", visible
		if id != "active" {
			want["lease:"+id+" releases"], want["lease:"+id+":commands"] = "1", cid
		}
	}
	delete(want, "wake lease:active") // it is to be looked at sooner already
	e.wantChanges(before, written("resource:r1", version+1, 0), moved("resources", "r1", "active", "released"), want)
	e.wantRefs(a.Wake, "lease:acquired", "lease:active", "lease:broken")
	e.wantVerified()

	cmds, err := e.Commands(e.ctx, e.leaseRef("acquired"), 0, "")
	e.must(err)
	if len(cmds.Items) != 1 || cmds.Items[0].Author != model.SystemAuthor || cmds.Items[0].Reason != "its resource is released" {
		t.Errorf("commands of a told lease = %+v", cmds.Items)
	}
}

// settleWoken takes note of what came in for a lease, and leaves its commands there.
func (e *env) settleWoken(id string) {
	e.Helper()
	c := e.claim(e.leaseRef(id))
	if again, err := e.Finish(e.ctx, c, time.Time{}); !again || err != nil {
		e.Fatalf("finish = %t, %v, want again", again, err)
	}
}

func TestApplyResourceDestroys(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	ref := e.resource("r1", spec{state: model.ResourceReleased, slots: []string{"host:1", "port:1"}})
	e.lease("l1", model.NewLease{})
	e.must(e.rdb.Set(e.ctx, slotKey(e.ns, "port:1"), "resource:other", 0).Err())
	c := e.claim(ref)
	version := int(c.version)
	before := e.dump()
	a := e.applyResource(c, ResourceStep{
		Path: []model.ResourceState{model.ResourceDestroyed}, Unleased: true,
		Step: Step{Finish: true, Log: []Entry{{Event: model.EventDestroyed, Text: "destroyed"}}},
	})
	e.wantChanges(before, written("resource:r1", version+1, 0), moved("resources", "r1", "released", "destroyed"), expect{
		"resource:r1 destroyed": at(0), "collectable resource:r1": at(0), "wake resource:r1": gone, "slot:host:1": gone,
		"blueprint:lab:resources r1": gone,
		"resource:r1:log +1":         fmt.Sprintf("e=destroyed f=%d t=destroyed w=w1", c.Fence),
		// There is room for a new one: the first waiter may have it made.
		"lease:l1 woken": "1", "wake lease:l1": visible,
	}, event("resource:r1", "destroyed", "destroyed"))
	e.wantRefs(a.Wake, "lease:l1")
	if !a.Done {
		t.Errorf("applied = %+v, want done", a)
	}
}

// TestApplyResourceBreaksBeforeItWasActive: the lease it was made for competes again.
func TestApplyResourceBreaksBeforeItWasActive(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.lease("l1", model.NewLease{})
	ref := e.resource("r1", spec{state: model.ResourcePending, forLease: "l1"})
	c := e.claim(ref)
	version := int(c.version)
	before := e.dump()
	a := e.applyResource(c, ResourceStep{Path: []model.ResourceState{model.ResourceBroken}, Cascade: "broke"})
	e.wantChanges(before, written("resource:r1", version+1, 0), moved("resources", "r1", "pending", "broken"), expect{
		"waiting:host:shape:" + plain + " l1": at(0), "waiting:host:shapes " + plain: at(0),
		"lease:l1 woken": "1", "lease:l1 failed": "1 " + at(0) + " lab", "wake lease:l1": visible,
	}, event("resource:r1", "", "broken"))
	e.wantRefs(a.Wake, "lease:l1")
	e.wantVerified()
}

// TestApplyResourceLeavesALeaseAloneThatWaitsForAnother: the lease got another resource meanwhile.
func TestApplyResourceLeavesALeaseAloneThatWaitsForAnother(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	l := e.lease("l1", model.NewLease{})
	ref := e.resource("r1", spec{state: model.ResourcePending, forLease: "l1"})
	other := "r2"
	e.applyLease(e.claim(l), LeaseStep{Allocation: &other})
	e.settle(l)
	a := e.applyResource(e.claim(ref), ResourceStep{Path: []model.ResourceState{model.ResourceBroken}})
	e.wantRefs(a.Wake)
}

func TestApplyResourcePausesAndResizes(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	ref := e.resource("r1", spec{capacity: 2})
	e.acquire(e.lease("l1", model.NewLease{}), "r1")
	yes, no, one, three := true, false, 1, 3
	free := "free:host r1"
	for _, tt := range []struct {
		step ResourceStep
		want expect
	}{
		{ResourceStep{Paused: &yes}, expect{"resource:r1 paused": "1", free: gone}},
		{ResourceStep{Paused: &no}, expect{"resource:r1 paused": "0", free: load(1, 0)}},
		{ResourceStep{Capacity: &one}, expect{"resource:r1 capacity": "1", free: gone}},
		{ResourceStep{Capacity: &three}, expect{"resource:r1 capacity": "3", free: load(1, 0)}},
		{ResourceStep{Attributes: map[string]string{}}, expect{}},
		{ResourceStep{Attributes: map[string]string{"os": "linux"}}, expect{"resource:r1 attributes": `{"os":"linux"}`}},
	} {
		c := e.claim(ref)
		before := e.dump()
		e.applyResource(c, tt.step)
		e.wantChanges(before, written("resource:r1", int(c.version), 0), event("resource:r1", "", "active"), tt.want)
	}
}

func TestApplyResourceRefused(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		step func(e *env, c *Claim) (ResourceStep, *Claim)
		want error
	}{
		{"stale writer", func(e *env, c *Claim) (ResourceStep, *Claim) {
			e.claim(c.Ref)
			return ResourceStep{Cascade: "x"}, c
		}, model.ErrStaleWriter},
		{"stale version", func(e *env, c *Claim) (ResourceStep, *Claim) {
			old := *c
			e.applyResource(c, ResourceStep{})
			e.applyResource(c, ResourceStep{})
			return ResourceStep{Refill: true}, &old
		}, model.ErrStaleWriter},
		{"other state", func(_ *env, c *Claim) (ResourceStep, *Claim) { c.status = "pending"; return ResourceStep{}, c }, model.ErrStaleWriter},
		{"head changed", func(_ *env, c *Claim) (ResourceStep, *Claim) {
			return ResourceStep{Step: Step{Consume: consumed(c, model.OutcomeApplied)[1:]}}, c
		}, model.ErrStaleWriter},
		{"forbidden transition", func(_ *env, c *Claim) (ResourceStep, *Claim) {
			return ResourceStep{Path: []model.ResourceState{model.ResourcePending}, Cascade: "x"}, c
		}, errTransition},
		{"forbidden second transition", func(_ *env, c *Claim) (ResourceStep, *Claim) {
			return ResourceStep{Path: []model.ResourceState{model.ResourceReleased, model.ResourceActive}}, c
		}, errTransition},
		{"leased", func(_ *env, c *Claim) (ResourceStep, *Claim) {
			return ResourceStep{
				Path: []model.ResourceState{model.ResourceReleased}, Unleased: true, Cascade: "x",
				Step: Step{Consume: consumed(c, model.OutcomeApplied)},
			}, c
		}, ErrLeased},
		{"too many unread commands", func(e *env, c *Claim) (ResourceStep, *Claim) {
			for i := range 1000 {
				e.send(c.Ref, fmt.Sprintf("d%d", i), model.CommandUpdate)
			}
			return ResourceStep{
				Path: []model.ResourceState{model.ResourceReleased, model.ResourceDestroyed},
				Step: Step{Consume: consumed(c, model.OutcomeApplied)[:1]},
			}, c
		}, ErrMoreCommands},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t)
			ref := e.resource("r1", spec{capacity: 2})
			e.acquire(e.lease("l1", model.NewLease{}), "r1")
			e.lease("l2", model.NewLease{})
			e.send(ref, "c1", model.CommandReclaim)
			e.send(ref, "c2", model.CommandRelease)
			st, c := tt.step(e, e.claim(ref))
			st.Finish = true
			st.Log = []Entry{{Event: model.EventReleased, Text: "released"}}
			version := c.version
			e.wantNoChange(func() {
				a, err := e.ApplyResource(e.ctx, c, st)
				wantStepError(t, err, tt.want)
				if a.Done || a.Again || len(a.Wake) > 0 || c.version != version {
					t.Errorf("applied %+v, version %d, want nothing and %d", a, c.version, version)
				}
			})
		})
	}
}

// TestRefusedReclaimGivesTheRoomBack: while a reclaim waits, the resource is not offered; when it was refused, it is again.
func TestRefusedReclaimGivesTheRoomBack(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	ref := e.resource("r1", spec{})
	e.lease("l1", model.NewLease{})
	e.send(ref, "c1", model.CommandReclaim)
	c := e.claim(ref)
	a := e.applyResource(c, ResourceStep{Step: Step{Consume: consumed(c, model.OutcomeRefused)}, Refill: true})
	if got := e.dump().Values["free:host r1"]; got != load(0, 0) {
		t.Errorf("free index has %q, want the resource again", got)
	}
	e.wantRefs(a.Wake, "lease:l1")
}

func TestResourceIsReadAsItIsStored(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.lease("l1", model.NewLease{})
	until := start.Add(time.Hour)
	c := e.claim(e.leaseRef("l1"))
	_, err := e.CreateResource(e.ctx, c, NewResource{
		ID: "r1", Name: "one", Blueprint: e.blueprint(bp), Attributes: map[string]string{"os": "linux"}, Capacity: 2,
		Slots: []string{"s1"}, UntilMS: until.UnixMilli(), Facts: "facts",
	}, LeaseStep{})
	e.must(err)
	e.clock.advance(time.Second)
	rc := e.claim(e.resourceRef("r1"))
	hook, failures, yes := "activate", 2, true
	e.applyResource(rc, ResourceStep{
		Path: []model.ResourceState{model.ResourceActive}, Paused: &yes, WorkChanges: WorkChanges{Hook: &hook, Failures: &failures},
	})
	got, err := e.Resource(e.ctx, e.ns, "r1")
	e.must(err)
	want := &model.Resource{
		Ref: e.resourceRef("r1"), Name: "one", Type: "host", Status: model.ResourceActive, Paused: true, Blueprint: bp,
		Attributes: map[string]string{"os": "linux"}, Capacity: 2, Leases: []string{}, Until: until, Fence: 1,
		CreatedAt: start, ActivatedAt: start.Add(time.Second), UpdatedAt: start.Add(time.Second),
		Work: model.ResourceWork{
			Work:     model.Work{Writer: rc.Writer, Version: 1, Slots: []string{"s1"}, Hook: "activate", Failures: 2},
			ForLease: "l1", Rev: 1, Facts: "facts",
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("resource (-want +got):\n%s", diff)
	}
}

// TestResourceKnowsSinceWhenItIsIdle: a reclaim that comes a moment after the last lease left is refused by what is read here.
func TestResourceKnowsSinceWhenItIsIdle(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	l := e.leaseIn("l1", model.LeaseActive)
	if c := e.claim(e.resourceRef("r-l1")); !c.Resource.IdleSince.IsZero() {
		t.Errorf("idle since %v before any lease left", c.Resource.IdleSince)
	}
	e.clock.advance(time.Hour)
	e.applyLease(e.claim(l), LeaseStep{Path: []model.LeaseState{model.LeaseReleased, model.LeaseDestroyed}})
	e.clock.advance(time.Second)
	if c := e.claim(e.resourceRef("r-l1")); !c.Resource.IdleSince.Equal(start.Add(time.Hour)) {
		t.Errorf("idle since %v, want %v", c.Resource.IdleSince, start.Add(time.Hour))
	}
}

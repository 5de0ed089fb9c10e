package store

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"drydock/model"
)

func TestCreateResource(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	b := e.putBlueprint(bp, 1)
	e.lease("l1", model.NewLease{})
	e.clock.advance(time.Second)
	now := time.Second
	for _, id := range []string{"l2", "w1"} {
		n := model.NewLease{}
		if id == "w1" {
			n.Attributes = map[string]string{"os": "windows"}
		}
		e.lease(id, n)
	}
	c := e.claim(e.leaseRef("l1"))
	version := int(c.version)
	reason, considered := "waiting for one", []string{bp}
	before := e.dump()
	a, err := e.CreateResource(e.ctx, c, NewResource{
		ID: "r1", Name: "one", Blueprint: b, Attributes: map[string]string{"os": "linux"}, Capacity: 2, Slots: []string{"s1", "s2"},
		UntilMS: start.Add(time.Hour).UnixMilli(), Facts: "facts",
	}, LeaseStep{
		Reason: &reason, Considered: &considered, Pass: 1,
		Step: Step{LookAgain: start.Add(time.Minute), Log: []Entry{{Event: model.EventAllocated, Text: "makes one"}}},
	})
	e.must(err)
	visible := at(now + DefaultVisibility)
	e.wantChanges(before, written("lease:l1", version+1, now), expect{
		"blueprint:lab:held: l1": "member", "lease:l1 reserved": bp,
		"resource:r1 rev":    "1",
		"resource:r1 schema": "1", "resource:r1 id": "r1", "resource:r1 name": "one", "resource:r1 type": "host",
		"resource:r1 status": "pending", "resource:r1 blueprint": bp, "resource:r1 attributes": `{"os":"linux"}`,
		"resource:r1 capacity": "2", "resource:r1 slots": `["s1","s2"]`, "resource:r1 until": at(time.Hour), "resource:r1 facts": "facts",
		"resource:r1 for_lease": "l1", "resource:r1 version": "0", "resource:r1 fence": "0", "resource:r1 releases": "0",
		"resource:r1 created": at(now), "resource:r1 updated": at(now), "resource:r1 woken": "1",
		"resources r1": "0", "resources:pending r1": "0", "resources:by-type:host r1": "0", "resources:by-blueprint:lab r1": "0",
		"blueprint:lab:resources r1": "0", "slot:s1": "resource:r1", "slot:s2": "resource:r1",
		"wake resource:r1": visible, "wake lease:l1": at(time.Minute),
		"resource:r1:log +1":  fmt.Sprintf("e=allocated f=%d t=allocated for lease l1 w=w1", c.Fence),
		"lease:l1:log +1":     fmt.Sprintf("e=allocated f=%d t=makes one w=w1", c.Fence),
		"lease:l1 allocation": "r1", "lease:l1 reason": reason, "lease:l1 considered": `["lab"]`,
		"events +1": "e=allocated o=resource:r1 s=pending", "events +2": "e=allocated o=lease:l1 s=pending",
		// It competes no longer for what others leave, and those behind it may have one made as well.
		"waiting:host:shape:" + plain + " l1": gone, "waiting:host:shapes " + plain: at(now),
		"lease:l2 woken": "1", "wake lease:l2": visible, "lease:w1 woken": "1", "wake lease:w1": visible,
	})
	e.wantRefs(a.Wake, "resource:r1", "lease:l2", "lease:w1")
	if !a.Done || a.Again {
		t.Errorf("applied = %+v, want done", a)
	}
	e.wantVerified()
}

func TestCreateResourceRefused(t *testing.T) {
	t.Parallel()
	made := func(e *env) NewResource {
		return NewResource{ID: "r1", Name: "one", Blueprint: e.blueprint(bp), Capacity: 1, Slots: []string{"s1", "s2"}}
	}
	plainStep := func(e *env, c *Claim) (NewResource, *Claim) { return made(e), c }
	tests := []struct {
		name string
		seed func(e *env)
		step func(e *env, c *Claim) (NewResource, *Claim)
		want error
	}{
		{"stale writer", nil, func(e *env, c *Claim) (NewResource, *Claim) { e.claim(c.Ref); return made(e), c }, model.ErrStaleWriter},
		{"stale version", nil, func(e *env, c *Claim) (NewResource, *Claim) {
			old := *c
			e.applyLease(c, LeaseStep{})
			e.applyLease(c, LeaseStep{})
			return made(e), &old
		}, model.ErrStaleWriter},
		{"no such lease", nil, func(e *env, c *Claim) (NewResource, *Claim) {
			c.Ref = e.leaseRef("nobody")
			return made(e), c
		}, model.ErrStaleWriter},
		{"limit", func(e *env) { e.resource("r0", spec{}) }, plainStep, model.ErrLimitReached},
		{"limit, by one on its way out", func(e *env) { e.resource("r0", spec{state: model.ResourceReleased}) }, plainStep, model.ErrLimitReached},
		{"second slot lock held", func(e *env) {
			e.putBlueprint("other", 0)
			e.resource("r0", spec{blueprint: "other", slots: []string{"s2"}})
		}, plainStep, model.ErrSlotHeld},
		{"quota", func(e *env) {
			e.putBlueprint(bp, 0)
			e.resource("r0", spec{})
			e.acquire(e.leaseRef("l2"), "r0")
		}, func(e *env, c *Claim) (NewResource, *Claim) {
			n := made(e)
			n.Blueprint.Quota = 1
			return n, c
		}, model.ErrQuotaReached},
		{"not approved", nil, func(e *env, c *Claim) (NewResource, *Claim) {
			n := made(e)
			n.Blueprint.Authorize = model.Authorize{Request: true}
			return n, c
		}, model.ErrBlueprintChanged},
		{"blueprint changed", nil, func(e *env, c *Claim) (NewResource, *Claim) {
			n := made(e)
			e.putBlueprint(bp, 2)
			return n, c
		}, model.ErrBlueprintChanged},
		{"blueprint removed", nil, func(e *env, c *Claim) (NewResource, *Claim) {
			n := made(e)
			e.deleteBlueprint(bp)
			return n, c
		}, model.ErrBlueprintChanged},
		{"a lease that does not wait", func(e *env) {
			e.putBlueprint("other", 0)
			e.resource("r0", spec{blueprint: "other"})
			e.acquire(e.leaseRef("l1"), "r0")
		}, plainStep, errTransition},
		{"allocation on its way", func(e *env) {
			e.putBlueprint("other", 0)
			e.resource("r0", spec{blueprint: "other", state: model.ResourcePending, forLease: "l1"})
		}, plainStep, errAllocationPending},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t)
			e.putBlueprint(bp, 1)
			ref := e.lease("l1", model.NewLease{})
			e.lease("l2", model.NewLease{})
			if tt.seed != nil {
				tt.seed(e)
			}
			n, c := tt.step(e, e.claim(ref))
			version := c.version
			e.wantNoChange(func() {
				a, err := e.CreateResource(e.ctx, c, n, LeaseStep{Step: Step{Log: []Entry{{Event: model.EventAllocated}}}})
				wantStepError(t, err, tt.want)
				if a.Done || len(a.Wake) > 0 || c.version != version {
					t.Errorf("applied %+v, version %d, want nothing and %d", a, c.version, version)
				}
			})
		})
	}
}

// TestCreateResourcePassesOnWhatIsLeft: only when something is, or came up meanwhile.
func TestCreateResourcePassesOnWhatIsLeft(t *testing.T) {
	t.Parallel()
	for _, wokenAgain := range []bool{false, true} {
		e := newEnv(t)
		b := e.putBlueprint(bp, 0)
		ref := e.lease("l1", model.NewLease{})
		e.lease("l2", model.NewLease{})
		c := e.claim(ref)
		want := []string{"resource:r1"}
		if wokenAgain {
			e.send(ref, "c1", model.CommandExtend)
			want = append(want, "lease:l2")
		}
		a, err := e.CreateResource(e.ctx, c, NewResource{ID: "r1", Blueprint: b, Capacity: 1}, LeaseStep{})
		e.must(err)
		e.wantRefs(a.Wake, want...)
	}
}

// TestCreateResourceAfterTheLastOneDied: an allocation that came to nothing stands in nobody's way.
func TestCreateResourceAfterTheLastOneDied(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.putBlueprint(bp, 1)
	l := e.lease("l1", model.NewLease{})
	e.resource("r0", spec{state: model.ResourceDestroyed, forLease: "l1"})
	n := NewResource{ID: "r1", Name: "one", Blueprint: e.blueprint(bp), Capacity: 1}
	if _, err := e.CreateResource(e.ctx, e.claim(l), n, LeaseStep{Step: Step{LookAgain: start.Add(time.Hour)}}); err != nil {
		t.Error(err)
	}
	if got := e.dump().Values["lease:l1 allocation"]; got != "r1" {
		t.Errorf("allocation = %q, want r1", got)
	}
	e.wantVerified()
}

// TestCreateResourceConsumesWhatItIsGiven: a command that was handled on the way to an allocation is consumed with it, or it would
// be handled again.
func TestCreateResourceConsumesWhatItIsGiven(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	l := e.lease("l1", model.NewLease{})
	b := e.putBlueprint(bp, 0)
	e.send(l, "c1", model.CommandExtend)
	c := e.claim(l)
	a, err := e.CreateResource(e.ctx, c, NewResource{ID: "r1", Name: "one", Blueprint: b, Capacity: 1}, LeaseStep{
		Step: Step{Consume: consumed(c, model.OutcomeRefused), LookAgain: start.Add(time.Hour)},
	})
	e.must(err)
	if !a.Done {
		t.Errorf("applied = %+v, want done", a)
	}
	d := e.dump()
	if d.Values["lease:l1:history"] != "c1" || d.Values["lease:l1:commands"] != "" {
		t.Errorf("history %q, queue %q, want c1 consumed", d.Values["lease:l1:history"], d.Values["lease:l1:commands"])
	}
	e.wantVerified()
}

func TestSnapshot(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.putBlueprint("other", 0)
	busy := e.resource("r1", spec{capacity: 3})
	e.acquire(e.lease("user", model.NewLease{}), "r1")
	e.clock.advance(time.Second)
	e.resource("r4", spec{blueprint: "other", attributes: map[string]string{"os": "linux"}})
	e.clock.advance(time.Second)
	e.resource("r2", spec{})
	e.resource("r3", spec{})
	e.resource("full", spec{})
	e.acquire(e.lease("user2", model.NewLease{}), "full")
	e.resource("pending", spec{state: model.ResourcePending})
	e.resource("broken", spec{state: model.ResourceBroken})
	e.resource("destroyed", spec{state: model.ResourceDestroyed})

	// Before and behind q1: of those that came in the same millisecond, the shapes that sort before its own, and of its own shape
	// those with a lower id; the index of shapes has them in that order.
	linux := model.NewLease{Attributes: map[string]string{"os": "linux"}}
	e.lease("a1", linux)
	e.lease("a2", linux)
	e.clock.advance(time.Second)
	e.lease("a3", linux)
	e.lease("p1", model.NewLease{Owner: "first"})
	e.lease("p2", model.NewLease{})
	me := e.lease("q1", model.NewLease{})
	e.lease("z1", model.NewLease{Blueprints: []string{"other"}})
	e.lease("a0", model.NewLease{Blueprints: []string{"lab"}})
	e.clock.advance(time.Second)
	e.lease("late", linux)
	back := e.lease("back", model.NewLease{Priority: 10, Attributes: map[string]string{"os": "mac"}})
	e.applyLease(e.claim(back), LeaseStep{StandBack: true})

	c := e.claim(me)
	var snap *Snapshot
	e.wantNoChange(func() {
		var err error
		lab, other := e.blueprint(bp), e.blueprint("other")
		lab.Limit, other.Limit = 10, 10
		snap, err = e.Snapshot(e.ctx, c, []*model.Blueprint{lab, other, {Name: "nobody", Limit: 1}, {Name: "unlimited"}}, 0)
		e.must(err)
	})
	var free []string
	for _, r := range snap.Free {
		free = append(free, r.ID)
	}
	// Least loaded first, then longest idle, then by id.
	if diff := cmp.Diff([]string{"r4", "r2", "r3", "r1"}, free); diff != "" {
		t.Errorf("free (-want +got):\n%s", diff)
	}
	if r := snap.Free[3]; r.Load != 1 || r.Ref != busy {
		t.Errorf("the last of the free = %+v, want r1 with one lease", r)
	}
	if lab := shapeOf(nil, []string{"lab"}); shapeOf(linux.Attributes, nil) < plain || lab > plain {
		t.Fatal("the shapes of this test no longer sort as lab, q1's own, linux")
	}
	want := []Ahead{
		{Count: 2, First: model.Request{Lease: "a1", Type: "host", Attributes: linux.Attributes}},
		{Count: 1, First: model.Request{Lease: "a0", Type: "host", Attributes: map[string]string{}, Blueprints: []string{"lab"}}},
		{Count: 2, First: model.Request{Lease: "p1", Type: "host", Owner: "first", Attributes: map[string]string{}}},
	}
	sorted := cmp.Transformer("sorted", func(l []Ahead) []Ahead {
		return slices.SortedFunc(slices.Values(l), func(a, b Ahead) int { return int(b.Count - a.Count) })
	})
	if diff := cmp.Diff(want, snap.Ahead, sorted); diff != "" {
		t.Errorf("ahead (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]int{bp: 6, "other": 1, "nobody": 0, "unlimited": 0}, snap.Resources); diff != "" {
		t.Errorf("resources by blueprint (-want +got):\n%s", diff)
	}
	if snap.More || snap.Allocation != "" {
		t.Errorf("more %t, allocation %q, want neither", snap.More, snap.Allocation)
	}
}

func TestSnapshotOfTheFirst(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	l := e.lease("l1", model.NewLease{})
	e.lease("l2", model.NewLease{})
	e.resource("r1", spec{state: model.ResourcePending, forLease: "l1"})
	lab := e.blueprint(bp)
	lab.Limit = 2
	snap, err := e.Snapshot(e.ctx, e.claim(l), []*model.Blueprint{lab}, 0)
	e.must(err)
	want := &Snapshot{Allocation: model.ResourcePending, Resources: map[string]int{bp: 1}, Owner: map[string]OwnerView{bp: {}}}
	if diff := cmp.Diff(want, snap); diff != "" {
		t.Errorf("snapshot (-want +got):\n%s", diff)
	}
}

func TestSnapshotPages(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	const n = snapshotResources + 3
	for i := range n {
		e.resource(fmt.Sprintf("r%03d", i), spec{})
	}
	c := e.claim(e.lease("l1", model.NewLease{}))
	var got []string
	for page := range 3 {
		snap, err := e.Snapshot(e.ctx, c, nil, page)
		e.must(err)
		for _, r := range snap.Free {
			got = append(got, r.ID)
		}
		if snap.More != (page == 0) {
			t.Errorf("page %d: more %t", page, snap.More)
		}
	}
	if len(got) != n || !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != n {
		t.Errorf("pages hold %d resources, want %d, each once, in order: %v", len(got), n, got)
	}
}

// TestGlance: it stops at those resources that have room for all who stand before the lease and for as many more as asked.
func TestGlance(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	for i := range 8 {
		e.resource(fmt.Sprintf("r%d", i), spec{capacity: 2})
	}
	e.lease("a1", model.NewLease{})
	e.lease("a2", model.NewLease{Attributes: map[string]string{"os": "linux"}})
	e.clock.advance(time.Second)
	c := e.claim(e.lease("l1", model.NewLease{}))
	for _, tt := range []struct {
		enough, want int
		more         bool
	}{{1, 2, true}, {2, 2, true}, {3, 3, true}, {13, 8, false}, {14, 8, false}, {100, 8, false}} {
		snap, err := e.Glance(e.ctx, c, nil, tt.enough)
		e.must(err)
		if len(snap.Free) != tt.want || snap.More != tt.more || len(snap.Ahead) != 2 {
			t.Errorf("enough %d: %d resources, more %t, %d groups ahead, want %d, %t, 2", tt.enough, len(snap.Free), snap.More, len(snap.Ahead), tt.want, tt.more)
		}
	}
}

// TestFreedCounts: whoever has seen a slot lock held may rely on it until the number of freed ones is another.
func TestFreedCounts(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	freed := func() int64 {
		t.Helper()
		snap, err := e.Glance(e.ctx, e.claim(e.lease(model.NewID(), model.NewLease{})), nil, 1)
		e.must(err)
		return snap.Freed
	}
	res := e.resource("r1", spec{slots: []string{"s1", "s2"}})
	before := freed()
	c := e.claim(res)
	e.applyResource(c, ResourceStep{Path: []model.ResourceState{model.ResourceReleased}})
	if got := freed(); got != before {
		t.Errorf("%d freed when the resource was released, want still %d", got, before)
	}
	e.applyResource(c, ResourceStep{Path: []model.ResourceState{model.ResourceDestroyed}})
	if got := freed(); got != before+2 {
		t.Errorf("%d freed when it was destroyed, want %d", got, before+2)
	}
}

func TestFreeSlots(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.resource("r1", spec{slots: []string{"s1"}})
	got, err := e.FreeSlots(e.ctx, e.ns, []string{"s1", "s2"})
	if diff := cmp.Diff(map[string]bool{"s1": false, "s2": true}, got); diff != "" || err != nil {
		t.Errorf("FreeSlots: %v (-want +got):\n%s", err, diff)
	}
	if got, err := e.FreeSlots(e.ctx, e.ns, nil); len(got) > 0 || err != nil {
		t.Errorf("FreeSlots of none = %v, %v", got, err)
	}
	slots, err := e.Slots(e.ctx, e.resourceRef("r1"))
	if diff := cmp.Diff([]model.Slot{{Key: "s1", Owner: e.resourceRef("r1")}}, slots); diff != "" || err != nil {
		t.Errorf("Slots: %v (-want +got):\n%s", err, diff)
	}
	if slots, err := e.Slots(e.ctx, e.lease("l1", model.NewLease{})); slots == nil || len(slots) > 0 || err != nil {
		t.Errorf("Slots of a waiting lease = %v, %v, want none", slots, err)
	}
	if _, err := e.Slots(e.ctx, e.leaseRef("nobody")); !errors.Is(err, model.ErrLeaseNotFound) {
		t.Errorf("Slots of nobody: %v, want %v", err, model.ErrLeaseNotFound)
	}
	// A destroyed object names the slots it had; somebody else may hold them by now.
	e.resource("r2", spec{slots: []string{"s3"}, state: model.ResourceDestroyed})
	e.resource("r3", spec{slots: []string{"s3"}})
	if slots, err := e.Slots(e.ctx, e.resourceRef("r2")); len(slots) > 0 || err != nil {
		t.Errorf("Slots of a destroyed resource = %v, %v, want none", slots, err)
	}
}

package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"drydock/model"
)

const retention = 30 * 24 * time.Hour

// collect collects all whose time has come and returns how many objects that were.
func (e *env) collect() int {
	e.Helper()
	for total := 0; ; {
		n, left, err := e.Collect(e.ctx, e.ns, retention)
		e.must(err)
		if total += n; left == 0 {
			return total
		}
		if n == 0 {
			e.Fatalf("%d are left and none was collected", left)
		}
	}
}

// wantOnly checks that the namespace holds what it did before any object was made, and else only what forgets itself and the events.
func (e *env) wantOnly(before dump) {
	e.Helper()
	left := map[string]string{}
	for what, value := range changes(before, e.dump()) {
		if !strings.Contains(what, "(expires)") && !strings.HasPrefix(what, "events +") {
			left[what] = value
		}
	}
	if len(left) > 0 {
		e.Errorf("left behind (-want +got):\n%s", cmp.Diff(map[string]string{}, left))
	}
}

func (e *env) destroyLease(ref model.Ref) {
	e.Helper()
	c := e.claim(ref)
	e.applyLease(c, LeaseStep{
		Path: []model.LeaseState{model.LeaseReleased, model.LeaseDestroyed},
		Step: Step{Consume: consumed(c, model.OutcomeApplied), Finish: true, Log: []Entry{{Event: model.EventDestroyed, Text: "destroyed"}}},
	})
}

func (e *env) destroyResource(ref model.Ref) {
	e.Helper()
	e.applyResource(e.claim(ref), ResourceStep{
		Path: []model.ResourceState{model.ResourceReleased, model.ResourceDestroyed}, Step: Step{Finish: true},
	})
}

// TestCollectLeavesNothing makes a lease and resources that use all there is, and looks for what is left of them in the end.
func TestCollectLeavesNothing(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	b := e.putBlueprint(bp, 0)
	before := e.dump()

	full := model.NewLease{
		Type: "host", Attributes: map[string]string{"os": "linux"}, Blueprints: []string{bp}, Owner: "ada {x}", TTL: time.Hour, Priority: 3,
		Data: json.RawMessage(`{"a": 1}`),
	}
	created, err := e.CreateLease(e.ctx, e.ns, "l1", full, model.Idempotency{Key: "k", Fingerprint: "f"})
	e.must(err)
	l1 := created.Lease.Ref
	// It waits at a gate, then has a resource made, which dies under it, then gets another.
	e.applyLease(e.claim(l1), LeaseStep{StandBack: true, Gates: &[]Gate{{Blueprint: bp, Rev: b.Rev}}, Reason: new(string)})
	r1 := e.resource("r1", spec{forLease: "l1", attributes: full.Attributes, slots: []string{"host:1"}})
	e.acquire(l1, "r1", "slot:1")
	e.applyResource(e.claim(r1), ResourceStep{Path: []model.ResourceState{model.ResourceBroken}, Cascade: "broken"})
	c := e.claim(l1)
	e.applyLease(c, LeaseStep{
		Path: []model.LeaseState{model.LeasePending}, Requeue: true, Step: Step{Consume: consumed(c, model.OutcomeSuperseded)},
	})
	e.applyResource(e.claim(r1), ResourceStep{Path: []model.ResourceState{model.ResourceDestroyed}, Step: Step{Finish: true}})
	r2 := e.resource("r2", spec{attributes: full.Attributes, capacity: 2, slots: []string{"host:2"}})
	e.acquire(l1, "r2", "slot:2")
	e.applyLease(e.claim(l1), LeaseStep{Path: []model.LeaseState{model.LeaseActive}})
	for _, ref := range []model.Ref{l1, r2} {
		e.must(errOf(e.SetData(e.ctx, ref, json.RawMessage("2"), model.Condition{})))
		e.send(ref, "c-"+ref.ID, model.CommandRelease)
		e.must(errOf(e.Busy(e.ctx, ref, "t", time.Second)))
	}
	e.destroyLease(l1)
	// Commands that nobody read, and a stale word in the wake index.
	e.destroyResource(r2)
	for _, ref := range []model.Ref{l1, r2} {
		e.must(e.rdb.ZAdd(e.ctx, wakeKey(e.ns), redisZ(ref.Member())).Err())
	}

	e.clock.advance(retention - time.Millisecond)
	e.wantNoChange(func() {
		if n := e.collect(); n != 0 {
			t.Errorf("collected %d before their time", n)
		}
	})
	e.clock.advance(time.Millisecond)
	e.wantVerified()
	if n := e.collect(); n != 4 { // also the lease that r2 was made for
		t.Errorf("collected %d objects, want 4", n)
	}
	e.wantOnly(before)
	e.wantVerified()
	for what, err := range map[string]error{
		"lease":    errOf(e.Lease(e.ctx, e.ns, "l1")),
		"commands": errOf(e.Commands(e.ctx, l1, 0, "")),
		"log":      errOf(e.Store.Log(e.ctx, l1, 0, "")),
		"data":     errOf(e.Data(e.ctx, l1)),
		"slots":    errOf(e.Slots(e.ctx, l1)),
		"resource": errOf(e.Resource(e.ctx, e.ns, "r2")),
	} {
		if kindOf(err) != model.ErrorNotFound {
			t.Errorf("%s of what was collected: %v, want not found", what, err)
		}
	}
}

// TestCollectAfterALife is the same after a life of eight leases.
func TestCollectAfterALife(t *testing.T) {
	t.Parallel()
	e, fresh := newEnv(t), newEnv(t)
	life(e)
	fresh.putBlueprint(bp, 2)
	e.clock.advance(retention)
	e.collect()
	e.wantVerified()
	left := e.dump()
	for what := range left.Values {
		// When the blueprint was declared, and what forgets itself.
		if strings.HasPrefix(what, "blueprints "+bp) || strings.HasPrefix(what, "blueprint:"+bp+" ") || strings.Contains(what, "(expires)") {
			delete(left.Values, what)
		}
	}
	delete(left.Streams, "events")
	if diff := cmp.Diff(dump{Values: map[string]string{"blueprints:rev": "1", "blueprints:revs " + bp: "1"}, Streams: map[string][]string{}}, left); diff != "" {
		t.Errorf("left behind (-want +got):\n%s", diff)
	}
	page, err := e.Leases(e.ctx, e.ns, model.LeaseFilter{})
	if err != nil || len(page.Items) > 0 {
		t.Errorf("leases = %+v, %v, want none", page, err)
	}
}

// TestCollectTouchesNoLiveObject: whatever stands in the index, only what is destroyed goes.
func TestCollectTouchesNoLiveObject(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	var live []string
	for _, state := range model.LeaseStates() {
		e.leaseIn("l-"+string(state), state)
	}
	for _, state := range model.ResourceStates() {
		e.resource("s-"+string(state), spec{state: state})
	}
	for _, k := range model.Kinds() {
		for id := range mustScores(e, pluralKey(e.ns, k)) {
			ref := model.Ref{Namespace: e.ns, Kind: k, ID: id}
			if status := e.rdb.HGet(e.ctx, objectKey(ref), "status").Val(); status != "destroyed" {
				live = append(live, ref.Member())
			}
		}
	}
	for _, member := range append([]string{"lease:nobody", "resource:nobody", "nonsense", "blueprint:lab", ""}, live...) {
		e.must(e.rdb.ZAdd(e.ctx, collectableKey(e.ns), redis.Z{Member: member}).Err())
	}
	e.clock.advance(retention)
	before := e.dump()
	e.collect()
	e.wantVerified()
	for what := range changes(before, e.dump()) {
		for _, member := range live {
			_, id, _ := strings.Cut(member, ":")
			of := strings.HasPrefix(what, member+" ") || strings.HasPrefix(what, member+":") ||
				strings.HasSuffix(what, " "+id) || strings.HasSuffix(what, " "+member)
			if of && what != "collectable "+member {
				t.Errorf("collecting changed %s", what)
			}
		}
	}
	if left := mustScores(e, collectableKey(e.ns)); len(left) > 0 {
		t.Errorf("collectable are still %v", left)
	}
	for _, member := range live {
		if e.rdb.Exists(e.ctx, prefix(e.ns)+member, prefix(e.ns)+member+":log").Val() != 2 {
			t.Errorf("%s or its log is gone", member)
		}
	}
}

func mustScores(e *env, key string) map[string]float64 {
	e.Helper()
	scores, err := e.scores(e.ctx, key)
	e.must(err)
	return scores
}

// TestCollectPutsOff: a resource that was destroyed under its leases stays as long as one of them says it is there, and what a newer
// Drydock wrote stays as long as only this one looks. Neither keeps the others from being collected.
func TestCollectPutsOff(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	lease := e.leaseIn("l1", model.LeaseActive)
	e.destroyResource(e.resourceRef("r-l1")) // its grace has elapsed
	e.leaseIn("newer", model.LeaseDestroyed)
	newer := objectKey(e.leaseRef("newer"))
	e.must(e.rdb.HSet(e.ctx, newer, "schema", schemaVersion+1).Err())
	e.clock.advance(retention)
	e.collect()
	if e.rdb.Exists(e.ctx, newer, objectKey(e.resourceRef("r-l1")), objectKey(lease)).Val() != 3 {
		t.Fatal("something was collected too early")
	}
	if e.rdb.Exists(e.ctx, objectKey(e.resourceRef("r-newer"))).Val() != 1 {
		t.Error("a live resource was collected")
	}
	e.destroyLease(lease)
	e.must(e.rdb.HSet(e.ctx, newer, "schema", schemaVersion).Err())
	e.clock.advance(retention)
	if n := e.collect(); n != 3 {
		t.Errorf("collected %d, want the resource, its lease and the other one", n)
	}
	// Its resource lives on, perhaps for years, and must not remember it.
	if left := mustScores(e, byKey(e.ns, model.KindLease, "resource", "r-newer")); len(left) > 0 {
		t.Errorf("the index of a live resource's leases still has %v", left)
	}
	e.wantVerified()
}

// TestCollectIsBounded: a backlog is collected in batches, oldest first.
func TestCollectIsBounded(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	const n = 2*collectBatch + 30
	for i := range n {
		ref := e.createLease(fmt.Sprintf("l%03d", i), model.NewLease{}).Lease.Ref
		e.destroyLease(ref)
		e.clock.advance(time.Millisecond)
	}
	e.clock.advance(retention)
	for _, want := range []int{collectBatch, collectBatch, 30, 0} {
		before := len(mustScores(e, collectableKey(e.ns)))
		got, left, err := e.Collect(e.ctx, e.ns, retention)
		e.must(err)
		if got != want || int(left) != before-want {
			t.Fatalf("collected %d and left %d of %d, want %d collected", got, left, before, want)
		}
		if before == n && e.rdb.Exists(e.ctx, objectKey(e.leaseRef("l000")), objectKey(e.leaseRef("l099"))).Val() != 0 {
			t.Error("the oldest are still there")
		}
		e.wantVerified()
	}
}

// TestNothingComesBackAfterCollect: whoever still knows the object, a worker that slept, a task, a caller, makes nothing of it again.
func TestNothingComesBackAfterCollect(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.putBlueprint(bp, 0)
	idem := model.Idempotency{Key: "k", Fingerprint: "f"}
	first, err := e.CreateLease(e.ctx, e.ns, "l1", model.NewLease{Type: "host"}, idem)
	e.must(err)
	lease := e.leaseRef("l1")
	sent, err := e.Send(e.ctx, command(lease, "c1", model.CommandRelease), model.Idempotency{Key: "k2", Fingerprint: "f"})
	e.must(err)
	resource := e.resource("r1", spec{})
	e.destroyLease(lease)
	e.destroyResource(resource)
	leasePen, resourcePen := e.pen(lease), e.pen(resource)
	e.clock.advance(retention)
	if n := e.collect(); n != 3 {
		t.Fatalf("collected %d, want 3", n)
	}
	e.wantNoChange(func() {
		for _, ref := range []model.Ref{lease, resource} {
			if c, err := e.Claim(e.ctx, ref, "w1"); c != nil || err != nil {
				t.Errorf("claim = %+v, %v, want nothing", c, err)
			}
			if err := errOf(e.Send(e.ctx, command(ref, "late", model.CommandRelease), model.Idempotency{})); kindOf(err) != model.ErrorNotFound {
				t.Errorf("send: %v, want not found", err)
			}
			if err := errOf(e.SetData(e.ctx, ref, nil, model.Condition{})); kindOf(err) != model.ErrorNotFound {
				t.Errorf("set data: %v, want not found", err)
			}
			e.must(errOf(e.Busy(e.ctx, ref, "t", time.Second)))
		}
		stale := map[string]error{
			"apply lease":    errOf(e.ApplyLease(e.ctx, leasePen, LeaseStep{Step: Step{Wake: []model.Ref{resource}}})),
			"apply resource": errOf(e.ApplyResource(e.ctx, resourcePen, ResourceStep{})),
			"touch":          e.Touch(e.ctx, leasePen),
			"finish":         errOf(e.Finish(e.ctx, resourcePen, start)),
		}
		for what, err := range stale {
			if !errors.Is(err, model.ErrStaleWriter) {
				t.Errorf("%s: %v, want a stale writer", what, err)
			}
		}
		again, err := e.CreateLease(e.ctx, e.ns, "l2", model.NewLease{Type: "host"}, idem)
		e.must(err)
		first.Repeat, first.Wake = true, []model.Ref{}
		if diff := cmp.Diff(first, again); diff != "" {
			t.Errorf("the request again (-first +again):\n%s", diff)
		}
		released, err := e.Send(e.ctx, command(lease, "c2", model.CommandRelease), model.Idempotency{Key: "k2", Fingerprint: "f"})
		e.must(err)
		sent.Repeat, sent.Wake = true, []model.Ref{}
		if diff := cmp.Diff(sent, released); diff != "" {
			t.Errorf("the release again (-first +again):\n%s", diff)
		}
	})
}

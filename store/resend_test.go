package store

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"drydock/embedded/redistest"
	"drydock/model"
)

// scripts are all of them, by the name of their file.
var scripts = map[string]*redis.Script{
	"create_lease": createLeaseScript, "create_resource": createResourceScript, "send": sendScript, "claim": claimScript,
	"touch": touchScript, "busy": busyScript, "due": dueScript, "finish": finishScript, "apply_lease": applyLeaseScript,
	"apply_resource": applyResourceScript, "put_blueprint": putBlueprintScript, "delete_blueprint": deleteBlueprintScript,
	"save_answer": saveAnswerScript, "snapshot": snapshotScript, "wake_waiters": wakeWaitersScript,
	"admit": admitScript, "apply_blueprint": applyBlueprintScript, "tell_resources": tellResourcesScript, "authorize": authorizeScript,
	"put_subscription": putSubscriptionScript, "delete_subscription": deleteSubscriptionScript, "claim_subscription": claimSubscriptionScript,
	"step_subscription": stepSubscriptionScript, "retry_dead_letters": retryDeadLettersScript,
	"set_data": setDataScript, "collect": collectScript, "sample_usage": sampleUsageScript, "plan": planScript, "rewake": rewakeScript,
}

// resender sends every script twice, as go-redis does when a reply is lost, and hands on the second reply. The second run must
// change nothing and answer as the first did. Every other time, both of them are in one call, as calls of several callers are, and there is a
// third.
type resender struct {
	e *env

	mu   sync.Mutex
	seen map[string]int
}

// newResentEnv is an env whose store sends every script twice; its rdb does not.
func newResentEnv(t *testing.T) (*env, *resender) {
	t.Helper()
	e := newEnv(t)
	r := &resender{e: e, seen: map[string]int{}}
	client := redistest.Client(t, redistest.Shared(t))
	for _, s := range scripts {
		e.must(s.Load(e.ctx, client).Err())
	}
	client.AddHook(r)
	e.Store = New(client, e.cfg)
	t.Cleanup(e.Store.Close)
	return e, r
}

func (r *resender) DialHook(next redis.DialHook) redis.DialHook { return next }

func (r *resender) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (r *resender) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		name := ""
		for n, s := range scripts {
			if cmd.Name() == "evalsha" && cmd.Args()[1] == s.Hash() {
				name = n
			}
		}
		if name == "" {
			return next(ctx, cmd)
		}
		r.mu.Lock()
		r.seen[name]++
		merge := r.seen[name]%2 == 0 && cmd.Args()[2] == 1
		r.mu.Unlock()
		first, second := redis.NewCmd(ctx, cmd.Args()...), cmd.(*redis.Cmd)
		if merge {
			second = redis.NewCmd(ctx, cmd.Args()...)
			both := &merged{calls: []redis.Cmder{first, second}, cmd: first}
			both.join()
			_ = next(ctx, both.cmd)
			both.part()
		} else {
			_ = next(ctx, first)
		}
		if err := first.Err(); err != nil {
			r.e.Errorf("%s: %v", name, err)
		}
		before := r.e.dump()
		err := next(ctx, cmd)
		after := r.e.dump()
		if third, _ := cmd.(*redis.Cmd); merge && name != "due" && name != "collect" && !reflect.DeepEqual(sortedReply(second.Val()), sortedReply(third.Val())) {
			r.e.Errorf("%s after two in one call answers differently:\n%s", name, cmp.Diff(second.Val(), third.Val()))
		}
		// What a deletion remembers is forgotten after a minute, which a busy machine may take for this test.
		maps.DeleteFunc(before.Values, func(key, _ string) bool {
			_, there := after.Values[key]
			return strings.HasPrefix(key, "done:") && !there
		})
		if diff := cmp.Diff(before, after); diff != "" {
			r.e.Errorf("%s sent again changed (-before +after):\n%s", name, diff)
		}
		r.compare(name, before, first.Val(), second.Val())
		return err
	}
}

// compare wants the same answer from both runs, but for what is said here.
func (r *resender) compare(name string, d dump, first, second any) {
	woken := 0 // where the woken begin, for scripts that do not remember them
	switch name {
	case "due":
		return // an object is handed out once; if that reply is lost, it comes back after the visibility
	case "collect":
		return // what it has collected is gone, so that a second run finds less
	case "send":
		// The second run wakes the object as the first did, or because another command woke it: one task more harms nothing.
		list, again := toSlice(first), toSlice(second)
		if list[0] == int64(1) || list[0] == int64(2) && again[0] == int64(3) {
			list[0] = int64(3) // stored before under this id
		}
		if len(again) >= 3 && !slices.Equal(toStrings(list[3:]), toStrings(again[3:])) && len(list) == 3 {
			second = again[:3]
		}
	case "apply_lease", "apply_resource", "apply_blueprint", "create_resource":
		woken = 2
		if list := toSlice(first); list[0] == "ok" {
			list[0] = "repeat"
			first = slices.Delete(list, 2, 3) // the tally is told once
		}
	case "put_blueprint", "delete_blueprint", "authorize":
		woken = 3
	case "wake_waiters", "admit", "tell_resources":
		woken = 1
	}
	if woken > 0 {
		// Whom the first run woke is known from the wake index alone.
		list := toSlice(first)
		woken = min(woken, len(list))
		for _, member := range list[woken:] {
			if d.Values["wake "+toString(member)] == "" {
				r.e.Errorf("%s: woken %s is not in the wake index", name, member)
			}
		}
		first, second = list[:woken], toSlice(second)[:woken]
	}
	if !reflect.DeepEqual(sortedReply(first), sortedReply(second)) {
		r.e.Errorf("%s sent again answers differently (-first +second):\n%s", name, cmp.Diff(first, second))
	}
}

// sortedReply makes the fields of HGETALL comparable, whose order is anybody's guess.
func sortedReply(v any) any {
	list, ok := v.([]any)
	if !ok {
		return v
	}
	out := make([]any, len(list))
	for i, x := range list {
		out[i] = sortedReply(x)
	}
	if len(list) > 20 && len(list)%2 == 0 {
		return toMap(v)
	}
	return out
}

func TestEveryScriptIsKnown(t *testing.T) {
	t.Parallel()
	files, err := os.ReadDir("lua")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{}
	for _, f := range files {
		if name := strings.TrimSuffix(f.Name(), ".lua"); !slices.Contains(sharedLua, name) {
			want[name] = true
		}
	}
	got := map[string]bool{}
	for name := range scripts {
		got[name] = true
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("scripts under test (-files +here):\n%s", diff)
	}
}

// TestResentScripts runs each script twice with the same arguments, in all the ways that it can end well.
func TestResentScripts(t *testing.T) {
	t.Parallel()
	e, r := newResentEnv(t)
	idem := model.Idempotency{Key: "k", Fingerprint: "f"}
	full := model.NewLease{
		Type: "host", Attributes: map[string]string{"os": "linux"}, Owner: "ada", TTL: time.Hour, Priority: 1, Data: json.RawMessage("{}"),
	}

	b := e.putBlueprint(bp, 0)
	b.Quota = 1000
	if again, created, _, err := e.PutBlueprint(e.ctx, b, model.Condition{}); created || again.Rev != 2 || err != nil {
		t.Errorf("declared again within the same millisecond: %+v, created %t, %v", again, created, err)
	}
	if again, created, _, err := e.PutBlueprint(e.ctx, b, model.Condition{}); created || again.Rev != 2 || err != nil {
		t.Errorf("declared again with the same words: %+v, created %t, %v", again, created, err)
	}
	b.Quota = 2000
	if again, _, _, err := e.PutBlueprint(e.ctx, b, model.Condition{Rev: new(int64(2))}); err != nil || again.Rev != 3 {
		t.Errorf("declared under a condition, which does not hold any more when it is sent again: %+v, %v", again, err)
	}
	for i, k := range []model.Idempotency{{}, idem, idem} {
		created, err := e.CreateLease(e.ctx, e.ns, fmt.Sprintf("l%d", i), full, k)
		e.must(err)
		if repeat := i == 2; created.Repeat != repeat || (len(created.Wake) == 1) == repeat {
			t.Errorf("create %d = %+v", i, created)
		}
	}
	e.must(errOf(e.SaveAnswer(e.ctx, e.ns, "k", model.Answer{Status: 202})))
	e.must(e.rdb.ZRem(e.ctx, wakeKey(e.ns), e.leaseRef("l0").Member()).Err())
	e.must(e.SampleUsage(e.ctx, e.ns))
	e.must(errOf(e.Rewake(e.ctx, e.leaseRef("l0"))))
	_, _, err := e.Plan(e.ctx, e.ns, model.Idempotency{Key: "batch", Fingerprint: "f"}, []byte("{}"))
	e.must(err)
	l0, l1, r0 := e.leaseRef("l0"), e.leaseRef("l1"), e.resourceRef("r0")
	for i := range 3 {
		_, err := e.Busy(e.ctx, l0, fmt.Sprint(i), time.Second)
		e.must(err)
	}
	c := e.claim(l0)
	e.must(e.Touch(e.ctx, c))
	_, err = e.Snapshot(e.ctx, c, []*model.Blueprint{b}, 0)
	e.must(err)
	_, err = e.CreateResource(e.ctx, c, NewResource{
		ID: "r0", Name: "r0", Blueprint: e.blueprint(bp), Capacity: 2, Attributes: full.Attributes, Slots: []string{"s0"},
	}, LeaseStep{Step: Step{LookAgain: start.Add(time.Hour)}})
	e.must(err)
	if c.version != 1 {
		t.Errorf("version %d after one write, want 1", c.version)
	}
	for _, value := range []json.RawMessage{json.RawMessage("1"), nil} {
		for _, ref := range []model.Ref{l0, r0} {
			d, err := e.Data(e.ctx, ref)
			e.must(err)
			if got, err := e.SetData(e.ctx, ref, value, model.Condition{Rev: &d.Rev}); err != nil || got.Rev != d.Rev+1 {
				t.Errorf("set data of %s = %+v, %v, want rev %d", ref, got, err, d.Rev+1)
			}
		}
	}
	rc := e.claim(r0)
	e.applyResource(rc, ResourceStep{Path: []model.ResourceState{model.ResourceActive}, Refill: true})
	if a := e.applyResource(rc, ResourceStep{Step: Step{Finish: true}}); !a.Done {
		t.Errorf("finished %+v", a)
	}
	for _, ref := range []model.Ref{l0, l1} {
		c := e.claim(ref)
		e.applyLease(c, LeaseStep{StandBack: true})
		st := e.acquireStep("r0", "s-"+ref.ID)
		st.Pass, st.Log = 1, []Entry{{Event: model.EventAcquired, Text: "acquired"}}
		e.applyLease(c, st)
		e.applyLease(c, LeaseStep{Path: []model.LeaseState{model.LeaseActive}, Step: Step{Finish: true, LookAgain: c.Lease.Until}})
	}
	for i := range 3 {
		for _, k := range []model.Idempotency{{}, {Key: fmt.Sprint(i), Fingerprint: "f"}} {
			if _, err := e.Send(e.ctx, command(l0, model.NewID(), model.CommandRelease), k); err != nil {
				t.Error(err)
			}
		}
	}
	e.send(r0, "c1", model.CommandRelease)
	rc = e.claim(r0)
	e.applyResource(rc, ResourceStep{
		Path: []model.ResourceState{model.ResourceReleased}, Cascade: "gone", Step: Step{Consume: consumed(rc, model.OutcomeApplied)},
	})
	e.clock.advance(2 * time.Hour) // past their until
	for _, ref := range []model.Ref{l0, l1} {
		c := e.claim(ref)
		if len(c.Commands) < 2 {
			t.Errorf("%s has %d commands, want that of its resource and that of its end", ref, len(c.Commands))
		}
		e.applyLease(c, LeaseStep{
			Path: []model.LeaseState{model.LeaseReleased, model.LeaseDestroyed},
			Step: Step{Consume: consumed(c, model.OutcomeSuperseded)[:1], Finish: true},
		})
	}
	sent, err := e.Send(e.ctx, command(l0, "late", model.CommandRelease), model.Idempotency{Key: "late", Fingerprint: "f"})
	if sent.Command != nil || err != nil {
		t.Errorf("release of what is destroyed = %+v, %v", sent, err)
	}
	_, err = e.Claim(e.ctx, l0, "w1")
	e.must(err)
	rc = e.claim(r0)
	e.applyResource(rc, ResourceStep{Path: []model.ResourceState{model.ResourceDestroyed}, Unleased: true, Step: Step{Finish: true}})
	_, _, err = e.Due(e.ctx, e.ns, 100)
	e.must(err)
	c = e.begin(e.createLease("l9", model.NewLease{}).Lease.Ref)
	for _, lookAgain := range []time.Time{start.Add(9 * time.Hour), {}} {
		if again, err := e.Finish(e.ctx, c, lookAgain); again || err != nil {
			t.Errorf("finish = %t, %v", again, err)
		}
	}
	e.deleteBlueprint(bp)
	e.sparesAndTold()
	e.putRequestable(bp)
	for _, status := range model.AuthorizationStatuses() {
		_, _, err := e.Authorize(e.ctx, model.Authorization{Namespace: e.ns, Blueprint: bp, Owner: "ada", Status: status})
		e.must(err)
	}
	for i := range 101 {
		owner := fmt.Sprintf("o%03d", i)
		id := "g" + owner
		c := e.claim(e.createLease(id, model.NewLease{Owner: owner}).Lease.Ref)
		e.applyLease(c, LeaseStep{StandBack: true, Gates: &[]Gate{{Blueprint: bp, Rev: e.blueprint(bp).Rev}}})
	}
	e.deleteBlueprint(bp)
	subscriptionLife(e)
	if n, left, err := e.Collect(e.ctx, e.ns, 0); n != 0 || left != 0 || err != nil {
		t.Errorf("collected %d more in the third run, left %d, %v", n, left, err)
	}

	for name := range scripts {
		if r.seen[name] == 0 {
			t.Errorf("%s was not run", name)
		}
	}
}

// sparesAndTold has a blueprint of its own make a spare and tell it of a new declaration.
func (e *env) sparesAndTold() {
	e.Helper()
	b := e.putBlueprint("spares", 0)
	b.MinIdle = 1
	b, _, _, err := e.PutBlueprint(e.ctx, b, model.Condition{})
	e.must(err)
	c := e.claim(model.BlueprintRef(e.ns, "spares"))
	st := BlueprintStep{Told: &b.Rev, Spare: &NewResource{ID: "spare", Name: "spare", Blueprint: b, Capacity: 1, Slots: []string{"spare"}}}
	_, err = e.ApplyBlueprint(e.ctx, c, st)
	e.must(err)
	st.Spare.ID = "more"
	if _, err = e.ApplyBlueprint(e.ctx, c, st); err == nil {
		e.Error("a second spare was made, want one")
	}
	_, wake, err := e.TellResources(e.ctx, c.Ref, b.Rev+1, "")
	e.must(err)
	e.wantRefs(wake)
	r := e.resourceRef("spare")
	e.applyResource(e.claim(r), ResourceStep{Path: []model.ResourceState{model.ResourceActive}})
	e.applyResource(e.claim(r), ResourceStep{Path: []model.ResourceState{model.ResourceReleased, model.ResourceDestroyed}})
	e.deleteBlueprint("spares")
}

// life is a mini scenario: eight leases on a blueprint that makes at most two resources for two each; releases, an end that passes,
// a resource that is released under its leases.
func life(e *env) {
	e.Helper()
	due := New(e.rdb, e.cfg)
	defer due.Close()
	e.putBlueprint(bp, 2)
	for i := range 8 {
		n := model.NewLease{Type: "host"}
		if i == 1 {
			n.TTL = 2 * time.Minute
		}
		_, err := e.CreateLease(e.ctx, e.ns, fmt.Sprintf("l%d", i), n, model.Idempotency{Key: fmt.Sprint(i), Fingerprint: "f"})
		e.must(err)
		e.clock.advance(time.Millisecond)
	}
	e.drive(due, 3)
	for i := range 3 {
		e.send(e.leaseRef("l0"), fmt.Sprintf("c%d", i), model.CommandRelease)
	}
	e.drive(due, 3)
	e.clock.advance(2 * time.Minute)
	e.drive(due, 3)
	e.send(e.resourceRef("r-l0"), "c0", model.CommandRelease)
	e.drive(due, 4)
	page, err := e.Leases(e.ctx, e.ns, model.LeaseFilter{})
	e.must(err)
	for _, l := range page.Items {
		e.send(l.Ref, "end", model.CommandRelease)
	}
	e.drive(due, 4)
	resources, err := e.Resources(e.ctx, e.ns, model.ResourceFilter{})
	e.must(err)
	for _, r := range resources.Items {
		e.send(r.Ref, "end", model.CommandRelease)
	}
	e.drive(due, 4)
}

// TestResentScenario lives the same life twice, with every script sent once and sent twice: the same must come of it.
func TestResentScenario(t *testing.T) {
	t.Parallel()
	once := newEnv(t)
	life(once)
	twice, r := newResentEnv(t)
	life(twice)
	if diff := cmp.Diff(normalDump(once.dump()), normalDump(twice.dump())); diff != "" {
		t.Errorf("what is stored in the end (-sent once +sent twice):\n%s", diff)
	}
	for _, name := range []string{"create_lease", "create_resource", "send", "claim", "apply_lease", "apply_resource", "snapshot"} {
		if r.seen[name] == 0 {
			t.Errorf("%s was not run", name)
		}
	}
	leases, err := twice.Leases(twice.ctx, twice.ns, model.LeaseFilter{Status: model.LeaseDestroyed})
	twice.must(err)
	resources, err := twice.Resources(twice.ctx, twice.ns, model.ResourceFilter{Status: model.ResourceDestroyed})
	twice.must(err)
	if len(leases.Items) != 8 || len(resources.Items) < 3 {
		t.Errorf("%d leases and %d resources were destroyed, want 8 and at least 3", len(leases.Items), len(resources.Items))
	}
}

func normalDump(d dump) dump {
	out := dump{Values: map[string]string{}, Streams: map[string][]string{}}
	for k, v := range d.Values {
		out.Values[normal(k)] = normal(v)
	}
	for k, entries := range d.Streams {
		for _, x := range entries {
			out.Streams[normal(k)] = append(slices.Clip(out.Streams[normal(k)]), normal(x))
		}
	}
	return out
}

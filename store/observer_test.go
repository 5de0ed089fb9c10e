package store

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"drydock/embedded/redistest"
	"drydock/model"
)

// recorder is an observer that writes down what it is told.
type recorder struct {
	mu    sync.Mutex
	lines []string
}

func (r *recorder) addf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, fmt.Sprintf(format, args...))
}

func (r *recorder) Sent(k model.Kind, name model.CommandName, via model.Via, n int) {
	r.addf("sent %s %s via %s: %d", k, name, via, n)
}

func (r *recorder) Consumed(k model.Kind, name model.CommandName, o model.Outcome, took time.Duration) {
	r.addf("consumed %s %s: %s after %s", k, name, o, took)
}

func (r *recorder) Unread(k model.Kind, n int) { r.addf("unread %s: %d", k, n) }
func (r *recorder) Stale(op string)            { r.addf("stale %s", op) }

func (r *recorder) Swept(s Swept) {
	r.addf("swept %d lost, %d busy, %d planned", s.Lost, s.Busy, s.Planned)
}

// want compares what was told since the last time.
func (r *recorder) want(t testing.TB, when string, lines ...string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if diff := cmp.Diff(lines, r.lines); diff != "" {
		t.Errorf("%s, the observer was told (-want +got):\n%s", when, diff)
	}
	r.lines = nil
}

func newObservedEnv(t *testing.T) (*env, *recorder) {
	t.Helper()
	r := &recorder{}
	return newEnvOn(t, redistest.Client(t, redistest.Shared(t)), Config{Observer: r}), r
}

// TestObserverIsToldOfEveryCommandOnce follows a resource and its two leases to their end: what callers send, what scripts send, what is
// consumed, and what is consumed unread.
func TestObserverIsToldOfEveryCommandOnce(t *testing.T) {
	t.Parallel()
	e, r := newObservedEnv(t)
	res := e.resource("r1", spec{capacity: 2})
	l1, l2 := e.leaseIn("l1", model.LeasePending), e.leaseIn("l2", model.LeasePending)
	e.acquire(l1, "r1")
	e.acquire(l2, "r1")
	r.lines = nil

	e.send(res, "c1", model.CommandRelease)
	r.want(t, "after a release", "sent resource release via api: 1")
	e.send(res, "c1", model.CommandRelease)
	r.want(t, "after the same command once more")
	if _, err := e.Send(e.ctx, command(e.leaseRef("nobody"), "c2", model.CommandRelease), model.Idempotency{}); err == nil {
		t.Error("a release of nothing was accepted")
	}
	r.want(t, "after a release of nothing")

	e.clock.advance(250 * time.Millisecond)
	c := e.claim(res)
	e.applyResource(c, ResourceStep{
		Path: []model.ResourceState{model.ResourceReleased}, Cascade: "gone", Step: Step{Consume: consumed(c, model.OutcomeApplied)},
	})
	r.want(t, "after the resource's release", "consumed resource release: applied after 250ms", "sent lease release via worker: 2")

	c = e.claim(l2)
	e.send(l2, "c3", model.CommandRelease) // comes in after the claim
	e.applyLease(c, LeaseStep{
		Path: []model.LeaseState{model.LeaseReleased, model.LeaseDestroyed}, Step: Step{Consume: consumed(c, model.OutcomeApplied)},
	})
	r.want(t, "after a lease's end", "sent lease release via api: 1", "consumed lease release: applied after 0s", "unread lease: 1")
}

func TestObserverIsToldOfExpiry(t *testing.T) {
	t.Parallel()
	e, r := newObservedEnv(t)
	l := e.lease("l1", model.NewLease{TTL: time.Minute})
	e.clock.advance(time.Hour)
	r.lines = nil
	e.claim(l)
	r.want(t, "after the end has passed", "sent lease release via worker: 1")
	e.claim(l)
	r.want(t, "after another claim")
}

func TestObserverIsToldOfStaleWrites(t *testing.T) {
	t.Parallel()
	e, r := newObservedEnv(t)
	l, res := e.lease("l1", model.NewLease{}), e.resource("r1", spec{})
	old, oldRes := e.claim(l), e.claim(res)
	e.claim(l)
	e.claim(res)
	r.lines = nil
	_, err1 := e.ApplyLease(e.ctx, old, LeaseStep{})
	_, err2 := e.ApplyResource(e.ctx, oldRes, ResourceStep{})
	err3 := e.Touch(e.ctx, old)
	_, err4 := e.Finish(e.ctx, old, time.Time{})
	for _, err := range []error{err1, err2, err3, err4} {
		if err == nil {
			t.Error("a stale write was accepted")
		}
	}
	r.want(t, "after four stale writes", "stale apply lease", "stale apply resource", "stale touch", "stale finish")
}

// TestObserverKnowsWhyObjectsWereDue: a task that was lost, a lock that was busy, a look that was planned.
func TestObserverKnowsWhyObjectsWereDue(t *testing.T) {
	t.Parallel()
	e, r := newObservedEnv(t)
	e.createLease("lost1", model.NewLease{})
	e.createLease("lost2", model.NewLease{})
	e.createLease("busy", model.NewLease{})
	if _, err := e.Busy(e.ctx, e.leaseRef("busy"), "token", time.Second); err != nil {
		t.Fatal(err)
	}
	e.createLease("planned", model.NewLease{})
	c := e.claim(e.leaseRef("planned"))
	if _, err := e.Finish(e.ctx, c, start.Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	r.lines = nil
	if _, _, err := e.Due(e.ctx, e.ns, 10); err != nil {
		t.Fatal(err)
	}
	r.want(t, "before anything is due")
	e.clock.advance(DefaultVisibility)
	refs, _, err := e.Due(e.ctx, e.ns, 10)
	if len(refs) != 4 || err != nil {
		t.Errorf("due are %v, %v", refs, err)
	}
	r.want(t, "when all is due", "swept 2 lost, 1 busy, 1 planned")
}

func TestTripsAreCountedUnderTheirContext(t *testing.T) {
	t.Parallel()
	client := redistest.Client(t, redistest.Shared(t))
	CountTrips(client)
	e := newEnvOn(t, client, Config{})
	l := e.lease("l1", model.NewLease{})
	e.claim(l) // so that the server knows the script
	ctx, trips := WithTrips(e.ctx)
	if _, err := e.Claim(ctx, l, "w1"); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Stock(ctx, e.ns, "nobody"); err != nil { // a pipeline
		t.Fatal(err)
	}
	e.claim(l) // under another context
	if got := trips.Count(); got != 2 {
		t.Errorf("%d round trips, want 2", got)
	}
}

func TestSizes(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	empty, err := e.Sizes(e.ctx, e.ns)
	if err != nil || empty.Owed != 0 || empty.Overdue != 0 || len(empty.Waiting) != 0 {
		t.Errorf("sizes of nothing = %+v, %v", empty, err)
	}
	e.putBlueprint(bp, 0)
	e.resource("r1", spec{capacity: 2})
	e.leaseIn("l1", model.LeaseActive)
	e.createLease("l2", model.NewLease{Type: "host"})
	got, err := e.Sizes(e.ctx, e.ns)
	if err != nil {
		t.Fatal(err)
	}
	if got.Leases[model.LeaseActive] != 1 || got.Leases[model.LeasePending] != 1 || got.Resources[model.ResourceActive] != 2 {
		t.Errorf("leases %v, resources %v", got.Leases, got.Resources)
	}
	if got.Waiting["host"] != 1 || got.Free["host"] == 0 || got.Owed == 0 {
		t.Errorf("waiting %v, free %v, owed %d", got.Waiting, got.Free, got.Owed)
	}
	// The test's clock stands still in the past, and the server's own time decides what is overdue.
	if got.Overdue < time.Hour {
		t.Errorf("overdue by %s, want years", got.Overdue)
	}
}

func TestOldestCommand(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	want := func(what, id string) {
		t.Helper()
		got, err := e.OldestCommand(e.ctx, e.ns)
		if err != nil || (got == nil) != (id == "") || got != nil && got.ID != id {
			t.Errorf("%s: the oldest command is %+v, %v, want %q", what, got, err, id)
		}
	}
	want("nothing is there", "")
	e.resource("r1", spec{capacity: 2})
	first, second := e.leaseIn("l1", model.LeaseActive), e.leaseIn("l2", model.LeaseActive)
	e.createLease("l3", model.NewLease{Type: "host"}) // is owed an update, and was sent nothing
	want("nothing was sent", "")
	e.send(second, "c1", model.CommandExtend)
	e.send(first, "c2", model.CommandRelease)
	e.send(second, "c3", model.CommandRelease)
	want("three wait", "c1")
	claim := e.claim(second)
	want("the first is being worked on", "c1")
	e.applyLease(claim, LeaseStep{Step: Step{Consume: consumed(claim, model.OutcomeApplied)}})
	want("one object is done", "c2")
}

func TestUsageIsSampledOnceAMinute(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	read := func(want ...UsageSample) {
		t.Helper()
		got, err := e.Usage(e.ctx, e.ns, start)
		if diff := cmp.Diff(append([]UsageSample{}, want...), got); err != nil || diff != "" {
			t.Errorf("%v, samples (-want +got):\n%s", err, diff)
		}
	}
	read()
	e.resource("r1", spec{capacity: 2})
	e.leaseIn("l1", model.LeaseActive)
	e.must(e.SampleUsage(e.ctx, e.ns))
	first := UsageSample{At: start, Leased: 1}
	read(first)
	e.createLease("l2", model.NewLease{Type: "host"})
	e.clock.advance(30 * time.Second)
	e.must(e.SampleUsage(e.ctx, e.ns)) // another worker, half a minute later
	read(first)
	e.clock.advance(30 * time.Second)
	e.must(e.SampleUsage(e.ctx, e.ns))
	read(first, UsageSample{At: start.Add(time.Minute), Leased: 1, Waiting: 1})
	e.wantVerified()
}

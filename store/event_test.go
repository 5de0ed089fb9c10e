package store

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"drydock/embedded/redistest"
	"drydock/model"
)

// follow returns a reader that is closed with the test.
func (e *env) follow(after string) model.EventReader {
	e.Helper()
	r, err := e.FollowEvents(e.ctx, e.ns, after)
	e.must(err)
	e.Cleanup(r.Close)
	return r
}

// read returns the next n events.
func (e *env) read(r model.EventReader, n int) []model.Event {
	e.Helper()
	ctx, cancel := context.WithTimeout(e.ctx, 30*time.Second)
	defer cancel()
	var all []model.Event
	for len(all) < n {
		events, err := r.Next(ctx)
		if err != nil {
			e.Fatalf("after %d of %d events: %v", len(all), n, err)
		}
		all = append(all, events...)
	}
	return all
}

// words writes events as "object event status".
func words(events []model.Event) []string {
	out := []string{}
	for _, ev := range events {
		out = append(out, fmt.Sprintf("%s %s %s", ev.Object.ID, ev.Event, ev.Status))
	}
	return out
}

// sends puts n commands on a lease's queue, which is one event each, and returns the ids of the commands.
func (e *env) sends(ref model.Ref, from, n int) []string {
	e.Helper()
	ids := []string{}
	for i := range n {
		id := fmt.Sprintf("c%d", from+i)
		e.send(ref, id, model.CommandExtend)
		ids = append(ids, id)
	}
	return ids
}

func commandsOf(events []model.Event) []string {
	out := []string{}
	for _, ev := range events {
		out = append(out, ev.Command)
	}
	return out
}

func TestEventsTellWhatHappened(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.resource("r1", spec{})
	r := e.follow("")
	ref := e.lease("l1", model.NewLease{Owner: "ada"})
	e.acquire(ref, "r1")
	e.applyLease(e.claim(ref), LeaseStep{Path: []model.LeaseState{model.LeaseActive}, Step: Step{
		Log: []Entry{{Event: model.EventActivated, Text: "active on one"}},
	}})
	e.send(ref, "c1", model.CommandRelease)
	c := e.claim(ref)
	e.applyLease(c, LeaseStep{Path: []model.LeaseState{model.LeaseReleased, model.LeaseDestroyed}, Step: Step{
		Consume: consumed(c, model.OutcomeApplied), Finish: true,
		Log: []Entry{
			{Event: model.EventConsumed, Text: "release applied", Command: "c1"}, {Event: model.EventReleased, Text: "done"},
			{Event: model.EventDestroyed, Text: "destroyed"},
		},
	}})
	got := e.read(r, 7)
	base := model.Event{Namespace: e.ns, Object: ref, ResourceType: "host", Owner: "ada"}
	want := make([]model.Event, 7)
	for i, ev := range []model.Event{
		{Event: model.EventQueued, Status: "pending", Text: "queued for a host"},
		{Event: model.EventChanged, Status: "acquired", Resource: "r1", Blueprint: bp, Fence: 2, Worker: "w1"},
		{Event: model.EventActivated, Status: "active", Text: "active on one", Resource: "r1", Blueprint: bp, Fence: 4, Worker: "w1"},
		{Event: model.EventSent, Status: "active", Text: "release from ada via api: done", Command: "c1", Resource: "r1", Blueprint: bp},
		{Event: model.EventConsumed, Status: "destroyed", Text: "release applied", Command: "c1", Resource: "r1", Blueprint: bp, Fence: 5, Worker: "w1"},
		{Event: model.EventReleased, Status: "released", Text: "done", Resource: "r1", Blueprint: bp, Fence: 5, Worker: "w1"},
		{Event: model.EventDestroyed, Status: "destroyed", Text: "destroyed", Resource: "r1", Blueprint: bp, Fence: 5, Worker: "w1"},
	} {
		ev.Namespace, ev.Object, ev.ResourceType, ev.Owner = base.Namespace, base.Object, base.ResourceType, base.Owner
		ev.ID, ev.At = got[i].ID, got[i].At
		want[i] = ev
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("events (-want +got):\n%s", diff)
	}
	seen := map[string]bool{}
	for i, ev := range got {
		if seen[ev.ID] || ev.At.IsZero() {
			t.Errorf("event %d has the id %s, used before, or no instant", i, ev.ID)
		}
		seen[ev.ID] = true
		// Whoever resumes behind an event gets all that follow, also those of the same write.
		if rest := e.read(e.follow(ev.ID), max(1, len(got)-i-1)*min(1, len(got)-i-1)); len(rest) > 0 {
			if diff := cmp.Diff(got[i+1:], rest); diff != "" {
				t.Errorf("behind event %d (-want +got):\n%s", i, diff)
			}
		}
	}
}

func TestEventsOfAResource(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.leaseIn("l1", model.LeaseActive)
	r := e.follow("")
	ref := e.resourceRef("r-l1")
	e.applyResource(e.claim(ref), ResourceStep{
		Path: []model.ResourceState{model.ResourceReleased}, Cascade: "gone", Step: Step{Log: []Entry{{Event: model.EventReleased, Text: "x"}}},
	})
	got := e.read(r, 2)
	for i := range got {
		got[i].ID, got[i].At, got[i].Command = "", time.Time{}, ""
	}
	want := []model.Event{
		{
			Namespace: e.ns, Object: e.leaseRef("l1"), Event: model.EventSent, Status: "active", Text: "release from drydock via worker: gone",
			ResourceType: "host", Resource: "r-l1", Blueprint: bp,
		},
		{
			Namespace: e.ns, Object: ref, Event: model.EventReleased, Status: "released", Text: "x", ResourceType: "host", Name: "name-r-l1",
			Blueprint: bp, Fence: got[1].Fence, Worker: "w1",
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// TestFollowersShareAReader: each gets everything from where it began, whether it comes out of the buffer or out of Redis.
func TestFollowersShareAReader(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	ref := e.lease("l1", model.NewLease{})
	all := e.sends(ref, 0, 5)
	now, oldest := e.follow(""), e.follow("0")
	all = append(all, e.sends(ref, 5, 5)...)
	if diff := cmp.Diff(all[5:], commandsOf(e.read(now, 5))); diff != "" {
		t.Errorf("from now (-want +got):\n%s", diff)
	}
	got := e.read(oldest, 11) // and the lease's own
	if diff := cmp.Diff(all, commandsOf(got)[1:]); diff != "" {
		t.Errorf("from the oldest (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(all[3:], commandsOf(e.read(e.follow(got[3].ID), 7))); diff != "" {
		t.Errorf("from the middle (-want +got):\n%s", diff)
	}
	e.watchers.mu.Lock()
	defer e.watchers.mu.Unlock()
	if n := len(e.watchers.readers); n != 1 {
		t.Errorf("%d readers of one namespace", n)
	}
}

// TestFollowerBehindTheBuffer reads what the shared buffer has dropped meanwhile.
func TestFollowerBehindTheBuffer(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	slow := e.follow("")
	const n = 3*eventsBuffer + 17
	pipe := e.rdb.Pipeline()
	for i := range n {
		pipe.XAdd(e.ctx, &redis.XAddArgs{Stream: eventsKey(e.ns), Values: []any{"o", "lease:l1", "e", "queued", "s", "pending", "c", fmt.Sprint(i)}})
	}
	_, err := pipe.Exec(e.ctx)
	e.must(err)
	// Wait until the buffer is past it.
	e.read(e.follow(e.lastID()+"-0"), 1)
	for i, ev := range e.read(slow, n) {
		if ev.Command != fmt.Sprint(i) {
			t.Fatalf("event %d is number %s", i, ev.Command)
		}
	}
}

func (e *env) lastID() string {
	e.Helper()
	id, err := e.lastEventID(e.ctx, e.ns)
	e.must(err)
	return id.String()
}

func TestGapIsTold(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	ref := e.lease("l1", model.NewLease{})
	begin := e.lastID()
	e.sends(ref, 0, 10)
	e.must(e.rdb.XTrimMaxLen(e.ctx, eventsKey(e.ns), 3).Err())
	r := e.follow(begin)
	got := e.read(r, 4)
	if got[0].Event != model.EventGap || got[0].Text == "" || got[0].Object.ID != "" {
		t.Errorf("the first event is %+v, want a gap", got[0])
	}
	if diff := cmp.Diff([]string{"", "c7", "c8", "c9"}, commandsOf(got)); diff != "" {
		t.Errorf("commands (-want +got):\n%s", diff)
	}
	// Who has seen the gap is not told again, and misses nothing.
	if diff := cmp.Diff(got[1:], e.read(e.follow(got[0].ID), 3)); diff != "" {
		t.Errorf("behind the gap (-want +got):\n%s", diff)
	}
	// Who asks for the oldest gets that.
	if got := e.read(e.follow("0"), 3); got[0].Command != "c7" {
		t.Errorf("the oldest is %+v", got[0])
	}
	// A position that nobody can have got is not taken for one at the end.
	if got := e.read(e.follow("99999999999999-0"), 1); got[0].Event != model.EventGap {
		t.Errorf("behind the end: %+v, want a gap", got[0])
	}
}

// TestGapBeforeTheFirstEvent: the reader began in an empty namespace.
func TestGapBeforeTheFirstEvent(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	begin := e.follow("").Position()
	ref := e.lease("l1", model.NewLease{})
	if got := e.read(e.follow(begin), 1); got[0].Event != model.EventQueued {
		t.Errorf("first = %v, want the first event of all", words(got))
	}
	e.sends(ref, 0, 3)
	e.must(e.rdb.XTrimMaxLen(e.ctx, eventsKey(e.ns), 2).Err())
	// Another process, whose buffer does not reach back as far.
	other := newEnvOn(t, e.rdb, Config{})
	other.ns = e.ns
	if got := other.read(other.follow(begin), 3); got[0].Event != model.EventGap {
		t.Errorf("first = %v, want a gap", words(got))
	}
}

// TestFollowerWaitsOutAnOutage, and finds out when Redis came back without what it had not saved.
func TestFollowerWaitsOutAnOutage(t *testing.T) {
	t.Parallel()
	for _, loses := range []bool{false, true} {
		t.Run(fmt.Sprintf("loses=%t", loses), func(t *testing.T) {
			t.Parallel()
			port := redistest.FreePort(t)
			opts := []redistest.Option{redistest.Port(port)}
			if !loses {
				opts = append(opts, redistest.AppendOnly("always"))
			}
			server := redistest.Start(t, opts...)
			e := newEnvOn(t, redistest.Client(t, server), Config{})
			ref := e.lease("l1", model.NewLease{})
			r := e.follow("")
			e.sends(ref, 0, 1)
			e.read(r, 1)
			if loses {
				e.must(e.rdb.FlushAll(e.ctx).Err())
				// The same time again, as a clock that is behind would number it.
				e.must(e.rdb.XAdd(e.ctx, &redis.XAddArgs{Stream: eventsKey(e.ns), ID: "5-0", Values: []any{"o", "lease:l1", "e", "queued"}}).Err())
				e.must(e.rdb.Do(e.ctx, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes").Err())
				if got := e.read(r, 1); got[0].Event != model.EventGap {
					t.Errorf("= %v, want a gap", words(got))
				}
				e.must(e.rdb.XAdd(e.ctx, &redis.XAddArgs{Stream: eventsKey(e.ns), ID: "6-0", Values: []any{"o", "lease:l2", "e", "queued"}}).Err())
				if got := e.read(r, 1); got[0].Object.ID != "l2" {
					t.Errorf("= %v, want the next event", words(got))
				}
				return
			}
			e.must(e.rdb.Do(e.ctx, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes").Err())
			e.sends(ref, 1, 2)
			if diff := cmp.Diff([]string{"c1", "c2"}, commandsOf(e.read(r, 2))); diff != "" {
				t.Errorf("commands (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEventsKeptIsASetting(t *testing.T) {
	t.Parallel()
	e := newEnvOn(t, redistest.Client(t, redistest.Shared(t)), Config{EventsKept: 1})
	ref := e.lease("l1", model.NewLease{})
	e.sends(ref, 0, MinEventsKept+500)
	n, err := e.rdb.XLen(e.ctx, eventsKey(e.ns)).Result()
	e.must(err)
	if n < MinEventsKept || n > MinEventsKept+200 {
		t.Errorf("%d events are kept, want about %d", n, MinEventsKept)
	}
}

func TestFollowRefusesWhatIsNoPosition(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	for _, after := range []string{"x", "1", "1-", "-1", "1-2-3-4", "1-2-", "1-2--3", "1-2-99999999999", " 1-2", "18446744073709551616-0"} {
		if _, err := e.FollowEvents(e.ctx, e.ns, after); kindOf(err) != model.ErrorInvalid {
			t.Errorf("FollowEvents(%q) = %v, want invalid", after, err)
		}
	}
}

func TestNextEndsWithItsContext(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	ctx, cancel := context.WithCancel(e.ctx)
	cancel()
	if _, err := e.follow("").Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Next = %v", err)
	}
}

package tasks

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"drydock/embedded/redistest"
	"drydock/model"
)

// slowQueue holds back what enqueues tasks until the test lets it go, and fails what the test says.
type slowQueue struct {
	begun chan struct{} // gets an element for each task that is about to be enqueued
	goOn  chan error    // what comes of it; nil = it is enqueued
}

func (q *slowQueue) DialHook(next redis.DialHook) redis.DialHook { return next }

func (q *slowQueue) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (q *slowQueue) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() != "evalsha" {
			return next(ctx, cmd)
		}
		q.begun <- struct{}{}
		if err := <-q.goOn; err != nil {
			return err
		}
		err := next(ctx, cmd)
		if redis.HasErrorPrefix(err, "NOSCRIPT") {
			err = next(ctx, redis.NewCmd(ctx, append([]any{"eval"}, cmd.Args()[1:]...)...))
		}
		return err
	}
}

// gathering is a client whose first flight, for first, is under way.
type gathering struct {
	t *testing.T
	*Client
	*slowQueue
	inspector *asynq.Inspector
	first     model.Ref
	firstDone chan error
}

func startGathering(t *testing.T, patience time.Duration) *gathering {
	t.Helper()
	server := redistest.Start(t)
	rdb, quick := redistest.Client(t, server), redistest.Client(t, server)
	warm := NewClient(asynq.NewClientFromRedisClient(rdb), 0)
	if err := warm.Enqueue(t.Context(), model.LeaseRef("warm", model.NewID())); err != nil { // asynq's script is there
		t.Fatal(err)
	}
	g := &gathering{
		t: t, Client: NewClient(asynq.NewClientFromRedisClient(rdb), 0), inspector: asynq.NewInspectorFromRedisClient(quick),
		slowQueue: &slowQueue{begun: make(chan struct{}), goOn: make(chan error)},
		first:     model.LeaseRef("ci", model.NewID()), firstDone: make(chan error, 1),
	}
	g.patience = patience
	if _, err := g.inspector.DeleteAllPendingTasks(Queue); err != nil {
		t.Fatal(err)
	}
	rdb.AddHook(g.slowQueue)
	go func() { g.firstDone <- g.Enqueue(context.Background(), g.first) }()
	<-g.begun
	return g
}

// untilWaiting returns when so many objects wait for the next flight.
func (g *gathering) untilWaiting(n int) {
	g.t.Helper()
	g.until(func() bool { return g.next == nil && n == 0 || g.next != nil && len(g.next.refs) == n })
}

// untilLanded returns when no flight is left.
func (g *gathering) untilLanded() {
	g.t.Helper()
	g.until(func() bool { return !g.flying && g.next == nil })
}

func (g *gathering) until(done func() bool) {
	g.t.Helper()
	for late := time.Now().Add(10 * time.Second); ; runtime.Gosched() {
		g.mu.Lock()
		ok := done()
		g.mu.Unlock()
		if ok {
			return
		}
		if time.Now().After(late) {
			g.t.Fatal("it does not happen")
		}
	}
}

// tasks lists the objects of each task that was enqueued, the oldest first.
func (g *gathering) tasks() (list [][]model.Ref) {
	g.t.Helper()
	pending, err := g.inspector.ListPendingTasks(Queue, asynq.PageSize(1000))
	if err != nil {
		g.t.Fatal(err)
	}
	for _, task := range pending {
		refs, err := Parse(task.Type, task.Payload)
		if err != nil {
			g.t.Fatal(err)
		}
		list = append(list, refs)
	}
	return list
}

// TestEnqueueGathers: those who call while tasks are being enqueued share tasks, each object once, no namespace mixed with another.
func TestEnqueueGathers(t *testing.T) {
	t.Parallel()
	g := startGathering(t, time.Hour)
	var ci []model.Ref
	for range MaxBatch + 3 {
		ci = append(ci, model.LeaseRef("ci", model.NewID()))
	}
	other := model.ResourceRef("other", model.NewID())
	calls := [][]model.Ref{ci[:2], {other}, ci[2:5], {ci[0]}}
	for _, ref := range ci[5:] {
		calls = append(calls, []model.Ref{ref})
	}
	var wg sync.WaitGroup
	waiting := 0
	for _, refs := range calls {
		wg.Go(func() {
			if err := g.Enqueue(context.Background(), refs...); err != nil {
				t.Error(err)
			}
		})
		waiting += len(refs)
		g.untilWaiting(waiting)
	}
	g.goOn <- nil
	for range 3 {
		<-g.begun
		g.goOn <- nil
	}
	wg.Wait()
	if err := <-g.firstDone; err != nil {
		t.Error(err)
	}
	want := [][]model.Ref{{g.first}, ci[:MaxBatch], ci[MaxBatch:], {other}}
	if diff := cmp.Diff(want, g.tasks()); diff != "" {
		t.Errorf("tasks (-want +got):\n%s", diff)
	}
}

// TestEnqueueTellsEachItsOwn: an error of one flight, and within it of one task and those that were not tried after it, is heard by those
// whom it concerns.
func TestEnqueueTellsEachItsOwn(t *testing.T) {
	t.Parallel()
	g := startGathering(t, time.Hour)
	var refs []model.Ref
	for range 2 * MaxBatch {
		refs = append(refs, model.LeaseRef("ci", model.NewID()))
	}
	heard := make([]chan error, len(refs))
	for i, ref := range refs {
		heard[i] = make(chan error, 1)
		go func() { heard[i] <- g.Enqueue(context.Background(), ref) }()
		g.untilWaiting(i + 1)
	}
	errAway := errors.New("it is away")
	away := func(err error) bool { return err != nil && strings.Contains(err.Error(), errAway.Error()) } // asynq wraps no errors
	g.goOn <- errAway
	if err := <-g.firstDone; !away(err) || !strings.Contains(err.Error(), g.first.String()) {
		t.Errorf("the first heard %v", err)
	}
	<-g.begun
	g.goOn <- nil
	<-g.begun
	g.goOn <- errAway
	for i, ref := range refs {
		err := <-heard[i]
		switch {
		case i < MaxBatch && err != nil:
			t.Errorf("%s was enqueued, and its caller heard %v", ref, err)
		case i >= MaxBatch && (!away(err) || !strings.Contains(err.Error(), ref.String()) || strings.Contains(err.Error(), refs[0].ID)):
			t.Errorf("%s was not enqueued, and its caller heard %v", ref, err)
		}
	}
	if got := len(g.tasks()); got != 1 {
		t.Errorf("%d tasks, want one", got)
	}
}

// TestEnqueueWhoseCallerLeaves: neither its own objects nor those of others are left behind.
func TestEnqueueWhoseCallerLeaves(t *testing.T) {
	t.Parallel()
	g := startGathering(t, time.Hour)
	one, other := model.LeaseRef("ci", model.NewID()), model.LeaseRef("ci", model.NewID())
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error, 2)
	go func() { left <- g.Enqueue(ctx, one) }()
	g.untilWaiting(1)
	cancel()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("who left heard %v", err)
	}
	go func() { left <- g.Enqueue(t.Context(), other) }()
	g.untilWaiting(2)
	g.goOn <- nil
	<-g.begun
	g.goOn <- nil
	if err := <-left; err != nil {
		t.Errorf("who stayed heard %v", err)
	}
	if diff := cmp.Diff([][]model.Ref{{g.first}, {one, other}}, g.tasks()); diff != "" {
		t.Errorf("tasks (-want +got):\n%s", diff)
	}
}

// TestEnqueueDoesNotWaitForWhatHangs: who comes while a call hangs waits a moment for it, and then makes its own.
func TestEnqueueDoesNotWaitForWhatHangs(t *testing.T) {
	t.Parallel()
	g := startGathering(t, time.Millisecond)
	ref := model.LeaseRef("ci", model.NewID())
	done := make(chan error, 1)
	go func() { done <- g.Enqueue(t.Context(), ref) }()
	<-g.begun // the first has not been let go
	g.goOn <- nil
	g.goOn <- nil
	if err := errors.Join(<-done, <-g.firstDone); err != nil {
		t.Error(err)
	}
	if got := len(g.tasks()); got != 2 {
		t.Errorf("%d tasks, want 2", got)
	}
	g.untilLanded()
}

// TestEnqueueByMany: nothing is lost or doubled, whoever meets whom.
func TestEnqueueByMany(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t, redistest.Start(t))
	g := &gathering{t: t, Client: NewClient(asynq.NewClientFromRedisClient(rdb), 0), inspector: asynq.NewInspectorFromRedisClient(rdb)}
	const callers, each = 30, 20
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for range each {
				if err := g.Enqueue(t.Context(), model.LeaseRef("ci", model.NewID())); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	seen := map[model.Ref]bool{}
	list := g.tasks()
	for _, refs := range list {
		for _, ref := range refs {
			if seen[ref] {
				t.Errorf("%s is in two tasks", ref)
			}
			seen[ref] = true
		}
	}
	if len(seen) != callers*each || len(list) >= callers*each {
		t.Errorf("%d objects in %d tasks, want %d in fewer", len(seen), len(list), callers*each)
	}
	g.untilLanded()
}

package handlers

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hibiken/asynq"

	"drydock/embedded/redistest"
	"drydock/model"
	"drydock/tasks"
)

// newTestBatcher returns a batcher whose updates are the test's, and the calls that give objects back.
func newTestBatcher(t *testing.T, concurrency int, update func(context.Context, model.Ref) error) (*batcher, *givenBack) {
	t.Helper()
	back := &givenBack{}
	b := &batcher{update: update, tasks: back, patience: patience, log: slog.New(slog.DiscardHandler), turn: make(chan struct{}, 1), begins: make(chan func())}
	b.start(concurrency)
	t.Cleanup(b.stop)
	return b, back
}

type givenBack struct {
	mu    sync.Mutex
	calls [][]model.Ref
}

func (g *givenBack) Enqueue(_ context.Context, refs ...model.Ref) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls = append(g.calls, refs)
	return nil
}

func (g *givenBack) list() [][]model.Ref {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.calls)
}

func batchOf(t *testing.T, n int) (*asynq.Task, []model.Ref) {
	t.Helper()
	refs := make([]model.Ref, n)
	for i := range refs {
		refs[i] = model.LeaseRef("ci", model.NewID())
	}
	task, err := tasks.New(refs...)
	if err != nil {
		t.Fatal(err)
	}
	return task, refs
}

// TestBatchesShareTheSlots: however many tasks there are and whatever they name, so many updates run at once, and all of them run.
func TestBatchesShareTheSlots(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const slots, batches = 4, 5
		var running, most, done atomic.Int64
		b, back := newTestBatcher(t, slots, func(context.Context, model.Ref) error {
			most.Store(max(most.Load(), running.Add(1)))
			time.Sleep(time.Millisecond)
			running.Add(-1)
			done.Add(1)
			return nil
		})
		var wg sync.WaitGroup
		began := time.Now()
		for range batches {
			task, _ := batchOf(t, tasks.MaxBatch)
			wg.Go(func() {
				if err := b.ProcessTask(t.Context(), task); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if most.Load() != slots || done.Load() != batches*tasks.MaxBatch || len(back.list()) != 0 {
			t.Errorf("%d updates, at most %d at once, %d given back", done.Load(), most.Load(), len(back.list()))
		}
		if took, want := time.Since(began), time.Millisecond*batches*tasks.MaxBatch/slots; took != want {
			t.Errorf("they took %v, want %v", took, want)
		}
	})
}

// TestUpdatesBeginInTheOrderOfTheTasks: one after the other, and no task is asked for while an object of the last one waits.
func TestUpdatesBeginInTheOrderOfTheTasks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var began []model.Ref
		next := make(chan struct{})
		b, _ := newTestBatcher(t, 2, func(_ context.Context, ref model.Ref) error {
			mu.Lock()
			began = append(began, ref)
			mu.Unlock()
			<-next
			return nil
		})
		var wg sync.WaitGroup
		var want []model.Ref
		for range 3 {
			task, refs := batchOf(t, 4)
			want = append(want, refs...)
			wg.Go(func() {
				if err := b.ProcessTask(t.Context(), task); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		asked := make(chan struct{})
		go func() { b.awaitSlot(t.Context()); close(asked) }()
		for range want {
			synctest.Wait()
			select {
			case <-asked:
				if len(began) < len(want) {
					t.Errorf("asked for a task when %d of %d had begun", len(began), len(want))
				}
			default:
			}
			next <- struct{}{}
		}
		wg.Wait()
		<-asked
		// Two begin at once, in any order.
		for i := 2; i < len(want); i++ {
			if began[i] != want[i] {
				t.Fatalf("began as %v, want %v", began, want)
			}
		}
	})
}

// TestBatchGivesBackWhatCannotBegin: long hooks must not keep objects from workers that are idle.
func TestBatchGivesBackWhatCannotBegin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var ran atomic.Int64
		b, back := newTestBatcher(t, 3, func(context.Context, model.Ref) error {
			ran.Add(1)
			time.Sleep(time.Minute)
			return nil
		})
		task, refs := batchOf(t, 5)
		done := make(chan error)
		go func() { done <- b.ProcessTask(t.Context(), task) }()
		time.Sleep(patience + time.Millisecond)
		synctest.Wait()
		want := [][]model.Ref{{refs[3]}, {refs[4]}}
		if !slices.EqualFunc(back.list(), want, slices.Equal) {
			t.Errorf("given back %v, want %v", back.list(), want)
		}
		alone, refs := batchOf(t, 1)
		if err := b.ProcessTask(t.Context(), alone); err != nil || !slices.Equal(back.list()[2], refs) {
			t.Errorf("a task for one object: given back %v, %v", back.list()[2:], err)
		}
		if err := <-done; err != nil || ran.Load() != 3 {
			t.Errorf("%d updates, %v", ran.Load(), err)
		}
	})
}

// TestBatchGoesOnAfterFailures: neither an error nor a panic of one object is the others'.
func TestBatchGoesOnAfterFailures(t *testing.T) {
	t.Parallel()
	var refs []model.Ref
	var ran atomic.Int64
	errOdd := errors.New("odd")
	b, _ := newTestBatcher(t, 2, func(_ context.Context, ref model.Ref) error {
		ran.Add(1)
		switch ref {
		case refs[0]:
			panic("of the test")
		case refs[1]:
			return errOdd
		}
		return nil
	})
	task, list := batchOf(t, 6)
	refs = list
	err := b.ProcessTask(t.Context(), task)
	if !errors.Is(err, errOdd) || errors.Is(err, asynq.SkipRetry) || !strings.Contains(err.Error(), refs[0].String()+": panic: of the test") {
		t.Errorf("ProcessTask() = %v", err)
	}
	if ran.Load() != 6 {
		t.Errorf("%d updates", ran.Load())
	}
	if err := b.ProcessTask(t.Context(), asynq.NewTask("batch:update", []byte(`{}`))); !errors.Is(err, asynq.SkipRetry) {
		t.Errorf("ProcessTask() of nonsense = %v, want no retry", err)
	}
}

// TestBatchWhoseTimeIsUp: what has not begun is left alone, and the task is not done.
func TestBatchWhoseTimeIsUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var ran atomic.Int64
		stop := make(chan struct{})
		b, back := newTestBatcher(t, 1, func(context.Context, model.Ref) error {
			ran.Add(1)
			<-stop
			return nil
		})
		task, _ := batchOf(t, 3)
		done := make(chan error, 1)
		go func() { done <- b.ProcessTask(ctx, task) }()
		synctest.Wait()
		cancel()
		synctest.Wait()
		if len(done) != 0 {
			t.Error("the task is done while one of its updates runs")
		}
		close(stop)
		if err := <-done; !errors.Is(err, context.Canceled) || ran.Load() != 1 || len(back.list()) != 0 {
			t.Errorf("ProcessTask() = %v after %d updates, %v given back", err, ran.Load(), back.list())
		}
	})
}

// TestAwaitSlot: a server asks for a task when it could begin one.
func TestAwaitSlot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		b, _ := newTestBatcher(t, 1, nil)
		b.awaitSlot(ctx)
		busy := make(chan struct{})
		b.begins <- func() { <-busy }
		returned := make(chan struct{}, 2)
		wait := func() { b.awaitSlot(ctx); returned <- struct{}{} }
		go wait()
		synctest.Wait()
		if len(returned) != 0 {
			t.Error("there is a slot")
		}
		close(busy)
		<-returned
		b.begins <- func() { <-ctx.Done() }
		go wait()
		cancel()
		<-returned
	})
}

// TestServerUpdatesBatches: from the queue to the lease, with fewer slots than a task has objects.
func TestServerUpdatesBatches(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	rdb := redistest.Client(t, server)
	h := newHarnessOn(t, rdb, Config{})
	h.pool(0, 20, 1)
	h.drain()
	var refs []model.Ref
	for range 20 {
		refs = append(refs, model.LeaseRef(h.ns, h.lease(model.NewLease{})))
	}
	queue := tasks.NewClient(asynq.NewClientFromRedisClient(rdb), time.Hour)
	if err := queue.Enqueue(t.Context(), refs...); err != nil {
		t.Fatal(err)
	}
	u := NewUpdater(h.store, h.locks, queue, h.updater.catalog.registry, h.updater.cfg)
	worker := NewServer(asynq.RedisClientOpt{Addr: server.Addr()}, u, ServerConfig{Concurrency: 3, Logger: h.updater.log})
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	defer worker.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for late := time.Now().Add(30 * time.Second); ; <-tick.C {
		n, err := h.store.CountLeases(t.Context(), h.ns, model.LeaseActive)
		if err != nil {
			t.Fatal(err)
		}
		if n == int64(len(refs)) {
			break
		}
		if time.Now().After(late) {
			t.Fatalf("%d of %d leases are active", n, len(refs))
		}
	}
	h.verify()
	info, err := tasks.Info(asynq.NewInspectorFromRedisClient(rdb))
	if err != nil || info.Failed != 0 || info.Retry != 0 || info.Archived != 0 {
		t.Errorf("queue %+v, %v", info, err)
	}
}

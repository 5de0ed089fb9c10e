package store

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"drydock/embedded/redistest"
	"drydock/model"
)

// gate holds back reads of the events until it is opened, and counts them.
type gate struct {
	open chan struct{}

	mu    sync.Mutex
	reads int
}

func newGate() *gate { return &gate{open: make(chan struct{})} }

func (g *gate) DialHook(next redis.DialHook) redis.DialHook { return next }

func (g *gate) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() != "xread" {
			return next(ctx, cmd)
		}
		<-g.open
		err := next(ctx, cmd)
		g.mu.Lock()
		defer g.mu.Unlock()
		g.reads++
		return err
	}
}

func (g *gate) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// watched runs change with a watch on ref whose reader is held back, and reports whether the watch told of it for the event's
// sake: the safety tick, which tells everybody, only comes later.
func watched(t *testing.T, change func(e *env, ref model.Ref)) bool {
	t.Helper()
	for range 5 {
		g := newGate()
		client := redistest.Client(t, redistest.Shared(t))
		client.AddHook(g)
		e := newEnvOn(t, client, Config{})
		ref := e.lease("l1", model.NewLease{})
		began := time.Now()
		changed, stop := e.Watch(e.ctx, ref)
		defer stop()
		change(e, ref)
		close(g.open)
		select {
		case <-changed:
		case <-time.After(30 * time.Second):
			t.Fatal("the watch tells of nothing")
		}
		if time.Since(began) < watchSafety {
			return true
		}
	}
	return false
}

func TestWatchTellsOfTheFirstChange(t *testing.T) {
	t.Parallel()
	if !watched(t, func(e *env, ref model.Ref) { e.send(ref, "c1", model.CommandExtend) }) {
		t.Error("the watch only tells when its safety tick comes")
	}
}

// TestWatchSurvivesATrim: the entry that the reader starts from may be gone when it reads.
func TestWatchSurvivesATrim(t *testing.T) {
	t.Parallel()
	if !watched(t, func(e *env, ref model.Ref) {
		e.must(e.rdb.XTrimMaxLen(e.ctx, eventsKey(e.ns), 0).Err())
		e.send(ref, "c1", model.CommandExtend)
	}) {
		t.Error("the watch only tells when its safety tick comes")
	}
	if !watched(t, func(e *env, ref model.Ref) {
		e.must(e.rdb.Del(e.ctx, eventsKey(e.ns)).Err())
		e.send(ref, "c1", model.CommandExtend)
	}) {
		t.Error("without the events that were: the watch only tells when its safety tick comes")
	}
}

// TestWatchTellsOnlyWhomItConcerns looks at what the reader of a namespace tells each watcher.
func TestWatchTellsOnlyWhomItConcerns(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	one, other := e.leaseRef("l1"), e.leaseRef("l2")
	w := &e.watchers
	r := &reader{cancel: func() {}, subs: map[model.Ref]map[chan struct{}]struct{}{}}
	w.readers[e.ns] = r
	told := func(ch <-chan struct{}) bool {
		select {
		case <-ch:
			return true
		default:
			return false
		}
	}
	first, stopFirst := e.Watch(e.ctx, one)
	second, stopSecond := e.Watch(e.ctx, one)
	third, stopThird := e.Watch(e.ctx, other)
	for range 3 { // never blocks
		w.notify(r, one)
	}
	if !told(first) || !told(second) || told(third) {
		t.Error("a change of one object was not told to its two watchers alone")
	}
	if told(first) {
		t.Error("changes that nobody took are told more than once")
	}
	stopFirst()
	stopFirst()
	w.notify(r, one)
	if told(first) || !told(second) {
		t.Error("stop of one watch ended another, or did not end it")
	}
	w.notifyAll(r)
	if !told(second) || !told(third) {
		t.Error("the safety tick was not told to everybody")
	}
	stopSecond()
	stopThird()
	if len(w.readers) != 0 || len(r.subs) != 0 {
		t.Errorf("%d readers, %d objects are left", len(w.readers), len(r.subs))
	}
}

// TestWatchersShareAReader, and the last one to go ends it.
func TestWatchersShareAReader(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	var stops []func()
	for i := range 10 {
		_, stop := e.Watch(e.ctx, e.leaseRef(fmt.Sprintf("l%d", i)))
		stops = append(stops, stop)
	}
	if n := len(e.watchers.readers); n != 1 {
		t.Errorf("%d readers for one namespace, want 1", n)
	}
	for _, stop := range stops {
		stop()
	}
	if n := len(e.watchers.readers); n != 0 {
		t.Errorf("%d readers are left", n)
	}
	// Close waits for the reader, or the check for left over goroutines finds it.
	e.Close()
	// A watch on a closed store tells of nothing and leaves nothing behind.
	_, stop := e.Watch(e.ctx, e.leaseRef("l1"))
	stop()
}

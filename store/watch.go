package store

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"drydock/model"
)

// Timing of watches. The safety tick bounds what a reader misses when the events were trimmed or Redis was away.
const (
	watchBlock  = 2 * time.Second
	watchSafety = 2 * time.Second
	watchRetry  = 250 * time.Millisecond
)

// watchers follows the events of the namespaces that somebody watches: one reader per namespace, shared.
type watchers struct {
	store  *Store
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	readers map[string]*reader
}

// reader follows one namespace.
type reader struct {
	cancel context.CancelFunc
	// subs are the channels of those who watch, by object. Guarded by watchers.mu.
	subs map[model.Ref]map[chan struct{}]struct{}
}

func (w *watchers) init(s *Store) {
	w.store = s
	w.readers = make(map[string]*reader)
	w.ctx, w.cancel = context.WithCancel(context.Background())
}

func (w *watchers) close() {
	w.cancel()
	w.wg.Wait()
}

// Watch returns a channel that receives after each change of the object, and now and then for safety: read the object after
// each. The first change that it reports is the first one after Watch was called. stop ends the watch.
func (s *Store) Watch(ctx context.Context, ref model.Ref) (changed <-chan struct{}, stop func()) {
	w := &s.watchers
	ch := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	r, ok := w.readers[ref.Namespace]
	if !ok {
		readCtx, cancel := context.WithCancel(w.ctx)
		r = &reader{cancel: cancel, subs: make(map[model.Ref]map[chan struct{}]struct{})}
		w.readers[ref.Namespace] = r
		from := s.lastEvent(ctx, ref.Namespace)
		w.wg.Go(func() { w.follow(readCtx, ref.Namespace, r, from) })
	}
	if r.subs[ref] == nil {
		r.subs[ref] = make(map[chan struct{}]struct{})
	}
	r.subs[ref][ch] = struct{}{}
	return ch, sync.OnceFunc(func() { w.remove(ref, ch) })
}

func (w *watchers) remove(ref model.Ref, ch chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.readers[ref.Namespace]
	if r == nil {
		return
	}
	delete(r.subs[ref], ch)
	if len(r.subs[ref]) == 0 {
		delete(r.subs, ref)
	}
	if len(r.subs) == 0 {
		r.cancel()
		delete(w.readers, ref.Namespace)
	}
}

// lastEvent returns where a new reader begins. When Redis does not answer, it begins at the start: too much is harmless.
func (s *Store) lastEvent(ctx context.Context, ns string) string {
	last, err := s.rdb.XRevRangeN(ctx, eventsKey(ns), "+", "-", 1).Result()
	if err != nil || len(last) == 0 {
		return "0"
	}
	return last[0].ID
}

func (w *watchers) follow(ctx context.Context, ns string, r *reader, from string) {
	lastSafety := time.Now()
	for ctx.Err() == nil {
		streams, err := w.store.rdb.XRead(ctx, &redis.XReadArgs{
			Streams: []string{eventsKey(ns), from}, Count: 1000, Block: watchBlock,
		}).Result()
		switch {
		case err == nil:
			for _, e := range streams[0].Messages {
				from = e.ID
				if ref, err := model.ParseMember(ns, toString(e.Values["o"])); err == nil {
					w.notify(r, ref)
				}
			}
		case !errors.Is(err, redis.Nil) && ctx.Err() == nil:
			// The readers of the objects themselves report an outage.
			select {
			case <-ctx.Done():
			case <-time.After(watchRetry):
			}
		}
		if time.Since(lastSafety) >= watchSafety {
			lastSafety = time.Now()
			w.notifyAll(r)
		}
	}
}

func (w *watchers) notify(r *reader, ref model.Ref) {
	w.mu.Lock()
	defer w.mu.Unlock()
	signal(r.subs[ref])
}

func (w *watchers) notifyAll(r *reader) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, subs := range r.subs {
		signal(subs)
	}
}

// signal never blocks: a reader that has not taken the last signal will read the newest state anyway.
func signal(subs map[chan struct{}]struct{}) {
	for ch := range subs {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

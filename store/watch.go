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

// watchers follows the events of the namespaces that somebody watches or reads: one reader per namespace, shared.
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
	// followers counts those who read the events themselves, out of the buffer. Guarded by watchers.mu.
	followers int
	buffer    *eventBuffer
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
// each. The first change that it reports is the first one after Watch has returned. stop ends the watch.
func (s *Store) Watch(ctx context.Context, ref model.Ref) (changed <-chan struct{}, stop func()) {
	w := &s.watchers
	ch := make(chan struct{}, 1)
	r := w.lockedReader(ctx, ref.Namespace)
	defer w.mu.Unlock()
	if r.subs[ref] == nil {
		r.subs[ref] = make(map[chan struct{}]struct{})
	}
	r.subs[ref][ch] = struct{}{}
	return ch, sync.OnceFunc(func() { w.remove(ref, ch) })
}

// lockedReader returns the reader of a namespace, begun now if there is none, and locks mu, which the caller unlocks.
func (w *watchers) lockedReader(ctx context.Context, ns string) *reader {
	w.mu.Lock()
	if r, ok := w.readers[ns]; ok {
		return r
	}
	// Of a Cluster, the master of this namespace may hang. Those who watch others do not wait for it.
	w.mu.Unlock()
	from := w.store.lastEvent(ctx, ns)
	w.mu.Lock()
	r, ok := w.readers[ns]
	if !ok {
		readCtx, cancel := context.WithCancel(w.ctx)
		r = &reader{cancel: cancel, subs: make(map[model.Ref]map[chan struct{}]struct{}), buffer: newEventBuffer(from)}
		w.readers[ns] = r
		w.wg.Go(func() { w.follow(readCtx, ns, r, from) })
	}
	return r
}

// join counts one more follower of a namespace.
func (w *watchers) join(ctx context.Context, ns string) *reader {
	r := w.lockedReader(ctx, ns)
	defer w.mu.Unlock()
	r.followers++
	return r
}

// leave ends what join began.
func (w *watchers) leave(ns string, r *reader) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r.followers--
	w.endIfUnusedLocked(ns, r)
}

func (w *watchers) endIfUnusedLocked(ns string, r *reader) {
	if len(r.subs) == 0 && r.followers == 0 {
		r.cancel()
		delete(w.readers, ns)
	}
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
	w.endIfUnusedLocked(ref.Namespace, r)
}

// lastEvent returns where a new reader begins. When Redis does not answer, it begins at the start: too much is harmless.
func (s *Store) lastEvent(ctx context.Context, ns string) streamID {
	last, _ := s.lastEventID(ctx, ns)
	return last
}

func (w *watchers) follow(ctx context.Context, ns string, r *reader, from streamID) {
	lastSafety := time.Now()
	for ctx.Err() == nil {
		streams, err := w.store.rdb.XRead(ctx, &redis.XReadArgs{
			Streams: []string{eventsKey(ns), from.String()}, Count: eventsPage, Block: watchBlock,
		}).Result()
		switch {
		case err == nil:
			from = w.take(ctx, ns, r, from, streams[0].Messages)
		case errors.Is(err, redis.Nil):
			from = w.checkEnd(ctx, ns, r, from)
		case ctx.Err() == nil:
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

// take hands on what was read after from, and returns where it ends.
func (w *watchers) take(ctx context.Context, ns string, r *reader, from streamID, messages []redis.XMessage) streamID {
	entries := make([]entry, len(messages))
	for i, m := range messages {
		entries[i] = decodeEntry(ns, m)
	}
	// A full page may be one of many that this process was too slow for, and some may be gone: its readers then find out for themselves.
	lost := false
	if len(messages) == eventsPage {
		first, err := w.store.rdb.XRangeN(ctx, eventsKey(ns), "-", "+", 1).Result()
		lost = err != nil || from.before(idOf(first))
	}
	w.mu.Lock()
	if lost {
		r.buffer.reset(entries[len(entries)-1].id)
	} else {
		r.buffer.add(entries, r.followers > 0)
	}
	w.mu.Unlock()
	for _, m := range messages {
		if ref, err := model.ParseMember(ns, toString(m.Values["o"])); err == nil {
			w.notify(r, ref)
		}
	}
	return entries[len(entries)-1].id
}

// checkEnd is for when nothing comes: a Redis that came back from an outage without its last entries may number new ones from before
// ours on, and they would never be read.
func (w *watchers) checkEnd(ctx context.Context, ns string, r *reader, from streamID) streamID {
	last, err := w.store.lastEventID(ctx, ns)
	if err != nil || !last.before(from) {
		return from
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	r.buffer.reset(last)
	return last
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

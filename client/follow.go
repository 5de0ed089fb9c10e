package client

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"drydock/api/wire"
	"drydock/model"
)

// How often whoever follows an object looks at it although no event told him to.
const (
	// netInterval is the net below the events, should one be lost on the way.
	netInterval = 30 * time.Second
	// placeInterval is for a lease that waits: no event tells of its place in the queue, which moves with other leases.
	placeInterval = 5 * time.Second
)

// changes tells when an object should be read again: after each event about it. While there are no events, because the caller may not
// read them, the server has none or the connection is lost, it is time again after a short while.
type changes struct {
	client *Client
	opts   EventOptions
	cancel context.CancelFunc // nil before the first wait
	wg     sync.WaitGroup
	// open says that the stream of events is connected, so that whatever happens comes to changedC.
	open atomic.Bool
	// changedC has room for one: a reader who is not back yet reads the newest state anyway.
	changedC chan struct{}
}

// changesOf follows one object. The stream is opened by the first wait: most of what is waited for is there at the first look.
func (c *Client) changesOf(kind model.Kind, id string) *changes {
	opts := EventOptions{Types: []model.Kind{kind}, Object: id}
	return &changes{client: c, opts: opts.withDefaults(), changedC: make(chan struct{}, 1)}
}

// wait returns when the object should be read again: after a change, after idle when there was none, or after blind while no event
// can come. What changed since the last wait began, or before the stream was open, is told too. It returns the context's error.
func (w *changes) wait(ctx context.Context, idle, blind time.Duration) error {
	if w.cancel == nil {
		var following context.Context
		following, w.cancel = context.WithCancel(ctx)
		w.wg.Go(func() { w.follow(following) })
	}
	pause := idle
	if !w.open.Load() {
		pause = blind
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-w.changedC:
	case <-timer.C:
	case <-ctx.Done():
	}
	return ctx.Err()
}

// stop ends the stream, and returns when it is closed.
func (w *changes) stop() {
	if w.cancel != nil {
		w.cancel()
		w.wg.Wait()
	}
}

// follow keeps the stream open for as long as that can succeed.
func (w *changes) follow(ctx context.Context) {
	f := &follower{client: w.client, opts: w.opts, opened: w.connected}
	for {
		err := f.run(ctx, func(wire.Event) bool {
			w.tell()
			return true
		})
		// A stream that is refused stays refused; one that was out of reach for long, or one too many, may be had later.
		if !IsUnavailable(err) || sleep(ctx, netInterval) != nil {
			return
		}
	}
}

// connected is told when the stream is open, and when it is not any more. Either way it is time to look: what happened before it was
// open comes in no event, and a pause that trusted in it is too long now.
func (w *changes) connected(open bool) {
	if w.open.Swap(open) != open {
		w.tell()
	}
}

func (w *changes) tell() {
	select {
	case w.changedC <- struct{}{}:
	default:
	}
}

// idleFor is how long a lease may be left alone while no event tells of a change.
func idleFor(l wire.Lease) time.Duration {
	if l.Waiting != nil {
		return placeInterval
	}
	return netInterval
}

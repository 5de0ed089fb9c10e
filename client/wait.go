package client

import (
	"cmp"
	"context"
	"iter"
	"time"

	"drydock/api/wire"
	"drydock/model"
)

// WaitOptions say how to wait.
type WaitOptions struct {
	// Progress, unless nil, is called with what each read shows, from the goroutine that waits.
	Progress func(wire.Lease)
	// Interval is how often Progress is called while nothing changes its state; default 2s, at most 5m.
	Interval time.Duration
	// Patience is how long the server may be out of reach before the wait fails; default 1m.
	Patience time.Duration
}

// leastInterval keeps a server that answers a waiting read at once, such as one that is shutting down, from being asked in a tight loop.
const leastInterval = 100 * time.Millisecond

// leaseAges orders the states by how far in its life a lease is. Released and broken are two ways to the same end.
var leaseAges = map[model.LeaseState]int{
	model.LeasePending: 0, model.LeaseAcquired: 1, model.LeaseActive: 2,
	model.LeaseReleased: 3, model.LeaseBroken: 3, model.LeaseDestroyed: 4,
}

var resourceAges = map[model.ResourceState]int{
	model.ResourcePending: 0, model.ResourceActive: 1, model.ResourceReleased: 2, model.ResourceBroken: 2, model.ResourceDestroyed: 3,
}

// WaitLease waits until a lease has come as far as a state in its life and returns it: one that broke or was released while it was
// awaited to be active is returned as well. It ends with the context.
func (c *Client) WaitLease(ctx context.Context, id string, state model.LeaseState, opts WaitOptions) (wire.Lease, error) {
	return wait(ctx, opts.Interval, opts.Patience, func(ctx context.Context, d time.Duration) (wire.Lease, bool, error) {
		lease, err := c.readLease(ctx, id, state, d)
		if err == nil && opts.Progress != nil {
			opts.Progress(lease)
		}
		return lease, leaseAges[model.LeaseState(lease.Status)] >= leaseAges[state], err
	})
}

// WaitResource waits until a resource has come as far as a state in its life and returns it. It ends with the context.
func (c *Client) WaitResource(ctx context.Context, id string, state model.ResourceState) (wire.Resource, error) {
	return wait(ctx, 30*time.Second, 0, func(ctx context.Context, d time.Duration) (wire.Resource, bool, error) {
		r, err := c.readResource(ctx, id, state, d)
		return r, resourceAges[model.ResourceState(r.Status)] >= resourceAges[state], err
	})
}

// wait repeats waiting reads until one says that it is there. An outage that is over within patience costs nothing: the object keeps
// its place in the queue.
func wait[T any](ctx context.Context, interval, patience time.Duration, look func(context.Context, time.Duration) (T, bool, error)) (T, error) {
	interval = min(cmp.Or(interval, 2*time.Second), 5*time.Minute)
	patience = cmp.Or(patience, time.Minute)
	// The first look is a short one, so that a caller soon sees how things stand.
	d := min(interval, 300*time.Millisecond)
	for answered := time.Now(); ; d = interval {
		begin := time.Now()
		object, there, err := look(ctx, d)
		switch {
		case err == nil && there:
			return object, nil
		case err == nil:
			answered = time.Now()
		case !IsUnavailable(err) || time.Since(answered) > patience:
			return object, err
		}
		if err := sleep(ctx, min(leastInterval, d)-time.Since(begin)); err != nil {
			return object, err
		}
	}
}

// WatchLease shows a lease now and after each change, until it is destroyed. It follows the server's events, and looks at the place in the
// queue, of which none tells, every few seconds; where it cannot have the events, it looks every interval (0 = one second). A server that is
// out of reach for more than a minute ends it, as does the first other error, the context's included.
func (c *Client) WatchLease(ctx context.Context, id string, interval time.Duration) iter.Seq2[wire.Lease, error] {
	if interval <= 0 {
		interval = time.Second
	}
	return func(yield func(wire.Lease, error) bool) {
		changes := c.changesOf(model.KindLease, id)
		defer changes.stop()
		last, err := c.GetLease(ctx, id)
		for yield(last, err) && err == nil && last.Status != string(model.LeaseDestroyed) {
			last, err = c.nextChange(ctx, changes, last, interval)
		}
	}
}

// nextChange returns a lease when it is no longer the same as last.
func (c *Client) nextChange(ctx context.Context, changes *changes, last wire.Lease, interval time.Duration) (wire.Lease, error) {
	for answered := time.Now(); ; {
		if err := changes.wait(ctx, max(interval, idleFor(last)), interval); err != nil {
			return last, err
		}
		switch lease, err := c.GetLease(ctx, last.ID); {
		case err == nil && !sameLease(lease, last):
			return lease, nil
		case err == nil:
			answered = time.Now()
		case !IsUnavailable(err) || time.Since(answered) > time.Minute:
			return lease, err
		}
	}
}

// sameLease reports whether nothing has changed that a watcher looks at.
func sameLease(a, b wire.Lease) bool {
	return a.Status == b.Status && a.Releasing == b.Releasing && a.Until.Equal(b.Until.Time) && place(a) == place(b)
}

// place is where a lease stands in the queue and why.
func place(l wire.Lease) (p struct {
	position int64
	reason   wire.Text
},
) {
	if l.Waiting != nil {
		p.position, p.reason = l.Waiting.Position, l.Waiting.Reason
	}
	return p
}

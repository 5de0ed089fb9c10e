package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"drydock/api/wire"
	"drydock/model"
)

// AcquireOptions say how to wait for a lease and how to give it back.
type AcquireOptions struct {
	// WaitOptions say how to wait; Progress is called from the goroutine that called Acquire.
	WaitOptions
	// Timeout is how long to wait at most until the lease is active; 0 = as long as the context lives. Unlike a deadline of the
	// context, it does not end the lease once it is held.
	Timeout time.Duration
	// ReleaseReason is kept with the release.
	ReleaseReason string
	// ReleaseTimeout bounds the release, which also happens when the context has ended; default 10s.
	ReleaseTimeout time.Duration
}

// ErrLost says that a lease ended before its holder gave it back. The error is a [*LostError].
var ErrLost = errors.New("the lease was lost")

// ErrClosed is the cause of a held lease's context after [Held.Close].
var ErrClosed = errors.New("the lease was given back")

// LostError says how a lease was lost.
type LostError struct {
	// ID is the lease's.
	ID string
	// Reason says why in words.
	Reason string
	// Cause is the error underneath, when the lease could not be kept; nil if there is none.
	Cause error
}

// Error says which lease was lost and why.
func (e *LostError) Error() string { return fmt.Sprintf("lease %s was lost: %s", e.ID, e.Reason) }

// Is reports whether target is [ErrLost].
func (e *LostError) Is(target error) bool { return target == ErrLost }

// Unwrap returns the cause.
func (e *LostError) Unwrap() error { return e.Cause }

// Held is an active lease. Its methods may be called concurrently.
type Held struct {
	client *Client
	opts   AcquireOptions
	// parent is the context of Acquire; ctx ends with it, or when the lease is lost or closed.
	parent context.Context
	ctx    context.Context
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup

	closeOnce sync.Once
	closeErr  error

	mu    sync.Mutex
	lease wire.Lease
}

// Acquire queues a lease, waits until it is active and keeps it until [Held.Close]. A lease with a ttl is extended by its ttl whenever a
// third of it has passed, from the beginning, so that it does not end in the queue; so the ttl is how long the lease outlives a
// holder that dies.
//
// Whenever Acquire returns an error, also because ctx has ended, it has released what it queued or says that it could not. A lease that
// ends while it is waited for is [ErrLost]; one that is not active in time is [context.DeadlineExceeded].
func (c *Client) Acquire(ctx context.Context, n wire.NewLease, opts AcquireOptions) (*Held, error) {
	opts.ReleaseTimeout = cmp.Or(opts.ReleaseTimeout, 10*time.Second)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	key := NewIdempotencyKey()
	begin := time.Now() // before the server's clock began to count
	lease, err := c.CreateLease(ctx, n, IdempotencyKey(key))
	if errors.Is(err, ErrOutcomeUnknown) {
		return nil, errors.Join(err, c.abandon(ctx, n, key, opts))
	}
	if err != nil {
		return nil, err
	}
	h := &Held{client: c, opts: opts, parent: ctx, lease: lease}
	h.ctx, h.cancel = context.WithCancelCause(ctx)
	h.wg.Go(func() { h.keep(n, begin) })
	if err := h.wait(); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	h.wg.Go(h.watch)
	return h, nil
}

// abandon releases a lease that may have been queued: the same key finds it, or queues it now.
func (c *Client) abandon(ctx context.Context, n wire.NewLease, key string, opts AcquireOptions) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), opts.ReleaseTimeout)
	defer cancel()
	lease, err := c.CreateLease(ctx, n, IdempotencyKey(key))
	if err == nil {
		_, err = c.ReleaseLease(ctx, lease.ID, opts.ReleaseReason)
	}
	if err != nil {
		return fmt.Errorf("a lease may be left behind: %w", err)
	}
	return nil
}

// wait waits until the lease is active.
func (h *Held) wait() error {
	ctx, cancel := h.ctx, context.CancelFunc(func() {})
	if h.opts.Timeout > 0 {
		ctx, cancel = context.WithTimeout(ctx, h.opts.Timeout)
	}
	defer cancel()
	lease, err := h.client.WaitLease(ctx, h.ID(), model.LeaseActive, h.opts.WaitOptions)
	switch {
	case h.ctx.Err() != nil:
		return context.Cause(h.ctx)
	case ctx.Err() != nil:
		return fmt.Errorf("lease %s is not active after %s: %w", h.ID(), h.opts.Timeout, ctx.Err())
	case err != nil:
		return fmt.Errorf("wait for lease %s: %w", h.ID(), err)
	}
	h.saw(lease)
	if lease.Status != string(model.LeaseActive) {
		return h.ended(lease)
	}
	return nil
}

// keep moves the end of the lease along, and gives the lease up when that has passed: the holder must stop no later than the server
// gives the lease to somebody else.
func (h *Held) keep(n wire.NewLease, begin time.Time) {
	switch {
	case n.TTL != nil:
		h.extend(time.Duration(*n.TTL), begin)
	case n.Until != nil:
		if sleep(h.ctx, time.Until(n.Until.Time)) == nil {
			h.lose(&LostError{ID: h.ID(), Reason: "its end has passed"})
		}
	}
}

func (h *Held) extend(ttl time.Duration, begin time.Time) {
	end := begin.Add(ttl)
	var why error // the last failure that tells more than that the time is over
	for due := begin.Add(ttl / 3); ; {
		if sleep(h.ctx, time.Until(due)) != nil {
			return
		}
		asked := time.Now()
		ctx, cancel := context.WithDeadline(h.ctx, end)
		_, err := h.client.ExtendLease(ctx, h.ID(), ttl)
		cancel()
		switch {
		case h.ctx.Err() != nil:
			return
		case err == nil:
			end, due, why = asked.Add(ttl), asked.Add(ttl/3), nil
		case IsConflict(err) || IsNotFound(err):
			h.lose(h.ended(h.Lease()))
			return
		case !time.Now().Before(end):
			why = cmp.Or(why, err)
			h.lose(&LostError{ID: h.ID(), Reason: "it could not be extended in time: " + why.Error(), Cause: why})
			return
		default:
			why = err
			due = time.Now().Add(min(ttl/10, time.Second))
		}
	}
}

// watch waits for the end of the lease. An outage does not end it; not being able to extend it does.
func (h *Held) watch() {
	for {
		lease, err := h.client.WaitLease(h.ctx, h.ID(), model.LeaseReleased, WaitOptions{
			Progress: h.saw, Interval: 30 * time.Second, Patience: math.MaxInt64,
		})
		switch {
		case h.ctx.Err() != nil:
			return
		case err == nil:
			h.lose(h.ended(lease))
			return
		case IsNotFound(err):
			h.lose(&LostError{ID: h.ID(), Reason: "there is no such lease any more", Cause: err})
			return
		}
		if sleep(h.ctx, time.Second) != nil {
			return
		}
	}
}

func (h *Held) lose(err error) { h.cancel(err) }

// ended is [Client.WhyEnded], also when the holder's context has ended.
func (h *Held) ended(lease wire.Lease) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(h.parent), 5*time.Second)
	defer cancel()
	return h.client.WhyEnded(ctx, lease)
}

// WhyEnded says how a lease that has ended was lost, by what its log says of it.
func (c *Client) WhyEnded(ctx context.Context, lease wire.Lease) *LostError {
	lost := &LostError{ID: lease.ID, Reason: "it is " + lease.Status}
	for entry, err := range c.Log(ctx, model.KindLease, lease.ID) {
		if err != nil {
			break // then the state has to do
		}
		switch event := model.EventType(entry.Event); event { //nolint:exhaustive // two of them end a lease
		case model.EventReleased, model.EventBroken:
			lost.Reason = string(cmp.Or(entry.Text, wire.Text(event)))
		}
	}
	return lost
}

func (h *Held) saw(lease wire.Lease) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lease = lease
}

// Lease returns the lease as it was read last.
func (h *Held) Lease() wire.Lease {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lease
}

// ID returns the lease's id.
func (h *Held) ID() string { return h.Lease().ID }

// Context is the context to work under. It ends with the context of Acquire, and when the lease is lost ([context.Cause] is then
// [ErrLost]) or closed ([ErrClosed]).
func (h *Held) Context() context.Context { return h.ctx }

// Resource reads the resource that the lease has.
func (h *Held) Resource(ctx context.Context) (wire.Resource, error) {
	return h.client.GetResource(ctx, string(h.Lease().Resource))
}

// Close gives the lease back. It is safe to call more than once, and does nothing to a lease that was lost. It releases also when the
// context of Acquire has ended, and returns an error when that failed: the lease then lives until its end.
func (h *Held) Close() error {
	h.closeOnce.Do(func() {
		h.cancel(ErrClosed)
		h.wg.Wait()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(h.parent), h.opts.ReleaseTimeout)
		defer cancel()
		_, err := h.client.ReleaseLease(ctx, h.ID(), h.opts.ReleaseReason)
		if err != nil && !IsNotFound(err) {
			h.closeErr = fmt.Errorf("release lease %s: %w", h.ID(), err)
		}
	})
	return h.closeErr
}

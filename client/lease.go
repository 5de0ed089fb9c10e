package client

import (
	"context"
	"iter"
	"net/http"
	"time"

	"drydock/api/wire"
	"drydock/model"
)

// LeaseFilter selects leases; empty fields select all.
type LeaseFilter struct {
	Status   model.LeaseState
	Type     string
	Resource string
	Owner    string
	PageOptions
}

// CreateLease queues a lease. It is pending then: [Client.WaitLease] waits for it, and [Client.Acquire] does both and more. A lease
// that no blueprint can ever serve is [ErrUnsatisfiable].
func (c *Client) CreateLease(ctx context.Context, n wire.NewLease, opts ...CallOption) (lease wire.Lease, err error) {
	err = c.post(ctx, n, &lease, opts, "v1", "leases")
	return lease, err
}

// GetLease reads a lease; [ErrNotFound] when there is none with this id.
func (c *Client) GetLease(ctx context.Context, id string) (lease wire.Lease, err error) {
	err = c.get(ctx, nil, &lease, "v1", "leases", id)
	return lease, err
}

// ListLeases reads a page of leases, newest first.
func (c *Client) ListLeases(ctx context.Context, f LeaseFilter) (wire.Page[wire.Lease], error) {
	query := f.params("status", string(f.Status), "type", f.Type, "resource", f.Resource, "owner", f.Owner)
	return list[wire.Lease](ctx, c, query, "v1", "leases")
}

// Leases goes through all leases of a filter, newest first, page by page. It ends with the first error.
func (c *Client) Leases(ctx context.Context, f LeaseFilter) iter.Seq2[wire.Lease, error] {
	return all(f.PageOptions, func(p PageOptions) (wire.Page[wire.Lease], error) {
		f.PageOptions = p
		return c.ListLeases(ctx, f)
	})
}

// ReleaseLease gives a lease back. The answer's Command is nil when it was released already.
func (c *Client) ReleaseLease(ctx context.Context, id, reason string, opts ...CallOption) (sent wire.LeaseSent, err error) {
	err = c.post(ctx, wire.Release{Reason: reason}, &sent, opts, "v1", "leases", id, "release")
	return sent, err
}

// ReleaseLeases gives many leases back, at most [wire.MaxReleases] at a time, and says what came of each. Next is not empty when a filter
// selects more: give it as After of the next order, which is a request of its own, with another key. An order that failed as a whole may
// have released some; sent again with its key, it is about the same leases and releases none twice.
func (c *Client) ReleaseLeases(
	ctx context.Context, order wire.ReleaseLeases, opts ...CallOption,
) (page wire.Page[wire.LeaseRelease], err error) {
	err = c.post(ctx, order, &page, opts, "v1", "leases:release")
	return page, err
}

// ReleaseAll gives back all leases that an order selects or names, however many there are, in several requests where one does not hold
// them. It ends with the first request that fails.
func (c *Client) ReleaseAll(ctx context.Context, order wire.ReleaseLeases) iter.Seq2[wire.LeaseRelease, error] {
	return func(yield func(wire.LeaseRelease, error) bool) {
		ids := order.IDs
		for {
			if len(ids) > 0 {
				order.IDs = ids[:min(len(ids), wire.MaxReleases)]
				ids = ids[len(order.IDs):]
			}
			page, err := c.ReleaseLeases(ctx, order)
			if err != nil {
				yield(wire.LeaseRelease{}, err)
				return
			}
			for _, item := range page.Items {
				if !yield(item, nil) {
					return
				}
			}
			if order.After = string(page.Next); order.After == "" && len(ids) == 0 {
				return
			}
		}
	}
}

// ReleaseError returns the error of a lease that was not released: nil, or an [*Error] as the release of this one alone would have ended.
func ReleaseError(item wire.LeaseRelease) error {
	if item.Error == nil {
		return nil
	}
	return &Error{Status: item.Status, Code: model.ErrorKind(item.Error.Code), Detail: item.Error.Detail}
}

// SendLease sends a command to a lease. A lease that takes no commands any more is [ErrConflict].
func (c *Client) SendLease(ctx context.Context, id string, cmd wire.NewCommand, opts ...CallOption) (sent wire.LeaseSent, err error) {
	err = c.post(ctx, cmd, &sent, opts, "v1", "leases", id, "commands")
	return sent, err
}

// ExtendLease asks that a lease should end ttl from now. The worker that consumes the command refuses to move the end back.
func (c *Client) ExtendLease(ctx context.Context, id string, ttl time.Duration, opts ...CallOption) (wire.LeaseSent, error) {
	return c.SendLease(ctx, id, ExtendBy(ttl, ""), opts...)
}

// readLease is one waiting read. The server may answer sooner, with the lease as it then is.
func (c *Client) readLease(ctx context.Context, id string, state model.LeaseState, wait time.Duration) (lease wire.Lease, err error) {
	_, err = c.do(ctx, call{
		method: http.MethodGet, path: []string{"v1", "leases", id}, query: waitParams(string(state), wait), wait: wait,
	}, &lease)
	return lease, err
}

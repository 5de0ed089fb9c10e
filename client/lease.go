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

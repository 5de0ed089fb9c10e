package client

import (
	"context"
	"iter"
	"net/http"
	"time"

	"drydock/api/wire"
	"drydock/model"
)

// ResourceFilter selects resources; empty fields select all.
type ResourceFilter struct {
	Status    model.ResourceState
	Type      string
	Blueprint string
	PageOptions
}

// GetResource reads a resource; [ErrNotFound] when there is none with this id.
func (c *Client) GetResource(ctx context.Context, id string) (resource wire.Resource, err error) {
	err = c.get(ctx, nil, &resource, "v1", "resources", id)
	return resource, err
}

// ListResources reads a page of resources, newest first.
func (c *Client) ListResources(ctx context.Context, f ResourceFilter) (wire.Page[wire.Resource], error) {
	query := f.params("status", string(f.Status), "type", f.Type, "blueprint", f.Blueprint)
	return list[wire.Resource](ctx, c, query, "v1", "resources")
}

// Resources goes through all resources of a filter, newest first, page by page. It ends with the first error.
func (c *Client) Resources(ctx context.Context, f ResourceFilter) iter.Seq2[wire.Resource, error] {
	return all(f.PageOptions, func(p PageOptions) (wire.Page[wire.Resource], error) {
		f.PageOptions = p
		return c.ListResources(ctx, f)
	})
}

// ReleaseResource takes a resource back, and with it its leases. The answer's Command is nil when it was released already.
func (c *Client) ReleaseResource(ctx context.Context, id, reason string, opts ...CallOption) (sent wire.ResourceSent, err error) {
	err = c.post(ctx, wire.Release{Reason: reason}, &sent, opts, "v1", "resources", id, "release")
	return sent, err
}

// SendResource sends a command to a resource. A resource that takes no commands any more is [ErrConflict].
func (c *Client) SendResource(ctx context.Context, id string, cmd wire.NewCommand, opts ...CallOption) (sent wire.ResourceSent, err error) {
	err = c.post(ctx, cmd, &sent, opts, "v1", "resources", id, "commands")
	return sent, err
}

// readResource is one waiting read. The server may answer sooner, with the resource as it then is.
func (c *Client) readResource(ctx context.Context, id string, state model.ResourceState, wait time.Duration) (r wire.Resource, err error) {
	_, err = c.do(ctx, call{
		method: http.MethodGet, path: []string{"v1", "resources", id}, query: waitParams(string(state), wait), wait: wait,
	}, &r)
	return r, err
}

package client

import (
	"context"
	"iter"
	"net/http"

	"drydock/api/wire"
)

// PutBlueprint declares a blueprint. created says that there was none with this name. With [If] it does so only if nobody else has
// declared it since it was read; otherwise the error is [ErrPrecondition].
func (c *Client) PutBlueprint(
	ctx context.Context, name string, b wire.NewBlueprint, opts ...CallOption,
) (stored wire.Blueprint, created bool, err error) {
	req := call{method: http.MethodPut, path: []string{"v1", "blueprints", name}, body: b}
	for _, opt := range opts {
		opt(&req)
	}
	status, err := c.do(ctx, req, &stored)
	return stored, status == http.StatusCreated, err
}

// GetBlueprint reads a blueprint; [ErrNotFound] when there is none with this name.
func (c *Client) GetBlueprint(ctx context.Context, name string) (b wire.Blueprint, err error) {
	err = c.get(ctx, nil, &b, "v1", "blueprints", name)
	return b, err
}

// ListBlueprints reads a page of blueprints, by name.
func (c *Client) ListBlueprints(ctx context.Context, p PageOptions) (wire.Page[wire.Blueprint], error) {
	return list[wire.Blueprint](ctx, c, p.params(), "v1", "blueprints")
}

// Blueprints goes through all blueprints, by name, page by page. It ends with the first error.
func (c *Client) Blueprints(ctx context.Context) iter.Seq2[wire.Blueprint, error] {
	return all(PageOptions{}, func(p PageOptions) (wire.Page[wire.Blueprint], error) { return c.ListBlueprints(ctx, p) })
}

// DeleteBlueprint removes a blueprint; [ErrConflict] while it has resources.
func (c *Client) DeleteBlueprint(ctx context.Context, name string) error {
	_, err := c.do(ctx, call{method: http.MethodDelete, path: []string{"v1", "blueprints", name}}, nil)
	return err
}

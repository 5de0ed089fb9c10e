package client

import (
	"context"
	"iter"

	"drydock/api/wire"
	"drydock/model"
)

// AuthorizationFilter selects authorizations; empty fields select all.
type AuthorizationFilter struct {
	Blueprint string
	Owner     string
	Status    model.AuthorizationStatus
	PageOptions
}

// ListAuthorizations reads a page of what is on record about owners, by blueprint and owner.
func (c *Client) ListAuthorizations(ctx context.Context, f AuthorizationFilter) (wire.Page[wire.Authorization], error) {
	query := f.params("blueprint", f.Blueprint, "owner", f.Owner, "status", string(f.Status))
	return list[wire.Authorization](ctx, c, query, "v1", "authorizations")
}

// Authorizations goes through all authorizations of a filter, by blueprint and owner, page by page. It ends with the first error.
func (c *Client) Authorizations(ctx context.Context, f AuthorizationFilter) iter.Seq2[wire.Authorization, error] {
	return all(f.PageOptions, func(p PageOptions) (wire.Page[wire.Authorization], error) {
		f.PageOptions = p
		return c.ListAuthorizations(ctx, f)
	})
}

// Authorize says whether an owner may use a blueprint that takes requests; an owner of "" is the leases without one. Said again, it
// changes nothing. A blueprint that takes no requests is [ErrConflict].
func (c *Client) Authorize(
	ctx context.Context, blueprint, owner string, status model.AuthorizationStatus, reason string,
) (a wire.Authorization, err error) {
	word := wire.NewAuthorization{Owner: wire.Owner{Name: owner, Given: true}, Status: string(status), Reason: reason}
	err = c.post(ctx, word, &a, nil, "v1", "blueprints", blueprint, "authorizations")
	return a, err
}

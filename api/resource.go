package api

import (
	"context"
	"net/http"

	"github.com/labstack/echo/v4"

	"drydock/api/wire"
	"drydock/model"
)

// listResources lists resources, newest first: GET /v1/resources.
func (s *Server) listResources(c echo.Context) error {
	q, err := readQuery(c, "status", "type", "blueprint", "limit", "after")
	if err != nil {
		return err
	}
	f, err := resourceFilter(q)
	if err != nil {
		return err
	}
	page, err := s.cfg.Store.Resources(c.Request().Context(), q.namespace, f)
	if err != nil {
		return err
	}
	return respond(c, http.StatusOK, wire.FromPage(page, wire.FromResource))
}

func resourceFilter(q query) (f model.ResourceFilter, err error) {
	if f.Status, err = state(q, "status", model.ResourceStates()); err != nil {
		return f, err
	}
	if f.Type, err = q.name("type"); err != nil {
		return f, err
	}
	if f.Blueprint, err = q.name("blueprint"); err != nil {
		return f, err
	}
	f.Limit, f.After, err = q.pageOfIDs()
	return f, err
}

// readResource reads a resource, or waits for it: GET /v1/resources/{id}.
func (s *Server) readResource(c echo.Context) error {
	return read(s, c, model.KindResource, model.ResourceStates(), resourceAges,
		func(ctx context.Context, ref model.Ref) (model.ResourceState, any, error) {
			resource, err := s.cfg.Store.Resource(ctx, ref.Namespace, ref.ID)
			if err != nil {
				return "", nil, err
			}
			return resource.Status, wire.FromResource(resource), nil
		})
}

// resourceAges orders the states by how far in its life a resource is. Released and broken are two ways to the same end.
var resourceAges = map[model.ResourceState]int{
	model.ResourcePending:   0,
	model.ResourceActive:    1,
	model.ResourceReleased:  2,
	model.ResourceBroken:    2,
	model.ResourceDestroyed: 3,
}

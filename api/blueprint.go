package api

import (
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"drydock/api/wire"
	"drydock/model"
)

// putBlueprint declares a blueprint: PUT /v1/blueprints/{name}.
func (s *Server) putBlueprint(c echo.Context) error {
	q, err := readQuery(c)
	if err != nil {
		return err
	}
	name := pathParam(c, "name")
	if err := model.CheckName("name", name); err != nil {
		return err
	}
	cond, err := condition(c.Request().Header)
	if err != nil {
		return err
	}
	body, err := readBody(c)
	if err != nil {
		return err
	}
	var asked wire.NewBlueprint
	if err := decode(body, &asked); err != nil {
		return err
	}
	bp, err := asked.Model(q.namespace, name)
	if err != nil {
		return err
	}
	if !strings.HasPrefix(string(bp.Config), "{") {
		return model.Invalid("config", "must be an object")
	}
	if err := s.cfg.Kinds.Check(bp); err != nil {
		return err
	}
	stored, created, wake, err := s.cfg.Store.PutBlueprint(c.Request().Context(), bp, cond)
	if err != nil {
		return err
	}
	s.wake(c, wake)
	status := http.StatusOK
	if created {
		status = http.StatusCreated
		c.Response().Header().Set(echo.HeaderLocation, "/v1/blueprints/"+name+q.suffix())
	}
	c.Response().Header().Set(wire.HeaderETag, wire.ETag(stored.Rev))
	return respond(c, status, wire.FromBlueprint(stored))
}

// listBlueprints lists blueprints by name: GET /v1/blueprints.
func (s *Server) listBlueprints(c echo.Context) error {
	q, err := readQuery(c, "limit", "after")
	if err != nil {
		return err
	}
	limit, after, err := q.page()
	if err != nil {
		return err
	}
	all, err := s.cfg.Store.Blueprints(c.Request().Context(), q.namespace)
	if err != nil {
		return err
	}
	var page model.Page[*model.Blueprint]
	for _, bp := range all {
		if bp.Name <= after {
			continue
		}
		if len(page.Items) == limit {
			page.Next = page.Items[limit-1].Name
			break
		}
		page.Items = append(page.Items, bp)
	}
	return respond(c, http.StatusOK, wire.FromPage(page, wire.FromBlueprint))
}

// readBlueprint reads a blueprint: GET /v1/blueprints/{name}.
func (s *Server) readBlueprint(c echo.Context) error {
	q, name, err := readNamed(c)
	if err != nil {
		return err
	}
	bp, err := s.cfg.Store.Blueprint(c.Request().Context(), q.namespace, name)
	if err != nil {
		return err
	}
	return respondTagged(c, wire.ETag(bp.Rev), wire.FromBlueprint(bp))
}

// deleteBlueprint removes a blueprint that has no resources: DELETE /v1/blueprints/{name}.
func (s *Server) deleteBlueprint(c echo.Context) error {
	q, name, err := readNamed(c)
	if err != nil {
		return err
	}
	wake, err := s.cfg.Store.DeleteBlueprint(c.Request().Context(), q.namespace, name)
	if err != nil {
		return err
	}
	s.wake(c, wake)
	return c.NoContent(http.StatusNoContent)
}

// readNamed reads a request for one blueprint. A malformed name is as unknown as any other.
func readNamed(c echo.Context) (q query, name string, err error) {
	if q, err = readQuery(c); err != nil {
		return q, "", err
	}
	if name = pathParam(c, "name"); model.CheckName("name", name) != nil {
		return q, "", model.ErrBlueprintNotFound
	}
	return q, name, nil
}

package api

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"drydock/api/wire"
	"drydock/model"
)

// decideAuthorization stores an operator's word on an owner: POST /v1/blueprints/{name}/authorizations. It takes no Idempotency-Key and needs
// none: said again, the same word changes nothing.
func (s *Server) decideAuthorization(c echo.Context) error {
	q, name, err := readNamed(c)
	if err != nil {
		return err
	}
	body, err := readBody(c)
	if err != nil {
		return err
	}
	by, err := author(c)
	if err != nil {
		return err
	}
	var asked wire.NewAuthorization
	if err := decode(body, &asked); err != nil {
		return err
	}
	a, err := asked.Model(q.namespace, name)
	if err != nil {
		return err
	}
	a.Author, a.Origin = by, origin(c)
	stored, wake, err := s.cfg.Store.Authorize(c.Request().Context(), a)
	if err != nil {
		return err
	}
	s.wake(c, wake)
	return respond(c, http.StatusOK, wire.FromAuthorization(stored))
}

// listAuthorizations lists what is on record about owners, by blueprint and owner: GET /v1/authorizations.
func (s *Server) listAuthorizations(c echo.Context) error {
	q, err := readQuery(c, "blueprint", "owner", "status", "limit", "after")
	if err != nil {
		return err
	}
	f, err := authorizationFilter(q)
	if err != nil {
		return err
	}
	page, err := s.cfg.Store.Authorizations(c.Request().Context(), q.namespace, f)
	if err != nil {
		return err
	}
	return respond(c, http.StatusOK, wire.FromPage(page, wire.FromAuthorization))
}

func authorizationFilter(q query) (f model.AuthorizationFilter, err error) {
	if f.Blueprint, err = q.name("blueprint"); err != nil {
		return f, err
	}
	if f.Owner, err = q.text("owner", model.MaxOwnerLength); err != nil {
		return f, err
	}
	if f.Status, err = state(q, "status", model.AuthorizationStatuses()); err != nil {
		return f, err
	}
	f.Limit, f.After, err = q.page()
	return f, err
}

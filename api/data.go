package api

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"drydock/api/wire"
	"drydock/model"
)

// readData reads the notes on an object of a kind: GET …/{id}/data.
func (s *Server) readData(kind model.Kind) echo.HandlerFunc {
	return func(c echo.Context) error {
		q, err := readQuery(c)
		if err != nil {
			return err
		}
		ref, err := pathRef(c, q.namespace, kind)
		if err != nil {
			return err
		}
		data, err := s.cfg.Store.Data(c.Request().Context(), ref)
		if err != nil {
			return err
		}
		return respondTagged(c, wire.ETag(data.Rev), wire.FromData(data))
	}
}

// putData writes the notes on an object of a kind, or removes them: PUT …/{id}/data.
func (s *Server) putData(kind model.Kind) echo.HandlerFunc {
	return func(c echo.Context) error {
		q, err := readQuery(c)
		if err != nil {
			return err
		}
		ref, err := pathRef(c, q.namespace, kind)
		if err != nil {
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
		var asked wire.NewData
		if err := decode(body, &asked); err != nil {
			return err
		}
		value, err := asked.Value()
		if err != nil {
			return err
		}
		data, err := s.cfg.Store.SetData(c.Request().Context(), ref, value, cond)
		if err != nil {
			return err
		}
		c.Response().Header().Set(wire.HeaderETag, wire.ETag(data.Rev))
		return respond(c, http.StatusOK, wire.FromData(data))
	}
}

package api

import (
	"net/http"
	"strconv"
	"strings"

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
		return respondData(c, data)
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
		cond, err := dataCondition(c.Request().Header)
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
		return respondData(c, data)
	}
}

func respondData(c echo.Context, d model.Data) error {
	c.Response().Header().Set(wire.HeaderETag, wire.ETag(d.Rev))
	return respond(c, http.StatusOK, wire.FromData(d))
}

// dataCondition reads what a write asks for. A condition that is not understood is an error: to ignore it would be to overwrite what
// the caller wants to keep.
func dataCondition(h http.Header) (cond model.DataCondition, err error) {
	match, none := h.Values(wire.HeaderIfMatch), h.Values(wire.HeaderIfNoneMatch)
	switch {
	case len(match) == 0 && len(none) == 0:
		return cond, nil
	case len(match) > 0 && len(none) > 0:
		return cond, model.Invalid(wire.HeaderIfNoneMatch, "give it or %s, not both", wire.HeaderIfMatch)
	case len(none) > 0:
		if len(none) > 1 || none[0] != "*" {
			return cond, model.Invalid(wire.HeaderIfNoneMatch, "must be *: write only if there is no data")
		}
		return model.DataCondition{None: true}, nil
	case len(match) == 1 && match[0] == "*":
		return model.DataCondition{Some: true}, nil
	}
	text, _ := strings.CutPrefix(match[0], `"`)
	rev, err := strconv.ParseInt(strings.TrimSuffix(text, `"`), 10, 64)
	if len(match) > 1 || err != nil || rev < 0 || match[0] != wire.ETag(rev) {
		return cond, model.Invalid(wire.HeaderIfMatch, "must be *, or one rev in quotes such as \"3\"")
	}
	return model.DataCondition{Rev: &rev}, nil
}

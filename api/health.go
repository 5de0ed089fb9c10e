package api

import (
	"context"
	"net/http"

	"github.com/labstack/echo/v4"

	"drydock/model"
)

// health is the answer of /healthz and /readyz when all is well.
type health struct {
	Status string `json:"status"`
}

// healthz says that the process lives: GET /healthz. It asks nobody else, so that a Redis outage restarts no API process.
func (s *Server) healthz(c echo.Context) error {
	return respond(c, http.StatusOK, health{Status: "ok"})
}

// readyz says whether the process should get work: GET /readyz.
func (s *Server) readyz(c echo.Context) error {
	if s.draining.Load() {
		return model.Errorf(model.ErrorUnavailable, "this server is shutting down")
	}
	ctx, cancel := context.WithTimeout(c.Request().Context(), pingTimeout)
	defer cancel()
	if err := s.cfg.Store.Ping(ctx); err != nil {
		return model.Unavailable(err)
	}
	return respond(c, http.StatusOK, health{Status: "ok"})
}

package api

import (
	"fmt"
	"net/http"

	"github.com/labstack/echo/v4"

	"drydock/tracing"
)

// objectKey is where the object is kept that a request is about, for its log line.
const objectKey = "drydock.object"

// trace begins the span of a request. Probes and scrapes come by the second and tell nothing.
func (s *Server) trace(next echo.HandlerFunc) echo.HandlerFunc {
	if s.cfg.Tracer == nil {
		return next
	}
	return func(c echo.Context) error {
		switch c.Path() {
		case "/healthz", "/readyz", "/metrics":
			return next(c)
		}
		req := c.Request()
		name := req.Method
		if c.Path() != "" {
			name += " " + c.Path()
		}
		ctx, end := s.cfg.Tracer.Request(req.Context(), req.Header, name,
			tracing.String("http.request.method", req.Method), tracing.String("http.route", c.Path()),
			tracing.String("drydock.request_id", requestID(c)))
		c.SetRequest(req.WithContext(ctx))
		// The request logger, further in, has seen to the answer already.
		err := next(c)
		status := c.Response().Status
		var failed error
		if status >= http.StatusInternalServerError {
			failed = fmt.Errorf("answered %d", status)
		}
		end(failed, tracing.Int("http.response.status_code", status))
		return err
	}
}

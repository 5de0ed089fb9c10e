package api

import (
	_ "embed"
	"net/http"

	"github.com/labstack/echo/v4"
)

// openapiJSON is the description of the API, written by hand. Tests hold it against the routes, the types of package wire and the
// tables of package model.
//
//go:embed openapi.json
var openapiJSON []byte

// openapi serves the description: GET /openapi.json.
func (s *Server) openapi(c echo.Context) error {
	return c.JSONBlob(http.StatusOK, openapiJSON)
}

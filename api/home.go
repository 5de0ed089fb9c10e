package api

import (
	"bytes"
	_ "embed"
	"html/template"
	"net/http"

	"github.com/labstack/echo/v4"
)

//go:embed home.html
var homeHTML string

var homePage = template.Must(template.New("home").Parse(homeHTML))

// home serves a page for people who open the address in a browser: GET /.
func (s *Server) home(c echo.Context) error {
	var b bytes.Buffer
	page := struct {
		Base, Asynqmon string
		Token          bool
	}{Base: c.Scheme() + "://" + c.Request().Host, Token: s.cfg.Auth != nil}
	if s.cfg.Asynqmon != nil {
		page.Asynqmon = s.cfg.AsynqmonRoot + "/"
	}
	if err := homePage.Execute(&b, page); err != nil {
		return err
	}
	c.Response().Header().Set(echo.HeaderContentSecurityPolicy, "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	return c.HTMLBlob(http.StatusOK, b.Bytes())
}

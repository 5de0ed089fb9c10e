package api

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"drydock/api/wire"
	"drydock/model"
)

// Limits on what is kept of a request's headers.
const (
	maxAuthor    = 200
	maxUserAgent = 256
)

// anonymous is the author of commands whose sender does not say who he is.
const anonymous = "anonymous"

// author returns who sends a command, by his own word.
func author(c echo.Context) (string, error) {
	name := strings.TrimSpace(c.Request().Header.Get(wire.HeaderAuthor))
	switch name {
	case "":
		return anonymous, nil
	case model.SystemAuthor:
		return "", model.Invalid(wire.HeaderAuthor, "%q is the name of Drydock itself", name)
	}
	return name, model.CheckText(wire.HeaderAuthor, name, maxAuthor)
}

// origin returns from where a request comes.
func origin(c echo.Context) model.Origin {
	via := model.ViaAPI
	// Workers have no business here, and whatever else it says is the API itself.
	if said := model.Via(c.Request().Header.Get(wire.HeaderVia)); said == model.ViaCLI || said == model.ViaConsole {
		via = said
	}
	return model.Origin{
		Via:       via,
		Address:   c.RealIP(),
		UserAgent: plainText(c.Request().UserAgent(), maxUserAgent),
		RequestID: requestID(c),
	}
}

// plainText makes a caller's text fit to be stored and shown: one line of valid UTF-8, at most limit bytes. What cannot be shown,
// also a last character that the limit cuts in two, becomes a question mark.
func plainText(s string, limit int) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || unicode.IsControl(r) {
			return '?'
		}
		return r
	}, s[:min(len(s), limit)])
}

// printable reports whether s is printable ASCII throughout.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

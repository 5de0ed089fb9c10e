package api

import (
	"net"
	"net/netip"
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

// author returns who sends a command: the identity of the request or, when the server asks nobody, whom the caller says. A caller with
// an identity who says that he is somebody else is refused, since he would not find his command under that name.
func author(c echo.Context) (string, error) {
	name := strings.TrimSpace(c.Request().Header.Get(wire.HeaderAuthor))
	if who := identity(c); who != nil {
		if name != "" && name != who.Name {
			return "", &model.Error{
				Kind: model.ErrorForbidden, Field: wire.HeaderAuthor, Message: "the token says " + model.Quote(who.Name) + "; leave the header out",
			}
		}
		return who.Name, nil
	}
	switch name {
	case "":
		return model.AnonymousAuthor, nil
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

// addressOf returns what finds the address of a request's sender. X-Forwarded-For is what the caller says about himself, unless a
// proxy that we trust has said it: of its list the last address counts that is not a trusted proxy's.
func addressOf(proxies []netip.Prefix) echo.IPExtractor {
	if len(proxies) == 0 {
		return echo.ExtractIPDirect()
	}
	trusted := []echo.TrustOption{echo.TrustLoopback(false), echo.TrustLinkLocal(false), echo.TrustPrivateNet(false)}
	for _, p := range proxies {
		p = p.Masked()
		trusted = append(trusted, echo.TrustIPRange(&net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}))
	}
	return echo.ExtractIPFromXFFHeader(trusted...)
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

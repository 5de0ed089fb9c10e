// Package outbound sends requests to services of the operator's: to allowed addresses only, and signed. What it keeps apart is in one
// place, so that no feature that sends something forgets a part of it.
package outbound

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
	"unicode"

	"drydock/model"
)

// MinSecret is how many bytes a secret must have, so that it cannot be guessed from one signed message.
const MinSecret = 16

// MaxURLLength bounds a URL.
const MaxURLLength = 2000

// How many connections to one place are kept for the next request, and for how long: well below the five seconds after which common
// servers close theirs, since a request that meets the closing fails.
const (
	idlePerHost = 32
	idleTimeout = 2 * time.Second
)

// NewClient returns a client whose connections go to allowed addresses only. It follows no redirects.
func NewClient(addresses AddressPolicy) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			// No proxy: the address policy would see the proxy's address only.
			DialContext: (&net.Dialer{Timeout: 10 * time.Second, Control: addresses.control}).DialContext,
			// A burst of requests shares connections, each of which was checked when it was made. They do not stay open for longer,
			// so that a place that has changed is found.
			MaxIdleConnsPerHost:    idlePerHost,
			IdleConnTimeout:        idleTimeout,
			TLSHandshakeTimeout:    10 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// SendError drops the URL, whose query may be a secret, from an error of a client. forbidden says that the policy was the reason.
func SendError(err error) (clean error, forbidden bool) {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	if _, forbidden := errors.AsType[*AddressError](err); forbidden {
		return err, true
	}
	return fmt.Errorf("send the request: %w", err), false
}

// CheckURL checks where requests are to go; errors are [model.ErrorInvalid] and name the field, never the URL.
func (p AddressPolicy) CheckURL(field, text string) error {
	u, err := url.Parse(text)
	switch {
	case text == "":
		return model.Invalid(field, "is required")
	case len(text) > MaxURLLength:
		return model.Invalid(field, "must not be longer than %d bytes", MaxURLLength)
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.Opaque != "" || strings.ContainsFunc(text, unicode.IsControl):
		// The parser's error would show the text, which may hold what should not be shown.
		return model.Invalid(field, "must be an absolute http or https URL")
	case u.User != nil:
		return model.Invalid(field, "must not hold a user or password: URLs can be read; requests are signed instead")
	case u.Fragment != "" || strings.HasSuffix(text, "#"):
		return model.Invalid(field, "must not have a fragment")
	}
	// Names are checked when they are resolved, which is not now.
	if addr, err := netip.ParseAddr(u.Hostname()); err == nil {
		if err := p.check(addr); err != nil {
			return model.Invalid(field, "%s", err)
		}
	}
	return nil
}

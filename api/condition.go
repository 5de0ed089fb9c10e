package api

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"drydock/api/wire"
	"drydock/model"
)

// respondTagged answers a read of one thing with its ETag, or with 304 when the caller has it as it is. Without a tag of its own, a thing
// has that of what is shown of it: whatever changes in the answer changes the tag, also what is not stored, such as a place in the queue.
func respondTagged(c echo.Context, tag string, v any) error {
	body, err := encode(v)
	if err != nil {
		return err
	}
	if tag == "" {
		sum := sha256.Sum256(body)
		tag = `W/"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"` // weak, since a compressed answer has it too
	}
	c.Response().Header().Set(wire.HeaderETag, tag)
	if known(c.Request().Header, tag) {
		return c.NoContent(http.StatusNotModified)
	}
	return c.JSONBlob(http.StatusOK, body)
}

// known reports whether If-None-Match names a tag. What cannot be read names none: the whole answer is right in any case.
func known(h http.Header, tag string) bool {
	for _, list := range h.Values(wire.HeaderIfNoneMatch) {
		for one := range strings.SplitSeq(list, ",") { // our tags have no comma
			one = strings.TrimSpace(one)
			if one == "*" || strings.TrimPrefix(one, "W/") == strings.TrimPrefix(tag, "W/") {
				return true
			}
		}
	}
	return false
}

// condition reads what a write asks for. A condition that is not understood is an error: to ignore it would be to overwrite what
// the caller wants to keep.
func condition(h http.Header) (cond model.Condition, err error) {
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
		return model.Condition{None: true}, nil
	case len(match) == 1 && match[0] == "*":
		return model.Condition{Some: true}, nil
	}
	text, _ := strings.CutPrefix(match[0], `"`)
	rev, err := strconv.ParseInt(strings.TrimSuffix(text, `"`), 10, 64)
	if len(match) > 1 || err != nil || rev < 0 || match[0] != wire.ETag(rev) {
		return cond, model.Invalid(wire.HeaderIfMatch, "must be *, or one rev in quotes such as \"3\"")
	}
	return model.Condition{Rev: &rev}, nil
}

package auth

import (
	"encoding/base64"
	"strings"

	"drydock/model"
)

// maxCredential bounds a credential. JWTs with many groups are a few kilobytes.
const maxCredential = 16 << 10

// ParseHeader returns the credential in the values of a request's Authorization header; "" when there is no such header. It takes the
// schemes Bearer, and Basic with the credential as the password and any user name, which is what browsers can do. Errors are
// [model.ErrorUnauthenticated] and never quote the header.
func ParseHeader(values []string) (credential string, err error) {
	switch len(values) {
	case 0:
		return "", nil
	case 1:
	default:
		return "", badHeader("comes more than once")
	}
	scheme, rest, _ := strings.Cut(values[0], " ")
	rest = strings.Trim(rest, " ")
	switch {
	case len(rest) > maxCredential:
		return "", badHeader("is too long")
	case strings.EqualFold(scheme, "Basic"):
		plain, err := base64.StdEncoding.DecodeString(rest)
		if err != nil {
			return "", badHeader("is not Basic and base64")
		}
		var ok bool
		if _, rest, ok = strings.Cut(string(plain), ":"); !ok {
			return "", badHeader("has no password")
		}
	case !strings.EqualFold(scheme, "Bearer"):
		return "", badHeader("must be of the scheme Bearer or Basic")
	}
	if !isToken68(rest) {
		return "", badHeader("holds no token")
	}
	return rest, nil
}

func badHeader(rule string) error {
	return &model.Error{Kind: model.ErrorUnauthenticated, Field: "Authorization", Message: rule}
}

// isToken68 reports whether s is what RFC 6750 lets a bearer token be made of.
func isToken68(s string) bool {
	s = strings.TrimRight(s, "=")
	for i := range len(s) {
		switch c := s[i]; {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z':
		case c == '-', c == '.', c == '_', c == '~', c == '+', c == '/':
		default:
			return false
		}
	}
	return s != ""
}

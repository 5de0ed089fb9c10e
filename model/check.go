package model

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"sort"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Limits on what a caller may name and describe. They keep keys, logs and scripts bounded.
const (
	MaxNameLength       = 63
	MaxOwnerLength      = 200
	MaxAttributes       = 64
	MaxAttributeLength  = 256
	MaxBlueprintsListed = 64
	MaxDataLength       = 16 << 10
	MinPriority         = -100
	MaxPriority         = 100
)

// namePattern admits what can stand in a key, a URL path and a shell without quoting. It keeps '{', '}', ':' and '/'
// out, so that no name can break out of its key or its hash tag.
var namePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$`)

// attributePattern is namePattern with upper case, '_' at the ends and '/' (for "vendor/attribute").
var attributePattern = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_./-]*[A-Za-z0-9_])?$`)

// CheckName checks the name of a namespace, a type or a blueprint.
func CheckName(field, name string) error {
	if name == "" {
		return Invalid(field, "is required")
	}
	if len(name) > MaxNameLength || !namePattern.MatchString(name) {
		return Invalid(field, "must be 1 to %d characters of a-z, 0-9, '.', '_' and '-', beginning and ending with a letter or digit",
			MaxNameLength)
	}
	return nil
}

// CheckText checks free text for people: valid UTF-8 without control characters, at most limit bytes.
func CheckText(field, s string, limit int) error {
	if len(s) > limit {
		return Invalid(field, "must not be longer than %d bytes", limit)
	}
	if !utf8.ValidString(s) || strings.ContainsRune(s, utf8.RuneError) {
		return Invalid(field, "must be valid UTF-8 without replacement characters or lone surrogates")
	}
	for _, r := range s {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return Invalid(field, "must not contain control characters (found %U)", r)
		}
	}
	return nil
}

// CheckAttributes checks names and values of attributes.
func CheckAttributes(field string, attributes map[string]string) error {
	if len(attributes) > MaxAttributes {
		return Invalid(field, "must have at most %d entries", MaxAttributes)
	}
	for _, name := range sortedKeys(attributes) {
		if len(name) > MaxNameLength || !attributePattern.MatchString(name) {
			return Invalid(field, "the name %s must be 1 to %d characters of letters, digits, '_', '.', '/' and '-'",
				Quote(name), MaxNameLength)
		}
		if err := CheckText(field+"."+name, attributes[name], MaxAttributeLength); err != nil {
			return err
		}
	}
	return nil
}

// CheckUntil checks an end that a caller asks for: after now and at most [MaxTTL] away.
func CheckUntil(field string, until, now time.Time) error {
	switch {
	case !until.After(now):
		return Invalid(field, "must be in the future (it is %s now)", now.UTC().Format(time.RFC3339))
	case until.Sub(now) > MaxTTL:
		return Invalid(field, "must be at most %d days away", int(MaxTTL.Hours()/24))
	}
	return nil
}

// Quote shortens and quotes a caller's text for an error message, so that a message stays one readable line.
func Quote(s string) string {
	const limit = 40
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return fmt.Sprintf("%q", s)
}

// Join lists words for an error message: "a, b and c".
func Join[T ~string](words []T) string {
	parts := make([]string, len(words))
	for i, w := range words {
		parts[i] = string(w)
	}
	if len(parts) < 2 {
		return strings.Join(parts, "")
	}
	return strings.Join(parts[:len(parts)-1], ", ") + " and " + parts[len(parts)-1]
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// jsonReason turns a decoder's error into a sentence without Go types in it.
func jsonReason(err error) string {
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		if e.Field != "" {
			return fmt.Sprintf("%s must not be a JSON %s", e.Field, e.Value)
		}
		return "must not be a JSON " + e.Value
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Error()
	}
	if e, ok := errors.AsType[*time.ParseError](err); ok {
		return fmt.Sprintf("%s is not an RFC 3339 time", Quote(strings.Trim(e.Value, `"`)))
	}
	return strings.TrimPrefix(err.Error(), "json: ")
}

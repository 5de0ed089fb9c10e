package model

import (
	"crypto/rand"
	"encoding/base32"

	"github.com/google/uuid"
)

// idEncoding keeps the byte order of what it encodes, so ids sort like the UUIDs they hold.
var idEncoding = base32.HexEncoding.WithPadding(base32.NoPadding)

// IDLength is the number of characters of every id that [NewID] makes.
const IDLength = 26

// NewID returns an opaque id that sorts by creation: a version 7 UUID (RFC 9562) in lower-case base32hex. Ids of one
// process are strictly increasing; ids of several processes sort by their clocks' milliseconds.
func NewID() string {
	id := uuid.Must(uuid.NewV7())
	out := make([]byte, IDLength)
	idEncoding.Encode(out, id[:])
	for i, c := range out {
		if c >= 'A' {
			out[i] = c + ('a' - 'A')
		}
	}
	return string(out)
}

// ValidID reports whether s could have been made by [NewID]. Ids arrive in URLs, and one that is not well formed must
// never become part of a key.
func ValidID(s string) bool {
	if len(s) != IDLength {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'v') {
			return false
		}
	}
	return true
}

// NewWriter returns a fresh random writer value for a claim. It is random, not counted, because a failover may lose
// increments: two workers could then hold the same number, never the same writer.
func NewWriter() string { return rand.Text() }

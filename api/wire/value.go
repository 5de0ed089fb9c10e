package wire

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"drydock/model"
)

// Text is a string that is null in JSON while it is empty.
type Text string

// MarshalJSON writes null for the empty text.
func (t Text) MarshalJSON() ([]byte, error) {
	if t == "" {
		return []byte("null"), nil
	}
	return encode(string(t))
}

// Number is an integer that is null in JSON while it is zero.
type Number int64

// MarshalJSON writes null for zero.
func (n Number) MarshalJSON() ([]byte, error) {
	if n == 0 {
		return []byte("null"), nil
	}
	return json.Marshal(int64(n))
}

// Time is an instant, in JSON as RFC 3339 in UTC with milliseconds; null while it is zero.
type Time struct{ time.Time }

const timeLayout = `"2006-01-02T15:04:05.000Z07:00"`

// MarshalJSON writes null for the zero time.
func (t Time) MarshalJSON() ([]byte, error) {
	if t.IsZero() {
		return []byte("null"), nil
	}
	return []byte(t.UTC().Format(timeLayout)), nil
}

// UnmarshalJSON reads any RFC 3339 time, or null.
func (t *Time) UnmarshalJSON(b []byte) error {
	if isNull(b) {
		*t = Time{}
		return nil
	}
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return model.Invalid("", "must be an RFC 3339 time in quotes such as \"2030-01-02T15:04:05Z\"")
	}
	var v time.Time
	// A zone may carry the first and the last day out of the years that the format can write.
	if err := v.UnmarshalText([]byte(s)); err != nil || v.UTC().Year() < 0 || v.UTC().Year() > 9999 {
		return model.Invalid("", "%s is not an RFC 3339 time such as \"2030-01-02T15:04:05Z\"", model.Quote(s))
	}
	*t = Time{v}
	return nil
}

// Attributes are the attributes of a lease or resource: names and values are strings.
type Attributes map[string]string

// UnmarshalJSON reads an object whose values are strings. A null value is refused: it would read as the empty string.
func (a *Attributes) UnmarshalJSON(b []byte) error {
	if isNull(b) {
		*a = nil
		return nil
	}
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(b, &raw); err != nil {
		return model.Invalid("", "must be an object whose values are strings")
	}
	out := make(Attributes, len(raw))
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		var value *string
		if err := json.Unmarshal(raw[name], &value); err != nil || value == nil {
			return model.Invalid(name, "must be a string")
		}
		out[name] = *value
	}
	*a = out
	return nil
}

// MarshalJSON writes {} for no attributes.
func (a Attributes) MarshalJSON() ([]byte, error) {
	if a == nil {
		return []byte("{}"), nil
	}
	return encode(map[string]string(a))
}

// encode is json.Marshal without escapes for HTML: what we write is read by programs and by people at a terminal.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}

func isNull(b []byte) bool { return bytes.Equal(bytes.TrimSpace(b), []byte("null")) }

// orNil turns an absent JSON value, written as nothing or as null, into nil.
func orNil(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 || isNull(raw) {
		return nil
	}
	return raw
}

// list returns items as a list that is [] in JSON, never null.
func list[T any](items []T) []T {
	if items == nil {
		return []T{}
	}
	return items
}

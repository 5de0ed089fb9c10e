package model

import (
	"encoding/json"
	"time"
)

// MaxTTL bounds every duration and end that a caller may ask for, so that sums of times cannot overflow.
const MaxTTL = 10 * 365 * 24 * time.Hour

// Duration is a time.Duration that reads and writes the Go form in JSON ("90s", "2h").
type Duration time.Duration

// MarshalJSON writes the Go form.
func (d Duration) MarshalJSON() ([]byte, error) {
	return json.Marshal(time.Duration(d).String())
}

// UnmarshalJSON reads the Go form and nothing else: a bare number has no unit.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return Invalid("", "must be a duration in quotes such as \"90s\" or \"2h\"")
	}
	v, err := time.ParseDuration(s)
	if err != nil {
		return Invalid("", "%s is not a duration such as \"90s\" or \"2h\"", Quote(s))
	}
	*d = Duration(v)
	return nil
}

// CheckTTL checks a time to live: positive and at most [MaxTTL].
func CheckTTL(field string, ttl time.Duration) error {
	switch {
	case ttl < time.Millisecond:
		return Invalid(field, "must be at least 1ms")
	case ttl > MaxTTL:
		return Invalid(field, "must be at most %d days", int(MaxTTL.Hours()/24))
	}
	return nil
}

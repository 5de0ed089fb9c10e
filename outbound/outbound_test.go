package outbound_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"drydock/outbound"
)

const secret = "a secret of the tests"

func TestVerify(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0)
	body := []byte(`{"a": 1}`)
	good := outbound.Sign([]byte(secret), body, now)
	for name, tc := range map[string]struct {
		signature, body, secret string
		at                      time.Time
		ok                      bool
	}{
		"good":            {good, string(body), secret, now, true},
		"a little late":   {good, string(body), secret, now.Add(outbound.Tolerance), true},
		"a little early":  {good, string(body), secret, now.Add(-outbound.Tolerance), true},
		"too late":        {good, string(body), secret, now.Add(outbound.Tolerance + time.Second), false},
		"too early":       {good, string(body), secret, now.Add(-outbound.Tolerance - time.Second), false},
		"other body":      {good, `{"a": 2}`, secret, now, false},
		"other secret":    {good, string(body), "another secret", now, false},
		"other time":      {strings.Replace(good, "t=17", "t=18", 1), string(body), secret, now, false},
		"two sums":        {good + ",v1=00", string(body), secret, now, true},
		"blanks":          {strings.Replace(good, ",", ", ", 1), string(body), secret, now, true},
		"no time":         {good[strings.Index(good, "v1"):], string(body), secret, now, false},
		"no sum":          {good[:strings.Index(good, ",")], string(body), secret, now, false},
		"not hex":         {"t=1700000000,v1=zz", string(body), secret, now, false},
		"empty":           {"", string(body), secret, now, false},
		"a date far away": {"t=9223372036854775807,v1=00", string(body), secret, now, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := outbound.Verify([]byte(tc.secret), []byte(tc.body), tc.signature, tc.at); (err == nil) != tc.ok {
				t.Errorf("Verify = %v, want ok = %v", err, tc.ok)
			}
		})
	}
}

// A service in Go checks each request like this, before it looks at the body.
func ExampleVerify() {
	body := []byte(`{"step": "activate"}`)
	header := outbound.Sign([]byte("a secret of sixteen bytes or more"), body, time.Unix(1_700_000_000, 0))
	fmt.Println(header)
	err := outbound.Verify([]byte("a secret of sixteen bytes or more"), body, header, time.Unix(1_700_000_010, 0))
	fmt.Println(err)
	// Output:
	// t=1700000000,v1=f2ca8af8ece775e06ba9e947b0385dc24b9f68492eb5b683d84c79ecf158f77c
	// <nil>
}

package api

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"drydock/api/wire"
)

func TestDecodeSaysWhere(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		"{\n  \"type\": \"host\",\n  oops\n}":   "the body is not JSON: invalid character 'o' looking for beginning of object key string (line 3, column 3)",
		"{\"type\": \"a\"}\n{}":                 "the body is not JSON: invalid character '{' after top-level value (line 2, column 1)",
		"{\"type\": \"\xff\"}":                  "the body is not valid UTF-8 (line 1, column 11)",
		strings.Repeat("[", 40):                 "the body is nested more than 32 levels deep (line 1, column 33)",
		`{"attributes": {"a": 1}, "type": "x"}`: "attributes.a: must be a string",
		`{"x": 1}`:                              "x: unknown field; known are type, attributes, blueprints, owner, ttl, until, priority and data",
	} {
		err := decode([]byte(body), &wire.NewLease{})
		if err == nil || err.Error() != want {
			t.Errorf("decode(%q) = %v, want %s", body, err, want)
		}
	}
}

func TestDecodeKeepsWhatIsGood(t *testing.T) {
	t.Parallel()
	nested := strings.Repeat(`{"a":[`, 15) + `1e999` + strings.Repeat(`]}`, 15)
	body := `{"type": "host", "owner": "\\u0000 \ud83d\ude00 \"{[\\", "data": ` + nested + `}`
	var got wire.NewLease
	if err := decode([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	want := wire.NewLease{Type: "host", Owner: `\u0000 😀 "{[\`, Data: json.RawMessage(nested)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("decode (-want +got):\n%s", diff)
	}
}

package api

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"drydock/api/wire"
	"drydock/model"
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

// FuzzDecode: whatever comes in, the decoder says no in a way that a caller can be told, or what it let in is fit to be stored and
// comes out again as it is.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{"type": "host"}`,
		`{"type": "host", "attributes": {"os": "linux"}, "blueprints": ["lab"], "owner": "ada", "ttl": "1h", "priority": 3, "data": {"a": [1, null, true]}}`,
		`{"type": "host", "until": "2031-01-01T00:00:00+02:00", "data": "\ud83d\ude00"}`,
		`{"type": "host", "owner": "\ud800"}`,
		`{"type": "host", "type": "host"}`,
		`{"attributes": {"a": null}}`,
		`{"data": [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[`,
		`{"data": "\u0000"}`, `{"a":1,}`, `nul`, `[]`, "\xff", ``, `{"":""}`, `{"data":1e999}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var asked wire.NewLease
		if err := decode(body, &asked); err != nil {
			kind, detail, _ := explain(err)
			if kind != model.ErrorMalformed && kind != model.ErrorInvalid || detail == "" || !utf8.ValidString(detail) || len(detail) > 1000 {
				t.Fatalf("decode(%q) = %v: %s %q", body, err, kind, detail)
			}
			return
		}
		if !json.Valid(body) {
			t.Fatalf("decode(%q) took what is not JSON", body)
		}
		n, err := asked.Model(testNow)
		if err != nil {
			if model.KindOf(err) != model.ErrorInvalid {
				t.Fatalf("Model of %q: %v", body, err)
			}
			return
		}
		texts := []string{n.Type, n.Owner, string(n.Data)}
		for name, value := range n.Attributes {
			texts = append(texts, name, value)
		}
		for _, text := range texts {
			if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
				t.Fatalf("decode(%q) let in %q", body, text)
			}
		}
		again, err := encode(asked)
		if err != nil {
			t.Fatalf("encode what %q became: %v", body, err)
		}
		var second wire.NewLease
		if err := decode(again, &second); err != nil {
			t.Fatalf("decode(%q), which %q became: %v", again, body, err)
		}
	})
}

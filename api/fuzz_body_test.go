package api

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"drydock/api/wire"
	"drydock/model"
)

// badBodies are seeds for every body: what is wrong with them is wrong everywhere.
var badBodies = []string{
	``, ` `, `null`, `[]`, `nul`, `{}`, `{"":""}`, `{"a":1,}`, `{} {}`, "\xff", "\ufeff{}", `{"reason": "\u0000"}`, `{"reason": "\ud800"}`,
	`{"reason": "a", "reason": "b"}`, `{"Reason": "a"}`, `{"reason": null}`, `{"data": [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[`, `{"data":1e999}`,
	`{"filter": {"Type": "host"}}`, `{"filter": {"type": "a", "TYPE": "b"}}`, `{"on": {"Type": "rack"}}`, "{\"a\\u001b[31m\": 1}",
}

// fuzzBody fuzzes the reading of one kind of body: whatever comes in, the decoder says no in a way that a caller can be told, or what it
// let in is fit to be stored and comes out again as it is. check is what the handler does next; texts are what it stores for people.
func fuzzBody[T any](f *testing.F, seeds []string, check func(T) (texts []string, err error)) {
	for _, seed := range slices.Concat(seeds, badBodies) {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var asked T
		if err := decode(body, &asked); err != nil {
			checkRefusal(t, err)
			return
		}
		checkAccepted(t, body, &asked)
		texts, err := check(asked)
		if err != nil {
			if checkRefusal(t, err); model.KindOf(err) != model.ErrorInvalid {
				t.Errorf("%v is of kind %s, want invalid", err, model.KindOf(err))
			}
			return
		}
		for _, text := range texts {
			if !plainForPeople(text) {
				t.Errorf("let in %q", text)
			}
		}
		again, err := encode(asked)
		if err != nil {
			t.Fatalf("encode what was read: %v", err)
		}
		var second T
		if err := decode(again, &second); err != nil {
			t.Fatalf("decode(%s), which is what was read: %v", again, err)
		}
		if third, err := encode(second); err != nil || !bytes.Equal(again, third) {
			t.Errorf("%s comes out as %s, %v", again, third, err)
		}
	})
}

// maxDetail bounds what an answer says about a mistake.
const maxDetail = 1000

// checkRefusal checks that a caller can be told an error: it is his mistake, and the answer is one short line that names the field.
func checkRefusal(t *testing.T, err error) {
	t.Helper()
	kind, detail, field := explain(err)
	if status := problems[kind].status; status < 400 || status > 499 {
		t.Errorf("%v is a %d (%s)", err, status, kind)
	}
	if detail == "" || len(detail) > maxDetail || !oneLineOfText(detail) {
		t.Errorf("the detail of %s has %d bytes: %q", kind, len(detail), detail)
	}
	if kind == model.ErrorInvalid && (field == "" || !strings.HasPrefix(detail, field+": ")) {
		t.Errorf("%q names the field %q", detail, field)
	}
}

func oneLineOfText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// plainForPeople is the rule for free text that is stored.
func plainForPeople(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' })
}

// checkAccepted checks what holds for every body that is let in: it is one JSON object, not deeper than is allowed, without NUL and
// without U+FFFD in the place of something else, and its names are those of the type, to the letter.
func checkAccepted(t *testing.T, body []byte, into any) {
	t.Helper()
	var fields map[string]any
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber() // else 1e999 is an error
	if !json.Valid(body) || dec.Decode(&fields) != nil || !utf8.Valid(body) {
		t.Fatalf("let in %q, which is no JSON object", body)
	}
	// Another decoder, which takes neither lone surrogates nor a name that comes twice.
	if !jsontext.Value(body).IsValid() {
		t.Errorf("let in %q, which is not I-JSON", body)
	}
	_, known := fieldsOf(into)
	for name := range fields {
		if !slices.Contains(known, name) {
			t.Errorf("let in the field %q; known are %q", name, known)
		}
	}
	checkValue(t, fields, 1, strings.Contains(string(body), "\ufffd") || bytes.Contains(bytes.ToLower(body), []byte(`\ufffd`)))
}

func checkValue(t *testing.T, v any, depth int, replaced bool) {
	t.Helper()
	text := func(s string) {
		if strings.ContainsRune(s, 0) || !replaced && strings.ContainsRune(s, utf8.RuneError) {
			t.Errorf("let in the text %q", s)
		}
	}
	switch v := v.(type) {
	case string:
		text(v)
		return
	case []any, map[string]any:
		if depth > maxDepth {
			t.Fatalf("let in what is nested %d levels deep", depth)
		}
	}
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			checkValue(t, item, depth+1, replaced)
		}
	case map[string]any:
		for name, value := range v {
			text(name)
			checkValue(t, value, depth+1, replaced)
		}
	}
}

// exactly checks that an object below a field has only these names, to the letter.
func exactly(body []byte, field string, names ...string) bool {
	var outer, inner map[string]json.RawMessage
	if json.Unmarshal(body, &outer) != nil || json.Unmarshal(outer[field], &inner) != nil {
		return true
	}
	for name := range inner {
		if !slices.Contains(names, name) {
			return false
		}
	}
	return true
}

func FuzzDecode(f *testing.F) {
	fuzzBody(f, []string{
		`{"type": "host"}`,
		`{"type": "host", "attributes": {"os": "linux"}, "blueprints": ["lab"], "owner": "ada", "ttl": "1h", "priority": 3, "data": {"a": [1, null, true]}}`,
		`{"type": "host", "until": "2031-01-01T00:00:00+02:00", "data": "\ud83d\ude00"}`,
		`{"type": "host", "owner": "\ud800"}`, `{"type": "host", "type": "host"}`, `{"type": "host", "data": "\ud800"}`, `{"type": "host", "data": "\u0000"}`, `{"attributes": {"a": null}}`,
	}, func(asked wire.NewLease) (texts []string, err error) {
		n, err := asked.Model(testNow)
		texts = append([]string{n.Type, n.Owner}, n.Blueprints...)
		for name, value := range n.Attributes {
			texts = append(texts, name, value)
		}
		if err == nil && (n.TTL < 0 || n.TTL > model.MaxTTL || !n.Until.IsZero() && (!n.Until.After(testNow) || n.Until.Sub(testNow) > model.MaxTTL)) {
			texts = append(texts, "a ttl or an until out of bounds\x00")
		}
		return texts, err
	})
}

func FuzzDecodeRelease(f *testing.F) {
	fuzzBody(f, []string{`{"reason": "done"}`, `{"reason": "done\nwith it"}`, `{"reason": "\u001b[31m"}`}, func(asked wire.Release) ([]string, error) {
		return []string{asked.Reason}, model.CheckCommand(model.KindLease, model.CommandRelease, nil, asked.Reason)
	})
}

func FuzzDecodeReleaseLeases(f *testing.F) {
	fuzzBody(f, []string{
		`{"ids": ["` + leaseID + `"]}`, `{"ids": []}`, `{"ids": [null]}`, `{"ids": ["a", "a"], "after": "x"}`, `{"all": true, "reason": "over"}`,
		`{"filter": {"status": "active", "type": "host", "owner": "ada", "resource": "` + resourceID + `"}, "after": "active:x"}`,
		`{"filter": {}}`, `{"filter": null}`, `{"filter": []}`, `{"filter": {"status": 1}}`, `{"filter": {"status": "released"}}`, `{"all": true, "reason": "a", "reason": "b"}`,
	}, func(asked wire.ReleaseLeases) ([]string, error) {
		texts := []string{asked.Reason}
		if asked.Filter != nil {
			texts = append(texts, asked.Filter.Status, asked.Filter.Type, asked.Filter.Owner, asked.Filter.Resource)
		}
		return texts, asked.Check()
	})
}

func FuzzDecodeCommand(f *testing.F) {
	fuzzBody(f, []string{
		`{"command": "release"}`, `{"command": "release", "reason": "\u001b[31m"}`, `{"command": "extend", "args": {"ttl": "30m"}, "reason": "not done yet"}`,
		`{"command": "extend", "args": {"until": "2031-01-01T00:00:00Z"}}`, `{"command": "extend", "args": {"TTL": "30m"}}`,
		`{"command": "pause", "args": null}`, `{"command": "Release"}`, `{"command": "extend", "args": "30m"}`,
	}, func(asked wire.NewCommand) ([]string, error) {
		name := model.CommandName(asked.Command)
		return []string{asked.Reason, asked.Command}, model.CheckCommand(model.KindResource, name, asked.Arguments(), asked.Reason)
	})
}

func FuzzDecodeBlueprint(f *testing.F) {
	fuzzBody(f, []string{
		`{"kind": "pool", "type": "host"}`,
		`{"kind": "pool", "type": "host", "limit": 3, "min_idle": 1, "max_idle_age": "90m", "quota": 2, "authorize": ["ada", "<bob>"], "enabled": false,
		  "on": {"type": "rack", "attributes": {"row": "1"}, "blueprints": ["racks"]}, "config": {"hosts": [{"name": "h1"}]}}`,
		`{"kind": "pool", "type": "host", "authorize": "request"}`, `{"kind": "pool", "type": "host", "authorize": null, "on": null, "max_idle_age": null}`,
		`{"kind": "pool", "type": "host", "authorize": []}`, `{"kind": "pool", "type": "host", "authorize": ["\u001b[31m"]}`, `{"kind": "pool", "type": "host", "authorize": [null]}`,
		`{"kind": "pool", "type": "host", "on": {"type": "rack", "blueprints": [null]}}`, `{"kind": "pool", "type": "host", "config": []}`,
	}, func(asked wire.NewBlueprint) ([]string, error) {
		bp, err := asked.Model("default", "lab")
		if err == nil {
			err = bp.Check()
		}
		texts := append([]string{bp.Kind, bp.Type}, bp.Authorize.Owners...)
		if bp.On != nil {
			texts = append(append(texts, bp.On.Type), bp.On.Blueprints...)
			for name, value := range bp.On.Attributes {
				texts = append(texts, name, value)
			}
		}
		return texts, err
	})
}

func FuzzDecodeSubscription(f *testing.F) {
	fuzzBody(f, []string{
		`{"url": "https://example.org/", "secret": "sixteen bytes or more"}`,
		`{"url": "https://example.org/", "filter": {"types": ["lease"], "events": ["released"], "status": ["active"]}, "enabled": false, "tries": 3}`,
		`{"url": "https://example.org/", "filter": {"Types": ["lease"]}}`, `{"url": "https://example.org/", "filter": {"types": [null]}}`,
		`{"url": "http://[::1]:80/", "filter": null}`, `{"url": "https://ada:secret@example.org/"}`, `{"url": "https://example.org/\u0085"}`,
	}, func(asked wire.NewSubscription) ([]string, error) {
		sub := asked.Model("default", "ci")
		err := sub.Check()
		if err == nil {
			err = Config{}.Addresses.CheckURL("url", sub.URL)
		}
		return []string{sub.URL}, err
	})
}

func FuzzDecodeData(f *testing.F) {
	deep := strings.Repeat(`[`, maxDepth) + strings.Repeat(`]`, maxDepth)
	fuzzBody(f, []string{
		`{"data": ` + deep + `}`, `{"data": "` + strings.Repeat("x", model.MaxDataLength) + `"}`,
		`{"data": {"n": 1}}`, `{"data": null}`, `{"data": "text"}`, `{"data": {"a": [1, {"b": 1e999}]}}`,
	}, func(asked wire.NewData) ([]string, error) {
		value, err := asked.Value()
		if err == nil && (len(value) > model.MaxDataLength || value != nil && !json.Valid(value)) {
			return []string{"a value out of bounds\x00"}, nil
		}
		return nil, err
	})
}

func FuzzDecodeAuthorization(f *testing.F) {
	fuzzBody(f, []string{
		`{"owner": "ada", "status": "approved"}`, `{"owner": null, "status": "declined", "reason": "no"}`, `{"status": "approved"}`,
		`{"owner": "", "status": "approved"}`, `{"owner": "\u001b", "status": "approved"}`,
	}, func(asked wire.NewAuthorization) ([]string, error) {
		a, err := asked.Model("default", "lab")
		return []string{a.Owner, a.Reason, string(a.Status)}, err
	})
}

// FuzzDecodeNames: an object below a field takes its names as strictly as the body does.
func FuzzDecodeNames(f *testing.F) {
	for _, seed := range []string{
		`{"filter": {"type": "host"}}`, `{"filter": {"types": ["lease"]}}`, `{"on": {"type": "rack"}}`, `{"filter": {"Type": "host"}}`, `{"filter": {"TYPES": []}}`,
		`{"on": {"Type": "rack"}}`, `{"on": {"attributes": {"OS": "linux"}}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if decode(body, &wire.ReleaseLeases{}) == nil && !exactly(body, "filter", "status", "type", "owner", "resource") {
			t.Errorf("a bulk release takes %s", body)
		}
		if decode(body, &wire.NewSubscription{}) == nil && !exactly(body, "filter", "types", "events", "status") {
			t.Errorf("a subscription takes %s", body)
		}
		if decode(body, &wire.NewBlueprint{}) == nil && !exactly(body, "on", "type", "attributes", "blueprints") {
			t.Errorf("a blueprint takes %s", body)
		}
	})
}

// TestDetailsStayShort: names of the caller's that lie one within the other do not add up either.
func TestDetailsStayShort(t *testing.T) {
	t.Parallel()
	name := strings.Repeat("n", 100)
	body := `{"data": ` + strings.Repeat(`{"`+name+`": `, maxDepth-1) + `"\u0000"` + strings.Repeat(`}`, maxDepth)
	err := decode([]byte(body), &wire.NewData{})
	if err == nil {
		t.Fatal("NUL was let in")
	}
	checkRefusal(t, err)
}

package model_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"drydock/model"
)

// refusal checks an error about a field: it is the caller's, names the field and is one line.
func refusal(t *testing.T, err error, field string) {
	t.Helper()
	var e *model.Error
	if e = asError(err); e == nil || e.Kind != model.ErrorInvalid || e.Message == "" || e.Field != field && !strings.HasPrefix(e.Field, field+".") {
		t.Fatalf("%v is not about the field %s", err, field)
	}
	if text := err.Error(); !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) || len(text) > 1000 {
		t.Errorf("the error %q is not one short line", text)
	}
}

func asError(err error) *model.Error {
	e, _ := err.(*model.Error) //nolint:errorlint // these are not wrapped
	return e
}

// FuzzNames: what passes for a name, an id or the name of an attribute can stand in a key, a path and a shell without quoting.
func FuzzNames(f *testing.F) {
	for _, seed := range []string{"", "lab", "a.b_c-d", "A", "a}:{b", "-a", "a-", "a\n", "a/b", "vendor/os", "ä", strings.Repeat("a", 63), strings.Repeat("a", 64), model.NewID()} {
		f.Add(seed)
	}
	const inName, inID = "abcdefghijklmnopqrstuvwxyz0123456789._-", "0123456789abcdefghijklmnopqrstuv"
	only := func(s, letters string) bool { return strings.Trim(s, letters) == "" }
	f.Fuzz(func(t *testing.T, s string) {
		if err := model.CheckName("name", s); err != nil {
			refusal(t, err, "name")
		} else if s == "" || len(s) > model.MaxNameLength || !only(s, inName) || strings.Trim(s, "._-") != s {
			t.Errorf("%q passes for a name", s)
		}
		if model.ValidID(s) && (len(s) != model.IDLength || !only(s, inID)) {
			t.Errorf("%q passes for an id", s)
		}
		if err := model.CheckAttributes("attributes", map[string]string{s: "x"}); err != nil {
			refusal(t, err, "attributes")
		} else if s == "" || len(s) > model.MaxNameLength || !only(strings.ToLower(s), inName+"/") {
			t.Errorf("%q passes for the name of an attribute", s)
		}
		if quoted := model.Quote(s); !utf8.ValidString(quoted) || strings.ContainsFunc(quoted, unicode.IsControl) || len(quoted) > 400 {
			t.Errorf("%q is quoted as %q", s, quoted)
		}
	})
}

// FuzzTexts: what passes for text can be stored, shown and put into JSON, and is within its limit.
func FuzzTexts(f *testing.F) {
	for _, seed := range []string{"", "ada", "done\nwith\tit", "\x00", "\x1b[31m", "\u0085", "\ufffd", "\xff", "\xed\xa0\x80", "😀", "\u2028"} {
		f.Add(seed, 10)
	}
	f.Fuzz(func(t *testing.T, s string, limit int) {
		if err := model.CheckText("text", s, limit); err != nil {
			refusal(t, err, "text")
			return
		}
		bad := func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }
		if len(s) > limit || !utf8.ValidString(s) || strings.ContainsFunc(s, bad) {
			t.Errorf("%q passes for a text of at most %d bytes", s, limit)
		}
		var back string
		raw, err := json.Marshal(s)
		if err != nil || json.Unmarshal(raw, &back) != nil || back != s {
			t.Errorf("%q becomes %s, %v, and then %q", s, raw, err, back)
		}
		if err := model.CheckAttributes("attributes", map[string]string{"a": s}); (err == nil) != (len(s) <= model.MaxAttributeLength) {
			t.Errorf("%q is a text; as an attribute: %v", s, err)
		}
	})
}

// FuzzParseMember: a member of the wake index is the member of what it is read as.
func FuzzParseMember(f *testing.F) {
	for _, seed := range []string{"lease:l1", "resource:", "blueprint:lab", "lease", "task:x", ":", "lease:a:b", "Lease:x", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, member string) {
		ref, err := model.ParseMember("ci", member)
		switch {
		case err != nil && (model.KindOf(err) != model.ErrorInternal || ref != model.Ref{}):
			t.Errorf("%q = %v, %v", member, ref, err)
		case err == nil && (ref.Member() != member || ref.Namespace != "ci" || ref.ID == "" || !ref.Kind.Valid()):
			t.Errorf("%q = %v, whose member is %q", member, ref, ref.Member())
		}
	})
}

// FuzzAuthorize: who may use a blueprint is written as it was read, and nobody is let in by a slip.
func FuzzAuthorize(f *testing.F) {
	for _, seed := range []string{`null`, `"request"`, `"Request"`, `[]`, `["ada"]`, `["ada", null]`, `[""]`, `[1]`, `{}`, `true`, `"re\u0071uest"`, ` ["a"] `} {
		f.Add([]byte(seed), "ada")
	}
	f.Fuzz(func(t *testing.T, raw []byte, owner string) {
		var a model.Authorize
		if err := json.Unmarshal(raw, &a); err != nil {
			if e := asError(err); e != nil && e.Kind != model.ErrorInvalid {
				t.Errorf("%s: %v", raw, err)
			}
			return
		}
		out, err := json.Marshal(a)
		var again model.Authorize
		if err != nil || json.Unmarshal(out, &again) != nil || again.Only != a.Only || again.Request != a.Request || !slices.Equal(again.Owners, a.Owners) {
			t.Errorf("%s = %+v, written %s, %v, read %+v", raw, a, out, err, again)
		}
		admitted, asks := a.Decision(owner)
		if want := !a.Only && !a.Request || a.Only && !a.Request && slices.Contains(a.Owners, owner); admitted != want || asks != a.Request {
			t.Errorf("%s lets %q in: %t, asks: %t", raw, owner, admitted, asks)
		}
		if slices.Contains(a.Owners, "") || a.Only && a.Request {
			t.Errorf("%s = %+v", raw, a)
		}
	})
}

// FuzzCheckCommand: what passes for a command is one that its target takes, with arguments that can be read when it is consumed.
func FuzzCheckCommand(f *testing.F) {
	for _, name := range model.CommandNames() {
		f.Add(true, string(name), []byte(`{"ttl":"30m"}`), "done")
		f.Add(false, string(name), []byte(` null `), "")
	}
	f.Add(false, "Release", []byte(`{`), "\x1b")
	f.Fuzz(func(t *testing.T, toResource bool, name string, args []byte, reason string) {
		kind := model.KindLease
		if toResource {
			kind = model.KindResource
		}
		err := model.CheckCommand(kind, model.CommandName(name), args, reason)
		if err != nil {
			for _, field := range []string{"command", "args", "reason"} {
				if e := asError(err); e != nil && strings.HasPrefix(e.Field, field) {
					refusal(t, err, field)
					return
				}
			}
			t.Fatalf("%v names no field", err)
		}
		if !model.CommandName(name).For(kind) || len(reason) > model.MaxReasonLength || !utf8.ValidString(reason) {
			t.Errorf("a %s takes %s for %q", kind, name, reason)
		}
		if len(args) > 0 && !json.Valid(args) {
			t.Errorf("%s takes the arguments %q", name, args)
		}
	})
}

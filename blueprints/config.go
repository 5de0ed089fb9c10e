package blueprints

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"time"
	"unicode"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"drydock/model"
)

// DecodeConfig reads a blueprint's config into v. It is stricter than encoding/json: unknown and repeated fields are
// errors and names count in their own case, since a field that is silently ignored is a setting that silently does
// nothing. An absent config is an empty object. Errors are [model.ErrorInvalid] and name the field, for example
// "config.hosts[3].name".
func DecodeConfig(config json.RawMessage, v any) error {
	if len(bytes.TrimSpace(config)) == 0 {
		config = json.RawMessage("{}")
	}
	return DecodeStrict("config", config, v)
}

// DecodeStrict reads one JSON object into v by the rules of [DecodeConfig]. Errors are [model.ErrorInvalid] and name the
// field, below prefix.
func DecodeStrict(prefix string, raw []byte, v any) error {
	if trimmed := bytes.TrimSpace(raw); len(trimmed) == 0 || trimmed[0] != '{' {
		return model.Invalid(prefix, "must be an object")
	}
	err := jsonv2.Unmarshal(raw, v, jsonv2.RejectUnknownMembers(true), jsonv2.WithUnmarshalers(withoutNulls))
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*jsonv2.SemanticError](err); ok {
		return semanticError(prefix, raw, e)
	}
	if e, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		if errors.Is(e, jsontext.ErrDuplicateName) {
			return model.Invalid(fieldPath(prefix, raw, e.JSONPointer), "is there twice")
		}
		return model.Invalid(prefix, "is not valid JSON after %d bytes", e.ByteOffset)
	}
	return model.Invalid(prefix, "is not valid JSON")
}

// withoutNulls reads maps of strings. JSON's own rules make a null value the empty string, which is a value like any other: an attribute
// that somebody forgot to fill in would be one that a lease can ask for.
var withoutNulls = jsonv2.UnmarshalFromFunc(func(dec *jsontext.Decoder, m *map[string]string) error {
	var values map[string]text
	if err := jsonv2.UnmarshalDecode(dec, &values); err != nil || values == nil {
		return err
	}
	*m = make(map[string]string, len(values))
	for name, value := range values {
		(*m)[name] = string(value)
	}
	return nil
})

// text is a string that is not null.
type text string

// UnmarshalJSONFrom implements [jsonv2.UnmarshalerFrom].
func (t *text) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	if dec.PeekKind() == jsontext.KindNull {
		return model.Invalid("", "must be a string, not null")
	}
	return jsonv2.UnmarshalDecode(dec, (*string)(t))
}

func semanticError(prefix string, raw []byte, e *jsonv2.SemanticError) error {
	field := fieldPath(prefix, raw, e.JSONPointer)
	if errors.Is(e.Err, jsonv2.ErrUnknownName) {
		return model.Invalid(field, "unknown field")
	}
	// Our own types say themselves what is wrong, without knowing where.
	if own, ok := errors.AsType[*model.Error](e.Err); ok {
		return model.Invalid(field, "%s", own.Message)
	}
	if e.GoType == reflect.TypeFor[time.Time]() {
		return model.Invalid(field, "must be an RFC 3339 time in quotes")
	}
	want := "of another type"
	if e.GoType != nil {
		want = wanted(e.GoType)
	}
	if e.JSONKind == jsontext.KindNumber && strings.HasPrefix(want, "a whole number") {
		return model.Invalid(field, "must be %s", want)
	}
	if got := kindName(e.JSONKind); got != "" {
		hint := ""
		if want == "a string" && e.JSONKind != jsontext.KindBeginObject && e.JSONKind != jsontext.KindBeginArray {
			hint = "; put it in quotes"
		}
		return model.Invalid(field, "must be %s, not %s%s", want, got, hint)
	}
	return model.Invalid(field, "must be %s", want)
}

// wanted says in words what a Go type takes.
func wanted(t reflect.Type) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return "a whole number"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Map, reflect.Struct:
		return "an object"
	}
	return "of another type"
}

func kindName(k jsontext.Kind) string {
	switch k {
	case jsontext.KindNull:
		return "null"
	case jsontext.KindTrue, jsontext.KindFalse:
		return "true or false"
	case jsontext.KindString:
		return "a string"
	case jsontext.KindNumber:
		return "a number"
	case jsontext.KindBeginObject:
		return "an object"
	case jsontext.KindBeginArray:
		return "a list"
	}
	return ""
}

// fieldPath turns a JSON pointer into the form in which callers write fields: "/hosts/3/name" becomes
// "config.hosts[3].name". It reads raw again to tell an index from a name that is a number.
func fieldPath(prefix string, raw []byte, pointer jsontext.Pointer) string {
	var path strings.Builder
	path.WriteString(prefix)
	inList := listsOn(raw, pointer)
	depth := 0
	for token := range pointer.Tokens() {
		switch {
		case depth < len(inList) && inList[depth]:
			path.WriteString("[" + token + "]")
		default:
			if path.Len() > 0 {
				path.WriteByte('.')
			}
			path.WriteString(plainName(token))
		}
		if depth++; path.Len() > maxPath {
			path.WriteString("…")
			break
		}
	}
	return path.String()
}

// maxPath bounds a path: names that lie one within the other would make a page of an error.
const maxPath = 256

// plainName makes a name that a caller invented fit for an error: short, and on one line.
func plainName(name string) string {
	if name == "" {
		return `""`
	}
	if len(name) > model.MaxNameLength {
		name = strings.ToValidUTF8(name[:model.MaxNameLength], "") + "…"
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '?'
		}
		return r
	}, name)
}

// listsOn says for each token of the pointer whether it stands for a place in a list.
func listsOn(raw []byte, pointer jsontext.Pointer) []bool {
	var lists []bool
	dec := jsontext.NewDecoder(bytes.NewReader(raw), jsontext.AllowDuplicateNames(true))
	for {
		if _, err := dec.ReadToken(); err != nil {
			return nil // broken before the place in question: the path is then shown without brackets
		}
		if dec.StackPointer() != pointer {
			continue
		}
		for level := 1; level <= dec.StackDepth(); level++ {
			kind, _ := dec.StackIndex(level)
			lists = append(lists, kind == jsontext.KindBeginArray)
		}
		return lists
	}
}

package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"drydock/model"
)

// maxDepth bounds the nesting of a body. Nothing we read needs more than ten; beyond this it is an attack or a mistake.
const maxDepth = 32

// decode reads a body that must be one JSON object with the fields of the struct that into points to, spelt exactly, each at most
// once. What cannot be read is [model.ErrorMalformed]; a field that breaks a rule is [model.ErrorInvalid] and is named.
//
// encoding/json alone is too kind: it takes any spelling of a field, the last of two, and turns lone surrogates and broken UTF-8
// into U+FFFD.
func decode(body []byte, into any) error {
	if err := checkJSON(body); err != nil {
		return err
	}
	if trimmed := bytes.TrimSpace(body); trimmed[0] != '{' {
		return malformed("the body must be a JSON object")
	}
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(body, &raw); err != nil {
		return malformed("%s", err)
	}
	fields, names := fieldsOf(into)
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		field, known := fields[name]
		if !known {
			return model.Invalid(shortName(name), "unknown field; known are %s", model.Join(names))
		}
		if err := json.Unmarshal(raw[name], field.Addr().Interface()); err != nil {
			return fieldError(name, field.Type(), err)
		}
	}
	return nil
}

// fieldsOf returns the fields of the struct that v points to by their JSON names, and the names in order.
func fieldsOf(v any) (fields map[string]reflect.Value, names []string) {
	s := reflect.ValueOf(v).Elem()
	fields = make(map[string]reflect.Value, s.NumField())
	for field, value := range s.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		fields[name] = value
		names = append(names, name)
	}
	return fields, names
}

// fieldError says which rule the value of a field breaks.
func fieldError(name string, t reflect.Type, err error) error {
	if e, ok := errors.AsType[*model.Error](err); ok {
		field := name
		if e.Field != "" {
			field += "." + shortName(e.Field)
		}
		return model.Invalid(field, "%s", e.Message)
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.String:
		return model.Invalid(name, "must be a string")
	case reflect.Bool:
		return model.Invalid(name, "must be true or false")
	case reflect.Int:
		return model.Invalid(name, "must be a whole number")
	case reflect.Slice:
		return model.Invalid(name, "must be a list of strings")
	default:
		return model.Invalid(name, "is of the wrong type")
	}
}

// checkJSON checks that body is one JSON value, in UTF-8, not nested too deeply, without a name that comes twice in one object and
// without text that cannot be stored and shown: NUL and lone surrogates.
func checkJSON(body []byte) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return malformed("the body is empty; it must be a JSON object")
	}
	if i := invalidUTF8(body); i >= 0 {
		return malformed("the body is not valid UTF-8 (%s)", position(body, i))
	}
	if i := tooDeep(body); i >= 0 {
		return malformed("the body is nested more than %d levels deep (%s)", maxDepth, position(body, i))
	}
	var whole json.RawMessage
	if err := json.Unmarshal(body, &whole); err != nil {
		if e, ok := errors.AsType[*json.SyntaxError](err); ok {
			return malformed("the body is not JSON: %s (%s)", e, position(body, int(e.Offset)-1))
		}
		return malformed("the body is not JSON: %s", err)
	}
	w := walker{body: body, dec: json.NewDecoder(bytes.NewReader(body))}
	w.dec.UseNumber() // else 1e999 is an error
	return w.value("")
}

// walker checks the names and texts of a JSON document that is known to be well formed and not too deep.
type walker struct {
	body []byte
	dec  *json.Decoder
}

// value checks the next value, which stands at path.
func (w *walker) value(path string) error {
	token, raw, err := w.next()
	if err != nil {
		return err
	}
	switch token := token.(type) {
	case json.Delim:
		if token == '{' {
			return w.object(path)
		}
		return w.array(path)
	case string:
		return checkEscapes(path, raw)
	}
	return nil
}

func (w *walker) object(path string) error {
	seen := map[string]bool{}
	for {
		token, raw, err := w.next()
		if err != nil {
			return err
		}
		name, ok := token.(string)
		if !ok {
			return nil // the closing brace
		}
		at := below(path, name)
		if err := checkEscapes(at, raw); err != nil {
			return err
		}
		if seen[name] {
			return model.Invalid(at, "comes twice in one object")
		}
		seen[name] = true
		if err := w.value(at); err != nil {
			return err
		}
	}
}

// maxPath bounds what an error tells of where a field is: names of the caller's, one within the other, would fill the answer.
const maxPath = 256

// below names a field of the object at path. What lies deeper than a path can tell is told by dots.
func below(path, name string) string {
	switch {
	case path == "":
		return shortName(name)
	case len(path) <= maxPath:
		return path + "." + shortName(name)
	}
	return strings.TrimSuffix(path, "…") + "…"
}

func (w *walker) array(path string) error {
	for i := 0; w.dec.More(); i++ {
		at := path
		if len(path) <= maxPath {
			at += "[" + strconv.Itoa(i) + "]"
		}
		if err := w.value(at); err != nil {
			return err
		}
	}
	_, _, err := w.next()
	return err
}

// next returns the next token and how it is written; before it may stand separators, which contain no quote.
func (w *walker) next() (token json.Token, raw []byte, err error) {
	begin := w.dec.InputOffset()
	if token, err = w.dec.Token(); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, nil, malformed("the body is not JSON: %s", err)
	}
	return token, w.body[begin:w.dec.InputOffset()], nil
}

// checkEscapes refuses NUL and lone surrogates. Both can only be written as escapes: a NUL byte is not JSON, and a surrogate's
// bytes are not UTF-8.
func checkEscapes(path string, raw []byte) error {
	for {
		i := bytes.IndexByte(raw, '\\')
		if i < 0 {
			return nil
		}
		unit, ok := escapedUnit(raw[i:])
		switch {
		case !ok:
			raw = raw[i+2:]
			continue
		case unit == 0:
			return invalidText(path, "must not contain NUL")
		case unit >= 0xD800 && unit < 0xDC00:
			if low, ok := escapedUnit(raw[i+6:]); ok && low >= 0xDC00 && low < 0xE000 {
				raw = raw[i+12:]
				continue
			}
			return invalidText(path, "must not contain lone surrogates")
		case unit >= 0xDC00 && unit < 0xE000:
			return invalidText(path, "must not contain lone surrogates")
		}
		raw = raw[i+6:]
	}
}

// escapedUnit reads \uXXXX at the beginning of raw.
func escapedUnit(raw []byte) (unit uint64, ok bool) {
	if len(raw) < 6 || raw[0] != '\\' || raw[1] != 'u' {
		return 0, false
	}
	unit, err := strconv.ParseUint(string(raw[2:6]), 16, 16)
	return unit, err == nil
}

func invalidText(path, rule string) error {
	if path == "" {
		return malformed("a text %s", rule)
	}
	return model.Invalid(path, "%s", rule)
}

// tooDeep returns where the nesting exceeds maxDepth, or -1. It looks at brackets only, so that a document of nothing else costs
// one pass.
func tooDeep(body []byte) int {
	depth, inText := 0, false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case inText && c == '\\':
			i++
		case c == '"':
			inText = !inText
		case inText:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return i
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return -1
}

// invalidUTF8 returns where body stops being UTF-8, or -1.
func invalidUTF8(body []byte) int {
	for i := 0; i < len(body); {
		r, size := utf8.DecodeRune(body[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return -1
}

// position says in words where a byte of the body stands.
func position(body []byte, i int) string {
	before := body[:min(max(i, 0), len(body))]
	line := bytes.Count(before, []byte("\n")) + 1
	return fmt.Sprintf("line %d, column %d", line, len(before)-bytes.LastIndexByte(before, '\n'))
}

// shortName makes a name that a caller invented fit to be shown.
func shortName(name string) string {
	if name == "" {
		return `""`
	}
	return plainText(name, 64)
}

func malformed(format string, args ...any) error {
	return model.Errorf(model.ErrorMalformed, format, args...)
}

package api

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"drydock/api/wire"
	"drydock/model"
)

// TestEveryWireTypeHasASchemaAndEverySchemaIsAccountedFor: a type or a schema that is added has to be compared with the other.
func TestEveryWireTypeHasASchemaAndEverySchemaIsAccountedFor(t *testing.T) {
	t.Parallel()
	var compared []string
	for _, v := range slices.Concat(answerTypes(), requestTypes()) {
		compared = append(compared, reflect.TypeOf(v).Name())
	}
	slices.Sort(compared)
	// Page is described where it is used, once for each type of item.
	declared := slices.DeleteFunc(wireStructs(t), func(name string) bool { return name == "Page" })
	if diff := cmp.Diff(declared, compared); diff != "" {
		t.Errorf("structs of package wire with JSON names (-declared +compared with openapi.json):\n%s", diff)
	}
	// These are no structs of package wire: words, texts with a rule, and what only this package knows.
	others := []string{
		"LeaseState", "ResourceState", "CommandName", "Outcome", "ErrorCode", "EventType", "AuthorizationStatus", // [TestOpenAPIListsTheWordsOfTheModel]
		"ID", "Name", "Time", "Duration", "Attributes", "Authorize", "Health",
	}
	known := slices.Sorted(slices.Values(append(others, compared...)))
	schemas := slices.Sorted(maps.Keys(at(t, document(t), "components", "schemas").(anyMap)))
	if diff := cmp.Diff(known, schemas); diff != "" {
		t.Errorf("schemas (-compared with a type +openapi.json):\n%s", diff)
	}
}

// wireStructs lists the exported structs of package wire whose fields have JSON names.
func wireStructs(t *testing.T) (names []string) {
	t.Helper()
	files, err := filepath.Glob("wire/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files of package wire: %v", err)
	}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok || !spec.Name.IsExported() {
				return true
			}
			if s, ok := spec.Type.(*ast.StructType); ok && slices.ContainsFunc(s.Fields.List, func(f *ast.Field) bool {
				return f.Tag != nil && strings.Contains(f.Tag.Value, "json:")
			}) {
				names = append(names, spec.Name.Name)
			}
			return true
		})
	}
	slices.Sort(names)
	return names
}

// TestOpenAPISchemasHaveTheTypesOfTheFields compares what each field may be in JSON: a string, a string or null, and so on.
func TestOpenAPISchemasHaveTheTypesOfTheFields(t *testing.T) {
	t.Parallel()
	c := newContract(t)
	answers := answerTypes()
	for i, v := range slices.Concat(answers, requestTypes()) {
		typ := reflect.TypeOf(v)
		schema := c.follow("", anyMap{"$ref": "#/components/schemas/" + typ.Name()}).value
		for field := range typ.Fields() {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			if field.Type == reflect.TypeFor[json.RawMessage]() {
				continue // JSON that is handed on; the schema may say more
			}
			got := c.typesOf(at(t, schema, "properties", name))
			want := jsonTypes(field.Type)
			isTime := field.Type == reflect.TypeFor[wire.Time]()
			switch required, _ := schema["required"].([]any); {
			case i >= len(answers) && !slices.Contains(required, any(name)):
				want = append(want, "null") // where a field may be left out, null is the same
			case i < len(answers) && isTime && !slices.Contains(got, "null"):
				got = append(got, "null") // some instants are always there
			}
			slices.Sort(want)
			slices.Sort(got)
			if diff := cmp.Diff(slices.Compact(want), slices.Compact(got)); diff != "" {
				t.Errorf("%s.%s (-type +openapi.json):\n%s", typ.Name(), name, diff)
			}
		}
	}
}

// jsonTypes returns what the values of a Go type are in JSON.
func jsonTypes(t reflect.Type) []string {
	switch t {
	case reflect.TypeFor[wire.Text](), reflect.TypeFor[wire.Time](), reflect.TypeFor[wire.Owner]():
		return []string{"string", "null"}
	case reflect.TypeFor[wire.Number]():
		return []string{"integer", "null"}
	case reflect.TypeFor[model.Duration]():
		return []string{"string"}
	case reflect.TypeFor[model.Authorize]():
		return []string{"null", "array", "string"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return append(jsonTypes(t.Elem()), "null")
	case reflect.Bool:
		return []string{"boolean"}
	case reflect.Int, reflect.Int64:
		return []string{"integer"}
	case reflect.String:
		return []string{"string"}
	case reflect.Slice:
		return []string{"array"}
	case reflect.Struct, reflect.Map:
		return []string{"object"}
	}
	return []string{"unknown: " + t.String()}
}

// typesOf returns what a schema allows: the types that it names, those of its alternatives, or those of its words.
func (c *contract) typesOf(schema any) (types []string) {
	m := c.follow("", schema).value
	switch t := m["type"].(type) {
	case string:
		return []string{t}
	case []any:
		for _, one := range t {
			types = append(types, one.(string))
		}
		return types
	}
	if list, ok := m["oneOf"].([]any); ok {
		for _, one := range list {
			types = append(types, c.typesOf(one)...)
		}
		return types
	}
	if words, ok := m["enum"].([]any); ok {
		for _, word := range words {
			if word == nil {
				types = append(types, "null")
			} else {
				types = append(types, reflect.TypeOf(word).Kind().String())
			}
		}
		return types
	}
	return []string{"any"}
}

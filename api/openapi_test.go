package api

import (
	"encoding/json"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"drydock/api/wire"
	"drydock/model"
)

type anyMap = map[string]any

func document(t *testing.T) anyMap {
	t.Helper()
	var doc anyMap
	if err := json.Unmarshal(openapiJSON, &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

func at(t *testing.T, v any, path ...string) any {
	t.Helper()
	for _, name := range path {
		m, ok := v.(anyMap)
		if !ok || m[name] == nil {
			t.Fatalf("openapi.json lacks %v at %q", path, name)
		}
		v = m[name]
	}
	return v
}

func texts(t *testing.T, v any) []string {
	t.Helper()
	var out []string
	list, _ := v.([]any)
	for _, item := range list {
		s, ok := item.(string)
		if !ok {
			t.Fatalf("%v is not a string", item)
		}
		out = append(out, s)
	}
	slices.Sort(out)
	return out
}

func TestOpenAPIDescribesExactlyTheRoutes(t *testing.T) {
	t.Parallel()
	a := newAPI(t, &fakeStore{}) // without Asynqmon, which is not ours to describe
	var routes, described []string
	for _, r := range a.api.echo.Routes() {
		if r.Method == "echo_route_not_found" {
			continue
		}
		path := strings.NewReplacer(":id", "{id}", ":name", "{name}", `\`, "").Replace(r.Path)
		routes = append(routes, r.Method+" "+path)
	}
	paths, _ := at(t, document(t), "paths").(anyMap)
	ids := map[string]bool{}
	for path, item := range paths {
		for method, op := range item.(anyMap) {
			if method == "parameters" {
				continue
			}
			described = append(described, strings.ToUpper(method)+" "+path)
			id, _ := at(t, op, "operationId").(string)
			if ids[id] {
				t.Errorf("operationId %s comes twice", id)
			}
			ids[id] = true
		}
	}
	slices.Sort(routes)
	slices.Sort(described)
	if diff := cmp.Diff(routes, described); diff != "" {
		t.Errorf("openapi.json differs from the routes (-routes +openapi.json):\n%s", diff)
	}
}

// TestOpenAPIDescribesExactlyTheQueryParameters asks each route for a parameter that it does not know: the answer lists the others.
func TestOpenAPIDescribesExactlyTheQueryParameters(t *testing.T) {
	t.Parallel()
	a := newAPI(t, &fakeStore{})
	doc := document(t)
	for name, req := range goodRequests() {
		if req.path == "/readyz" {
			continue
		}
		_, route, _ := strings.Cut(name, " ")
		path := strings.NewReplacer(":id", "{id}", ":name", "{name}", `\`, "").Replace(route)
		var described []string
		for _, owner := range []any{at(t, doc, "paths", path), at(t, doc, "paths", path, strings.ToLower(req.method))} {
			list, _ := owner.(anyMap)["parameters"].([]any)
			for _, p := range list {
				if ref, ok := p.(anyMap)["$ref"].(string); ok {
					p = resolve(t, doc, ref)
				}
				if p.(anyMap)["in"] == "query" {
					described = append(described, at(t, p, "name").(string))
				}
			}
		}
		p := a.do(req.method, req.path+"?bogus=1", req.body).problem(t)
		_, list, _ := strings.Cut(p.Detail, "known are ")
		known := strings.Split(strings.ReplaceAll(list, " and ", ", "), ", ")
		slices.Sort(known)
		slices.Sort(described)
		if diff := cmp.Diff(known, described); diff != "" {
			t.Errorf("%s: query parameters differ (-route +openapi.json):\n%s", name, diff)
		}
	}
}

func resolve(t *testing.T, doc anyMap, ref string) any {
	t.Helper()
	return at(t, doc, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
}

func TestOpenAPIReferencesResolve(t *testing.T) {
	t.Parallel()
	doc := document(t)
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, item := range v {
				walk(item)
			}
		case anyMap:
			if ref, ok := v["$ref"].(string); ok {
				resolve(t, doc, ref)
			}
			for _, item := range v {
				walk(item)
			}
		}
	}
	walk(doc)
}

// answerTypes has a value of each type of package wire that answers are made of; the schema has the type's name.
func answerTypes() []any {
	return []any{
		wire.Lease{}, wire.Waiting{}, wire.Resource{}, wire.Command{}, wire.Origin{}, wire.LeaseSent{}, wire.ResourceSent{},
		wire.LogEntry{}, wire.Slot{}, wire.Blueprint{}, wire.Problem{}, wire.Event{}, wire.EventFilter{}, wire.Subscription{}, wire.DeadLetter{},
		wire.DeadLettersRetried{}, wire.Data{}, wire.Authorization{}, wire.LeaseRelease{}, wire.ItemError{},
	}
}

// requestTypes has a value of each type that requests are made of.
func requestTypes() []any {
	return []any{
		wire.NewLease{}, wire.Release{}, wire.NewCommand{}, wire.NewBlueprint{}, wire.NewSubscription{}, wire.NewAuthorization{}, wire.NewData{}, wire.SubLease{},
		wire.ReleaseLeases{}, wire.ReleaseFilter{},
	}
}

// TestOpenAPISchemasHaveTheFieldsOfTheTypes compares names, and that an answer's schema requires all of its fields.
func TestOpenAPISchemasHaveTheFieldsOfTheTypes(t *testing.T) {
	t.Parallel()
	doc := document(t)
	answers, requests := answerTypes(), requestTypes()
	for i, v := range slices.Concat(answers, requests) {
		typ := reflect.TypeOf(v)
		var fields []string
		for field := range typ.Fields() {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			fields = append(fields, name)
		}
		slices.Sort(fields)
		schema := at(t, doc, "components", "schemas", typ.Name())
		var properties []string
		for name := range at(t, schema, "properties").(anyMap) {
			properties = append(properties, name)
		}
		slices.Sort(properties)
		if diff := cmp.Diff(fields, properties); diff != "" {
			t.Errorf("%s (-type +openapi.json):\n%s", typ.Name(), diff)
		}
		if i < len(answers) {
			if diff := cmp.Diff(fields, texts(t, at(t, schema, "required"))); diff != "" {
				t.Errorf("%s: an answer never lacks a field (-type +required):\n%s", typ.Name(), diff)
			}
		} else if extra := schema.(anyMap)["additionalProperties"]; extra != false {
			t.Errorf("%s: a request may not have unknown fields, additionalProperties = %v", typ.Name(), extra)
		}
	}
}

func TestOpenAPIListsTheWordsOfTheModel(t *testing.T) {
	t.Parallel()
	var codes []model.ErrorKind
	for kind := range problems {
		codes = append(codes, kind)
	}
	doc := document(t)
	for name, want := range map[string][]string{
		"LeaseState":          sorted(model.LeaseStates()),
		"ResourceState":       sorted(model.ResourceStates()),
		"CommandName":         sorted(model.CommandNames()),
		"Outcome":             sorted([]model.Outcome{model.OutcomeApplied, model.OutcomeRefused, model.OutcomeSuperseded}),
		"ErrorCode":           sorted(codes),
		"EventType":           append(sorted(model.EventTypes()), string(model.EventGap)),
		"AuthorizationStatus": sorted(model.AuthorizationStatuses()),
	} {
		slices.Sort(want)
		if diff := cmp.Diff(want, texts(t, at(t, doc, "components", "schemas", name, "enum"))); diff != "" {
			t.Errorf("%s (-model +openapi.json):\n%s", name, diff)
		}
	}
}

func sorted[S ~string](words []S) []string {
	var out []string
	for _, w := range words {
		out = append(out, string(w))
	}
	slices.Sort(out)
	return out
}

func TestOpenAPIIsServed(t *testing.T) {
	t.Parallel()
	got := newAPI(t, &fakeStore{}).do(http.MethodGet, "/openapi.json", "")
	if got.status != http.StatusOK || !json.Valid(got.body) || got.header.Get("Content-Type") != "application/json" {
		t.Errorf("= %d %v", got.status, got.header)
	}
}

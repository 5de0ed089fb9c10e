package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// example returns the first example of an operation's body; "" when it takes none.
func (o *operation) example() string {
	examples := o.examples()
	if len(examples) == 0 {
		return ""
	}
	return examples[slices.Min(slices.Collect(maps.Keys(examples)))]
}

// examples returns the examples of an operation's body by name.
func (o *operation) examples() map[string]string {
	out := map[string]string{}
	if !o.takesBody() {
		return out
	}
	content := o.spec["requestBody"].(anyMap)["content"].(anyMap)
	list, _ := content["application/json"].(anyMap)["examples"].(anyMap)
	for name, e := range list {
		text, _ := json.Marshal(e.(anyMap)["value"]) // it was JSON
		out[name] = string(text)
	}
	return out
}

// TestOpenAPIExamplesAreValid holds each example against the schema that it stands in or beside.
func TestOpenAPIExamplesAreValid(t *testing.T) {
	t.Parallel()
	c := newContract(t)
	found := 0
	check := func(pointer string, example any) {
		found++
		if err := c.asWritten.check(pointer, example); err != nil {
			t.Errorf("an example at %s: %v", pointer, err)
		}
	}
	var walk func(pointer string, v any)
	walk = func(pointer string, v any) {
		switch v := v.(type) {
		case []any:
			for i, item := range v {
				walk(fmt.Sprintf("%s/%d", pointer, i), item)
			}
		case anyMap:
			switch examples := v["examples"].(type) {
			case []any: // of a schema
				for _, e := range examples {
					check(pointer, e)
				}
			case anyMap: // of a body, or a parameter
				for _, e := range examples {
					check(pointer+"/schema", e.(anyMap)["value"])
				}
			}
			if _, old := v["example"]; old && v["type"] != nil {
				t.Errorf("%s has an example; a schema of OpenAPI 3.1 has examples", pointer)
			}
			for name, item := range v {
				if name != "examples" {
					walk(pointer+"/"+strings.NewReplacer("~", "~0", "/", "~1").Replace(name), item)
				}
			}
		}
	}
	walk("", c.doc)
	t.Logf("%d examples", found)
	for _, op := range c.sorted() {
		if op.takesBody() && len(op.examples()) == 0 {
			t.Errorf("%s takes a body, and the document has no example of one", op.id)
		}
	}
}

// ready declares what the examples of the document speak of, and returns the parameter for an operation's path.
func (c *conformance) ready(op *operation) string {
	c.t.Helper()
	c.good("putBlueprint", "lab", "", labPool, http.StatusCreated)
	c.good("putBlueprint", "gpus", "", `{"kind": "pool", "type": "gpu", "authorize": "request", "config": {"hosts": []}}`, http.StatusCreated)
	lease := c.created(`{"type": "host"}`)
	c.work()
	switch {
	case strings.HasPrefix(op.path, "/v1/leases/{id}"):
		return lease
	case strings.HasPrefix(op.path, "/v1/resources/{id}"):
		return c.resourceOf(lease)
	case op.id == "authorize":
		return "gpus"
	}
	return "new"
}

// TestOpenAPIExamplesWork sends every example of a request to a server that has what it speaks of.
func TestOpenAPIExamplesWork(t *testing.T) {
	t.Parallel()
	for _, op := range newContract(t).sorted() {
		for name, body := range op.examples() {
			t.Run(op.id+"/"+name, func(t *testing.T) {
				c := newConformance(t)
				req := c.to(op.id, c.ready(op), "", body)
				got := c.api.do(op.method, req.path+"?"+req.query, body, bearer("root.admin."+c.ns))
				if got.status >= http.StatusMultipleChoices {
					t.Errorf("%s = %d %s", req, got.status, got.body)
				}
				c.check(req, got.status, got.header, got.body)
			})
		}
	}
}

// TestOpenAPIExamplesOfParametersWork is the same for the examples of query parameters.
func TestOpenAPIExamplesOfParametersWork(t *testing.T) {
	t.Parallel()
	c := newConformance(t)
	c.api.api.endWaits() // the event stream would go on for ever
	lease := c.ready(c.operations["readLease"])
	tried := 0
	for _, op := range c.sorted() {
		for _, p := range op.parameters {
			examples, _ := p.value["schema"].(anyMap)["examples"].([]any)
			for _, e := range examples {
				if p.value["in"] != "query" {
					continue
				}
				tried++
				parameter := lease
				if strings.HasPrefix(op.path, "/v1/resources/") {
					parameter = c.resourceOf(lease)
				}
				c.good(op.id, parameter, fmt.Sprintf("%s=%v", p.value["name"], e), "", http.StatusOK)
			}
		}
	}
	if tried == 0 {
		t.Error("openapi.json has no examples of query parameters")
	}
}

// wrongValues are tried for each field of a body. Which of them are wrong for it, the schema says.
var wrongValues = []string{`null`, `true`, `""`, `"\u0007"`, `"No Name!"`, `-1`, `1.5`, `1e9`, `{}`, `{"bogus": 1}`, `[]`, `[1]`, `[""]`, `"` + strings.Repeat("x", 2000) + `"`}

// TestServerRefusesWhatOpenAPIForbids: a body that breaks its schema is never taken.
func TestServerRefusesWhatOpenAPIForbids(t *testing.T) {
	t.Parallel()
	for _, op := range newContract(t).sorted() {
		if !op.takesBody() {
			continue
		}
		t.Run(op.id, func(t *testing.T) {
			c := newConformance(t)
			parameter := c.ready(op)
			schema := c.follow("", at(t, op.spec, "requestBody", "content", "application/json", "schema")).value
			tried := 0
			for _, field := range c.fields(schema) {
				for _, value := range wrongValues {
					text := with(t, op.example(), field, value)
					if c.asWritten.checkJSON(op.bodySchema(), text) == nil {
						continue
					}
					tried++
					req := c.to(op.id, parameter, "", string(text))
					if got := c.api.do(op.method, req.path+"?"+req.query, req.body, bearer("root.admin."+c.ns)); got.status < 400 || got.status >= 500 {
						t.Errorf("%s = %d %.200s, though it breaks the schema", req, got.status, got.body)
					}
				}
			}
			if tried == 0 {
				t.Error("nothing was tried")
			}
		})
	}
}

// fields returns the names of an object's fields, and one that it does not have, each with the names that lead to it.
func (c *contract) fields(schema anyMap) (paths [][]string) {
	properties, _ := schema["properties"].(anyMap)
	if properties == nil {
		return nil
	}
	for name, p := range properties {
		paths = append(paths, []string{name})
		alternatives := []any{p}
		if list, ok := p.(anyMap)["oneOf"].([]any); ok {
			alternatives = list
		}
		for _, one := range alternatives {
			for _, below := range c.fields(c.follow("", one).value) {
				paths = append(paths, append([]string{name}, below...))
			}
		}
	}
	return append(paths, []string{"bogus"})
}

// with returns a JSON object with another value at a path.
func with(t *testing.T, object string, path []string, value string) []byte {
	t.Helper()
	body := map[string]json.RawMessage{}
	if object != "" {
		if err := json.Unmarshal([]byte(object), &body); err != nil {
			t.Fatal(err)
		}
	}
	if body == nil {
		body = map[string]json.RawMessage{} // it was null
	}
	if len(path) > 1 {
		value = string(with(t, string(body[path[0]]), path[1:], value))
	}
	body[path[0]] = json.RawMessage(value)
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"drydock/api/wire"
)

// contract is openapi.json, read so that requests and answers can be held against it.
type contract struct {
	t   testing.TB
	doc anyMap
	// asWritten has the schemas of the document. In closed, an object has no properties but those that are described: callers have to expect
	// more, since "more fields may be added", but whatever the server sends today has to be in the document.
	asWritten, closed *schemas
	operations        map[string]*operation // by operationId
}

// operation is a method on a path.
type operation struct {
	id, method, path string
	where            string // its JSON pointer
	spec             anyMap
	parameters       []place
	responses        map[int]place
}

// place is a part of the document and its JSON pointer, which is not that of the reference that led to it.
type place struct {
	pointer string
	value   anyMap
}

func newContract(t testing.TB) *contract {
	t.Helper()
	read, err := readContract()
	if err != nil {
		t.Fatal(err)
	}
	c := *read
	c.t = t
	return &c
}

// readContract reads the document, once for all tests.
var readContract = sync.OnceValues(func() (*contract, error) {
	var docs [2]any
	for i := range docs {
		var err error
		if docs[i], err = jsonschema.UnmarshalJSON(bytes.NewReader(openapiJSON)); err != nil {
			return nil, err
		}
	}
	asWritten, err := newSchemas(docs[0])
	if err != nil {
		return nil, err
	}
	closed, err := newSchemas(withoutMore(docs[1]))
	if err != nil {
		return nil, err
	}
	c := &contract{doc: docs[0].(anyMap), asWritten: asWritten, closed: closed, operations: map[string]*operation{}}
	for path, item := range c.doc["paths"].(anyMap) {
		item := item.(anyMap)
		for method, spec := range item {
			if method == "parameters" {
				continue
			}
			op := &operation{
				method: strings.ToUpper(method), path: path, spec: spec.(anyMap), responses: map[int]place{},
				where: "/paths/" + strings.ReplaceAll(path, "/", "~1") + "/" + method,
			}
			op.id = op.spec["operationId"].(string)
			for _, owner := range []place{{strings.TrimSuffix(op.where, "/"+method), item}, {op.where, op.spec}} {
				list, _ := owner.value["parameters"].([]any)
				for i, p := range list {
					op.parameters = append(op.parameters, c.follow(fmt.Sprintf("%s/parameters/%d", owner.pointer, i), p))
				}
			}
			for status, r := range op.spec["responses"].(anyMap) {
				n, err := strconv.Atoi(status)
				if err != nil {
					return nil, fmt.Errorf("%s: status %s: %w", op.id, status, err)
				}
				op.responses[n] = c.follow(op.where+"/responses/"+status, r)
			}
			c.operations[op.id] = op
		}
	}
	return c, nil
})

// follow returns what a reference leads to; what is no reference is where it is.
func (c *contract) follow(pointer string, v any) place {
	m := v.(anyMap)
	ref, ok := m["$ref"].(string)
	if !ok {
		return place{pointer, m}
	}
	pointer = strings.TrimPrefix(ref, "#")
	v = c.doc
	for name := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		v = v.(anyMap)[name]
	}
	return place{pointer, v.(anyMap)}
}

// withoutMore closes every object whose properties are described.
func withoutMore(v any) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = withoutMore(v[i])
		}
	case anyMap:
		for name := range v {
			if name != "examples" {
				v[name] = withoutMore(v[name])
			}
		}
		if _, described := v["properties"]; described && v["type"] != nil && v["additionalProperties"] == nil {
			v["additionalProperties"] = false
		}
	}
	return v
}

// schemas compiles what is at a JSON pointer of a document, by JSON Schema 2020-12, which is that of OpenAPI 3.1.
type schemas struct {
	mu       sync.Mutex
	compiler *jsonschema.Compiler
}

const documentURL = "https://drydock.invalid/openapi.json"

func newSchemas(doc any) (*schemas, error) {
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	return &schemas{compiler: c}, c.AddResource(documentURL, doc)
}

// check holds a value against the schema at a pointer.
func (s *schemas) check(pointer string, v any) error {
	schema, err := s.compile(pointer)
	if err != nil {
		return fmt.Errorf("openapi.json, schema at %s: %w", pointer, err)
	}
	return schema.Validate(v)
}

// compile compiles a schema, once.
func (s *schemas) compile(pointer string) (*jsonschema.Schema, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// A pointer is part of a URL here.
	return s.compiler.Compile(documentURL + "#" + strings.NewReplacer("{", "%7B", "}", "%7D").Replace(pointer))
}

// checkJSON is check for a text.
func (s *schemas) checkJSON(pointer string, text []byte) error {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return err
	}
	return s.check(pointer, v)
}

// checkText is check for a parameter or header, which is a number when its schema says so.
func (s *schemas) checkText(p place, text string) error {
	var v any = text
	if schema := p.value["schema"].(anyMap); schema["type"] == "integer" {
		v = json.Number(text)
		if _, err := strconv.Atoi(text); err != nil {
			return fmt.Errorf("%q is no whole number", text)
		}
	}
	return s.check(p.pointer+"/schema", v)
}

// call is a request for an operation.
type call struct {
	op     *operation
	path   string // without the query
	query  string
	body   string
	header http.Header
}

func (c call) String() string {
	return strings.TrimSuffix(fmt.Sprintf("%s %s?%s %.200s", c.op.method, c.path, c.query, c.body), " ")
}

// generalHeaders may come with any answer.
var generalHeaders = []string{
	"Cache-Control", "Connection", "Content-Length", "Content-Type", "Date", "Referrer-Policy", "Transfer-Encoding", "Vary", "X-Accel-Buffering",
	"X-Content-Type-Options", "X-Frame-Options", wire.HeaderRequestID, headerRateLimit, headerRateLimitPolicy,
}

// check holds an answer, and the request if it was a good one, against the document. A nil body is not looked at.
func (c *contract) check(req call, status int, header http.Header, body []byte) {
	c.t.Helper()
	what := fmt.Sprintf("%s: %s = %d", req.op.id, req, status)
	response, listed := req.op.responses[status]
	if !listed {
		c.t.Errorf("%s %.300s, a status that the document does not list", what, body)
		return
	}
	if header.Get(wire.HeaderRequestID) == "" {
		c.t.Errorf("%s without %s", what, wire.HeaderRequestID)
	}
	c.checkHeaders(what, response, header)
	content, _ := response.value["content"].(anyMap)
	mediaType, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	switch {
	case content == nil && len(body) > 0:
		c.t.Errorf("%s has a body, which the document does not describe: %.300s", what, body)
	case content != nil && (err != nil || content[mediaType] == nil):
		c.t.Errorf("%s has content type %q, want one of %v", what, header.Get("Content-Type"), slices.Collect(maps.Keys(content)))
	case content != nil && body != nil && strings.HasSuffix(mediaType, "json"):
		pointer := response.pointer + "/content/" + strings.ReplaceAll(mediaType, "/", "~1") + "/schema"
		if err := c.closed.checkJSON(pointer, body); err != nil {
			c.t.Errorf("%s breaks its schema: %v\n%.2000s", what, err, body)
		}
	}
	if status < http.StatusBadRequest {
		c.checkRequest(what, req)
	}
}

func (c *contract) checkHeaders(what string, response place, header http.Header) {
	c.t.Helper()
	described, _ := response.value["headers"].(anyMap)
	known := slices.Clone(generalHeaders)
	for name, h := range described {
		p := c.follow(response.pointer+"/headers/"+name, h)
		name = http.CanonicalHeaderKey(name)
		known = append(known, name)
		values := header.Values(name)
		if len(values) == 0 && p.value["required"] == true {
			c.t.Errorf("%s lacks the header %s", what, name)
		}
		for _, v := range values {
			if err := c.asWritten.checkText(p, v); err != nil {
				c.t.Errorf("%s: header %s: %v", what, name, err)
			}
		}
	}
	for name := range header {
		if !slices.Contains(known, name) {
			c.t.Errorf("%s has the header %s, which the document does not describe", what, name)
		}
	}
}

// checkRequest holds a request that the server took against the document.
func (c *contract) checkRequest(what string, req call) {
	c.t.Helper()
	query, err := url.ParseQuery(req.query)
	if err != nil {
		c.t.Errorf("%s: %v", what, err)
	}
	for _, p := range req.op.parameters {
		name := p.value["name"].(string)
		var values []string
		switch p.value["in"] {
		case "query":
			values = query[name]
			delete(query, name)
		case "header":
			values = req.header.Values(name)
		case "path":
			pattern := regexp.MustCompile("^" + strings.Replace(regexp.QuoteMeta(req.op.path), `\{`+name+`\}`, "([^/]+)", 1) + "$")
			if m := pattern.FindStringSubmatch(req.path); m != nil {
				values = m[1:]
			}
		}
		if len(values) == 0 && p.value["required"] == true {
			c.t.Errorf("%s without the parameter %s", what, name)
		}
		for _, v := range values {
			if err := c.asWritten.checkText(p, v); err != nil {
				c.t.Errorf("%s: parameter %s: %v", what, name, err)
			}
		}
	}
	if len(query) > 0 {
		c.t.Errorf("%s with parameters that the document does not have: %v", what, query)
	}
	switch body, described := req.op.spec["requestBody"].(anyMap); {
	case req.body == "" && described && body["required"] == true:
		c.t.Errorf("%s without a body", what)
	case req.body != "" && !described:
		c.t.Errorf("%s with a body, which the document does not describe", what)
	case req.body != "":
		if err := c.asWritten.checkJSON(req.op.bodySchema(), []byte(req.body)); err != nil {
			c.t.Errorf("%s, and the body breaks its schema: %v", what, err)
		}
	}
}

// bodySchema is the pointer of the schema of an operation's request body.
func (o *operation) bodySchema() string {
	return o.where + "/requestBody/content/application~1json/schema"
}

// takesBody reports whether the document describes a request body.
func (o *operation) takesBody() bool { return o.spec["requestBody"] != nil }

// sorted lists the operations by id.
func (c *contract) sorted() []*operation {
	var out []*operation
	for _, id := range slices.Sorted(maps.Keys(c.operations)) {
		out = append(out, c.operations[id])
	}
	return out
}

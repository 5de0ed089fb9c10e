package api

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"drydock/model"
)

// TestBadInputNeverReachesTheStore is scenario 35: every mistake and every attack on the way in gets a clear answer, and the store,
// which here fails the test when it is called, never hears of it.
func TestBadInputNeverReachesTheStore(t *testing.T) {
	t.Parallel()
	const leases = "/v1/leases"
	release := leases + "/" + leaseID + "/release"
	commands := leases + "/" + leaseID + "/commands"
	data := leases + "/" + leaseID + "/data"
	const authorizations = "/v1/blueprints/lab/authorizations"
	resourceCommands := "/v1/resources/" + resourceID + "/commands"
	deep := strings.Repeat(`[`, 10_000) + strings.Repeat(`]`, 10_000)
	tests := []struct {
		name, method, path, body string
		status                   int
		code, field              string
	}{
		// What cannot be read.
		{"no body", "POST", leases, "", 400, "malformed", ""},
		{"blank body", "POST", leases, " \n", 400, "malformed", ""},
		{"not JSON", "POST", leases, "type=host", 400, "malformed", ""},
		{"cut off", "POST", leases, `{"type": "host"`, 400, "malformed", ""},
		{"trailing comma", "POST", leases, `{"type": "host",}`, 400, "malformed", ""},
		{"trailing data", "POST", leases, `{"type": "host"} {}`, 400, "malformed", ""},
		{"a byte order mark", "POST", leases, "\ufeff{\"type\": \"host\"}", 400, "malformed", ""},
		{"a list", "POST", leases, `[{"type": "host"}]`, 400, "malformed", ""},
		{"null", "POST", leases, `null`, 400, "malformed", ""},
		{"a string with NUL", "POST", leases, `"\u0000"`, 400, "malformed", ""},
		{"a NUL byte", "POST", leases, "{\"type\": \"ho\x00st\"}", 400, "malformed", ""},
		{"a control byte", "POST", leases, "{\"type\": \"ho\x01st\"}", 400, "malformed", ""},
		{"invalid UTF-8", "POST", leases, "{\"type\": \"host\", \"owner\": \"\xff\xfe\"}", 400, "malformed", ""},
		{"an encoded surrogate", "POST", leases, "{\"type\": \"host\", \"owner\": \"\xed\xa0\x80\"}", 400, "malformed", ""},
		{"10,000 levels", "POST", leases, `{"type": "host", "data": ` + deep + `}`, 400, "malformed", ""},
		{"10,000 open brackets", "POST", leases, strings.Repeat(`[`, 10_000), 400, "malformed", ""},
		{"33 levels", "POST", leases, strings.Repeat(`{"a":`, 33) + "1" + strings.Repeat(`}`, 33), 400, "malformed", ""},
		{"a broken query", "GET", leases + "?status=%zz", "", 400, "malformed", ""},
		{"a semicolon in the query", "GET", leases + "?status=active;type=host", "", 400, "malformed", ""},

		// Fields of a lease.
		{"unknown field", "POST", leases, `{"type": "host", "color": "red"}`, 422, "invalid", "color"},
		{"field in another case", "POST", leases, `{"Type": "host"}`, 422, "invalid", "Type"},
		{"field twice", "POST", leases, `{"type": "host", "type": "gpu"}`, 422, "invalid", "type"},
		{"attribute twice", "POST", leases, `{"type": "host", "attributes": {"os": "a", "o\u0073": "b"}}`, 422, "invalid", "attributes.os"},
		{"internal field: status", "POST", leases, `{"type": "host", "status": "active"}`, 422, "invalid", "status"},
		{"internal field: id", "POST", leases, `{"type": "host", "id": "` + leaseID + `"}`, 422, "invalid", "id"},
		{"internal field: fence", "POST", leases, `{"type": "host", "fence": 9}`, 422, "invalid", "fence"},
		{"internal field: resource", "POST", leases, `{"type": "host", "resource": "` + resourceID + `"}`, 422, "invalid", "resource"},
		{"no type", "POST", leases, `{}`, 422, "invalid", "type"},
		{"null type", "POST", leases, `{"type": null}`, 422, "invalid", "type"},
		{"type is a number", "POST", leases, `{"type": 7}`, 422, "invalid", "type"},
		{"type is an object", "POST", leases, `{"type": {"a": 1}}`, 422, "invalid", "type"},
		{"type breaks out", "POST", leases, `{"type": "a}:{b"}`, 422, "invalid", "type"},
		{"type with a newline", "POST", leases, `{"type": "host\n"}`, 422, "invalid", "type"},
		{"type too long", "POST", leases, `{"type": "` + strings.Repeat("a", 64) + `"}`, 422, "invalid", "type"},
		{"attributes is a list", "POST", leases, `{"type": "host", "attributes": ["os"]}`, 422, "invalid", "attributes"},
		{"attribute is a number", "POST", leases, `{"type": "host", "attributes": {"ram": 4}}`, 422, "invalid", "attributes.ram"},
		{"attribute is null", "POST", leases, `{"type": "host", "attributes": {"os": null}}`, 422, "invalid", "attributes.os"},
		{"attribute is an object", "POST", leases, `{"type": "host", "attributes": {"os": {}}}`, 422, "invalid", "attributes.os"},
		{"attribute name breaks out", "POST", leases, `{"type": "host", "attributes": {"a:b": "x"}}`, 422, "invalid", "attributes"},
		{"attribute without a name", "POST", leases, `{"type": "host", "attributes": {"": "x"}}`, 422, "invalid", "attributes"},
		{"attribute too long", "POST", leases, `{"type": "host", "attributes": {"os": "` + strings.Repeat("a", 257) + `"}}`, 422, "invalid", "attributes.os"},
		{"attribute with NUL", "POST", leases, `{"type": "host", "attributes": {"os": "a\u0000b"}}`, 422, "invalid", "attributes.os"},
		{"attribute name with NUL", "POST", leases, `{"type": "host", "attributes": {"o\u0000s": "a"}}`, 422, "invalid", "attributes.o?s"},
		{"attribute with a lone surrogate", "POST", leases, `{"type": "host", "attributes": {"os": "\ud800"}}`, 422, "invalid", "attributes.os"},
		{"too many attributes", "POST", leases, `{"type": "host", "attributes": {` + manyAttributes(65) + `}}`, 422, "invalid", "attributes"},
		{"blueprints is a string", "POST", leases, `{"type": "host", "blueprints": "lab"}`, 422, "invalid", "blueprints"},
		{"blueprints of numbers", "POST", leases, `{"type": "host", "blueprints": [1]}`, 422, "invalid", "blueprints"},
		{"blueprint breaks out", "POST", leases, `{"type": "host", "blueprints": ["../lab"]}`, 422, "invalid", "blueprints"},
		{"owner is a list", "POST", leases, `{"type": "host", "owner": []}`, 422, "invalid", "owner"},
		{"owner too long", "POST", leases, `{"type": "host", "owner": "` + strings.Repeat("a", 201) + `"}`, 422, "invalid", "owner"},
		{"owner with an escape", "POST", leases, `{"type": "host", "owner": "\u001b[31m"}`, 422, "invalid", "owner"},
		{"owner with a high surrogate", "POST", leases, `{"type": "host", "owner": "\ud83d"}`, 422, "invalid", "owner"},
		{"owner with a low surrogate", "POST", leases, `{"type": "host", "owner": "\udc00x"}`, 422, "invalid", "owner"},
		{"owner with surrogates in the wrong order", "POST", leases, `{"type": "host", "owner": "\ude00\ud83d"}`, 422, "invalid", "owner"},
		{"owner with half a pair", "POST", leases, `{"type": "host", "owner": "\ud83d\u0041"}`, 422, "invalid", "owner"},
		{"negative ttl", "POST", leases, `{"type": "host", "ttl": "-5m"}`, 422, "invalid", "ttl"},
		{"zero ttl", "POST", leases, `{"type": "host", "ttl": "0s"}`, 422, "invalid", "ttl"},
		{"ttl is a number", "POST", leases, `{"type": "host", "ttl": 60}`, 422, "invalid", "ttl"},
		{"ttl without a unit", "POST", leases, `{"type": "host", "ttl": "60"}`, 422, "invalid", "ttl"},
		{"ttl too long", "POST", leases, `{"type": "host", "ttl": "1000000h"}`, 422, "invalid", "ttl"},
		{"ttl overflows", "POST", leases, `{"type": "host", "ttl": "9999999999h"}`, 422, "invalid", "ttl"},
		{"until has passed", "POST", leases, `{"type": "host", "until": "2030-01-02T15:04:05Z"}`, 422, "invalid", "until"},
		{"until is year one", "POST", leases, `{"type": "host", "until": "0001-01-01T00:00:00Z"}`, 422, "invalid", "until"},
		{"until is too far", "POST", leases, `{"type": "host", "until": "9999-01-01T00:00:00Z"}`, 422, "invalid", "until"},
		{"until is no time", "POST", leases, `{"type": "host", "until": "tomorrow"}`, 422, "invalid", "until"},
		{"until is a number", "POST", leases, `{"type": "host", "until": 1893456000}`, 422, "invalid", "until"},
		{"ttl and until", "POST", leases, `{"type": "host", "ttl": "1m", "until": "2031-01-01T00:00:00Z"}`, 422, "invalid", "ttl"},
		{"priority is a string", "POST", leases, `{"type": "host", "priority": "5"}`, 422, "invalid", "priority"},
		{"priority is a fraction", "POST", leases, `{"type": "host", "priority": 1.5}`, 422, "invalid", "priority"},
		{"priority overflows", "POST", leases, `{"type": "host", "priority": 1e999}`, 422, "invalid", "priority"},
		{"priority too high", "POST", leases, `{"type": "host", "priority": 101}`, 422, "invalid", "priority"},
		{"data too long", "POST", leases, `{"type": "host", "data": "` + strings.Repeat("a", 16<<10) + `"}`, 422, "invalid", "data"},
		{"data with NUL", "POST", leases, `{"type": "host", "data": {"a": ["x", "\u0000"]}}`, 422, "invalid", "data.a[1]"},
		{"data with a name twice", "POST", leases, `{"type": "host", "data": [{"a": 1, "a": 2}]}`, 422, "invalid", "data[0].a"},

		// The query and the path.
		{"namespace breaks out", "POST", leases + "?namespace=a%7D:%7Bb", `{"type": "host"}`, 422, "invalid", "namespace"},
		{"namespace with NUL", "GET", leases + "?namespace=a%00", "", 422, "invalid", "namespace"},
		{"namespace is empty", "GET", leases + "?namespace=", "", 422, "invalid", "namespace"},
		{"namespace twice", "GET", leases + "?namespace=a&namespace=b", "", 422, "invalid", "namespace"},
		{"namespace with a star", "GET", "/v1/blueprints?namespace=*", "", 422, "invalid", "namespace"},
		{"unknown parameter", "GET", leases + "?state=active", "", 422, "invalid", "state"},
		{"unknown parameter of a POST", "POST", leases + "?wait=active", `{"type": "host"}`, 422, "invalid", "wait"},
		{"unknown status", "GET", leases + "?status=gone", "", 422, "invalid", "status"},
		{"status of the other kind", "GET", "/v1/resources?status=acquired", "", 422, "invalid", "status"},
		{"bad type filter", "GET", leases + "?type=A%3AB", "", 422, "invalid", "type"},
		{"bad resource filter", "GET", leases + "?resource=*", "", 422, "invalid", "resource"},
		{"bad owner filter", "GET", leases + "?owner=%ff", "", 422, "invalid", "owner"},
		{"bad blueprint filter", "GET", "/v1/resources?blueprint=a%2Fb", "", 422, "invalid", "blueprint"},
		{"limit is zero", "GET", leases + "?limit=0", "", 422, "invalid", "limit"},
		{"limit is too large", "GET", leases + "?limit=501", "", 422, "invalid", "limit"},
		{"limit is a word", "GET", leases + "?limit=all", "", 422, "invalid", "limit"},
		{"bad cursor", "GET", leases + "?after=%00", "", 422, "invalid", "after"},
		{"foreign cursor", "GET", leases + "?after=foreign", "", 422, "invalid", "after"},
		{"long cursor", "GET", leases + "?after=" + strings.Repeat("a", 401), "", 422, "invalid", "after"},
		{"unknown state to wait for", "GET", leases + "/" + leaseID + "?wait=done", "", 422, "invalid", "wait"},
		{"lease state for a resource", "GET", "/v1/resources/" + resourceID + "?wait=acquired", "", 422, "invalid", "wait"},
		{"timeout without a unit", "GET", leases + "/" + leaseID + "?wait=active&timeout=30", "", 422, "invalid", "timeout"},
		{"negative timeout", "GET", leases + "/" + leaseID + "?wait=active&timeout=-1s", "", 422, "invalid", "timeout"},
		{"timeout too long", "GET", leases + "/" + leaseID + "?wait=active&timeout=5m1s", "", 422, "invalid", "timeout"},
		{"malformed id", "GET", leases + "/nope", "", 404, "not_found", ""},
		{"id is a pattern", "GET", leases + "/*", "", 404, "not_found", ""},
		{"id breaks out", "GET", leases + "/" + leaseID + "%3Acommands", "", 404, "not_found", ""},
		{"id in upper case", "POST", leases + "/" + strings.ToUpper(leaseID) + "/release", "", 404, "not_found", ""},
		{"id with a slash", "GET", "/v1/resources/a%2Fb", "", 404, "not_found", ""},
		{"malformed blueprint name", "GET", "/v1/blueprints/A%20B", "", 404, "not_found", ""},

		// Commands.
		{"release with an unknown field", "POST", release, `{"force": true}`, 422, "invalid", "force"},
		{"release of a list", "POST", release, `[]`, 400, "malformed", ""},
		{"reason is a number", "POST", release, `{"reason": 1}`, 422, "invalid", "reason"},
		{"reason too long", "POST", release, `{"reason": "` + strings.Repeat("a", 1001) + `"}`, 422, "invalid", "reason"},
		{"no command", "POST", commands, `{}`, 422, "invalid", "command"},
		{"empty body for a command", "POST", commands, ``, 400, "malformed", ""},
		{"unknown command", "POST", commands, `{"command": "explode"}`, 422, "invalid", "command"},
		{"misplaced command", "POST", commands, `{"command": "reclaim"}`, 422, "invalid", "command"},
		{"misplaced pause", "POST", commands, `{"command": "pause"}`, 422, "invalid", "command"},
		{"arguments for release", "POST", commands, `{"command": "release", "args": {"now": true}}`, 422, "invalid", "args"},
		{"arguments that are a list", "POST", resourceCommands, `{"command": "pause", "args": [1]}`, 422, "invalid", "args"},
		{"extend without arguments", "POST", commands, `{"command": "extend"}`, 422, "invalid", "args"},
		{"extend by nothing", "POST", commands, `{"command": "extend", "args": {"ttl": "0s"}}`, 422, "invalid", "args"},
		{"extend backwards", "POST", commands, `{"command": "extend", "args": {"ttl": "-1h"}}`, 422, "invalid", "args.ttl"},
		{"extend to the past", "POST", commands, `{"command": "extend", "args": {"until": "2020-01-01T00:00:00Z"}}`, 422, "invalid", "args.until"},
		{"extend with an unknown argument", "POST", commands, `{"command": "extend", "args": {"ttl": "1h", "x": 1}}`, 422, "invalid", "args"},
		{"extend with an argument twice", "POST", commands, `{"command": "extend", "args": {"ttl": "1h", "ttl": "2h"}}`, 422, "invalid", "args.ttl"},

		// Blueprints.
		{"name breaks out", "PUT", "/v1/blueprints/a%7D%3Ab", `{"kind": "pool", "type": "host"}`, 422, "invalid", "name"},
		{"blueprint with an unknown field", "PUT", "/v1/blueprints/lab", `{"kind": "pool", "type": "host", "rev": 3}`, 422, "invalid", "rev"},
		{"blueprint without a kind", "PUT", "/v1/blueprints/lab", `{"type": "host"}`, 422, "invalid", "kind"},
		{"blueprint without a type", "PUT", "/v1/blueprints/lab", `{"kind": "pool"}`, 422, "invalid", "type"},
		{"negative limit", "PUT", "/v1/blueprints/lab", `{"kind": "pool", "type": "host", "limit": -1}`, 422, "invalid", "limit"},
		{"on is a string", "PUT", "/v1/blueprints/lab", `{"kind": "pool", "type": "host", "on": "rack"}`, 422, "invalid", "on"},
		{"on without a type", "PUT", "/v1/blueprints/lab", `{"kind": "pool", "type": "host", "on": {}}`, 422, "invalid", "on.type"},
		{"on with a type that is a number", "PUT", "/v1/blueprints/lab", `{"kind": "pool", "type": "host", "on": {"type": 1}}`, 422, "invalid", "on.type"},
		{"on its own type", "PUT", "/v1/blueprints/lab", `{"kind": "pool", "type": "host", "on": {"type": "host"}}`, 422, "invalid", "on.type"},
		{"on with an attribute that is null", "PUT", "/v1/blueprints/lab", `{"kind": "pool", "type": "host", "on": {"type": "rack", "attributes": {"os": null}}}`, 422, "invalid", "on.attributes.os"},
		{"on with blueprints of numbers", "PUT", "/v1/blueprints/lab", `{"kind": "pool", "type": "host", "on": {"type": "rack", "blueprints": [1]}}`, 422, "invalid", "on.blueprints"},
		{"on with an unknown field", "PUT", "/v1/blueprints/lab", `{"kind": "pool", "type": "host", "on": {"type": "rack", "owner": "me"}}`, 422, "invalid", "on.owner"},
		{"on with a field twice", "PUT", "/v1/blueprints/lab", `{"kind": "pool", "type": "host", "on": {"type": "rack", "type": "row"}}`, 422, "invalid", "on.type"},
		{"enabled is a string", "PUT", "/v1/blueprints/lab", `{"kind": "pool", "type": "host", "enabled": "yes"}`, 422, "invalid", "enabled"},
		{"min_idle is negative", "PUT", "/v1/blueprints/lab", `{"kind": "pool", "type": "host", "min_idle": -1}`, 422, "invalid", "min_idle"},
		{"min_idle is more than limit", "PUT", "/v1/blueprints/lab", `{"kind": "pool", "type": "host", "limit": 1, "min_idle": 2}`, 422, "invalid", "min_idle"},
		{"min_idle is a string", "PUT", "/v1/blueprints/lab", `{"kind": "pool", "type": "host", "min_idle": "1"}`, 422, "invalid", "min_idle"},
		{"max_idle_age is zero", "PUT", "/v1/blueprints/lab", `{"kind": "pool", "type": "host", "max_idle_age": "0s"}`, 422, "invalid", "max_idle_age"},
		{"max_idle_age is a number", "PUT", "/v1/blueprints/lab", `{"kind": "pool", "type": "host", "max_idle_age": 60}`, 422, "invalid", "max_idle_age"},
		{"quota is too large", "PUT", "/v1/blueprints/lab", `{"kind": "pool", "type": "host", "quota": 1000001}`, 422, "invalid", "quota"},
		{"quota is a fraction", "PUT", "/v1/blueprints/lab", `{"kind": "pool", "type": "host", "quota": 1.5}`, 422, "invalid", "quota"},
		{"authorize is another word", "PUT", "/v1/blueprints/lab", `{"kind": "pool", "type": "host", "authorize": "nobody"}`, 422, "invalid", "authorize"},
		{"authorize has nobody in it", "PUT", "/v1/blueprints/lab", `{"kind": "pool", "type": "host", "authorize": [""]}`, 422, "invalid", "authorize"},
		{"authorize lists an escape", "PUT", "/v1/blueprints/lab", `{"kind": "pool", "type": "host", "authorize": ["\u001b"]}`, 422, "invalid", "authorize"},
		{"authorize is a number", "PUT", "/v1/blueprints/lab", `{"kind": "pool", "type": "host", "authorize": 1}`, 422, "invalid", "authorize"},
		{"config is a list", "PUT", "/v1/blueprints/lab", `{"kind": "pool", "type": "host", "config": []}`, 422, "invalid", "config"},

		// Data.
		{"no data", "PUT", data, ``, 400, "malformed", ""},
		{"data that are not said", "PUT", data, `{}`, 422, "invalid", "data"},
		{"data that are too long", "PUT", data, `{"data": "` + strings.Repeat("a", 16<<10) + `"}`, 422, "invalid", "data"},
		{"a rev in the body", "PUT", data, `{"data": 1, "rev": 2}`, 422, "invalid", "rev"},
		{"data too deep", "PUT", data, `{"data": ` + deep + `}`, 400, "malformed", ""},
		{"data of what is no id", "PUT", leases + "/x/data", `{"data": 1}`, 404, "not_found", ""},
		{"data of what is no id either", "GET", "/v1/resources/x/data", "", 404, "not_found", ""},

		// An operator's word.
		{"no word", "POST", authorizations, ``, 400, "malformed", ""},
		{"an unknown field", "POST", authorizations, `{"owner": "ada", "status": "approved", "until": null}`, 422, "invalid", "until"},
		{"no owner", "POST", authorizations, `{"status": "approved"}`, 422, "invalid", "owner"},
		{"an owner that is empty", "POST", authorizations, `{"owner": "", "status": "approved"}`, 422, "invalid", "owner"},
		{"an owner that is a list", "POST", authorizations, `{"owner": ["ada"], "status": "approved"}`, 422, "invalid", "owner"},
		{"an owner that is too long", "POST", authorizations, `{"owner": "` + strings.Repeat("a", 201) + `", "status": "approved"}`, 422, "invalid", "owner"},
		{"no status", "POST", authorizations, `{"owner": "ada"}`, 422, "invalid", "status"},
		{"a status that is not for operators", "POST", authorizations, `{"owner": "ada", "status": "requested"}`, 422, "invalid", "status"},
		{"a status in another case", "POST", authorizations, `{"owner": "ada", "status": "Approved"}`, 422, "invalid", "status"},
		{"a reason that is too long", "POST", authorizations, `{"owner": "ada", "status": "declined", "reason": "` + strings.Repeat("a", 1001) + `"}`, 422, "invalid", "reason"},
		{"a name that is none", "POST", "/v1/blueprints/La%20b/authorizations", `{"owner": "ada", "status": "approved"}`, 404, "not_found", ""},
		{"a filter of another status", "GET", "/v1/authorizations?status=active", "", 422, "invalid", "status"},
		{"a filter of no blueprint", "GET", "/v1/authorizations?blueprint=a:b", "", 422, "invalid", "blueprint"},
	}
	a := newAPI(t, &fakeStore{})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := a.do(tt.method, tt.path, tt.body)
			p := got.problem(t)
			if got.status != tt.status || p.Code != tt.code || string(p.Field) != tt.field {
				t.Errorf("%s %s %.80q = %d %s field %q (%s), want %d %s field %q",
					tt.method, tt.path, tt.body, got.status, p.Code, p.Field, p.Detail, tt.status, tt.code, tt.field)
			}
			if tt.field != "" && !strings.HasPrefix(p.Detail, tt.field+": ") {
				t.Errorf("detail %q does not name the field %q", p.Detail, tt.field)
			}
			if len(p.Detail) > 500 {
				t.Errorf("detail has %d bytes: %.100q…", len(p.Detail), p.Detail)
			}
		})
	}
	if refs := a.tasks.enqueued(); len(refs) > 0 {
		t.Errorf("tasks were enqueued for %v", refs)
	}
}

func manyAttributes(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"a%d":"x"`, i)
	}
	return b.String()[1:]
}

func TestBadHeadersNeverReachTheStore(t *testing.T) {
	t.Parallel()
	release := "/v1/leases/" + leaseID + "/release"
	tests := []struct {
		name, path, body, header string
		status                   int
		code, field              string
	}{
		{"plain text", "/v1/leases", `{"type": "host"}`, "Content-Type: text/plain", 415, "unsupported_media_type", ""},
		{"multipart", "/v1/leases", `{"type": "host"}`, "Content-Type: multipart/form-data; boundary=x", 415, "unsupported_media_type", ""},
		{"unreadable content type", "/v1/leases", `{"type": "host"}`, "Content-Type: ;;", 415, "unsupported_media_type", ""},
		{"compressed", "/v1/leases", `{"type": "host"}`, "Content-Encoding: gzip", 415, "unsupported_media_type", ""},
		{"empty key", "/v1/leases", `{"type": "host"}`, "Idempotency-Key: ", 422, "invalid", "Idempotency-Key"},
		{"long key", release, ``, "Idempotency-Key: " + strings.Repeat("k", 201), 422, "invalid", "Idempotency-Key"},
		{"key outside ASCII", release, ``, "Idempotency-Key: schlüssel", 422, "invalid", "Idempotency-Key"},
		{"author is us", release, ``, "Drydock-Author: drydock", 422, "invalid", "Drydock-Author"},
		{"long author", release, ``, "Drydock-Author: " + strings.Repeat("a", 201), 422, "invalid", "Drydock-Author"},
		{"author in Latin-1", release, ``, "Drydock-Author: J\xfcrgen", 422, "invalid", "Drydock-Author"},
		{"a form on another site", release, ``, "Sec-Fetch-Site: cross-site", 403, "forbidden", ""},
		{"another origin", release, ``, "Origin: https://evil.example", 403, "forbidden", ""},
	}
	a := newAPI(t, &fakeStore{})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := a.do(http.MethodPost, tt.path, tt.body, tt.header)
			if p := got.problem(t); got.status != tt.status || p.Code != tt.code || string(p.Field) != tt.field {
				t.Errorf("%s = %d %s field %q (%s), want %d %s field %q", tt.header, got.status, p.Code, p.Field, p.Detail, tt.status, tt.code, tt.field)
			}
		})
	}
}

func TestTwoIdempotencyKeysAreRefused(t *testing.T) {
	t.Parallel()
	a := newAPI(t, &fakeStore{})
	got := a.do(http.MethodPost, "/v1/leases", `{"type": "host"}`, "Idempotency-Key: a", "Idempotency-Key: b")
	if p := got.problem(t); got.status != http.StatusUnprocessableEntity || p.Field != "Idempotency-Key" {
		t.Errorf("two keys = %d %s", got.status, got.body)
	}
}

// TestLargeBodyGetsAClean413: the client writes all of its 10 MB before it looks, and still reads the answer.
func TestLargeBodyGetsAClean413(t *testing.T) {
	t.Parallel()
	a := newAPI(t, &fakeStore{})
	large := bytes.Repeat([]byte(`{"type": "`), 1<<20)
	check := func(t *testing.T, got answer) {
		t.Helper()
		if p := got.problem(t); got.status != http.StatusRequestEntityTooLarge || p.Code != "too_large" {
			t.Errorf("10 MB = %d %s", got.status, got.body)
		}
	}
	t.Run("with a length", func(t *testing.T) {
		check(t, a.doReader(http.MethodPost, "/v1/leases", bytes.NewReader(large)))
	})
	t.Run("in chunks", func(t *testing.T) {
		check(t, a.doReader(http.MethodPost, "/v1/leases/"+leaseID+"/release", io.MultiReader(bytes.NewReader(large))))
	})
	t.Run("a blueprint", func(t *testing.T) {
		check(t, a.doReader(http.MethodPut, "/v1/blueprints/lab", bytes.NewReader(large)))
	})
	t.Run("written to the end first", func(t *testing.T) {
		conn, err := net.Dial("tcp", a.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "POST /v1/leases HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", len(large))
		if _, err := conn.Write(large); err != nil {
			t.Fatalf("write the body: %v", err)
		}
		got, err := io.ReadAll(conn)
		if err != nil || !bytes.HasPrefix(got, []byte("HTTP/1.1 413 ")) {
			t.Errorf("answer %.200q, error %v; want a 413", got, err)
		}
	})
}

// TestBodyOfOneMebibyteIsRead: the limit itself is still inside.
func TestBodyOfOneMebibyteIsRead(t *testing.T) {
	t.Parallel()
	a := newAPI(t, &fakeStore{})
	body := `{"type": "host", "owner": 1}`
	for pad, want := range map[int]int{0: http.StatusUnprocessableEntity, 1: http.StatusRequestEntityTooLarge} {
		got := a.do(http.MethodPost, "/v1/leases", body+strings.Repeat(" ", 1<<20-len(body)+pad))
		if got.status != want {
			t.Errorf("1 MiB and %d bytes = %d, want %d", pad, got.status, want)
		}
	}
}

// TestNamesTheCallerInventsDoNotFloodTheAnswer: a field name of half a megabyte comes back shortened.
func TestNamesTheCallerInventsDoNotFloodTheAnswer(t *testing.T) {
	t.Parallel()
	a := newAPI(t, &fakeStore{})
	for _, body := range []string{
		`{"` + strings.Repeat("a", 1<<19) + `": 1}`,
		`{"type": "host", "attributes": {"` + strings.Repeat("a", 1<<19) + `": 1}}`,
		`{"type": "host", "data": {"` + strings.Repeat("a", 1<<19) + `": "\u0000"}}`,
	} {
		got := a.do(http.MethodPost, "/v1/leases", body)
		if got.status != http.StatusUnprocessableEntity || len(got.body) > 1000 {
			t.Errorf("%.60q = %d with %d bytes", body, got.status, len(got.body))
		}
	}
}

func TestWhatCurlSendsIsAccepted(t *testing.T) {
	t.Parallel()
	var got []model.NewLease
	a := newAPI(t, &fakeStore{blueprints: someBlueprints, createLease: createLease(&got)})
	for _, header := range []string{
		"Content-Type: application/x-www-form-urlencoded", "Content-Type: application/json; charset=utf-8",
		"Content-Type: application/merge-patch+json", "X-Nothing: nothing",
	} {
		if a := a.do(http.MethodPost, "/v1/leases", `{"type": "host", "owner": "\ud83d\ude00"}`, header); a.status != http.StatusAccepted {
			t.Errorf("%s = %d %s, want 202", header, a.status, a.body)
		}
	}
	for _, n := range got {
		if n.Owner != "😀" {
			t.Errorf("owner = %q, want the pair of surrogates as one character", n.Owner)
		}
	}
}

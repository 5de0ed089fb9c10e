package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"drydock/model"
	"drydock/store"
)

// logLines are the lines that a process has logged in JSON; every line must be one object.
func logLines(t *testing.T, p *process) []map[string]any {
	t.Helper()
	var lines []map[string]any
	for text := range strings.Lines(p.out.String()) {
		var line map[string]any
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Errorf("%s logs a line that is no JSON object: %s", p, text)
			continue
		}
		for _, field := range []string{"time", "level", "msg"} {
			if s, ok := line[field].(string); !ok || s == "" {
				t.Errorf("%s logs a line without %s: %s", p, field, text)
			}
		}
		lines = append(lines, line)
	}
	return lines
}

// find returns the lines whose fields have these values.
func find(lines []map[string]any, want map[string]any) (found []map[string]any) {
next:
	for _, line := range lines {
		for field, value := range want {
			if line[field] != value {
				continue next
			}
		}
		found = append(found, line)
	}
	return found
}

// TestLogLinesNameTheObjectAndTheRequest: a request's lines in the log of the API and those of the update that did what it asked for can be
// found by the request's id, and all lines about an object by the object.
func TestLogLinesNameTheObjectAndTheRequest(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	args := []string{"--log-format", "json", "--log-level", "debug", "--redis", server.URL()}
	api := start(t, nil, append([]string{"api", "--listen", "127.0.0.1:0"}, args...)...)
	worker := start(t, nil, append([]string{"worker", "--lock-ttl", "1s"}, args...)...)
	worker.says("worker is running")
	c := newClient(t, api.says(`serving the API","url":"(http://[^"]+)"`)[1])
	c.pool(1, 0)
	l := must[lease](c, http.MethodPost, "/v1/leases", `{"type": "host"}`, http.StatusAccepted, "X-Request-Id", "ask-1")
	c.await(l.ID, "active")
	resource := deref(c.lease(l.ID).Resource)
	must[sent](c, http.MethodPost, "/v1/leases/"+l.ID+"/release", "", http.StatusAccepted, "X-Request-Id", "release-1")
	c.await(l.ID, "destroyed")
	if a, err := c.do(t.Context(), http.MethodPost, "/v1/resources/"+resource+"/commands", `{"command": "pause"}`, "X-Request-Id", "pause-1"); err != nil || a.status != 202 {
		t.Fatalf("pause: %d, %v", a.status, err)
	}
	// Somebody else has the lock of the resource.
	key := store.LockKey(model.ResourceRef(namespaceOf(t), resource))
	eventually(t, func() error {
		if lines := find(logLines(t, worker), map[string]any{"request_id": "pause-1"}); len(lines) != 1 {
			return fmt.Errorf("the worker logs %v of the pause", lines)
		}
		return nil
	})
	if err := server.Set(t.Context(), key, "somebody", 0).Err(); err != nil {
		t.Fatal(err)
	}
	must[any](c, http.MethodPost, "/v1/resources/"+resource+"/commands", `{"command": "unpause"}`, http.StatusAccepted)
	worker.says("lock is busy")
	api.end(syscall.SIGTERM)
	worker.end(syscall.SIGTERM)

	ofLease, ofResource := namespaceOf(t)+"/lease/"+l.ID, namespaceOf(t)+"/resource/"+resource
	apiLines, workerLines := logLines(t, api), logLines(t, worker)
	for _, want := range []map[string]any{
		{"msg": "request", "request_id": "ask-1", "object": ofLease, "method": "POST"},
		{"msg": "request", "request_id": "release-1", "object": ofLease},
		{"msg": "request", "request_id": "pause-1", "object": ofResource},
	} {
		if n := len(find(apiLines, want)); n != 1 {
			t.Errorf("the API logs %d lines with %v, want 1", n, want)
		}
	}
	for _, want := range []map[string]any{
		{"msg": "command consumed", "request_id": "release-1", "object": ofLease, "command": "release", "outcome": "applied"},
		{"msg": "command consumed", "request_id": "pause-1", "object": ofResource, "command": "pause", "outcome": "applied"},
	} {
		if n := len(find(workerLines, want)); n != 1 {
			t.Errorf("the worker logs %d lines with %v, want 1", n, want)
		}
	}
	if n := len(find(workerLines, map[string]any{"msg": "lock is busy", "object": ofResource})); n == 0 {
		t.Error("the worker logs a busy lock without its object")
	}
	for _, line := range append(apiLines, workerLines...) {
		text, _ := json.Marshal(line)
		if _, ok := line["request_id"]; line["msg"] == "request" && !ok {
			t.Errorf("a request's line has no request_id: %s", text)
		}
		// Whatever mentions an object by its id says so in the field.
		for _, id := range []string{l.ID, resource} {
			if object, _ := line["object"].(string); strings.Contains(string(text), id) && !strings.HasSuffix(object, "/"+id) {
				t.Errorf("a line about %s does not have it as its object: %s", id, text)
			}
		}
	}
}

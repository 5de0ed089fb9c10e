package e2e_test

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	spans "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// traceCollector takes spans over OTLP, as a real collector does.
type traceCollector struct {
	url string

	mu    sync.Mutex
	spans []*spans.Span
}

func newTraceCollector(t *testing.T) *traceCollector {
	t.Helper()
	c := &traceCollector{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var req collector.ExportTraceServiceRequest
		if r.URL.Path != "/v1/traces" || proto.Unmarshal(body, &req) != nil {
			http.Error(w, "that is no trace", http.StatusBadRequest)
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, resource := range req.GetResourceSpans() {
			for _, scope := range resource.GetScopeSpans() {
				c.spans = append(c.spans, scope.GetSpans()...)
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(server.Close)
	c.url = server.URL
	return c
}

// of returns the spans of a trace by id.
func (c *traceCollector) of(trace string) map[string]*spans.Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	found := map[string]*spans.Span{}
	for _, s := range c.spans {
		if hex.EncodeToString(s.GetTraceId()) == trace {
			found[hex.EncodeToString(s.GetSpanId())] = s
		}
	}
	return found
}

// path names a span and those above it, up to one that is not among the spans: "hook release < update lease < POST …".
func path(all map[string]*spans.Span, id string) (names string, top string) {
	var list []string
	for all[id] != nil {
		list = append(list, all[id].GetName())
		id = hex.EncodeToString(all[id].GetParentSpanId())
	}
	return strings.Join(list, " < "), id
}

const tracedHook = `#!/bin/sh
echo "$DRYDOCK_STEP $TRACEPARENT" >>"$RECORD"
`

// startTraced starts an API and a worker that export their spans to the collector, and may run a hook that records its traceparent.
func startTraced(t *testing.T) (c *traceCollector, cl *client, script, record string) {
	t.Helper()
	c = newTraceCollector(t)
	server := startRedis(t)
	folder := t.TempDir()
	script, record = filepath.Join(folder, "hook.sh"), filepath.Join(folder, "record")
	if err := os.WriteFile(script, []byte(tracedHook), 0o700); err != nil {
		t.Fatal(err)
	}
	env := []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + c.url, "OTEL_BSP_SCHEDULE_DELAY=20", "DRYDOCK_REDIS_URL=" + server.URL()}
	api := start(t, env, "api", "--listen", "127.0.0.1:0", "--hook-folder", folder)
	start(t, env, "worker", "--hook-folder", folder).says("worker is running")
	return c, newClient(t, api.says(`serving the API" url=(http://\S+)`)[1]), script, record
}

// TestOneTraceFromTheRequestToTheHook: a caller's traceparent comes in with a release; the API, which stores it with the command, and the
// worker, another process, export their spans of the same trace, and the hook is told to which span it belongs. The same for a lease from
// its request until it is active, over the resource that is made for it.
func TestOneTraceFromTheRequestToTheHook(t *testing.T) {
	t.Parallel()
	c, cl, script, record := startTraced(t)
	body, _ := json.Marshal(map[string]any{"kind": "exec", "type": "host", "limit": 1, "config": map[string]any{
		"commands": map[string]any{"activate": []string{script}, "activate_lease": []string{script}, "release_lease": []string{script}},
		"env":      map[string]string{"RECORD": record},
	}})
	must[any](cl, http.MethodPut, "/v1/blueprints/made", string(body), http.StatusCreated)

	const asking, releasing, caller = "11111111111111111111111111111111", "22222222222222222222222222222222", "00f067aa0ba902b7"
	l := must[lease](cl, http.MethodPost, "/v1/leases", `{"type": "host"}`, http.StatusAccepted, "traceparent", "00-"+asking+"-"+caller+"-01")
	cl.await(l.ID, "active")
	must[sent](cl, http.MethodPost, "/v1/leases/"+l.ID+"/release", "", http.StatusAccepted, "traceparent", "00-"+releasing+"-"+caller+"-01")
	cl.await(l.ID, "destroyed")

	text, err := os.ReadFile(record)
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]string{} // step → the span that the hook was told of
	for line := range strings.Lines(string(text)) {
		step, parent, _ := strings.Cut(strings.TrimSpace(line), " ")
		told[step] = parent
	}
	for step, want := range map[string]struct{ trace, path string }{
		"release_lease":  {releasing, "hook release < update lease < update lease < POST /v1/leases/:id/release"},
		"activate":       {asking, "hook activate < update resource < update lease < POST /v1/leases"},
		"activate_lease": {asking, "hook activate < update lease < POST /v1/leases"},
	} {
		parts := strings.Split(told[step], "-")
		if len(parts) != 4 || parts[1] != want.trace {
			t.Errorf("the hook of %s was told %q, want the trace %s", step, told[step], want.trace)
			continue
		}
		eventually(t, func() error {
			all := c.of(want.trace)
			if got, top := path(all, parts[2]); got != want.path || top != caller {
				return fmt.Errorf("the hook of %s hangs below %q, below %s; want %q, below the caller's %s", step, got, top, want.path, caller)
			}
			for id := range all {
				if names, top := path(all, id); top != caller {
					return fmt.Errorf("the span %q does not hang below the caller's, but below %s", names, top)
				}
			}
			return nil
		})
	}
	all := c.of(releasing)
	var names []string
	for id := range all {
		name, _ := path(all, id)
		names = append(names, name)
	}
	if text := strings.Join(names, "\n"); !strings.Contains(text, "store apply lease < update lease") {
		t.Errorf("the trace of the release has no span for the writes of its update:\n%s", text)
	}
	if answer := string(must[json.RawMessage](cl, http.MethodGet, "/v1/leases/"+l.ID+"/commands", "", http.StatusOK)); strings.Contains(answer, releasing) {
		t.Errorf("the API shows the trace: %s", answer)
	}
}

// TestNothingIsTracedUnlessAsked: without a collector no hook is told of a trace, whatever the caller says.
func TestNothingIsTracedUnlessAsked(t *testing.T) {
	t.Parallel()
	h := startHooked(t)
	h.openGate()
	script := filepath.Join(h.folder, "activate.sh")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho \"begin [$TRACEPARENT]\" >>\"$RECORD/runs\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	h.worker()
	l := must[lease](h.client, http.MethodPost, "/v1/leases", `{"type": "host"}`, http.StatusAccepted,
		"traceparent", "00-11111111111111111111111111111111-00f067aa0ba902b7-01")
	h.await(l.ID, "active")
	if got := h.awaitRuns("begin", 1); got[0] != "[]" {
		t.Errorf("the hook was told of the trace %s", got[0])
	}
}

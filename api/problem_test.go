package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"drydock/model"
)

// request is one good request.
type request struct{ method, path, body string }

// goodRequests has one for each route that needs the store.
func goodRequests() map[string]request {
	out := map[string]request{
		"POST /v1/leases":             {"POST", "/v1/leases", `{"type": "host"}`},
		"GET /v1/leases":              {"GET", "/v1/leases", ""},
		`POST /v1/leases\:release`:    {"POST", "/v1/leases:release", `{"ids": ["` + leaseID + `"]}`},
		"GET /v1/leases/:id":          {"GET", "/v1/leases/" + leaseID, ""},
		"GET /v1/resources":           {"GET", "/v1/resources", ""},
		"GET /v1/resources/:id":       {"GET", "/v1/resources/" + resourceID, ""},
		"GET /v1/blueprints":          {"GET", "/v1/blueprints", ""},
		"GET /v1/blueprints/:name":    {"GET", "/v1/blueprints/lab", ""},
		"PUT /v1/blueprints/:name":    {"PUT", "/v1/blueprints/lab", `{"kind": "pool", "type": "host"}`},
		"DELETE /v1/blueprints/:name": {"DELETE", "/v1/blueprints/lab", ""},
		"GET /readyz":                 {"GET", "/readyz", ""},
		"GET /v1/events":              {"GET", "/v1/events", ""},
		"GET /v1/subscriptions":       {"GET", "/v1/subscriptions", ""},
		"GET /v1/subscriptions/:name": {"GET", "/v1/subscriptions/ci", ""},
		"PUT /v1/subscriptions/:name": {
			"PUT", "/v1/subscriptions/ci", `{"url": "https://example.org/", "secret": "sixteen bytes or more"}`,
		},
		"DELETE /v1/subscriptions/:name":                  {"DELETE", "/v1/subscriptions/ci", ""},
		"GET /v1/subscriptions/:name/dead-letters":        {"GET", "/v1/subscriptions/ci/dead-letters", ""},
		"POST /v1/subscriptions/:name/dead-letters/retry": {"POST", "/v1/subscriptions/ci/dead-letters/retry", ""},
		"GET /v1/authorizations":                          {"GET", "/v1/authorizations", ""},
		"POST /v1/blueprints/:name/authorizations": {
			"POST", "/v1/blueprints/lab/authorizations", `{"owner": "ada", "status": "approved"}`,
		},
	}
	for _, kind := range []string{"leases", "resources"} {
		route, path := "/v1/"+kind+"/:id", "/v1/"+kind+"/"+leaseID
		out["POST "+route+"/release"] = request{"POST", path + "/release", ""}
		out["POST "+route+"/commands"] = request{"POST", path + "/commands", `{"command": "release"}`}
		out["PUT "+route+"/data"] = request{"PUT", path + "/data", `{"data": {"n": 1}}`}
		for _, list := range []string{"/commands", "/logs", "/slots", "/data"} {
			out["GET "+route+list] = request{"GET", path + list, ""}
		}
	}
	return out
}

// TestRedisDownIs503OnEveryRoute is scenario 34: never 404, never an empty list, and no address of ours in the answer.
func TestRedisDownIs503OnEveryRoute(t *testing.T) {
	t.Parallel()
	a := newAPI(t, &fakeStore{down: model.Unavailable(errors.New("dial tcp 10.1.2.3:6379: connection refused"))})
	good := goodRequests()
	for _, r := range a.api.echo.Routes() {
		name := r.Method + " " + r.Path
		if !strings.HasPrefix(r.Path, "/v1/") && r.Path != "/readyz" || r.Method == "echo_route_not_found" {
			continue
		}
		req, ok := good[name]
		if !ok {
			t.Errorf("goodRequests lacks %s", name)
			continue
		}
		paths := []string{req.path}
		if strings.HasSuffix(r.Path, "/:id") {
			paths = append(paths, req.path+"?wait=active")
		}
		for _, path := range paths {
			got := a.do(req.method, path, req.body, "Idempotency-Key: k")
			p := got.problem(t)
			if got.status != http.StatusServiceUnavailable || p.Code != "unavailable" || got.header.Get("Retry-After") == "" {
				t.Errorf("%s %s = %d %s, Retry-After %q", req.method, path, got.status, got.body, got.header.Get("Retry-After"))
			}
			if strings.Contains(string(got.body), "10.1.2.3") {
				t.Errorf("%s %s tells what is inside: %s", req.method, path, got.body)
			}
		}
	}
	if !strings.Contains(a.log.String(), "10.1.2.3") {
		t.Error("the log does not say what was wrong")
	}
	if got := a.do(http.MethodGet, "/healthz", ""); got.status != http.StatusOK {
		t.Errorf("/healthz = %d", got.status)
	}
}

func TestEveryErrorHasItsStatus(t *testing.T) {
	t.Parallel()
	secret := "secret of the house"
	tests := []struct {
		name   string
		err    error
		status int
		code   string
	}{
		{"not found", model.ErrLeaseNotFound, 404, "not_found"},
		{"wrapped", fmt.Errorf("read lease x: %w", model.ErrLeaseNotFound), 404, "not_found"},
		{"invalid", model.Invalid("after", "is no cursor"), 422, "invalid"},
		{"malformed", model.Errorf(model.ErrorMalformed, "x"), 400, "malformed"},
		{"conflict", model.ErrStaleWriter, 409, "conflict"},
		{"precondition", model.Errorf(model.ErrorPrecondition, "the rev is 3"), 412, "precondition_failed"},
		{"forbidden", model.Errorf(model.ErrorForbidden, "x"), 403, "forbidden"},
		{"unknown outcome", model.Errorf(model.ErrorUnknown, "x"), 503, "outcome_unknown"},
		{"internal", model.Errorf(model.ErrorInternal, "%s", secret), 500, "internal"},
		{"any error", errors.New(secret), 500, "internal"},
		{"a kind that nobody knows", model.Errorf("surprise", "%s", secret), 500, "internal"},
		{"cause", &model.Error{Kind: model.ErrorConflict, Message: "x", Cause: errors.New(secret)}, 409, "conflict"},
		{"out of time", fmt.Errorf("read: %w", context.DeadlineExceeded), 503, "unavailable"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := newAPI(t, &fakeStore{lease: func(context.Context, string, string) (*model.Lease, error) { return nil, tt.err }})
			got := a.do(http.MethodGet, "/v1/leases/"+leaseID, "")
			if p := got.problem(t); got.status != tt.status || p.Code != tt.code {
				t.Errorf("= %d %s, want %d %s", got.status, p.Code, tt.status, tt.code)
			}
			if strings.Contains(string(got.body), secret) {
				t.Errorf("the answer tells too much: %s", got.body)
			}
			if (tt.status == http.StatusServiceUnavailable) != (got.header.Get("Retry-After") != "") {
				t.Errorf("Retry-After of %d = %q", got.status, got.header.Get("Retry-After"))
			}
			want := `"code":"` + tt.code + `"`
			if tt.status >= http.StatusInternalServerError {
				want = tt.err.Error()
			}
			if log := a.log.String(); !strings.Contains(log, fixedID) || !strings.Contains(log, want) {
				t.Errorf("the log does not tell %s: %s", want, log)
			}
		})
	}
}

// TestWriteThatRanOutOfTimeHasAnUnknownOutcome: it must not be said to have failed.
func TestWriteThatRanOutOfTimeHasAnUnknownOutcome(t *testing.T) {
	t.Parallel()
	a := newAPI(t, &fakeStore{send: func(ctx context.Context, _ model.Command, _ model.Idempotency) (model.Sent, error) {
		<-ctx.Done()
		return model.Sent{}, ctx.Err()
	}}, func(c *Config) { c.RequestTimeout = 10 * time.Millisecond })
	got := a.do(http.MethodPost, "/v1/leases/"+leaseID+"/release", "")
	if p := got.problem(t); got.status != http.StatusServiceUnavailable || p.Code != "outcome_unknown" {
		t.Errorf("= %d %s", got.status, got.body)
	}
}

func TestPanicIsAProblem(t *testing.T) {
	t.Parallel()
	a := newAPI(t, &fakeStore{lease: func(context.Context, string, string) (*model.Lease, error) { panic("secret") }})
	got := a.do(http.MethodGet, "/v1/leases/"+leaseID, "")
	if p := got.problem(t); got.status != http.StatusInternalServerError || p.Code != "internal" || strings.Contains(string(got.body), "secret") {
		t.Errorf("= %d %s", got.status, got.body)
	}
	if log := a.log.String(); !strings.Contains(log, "panic: secret") || !strings.Contains(log, "problem_test.go") {
		t.Errorf("the log has no stack: %s", log)
	}
}

func TestRouterErrorsAreProblems(t *testing.T) {
	t.Parallel()
	a := newAPI(t, &fakeStore{})
	for _, path := range []string{"/nowhere", "/v1", "/v1/", "/v1/leases/", "/v1/leases/" + leaseID + "/nothing", "/v1/event", "/asynqmon/", "/%00", "/v1/leases/%zz"} {
		if strings.Contains(path, "%zz") {
			continue // refused by the HTTP server itself
		}
		got := a.do(http.MethodGet, path, "")
		if p := got.problem(t); got.status != http.StatusNotFound || p.Code != "not_found" {
			t.Errorf("GET %s = %d %s", path, got.status, got.body)
		}
	}
	for _, tt := range []struct{ method, path, allow string }{
		{"DELETE", "/v1/leases", "GET, POST"},
		{"POST", "/v1/resources", "GET"},
		{"PATCH", "/v1/blueprints/lab", "DELETE, GET, PUT"},
		{"GET", "/v1/leases/" + leaseID + "/release", "POST"},
		{"POST", "/healthz", "GET"},
		{"BREW", "/v1/leases", "GET, POST"},
	} {
		got := a.do(tt.method, tt.path, "")
		p := got.problem(t)
		if got.status != http.StatusMethodNotAllowed || p.Code != "method_not_allowed" {
			t.Errorf("%s %s = %d %s", tt.method, tt.path, got.status, got.body)
		}
		for method := range strings.SplitSeq(tt.allow, ", ") {
			if !strings.Contains(got.header.Get("Allow"), method) {
				t.Errorf("%s %s: Allow = %q, want %s in it", tt.method, tt.path, got.header.Get("Allow"), method)
			}
		}
	}
}

// TestSlowBodyIsCutOff: a client that stops in the middle of its body is told so, and holds nothing.
func TestSlowBodyIsCutOff(t *testing.T) {
	t.Parallel()
	a := newAPI(t, &fakeStore{}, func(c *Config) { c.RequestTimeout = 20 * time.Millisecond })
	body, stop := io.Pipe()
	defer stop.Close()
	go func() { _, _ = stop.Write([]byte(`{"type": `)) }()
	got := a.doReader(http.MethodPost, "/v1/leases", body)
	if p := got.problem(t); got.status != http.StatusRequestTimeout || p.Code != "timeout" {
		t.Errorf("= %d %s", got.status, got.body)
	}
}

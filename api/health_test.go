package api

import (
	"net/http"
	"strings"
	"testing"
)

func TestReadyzTurnsFirstWhenDraining(t *testing.T) {
	t.Parallel()
	f := &fakeStore{ping: func() error { return nil }, blueprints: someBlueprints}
	a := newAPI(t, f)
	if got := a.do(http.MethodGet, "/readyz", ""); got.status != http.StatusOK || string(got.body) != "{\"status\":\"ok\"}\n" {
		t.Errorf("/readyz = %d %s", got.status, got.body)
	}
	a.api.Drain()
	if got := a.do(http.MethodGet, "/readyz", ""); got.status != http.StatusServiceUnavailable || got.problem(t).Code != "unavailable" {
		t.Errorf("/readyz while draining = %d %s", got.status, got.body)
	}
	for _, path := range []string{"/healthz", "/v1/blueprints"} {
		if got := a.do(http.MethodGet, path, ""); got.status != http.StatusOK {
			t.Errorf("%s while draining = %d %s, want 200", path, got.status, got.body)
		}
	}
}

func TestMetricsCountRequestsByRoute(t *testing.T) {
	t.Parallel()
	a := newAPI(t, &fakeStore{blueprints: someBlueprints})
	a.do(http.MethodGet, "/v1/blueprints", "")
	a.do(http.MethodGet, "/v1/leases/nope", "")
	a.do("BREW", "/v1/blueprints", "")
	a.do(http.MethodGet, "/some/path", "")
	got := a.do(http.MethodGet, "/metrics", "")
	for _, want := range []string{
		`drydock_api_requests_total{code="200",method="GET",route="/v1/blueprints"} 1`,
		`drydock_api_requests_total{code="404",method="GET",route="/v1/leases/:id"} 1`,
		`drydock_api_requests_total{code="405",method="other",route="/v1/blueprints"} 1`,
		`drydock_api_requests_total{code="404",method="GET",route="none"} 1`,
		`drydock_api_request_seconds_count{method="GET",route="/v1/blueprints"} 1`,
		`drydock_api_waiting_reads 0`,
	} {
		if !strings.Contains(string(got.body), want+"\n") {
			t.Errorf("/metrics lacks %s:\n%s", want, got.body)
		}
	}
	if strings.Contains(string(got.body), "some/path") {
		t.Error("a path that a caller invented became a label")
	}
}

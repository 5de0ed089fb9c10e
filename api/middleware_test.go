package api

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"drydock/api/wire"
	"drydock/model"
)

func TestRequestIDOfTheCallerIsKeptWhenItIsShortAndPlain(t *testing.T) {
	t.Parallel()
	a := newAPI(t, &fakeStore{})
	for id, keep := range map[string]bool{
		"0190a5c2-7c1b-7b5e-8f3a-1c2d3e4f5a6b": true,
		"trace/1:2+3=4_5.6":                    true,
		strings.Repeat("a", 64):                true,
		strings.Repeat("a", 65):                false,
		"with a space":                         false,
		"umlaut-ä":                             false,
		`quote"`:                               false,
		"":                                     false,
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a.URL+"/healthz", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set(wire.HeaderRequestID, id)
		resp, err := a.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		got := resp.Header.Get(wire.HeaderRequestID)
		if keep != (got == id) || !keep && !model.ValidID(got) {
			t.Errorf("request id %q became %q", id, got)
		}
	}
}

// TestLogHasNeitherBodiesNorQueries: both may hold what is nobody's business, and one request is one line.
func TestLogHasNeitherBodiesNorQueries(t *testing.T) {
	t.Parallel()
	a := newAPI(t, &fakeStore{})
	a.do(http.MethodPost, "/v1/leases?namespace=secret-1&x=1", `{"owner": "secret-2"}`)
	a.do(http.MethodPost, "/v1/leases", `{"type": "host", "ttl": "secret-3"}`)
	a.do(http.MethodGet, "/%0d%0alevel=ERROR", "")
	log := a.log.String()
	if strings.Contains(log, "secret-") {
		t.Errorf("the log tells too much: %s", log)
	}
	if lines := strings.Count(log, "\n"); lines != 3 {
		t.Errorf("the log has %d lines, want 3: %s", lines, log)
	}
	for _, want := range []string{`"request_id":"test-request"`, `"method":"POST"`, `"path":"/v1/leases"`, `"route":"/v1/leases"`, `"status":422`, `"user_agent":"test/1"`, `"address":"127.0.0.1"`, `"code":"invalid","field":"ttl"`} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %s: %s", want, log)
		}
	}
}

func TestHeadersOfEveryAnswer(t *testing.T) {
	t.Parallel()
	a := newAPI(t, &fakeStore{blueprints: someBlueprints})
	for _, path := range []string{"/v1/blueprints", "/v1/leases?x=1", "/v1/leases/nope"} {
		got := a.do(http.MethodGet, path, "")
		if got.header.Get("X-Content-Type-Options") != "nosniff" || got.header.Get("Cache-Control") != "no-store" {
			t.Errorf("headers of %s: %v", path, got.header)
		}
	}
}

func TestHeadIsGetWithoutTheBody(t *testing.T) {
	t.Parallel()
	a := newAPI(t, &fakeStore{blueprints: someBlueprints, ping: func() error { return nil }})
	for path, want := range map[string]int{"/readyz": 200, "/v1/blueprints": 200, "/v1/leases/nope": 404, "/v1/leases/" + leaseID + "/release": 405} {
		got := a.do(http.MethodHead, path, "")
		if got.status != want || len(got.body) != 0 || got.header.Get("Content-Length") == "0" {
			t.Errorf("HEAD %s = %d with %d bytes, want %d with none", path, got.status, len(got.body), want)
		}
	}
}

func TestBrowsersMaySendFromOurOwnPages(t *testing.T) {
	t.Parallel()
	var cmd model.Command
	a := newAPI(t, &fakeStore{send: sending(&cmd)})
	for _, header := range []string{"Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: none", "Origin: " + a.URL} {
		if got := a.do(http.MethodPost, "/v1/leases/"+leaseID+"/release", "", header); got.status != http.StatusAccepted {
			t.Errorf("%s = %d %s", header, got.status, got.body)
		}
	}
}

func TestAsynqmonIsMountedWithItsSubtree(t *testing.T) {
	t.Parallel()
	a := newAPI(t, &fakeStore{}, func(c *Config) {
		c.AsynqmonRoot = "/queues/"
		c.Asynqmon = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			_, _ = io.WriteString(w, r.Method+" "+r.URL.Path+" "+string(body))
		})
	})
	for path, method := range map[string]string{"/queues": "GET", "/queues/": "GET", "/queues/api/queues/x:pause": "POST", "/queues/api/queues/x": "DELETE"} {
		got := a.do(method, path, "body")
		if want := method + " " + path + " body"; got.status != http.StatusOK || string(got.body) != want {
			t.Errorf("%s %s = %d %s, want %s", method, path, got.status, got.body, want)
		}
	}
	got := a.do(http.MethodPost, "/queues/api/queues/x:pause", "", "Sec-Fetch-Site: cross-site")
	if got.status != http.StatusForbidden || got.problem(t).Code != "forbidden" {
		t.Errorf("from another site = %d %s", got.status, got.body)
	}
}

func TestNewWantsItsParts(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("New without a store did not panic")
		}
	}()
	New(Config{})
}

func TestOtherSitesMayCallOnlyIfTheyAreNamed(t *testing.T) {
	t.Parallel()
	const site = "https://console.example.com"
	release := "/v1/leases/" + leaseID + "/release"
	tests := []struct {
		name, origin string
		named        []string
		status       int
		allowed      string
	}{
		{"none is named", site, nil, 403, ""},
		{"it is named", site, []string{site}, 202, site},
		{"another is named", "https://other.example.com", []string{site}, 403, ""},
		{"a pattern is none", "https://other.example.com", []string{"https://*.example.com"}, 403, ""},
	}
	for _, test := range tests {
		var cmd model.Command
		a := newAPI(t, &fakeStore{send: sending(&cmd)}, func(c *Config) { c.CORSOrigins = test.named })
		got := a.do(http.MethodPost, release, "", "Origin: "+test.origin, "Sec-Fetch-Site: cross-site")
		if allowed := got.header.Get("Access-Control-Allow-Origin"); got.status != test.status || allowed != test.allowed {
			t.Errorf("%s: POST = %d, allowed %q", test.name, got.status, allowed)
		}
		preflight := a.do(http.MethodOptions, release, "", "Origin: "+test.origin, "Access-Control-Request-Method: POST")
		h := preflight.header
		if h.Get("Access-Control-Allow-Origin") != test.allowed || h.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s: preflight = %d %v", test.name, preflight.status, h)
		}
		for _, header := range []string{"Authorization", "If-Match", "If-None-Match"} {
			if test.allowed != "" && !strings.Contains(h.Get("Access-Control-Allow-Headers"), header) {
				t.Errorf("%s: preflight allows %q, lacks %s", test.name, h.Get("Access-Control-Allow-Headers"), header)
			}
		}
	}
}

func TestLongAnswersAreCompressedForThoseWhoCan(t *testing.T) {
	t.Parallel()
	a := newAPI(t, &fakeStore{blueprints: someBlueprints})
	for path, want := range map[string]string{"/openapi.json": "gzip", "/v1/blueprints": "", "/v1/leases?x=1": ""} {
		got := a.do(http.MethodGet, path, "", "Accept-Encoding: gzip")
		if encoding := got.header.Get("Content-Encoding"); encoding != want || !strings.Contains(got.header.Get("Vary"), "Accept-Encoding") {
			t.Errorf("%s: %v", path, got.header)
		}
		if plain := a.do(http.MethodGet, path, "", "Accept-Encoding: identity"); plain.header.Get("Content-Encoding") != "" || plain.body[0] != '{' {
			t.Errorf("%s for others: %v", path, plain.header)
		}
	}
	// Those that compress themselves, or have no need to.
	for _, path := range []string{"/metrics", "/healthz"} {
		if got := a.do(http.MethodGet, path, "", "Accept-Encoding: gzip"); len(got.header.Values("Content-Encoding")) > 1 {
			t.Errorf("%s is compressed twice: %v", path, got.header)
		}
	}
}

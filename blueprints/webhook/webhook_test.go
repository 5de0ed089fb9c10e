package webhook_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"drydock/blueprints"
	"drydock/blueprints/conformance"
	"drydock/blueprints/hook"
	"drydock/blueprints/webhook"
	"drydock/model"
	"drydock/outbound"
)

const (
	secretName = "DRYDOCK_WEBHOOK_SECRET_LAB"
	secret     = "correct horse battery staple"
)

// inside is a kind that may call the tests' own servers.
var inside = webhook.Kind{
	Addresses: outbound.AddressPolicy{Private: true},
	Secret: func(name string) (string, bool) {
		if name != secretName {
			return "", false
		}
		return secret, true
	},
}

func blueprint(url string, more ...string) *model.Blueprint {
	config := fmt.Sprintf(`{"url": %q, "secret_env": %q, "attributes": {"os": ["linux", "macos"]},
		"steps": ["allocate", "activate", "update", "destroy", "acquire", "activate_lease", "release_lease", "destroy_lease"]%s}`,
		url, secretName, strings.Join(more, ""))
	return &model.Blueprint{Namespace: "ci", Name: "vm", Kind: "webhook", Type: "vm", Enabled: true, Config: []byte(config)}
}

func hooks(t *testing.T, kind webhook.Kind, bp *model.Blueprint) *blueprints.Hooks {
	t.Helper()
	opened, err := kind.Open(bp)
	if err != nil {
		t.Fatal(err)
	}
	return opened.Hooks()
}

// serve starts a service for one test.
func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	srv := httptest.NewServer(handler)
	t.Cleanup(srv.Close)
	return srv.URL
}

// service is a well-behaved service: it checks signatures and does each idempotency key once.
type service struct {
	mu   sync.Mutex
	done map[string]string // answers by key
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if err := outbound.Verify([]byte(secret), body, r.Header.Get(outbound.HeaderSignature), time.Now()); err != nil {
		http.Error(w, err.Error(), http.StatusUnauthorized)
		return
	}
	var m hook.Message
	if err := json.Unmarshal(body, &m); err != nil || string(m.Step) != r.Header.Get(webhook.HeaderStep) ||
		m.IdempotencyKey != r.Header.Get(outbound.HeaderIdempotencyKey) {
		http.Error(w, "bad message", http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	answer, again := s.done[m.IdempotencyKey]
	if !again {
		switch m.Step {
		case hook.StepActivate:
			answer = fmt.Sprintf(`{"attributes": {"address": "vm%d.example.org"}}`, len(s.done))
		case hook.StepAcquire:
			answer = `{"slots": ["port:1"]}`
		}
		s.done[m.IdempotencyKey] = answer
	}
	io.WriteString(w, answer)
}

func (s *service) state(*testing.T) any {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.done)
}

func TestConformance(t *testing.T) {
	t.Parallel()
	ok := func(field, value string) string {
		c := map[string]any{"url": "https://example.org/hook", "secret_env": secretName, "steps": []string{"activate"}}
		var v any
		if err := json.Unmarshal([]byte(value), &v); err != nil {
			t.Fatal(err)
		}
		c[field] = v
		b, _ := json.Marshal(c)
		return string(b)
	}
	conformance.Run(t, conformance.Suite{
		Kind: inside,
		New: func(t *testing.T) conformance.World {
			s := &service{done: map[string]string{}}
			return conformance.World{Blueprint: blueprint(serve(t, s.ServeHTTP)), State: s.state}
		},
		Bad: []conformance.Bad{
			conformance.BadConfig("no url", ok("url", `""`), "config.url"),
			conformance.BadConfig("relative url", ok("url", `"/hook"`), "config.url"),
			conformance.BadConfig("other scheme", ok("url", `"file:///etc/passwd"`), "config.url"),
			conformance.BadConfig("opaque url", ok("url", `"http:example.org"`), "config.url"),
			conformance.BadConfig("user in url", ok("url", `"https://user:pw@example.org/"`), "config.url"),
			conformance.BadConfig("fragment", ok("url", `"https://example.org/#a"`), "config.url"),
			conformance.BadConfig("long url", ok("url", `"https://example.org/`+strings.Repeat("a", 2000)+`"`), "config.url"),
			conformance.BadConfig("no secret", ok("secret_env", `""`), "config.secret_env"),
			conformance.BadConfig("other variable", ok("secret_env", `"AWS_SECRET_ACCESS_KEY"`), "config.secret_env"),
			conformance.BadConfig("no steps", ok("steps", `[]`), "config.steps"),
			conformance.BadConfig("unknown step", ok("steps", `["activate", "boot"]`), "config.steps[1]"),
			conformance.BadConfig("same step", ok("steps", `["activate", "activate"]`), "config.steps[1]"),
			conformance.BadConfig("retries", ok("retries", `11`), "config.retries"),
			conformance.BadConfig("timeout", ok("timeout", `"-1s"`), "config.timeout"),
			conformance.BadConfig("capacity", ok("capacity", `1001`), "config.capacity"),
		},
		Serves:  []model.Request{{}, {Attributes: map[string]string{"os": "macos"}}},
		Refuses: []model.Request{{Attributes: map[string]string{"os": "plan9"}}},
	})
}

var (
	call = blueprints.Call{Object: model.ResourceRef("ci", "r1"), Fence: 7, Key: "r1.activate", Attempt: 1}
	res  = &model.Resource{Ref: model.ResourceRef("ci", "r1"), Name: "vm-1"}
)

func TestStatusesDecide(t *testing.T) {
	t.Parallel()
	soon := time.Now().Add(90 * time.Second).UTC().Format(http.TimeFormat)
	for name, tc := range map[string]struct {
		status     int
		retryAfter string
		body       string
		after      time.Duration // of a yield, at most; at least half of it
		reason     string
		err        string
	}{
		"200":                    {status: 200, body: `{"capacity": 2}`},
		"200 without a body":     {status: 200},
		"204":                    {status: 204},
		"201":                    {status: 201, body: `{}`},
		"200 with text":          {status: 200, body: "fine", err: "activate: answer: must be an object"},
		"200, too long":          {status: 200, body: strings.Repeat(" ", 70000), err: "activate: the service answered with more than 64 KiB"},
		"202":                    {status: 202, reason: "the service answered 202"},
		"202 with a body":        {status: 202, body: `{"reason": "booting", "retry_after": "20s"}`, after: 20 * time.Second, reason: "booting"},
		"202 with a header":      {status: 202, retryAfter: "10", body: `{"retry_after": "20s"}`, after: 10 * time.Second, reason: "the service answered 202"},
		"503 with seconds":       {status: 503, retryAfter: "7", after: 7 * time.Second, reason: "the service answered 503"},
		"503 with a date":        {status: 503, retryAfter: soon, after: 90 * time.Second, reason: "the service answered 503"},
		"429":                    {status: 429, retryAfter: "7", after: 7 * time.Second, reason: "the service answered 429"},
		"503 with a year":        {status: 503, retryAfter: "31536000", after: hook.MaxRetryAfter, reason: "the service answered 503"},
		"503 with nonsense":      {status: 503, retryAfter: "soon", reason: "the service answered 503"},
		"503 with a past":        {status: 503, retryAfter: "Thu, 01 Jan 1970 00:00:00 GMT", reason: "the service answered 503"},
		"503 alone":              {status: 503, err: "activate: the service answered 503"},
		"500":                    {status: 500, body: "no\x00 disk", err: "activate: the service answered 500: no disk"},
		"400":                    {status: 400, body: "what?", err: "activate: the service answered 400: what?"},
		"409":                    {status: 409, err: "activate: the service answered 409"},
		"400 with the secret":    {status: 400, body: "is it " + secret + "?", err: "activate: the service answered 400: is it …?"},
		"202 with the secret":    {status: 202, body: `{"reason": "` + secret + `"}`, reason: "…"},
		"400 with a long answer": {status: 400, body: strings.Repeat("a", 5000), err: "activate: the service answered 400: " + strings.Repeat("a", 1024) + "…"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				if tc.retryAfter != "" {
					w.Header().Set("Retry-After", tc.retryAfter)
				}
				w.WriteHeader(tc.status)
				io.WriteString(w, tc.body)
			})
			_, err := hooks(t, inside, blueprint(url, `, "retries": 0`)).ActivateResource(t.Context(), call, res)
			y, yield := blueprints.AsYield(err)
			switch {
			case tc.reason != "":
				if !yield || y.After > tc.after || y.After < tc.after/2 || y.Reason != tc.reason {
					t.Errorf("error = %v (%+v), want a yield of %s for %q", err, y, tc.after, tc.reason)
				}
			case tc.err != "":
				if yield || err == nil || err.Error() != tc.err {
					t.Errorf("error = %v, want %s", err, tc.err)
				}
			case err != nil:
				t.Error(err)
			}
		})
	}
}

func TestRetriesAreBoundedAndKeepTheirKey(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		failures int32
		status   int
		requests int32
		err      string
	}{
		"well at last":    {failures: 2, status: 502, requests: 3},
		"never well":      {failures: 99, status: 502, requests: 3, err: "activate: the service answered 502 (tried 3 times)"},
		"not worth it":    {failures: 99, status: 403, requests: 1, err: "activate: the service answered 403"},
		"not implemented": {failures: 99, status: 501, requests: 1, err: "activate: the service answered 501"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var requests atomic.Int32
			url := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if key := r.Header.Get("Idempotency-Key"); key != "r1.activate" {
					t.Errorf("Idempotency-Key = %q", key)
				}
				if requests.Add(1) <= tc.failures {
					w.WriteHeader(tc.status)
				}
			})
			_, err := hooks(t, inside, blueprint(url)).ActivateResource(t.Context(), call, res)
			if got := fmt.Sprint(err); tc.err != "" && got != tc.err || tc.err == "" && err != nil {
				t.Errorf("error = %v, want %q", err, tc.err)
			}
			if n := requests.Load(); n != tc.requests {
				t.Errorf("%d requests, want %d", n, tc.requests)
			}
		})
	}
}

func TestABrokenConnectionIsTriedAgain(t *testing.T) {
	t.Parallel()
	var requests atomic.Int32
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if requests.Add(1) == 1 {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			conn.Close()
		}
	})
	if _, err := hooks(t, inside, blueprint(url)).ActivateResource(t.Context(), call, res); err != nil || requests.Load() != 2 {
		t.Errorf("error = %v after %d requests", err, requests.Load())
	}
}

func TestRedirectsAreRefused(t *testing.T) {
	t.Parallel()
	var reached atomic.Bool
	elsewhere := serve(t, func(http.ResponseWriter, *http.Request) { reached.Store(true) })
	for _, status := range []int{301, 302, 303, 307, 308} {
		url := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere, status) })
		_, err := hooks(t, inside, blueprint(url)).ActivateResource(t.Context(), call, res)
		if err == nil || !strings.Contains(err.Error(), "redirects are not followed") || reached.Load() {
			t.Errorf("%d: error = %v, reached = %v", status, err, reached.Load())
		}
	}
}

func TestAddressesAreCheckedWhenTheConnectionIsMade(t *testing.T) {
	t.Parallel()
	var reached atomic.Int32
	url := serve(t, func(http.ResponseWriter, *http.Request) { reached.Add(1) })
	// localhost is a name, so that only the dialler can know where it leads.
	url = strings.Replace(url, "127.0.0.1", "localhost", 1)
	public := inside
	public.Addresses = outbound.AddressPolicy{}
	_, err := hooks(t, public, blueprint(url)).ActivateResource(t.Context(), call, res)
	if err == nil || !strings.Contains(err.Error(), "is not public") || reached.Load() != 0 {
		t.Errorf("error = %v, reached = %d", err, reached.Load())
	}
	public.Addresses.Allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	if _, err := hooks(t, public, blueprint(url)).ActivateResource(t.Context(), call, res); err != nil || reached.Load() != 1 {
		t.Errorf("an allowed network: error = %v, reached = %d", err, reached.Load())
	}
}

func TestAddressesInURLsAreCheckedAtOnce(t *testing.T) {
	t.Parallel()
	for _, host := range []string{
		"127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "255.255.255.255", "224.0.0.1",
		"192.0.2.1", "[::1]", "[::]", "[fe80::1]", "[fe80::1%25eth0]", "[fd00::1]", "[::ffff:10.0.0.1]", "[64:ff9b::a00:1]", "[2002:a00:1::]", "[ff02::1]",
	} {
		_, err := webhook.Kind{}.Open(blueprint("https://" + host + "/"))
		if e, ok := errors.AsType[*model.Error](err); !ok || e.Field != "config.url" {
			t.Errorf("Open with %s = %v, want invalid config.url", host, err)
		}
	}
	for _, host := range []string{"93.184.215.14", "[2606:2800:21f:cb07:6820:80da:af6b:8b2c]", "example.org"} {
		if _, err := (webhook.Kind{}).Open(blueprint("https://" + host + "/")); err != nil {
			t.Errorf("Open with %s = %v", host, err)
		}
	}
}

func TestSecretsStayOutOfErrors(t *testing.T) {
	t.Parallel()
	url := serve(t, func(http.ResponseWriter, *http.Request) {})
	srv := httptest.NewServer(http.NotFoundHandler())
	srv.Close() // nobody listens there any more
	for name, tc := range map[string]struct {
		kind func(k *webhook.Kind)
		url  string
		want string
	}{
		"no secret": {func(k *webhook.Kind) { k.Secret = func(string) (string, bool) { return "", false } }, url, secretName},
		"short":     {func(k *webhook.Kind) { k.Secret = func(string) (string, bool) { return "hunter2", true } }, url, "at least 16 bytes"},
		"down":      {func(*webhook.Kind) {}, srv.URL + "/?token=hunter2", "send the request"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kind := inside
			tc.kind(&kind)
			_, err := hooks(t, kind, blueprint(tc.url, `, "retries": 0`)).ActivateResource(t.Context(), call, res)
			if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), secret) {
				t.Errorf("error = %v", err)
			}
		})
	}
}

func TestTheSecretComesFromTheEnvironment(t *testing.T) {
	t.Setenv(secretName, secret)
	s := &service{done: map[string]string{}}
	kind := webhook.Kind{Addresses: outbound.AddressPolicy{Private: true}}
	if _, err := hooks(t, kind, blueprint(serve(t, s.ServeHTTP))).ActivateResource(t.Context(), call, res); err != nil {
		t.Error(err)
	}
}

func TestAHookThatHangsIsCutOff(t *testing.T) {
	t.Parallel()
	begun, release := make(chan struct{}), make(chan struct{})
	url := serve(t, func(http.ResponseWriter, *http.Request) {
		close(begun)
		<-release
	})
	defer close(release)
	ctx, cancel := context.WithCancelCause(t.Context())
	lost := errors.New("the object lock is lost")
	done := make(chan error, 1)
	h := hooks(t, inside, blueprint(url))
	go func() {
		_, err := h.ActivateResource(ctx, call, res)
		done <- err
	}()
	<-begun
	cancel(lost)
	if err := <-done; !errors.Is(err, lost) {
		t.Errorf("error = %v, want the cause", err)
	}
}

func TestOnlyListedStepsAreSent(t *testing.T) {
	t.Parallel()
	bp := blueprint("https://example.org/")
	bp.Config = []byte(`{"url": "https://example.org/", "secret_env": "DRYDOCK_WEBHOOK_SECRET", "steps": ["destroy"], "timeout": "5s"}`)
	h := hooks(t, inside, bp)
	if h.DestroyResource == nil || h.ActivateResource != nil || h.Timeout != 5*time.Second {
		t.Errorf("hooks = %+v", h)
	}
}

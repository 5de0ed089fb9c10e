package e2e_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unicode"

	"github.com/redis/go-redis/v9"
)

// secrets are what must be shown nowhere, and what was shown.
type secrets struct {
	t     *testing.T
	words map[string]string // by what they are
	shown []string
}

func (s *secrets) add(what, word string) string {
	s.words[what] = word
	return word
}

// saw keeps what somebody can read: an answer with its headers, or what a process says.
func (s *secrets) saw(what, text string) { s.shown = append(s.shown, what+": "+text) }

// do sends a request and keeps the answer.
func (s *secrets) do(c *client, method, path, body string, header ...string) answer {
	s.t.Helper()
	a, err := c.do(s.t.Context(), method, path, body, header...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.saw(fmt.Sprintf("%s %s = %d", method, strings.SplitN(path, "?", 2)[0], a.status), fmt.Sprint(a.header, string(a.body)))
	return a
}

func (s *secrets) check() {
	s.t.Helper()
	for what, word := range s.words {
		for _, form := range []string{word, base64.StdEncoding.EncodeToString([]byte(":" + word))} {
			for _, text := range s.shown {
				if i := strings.Index(text, form); i >= 0 {
					s.t.Errorf("the %s is shown: …%s…", what, text[max(0, i-300):min(len(text), i+len(form)+100)])
				}
			}
		}
	}
}

// TestSecretsAreNeverShown: tokens, passwords and the secrets of webhooks are in no log line and no answer, whatever goes wrong.
func TestSecretsAreNeverShown(t *testing.T) {
	t.Parallel()
	s := &secrets{t: t, words: map[string]string{}}
	server := startRedis(t)
	password := s.add("password of Redis", "redis-password-4711")
	server.configure("requirepass", password)
	withPassword := func(p string) string { return strings.Replace(server.URL(), "redis://", "redis://:"+p+"@", 1) }
	file := filepath.Join(t.TempDir(), "tokens.yaml")
	admin := s.add("admin's token", newToken(t, file, "root", "admin", "--namespace", "*"))
	holder := s.add("holder's token", newToken(t, file, "ada", "holder"))
	unknown := s.add("unknown token", "ddk_"+strings.Repeat("0123abcd", 8))
	subscriptionSecret := s.add("subscription's secret", "subscription-secret-4711")
	hookSecret := s.add("blueprint's secret", "blueprint-secret-4711")

	// A service that fails, and tells everybody what it knows.
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		known := map[string]string{"/subscription": subscriptionSecret, "/blueprint": hookSecret}
		http.Error(w, "my secret is "+known[r.URL.Path], http.StatusNotFound)
	}))
	t.Cleanup(service.Close)
	env := []string{"DRYDOCK_REDIS_URL=" + withPassword(password), "DRYDOCK_WEBHOOK_SECRET_VM=" + hookSecret}
	args := []string{"--webhook-private", "--log-level", "debug", "--log-format", "json", "--lock-ttl", lockTTL.String()}
	api := start(t, env, append([]string{"api", "--listen", "127.0.0.1:0", "--token-file", file}, args...)...)
	worker := start(t, env, append([]string{"worker", "--listen", "127.0.0.1:0"}, args...)...)
	worker.says("worker is running")
	c := newClient(t, api.says(`serving the API","url":"(http://[^"]+)"`)[1])

	for _, header := range [][]string{
		nil,
		{"Authorization", "Bearer " + unknown},
		{"Authorization", "Bearer " + admin + "x"},
		{"Authorization", "Bearer  " + admin + " " + holder},
		{"Authorization", admin},
		{"Authorization", "Token " + admin},
		{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte(":"+unknown))},
		{"Authorization", "Basic " + admin},
		{"Cookie", "token=" + admin},
		{"Proxy-Authorization", "Bearer " + admin},
		{"Authorization", "Bearer " + holder}, // not allowed to
	} {
		for _, path := range []string{"/v1/blueprints/lab", "/v1/blueprints/lab?token=" + admin, "/metrics", "/asynqmon/", "/nowhere"} {
			if a := s.do(c, http.MethodPut, path, `{"kind": "pool", "type": "host", "token": "`+admin+`"}`, header...); a.status < 400 {
				t.Errorf("PUT %s with %.20q = %d", path, header, a.status)
			}
		}
	}
	as := []string{"Authorization", "Bearer " + admin}
	for _, body := range []string{
		`{"url": "https://u:` + subscriptionSecret + `@example.org/", "secret": "` + subscriptionSecret + `"}`,
		`{"url": "https://example.org/", "secret": ["` + subscriptionSecret + `"]}`,
		`{"url": "https://example.org/", "secret": "` + subscriptionSecret + `\u0000"}`,
		`{"url": "https://example.org/", "secret": "` + subscriptionSecret + "\x01\"}",
		`{"url": "https://example.org/", "secret": "` + subscriptionSecret,
		`{"url": "https://example.org/", "secret": "` + strings.Repeat(subscriptionSecret, 50) + `"}`,
		`{"url": "https://example.org/", "secret": "` + subscriptionSecret + `", "secret": "` + subscriptionSecret + `"}`,
	} {
		if a := s.do(c, http.MethodPut, "/v1/subscriptions/ci", body, as...); a.status != 400 && a.status != 422 {
			t.Errorf("PUT of %s = %d", body, a.status)
		}
	}

	// What is sent fails.
	s.do(c, http.MethodPut, "/v1/subscriptions/ci", fmt.Sprintf(`{"url": %q, "secret": %q, "tries": 1}`, service.URL+"/subscription", subscriptionSecret), as...)
	blueprint := fmt.Sprintf(`{"kind": "webhook", "type": "vm", "limit": 1,
		"config": {"url": %q, "secret_env": "DRYDOCK_WEBHOOK_SECRET_VM", "steps": ["activate"], "retries": 0}}`, service.URL+"/blueprint")
	s.do(c, http.MethodPut, "/v1/blueprints/vm", blueprint, as...)
	if a := s.do(c, http.MethodPost, "/v1/leases", `{"type": "vm"}`, as...); a.status != http.StatusAccepted {
		t.Fatalf("POST of a lease = %d %s", a.status, a.body)
	}
	eventually(t, func() error {
		a, err := c.do(t.Context(), http.MethodGet, "/v1/subscriptions/ci/dead-letters", "", as...)
		if err == nil && strings.Contains(string(a.body), "404") {
			return nil
		}
		return fmt.Errorf("no dead letter: %s, %w", a.body, err)
	})
	eventually(t, func() error {
		a, err := c.do(t.Context(), http.MethodGet, "/v1/resources?blueprint=vm", "", as...)
		if err != nil {
			return err
		}
		resources, err := decode[page[resource]](a)
		if err != nil || len(resources.Items) == 0 {
			return fmt.Errorf("no resource: %s, %w", a.body, err)
		}
		a, err = c.do(t.Context(), http.MethodGet, "/v1/resources/"+resources.Items[len(resources.Items)-1].ID+"/logs", "", as...)
		if err == nil && strings.Contains(string(a.body), "the service answered 404") {
			s.saw("log of the resource", string(a.body))
			return nil
		}
		return fmt.Errorf("no failed hook: %s, %w", a.body, err)
	})
	for _, path := range []string{
		"/v1/subscriptions", "/v1/subscriptions/ci", "/v1/subscriptions/ci/dead-letters", "/v1/blueprints", "/v1/leases", "/v1/resources",
		"/metrics", "/openapi.json", "/readyz", "/asynqmon/", "/asynqmon/api/redis_info", "/asynqmon/api/servers", "/asynqmon/api/queues",
	} {
		if a := s.do(c, http.MethodGet, path, "", as...); a.status != http.StatusOK {
			t.Errorf("GET %s = %d %.200s", path, a.status, a.body)
		}
	}

	// A file of tokens that cannot be read, with one in it.
	writeFile(t, file, []byte("- name: ["+unknown+"\n  token: "+holder+"\n"))
	api.signal(syscall.SIGHUP)
	api.says("what was read before still counts")

	// The password does not count any more, and everybody has to show it again.
	server.configure("requirepass", s.add("new password of Redis", "another-password-4711"))
	server.each(func(ctx context.Context, server *redis.Client) error {
		return server.Do(ctx, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes").Err()
	})
	eventually(t, func() error {
		if a := s.do(c, http.MethodGet, "/v1/leases", "", as...); a.status != http.StatusServiceUnavailable {
			return fmt.Errorf("with a wrong password of Redis = %d", a.status)
		}
		return nil
	})
	api.says(`WRONGPASS|NOAUTH`)
	worker.says(`WRONGPASS|NOAUTH`)
	s.do(c, http.MethodGet, "/readyz", "")

	// What people start says no more.
	for _, args := range [][]string{
		{"doctor", "--redis", withPassword(password)},
		{"doctor", "--redis", strings.Replace(withPassword(password), "redis://", "redis:/", 1)},
		{"worker", "--redis", withPassword(password) + "/x"},
		{"lease", "list", "--server", c.base, "--token", unknown},
		{"lease", "list", "--server", c.base, "--token", admin + "\n"},
	} {
		p := start(t, nil, args...)
		if code := p.code(); code == 0 {
			t.Errorf("drydock %s %s ends with 0", args[0], args[1])
		}
		s.saw("drydock "+args[0], p.out.String())
	}
	server.stop()
	s.do(c, http.MethodGet, "/readyz", "")
	for _, p := range []*process{api, worker} {
		p.end(syscall.SIGTERM)
		s.saw("log of "+p.name, p.out.String())
	}
	s.check()
}

// TestLogLinesCannotBeForged: whatever callers put into paths, headers and texts, a line of the log is one of ours, in both formats.
func TestLogLinesCannotBeForged(t *testing.T) {
	t.Parallel()
	const forged = `level=ERROR msg=forged "msg":"forged"`
	for _, format := range []string{"json", "text"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			args := []string{"--redis", startRedis(t).URL(), "--log-format", format, "--log-level", "debug"}
			api := start(t, nil, append([]string{"api", "--listen", "127.0.0.1:0"}, args...)...)
			worker := start(t, nil, append([]string{"worker", "--lock-ttl", lockTTL.String()}, args...)...)
			worker.says("worker is running")
			c := newClient(t, api.says(`serving the API.{1,3}url.{1,3}(http://[^"\s]+)`)[1])
			c.pool(1, 0)
			escaped := strings.NewReplacer("\n", "%0A", "\x1b", "%1B", " ", "%20", `"`, "%22").Replace("\n\x1b[31m" + forged + "\n")
			text := `"line\n` + strings.ReplaceAll(forged, `"`, `\"`) + `\n{\"level\":\"ERROR\",\"msg\":\"forged\"}\ttab"`
			for _, path := range []string{"/" + escaped, "/v1/leases/" + escaped, "/v1/blueprints/" + escaped, "/v1/leases?status=" + escaped, "/v1/leases?" + escaped + "=1"} {
				if _, err := c.do(t.Context(), http.MethodGet, path, "", "User-Agent", "curl "+forged+"\u0085\u200b", "X-Request-Id", forged); err != nil {
					t.Error(err)
				}
			}
			must[problem](c, http.MethodPost, "/v1/leases", `{"type": "host", "owner": `+text+`, "attributes": {"note": `+text+`}, "data": `+text+`}`, http.StatusUnprocessableEntity)
			l := must[lease](c, http.MethodPost, "/v1/leases", `{"type": "host", "owner": `+text+`, "data": `+text+`}`, http.StatusAccepted)
			c.await(l.ID, "active")
			must[sent](c, http.MethodPost, "/v1/leases/"+l.ID+"/release", `{"reason": `+text+`}`, http.StatusAccepted, "Drydock-Author", "ada "+forged)
			c.await(l.ID, "destroyed")
			api.end(syscall.SIGTERM)
			worker.end(syscall.SIGTERM)
			for _, p := range []*process{api, worker} {
				for line := range strings.Lines(p.out.String()) {
					line = strings.TrimSuffix(line, "\n")
					if strings.ContainsFunc(line, unicode.IsControl) || !strings.HasPrefix(line, "{") && !strings.HasPrefix(line, "time=") {
						t.Errorf("%s logs %q", p, line)
					}
				}
				if format == "json" {
					for _, line := range logLines(t, p) {
						if line["msg"] == "forged" {
							t.Errorf("%s logs %v", p, line)
						}
					}
				}
			}
			if !strings.Contains(api.out.String(), "forged") {
				t.Error("nothing of it is in the log: nothing was tried")
			}
		})
	}
}

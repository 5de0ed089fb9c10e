package console_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"drydock/auth"
	"drydock/console"
	"drydock/model"
)

// door knows one token.
type door struct{}

func (door) Authenticate(_ context.Context, credential string) (*auth.Identity, error) {
	if credential != "good" {
		return nil, model.Errorf(model.ErrorUnauthenticated, "the token is not known here")
	}
	return &auth.Identity{Name: "ada", Grants: []auth.Grant{{Role: auth.RoleViewer, Namespaces: []string{"*"}}}}, nil
}

// answer asks a console in front of an API that says what it was shown.
func answer(t *testing.T, method, path string, form url.Values, header ...string) *http.Response {
	t.Helper()
	c := console.New(console.Config{Auth: door{}, API: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Saw", r.URL.Path+" "+r.Header.Get("Authorization"))
		w.WriteHeader(http.StatusTeapot)
	})})
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	c.ServeHTTP(w, r)
	return w.Result()
}

func TestSessions(t *testing.T) {
	t.Parallel()
	const session = "drydock_session=good"
	for name, tc := range map[string]struct {
		method, path string
		form         url.Values
		header       []string
		status       int
		location     string
		saw          string
	}{
		"a page asks to sign in":         {method: "GET", path: "/console/leases?status=active", status: 303, location: "/console/login?next=%2Fconsole%2Fleases%3Fstatus%3Dactive"},
		"a wrong token":                  {method: "POST", path: "/console/login", form: url.Values{"token": {"bad"}}, status: 401},
		"a good token":                   {method: "POST", path: "/console/login", form: url.Values{"token": {"good"}, "next": {"/console/leases"}}, status: 303, location: "/console/leases"},
		"a next of another site":         {method: "POST", path: "/console/login", form: url.Values{"token": {"good"}, "next": {"//evil.example"}}, status: 303, location: "/"},
		"another site sends":             {method: "POST", path: "/console/leases/x", header: []string{"Cookie", session, "Sec-Fetch-Site", "cross-site"}, status: 403},
		"Asynqmon takes the session":     {method: "GET", path: "/asynqmon/", header: []string{"Cookie", session}, status: 418, saw: "/asynqmon/ Bearer good"},
		"a frame gets it too":            {method: "GET", path: "/asynqmon/queues", header: []string{"Cookie", session, "Sec-Fetch-Dest", "iframe"}, status: 418, saw: "/asynqmon/queues Bearer good"},
		"a browser gets it framed":       {method: "GET", path: "/asynqmon/queues?page=2", header: []string{"Sec-Fetch-Dest", "document"}, status: 303, location: "/console/tasks?path=%2Fqueues%3Fpage%3D2"},
		"events take the session":        {method: "GET", path: "/console/events", header: []string{"Cookie", session}, status: 418, saw: "/v1/events Bearer good"},
		"the API itself knows no cookie": {method: "GET", path: "/v1/leases", header: []string{"Cookie", session}, status: 418, saw: "/v1/leases "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			resp := answer(t, tc.method, tc.path, tc.form, tc.header...)
			defer resp.Body.Close()
			if resp.StatusCode != tc.status || resp.Header.Get("Location") != tc.location || resp.Header.Get("Saw") != tc.saw {
				t.Errorf("%s %s = %d, to %q, the API saw %q, want %d, %q, %q", tc.method, tc.path, resp.StatusCode, resp.Header.Get("Location"),
					resp.Header.Get("Saw"), tc.status, tc.location, tc.saw)
			}
		})
	}
}

func TestTheCookieIsKeptFromScriptsAndOtherSites(t *testing.T) {
	t.Parallel()
	resp := answer(t, http.MethodPost, "/console/login", url.Values{"token": {"good"}}, "X-Forwarded-Proto", "https")
	defer resp.Body.Close()
	for _, c := range resp.Cookies() {
		if c.HttpOnly && c.SameSite == http.SameSiteStrictMode && c.Secure {
			return
		}
	}
	t.Errorf("the cookies are %v, want one that is HttpOnly, SameSite=Strict and Secure", resp.Cookies())
}

func TestTheFrameOfAsynqmonShowsNothingElse(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"": "/asynqmon/", "/": "/asynqmon/", "/queues/updates?status=completed": "/asynqmon/queues/updates?status=completed",
		"/../v1/leases": "/asynqmon/v1/leases", "//evil.example/x": "/asynqmon/x", "https://evil.example/x": "/asynqmon/x", "%": "/asynqmon/", ".evil.example": "/asynqmon/",
	} {
		resp := answer(t, http.MethodGet, "/console/tasks?path="+url.QueryEscape(path), nil, "Cookie", "drydock_session=good")
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || !strings.Contains(string(body), `<iframe class="asynqmon" src="`+want+`"`) {
			t.Errorf("path=%s = %d %s (%v), want a frame of %s", path, resp.StatusCode, body, err, want)
		}
	}
}

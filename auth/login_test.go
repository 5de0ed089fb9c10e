package auth

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"drydock/model"
)

// newLogin returns the login of an issuer whose discovery document has these members beside the usual ones, and which answers to a code with
// token.
func newLogin(t *testing.T, found map[string]string, token http.HandlerFunc) *Login {
	t.Helper()
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		document := map[string]any{"issuer": server.URL, "jwks_uri": server.URL + "/keys"}
		for name, path := range found {
			document[name] = server.URL + path
		}
		_ = json.NewEncoder(w).Encode(document)
	})
	mux.HandleFunc("POST /token", token)
	issuer, err := NewIssuer(IssuerConfig{URL: server.URL, Audience: "drydock", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	l, err := NewLogin(issuer, LoginConfig{RedirectURL: "https://drydock.example.com/console/login/callback", Secret: "hush"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Begin("s", "v"); model.KindOf(err) != model.ErrorUnavailable {
		t.Errorf("before the issuer is found: %v, want that it is unavailable", err)
	}
	issuer.Discover(t.Context())
	return l
}

var endpoints = map[string]string{"authorization_endpoint": "/authorize", "token_endpoint": "/token"}

func TestLoginSendsToTheIssuer(t *testing.T) {
	t.Parallel()
	l := newLogin(t, endpoints, http.NotFound)
	to, err := l.Begin("the state", "the verifier")
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(to)
	if err != nil || u.Host != l.Host() || u.Path != "/authorize" {
		t.Errorf("sent to %s (%v), want the issuer %s", to, err, l.Host())
	}
	q := u.Query()
	for name, want := range map[string]string{
		"client_id": "drydock", "response_type": "code", "state": "the state", "code_challenge_method": "S256",
		"redirect_uri": "https://drydock.example.com/console/login/callback", "scope": "openid profile email",
		"code_challenge": "1feKYP2squaeWAiJic4eC-LS4zxucSgWGrt51hG2aRA",
	} {
		if got := q.Get(name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
}

func TestLoginTakesTheIDToken(t *testing.T) {
	t.Parallel()
	answer := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			id, secret, ok := r.BasicAuth()
			if !ok { // what is refused is tried again in the other way
				id, secret = r.FormValue("client_id"), r.FormValue("client_secret")
			}
			if id != "drydock" || secret != "hush" || r.FormValue("code") != "c" || r.FormValue("code_verifier") != "v" {
				status, body = http.StatusTeapot, ""
			}
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	for name, tc := range map[string]struct {
		found  map[string]string
		answer http.HandlerFunc
		want   string
		kind   model.ErrorKind
	}{
		"an ID token":              {endpoints, answer(200, `{"access_token": "a", "token_type": "Bearer", "id_token": "x.y.z"}`), "x.y.z", ""},
		"no ID token":              {endpoints, answer(200, `{"access_token": "a", "token_type": "Bearer"}`), "", model.ErrorUnauthenticated},
		"a code that is refused":   {endpoints, answer(400, `{"error": "invalid_grant"}`), "", model.ErrorUnauthenticated},
		"an issuer in trouble":     {endpoints, answer(502, `oops`), "", model.ErrorUnavailable},
		"an issuer without logins": {map[string]string{"token_endpoint": "/token"}, answer(200, ``), "", model.ErrorUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := newLogin(t, tc.found, tc.answer).Finish(t.Context(), "c", "v")
			if got != tc.want || (err == nil) != (tc.kind == "") || err != nil && model.KindOf(err) != tc.kind {
				t.Errorf("Finish = %q, %v, want %q, %q", got, err, tc.want, tc.kind)
			}
		})
	}
}

func TestLoginBoundsHowOftenTheIssuerIsAsked(t *testing.T) {
	t.Parallel()
	l := newLogin(t, endpoints, http.NotFound)
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // nobody is asked
	for range exchangesAtOnce {
		_, _ = l.Finish(ctx, "c", "v")
	}
	if _, err := l.Finish(ctx, "c", "v"); err == nil || !strings.Contains(err.Error(), "too many") {
		t.Errorf("one more = %v, want that it is too many", err)
	}
}

func TestNewLoginChecksWhereItLeadsBack(t *testing.T) {
	t.Parallel()
	issuer, err := NewIssuer(IssuerConfig{URL: "https://login.example.com", Audience: "drydock"})
	if err != nil {
		t.Fatal(err)
	}
	for back, ok := range map[string]bool{
		"https://drydock.example.com/console/login/callback": true, "http://127.0.0.1:8080/console/login/callback": true,
		"http://drydock.example.com/console/login/callback": false, "/console/login/callback": false, "https://drydock.example.com/x?y=z": false, "": false,
	} {
		if _, err := NewLogin(issuer, LoginConfig{RedirectURL: back}); (err == nil) != ok {
			t.Errorf("NewLogin with %q: %v, want it fine: %t", back, err, ok)
		}
	}
}

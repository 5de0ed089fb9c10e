package e2e_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"drydock/embedded/redistest"
)

// issuer is an OpenID Connect issuer with one key.
type issuer struct {
	*httptest.Server

	key ed25519.PrivateKey
	// signIn answers for the people who sign in at the issuer: the token that they get.
	signIn func(clientID string) string
}

func startIssuer(t *testing.T) *issuer {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{key: private}
	mux := http.NewServeMux()
	answer := func(path string, body func() any) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(body()) })
	}
	answer("/.well-known/openid-configuration", func() any {
		return map[string]any{"issuer": i.URL, "jwks_uri": i.URL + "/keys", "authorization_endpoint": i.URL + "/authorize", "token_endpoint": i.URL + "/token",
			"id_token_signing_alg_values_supported": []string{"EdDSA"}}
	})
	answer("/keys", func() any {
		x := base64.RawURLEncoding.EncodeToString(public)
		return map[string]any{"keys": []any{map[string]any{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": "k", "x": x}}}
	})
	i.serveSignIn(mux)
	i.Server = httptest.NewServer(mux)
	t.Cleanup(i.Close)
	return i
}

// serveSignIn has a page that lets everybody in with one click, and gives for a code the token of signIn to who shows the verifier and the secret.
func (i *issuer) serveSignIn(mux *http.ServeMux) {
	challenges := sync.Map{}
	mux.HandleFunc("/authorize", func(w http.ResponseWriter, r *http.Request) {
		code := rand.Text()
		challenges.Store(code, r.FormValue("code_challenge"))
		back := r.FormValue("redirect_uri") + "?" + url.Values{"code": {code}, "state": {r.FormValue("state")}}.Encode()
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<link rel="icon" href="data:,"><a id="allow" href="%s">Allow %s</a>`, html.EscapeString(back), html.EscapeString(r.FormValue("client_id")))
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		id, secret, _ := r.BasicAuth()
		challenge, ok := challenges.LoadAndDelete(r.FormValue("code"))
		sum := sha256.Sum256([]byte(r.FormValue("code_verifier")))
		w.Header().Set("Content-Type", "application/json")
		if !ok || secret != "hush" || challenge != base64.RawURLEncoding.EncodeToString(sum[:]) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"error": "invalid_grant"}`))
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": "opaque", "token_type": "Bearer", "id_token": i.signIn(id)})
	})
}

// jwt makes a token for a subject with an email and groups.
func (i *issuer) jwt(email, audience string, groups ...string) string {
	part := func(v any) string {
		text, _ := json.Marshal(v)
		return base64.RawURLEncoding.EncodeToString(text)
	}
	text := part(map[string]any{"alg": "EdDSA", "kid": "k"}) + "." + part(map[string]any{
		"iss": i.URL, "aud": audience, "sub": "7", "email": email, "exp": time.Now().Add(time.Hour).Unix(), "realm_access": map[string]any{"roles": groups},
	})
	return text + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(i.key, []byte(text)))
}

// TestJWTsOfAnIssuer: from the flags to the owner and the author.
func TestJWTsOfAnIssuer(t *testing.T) {
	t.Parallel()
	i := startIssuer(t)
	server := startRedis(t)
	api := startAPI(t, server.URL(), "--oidc-issuer", i.URL, "--oidc-audience", "drydock", "--oidc-name-claim", "email", "--oidc-roles-claim", "realm_access.roles",
		"--oidc-roles", "rigs=admin@"+namespaceOf(t), "--oidc-roles", "devs=holder@"+namespaceOf(t)+"+lab")
	c := newClient(t, api.url)
	boss, dev := i.jwt("boss@example.com", "drydock", "choir", "rigs"), i.jwt("dev@example.com", "drydock", "devs")
	const pool = `{"kind": "pool", "type": "host", "config": {"hosts": [{"name": "h1"}]}}`
	eventually(t, func() error { // the issuer is found in the background
		if got := c.statusWith("PUT", "/v1/blueprints/lab", pool, boss); got != 201 {
			return fmt.Errorf("PUT by an admin = %d", got)
		}
		return nil
	})
	name, value := bearer(dev)
	if mine := must[lease](c, "POST", "/v1/leases", `{"type": "host"}`, 202, name, value); deref(mine.Owner) != "oidc:dev@example.com" {
		t.Errorf("the lease belongs to %q", deref(mine.Owner))
	}
	for what, test := range map[string]struct {
		token, path string
		want        int
	}{
		"another namespace of the group": {dev, "/v1/leases?namespace=lab", 200},
		"a namespace of nobody":          {dev, "/v1/leases?namespace=other", 404},
		"no group":                       {i.jwt("guest@example.com", "drydock"), "/v1/leases", 403},
		"another audience":               {i.jwt("boss@example.com", "console", "rigs"), "/v1/leases", 401},
		"a changed token":                {dev[:len(dev)-4] + "AAAA", "/v1/leases", 401},
		"nobody":                         {"", "/v1/leases", 401},
	} {
		if got := c.statusWith("GET", test.path, "", test.token); got != test.want {
			t.Errorf("%s: GET %s = %d, want %d", what, test.path, got, test.want)
		}
	}
}

// TestConsoleSignsInAtTheIssuer goes to the issuer and back with a browser, and is somebody then. A sign-in that this browser did not begin
// is refused.
func TestConsoleSignsInAtTheIssuer(t *testing.T) {
	t.Parallel()
	i := startIssuer(t)
	i.signIn = func(clientID string) string { return i.jwt("boss@example.com", clientID, "rigs") }
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("hush\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	address := net.JoinHostPort("127.0.0.1", fmt.Sprint(redistest.FreePort(t)))
	server := startRedis(t)
	api := start(t, nil, "api", "--redis", server.URL(), "--listen", address, "--oidc-issuer", i.URL, "--oidc-audience", "drydock", "--oidc-name-claim", "email",
		"--oidc-roles-claim", "realm_access.roles", "--oidc-roles", "rigs=admin@"+namespaceOf(t), "--oidc-redirect-url", "http://"+address+"/console/login/callback",
		"--oidc-client-secret-file", secret)
	api.says("found the issuer of tokens")
	api.says("serving the API")
	b := browser(t, "status of 401")
	var who, where, problem string
	drive(b, t, "want a page", chromedp.Navigate("http://"+address+"/console/leases?owner=ada"), see(".login a.button"))
	picture(b, t, "login-oidc")
	leave(b, t, ".login a.button")
	drive(b, t, "be at the issuer", see("#allow"), chromedp.Location(&where))
	if !strings.HasPrefix(where, i.URL+"/authorize?") {
		t.Errorf("the button leads to %s", where)
	}
	// The page that one comes back to leads on by itself, so which of the two it is that the click waits for is not known.
	drive(b, t, "come back", chromedp.Click("#allow", chromedp.ByQuery), chromedp.WaitReady(".live.on", chromedp.ByQuery),
		chromedp.Text(".who .muted", &who, chromedp.ByQuery), chromedp.Location(&where))
	if who != "oidc:boss@example.com (admin)" || where != "http://"+address+"/console/leases?owner=ada" {
		t.Errorf("signed in as %q at %s", who, where)
	}
	drive(b, t, "take a link of somebody else's sign-in", chromedp.Navigate("http://"+address+"/console/login/callback?code=theirs&state=theirs"),
		textOf(".login .notice.bad", &problem))
	if !strings.Contains(problem, "this browser did not begin that sign-in") {
		t.Errorf("a sign-in that this browser did not begin is told %q", problem)
	}
}

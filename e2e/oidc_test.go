package e2e_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"drydock/embedded/redistest"
)

// issuer is an OpenID Connect issuer with one key.
type issuer struct {
	*httptest.Server

	key ed25519.PrivateKey
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
		return map[string]any{"issuer": i.URL, "jwks_uri": i.URL + "/keys", "id_token_signing_alg_values_supported": []string{"EdDSA"}}
	})
	answer("/keys", func() any {
		x := base64.RawURLEncoding.EncodeToString(public)
		return map[string]any{"keys": []any{map[string]any{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": "k", "x": x}}}
	})
	i.Server = httptest.NewServer(mux)
	t.Cleanup(i.Close)
	return i
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
	server := redistest.Start(t)
	api := startAPI(t, server.URL(), "--oidc-issuer", i.URL, "--oidc-audience", "drydock", "--oidc-name-claim", "email", "--oidc-roles-claim", "realm_access.roles",
		"--oidc-roles", "rigs=admin@default", "--oidc-roles", "devs=holder@default+lab")
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

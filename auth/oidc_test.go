package auth

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"drydock/model"
)

// testIssuer is an OpenID Connect issuer on a loopback address.
type testIssuer struct {
	*httptest.Server

	t       testing.TB
	down    atomic.Bool
	fetches atomic.Int64

	mu   sync.Mutex
	keys map[string]*rsa.PrivateKey // by key id
}

func newTestIssuer(t testing.TB) *testIssuer {
	i := &testIssuer{t: t, keys: map[string]*rsa.PrivateKey{}}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{
			"issuer": i.URL, "jwks_uri": i.URL + "/keys", "id_token_signing_alg_values_supported": []string{"RS256", "HS256", "none"},
		})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		i.fetches.Add(1)
		i.mu.Lock()
		defer i.mu.Unlock()
		var keys []any
		for id, key := range i.keys {
			keys = append(keys, map[string]any{
				"kty": "RSA", "alg": "RS256", "use": "sig", "kid": id,
				"n": base64.RawURLEncoding.EncodeToString(key.N.Bytes()), "e": "AQAB",
			})
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": keys})
	})
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if i.down.Load() {
			http.Error(w, "down", http.StatusBadGateway)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(i.Close)
	i.addKey("k1")
	return i
}

func (i *testIssuer) addKey(id string) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		i.t.Fatal(err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys[id] = key
}

type claims = map[string]any

func part(v any) string {
	text, _ := json.Marshal(v)
	return base64.RawURLEncoding.EncodeToString(text)
}

// sign makes a JWT with the claims that a good one has, and those given.
func (i *testIssuer) sign(key string, extra claims) string {
	all := claims{"iss": i.URL, "aud": "drydock", "sub": "u1", "iat": testNow.Unix(), "exp": testNow.Add(time.Hour).Unix()}
	maps.Copy(all, extra)
	text := part(claims{"alg": "RS256", "kid": key}) + "." + part(all)
	sum := sha256.Sum256([]byte(text))
	i.mu.Lock()
	defer i.mu.Unlock()
	signature, err := rsa.SignPKCS1v15(rand.Reader, i.keys[key], crypto.SHA256, sum[:])
	if err != nil {
		i.t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// found returns an Issuer that knows the test's issuer.
func (i *testIssuer) found(change func(*IssuerConfig)) *Issuer {
	i.t.Helper()
	cfg := IssuerConfig{
		URL: i.URL, Audience: "drydock", NamePrefix: "oidc:", Client: i.Client(), Now: func() time.Time { return testNow },
		Grants: map[string][]Grant{"ops": {{RoleOperator, []string{"lab"}}}, "all": {{RoleViewer, []string{AllNamespaces}}}},
	}
	if change != nil {
		change(&cfg)
	}
	issuer, err := NewIssuer(cfg)
	if err != nil {
		i.t.Fatal(err)
	}
	issuer.Discover(i.t.Context())
	return issuer
}

func TestJWTOfTheIssuerLetsItsSubjectIn(t *testing.T) {
	t.Parallel()
	i := newTestIssuer(t)
	issuer := i.found(nil)
	id, err := issuer.Authenticate(t.Context(), i.sign("k1", claims{"groups": []string{"ops", "choir", "all"}}))
	want := &Identity{Name: "oidc:u1", Kind: KindOIDC, ID: "u1", Grants: []Grant{{RoleOperator, []string{"lab"}}, {RoleViewer, []string{AllNamespaces}}}}
	if diff := cmp.Diff(want, id); diff != "" || err != nil {
		t.Errorf("(-want +got):\n%s%v", diff, err)
	}
	if id, err := issuer.Authenticate(t.Context(), i.sign("k1", nil)); err != nil || len(id.Grants) != 0 {
		t.Errorf("without groups: %v, %v", id, err)
	}
}

func TestJWTsThatAreNoGood(t *testing.T) {
	t.Parallel()
	i := newTestIssuer(t)
	other := newTestIssuer(t)
	var log bytes.Buffer
	issuer := i.found(func(c *IssuerConfig) {
		c.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	good := i.sign("k1", nil)
	parts := strings.Split(good, ".")
	bad := map[string]string{
		"expired":             i.sign("k1", claims{"exp": testNow.Add(-time.Second).Unix()}),
		"not yet":             i.sign("k1", claims{"nbf": testNow.Add(time.Hour).Unix()}),
		"another audience":    i.sign("k1", claims{"aud": "console"}),
		"no audience":         i.sign("k1", claims{"aud": nil}),
		"another issuer":      i.sign("k1", claims{"iss": other.URL}),
		"another's key":       other.sign("k1", claims{"iss": i.URL}),
		"no signature":        parts[0] + "." + parts[1] + ".",
		"alg none":            part(claims{"alg": "none"}) + "." + parts[1] + ".",
		"alg HS256":           part(claims{"alg": "HS256", "kid": "k1"}) + "." + parts[1] + "." + parts[2],
		"other claims":        parts[0] + "." + part(claims{"sub": "root"}) + "." + parts[2],
		"no subject":          i.sign("k1", claims{"sub": nil}),
		"subject of two rows": i.sign("k1", claims{"sub": "a\nb"}),
		"rubbish":             "a.b.c",
		"two parts":           "a.b",
		"nothing":             "",
	}
	for name, jwt := range bad {
		id, err := issuer.Authenticate(t.Context(), jwt)
		if id != nil || model.KindOf(err) != model.ErrorUnauthenticated {
			t.Errorf("%s: %v, %v", name, id, err)
		}
	}
	if strings.Contains(log.String(), parts[1]) || strings.Contains(log.String(), parts[2]) {
		t.Errorf("the log holds a token:\n%s", log.String())
	}
	if id, err := issuer.Authenticate(t.Context(), good); err != nil {
		t.Errorf("the good one: %v, %v", id, err)
	}
}

func TestNamesAndGroupsFromOtherClaims(t *testing.T) {
	t.Parallel()
	i := newTestIssuer(t)
	issuer := i.found(func(c *IssuerConfig) { c.NameClaim, c.NamePrefix, c.RolesClaim = "email", "", "realm_access.roles" })
	tests := map[string]struct {
		claims claims
		name   string
		grants int
	}{
		"verified":           {claims{"email": "ada@example.com", "email_verified": true, "realm_access": claims{"roles": "ops"}}, "ada@example.com", 1},
		"nothing said":       {claims{"email": "ada@example.com", "realm_access.roles": []any{"ops", "all", 7}}, "ada@example.com", 2},
		"unverified":         {claims{"email": "ada@example.com", "email_verified": false}, "", 0},
		"verified, it says":  {claims{"email": "ada@example.com", "email_verified": "true"}, "", 0},
		"no email":           {claims{}, "", 0},
		"a list of them":     {claims{"email": []string{"ada@example.com"}}, "", 0},
		"Drydock's own name": {claims{"email": "drydock"}, "", 0},
		"groups of no use":   {claims{"email": "ada@example.com", "realm_access": "ops"}, "ada@example.com", 0},
	}
	for name, test := range tests {
		id, err := issuer.Authenticate(t.Context(), i.sign("k1", test.claims))
		switch {
		case test.name == "" && model.KindOf(err) != model.ErrorUnauthenticated:
			t.Errorf("%s: %v, %v", name, id, err)
		case test.name != "" && (err != nil || id.Name != test.name || len(id.Grants) != test.grants):
			t.Errorf("%s: %+v, %v, want %s with %d grants", name, id, err, test.name, test.grants)
		}
	}
}

func TestNewKeysAreFetched(t *testing.T) {
	t.Parallel()
	i := newTestIssuer(t)
	issuer := i.found(nil)
	for _, key := range []string{"k1", "k2"} {
		if key != "k1" {
			i.addKey(key)
		}
		if _, err := issuer.Authenticate(t.Context(), i.sign(key, nil)); err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
}

// TestRubbishDoesNotTurnUsOnTheIssuer: each token with a wrong signature would otherwise be a request to it.
func TestRubbishDoesNotTurnUsOnTheIssuer(t *testing.T) {
	t.Parallel()
	i := newTestIssuer(t)
	issuer := i.found(nil)
	other := newTestIssuer(t)
	good, forged := i.sign("k1", nil), other.sign("k1", claims{"iss": i.URL})
	if _, err := issuer.Authenticate(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	for range 200 {
		if _, err := issuer.Authenticate(t.Context(), forged); model.KindOf(err) != model.ErrorUnauthenticated {
			t.Fatalf("forged: %v", err)
		}
	}
	if most := fetchesAtOnce + int64(time.Since(begin).Seconds()*fetchesPerSecond) + 1; i.fetches.Load() > most {
		t.Errorf("%d fetches, want at most %d", i.fetches.Load(), most)
	}
	if _, err := issuer.Authenticate(t.Context(), good); err != nil {
		t.Errorf("the good token afterwards: %v", err)
	}
}

// TestIssuerThatIsDownIsNotTheCallersFault: 503, which passes, and not 401, which makes programs throw their token away.
func TestIssuerThatIsDownIsNotTheCallersFault(t *testing.T) {
	t.Parallel()
	i := newTestIssuer(t)
	i.down.Store(true)
	issuer, err := NewIssuer(IssuerConfig{URL: i.URL, Audience: "drydock", Client: i.Client(), Now: func() time.Time { return testNow }})
	if err != nil {
		t.Fatal(err)
	}
	jwt := i.sign("k1", nil)
	if _, err := issuer.Authenticate(t.Context(), jwt); model.KindOf(err) != model.ErrorUnavailable {
		t.Errorf("before discovery: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	issuer.Discover(ctx) // returns
	i.down.Store(false)
	issuer.Discover(t.Context())
	i.down.Store(true)
	if _, err := issuer.Authenticate(t.Context(), jwt); model.KindOf(err) != model.ErrorUnavailable {
		t.Errorf("without keys: %v", err)
	}
	i.down.Store(false)
	if _, err := issuer.Authenticate(t.Context(), jwt); err != nil {
		t.Errorf("when it is back: %v", err)
	}
	i.down.Store(true)
	if _, err := issuer.Authenticate(t.Context(), jwt); err != nil {
		t.Errorf("with the keys at hand: %v", err)
	}
}

func TestConfigOfAnIssuerIsChecked(t *testing.T) {
	t.Parallel()
	good := IssuerConfig{URL: "https://login.example.com/realms/x", Audience: "drydock"}
	if _, err := NewIssuer(good); err != nil {
		t.Errorf("%+v: %v", good, err)
	}
	for _, url := range []string{"", "login.example.com", "http://login.example.com", "ftp://127.0.0.1", "https://u:p@login.example.com", "https://x/?y", "https://x/#y", "://"} {
		if _, err := NewIssuer(IssuerConfig{URL: url, Audience: "drydock"}); model.KindOf(err) != model.ErrorInvalid {
			t.Errorf("URL %q: %v", url, err)
		}
	}
	for name, cfg := range map[string]IssuerConfig{
		"no audience": {URL: good.URL},
		"bad role":    {URL: good.URL, Audience: "drydock", Grants: map[string][]Grant{"ops": {{"root", []string{"lab"}}}}},
	} {
		if _, err := NewIssuer(cfg); model.KindOf(err) != model.ErrorInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParseGrant(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Grant{
		"ops=operator@lab":                     {RoleOperator, []string{"lab"}},
		"ops=viewer@lab+ci":                    {RoleViewer, []string{"lab", "ci"}},
		"cn=ops,dc=example@home=admin@*":       {RoleAdmin, []string{AllNamespaces}},
		"https://example.com/g?a=b=holder@a.b": {RoleHolder, []string{"a.b"}},
	} {
		group, g, err := ParseGrant(text)
		if diff := cmp.Diff(want, g); diff != "" || err != nil || !strings.HasPrefix(text, group+"=") {
			t.Errorf("ParseGrant(%q) = %q, %v, %v", text, group, g, err)
		}
	}
	for _, text := range []string{"", "ops", "=admin@*", "ops=admin", "ops=admin@", "ops=root@*", "ops=admin@a,b", "ops=admin@a+", "ops=@*"} {
		if _, g, err := ParseGrant(text); model.KindOf(err) != model.ErrorInvalid {
			t.Errorf("ParseGrant(%q) = %v, %v", text, g, err)
		}
	}
}

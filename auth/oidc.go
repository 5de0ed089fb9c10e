package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/time/rate"

	"drydock/model"
)

// IssuerConfig says whose JWTs are taken and what their claims mean.
type IssuerConfig struct {
	// URL is the issuer, spelt as in its tokens: https, or http on a loopback address. Below it is its discovery document.
	URL string
	// Audience must be among a token's audiences: the name by which the issuer knows this Drydock.
	Audience string
	// NameClaim holds the name; default "sub". "email" counts only as long as the issuer does not say that it is unverified.
	NameClaim string
	// NamePrefix comes before the name, so that nobody at the issuer can have the name of a token's holder; default none.
	NamePrefix string
	// RolesClaim holds the groups, as a text or a list of texts; default "groups". A dot leads into an object: "realm_access.roles".
	RolesClaim string
	// Grants are what the members of a group get.
	Grants map[string][]Grant

	// Client speaks to the issuer; default one with a timeout of ten seconds.
	Client *http.Client
	// Log takes why tokens were refused, at debug level, and whether the issuer can be reached; default [slog.Default].
	Log *slog.Logger
	// Now is the clock; default [time.Now].
	Now func() time.Time
}

// Issuer is an [Authenticator] by the JWTs of an OpenID Connect issuer: its signature, issuer, audience and times must be right.
type Issuer struct {
	cfg IssuerConfig
	// verifier is nil until [Issuer.Discover] has found the issuer.
	verifier atomic.Pointer[oidc.IDTokenVerifier]
	// endpoint is where people sign in; nil until then, too.
	endpoint atomic.Pointer[oauth2.Endpoint]
	// direct is the client without the limit on fetching keys.
	direct *http.Client
}

// NewIssuer checks the configuration. It speaks to nobody: [Issuer.Discover] does. Errors are [model.ErrorInvalid] and name the field.
func NewIssuer(cfg IssuerConfig) (*Issuer, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" ||
		u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())) {
		return nil, model.Invalid("issuer", "must be a URL such as https://login.example.com, not %s", model.Quote(cfg.URL))
	}
	if cfg.Audience == "" {
		return nil, model.Invalid("audience", "is required: without it a token that the issuer made for another service would do")
	}
	for group, grants := range cfg.Grants {
		for _, g := range grants {
			if err := g.check(); err != nil {
				return nil, fmt.Errorf("grant of group %s: %w", model.Quote(group), err)
			}
		}
	}
	if cfg.NameClaim == "" {
		cfg.NameClaim = "sub"
	}
	if cfg.RolesClaim == "" {
		cfg.RolesClaim = "groups"
	}
	if cfg.Client == nil {
		cfg.Client = &http.Client{Timeout: 10 * time.Second}
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	direct := cfg.Client
	client := *cfg.Client
	client.Transport = &issuerTransport{next: client.Transport, limit: rate.NewLimiter(fetchesPerSecond, fetchesAtOnce)}
	cfg.Client = &client
	return &Issuer{cfg: cfg, direct: direct}, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Any token with a wrong signature makes the issuer's keys be fetched anew, since they may have changed. The limit keeps those who
// send rubbish from turning us on the issuer; the keys are then about a second old at most, and a token that they do not verify is no good.
const (
	fetchesPerSecond = 1
	fetchesAtOnce    = 5
)

var (
	// errIssuer is wrapped by whatever went wrong between the issuer and us.
	errIssuer = errors.New("the issuer of tokens cannot be reached")
	// errFetchedJustNow says that the keys are fresh enough.
	errFetchedJustNow = errors.New("the keys of the issuer were fetched a moment ago")
)

// errNotFoundYet says that there are no keys to judge a JWT by.
var errNotFoundYet = &model.Error{Kind: model.ErrorUnavailable, Message: "the issuer of tokens has not been reached yet", Cause: errIssuer}

// issuerTransport bounds how often the issuer is asked, and marks its failures.
type issuerTransport struct {
	next  http.RoundTripper
	limit *rate.Limiter
}

// RoundTrip implements [http.RoundTripper].
func (t *issuerTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if !t.limit.Allow() {
		return nil, errFetchedJustNow
	}
	next := t.next
	if next == nil {
		next = http.DefaultTransport
	}
	resp, err := next.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errIssuer, err)
	}
	if resp.StatusCode >= http.StatusInternalServerError {
		_ = resp.Body.Close()
		return nil, fmt.Errorf("%w: it answers %s", errIssuer, resp.Status)
	}
	return resp, nil
}

// Discover finds the issuer's keys by its discovery document, and tries again until it has or ctx ends. Until then no JWT can be judged.
func (i *Issuer) Discover(ctx context.Context) {
	const first, longest = time.Second, time.Minute
	for delay := first; ; delay = min(2*delay, longest) {
		err := i.discover(ctx)
		if err == nil {
			i.cfg.Log.Info("found the issuer of tokens", "issuer", i.cfg.URL)
			return
		}
		if ctx.Err() != nil {
			return
		}
		i.cfg.Log.Error("cannot use the issuer of tokens yet; its tokens are answered with 503", "issuer", i.cfg.URL, "error", err, "again_in", delay)
		select {
		case <-ctx.Done():
			return
		case <-time.After(delay):
		}
	}
}

func (i *Issuer) discover(ctx context.Context) error {
	ctx = oidc.ClientContext(ctx, i.cfg.Client)
	provider, err := oidc.NewProvider(ctx, i.cfg.URL)
	if err != nil {
		return err
	}
	var found struct {
		Keys       string   `json:"jwks_uri"`
		Algorithms []string `json:"id_token_signing_alg_values_supported"`
	}
	if err := provider.Claims(&found); err != nil {
		return err
	}
	found.Algorithms = slices.DeleteFunc(found.Algorithms, func(alg string) bool { return !slices.Contains(algorithms, alg) })
	i.verifier.Store(oidc.NewVerifier(i.cfg.URL, keySet{oidc.NewRemoteKeySet(ctx, found.Keys)}, &oidc.Config{
		ClientID: i.cfg.Audience, SupportedSigningAlgs: found.Algorithms, Now: i.cfg.Now,
	}))
	endpoint := provider.Endpoint()
	i.endpoint.Store(&endpoint)
	return nil
}

// algorithms are the signatures that are taken if the issuer makes them: all with a private key, so that "none" and those by a shared
// secret are out.
var algorithms = []string{
	oidc.RS256, oidc.RS384, oidc.RS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.EdDSA,
}

// failureKey is where Authenticate puts a variable for the error of keySet, which the verifier turns into a text.
type failureKey struct{}

// keySet are the issuer's keys.
type keySet struct{ oidc.KeySet }

// VerifySignature implements [oidc.KeySet].
func (k keySet) VerifySignature(ctx context.Context, jwt string) ([]byte, error) {
	payload, err := k.KeySet.VerifySignature(ctx, jwt)
	if failure, ok := ctx.Value(failureKey{}).(*error); ok {
		*failure = err
	}
	return payload, err
}

// Authenticate implements [Authenticator].
func (i *Issuer) Authenticate(ctx context.Context, credential string) (*Identity, error) {
	if strings.Count(credential, ".") != 2 { //nolint:mnd // a JWT has three parts
		return nil, errUnknown
	}
	verifier := i.verifier.Load()
	if verifier == nil {
		return nil, errNotFoundYet
	}
	var failure error
	token, err := verifier.Verify(context.WithValue(ctx, failureKey{}, &failure), credential)
	switch {
	case err == nil:
	case errors.Is(failure, errIssuer) || ctx.Err() != nil:
		return nil, &model.Error{Kind: model.ErrorUnavailable, Message: errIssuer.Error(), Cause: err}
	default:
		i.cfg.Log.Debug("a JWT is refused", "reason", oneLine(err))
		if _, ok := errors.AsType[*oidc.TokenExpiredError](err); ok {
			return nil, errExpired
		}
		return nil, errUnknown
	}
	var claims map[string]any
	if err := token.Claims(&claims); err != nil {
		return nil, errUnknown
	}
	id, err := i.identity(claims)
	if err != nil {
		i.cfg.Log.Debug("a JWT is refused", "reason", oneLine(err))
		return nil, err
	}
	id.ID = token.Subject
	return id, nil
}

// identity reads the claims of a token that was found good.
func (i *Issuer) identity(claims map[string]any) (*Identity, error) {
	name, ok := claim(claims, i.cfg.NameClaim).(string)
	if !ok || name == "" {
		return nil, model.Errorf(model.ErrorUnauthenticated, "the token has no text in claim %s", i.cfg.NameClaim)
	}
	if verified, said := claims["email_verified"]; i.cfg.NameClaim == "email" && said && verified != true {
		return nil, model.Errorf(model.ErrorUnauthenticated, "the token's email is not verified")
	}
	name = i.cfg.NamePrefix + name
	if err := checkName(name); err != nil {
		return nil, &model.Error{Kind: model.ErrorUnauthenticated, Message: "the token's claim " + i.cfg.NameClaim + " cannot be a name", Cause: err}
	}
	id := &Identity{Name: name, Kind: KindOIDC}
	for _, group := range textsOf(claim(claims, i.cfg.RolesClaim)) {
		id.Grants = append(id.Grants, i.cfg.Grants[group]...)
	}
	return id, nil
}

// claim returns a claim by its name, or by a path with dots into objects; nil when there is none.
func claim(claims map[string]any, path string) any {
	if v, ok := claims[path]; ok {
		return v
	}
	name, rest, ok := strings.Cut(path, ".")
	if inner, isObject := claims[name].(map[string]any); ok && isObject {
		return claim(inner, rest)
	}
	return nil
}

// textsOf returns the texts of a claim that is one or a list.
func textsOf(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		var texts []string
		for _, item := range v {
			if s, ok := item.(string); ok {
				texts = append(texts, s)
			}
		}
		return texts
	}
	return nil
}

// ParseGrant reads what a group gets, written GROUP=ROLE@NAMESPACE+NAMESPACE; "*" is all namespaces. Errors are [model.ErrorInvalid].
func ParseGrant(text string) (group string, g Grant, err error) {
	at := strings.LastIndexByte(text, '=') // names of groups hold all sorts of characters
	if at < 1 {
		return "", g, model.Invalid("", "must be GROUP=ROLE@NAMESPACE, such as ops=operator@default, not %s", model.Quote(text))
	}
	role, namespaces, ok := strings.Cut(text[at+1:], "@")
	if !ok {
		return "", g, model.Invalid("", "%s lacks the namespaces: GROUP=ROLE@NAMESPACE+NAMESPACE, or @* for all", model.Quote(text))
	}
	g = Grant{Role: Role(role), Namespaces: strings.Split(namespaces, "+")}
	return text[:at], g, g.check()
}

var _ Authenticator = (*Issuer)(nil)

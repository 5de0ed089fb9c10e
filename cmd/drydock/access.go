package main

import (
	"context"
	"crypto/tls"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"

	"github.com/urfave/cli/v3"

	"drydock/api"
	"drydock/auth"
	"drydock/console"
	"drydock/model"
)

// accessOptions say who may call the API, from where and over what.
type accessOptions struct {
	tokenFile            string
	oidcIssuer           string
	oidcAudience         string
	oidcNameClaim        string
	oidcNamePrefix       string
	oidcRolesClaim       string
	oidcRoles            []string
	oidcRedirectURL      string
	oidcClientSecretFile string
	insecureNoAuth       bool
	metricsOpen          bool
	trustedProxies       []string
	rateLimit            float64
	rateBurst            int
	corsOrigins          []string
	tlsCert              string
	tlsKey               string
}

func (o *accessOptions) flags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{
			Name: "token-file", Sources: env("token-file"), Destination: &o.tokenFile, TakesFile: true,
			Usage: "let in the tokens of this `FILE` (see drydock token); changes to it count within a second",
		},
		&cli.StringFlag{
			Name: "oidc-issuer", Sources: env("oidc-issuer"), Destination: &o.oidcIssuer,
			Usage: "let in JWTs of the OpenID Connect issuer at this `URL`",
		},
		&cli.StringFlag{
			Name: "oidc-audience", Sources: env("oidc-audience"), Destination: &o.oidcAudience,
			Usage: "the `NAME` by which the issuer knows this server; a JWT must be meant for it",
		},
		&cli.StringFlag{
			Name: "oidc-name-claim", Sources: env("oidc-name-claim"), Value: "sub", Destination: &o.oidcNameClaim,
			Usage: "the `CLAIM` that names the caller, such as email",
		},
		&cli.StringFlag{
			Name: "oidc-name-prefix", Sources: env("oidc-name-prefix"), Value: "oidc:", Destination: &o.oidcNamePrefix,
			Usage: "`TEXT` before that name, so that nobody at the issuer is taken for the holder of a token",
		},
		&cli.StringFlag{
			Name: "oidc-roles-claim", Sources: env("oidc-roles-claim"), Value: "groups", Destination: &o.oidcRolesClaim,
			Usage: "the `CLAIM` that lists the caller's groups; dots lead into objects",
		},
		&cli.StringSliceFlag{
			Name: "oidc-roles", Sources: env("oidc-roles"), Destination: &o.oidcRoles,
			Usage: "what a group may do, as `GROUP=ROLE@NAMESPACE+NAMESPACE` or …@* (repeatable); roles: " + model.Join(auth.Roles()),
		},
		&cli.StringFlag{
			Name: "oidc-redirect-url", Sources: env("oidc-redirect-url"), Destination: &o.oidcRedirectURL,
			Usage: "let people sign in to the console at the issuer, which sends them back to this `URL`: this server's, with the path " + console.CallbackPath,
		},
		&cli.StringFlag{
			Name: "oidc-client-secret-file", Sources: env("oidc-client-secret-file"), Destination: &o.oidcClientSecretFile, TakesFile: true,
			Usage: "the `FILE` with the secret that the issuer asks of this server for that; without it the client is a public one",
		},
		&cli.BoolFlag{
			Name: "insecure-no-auth", Sources: env("insecure-no-auth"), Destination: &o.insecureNoAuth,
			Usage: "serve without authentication on an address that others can reach: everybody may do everything",
		},
		&cli.BoolFlag{
			Name: "metrics-open", Sources: env("metrics-open"), Destination: &o.metricsOpen,
			Usage: "show /metrics to everybody, not only to viewers of all namespaces",
		},
		&cli.StringSliceFlag{
			Name: "trusted-proxy", Sources: env("trusted-proxy"), Destination: &o.trustedProxies,
			Usage: "believe X-Forwarded-For from this `NETWORK`, such as 10.0.0.0/24 (repeatable); default from nobody",
		},
		&cli.FloatFlag{
			Name: "rate-limit", Sources: env("rate-limit"), Destination: &o.rateLimit,
			Usage: "requests per second that a token may send, and an address without one; 0 = any number",
		},
		&cli.IntFlag{
			Name: "rate-burst", Sources: env("rate-burst"), Destination: &o.rateBurst,
			Usage: "requests that it may send at once; 0 = two seconds' worth",
		},
		&cli.StringSliceFlag{
			Name: "cors-origin", Sources: env("cors-origin"), Destination: &o.corsOrigins,
			Usage: "let pages of this `SITE`, such as https://console.example.com, call the API (repeatable); default only its own",
		},
		&cli.StringFlag{
			Name: "tls-cert", Sources: env("tls-cert"), Destination: &o.tlsCert, TakesFile: true,
			Usage: "serve HTTPS with the certificate chain in this PEM `FILE`; a new one counts within a second",
		},
		&cli.StringFlag{
			Name: "tls-key", Sources: env("tls-key"), Destination: &o.tlsKey, TakesFile: true,
			Usage: "the certificate's key, a PEM `FILE`",
		},
	}
}

// access is what stands between the world and the API.
type access struct {
	auth   auth.Authenticator // nil = everybody may do everything
	issuer *auth.Issuer       // nil = none
	login  console.Redirect   // nil = people do not sign in at the issuer
	tls    *tls.Config        // nil = plain HTTP
	// files are read again when they change.
	files    []reloadable
	proxies  []netip.Prefix
	insecure bool
	// onHangUp has SIGHUP read the files again. Without it the signal ends the process, as a closed terminal should.
	onHangUp bool
}

// open reads what the options name. Errors name the flag.
func (o *accessOptions) open(log *slog.Logger) (*access, error) {
	a := &access{insecure: o.insecureNoAuth}
	if err := o.check(); err != nil {
		return nil, err
	}
	var ways auth.Authenticators
	if o.tokenFile != "" {
		tokens, err := auth.OpenTokenFile(o.tokenFile)
		if err != nil {
			return nil, model.Invalid("--token-file", "%s", err)
		}
		if tokens.Len() == 0 {
			log.Warn("the token file holds no tokens: they let nobody in", "file", o.tokenFile)
		}
		ways.Tokens, a.files = tokens, append(a.files, tokens)
	}
	if o.oidcIssuer != "" {
		issuer, err := o.openIssuer(log)
		if err != nil {
			return nil, err
		}
		ways.JWTs, a.issuer = issuer, issuer
		if a.login, err = o.openLogin(issuer); err != nil {
			return nil, err
		}
	}
	if ways != (auth.Authenticators{}) {
		a.auth = ways
	}
	for _, network := range o.trustedProxies {
		prefix, err := parseNetwork(network)
		if err != nil {
			return nil, model.Invalid("--trusted-proxy", "%s is not a network such as 10.0.0.0/24", model.Quote(network))
		}
		a.proxies = append(a.proxies, prefix)
	}
	if o.tlsCert != "" {
		cert := &certificate{certFile: o.tlsCert, keyFile: o.tlsKey}
		if err := cert.Reload(); err != nil {
			return nil, model.Invalid("--tls-cert", "%s", err)
		}
		a.files = append(a.files, cert)
		a.tls = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: cert.get}
	}
	return a, nil
}

// check checks the options that must fit together.
func (o *accessOptions) check() error {
	switch {
	case o.insecureNoAuth && (o.tokenFile != "" || o.oidcIssuer != ""):
		return model.Invalid("--insecure-no-auth", "does not go with --token-file or --oidc-issuer, which ask for authentication")
	case o.oidcIssuer == "" && (o.oidcAudience != "" || len(o.oidcRoles) > 0 || o.oidcRedirectURL != "" || o.oidcClientSecretFile != ""):
		return model.Invalid("--oidc-issuer", "is required by the other --oidc flags")
	case o.oidcClientSecretFile != "" && o.oidcRedirectURL == "":
		return model.Invalid("--oidc-client-secret-file", "goes with --oidc-redirect-url")
	case (o.tlsCert == "") != (o.tlsKey == ""):
		return model.Invalid("--tls-cert", "goes with --tls-key")
	case o.rateLimit < 0 || math.IsNaN(o.rateLimit) || math.IsInf(o.rateLimit, 0):
		return model.Invalid("--rate-limit", "must be a number that is not negative")
	case o.rateBurst < 0:
		return model.Invalid("--rate-burst", "must not be negative")
	case o.rateBurst > 0 && o.rateLimit == 0:
		return model.Invalid("--rate-burst", "goes with --rate-limit")
	}
	for _, origin := range o.corsOrigins {
		if err := http.NewCrossOriginProtection().AddTrustedOrigin(origin); err != nil || strings.ContainsAny(origin, "*?") {
			return model.Invalid("--cors-origin", "%s is not a site such as https://console.example.com", model.Quote(origin))
		}
	}
	return nil
}

func (o *accessOptions) openIssuer(log *slog.Logger) (*auth.Issuer, error) {
	grants := map[string][]auth.Grant{}
	for _, text := range o.oidcRoles {
		group, g, err := auth.ParseGrant(text)
		if err != nil {
			return nil, model.Invalid("--oidc-roles", "%s", err)
		}
		grants[group] = append(grants[group], g)
	}
	issuer, err := auth.NewIssuer(auth.IssuerConfig{
		URL: o.oidcIssuer, Audience: o.oidcAudience, NameClaim: o.oidcNameClaim, NamePrefix: o.oidcNamePrefix, RolesClaim: o.oidcRolesClaim,
		Grants: grants, Log: log,
	})
	if err != nil {
		return nil, model.Invalid("--oidc-issuer", "%s", err)
	}
	return issuer, nil
}

// openLogin returns how people sign in at the issuer; nil = they do not.
func (o *accessOptions) openLogin(issuer *auth.Issuer) (console.Redirect, error) {
	if o.oidcRedirectURL == "" {
		return nil, nil //nolint:nilnil // they do not
	}
	if !strings.HasSuffix(o.oidcRedirectURL, console.CallbackPath) {
		return nil, model.Invalid("--oidc-redirect-url", "must end in %s", console.CallbackPath)
	}
	cfg := auth.LoginConfig{RedirectURL: o.oidcRedirectURL}
	if o.oidcClientSecretFile != "" {
		secret, err := os.ReadFile(o.oidcClientSecretFile)
		if err != nil {
			return nil, model.Invalid("--oidc-client-secret-file", "%s", err)
		}
		if cfg.Secret = strings.TrimSpace(string(secret)); cfg.Secret == "" {
			return nil, model.Invalid("--oidc-client-secret-file", "holds no secret")
		}
	}
	login, err := auth.NewLogin(issuer, cfg)
	if err != nil {
		return nil, model.Invalid("--oidc-redirect-url", "%s", err)
	}
	return login, nil
}

// parseNetwork reads a network, or an address as a network of one.
func parseNetwork(s string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(s); err == nil {
		return addr.Prefix(addr.BitLen())
	}
	return netip.ParsePrefix(s)
}

// checkAddress refuses to serve everybody on an address that others can reach, unless that is what was asked for.
func (a *access) checkAddress(addr net.Addr, log *slog.Logger) error {
	tcp, ok := addr.(*net.TCPAddr)
	switch {
	case ok && tcp.IP.IsLoopback():
	case a.auth == nil && !a.insecure:
		return model.Invalid("--listen", "%s can be reached from other machines, and there is no authentication: give --token-file or "+
			"--oidc-issuer, listen on 127.0.0.1, or say --insecure-no-auth", addr)
	case a.auth == nil:
		log.Warn("serving WITHOUT AUTHENTICATION: whoever reaches this address may do everything", "address", addr.String())
	case a.tls == nil:
		log.Warn("tokens travel in the clear to this address; use --tls-cert, or let only a proxy that speaks TLS reach it", "address", addr.String())
	}
	return nil
}

// url is where the API is served.
func (a *access) url(addr net.Addr) string {
	if a.tls != nil {
		return "https://" + addr.String()
	}
	return "http://" + addr.String()
}

// configure sets what the API has to know.
func (a *access) configure(cfg *api.Config, o *accessOptions) {
	cfg.Auth, cfg.OpenMetrics, cfg.TrustedProxies = a.auth, o.metricsOpen, a.proxies
	cfg.RateLimit, cfg.RateBurst, cfg.CORSOrigins = o.rateLimit, o.rateBurst, o.corsOrigins
}

// start finds the issuer and watches the files until ctx ends. The returned function waits for that.
func (a *access) start(ctx context.Context, log *slog.Logger) (wait func()) {
	var wg sync.WaitGroup
	if a.issuer != nil {
		wg.Go(func() { a.issuer.Discover(ctx) })
	}
	if len(a.files) > 0 {
		wg.Go(func() { watchFiles(ctx, log, a.files, a.onHangUp) })
	}
	return wg.Wait
}

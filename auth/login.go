package auth

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/time/rate"

	"drydock/model"
)

// LoginConfig says how people sign in at an issuer and come back with a JWT of theirs.
type LoginConfig struct {
	// RedirectURL is where the issuer sends them back to, as it is registered there: https, or http on a loopback address.
	RedirectURL string
	// Secret is shown to the issuer with the audience as the client's id; empty = a public client, which PKCE alone protects.
	Secret string
}

// Login leads people to an [Issuer] and back: the authorization code flow of OpenID Connect, with PKCE.
type Login struct {
	issuer *Issuer
	cfg    LoginConfig
	client *http.Client
	limit  *rate.Limiter
}

// Anybody can pretend to come back from the issuer, and each time the issuer is asked.
const (
	exchangesPerSecond = 10
	exchangesAtOnce    = 20
)

// NewLogin checks the configuration. Errors are [model.ErrorInvalid].
func NewLogin(issuer *Issuer, cfg LoginConfig) (*Login, error) {
	u, err := url.Parse(cfg.RedirectURL)
	if err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())) {
		return nil, model.Invalid("redirect_url", "must be a URL such as https://drydock.example.com/console/login/callback, not %s", model.Quote(cfg.RedirectURL))
	}
	return &Login{issuer: issuer, cfg: cfg, client: issuer.direct, limit: rate.NewLimiter(exchangesPerSecond, exchangesAtOnce)}, nil
}

// Host names the issuer to people.
func (l *Login) Host() string {
	u, err := url.Parse(l.issuer.cfg.URL)
	if err != nil {
		return l.issuer.cfg.URL
	}
	return u.Host
}

func (l *Login) oauth() (*oauth2.Config, error) {
	found := l.issuer.endpoint.Load()
	if found == nil {
		return nil, errNotFoundYet
	}
	endpoint := *found
	if endpoint.AuthURL == "" || endpoint.TokenURL == "" {
		return nil, model.Errorf(model.ErrorUnavailable, "nobody can sign in at the issuer: it names no authorization_endpoint or no token_endpoint")
	}
	if l.cfg.Secret == "" {
		endpoint.AuthStyle = oauth2.AuthStyleInParams // so that the issuer is not shown an empty password first
	}
	return &oauth2.Config{
		ClientID: l.issuer.cfg.Audience, ClientSecret: l.cfg.Secret, Endpoint: endpoint, RedirectURL: l.cfg.RedirectURL,
		Scopes: []string{oidc.ScopeOpenID, "profile", "email"},
	}, nil
}

// Begin returns where to send somebody who wants to sign in. The issuer sends them back with the state and a code for [Login.Finish], which
// needs the same verifier; both are random texts of at least 43 characters. An error is [model.ErrorUnavailable]: the issuer has not been
// found yet.
func (l *Login) Begin(state, verifier string) (string, error) {
	cfg, err := l.oauth()
	if err != nil {
		return "", err
	}
	return cfg.AuthCodeURL(state, oauth2.S256ChallengeOption(verifier)), nil
}

// Finish turns the code of somebody who came back into their JWT, which nobody has judged yet: [Issuer.Authenticate] does. Errors:
// [model.ErrorUnauthenticated] when the issuer does not take the code, [model.ErrorUnavailable].
func (l *Login) Finish(ctx context.Context, code, verifier string) (string, error) {
	cfg, err := l.oauth()
	if err != nil {
		return "", err
	}
	if !l.limit.Allow() {
		return "", model.Errorf(model.ErrorUnavailable, "too many people sign in at once; try again")
	}
	token, err := cfg.Exchange(oidc.ClientContext(ctx, l.client), code, oauth2.VerifierOption(verifier))
	if refused, ok := errors.AsType[*oauth2.RetrieveError](err); ok && refused.Response.StatusCode < http.StatusInternalServerError {
		l.issuer.cfg.Log.Debug("the issuer refuses a code", "reason", oneLine(err))
		return "", &model.Error{Kind: model.ErrorUnauthenticated, Message: "the issuer does not take the code that it gave; sign in again", Cause: err}
	}
	if err != nil {
		return "", &model.Error{Kind: model.ErrorUnavailable, Message: errIssuer.Error(), Cause: err}
	}
	jwt, _ := token.Extra("id_token").(string)
	if strings.TrimSpace(jwt) == "" {
		return "", model.Errorf(model.ErrorUnauthenticated, "the issuer gave no ID token")
	}
	return jwt, nil
}

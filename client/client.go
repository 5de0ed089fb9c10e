package client

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"drydock/api/wire"
	"drydock/model"
)

// DefaultServer is where `drydock dev` and `drydock api` serve unless told otherwise.
const DefaultServer = "http://127.0.0.1:8080"

// Config says whom a [Client] speaks to and how. The zero value is a client of [DefaultServer].
type Config struct {
	// Server is the URL of the API, without /v1; default [DefaultServer].
	Server string
	// Token is sent as a bearer token; empty = none.
	Token string
	// Namespace is the namespace of all requests; default [wire.DefaultNamespace].
	Namespace string
	// Author says who sends the commands. It is a label: nothing proves it. Empty = the server decides.
	Author string
	// Via is [model.ViaCLI] or [model.ViaConsole] for a client that is one of them; empty = the API itself.
	Via model.Via
	// UserAgent is kept with each command; default "drydock-client".
	UserAgent string

	// HTTP sends the requests; default a client of its own. It should have no Timeout, which would end waiting reads.
	HTTP *http.Client
	// Retry says how often and when a request is sent again; see its fields for the defaults.
	Retry Retry
	// AttemptTimeout bounds one attempt, without the waiting of a waiting read; default 30s.
	AttemptTimeout time.Duration
}

// Retry bounds how requests are sent again.
type Retry struct {
	// Attempts is how often a request is sent at most; default 6, 1 = never again.
	Attempts int
	// Base is the delay before the second attempt; it doubles for each further one, up to Max, and half of it is left to chance.
	// Default 100ms.
	Base time.Duration
	// Max bounds a delay; default 5s. A server whose Retry-After asks for longer is not asked again.
	Max time.Duration
}

// Client is a client of the API. Its methods may be called concurrently.
type Client struct {
	cfg  Config
	base *url.URL
}

// New returns a client. It speaks to nobody yet. Errors are [model.ErrorInvalid] and name the field of the configuration.
func New(cfg Config) (*Client, error) {
	cfg.Server = cmp.Or(cfg.Server, DefaultServer)
	cfg.Namespace = cmp.Or(cfg.Namespace, wire.DefaultNamespace)
	cfg.UserAgent = cmp.Or(cfg.UserAgent, "drydock-client")
	cfg.Retry.Attempts = cmp.Or(cfg.Retry.Attempts, 6)
	cfg.Retry.Base = cmp.Or(cfg.Retry.Base, 100*time.Millisecond)
	cfg.Retry.Max = cmp.Or(cfg.Retry.Max, 5*time.Second)
	cfg.AttemptTimeout = cmp.Or(cfg.AttemptTimeout, 30*time.Second)
	if cfg.HTTP == nil {
		cfg.HTTP = &http.Client{}
	}
	base, err := url.Parse(cfg.Server)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" || base.RawQuery != "" || base.Fragment != "" {
		// Not quoted: it may hold a password.
		return nil, model.Invalid("server", "must be a URL such as %s", DefaultServer)
	}
	base.Path = strings.TrimRight(base.Path, "/")
	if err := model.CheckName("namespace", cfg.Namespace); err != nil {
		return nil, err
	}
	for name, value := range map[string]string{"token": cfg.Token, "author": cfg.Author, "user agent": cfg.UserAgent} {
		if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return nil, model.Invalid(name, "must not contain control characters")
		}
	}
	return &Client{cfg: cfg, base: base}, nil
}

// In returns a client for another namespace.
func (c *Client) In(namespace string) (*Client, error) {
	if err := model.CheckName("namespace", namespace); err != nil {
		return nil, err
	}
	other := *c
	other.cfg.Namespace = namespace
	return &other, nil
}

// Namespace returns the namespace of the client's requests.
func (c *Client) Namespace() string { return c.cfg.Namespace }

// Server returns the URL of the API, without a password.
func (c *Client) Server() string { return c.base.Redacted() }

// String says whom the client speaks to.
func (c *Client) String() string { return fmt.Sprintf("namespace %s of %s", c.Namespace(), c.Server()) }

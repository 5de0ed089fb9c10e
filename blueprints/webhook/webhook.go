// Package webhook is the blueprint kind whose resources are made by a service of the operator's, called over HTTP, one
// signed request for each step that needs work.
//
// The contract with the service is in docs/blueprints/webhook.md; the messages are those of package hook.
package webhook

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"drydock/blueprints"
	"drydock/blueprints/hook"
	"drydock/model"
)

// Kind opens blueprints of webhooks.
type Kind struct {
	// Addresses says where requests may go.
	Addresses AddressPolicy
	// Secret looks up a secret by the name that a blueprint gives; default [os.LookupEnv]. It is called for each request, so
	// that a secret can be changed without a restart.
	Secret func(name string) (secret string, ok bool)
}

// SecretPrefix begins the name of every variable that a blueprint may use as a secret, so that whoever declares blueprints
// cannot have other variables of the worker used as one.
const SecretPrefix = "DRYDOCK_WEBHOOK_SECRET"

// Limits and defaults.
const (
	defaultTimeout = time.Minute
	defaultRetries = 2
	maxRetries     = 10
	maxURLLength   = 2000
)

type config struct {
	hook.Resources
	URL       string         `json:"url"`
	SecretEnv string         `json:"secret_env"`
	Steps     []hook.Step    `json:"steps"`
	Timeout   model.Duration `json:"timeout"`
	Retries   *int           `json:"retries"`
}

// Name implements [blueprints.Kind].
func (Kind) Name() string { return "webhook" }

// Open implements [blueprints.Kind].
func (k Kind) Open(bp *model.Blueprint) (blueprints.Blueprint, error) {
	var c config
	if err := blueprints.DecodeConfig(bp.Config, &c); err != nil {
		return nil, err
	}
	if err := c.check(k.Addresses); err != nil {
		return nil, err
	}
	s := &sender{
		url: c.URL, secretName: c.SecretEnv, secret: k.Secret, retries: defaultRetries,
		client: &http.Client{
			Transport: &http.Transport{
				// No proxy: the address policy would see the proxy's address only.
				DialContext: (&net.Dialer{Timeout: 10 * time.Second, Control: k.Addresses.control}).DialContext,
				// Steps are rare. A new connection each time means that each is checked, and that nothing is left open when the
				// blueprint is declared anew.
				DisableKeepAlives:      true,
				TLSHandshakeTimeout:    10 * time.Second,
				MaxResponseHeaderBytes: 64 << 10,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	if s.secret == nil {
		s.secret = os.LookupEnv
	}
	if c.Retries != nil {
		s.retries = *c.Retries
	}
	timeout := time.Duration(c.Timeout)
	if timeout == 0 {
		timeout = defaultTimeout
	}
	return hook.New(bp, c.Resources, c.Steps, timeout, s), nil
}

var secretPattern = regexp.MustCompile(`^` + SecretPrefix + `(_[A-Z0-9_]{1,80})?$`)

func (c *config) check(addresses AddressPolicy) error {
	if err := c.Resources.Check(); err != nil {
		return err
	}
	if err := checkURL("config.url", c.URL, addresses); err != nil {
		return err
	}
	if !secretPattern.MatchString(c.SecretEnv) {
		return model.Invalid("config.secret_env",
			"must name the worker's environment variable with the secret: %s, or that with _ and A-Z, 0-9, _ behind it", SecretPrefix)
	}
	if len(c.Steps) == 0 {
		return model.Invalid("config.steps", "must list at least one of %s", model.Join(hook.Steps()))
	}
	for i, step := range c.Steps {
		field := fmt.Sprintf("config.steps[%d]", i)
		if !slices.Contains(hook.Steps(), step) {
			return model.Invalid(field, "unknown step %s; known are %s", model.Quote(string(step)), model.Join(hook.Steps()))
		}
		if slices.Contains(c.Steps[:i], step) {
			return model.Invalid(field, "%s is there twice", step)
		}
	}
	if c.Retries != nil && (*c.Retries < 0 || *c.Retries > maxRetries) {
		return model.Invalid("config.retries", "must be between 0 and %d", maxRetries)
	}
	if c.Timeout != 0 {
		return model.CheckTTL("config.timeout", time.Duration(c.Timeout))
	}
	return nil
}

func checkURL(field, text string, addresses AddressPolicy) error {
	u, err := url.Parse(text)
	switch {
	case text == "":
		return model.Invalid(field, "is required")
	case len(text) > maxURLLength:
		return model.Invalid(field, "must not be longer than %d bytes", maxURLLength)
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.Opaque != "":
		// The parser's error would show the text, which may hold what should not be shown.
		return model.Invalid(field, "must be an absolute http or https URL")
	case u.User != nil:
		return model.Invalid(field, "must not hold a user or password: blueprints can be read; requests are signed instead")
	case u.Fragment != "" || strings.HasSuffix(text, "#"):
		return model.Invalid(field, "must not have a fragment")
	}
	// Names are checked when they are resolved, which is not now.
	if addr, err := netip.ParseAddr(u.Hostname()); err == nil {
		if err := addresses.check(addr); err != nil {
			return model.Invalid(field, "%s", err)
		}
	}
	return nil
}

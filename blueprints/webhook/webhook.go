// Package webhook is the blueprint kind whose resources are made by a service of the operator's, called over HTTP, one
// signed request for each step that needs work.
//
// The contract with the service is in docs/blueprints/webhook.md; the messages are those of package hook.
package webhook

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"time"

	"drydock/blueprints"
	"drydock/blueprints/hook"
	"drydock/model"
	"drydock/outbound"
)

// Kind opens blueprints of webhooks.
type Kind struct {
	// Addresses says where requests may go.
	Addresses outbound.AddressPolicy
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
		client: outbound.NewClient(k.Addresses),
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

func (c *config) check(addresses outbound.AddressPolicy) error {
	if err := c.Resources.Check(); err != nil {
		return err
	}
	if err := addresses.CheckURL("config.url", c.URL); err != nil {
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

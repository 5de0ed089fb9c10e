// Package pool is the blueprint kind of things that exist already: a fixed list of hosts, each with attributes and a
// number of leases that it takes at once.
package pool

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"drydock/blueprints"
	"drydock/blueprints/command"
	"drydock/model"
)

// Kind opens pools.
type Kind struct {
	// Commands says which programs a health check may name.
	Commands command.Policy
}

// Limits on a pool.
const (
	MaxHosts  = 10_000
	MaxLeases = 1000
)

// defaultCheckTimeout is short: a lease waits for the answer, and a host that takes longer is not one to give out.
const defaultCheckTimeout = 10 * time.Second

type config struct {
	LeasesPerHost *int         `json:"leases_per_host"`
	Hosts         []host       `json:"hosts"`
	HealthCheck   *healthCheck `json:"health_check"`
}

type host struct {
	Name       string            `json:"name"`
	Attributes map[string]string `json:"attributes"`
	Disabled   bool              `json:"disabled"`
	Leases     *int              `json:"leases"`
}

type healthCheck struct {
	Command []string       `json:"command"`
	Timeout model.Duration `json:"timeout"`
}

// Name implements [blueprints.Kind].
func (Kind) Name() string { return "pool" }

// Open implements [blueprints.Kind].
func (k Kind) Open(bp *model.Blueprint) (blueprints.Blueprint, error) {
	var c config
	if err := blueprints.DecodeConfig(bp.Config, &c); err != nil {
		return nil, err
	}
	if err := c.check(k.Commands); err != nil {
		return nil, err
	}
	p := &pool{
		hosts:    make([]offered, 0, len(c.Hosts)),
		byName:   make(map[string]int, len(c.Hosts)),
		carriers: make(map[attribute][]int),
	}
	for i, h := range c.Hosts {
		capacity := 1
		switch {
		case h.Leases != nil:
			capacity = *h.Leases
		case c.LeasesPerHost != nil:
			capacity = *c.LeasesPerHost
		}
		p.hosts = append(p.hosts, offered{disabled: h.Disabled, Offer: blueprints.Offer{
			Name: h.Name, Attributes: h.Attributes, Capacity: capacity, Slots: []string{"host:" + bp.Name + ":" + h.Name},
		}})
		p.byName[h.Name] = i
		for name, value := range h.Attributes {
			p.carriers[attribute{name, value}] = append(p.carriers[attribute{name, value}], i)
		}
	}
	p.hooks = p.makeHooks(c.HealthCheck)
	return p, nil
}

func (c *config) check(commands command.Policy) error {
	if err := checkLeases("config.leases_per_host", c.LeasesPerHost); err != nil {
		return err
	}
	if c.Hosts == nil {
		return model.Invalid("config.hosts", "is required")
	}
	if len(c.Hosts) > MaxHosts {
		return model.Invalid("config.hosts", "must have at most %d entries", MaxHosts)
	}
	seen := make(map[string]int, len(c.Hosts))
	for i := range c.Hosts {
		h, field := &c.Hosts[i], fmt.Sprintf("config.hosts[%d]", i)
		if err := model.CheckName(field+".name", h.Name); err != nil {
			return err
		}
		if first, dup := seen[h.Name]; dup {
			return model.Invalid(field+".name", "%s is the name of hosts[%d] already", model.Quote(h.Name), first)
		}
		seen[h.Name] = i
		if err := model.CheckAttributes(field+".attributes", h.Attributes); err != nil {
			return err
		}
		if err := checkLeases(field+".leases", h.Leases); err != nil {
			return err
		}
	}
	if c.HealthCheck == nil {
		return nil
	}
	if err := commands.Check("config.health_check.command", c.HealthCheck.Command); err != nil {
		return err
	}
	if c.HealthCheck.Timeout != 0 {
		return model.CheckTTL("config.health_check.timeout", time.Duration(c.HealthCheck.Timeout))
	}
	return nil
}

func checkLeases(field string, n *int) error {
	if n != nil && (*n < 1 || *n > MaxLeases) {
		return model.Invalid(field, "must be between 1 and %d", MaxLeases)
	}
	return nil
}

// pool is an opened pool; nothing in it changes.
type pool struct {
	hosts  []offered // as declared
	byName map[string]int
	// carriers lists the hosts that have an attribute, as declared, so that a question about a rare attribute does not
	// look at every host.
	carriers map[attribute][]int
	hooks    blueprints.Hooks
}

type offered struct {
	blueprints.Offer
	disabled bool
}

type attribute struct{ name, value string }

// matching yields the hosts that have all the attributes, disabled ones too, as declared.
func (p *pool) matching(want map[string]string) iter.Seq[*offered] {
	return func(yield func(*offered) bool) {
		fewest, all := []int(nil), true
		for name, value := range want {
			if c := p.carriers[attribute{name, value}]; all || len(c) < len(fewest) {
				fewest, all = c, false
			}
		}
		if all {
			for i := range p.hosts {
				if !yield(&p.hosts[i]) {
					return
				}
			}
			return
		}
		for _, i := range fewest {
			if h := &p.hosts[i]; model.Matches(want, h.Attributes) && !yield(h) {
				return
			}
		}
	}
}

// CanServe implements [blueprints.Blueprint].
func (p *pool) CanServe(req model.Request) (ok bool, reason string) {
	for range p.matching(req.Attributes) {
		return true, ""
	}
	if len(p.hosts) == 0 {
		return false, "the pool has no hosts"
	}
	for _, name := range slices.Sorted(maps.Keys(req.Attributes)) {
		if value := req.Attributes[name]; len(p.carriers[attribute{name, value}]) == 0 {
			return false, fmt.Sprintf("no host has %s = %s", name, model.Quote(value))
		}
	}
	return false, "no host has all of the attributes at once"
}

// Offers implements [blueprints.Blueprint].
func (p *pool) Offers(req model.Request) iter.Seq[blueprints.Offer] {
	return func(yield func(blueprints.Offer) bool) {
		for h := range p.matching(req.Attributes) {
			if !h.disabled && !yield(h.Offer) {
				return
			}
		}
	}
}

// Fits implements [blueprints.Blueprint].
func (p *pool) Fits(res *model.Resource, req model.Request) (ok bool, reason string) {
	i, declared := p.byName[res.Name]
	switch {
	case !declared:
		return false, fmt.Sprintf("host %s is not in the pool any more", res.Name)
	case p.hosts[i].disabled:
		return false, fmt.Sprintf("host %s is disabled", res.Name)
	}
	return blueprints.MatchReason(req.Attributes, res.Attributes)
}

// Slots implements [blueprints.Blueprint].
func (*pool) Slots(*model.Resource, model.Request) []string { return nil }

// Hooks implements [blueprints.Blueprint].
func (p *pool) Hooks() *blueprints.Hooks { return &p.hooks }

func (p *pool) makeHooks(check *healthCheck) blueprints.Hooks {
	hooks := blueprints.Hooks{UpdateResource: p.update}
	if check != nil {
		hooks.Timeout = time.Duration(check.Timeout)
		if hooks.Timeout == 0 {
			hooks.Timeout = defaultCheckTimeout
		}
		// Before each lease and not when the resource is activated: a host that is down now may be well for the next lease,
		// and a resource that fails to activate is broken for good.
		hooks.AcquireLease = check.run
	}
	return hooks
}

// update gives a resource what the pool says about its host today.
func (p *pool) update(_ context.Context, _ blueprints.Call, res *model.Resource) (blueprints.Changes, error) {
	i, declared := p.byName[res.Name]
	if !declared {
		return blueprints.Changes{}, blueprints.Gone("host %s is not in the pool any more", res.Name)
	}
	attributes := maps.Clone(p.hosts[i].Attributes)
	if attributes == nil {
		attributes = map[string]string{} // nil would leave the old ones
	}
	return blueprints.Changes{Attributes: attributes, Capacity: p.hosts[i].Capacity}, nil
}

func (c *healthCheck) run(ctx context.Context, call blueprints.Call, res *model.Resource, _ *model.Lease) ([]string, error) {
	argv := make([]string, len(c.Command))
	for i, arg := range c.Command {
		// A host's name has neither blanks nor quotes nor a dash in front, so it is one harmless word wherever it stands.
		argv[i] = strings.ReplaceAll(arg, "{host}", res.Name)
	}
	env := map[string]string{"DRYDOCK_NAMESPACE": call.Object.Namespace, "DRYDOCK_RESOURCE_NAME": res.Name}
	if _, err := command.Run(ctx, command.Command{Argv: argv, Env: command.Environment(nil, env)}); err != nil {
		return nil, fmt.Errorf("host %s failed its health check: %w", res.Name, err)
	}
	return nil, nil
}

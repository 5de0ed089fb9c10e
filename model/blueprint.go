package model

import (
	"encoding/json"
	"errors"
	"time"
)

// Blueprint is a named configuration that makes resources. What Config holds depends on the kind; package blueprints
// reads it.
type Blueprint struct {
	Namespace string
	Name      string
	// Kind names the code that makes the resources, for example "pool".
	Kind string
	// Type is the type of the resources it makes, which leases ask for.
	Type string
	// Limit is how many resources may exist at once; 0 = no limit.
	Limit int
	// MinIdle is how many resources are kept ready that nobody uses, within Limit; 0 = none.
	MinIdle int
	// MaxIdleAge is how long a resource may be idle before it is given up, as long as MinIdle others are; 0 = for ever.
	MaxIdleAge time.Duration
	// On is what each of its resources stands on: a lease of its own on a resource of another type; nil = nothing.
	On *SubLease
	// Quota is how many leases one owner may have on its resources at once; 0 = no quota. Leases without an owner count as those of
	// one owner.
	Quota int
	// Authorize says which owners may use it.
	Authorize Authorize
	// Enabled is false when the blueprint takes no new leases and makes no resources; existing ones live on.
	Enabled bool
	Config  json.RawMessage

	// Rev counts the declarations of this blueprint; an allocation is refused when it changed meanwhile.
	Rev                  int64
	CreatedAt, UpdatedAt time.Time
}

// SubLease is what a blueprint asks of another one for each of its resources.
type SubLease struct {
	Type       string            `json:"type"`
	Attributes map[string]string `json:"attributes,omitempty"`
	Blueprints []string          `json:"blueprints,omitempty"`
}

// MaxDepth bounds how many resources may stand one upon the other.
const MaxDepth = 8

// SubLeaseOwner is the owner of the leases that the resources of a blueprint stand on.
func SubLeaseOwner(blueprint string) string { return "blueprint:" + blueprint }

// NewLease returns the request for a resource of the named blueprint.
func (s *SubLease) NewLease(blueprint string) NewLease {
	return NewLease{Type: s.Type, Attributes: s.Attributes, Blueprints: s.Blueprints, Owner: SubLeaseOwner(blueprint)}
}

func (s *SubLease) check(field string, b *Blueprint) error {
	n := s.NewLease(b.Name)
	if err := n.Check(time.Time{}); err != nil {
		e, _ := errors.AsType[*Error](err)
		return Invalid(field+"."+e.Field, "%s", e.Message)
	}
	if s.Type == b.Type {
		return Invalid(field+".type", "must not be the blueprint's own type")
	}
	return nil
}

// MaxMinIdle bounds MinIdle.
const MaxMinIdle = 1000

// MaxLimit bounds Limit and Quota.
const MaxLimit = 1_000_000

// Check checks all but Config, which only the kind can read; errors are [ErrorInvalid] and name the field.
func (b *Blueprint) Check() error {
	if err := CheckName("name", b.Name); err != nil {
		return err
	}
	if err := CheckName("kind", b.Kind); err != nil {
		return err
	}
	if err := CheckName("type", b.Type); err != nil {
		return err
	}
	if b.Limit < 0 || b.Limit > MaxLimit {
		return Invalid("limit", "must be between 0 (no limit) and %d", MaxLimit)
	}
	switch {
	case b.MinIdle < 0 || b.MinIdle > MaxMinIdle:
		return Invalid("min_idle", "must be between 0 and %d", MaxMinIdle)
	case b.Limit > 0 && b.MinIdle > b.Limit:
		return Invalid("min_idle", "must not be more than limit, which is %d", b.Limit)
	}
	if b.MaxIdleAge != 0 {
		if err := CheckTTL("max_idle_age", b.MaxIdleAge); err != nil {
			return err
		}
	}
	if b.On != nil {
		if err := b.On.check("on", b); err != nil {
			return err
		}
	}
	if b.Quota < 0 || b.Quota > MaxLimit {
		return Invalid("quota", "must be between 0 (no quota) and %d", MaxLimit)
	}
	return b.Authorize.check("authorize")
}

// BlueprintWork is what the updates of a blueprint keep for themselves.
type BlueprintWork struct {
	Work
	// Told is the revision that its resources have been told of.
	Told int64
}

package wire

import (
	"encoding/json"
	"time"

	"drydock/model"
)

// Blueprint is a blueprint as the API shows it.
type Blueprint struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	Kind      string `json:"kind"`
	Type      string `json:"type"`
	Limit     int    `json:"limit"`
	MinIdle   int    `json:"min_idle"`
	// MaxIdleAge is nil while resources may be idle for ever.
	MaxIdleAge *model.Duration `json:"max_idle_age"`
	Quota      int             `json:"quota"`
	Authorize  model.Authorize `json:"authorize"`
	On         *SubLease       `json:"on"`
	Enabled    bool            `json:"enabled"`
	Config     json.RawMessage `json:"config"`
	Rev        int64           `json:"rev"`
	CreatedAt  Time            `json:"created_at"`
	UpdatedAt  Time            `json:"updated_at"`
}

// FromBlueprint converts a blueprint.
func FromBlueprint(b *model.Blueprint) Blueprint {
	out := Blueprint{
		Name:      b.Name,
		Namespace: b.Namespace,
		Kind:      b.Kind,
		Type:      b.Type,
		Limit:     b.Limit,
		MinIdle:   b.MinIdle,
		Quota:     b.Quota,
		Authorize: b.Authorize,
		On:        fromSubLease(b.On),
		Enabled:   b.Enabled,
		Config:    orNil(b.Config),
		Rev:       b.Rev,
		CreatedAt: Time{b.CreatedAt},
		UpdatedAt: Time{b.UpdatedAt},
	}
	if b.MaxIdleAge != 0 {
		age := model.Duration(b.MaxIdleAge)
		out.MaxIdleAge = &age
	}
	return out
}

// NewBlueprint declares a blueprint: the body of PUT /v1/blueprints/{name}.
type NewBlueprint struct {
	Kind string `json:"kind"`
	Type string `json:"type"`
	// Limit is how many resources may exist at once; 0 or left out = no limit.
	Limit int `json:"limit,omitempty"`
	// MinIdle is how many resources are kept ready that nobody uses; 0 or left out = none.
	MinIdle int `json:"min_idle,omitempty"`
	// MaxIdleAge is how long a resource may be idle; nil = for ever.
	MaxIdleAge *model.Duration `json:"max_idle_age,omitempty"`
	// Quota is how many leases one owner may have at once; 0 or left out = no quota.
	Quota int `json:"quota,omitempty"`
	// Authorize says which owners may use it; left out = everybody.
	Authorize model.Authorize `json:"authorize,omitzero"`
	// On is what each of its resources stands on; left out = nothing.
	On *SubLease `json:"on,omitempty"`
	// Enabled is true when left out.
	Enabled *bool           `json:"enabled,omitempty"`
	Config  json.RawMessage `json:"config,omitempty"`
}

// Model converts the declaration of the blueprint with this name. A config that was left out is an empty object. The error is
// [model.ErrorInvalid] and names the field; what the model itself can check is left to it.
func (b NewBlueprint) Model(namespace, name string) (*model.Blueprint, error) {
	config := orNil(b.Config)
	if config == nil {
		config = json.RawMessage("{}")
	}
	bp := &model.Blueprint{
		Namespace: namespace,
		Name:      name,
		Kind:      b.Kind,
		Type:      b.Type,
		Limit:     b.Limit,
		MinIdle:   b.MinIdle,
		Quota:     b.Quota,
		Authorize: b.Authorize,
		On:        b.On.model(),
		Enabled:   b.Enabled == nil || *b.Enabled,
		Config:    config,
	}
	if b.MaxIdleAge != nil {
		// In the model zero means for ever, which is not what somebody means who writes "0s".
		bp.MaxIdleAge = time.Duration(*b.MaxIdleAge)
		return bp, model.CheckTTL("max_idle_age", bp.MaxIdleAge)
	}
	return bp, nil
}

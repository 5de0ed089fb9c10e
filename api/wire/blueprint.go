package wire

import (
	"encoding/json"

	"drydock/model"
)

// Blueprint is a blueprint as the API shows it.
type Blueprint struct {
	Name      string          `json:"name"`
	Namespace string          `json:"namespace"`
	Kind      string          `json:"kind"`
	Type      string          `json:"type"`
	Limit     int             `json:"limit"`
	On        *SubLease       `json:"on"`
	Enabled   bool            `json:"enabled"`
	Config    json.RawMessage `json:"config"`
	Rev       int64           `json:"rev"`
	CreatedAt Time            `json:"created_at"`
	UpdatedAt Time            `json:"updated_at"`
}

// FromBlueprint converts a blueprint.
func FromBlueprint(b *model.Blueprint) Blueprint {
	return Blueprint{
		Name:      b.Name,
		Namespace: b.Namespace,
		Kind:      b.Kind,
		Type:      b.Type,
		Limit:     b.Limit,
		On:        fromSubLease(b.On),
		Enabled:   b.Enabled,
		Config:    orNil(b.Config),
		Rev:       b.Rev,
		CreatedAt: Time{b.CreatedAt},
		UpdatedAt: Time{b.UpdatedAt},
	}
}

// NewBlueprint declares a blueprint: the body of PUT /v1/blueprints/{name}.
type NewBlueprint struct {
	Kind string `json:"kind"`
	Type string `json:"type"`
	// Limit is how many resources may exist at once; 0 or left out = no limit.
	Limit int `json:"limit,omitempty"`
	// On is what each of its resources stands on; left out = nothing.
	On *SubLease `json:"on,omitempty"`
	// Enabled is true when left out.
	Enabled *bool           `json:"enabled,omitempty"`
	Config  json.RawMessage `json:"config,omitempty"`
}

// Model converts the declaration of the blueprint with this name. A config that was left out is an empty object.
func (b NewBlueprint) Model(namespace, name string) *model.Blueprint {
	config := orNil(b.Config)
	if config == nil {
		config = json.RawMessage("{}")
	}
	return &model.Blueprint{
		Namespace: namespace,
		Name:      name,
		Kind:      b.Kind,
		Type:      b.Type,
		Limit:     b.Limit,
		On:        b.On.model(),
		Enabled:   b.Enabled == nil || *b.Enabled,
		Config:    config,
	}
}

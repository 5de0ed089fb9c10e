package wire

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"

	"drydock/model"
)

// SubLease is what each resource of a blueprint stands on: a lease of its own. Answers have all fields; a declaration may leave out all
// but the type.
type SubLease struct {
	Type       string     `json:"type"`
	Attributes Attributes `json:"attributes"`
	// Blueprints are the names that it may be served from; empty = any of its type.
	Blueprints []string `json:"blueprints"`
}

// UnmarshalJSON reads an object with the fields of a SubLease, each spelt exactly. Errors name the field.
func (s *SubLease) UnmarshalJSON(b []byte) error {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(b, &raw); err != nil {
		return model.Invalid("", "must be an object")
	}
	var out SubLease
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		var into any
		rule := ""
		switch name {
		case "type":
			into, rule = &out.Type, "must be a string"
		case "attributes":
			into = &out.Attributes
		case "blueprints":
			into, rule = &out.Blueprints, "must be a list of strings"
		default:
			return model.Invalid(name, "unknown field; known are type, attributes and blueprints")
		}
		if err := json.Unmarshal(raw[name], into); err != nil {
			return below(name, rule, err)
		}
	}
	*s = out
	return nil
}

// below puts a field in front of what an error names; an error of the decoder's own becomes the rule.
func below(field, rule string, err error) error {
	e, ok := errors.AsType[*model.Error](err)
	if !ok {
		return model.Invalid(field, "%s", rule)
	}
	if e.Field != "" {
		field += "." + e.Field
	}
	return model.Invalid(field, "%s", e.Message)
}

func fromSubLease(s *model.SubLease) *SubLease {
	if s == nil {
		return nil
	}
	return &SubLease{Type: s.Type, Attributes: s.Attributes, Blueprints: list(s.Blueprints)}
}

func (s *SubLease) model() *model.SubLease {
	if s == nil {
		return nil
	}
	return &model.SubLease{Type: s.Type, Attributes: s.Attributes, Blueprints: s.Blueprints}
}

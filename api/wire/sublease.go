package wire

import "drydock/model"

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
	var out SubLease
	err := readObject(b, member{"type", &out.Type, "must be a string"}, member{"attributes", &out.Attributes, ""},
		member{"blueprints", &out.Blueprints, "must be a list of strings"})
	if err == nil {
		*s = out
	}
	return err
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

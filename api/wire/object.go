package wire

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"

	"drydock/model"
)

// member is a field of an object: where its value goes, and what is said of a value of another type, unless that says it itself.
type member struct {
	name string
	into any
	rule string
}

// readObject reads an object that has these fields and no others, each spelt exactly: encoding/json takes a name in any case, and a filter
// that is silently another one selects what nobody meant. Errors are [model.ErrorInvalid] and name the field.
func readObject(b []byte, members ...member) error {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(b, &raw); err != nil {
		return model.Invalid("", "must be an object")
	}
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		i := slices.IndexFunc(members, func(m member) bool { return m.name == name })
		if i < 0 {
			names := make([]string, len(members))
			for i, m := range members {
				names[i] = m.name
			}
			return model.Invalid(name, "unknown field; known are %s", model.Join(names))
		}
		if err := json.Unmarshal(raw[name], members[i].into); err != nil {
			return below(name, members[i].rule, err)
		}
	}
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

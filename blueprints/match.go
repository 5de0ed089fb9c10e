package blueprints

import (
	"fmt"
	"maps"
	"slices"

	"drydock/model"
)

// MatchReason is [model.Matches] with the reason in words: which attribute, in alphabetical order, is the first that
// does not match.
func MatchReason(want, attributes map[string]string) (ok bool, reason string) {
	if model.Matches(want, attributes) {
		return true, ""
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		got, has := attributes[name]
		switch {
		case !has:
			return false, fmt.Sprintf("it has no attribute %s", name)
		case got != want[name]:
			return false, fmt.Sprintf("its %s is %s, not %s", name, model.Quote(got), model.Quote(want[name]))
		}
	}
	return true, ""
}

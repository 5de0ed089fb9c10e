package blueprints

import (
	"iter"
	"strconv"
	"strings"

	"drydock/model"
)

// MaxNumbered bounds the names that [Numbered] yields, and so the resources of one blueprint that has no list of its own.
const MaxNumbered = 10_000

// Numbered yields names for the resources of a blueprint whose resources have no names of their own: "lab-1", "lab-2" and
// so on. The same names come each time, so that a name freed is used again and a repeated attempt finds its own. With the
// slot of [NameSlot], no two live resources have one.
func Numbered(blueprint string) iter.Seq[string] {
	const room = len("-10000")
	prefix := blueprint
	if len(prefix) > model.MaxNameLength-room {
		prefix = strings.TrimRight(prefix[:model.MaxNameLength-room], "._-")
	}
	return func(yield func(string) bool) {
		for n := 1; n <= MaxNumbered; n++ {
			if !yield(prefix + "-" + strconv.Itoa(n)) {
				return
			}
		}
	}
}

// NameSlot is the slot lock that stands for a resource's name within its blueprint.
func NameSlot(blueprint, name string) string { return "resource:" + blueprint + ":" + name }

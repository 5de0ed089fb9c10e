package blueprints_test

import (
	"strings"
	"testing"

	"drydock/blueprints"
	"drydock/model"
)

func TestNumberedNamesAreValidAndDistinct(t *testing.T) {
	t.Parallel()
	for _, blueprint := range []string{"lab", strings.Repeat("a", model.MaxNameLength), strings.Repeat("a.", 31) + "a"} {
		if err := model.CheckName("name", blueprint); err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for name := range blueprints.Numbered(blueprint) {
			if err := model.CheckName("name", name); err != nil || seen[name] {
				t.Fatalf("name %q: %v, seen = %v", name, err, seen[name])
			}
			seen[name] = true
		}
		if len(seen) != blueprints.MaxNumbered {
			t.Errorf("%d names", len(seen))
		}
	}
	for name := range blueprints.Numbered("lab") {
		if name != "lab-1" {
			t.Errorf("first name = %q", name)
		}
		break
	}
}

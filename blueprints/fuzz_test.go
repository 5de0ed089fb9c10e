package blueprints_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"drydock/blueprints"
	"drydock/model"
)

// FuzzParse: a file of declarations is refused with its name and the place, or each blueprint in it can be stored, under a name of its own.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"blueprints:\n  - {name: lab, kind: pool, type: host, on: {type: rack}, config: {hosts: [{name: h1}]}}\n", "blueprints: []", "", "null", "[]", "\xff", "\ufeffblueprints: []",
		"blueprints:\n  - name: lab\n    kind: pool\n    type: host\n    limit: 3\n    min_idle: 1\n    max_idle_age: 2h\n    quota: 1\n    authorize: [ada]\n    config: {hosts: []}\n",
		`{"blueprints": [{"name": "lab", "kind": "pool", "type": "host", "config": {"hosts": []}}, {"name": "lab", "kind": "pool", "type": "host", "config": {"hosts": []}}]}`,
		"blueprints:\n  - {name: lab, kind: pool, type: host, namespace: 'a}b'}", "blueprints: &a [*a]", "blueprints:\n  - {\"x\\e[31m\": 1}", "blueprints: [1]", "a: !!binary x",
		"blueprints:\n  - {true: 1, on: 2}", "blueprints:\n  - {max_idle_age: 0s, name: a, kind: pool, type: host}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		declared, err := blueprints.Parse("lab.yaml", text, registry())
		if err != nil {
			if model.KindOf(err) != model.ErrorInvalid || !strings.Contains(err.Error(), "lab.yaml") {
				t.Errorf("%v of kind %s does not name the file", err, model.KindOf(err))
			}
			if !utf8.ValidString(err.Error()) || strings.ContainsFunc(err.Error(), unicode.IsControl) || len(err.Error()) > 1000 {
				t.Errorf("the error %q is not one short line", err)
			}
			return
		}
		type key struct{ namespace, name string }
		seen := map[key]bool{}
		for _, bp := range declared {
			if err := bp.Check(); err != nil || model.CheckName("namespace", bp.Namespace) != nil {
				t.Errorf("let in %+v: %v", bp, err)
			}
			if k := (key{bp.Namespace, bp.Name}); seen[k] {
				t.Errorf("let in %v twice", k)
			} else {
				seen[k] = true
			}
		}
	})
}

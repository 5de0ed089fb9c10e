package blueprints_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"drydock/blueprints"
	"drydock/blueprints/pool"
	"drydock/model"
)

func registry() *blueprints.Registry { return blueprints.NewRegistry(pool.Kind{}) }

func TestParseReadsYAMLAndJSONAlike(t *testing.T) {
	t.Parallel()
	want := []*model.Blueprint{
		{Namespace: "default", Name: "lab", Kind: "pool", Type: "host", Enabled: true, Config: []byte(`{"hosts":[{"name":"h1"}]}`)},
		{
			Namespace: "ci", Name: "lab", Kind: "pool", Type: "host", Limit: 3, MinIdle: 1, MaxIdleAge: 2 * time.Hour, Quota: 2,
			On: &model.SubLease{Type: "rack"}, Authorize: model.Authorize{Only: true, Owners: []string{"ada"}}, Config: []byte(`{"hosts":[]}`),
		},
	}
	for name, text := range map[string]string{
		"yaml": `
# a comment
blueprints:
  - name: lab
    kind: pool
    type: host
    config:
      hosts:
        - name: h1
  - {name: lab, namespace: ci, kind: pool, type: host, limit: 3, min_idle: 1, max_idle_age: 2h, quota: 2, authorize: [ada], on: {type: rack}, enabled: false, config: {hosts: []}}
`,
		"json": `{"blueprints": [
			{"name": "lab", "kind": "pool", "type": "host", "config": {"hosts": [{"name": "h1"}]}},
			{"name": "lab", "namespace": "ci", "kind": "pool", "type": "host", "limit": 3, "min_idle": 1, "max_idle_age": "2h",
				"quota": 2, "authorize": ["ada"], "on": {"type": "rack"}, "enabled": false, "config": {"hosts": []}}
		]}`,
		"byte order mark": "\ufeff" + `{"blueprints": [
			{"name": "lab", "kind": "pool", "type": "host", "config": {"hosts": [{"name": "h1"}]}},
			{"name": "lab", "namespace": "ci", "kind": "pool", "type": "host", "limit": 3, "min_idle": 1, "max_idle_age": "2h",
				"quota": 2, "authorize": ["ada"], "on": {"type": "rack"}, "enabled": false, "config": {"hosts": []}}
		]}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := blueprints.Parse("f", []byte(text), registry())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("Parse (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseNamesFileEntryAndField(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ text, want string }{
		"field of an entry": {
			"blueprints: [{name: a, kind: pool, type: host, config: {hosts: []}}, {name: b, kind: pool, typo: host}]",
			`lab.yaml: blueprints[1] "b": typo: unknown field`,
		},
		"field of a config": {
			"blueprints: [{name: a, kind: pool, type: host, config: {hosts: [{name: h1}, {name: H2}]}}]",
			`lab.yaml: blueprints[0] "a": config.hosts[1].name: must be 1 to 63 characters`,
		},
		"yaml's yes is no text": {
			"blueprints: [{name: a, kind: pool, type: host, config: {hosts: [{name: h1, attributes: {gpu: yes}}]}}]",
			`lab.yaml: blueprints[0] "a": config.hosts[0].attributes.gpu: must be a string, not true or false; put it in quotes`,
		},
		"entry without a name": {
			"blueprints: [{kind: pool, type: host, config: {hosts: []}}]",
			`lab.yaml: blueprints[0]: name: is required`,
		},
		"unknown kind": {
			"blueprints: [{name: a, kind: pol, type: host}]",
			`lab.yaml: blueprints[0] "a": kind: unknown kind "pol"; known are pool`,
		},
		"bad namespace": {
			"blueprints: [{name: a, namespace: 'a:b', kind: pool, type: host, config: {hosts: []}}]",
			`lab.yaml: blueprints[0] "a": namespace: must be`,
		},
		"negative limit": {
			"blueprints: [{name: a, kind: pool, type: host, limit: -1, config: {hosts: []}}]",
			`lab.yaml: blueprints[0] "a": limit: must be`,
		},
		"negative min_idle": {
			"blueprints: [{name: a, kind: pool, type: host, min_idle: -1, config: {hosts: []}}]",
			`lab.yaml: blueprints[0] "a": min_idle: must be between`,
		},
		"max_idle_age of nothing": {
			"blueprints: [{name: a, kind: pool, type: host, max_idle_age: 0s, config: {hosts: []}}]",
			`lab.yaml: blueprints[0] "a": max_idle_age: must be at least 1ms`,
		},
		"max_idle_age without a unit": {
			"blueprints: [{name: a, kind: pool, type: host, max_idle_age: 60, config: {hosts: []}}]",
			`lab.yaml: blueprints[0] "a": max_idle_age: must be a duration in quotes`,
		},
		"quota of text": {
			"blueprints: [{name: a, kind: pool, type: host, quota: many, config: {hosts: []}}]",
			`lab.yaml: blueprints[0] "a": quota: must be a `,
		},
		"authorize everybody": {
			"blueprints: [{name: a, kind: pool, type: host, authorize: everybody, config: {hosts: []}}]",
			`lab.yaml: blueprints[0] "a": authorize: must be null (everybody), a list of owners, or "request"`,
		},
		"what it stands on": {
			"blueprints: [{name: a, kind: pool, type: host, on: {type: 'a b'}, config: {hosts: []}}]",
			`lab.yaml: blueprints[0] "a": on.type: must be`,
		},
		"it stands on itself": {
			"blueprints: [{name: a, kind: pool, type: host, 'on': {type: host}, config: {hosts: []}}]",
			`lab.yaml: blueprints[0] "a": on.type: must not be the blueprint's own type`,
		},
		"it stands on two things": {
			"blueprints: [{name: a, kind: pool, type: host, on: {type: rack}, 'on': {type: row}, config: {hosts: []}}]",
			`lab.yaml: blueprints[0] "a": true: unknown field`,
		},
		"unknown field of what it stands on": {
			"blueprints: [{name: a, kind: pool, type: host, 'on': {type: rack, owner: me}, config: {hosts: []}}]",
			`lab.yaml: blueprints[0] "a": on.owner: unknown field`,
		},
		"twice": {
			"blueprints: [{name: a, kind: pool, type: host, config: {hosts: []}}, {name: a, namespace: default, kind: pool, type: host, config: {hosts: []}}]",
			`lab.yaml: blueprints[1] "a": name: blueprints[0] has the same name and namespace`,
		},
		"repeated key": {
			"blueprints:\n  - name: a\n    kind: pool\n    kind: exec\n",
			`lab.yaml: line 4: key "kind" already set in map`,
		},
		"unknown field of the file": {
			"blueprint: []",
			"lab.yaml: blueprint: unknown field; the file holds a list named blueprints",
		},
		"a list alone":        {"- name: a", "lab.yaml: must be an object; the file holds a list named blueprints"},
		"an entry of nothing": {"blueprints: [null]", "lab.yaml: blueprints[0]: must be an object"},
		"empty":               {"", "lab.yaml: must be an object; the file holds a list named blueprints"},
		"broken":              {"blueprints: [", "lab.yaml: line 1: did not find expected node content"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := blueprints.Parse("lab.yaml", []byte(tc.text), registry())
			if err == nil || !strings.HasPrefix(err.Error(), tc.want) || model.KindOf(err) != model.ErrorInvalid || got != nil {
				t.Errorf("Parse = %v\nwant invalid %s…", err, tc.want)
			}
		})
	}
}

func TestReadFile(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "b.yaml")
	if _, err := blueprints.ReadFile(name, registry()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ReadFile of nothing = %v", err)
	}
	if err := os.WriteFile(name, []byte("blueprints: []"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := blueprints.ReadFile(name, registry()); err != nil || len(got) != 0 {
		t.Errorf("ReadFile = %v, %v", got, err)
	}
	if err := os.Truncate(name, 17<<20); err != nil {
		t.Fatal(err)
	}
	if _, err := blueprints.ReadFile(name, registry()); model.KindOf(err) != model.ErrorInvalid {
		t.Errorf("ReadFile of a huge file = %v", err)
	}
}

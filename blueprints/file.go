package blueprints

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"drydock/model"
)

// maxFileLength bounds a file of declarations: 10,000 hosts take about one tenth of it.
const maxFileLength = 16 << 20

// declaration is one entry of a file: the fields of PUT /v1/blueprints/{name} and what its URL says.
type declaration struct {
	Namespace  string          `json:"namespace"`
	Name       string          `json:"name"`
	Kind       string          `json:"kind"`
	Type       string          `json:"type"`
	Limit      int             `json:"limit"`
	MinIdle    int             `json:"min_idle"`
	MaxIdleAge *model.Duration `json:"max_idle_age"`
	Quota      int             `json:"quota"`
	Authorize  model.Authorize `json:"authorize"`
	On         *model.SubLease `json:"on"`
	Enabled    *bool           `json:"enabled"`
	Config     json.RawMessage `json:"config"`
}

// DefaultNamespace is the namespace of a declaration that names none.
const DefaultNamespace = "default"

// ReadFile reads the declarations in a file; see [Parse].
func ReadFile(name string, r *Registry) ([]*model.Blueprint, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("read blueprints: %w", err)
	}
	if info.Size() > maxFileLength {
		return nil, model.Invalid("", "%s: must not be longer than %d MiB", name, maxFileLength>>20)
	}
	data, err := os.ReadFile(name) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, fmt.Errorf("read blueprints: %w", err)
	}
	return Parse(name, data, r)
}

// Parse reads declarations of blueprints, in YAML or JSON, and checks all of each, its config included:
//
//	blueprints:
//	  - name: lab
//	    namespace: ci     # default: "default"
//	    kind: pool
//	    type: host
//	    limit: 0          # default: 0, no limit
//	    min_idle: 0       # default: 0
//	    max_idle_age: 2h  # default: null, for ever
//	    quota: 0          # default: 0, no quota
//	    authorize: null   # default: null, everybody; or a list of owners; or request
//	    on: {type: rack}  # default: null, its resources stand on nothing
//	    enabled: true     # default: true
//	    config:
//	      hosts: [{name: h1}]
//
// Errors are [model.ErrorInvalid] and name the file as name does, the entry and the field.
func Parse(name string, data []byte, r *Registry) ([]*model.Blueprint, error) {
	return ParseIn(DefaultNamespace, name, data, r)
}

// ParseIn is [Parse] with another namespace for declarations that name none.
func ParseIn(namespace, name string, data []byte, r *Registry) ([]*model.Blueprint, error) {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	raw, err := yaml.YAMLToJSONStrict(data)
	if err != nil {
		return nil, model.Invalid("", "%s: %s", name, yamlReason(err))
	}
	var file struct {
		Blueprints []json.RawMessage `json:"blueprints"`
	}
	if err := DecodeStrict("", raw, &file); err != nil {
		return nil, model.Invalid("", "%s: %s; the file holds a list named blueprints", name, err)
	}
	type key struct{ namespace, name string }
	seen := make(map[key]int, len(file.Blueprints))
	out := make([]*model.Blueprint, 0, len(file.Blueprints))
	for i, entry := range file.Blueprints {
		bp, err := parseDeclaration(namespace, entry, r)
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", name, entryName(i, entry), err)
		}
		k := key{bp.Namespace, bp.Name}
		if first, dup := seen[k]; dup {
			return nil, fmt.Errorf("%s: %s: %w", name, entryName(i, entry),
				model.Invalid("name", "blueprints[%d] has the same name and namespace", first))
		}
		seen[k] = i
		out = append(out, bp)
	}
	return out, nil
}

func parseDeclaration(namespace string, entry json.RawMessage, r *Registry) (*model.Blueprint, error) {
	var d declaration
	if err := DecodeStrict("", unquotedOn(entry), &d); err != nil {
		return nil, err
	}
	bp := &model.Blueprint{
		Namespace: cmp.Or(d.Namespace, namespace),
		Name:      d.Name,
		Kind:      d.Kind,
		Type:      d.Type,
		Limit:     d.Limit,
		MinIdle:   d.MinIdle,
		Quota:     d.Quota,
		Authorize: d.Authorize,
		On:        d.On,
		Enabled:   d.Enabled == nil || *d.Enabled,
		Config:    d.Config,
	}
	if err := model.CheckName("namespace", bp.Namespace); err != nil {
		return nil, err
	}
	if d.MaxIdleAge != nil {
		// In the model zero means for ever, which is not what somebody means who writes "0s".
		bp.MaxIdleAge = time.Duration(*d.MaxIdleAge)
		if err := model.CheckTTL("max_idle_age", bp.MaxIdleAge); err != nil {
			return nil, err
		}
	}
	return bp, r.Check(bp)
}

// unquotedOn gives the field "on" its name back: YAML 1.1 takes an unquoted on for true, and then the field is named "true".
func unquotedOn(entry json.RawMessage) json.RawMessage {
	var fields map[string]json.RawMessage
	if json.Unmarshal(entry, &fields) != nil || fields["true"] == nil || fields["on"] != nil {
		return entry
	}
	fields["on"] = fields["true"]
	delete(fields, "true")
	renamed, err := json.Marshal(fields)
	if err != nil {
		return entry
	}
	return renamed
}

// entryName says which entry of the list is meant: by its place, and by its name when it has one.
func entryName(i int, entry json.RawMessage) string {
	var named struct {
		Name string `json:"name"`
	}
	place := fmt.Sprintf("blueprints[%d]", i)
	if json.Unmarshal(entry, &named) == nil && named.Name != "" {
		place += " " + model.Quote(named.Name)
	}
	return place
}

// yamlReason shortens the library's error to what the writer of the file needs: the line and what is wrong there.
func yamlReason(err error) string {
	reason := strings.TrimPrefix(err.Error(), "yaml: ")
	reason = strings.TrimPrefix(reason, "unmarshal errors:\n")
	return strings.Join(strings.Fields(strings.ReplaceAll(reason, "\n", ";")), " ")
}

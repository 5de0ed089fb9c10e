package blueprints_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"drydock/blueprints"
	"drydock/model"
)

type testConfig struct {
	Count   int            `json:"count"`
	On      bool           `json:"on"`
	Timeout model.Duration `json:"timeout"`
	Hosts   []testHost     `json:"hosts"`
}

type testHost struct {
	Name       string            `json:"name"`
	Leases     *int              `json:"leases"`
	Attributes map[string]string `json:"attributes"`
}

func TestDecodeConfigNamesTheField(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ config, field, message string }{
		"unknown":           {`{"counts": 1}`, "config.counts", "unknown field"},
		"unknown in a list": {`{"hosts": [{}, {"naem": "h"}]}`, "config.hosts[1].naem", "unknown field"},
		"other case":        {`{"Count": 1}`, "config.Count", "unknown field"},
		"twice":             {`{"hosts": [{"name": "a", "name": "b"}]}`, "config.hosts[0].name", "is there twice"},
		"number for text":   {`{"hosts": [{"name": 7}]}`, "config.hosts[0].name", "must be a string, not a number; put it in quotes"},
		"number as a name":  {`{"hosts": [{"attributes": {"1": 2}}]}`, "config.hosts[0].attributes.1", "must be a string, not a number; put it in quotes"},
		"yaml's yes":        {`{"hosts": [{"attributes": {"gpu": true}}]}`, "config.hosts[0].attributes.gpu", "must be a string, not true or false; put it in quotes"},
		"null for text":     {`{"hosts": [{}, {"attributes": {"gpu": "1", "os": null}}]}`, "config.hosts[1].attributes.os", "must be a string, not null"},
		"list for text":     {`{"hosts": [{"attributes": {"os": ["linux"]}}]}`, "config.hosts[0].attributes.os", "must be a string, not a list"},
		"text for number":   {`{"hosts": [{"leases": "2"}]}`, "config.hosts[0].leases", "must be a whole number, not a string"},
		"fraction":          {`{"count": 1.5}`, "config.count", "must be a whole number"},
		"huge":              {`{"count": 1e99}`, "config.count", "must be a whole number"},
		"text for bool":     {`{"on": "yes"}`, "config.on", "must be true or false, not a string"},
		"object for list":   {`{"hosts": {}}`, "config.hosts", "must be a list, not an object"},
		"list for object":   {`{"hosts": [[]]}`, "config.hosts[0]", "must be an object, not a list"},
		"bare duration":     {`{"timeout": 5}`, "config.timeout", `must be a duration in quotes such as "90s" or "2h"`},
		"bad duration":      {`{"timeout": "5 min"}`, "config.timeout", `"5 min" is not a duration such as "90s" or "2h"`},
		"not an object":     {`[]`, "config", "must be an object"},
		"null":              {`null`, "config", "must be an object"},
		"broken":            {`{"count": `, "config", "is not valid JSON after 10 bytes"},
		"trailing":          {`{} {}`, "config", "is not valid JSON after 3 bytes"},
		"lone surrogate":    {`{"hosts": [{"name": "\ud800"}]}`, "config", "is not valid JSON after 21 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var c testConfig
			err := blueprints.DecodeConfig([]byte(tc.config), &c)
			e, ok := errors.AsType[*model.Error](err)
			if !ok || e.Kind != model.ErrorInvalid || e.Field != tc.field || e.Message != tc.message {
				t.Errorf("DecodeConfig(%s) = %v\nwant invalid %s: %s", tc.config, err, tc.field, tc.message)
			}
		})
	}
}

func TestDecodeConfigReadsWhatIsThere(t *testing.T) {
	t.Parallel()
	var c testConfig
	if err := blueprints.DecodeConfig([]byte(`{"count": 2, "timeout": "90s", "hosts": [{"name": "a", "leases": null, "attributes": null}]}`), &c); err != nil {
		t.Fatal(err)
	}
	if c.Count != 2 || time.Duration(c.Timeout) != 90*time.Second || c.Hosts[0].Name != "a" || c.Hosts[0].Leases != nil || c.Hosts[0].Attributes != nil {
		t.Errorf("got %+v", c)
	}
	for _, empty := range []string{"", " ", "{}"} {
		if err := blueprints.DecodeConfig([]byte(empty), new(testConfig)); err != nil {
			t.Errorf("DecodeConfig(%q) = %v, want nil", empty, err)
		}
	}
}

// FuzzDecodeConfig: a config is refused with the name of a field, or every name in it is one that the type has.
func FuzzDecodeConfig(f *testing.F) {
	for _, seed := range []string{
		`{"hosts": [{"name": "a", "attributes": {"os": 1}}]}`, `{"hosts": [{"name": "a", "leases": 2}], "count": 1, "on": true, "timeout": "90s"}`, ``, `{}`, `[]`, `null`, `{`,
		`{"counts": 1}`, `{"Count": 1}`, `{"on": true, "on": false}`, `{"timeout": 5}`, `{"": 1}`, `{"x\u001b": 1}`, `{"hosts": [{"attributes": {"a": "\ud800"}}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var c testConfig
		if err := blueprints.DecodeConfig(raw, &c); err != nil {
			e, ok := errors.AsType[*model.Error](err)
			if !ok || e.Kind != model.ErrorInvalid || e.Message == "" || e.Field != "config" && !strings.HasPrefix(e.Field, "config.") {
				t.Errorf("DecodeConfig(%q) = %v, want an invalid field", raw, err)
			}
			return
		}
		var fields map[string]json.RawMessage
		if len(bytes.TrimSpace(raw)) > 0 && json.Unmarshal(raw, &fields) != nil {
			t.Errorf("DecodeConfig(%q) takes what is no object", raw)
		}
		for name := range fields {
			if !slices.Contains([]string{"count", "on", "timeout", "hosts"}, name) {
				t.Errorf("DecodeConfig(%q) takes the field %q", raw, name)
			}
		}
	})
}

package exec_test

import (
	"testing"

	"drydock/blueprints/command"
	"drydock/blueprints/conformance"
	"drydock/blueprints/exec"
	"drydock/model"
)

func FuzzConfig(f *testing.F) {
	kind := exec.Kind{Commands: command.Policy{Folders: []string{"/srv/hooks"}}}
	conformance.FuzzConfig(f, kind, model.Blueprint{Namespace: "ci", Name: "scratch", Type: "folder"},
		`{"attributes": {"disk": ["hdd", "ssd"]}, "parameters": ["branch"], "capacity": 2, "commands": {"activate": ["/srv/hooks/a", "x"]},
		  "directory": "/srv", "env": {"A": "1"}, "timeout": "1m"}`,
		`{"commands": {"activate": ["/srv/hooks/../../bin/sh"]}}`, `{"commands": {"activate": [null]}}`, `{"commands": {"activate": ["/srv/hooks/a", "\u0000"]}}`,
		`{"commands": {"destroy": ["/srv/hooks/a"]}, "env": {"DRYDOCK_X": "1"}}`, `{"commands": {"destroy": ["/srv/hooks/a"]}, "directory": "x"}`,
	)
}

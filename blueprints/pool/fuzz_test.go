package pool_test

import (
	"testing"

	"drydock/blueprints/conformance"
	"drydock/blueprints/pool"
	"drydock/model"
)

func FuzzConfig(f *testing.F) {
	conformance.FuzzConfig(f, pool.Kind{}, model.Blueprint{Namespace: "ci", Name: "lab", Type: "host"},
		`{"hosts": [{"name": "h1", "attributes": {"os": "linux"}, "leases": 2}, {"name": "h2", "disabled": true}], "leases_per_host": 1}`,
		`{"hosts": [], "health_check": {"command": ["/bin/true"], "timeout": "5s"}}`,
		`{"hosts": [{"name": "h1"}, {"name": "h1"}]}`, `{"hosts": null}`, `{"hosts": [null]}`, `{"leases_per_host": 0, "hosts": []}`,
	)
}

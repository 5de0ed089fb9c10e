package webhook_test

import (
	"testing"

	"drydock/blueprints/conformance"
	"drydock/blueprints/webhook"
	"drydock/model"
)

func FuzzConfig(f *testing.F) {
	conformance.FuzzConfig(f, webhook.Kind{}, model.Blueprint{Namespace: "ci", Name: "vm", Type: "vm"},
		`{"url": "https://example.org/hooks", "secret_env": "DRYDOCK_WEBHOOK_SECRET_LAB", "steps": ["activate", "destroy"], "attributes": {"os": ["linux"]}, "retries": 3, "timeout": "30s"}`,
		`{"url": "http://127.0.0.1/", "secret_env": "DRYDOCK_WEBHOOK_SECRET", "steps": ["activate"]}`, `{"url": "https://example.org/", "secret_env": "PATH", "steps": ["activate"]}`,
		`{"url": "https://example.org/", "secret_env": "DRYDOCK_WEBHOOK_SECRET", "steps": ["activate", "activate"]}`, `{"url": "https://u:p@example.org/"}`, `{"url": "https://\u0085"}`,
	)
}

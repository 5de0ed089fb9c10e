package api

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"drydock/model"
)

// golden compares an answer's body, indented, with the file of the test. go test -update writes the files.
func golden(t *testing.T, name string, body []byte) {
	t.Helper()
	var got bytes.Buffer
	if err := json.Indent(&got, body, "", "  "); err != nil {
		t.Fatalf("body %s: %v", body, err)
	}
	file := filepath.Join("testdata", name+".json")
	if *update {
		if err := os.WriteFile(file, got.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("body differs from %s (-want +got):\n%s", file, diff)
	}
}

func TestShapesOfAnswers(t *testing.T) {
	t.Parallel()
	empty := &fakeStore{
		leases: func(string, model.LeaseFilter) (model.Page[*model.Lease], error) {
			return model.Page[*model.Lease]{}, nil
		},
	}
	full := &fakeStore{
		leases: func(ns string, _ model.LeaseFilter) (model.Page[*model.Lease], error) {
			return model.Page[*model.Lease]{Items: []*model.Lease{activeLease(ns), pendingLease(ns)}, Next: "cursor"}, nil
		},
		resources: func(ns string, _ model.ResourceFilter) (model.Page[*model.Resource], error) {
			bare := &model.Resource{Ref: model.ResourceRef(ns, resourceID), Name: "h2", Type: "host", Status: model.ResourcePending}
			return model.Page[*model.Resource]{Items: []*model.Resource{activeResource(ns), bare}}, nil
		},
		commands: func(ref model.Ref, _ int, _ string) (model.Page[*model.Command], error) {
			return model.Page[*model.Command]{Items: []*model.Command{consumedCommand(ref), waitingCommand(ref)}}, nil
		},
		log: func(model.Ref, int, string) (model.Page[model.LogEntry], error) {
			return model.Page[model.LogEntry]{Items: []model.LogEntry{
				{ID: "1-0", At: testNow, Event: model.EventQueued, Text: "queued"},
				{ID: "2-0", At: testNow, Event: model.EventConsumed, Text: "done", Command: commandID, Fence: 8, Worker: "w1"},
			}}, nil
		},
		slots: func(ref model.Ref) ([]model.Slot, error) {
			return []model.Slot{{Key: "lab/h1/0", Owner: ref}}, nil
		},
		blueprint: func(string, string) (*model.Blueprint, error) { return lab(), nil },
		data: func(model.Ref) (model.Data, error) {
			return model.Data{Value: json.RawMessage(`{"host": "<h1>"}`), Rev: 3}, nil
		},
		authorizations: func(ns string, _ model.AuthorizationFilter) (model.Page[*model.Authorization], error) {
			return model.Page[*model.Authorization]{Items: []*model.Authorization{declined(ns), requested(ns)}, Next: "bGFiIA"}, nil
		},
		send: func(_ context.Context, cmd model.Command, _ model.Idempotency) (model.Sent, error) {
			if cmd.Target.Kind == model.KindResource {
				return model.Sent{Command: waitingCommand(cmd.Target), Resource: activeResource(cmd.Target.Namespace)}, nil
			}
			return model.Sent{Lease: &model.Lease{
				Ref: cmd.Target, Type: "host", Status: model.LeaseDestroyed,
				CreatedAt: testNow, ReleasedAt: testNow, DestroyedAt: testNow, UpdatedAt: testNow.In(time.FixedZone("", 3600)),
			}}, nil
		},
	}
	tests := []struct {
		name, method, path, body string
		store                    *fakeStore
		status                   int
	}{
		{"page_empty", http.MethodGet, "/v1/leases", "", empty, http.StatusOK},
		{"leases", http.MethodGet, "/v1/leases?namespace=ci", "", full, http.StatusOK},
		{"resources", http.MethodGet, "/v1/resources", "", full, http.StatusOK},
		{"commands", http.MethodGet, "/v1/leases/" + leaseID + "/commands", "", full, http.StatusOK},
		{"logs", http.MethodGet, "/v1/leases/" + leaseID + "/logs", "", full, http.StatusOK},
		{"slots", http.MethodGet, "/v1/resources/" + resourceID + "/slots", "", full, http.StatusOK},
		{"blueprint", http.MethodGet, "/v1/blueprints/lab", "", full, http.StatusOK},
		{"authorizations", http.MethodGet, "/v1/authorizations", "", full, http.StatusOK},
		{"data", http.MethodGet, "/v1/leases/" + leaseID + "/data", "", full, http.StatusOK},
		{"lease_sent_nothing", http.MethodPost, "/v1/leases/" + leaseID + "/release", "", full, http.StatusOK},
		{"resource_sent", http.MethodPost, "/v1/resources/" + resourceID + "/release", `{"reason": "x"}`, full, http.StatusAccepted},
		{"problem_field", http.MethodGet, "/v1/leases?status=gone", "", empty, http.StatusUnprocessableEntity},
		{"problem", http.MethodGet, "/nowhere", "", empty, http.StatusNotFound},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := newAPI(t, tt.store)
			got := a.do(tt.method, tt.path, tt.body)
			if got.status != tt.status {
				t.Fatalf("%s %s = %d %s, want %d", tt.method, tt.path, got.status, got.body, tt.status)
			}
			golden(t, tt.name, got.body)
		})
	}
}

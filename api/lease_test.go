package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"drydock/api/wire"
	"drydock/model"
)

// createLease is a store's CreateLease that keeps what it was asked for.
func createLease(got *[]model.NewLease) func(context.Context, string, string, model.NewLease, model.Idempotency) (model.Created, error) {
	return func(_ context.Context, ns, id string, n model.NewLease, _ model.Idempotency) (model.Created, error) {
		*got = append(*got, n)
		lease := pendingLease(ns)
		lease.ID = id
		return model.Created{Lease: lease, Wake: []model.Ref{lease.Ref}}, nil
	}
}

func TestCreateLeaseStoresWhatWasAskedForAndWakes(t *testing.T) {
	t.Parallel()
	var got []model.NewLease
	a := newAPI(t, &fakeStore{
		blueprints: func(ns string) ([]*model.Blueprint, error) {
			if ns != "ci" {
				t.Errorf("namespace %q, want ci", ns)
			}
			return someBlueprints(ns)
		},
		createLease: createLease(&got),
	})
	answer := a.do(http.MethodPost, "/v1/leases?namespace=ci", `{"type": "host", "attributes": {"os": "linux", "status": "destroyed"},
		"blueprints": ["lab"], "owner": "ada", "until": "2030-01-03T00:00:00+01:00", "priority": -3, "data": {"n": 1e2}}`)
	want := []model.NewLease{{
		Type: "host", Attributes: map[string]string{"os": "linux", "status": "destroyed"}, Blueprints: []string{"lab"}, Owner: "ada",
		Until: time.Date(2030, 1, 2, 23, 0, 0, 0, time.UTC), Priority: -3, Data: json.RawMessage(`{"n": 1e2}`),
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the store was asked for (-want +got):\n%s", diff)
	}
	var lease wire.Lease
	if err := json.Unmarshal(answer.body, &lease); err != nil || answer.status != http.StatusAccepted {
		t.Fatalf("answer %d %s: %v", answer.status, answer.body, err)
	}
	if loc := answer.header.Get("Location"); loc != "/v1/leases/"+lease.ID+"?namespace=ci" {
		t.Errorf("Location = %q", loc)
	}
	if !model.ValidID(lease.ID) || lease.Namespace != "ci" {
		t.Errorf("lease = %+v", lease)
	}
	if diff := cmp.Diff([]model.Ref{model.LeaseRef("ci", lease.ID)}, a.tasks.enqueued()); diff != "" {
		t.Errorf("enqueued (-want +got):\n%s", diff)
	}
}

func TestCreateLeaseInTheDefaultNamespace(t *testing.T) {
	t.Parallel()
	var got []model.NewLease
	a := newAPI(t, &fakeStore{blueprints: someBlueprints, createLease: createLease(&got)})
	answer := a.do(http.MethodPost, "/v1/leases", `{"type": "host", "ttl": "1h30m", "owner": null, "data": null}`)
	if diff := cmp.Diff([]model.NewLease{{Type: "host", TTL: 90 * time.Minute}}, got); diff != "" {
		t.Errorf("the store was asked for (-want +got):\n%s", diff)
	}
	if loc := answer.header.Get("Location"); strings.Contains(loc, "?") || !strings.HasPrefix(loc, "/v1/leases/") {
		t.Errorf("Location = %q", loc)
	}
}

func TestLeaseThatNoBlueprintCanEverServeIsRefused(t *testing.T) {
	t.Parallel()
	off := lab()
	off.Name, off.Enabled = "spare", false
	tests := []struct {
		name, body, field, detail string
		blueprints                []*model.Blueprint
	}{
		{"no blueprint at all", `{"type": "host"}`, "type", "there are none", nil},
		{"unknown type", `{"type": "gpu"}`, "type", "known are host", []*model.Blueprint{lab(), off}},
		{"other blueprints", `{"type": "host", "blueprints": ["x"]}`, "", "lab: not among", []*model.Blueprint{lab()}},
		{"attributes", `{"type": "host", "attributes": {"impossible": "no such host"}}`, "", "lab: no such host; spare: no such host", []*model.Blueprint{lab(), off}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := newAPI(t, &fakeStore{blueprints: func(string) ([]*model.Blueprint, error) { return tt.blueprints, nil }})
			got := a.do(http.MethodPost, "/v1/leases", tt.body)
			p := got.problem(t)
			if got.status != http.StatusUnprocessableEntity || p.Code != "unsatisfiable" || string(p.Field) != tt.field || !strings.Contains(p.Detail, tt.detail) {
				t.Errorf("%s = %d %s field %q: %s", tt.body, got.status, p.Code, p.Field, p.Detail)
			}
		})
	}
}

// TestLeaseMayWaitForADisabledBlueprint: disabled is not never.
func TestLeaseMayWaitForADisabledBlueprint(t *testing.T) {
	t.Parallel()
	var got []model.NewLease
	off := lab()
	off.Enabled = false
	a := newAPI(t, &fakeStore{
		blueprints:  func(string) ([]*model.Blueprint, error) { return []*model.Blueprint{off}, nil },
		createLease: createLease(&got),
	})
	if got := a.do(http.MethodPost, "/v1/leases", `{"type": "host"}`); got.status != http.StatusAccepted {
		t.Errorf("= %d %s, want 202", got.status, got.body)
	}
}

func TestFiltersReachTheStore(t *testing.T) {
	t.Parallel()
	var leases model.LeaseFilter
	var resources model.ResourceFilter
	var namespaces []string
	a := newAPI(t, &fakeStore{
		leases: func(ns string, f model.LeaseFilter) (model.Page[*model.Lease], error) {
			namespaces, leases = append(namespaces, ns), f
			return model.Page[*model.Lease]{}, nil
		},
		resources: func(ns string, f model.ResourceFilter) (model.Page[*model.Resource], error) {
			namespaces, resources = append(namespaces, ns), f
			return model.Page[*model.Resource]{}, nil
		},
	})
	a.do(http.MethodGet, "/v1/leases?status=active&type=host&resource="+resourceID+"&owner=ada+l&limit=500&after="+leaseID, "")
	a.do(http.MethodGet, "/v1/resources?status=broken&type=host&blueprint=lab&limit=1&after="+resourceID+"&namespace=ci", "")
	want := model.LeaseFilter{Status: model.LeaseActive, Type: "host", Resource: resourceID, Owner: "ada l", Limit: 500, After: leaseID}
	if diff := cmp.Diff(want, leases); diff != "" {
		t.Errorf("leases (-want +got):\n%s", diff)
	}
	wantResources := model.ResourceFilter{Status: model.ResourceBroken, Type: "host", Blueprint: "lab", Limit: 1, After: resourceID}
	if diff := cmp.Diff(wantResources, resources); diff != "" {
		t.Errorf("resources (-want +got):\n%s", diff)
	}
	a.do(http.MethodGet, "/v1/leases?status=&after=&limit=", "")
	if diff := cmp.Diff(model.LeaseFilter{Limit: 50}, leases); diff != "" {
		t.Errorf("empty filters (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"default", "ci", "default"}, namespaces); diff != "" {
		t.Errorf("namespaces (-want +got):\n%s", diff)
	}
}

func TestWaitingAgesCoverEveryState(t *testing.T) {
	t.Parallel()
	for _, s := range model.LeaseStates() {
		if _, ok := leaseAges[s]; !ok {
			t.Errorf("leaseAges lacks %s", s)
		}
	}
	for _, s := range model.ResourceStates() {
		if _, ok := resourceAges[s]; !ok {
			t.Errorf("resourceAges lacks %s", s)
		}
	}
}

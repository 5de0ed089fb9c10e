package api

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"drydock/model"
)

func declined(namespace string) *model.Authorization {
	return &model.Authorization{
		Namespace: namespace, Blueprint: "lab", Owner: "ada", Status: model.AuthorizationDeclined, Author: "root", Reason: "the project is over",
		Origin: model.Origin{Via: model.ViaCLI, Address: "192.0.2.1"}, Leases: 2,
		RequestedAt: testNow, ChangedAt: testNow.Add(time.Hour),
	}
}

// requested is the wish of leases without an owner.
func requested(namespace string) *model.Authorization {
	return &model.Authorization{
		Namespace: namespace, Blueprint: "lab", Status: model.AuthorizationRequested, Author: model.SystemAuthor,
		Origin: model.Origin{Via: model.ViaWorker}, RequestedAt: testNow, ChangedAt: testNow,
	}
}

func TestAuthorizeStoresWhoSaidWhatFromWhere(t *testing.T) {
	t.Parallel()
	var got model.Authorization
	wake := []model.Ref{model.LeaseRef("ci", leaseID)}
	a := newAPI(t, &fakeStore{authorize: func(in model.Authorization) (*model.Authorization, []model.Ref, error) {
		got = in
		in.RequestedAt, in.ChangedAt = testNow, testNow
		return &in, wake, nil
	}})
	answer := a.do(http.MethodPost, "/v1/blueprints/lab/authorizations?namespace=ci",
		`{"owner": "ada", "status": "approved", "reason": "new here"}`, "Drydock-Author: root", "Drydock-Via: console")
	if answer.status != http.StatusOK || !strings.Contains(string(answer.body), `"status":"approved"`) {
		t.Fatalf("= %d %s", answer.status, answer.body)
	}
	want := model.Authorization{
		Namespace: "ci", Blueprint: "lab", Owner: "ada", Status: model.AuthorizationApproved, Author: "root", Reason: "new here",
		Origin: model.Origin{Via: model.ViaConsole, Address: "127.0.0.1", UserAgent: "test/1", RequestID: fixedID},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(wake, a.tasks.enqueued()); diff != "" {
		t.Errorf("enqueued (-want +got):\n%s", diff)
	}
	if a.do(http.MethodPost, "/v1/blueprints/lab/authorizations", `{"owner": null, "status": "approved"}`); got.Owner != "" {
		t.Errorf("owner null became %q", got.Owner)
	}
}

// TestDecliningSaysThatLeasesLiveOn: an operator who declines must not believe that this has thrown somebody out.
func TestDecliningSaysThatLeasesLiveOn(t *testing.T) {
	t.Parallel()
	for leases, want := range map[int]string{
		0: `"detail":null`,
		1: `"detail":"1 lease of this owner lives on; declining ends none"`,
		2: `"detail":"2 leases of this owner live on; declining ends none"`,
	} {
		a := newAPI(t, &fakeStore{authorize: func(in model.Authorization) (*model.Authorization, []model.Ref, error) {
			in.Leases = leases
			return &in, nil, nil
		}})
		got := a.do(http.MethodPost, "/v1/blueprints/lab/authorizations", `{"owner": "ada", "status": "declined"}`)
		if !strings.Contains(string(got.body), want) {
			t.Errorf("with %d leases = %s, want %s", leases, got.body, want)
		}
		got = a.do(http.MethodPost, "/v1/blueprints/lab/authorizations", `{"owner": "ada", "status": "approved"}`)
		if !strings.Contains(string(got.body), `"detail":null`) {
			t.Errorf("approved with %d leases = %s", leases, got.body)
		}
	}
}

func TestAuthorizeErrors(t *testing.T) {
	t.Parallel()
	for want, err := range map[int]error{
		http.StatusNotFound: model.ErrBlueprintNotFound,
		http.StatusConflict: model.Errorf(model.ErrorConflict, "blueprint lab takes no requests"),
	} {
		a := newAPI(t, &fakeStore{authorize: func(model.Authorization) (*model.Authorization, []model.Ref, error) { return nil, nil, err }})
		got := a.do(http.MethodPost, "/v1/blueprints/lab/authorizations", `{"owner": "ada", "status": "approved"}`)
		if p := got.problem(t); got.status != want || !errors.Is(err, model.ErrBlueprintNotFound) && !strings.Contains(p.Detail, "takes no requests") {
			t.Errorf("= %d %s, want %d", got.status, got.body, want)
		}
	}
}

func TestListAuthorizationsHandsTheFilterOn(t *testing.T) {
	t.Parallel()
	var got model.AuthorizationFilter
	a := newAPI(t, &fakeStore{authorizations: func(_ string, f model.AuthorizationFilter) (model.Page[*model.Authorization], error) {
		got = f
		return model.Page[*model.Authorization]{}, nil
	}})
	for query, want := range map[string]model.AuthorizationFilter{
		"": {Limit: model.DefaultPageLimit},
		"?blueprint=lab&owner=%C3%BC%20x&status=declined&limit=3&after=bGFi": {
			Blueprint: "lab", Owner: "ü x", Status: model.AuthorizationDeclined, Limit: 3, After: "bGFi",
		},
		"?owner=&status=": {Limit: model.DefaultPageLimit},
	} {
		if answer := a.do(http.MethodGet, "/v1/authorizations"+query, ""); answer.status != http.StatusOK {
			t.Errorf("%s = %d %s", query, answer.status, answer.body)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: filter (-want +got):\n%s", query, diff)
		}
	}
}

package api

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"drydock/model"
)

func TestDataOfBothKinds(t *testing.T) {
	t.Parallel()
	three := int64(3)
	zero := int64(0)
	type call struct {
		Ref   model.Ref
		Value string
		Cond  model.Condition
	}
	tests := []struct {
		name, path, body string
		headers          []string
		want             call
	}{
		{"a lease", "/v1/leases/" + leaseID, `{"data": {"a": [1]}}`, nil, call{model.LeaseRef("default", leaseID), `{"a": [1]}`, model.Condition{}}},
		{
			"a resource elsewhere", "/v1/resources/" + resourceID, `{"data": "x"}`, []string{`If-Match: "3"`},
			call{model.ResourceRef("ci", resourceID), `"x"`, model.Condition{Rev: &three}},
		},
		{
			"never written", "/v1/leases/" + leaseID, `{"data": false}`, []string{`If-Match: "0"`},
			call{model.LeaseRef("default", leaseID), `false`, model.Condition{Rev: &zero}},
		},
		{"removed", "/v1/leases/" + leaseID, `{"data": null}`, []string{"If-Match: *"}, call{model.LeaseRef("default", leaseID), "", model.Condition{Some: true}}},
		{"first", "/v1/leases/" + leaseID, `{"data": 0}`, []string{"If-None-Match: *"}, call{model.LeaseRef("default", leaseID), "0", model.Condition{None: true}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got call
			a := newAPI(t, &fakeStore{
				setData: func(ref model.Ref, value json.RawMessage, cond model.Condition) (model.Data, error) {
					got = call{ref, string(value), cond}
					return model.Data{Value: value, Rev: 4}, nil
				},
				data: func(ref model.Ref) (model.Data, error) {
					if ref != got.Ref {
						t.Errorf("read %s, want %s", ref, got.Ref)
					}
					return model.Data{Value: json.RawMessage(got.Value), Rev: 4}, nil
				},
			})
			path := tt.path + "/data"
			if tt.want.Ref.Namespace == "ci" {
				path += "?namespace=ci"
			}
			put := a.do(http.MethodPut, path, tt.body, tt.headers...)
			if put.status != http.StatusOK || put.header.Get("ETag") != `"4"` {
				t.Fatalf("PUT = %d %s, ETag %s", put.status, put.body, put.header.Get("ETag"))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("written (-want +got):\n%s", diff)
			}
			get := a.do(http.MethodGet, path, "")
			if diff := cmp.Diff(string(put.body), string(get.body)); diff != "" || get.header.Get("ETag") != `"4"` {
				t.Errorf("read, ETag %s (-written +read):\n%s", get.header.Get("ETag"), diff)
			}
			if len(a.tasks.enqueued()) > 0 {
				t.Error("a task was enqueued")
			}
		})
	}
}

func TestConditionsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	a := newAPI(t, &fakeStore{})
	for _, tt := range []struct {
		headers []string
		field   string
	}{
		{[]string{"If-Match: 3"}, "If-Match"},
		{[]string{`If-Match: "03"`}, "If-Match"},
		{[]string{`If-Match: "-1"`}, "If-Match"},
		{[]string{`If-Match: W/"3"`}, "If-Match"},
		{[]string{`If-Match: "3", "4"`}, "If-Match"},
		{[]string{`If-Match: "3"`, `If-Match: "4"`}, "If-Match"},
		{[]string{`If-Match: "`}, "If-Match"},
		{[]string{"If-Match: "}, "If-Match"},
		{[]string{`If-Match: "99999999999999999999"`}, "If-Match"},
		{[]string{`If-None-Match: "3"`}, "If-None-Match"},
		{[]string{"If-None-Match: *", "If-None-Match: *"}, "If-None-Match"},
		{[]string{"If-Match: *", "If-None-Match: *"}, "If-None-Match"},
	} {
		got := a.do(http.MethodPut, "/v1/leases/"+leaseID+"/data", `{"data": 1}`, tt.headers...)
		if p := got.problem(t); got.status != http.StatusUnprocessableEntity || string(p.Field) != tt.field {
			t.Errorf("%q = %d %s, want 422 with field %s", tt.headers, got.status, got.body, tt.field)
		}
	}
}

func TestDataErrors(t *testing.T) {
	t.Parallel()
	for want, err := range map[int]error{
		http.StatusNotFound:           model.ErrLeaseNotFound,
		http.StatusConflict:           model.Errorf(model.ErrorConflict, "the lease is destroyed"),
		http.StatusPreconditionFailed: model.Errorf(model.ErrorPrecondition, "the data of the lease have rev 5, not 3"),
	} {
		a := newAPI(t, &fakeStore{setData: func(model.Ref, json.RawMessage, model.Condition) (model.Data, error) { return model.Data{}, err }})
		got := a.do(http.MethodPut, "/v1/leases/"+leaseID+"/data", `{"data": 1}`, `If-Match: "3"`)
		if p := got.problem(t); got.status != want || p.Detail != err.Error() {
			t.Errorf("= %d %s, want %d %s", got.status, got.body, want, err)
		}
	}
}

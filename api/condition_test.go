package api

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"drydock/model"
)

func TestReadsOfWhatIsKnownAreShort(t *testing.T) {
	t.Parallel()
	lease := activeLease("default")
	a := newAPI(t, &fakeStore{
		lease:     func(context.Context, string, string) (*model.Lease, error) { return lease, nil },
		blueprint: func(string, string) (*model.Blueprint, error) { return lab(), nil },
	})
	for _, path := range []string{"/v1/leases/" + leaseID, "/v1/blueprints/lab"} {
		first := a.do(http.MethodGet, path, "")
		tag := first.header.Get("ETag")
		if first.status != http.StatusOK || tag == "" {
			t.Fatalf("GET %s = %d, ETag %q", path, first.status, tag)
		}
		for _, known := range []string{tag, strings.TrimPrefix(tag, "W/"), `"other", ` + tag, "*"} {
			got := a.do(http.MethodGet, path, "", "If-None-Match: "+known)
			if got.status != http.StatusNotModified || len(got.body) > 0 || got.header.Get("ETag") != tag {
				t.Errorf("GET %s of one who has %s = %d %q, ETag %s", path, known, got.status, got.body, got.header.Get("ETag"))
			}
		}
		if got := a.do(http.MethodGet, path, "", `If-None-Match: "other"`); got.status != http.StatusOK {
			t.Errorf("GET %s of one who has another = %d", path, got.status)
		}
	}
	tag := a.do(http.MethodGet, "/v1/leases/"+leaseID, "").header.Get("ETag")
	changed := *lease
	changed.Status = model.LeaseReleased
	lease = &changed
	if got := a.do(http.MethodGet, "/v1/leases/"+leaseID, "", "If-None-Match: "+tag); got.status != http.StatusOK || got.header.Get("ETag") == tag {
		t.Errorf("after a change = %d, ETag %s, was %s", got.status, got.header.Get("ETag"), tag)
	}
}

func TestBlueprintsAreWrittenUnderACondition(t *testing.T) {
	t.Parallel()
	var asked []model.Condition
	a := newAPI(t, &fakeStore{putBlueprint: func(bp *model.Blueprint, cond model.Condition) (*model.Blueprint, bool, []model.Ref, error) {
		asked = append(asked, cond)
		bp.Rev = 7
		return bp, false, nil, nil
	}})
	body := `{"kind": "pool", "type": "host", "config": {"hosts": [{"name": "h1"}]}}`
	for _, header := range []string{`If-Match: "3"`, "If-None-Match: *"} {
		if got := a.do(http.MethodPut, "/v1/blueprints/lab", body, header); got.status != http.StatusOK || got.header.Get("ETag") != `"7"` {
			t.Errorf("PUT with %s = %d %s, ETag %s", header, got.status, got.body, got.header.Get("ETag"))
		}
	}
	if len(asked) != 2 || asked[0].Rev == nil || *asked[0].Rev != 3 || !asked[1].None {
		t.Errorf("the store was asked for %+v", asked)
	}
	if got := a.do(http.MethodPut, "/v1/blueprints/lab", body, "If-Match: 3"); got.status != http.StatusUnprocessableEntity {
		t.Errorf("PUT with a condition that cannot be read = %d", got.status)
	}
}

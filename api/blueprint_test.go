package api

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"drydock/api/wire"
	"drydock/model"
)

func TestPutBlueprintStoresWhatWasDeclaredAndWakes(t *testing.T) {
	t.Parallel()
	off := false
	tests := []struct {
		name, body string
		created    bool
		status     int
		location   string
		want       model.Blueprint
	}{
		{
			"the least", `{"kind": "pool", "type": "host"}`, true, http.StatusCreated, "/v1/blueprints/lab?namespace=ci",
			model.Blueprint{Enabled: true, Config: json.RawMessage("{}")},
		},
		{
			"everything", `{"kind": "pool", "type": "host", "limit": 4, "min_idle": 2, "max_idle_age": "90m", "quota": 3, "authorize": "request",
				"on": {"type": "rack", "attributes": {"row": "1"}, "blueprints": ["hall"]},
				"enabled": false, "config": {"hosts": [{"name": "h1"}]}}`, false, http.StatusOK, "",
			model.Blueprint{
				Limit: 4, MinIdle: 2, MaxIdleAge: 90 * time.Minute, Quota: 3, Authorize: model.Authorize{Request: true},
				On:      &model.SubLease{Type: "rack", Attributes: map[string]string{"row": "1"}, Blueprints: []string{"hall"}},
				Enabled: off, Config: json.RawMessage(`{"hosts": [{"name": "h1"}]}`),
			},
		},
		{
			"a list of owners", `{"kind": "pool", "type": "host", "authorize": ["ada", "bob"]}`, false, http.StatusOK, "",
			model.Blueprint{
				Authorize: model.Authorize{Only: true, Owners: []string{"ada", "bob"}}, Enabled: true, Config: json.RawMessage("{}"),
			},
		},
		{
			"nulls", `{"kind": "pool", "type": "host", "limit": null, "on": null, "min_idle": null, "max_idle_age": null, "quota": null, "authorize": null,
				"enabled": null, "config": null}`, false, http.StatusOK, "",
			model.Blueprint{Enabled: true, Config: json.RawMessage("{}")},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got *model.Blueprint
			wake := []model.Ref{model.LeaseRef("ci", leaseID)}
			a := newAPI(t, &fakeStore{putBlueprint: func(bp *model.Blueprint, _ model.Condition) (*model.Blueprint, bool, []model.Ref, error) {
				got = bp
				return bp, tt.created, wake, nil
			}})
			answer := a.do(http.MethodPut, "/v1/blueprints/lab?namespace=ci", tt.body)
			if answer.status != tt.status || answer.header.Get("Location") != tt.location {
				t.Errorf("= %d %s, Location %q", answer.status, answer.body, answer.header.Get("Location"))
			}
			tt.want.Namespace, tt.want.Name, tt.want.Kind, tt.want.Type = "ci", "lab", "pool", "host"
			if diff := cmp.Diff(&tt.want, got); diff != "" {
				t.Errorf("declared (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(wake, a.tasks.enqueued()); diff != "" {
				t.Errorf("enqueued (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBlueprintThatItsKindRefuses(t *testing.T) {
	t.Parallel()
	a := newAPI(t, &fakeStore{}, func(c *Config) {
		c.Kinds = fakeKinds{check: func(*model.Blueprint) error { return model.Invalid("config.hosts", "must not be empty") }}
	})
	got := a.do(http.MethodPut, "/v1/blueprints/lab", `{"kind": "pool", "type": "host"}`)
	if p := got.problem(t); got.status != http.StatusUnprocessableEntity || p.Field != "config.hosts" {
		t.Errorf("= %d %s", got.status, got.body)
	}
}

func TestDeleteBlueprint(t *testing.T) {
	t.Parallel()
	errs := map[string]error{
		"empty": nil,
		"used":  model.Errorf(model.ErrorConflict, "the blueprint has 2 resources"),
		"none":  model.ErrBlueprintNotFound,
	}
	a := newAPI(t, &fakeStore{deleteBlueprint: func(_, name string) error { return errs[name] }})
	for name, want := range map[string]int{"empty": http.StatusNoContent, "used": http.StatusConflict, "none": http.StatusNotFound} {
		if got := a.do(http.MethodDelete, "/v1/blueprints/"+name, ""); got.status != want || (want == http.StatusNoContent) != (len(got.body) == 0) {
			t.Errorf("%s = %d %s, want %d", name, got.status, got.body, want)
		}
	}
}

func TestBlueprintNameMayBeEncodedInThePath(t *testing.T) {
	t.Parallel()
	a := newAPI(t, &fakeStore{blueprint: func(_, name string) (*model.Blueprint, error) {
		if name != "lab" {
			t.Errorf("name %q, want lab", name)
		}
		return lab(), nil
	}})
	if got := a.do(http.MethodGet, "/v1/blueprints/%6c%61b", ""); got.status != http.StatusOK {
		t.Errorf("= %d %s", got.status, got.body)
	}
}

func TestBlueprintsArePaged(t *testing.T) {
	t.Parallel()
	a := newAPI(t, &fakeStore{blueprints: func(string) ([]*model.Blueprint, error) {
		var all []*model.Blueprint
		for _, name := range []string{"a", "b", "c", "d"} {
			bp := lab()
			bp.Name = name
			all = append(all, bp)
		}
		return all, nil
	}})
	var got []string
	after := ""
	for range 10 {
		var page wire.Page[wire.Blueprint]
		if err := json.Unmarshal(a.do(http.MethodGet, "/v1/blueprints?limit=2&after="+after, "").body, &page); err != nil {
			t.Fatal(err)
		}
		for _, bp := range page.Items {
			got = append(got, bp.Name)
		}
		got = append(got, "|")
		if after = string(page.Next); after == "" {
			break
		}
	}
	if s := strings.Join(got, ""); s != "ab|cd|" {
		t.Errorf("pages = %s, want ab|cd|", s)
	}
}

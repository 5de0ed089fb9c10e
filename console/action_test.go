package console

import (
	"strings"
	"testing"
	"time"

	"drydock/api/wire"
	"drydock/auth"
	"drydock/model"
)

func visitor(name string, role auth.Role) *visit {
	return &visit{namespace: "default", who: &auth.Identity{Name: name, Grants: []auth.Grant{{Role: role, Namespaces: []string{"*"}}}}}
}

// TestButtons says which buttons can be pressed by state and by visitor, and why not.
func TestButtons(t *testing.T) {
	t.Parallel()
	soon := wire.Time{Time: time.Now().Add(time.Hour)}
	lease := func(status model.LeaseState, releasing bool) []action {
		return leaseActions(visitor("ada", auth.RoleHolder), &wire.Lease{Status: string(status), Releasing: releasing, Owner: "ada", Until: soon})
	}
	resource := func(role auth.Role, change func(*wire.Resource)) []action {
		r := &wire.Resource{Status: string(model.ResourceActive), Until: soon}
		change(r)
		return resourceActions(visitor("ops", role), r)
	}
	nothing := func(*wire.Resource) {}
	for name, tc := range map[string]struct {
		actions []action
		allowed string
		button  string
		why     string // of the button
	}{
		"a lease that waits":             {lease(model.LeasePending, false), "release extend", "", ""},
		"an active lease":                {lease(model.LeaseActive, false), "release extend", "", ""},
		"a lease with a release":         {lease(model.LeaseActive, true), "extend", "release", "being released already"},
		"a released lease":               {lease(model.LeaseReleased, false), "", "release", "released already"},
		"a destroyed lease":              {lease(model.LeaseDestroyed, false), "", "extend", "destroyed"},
		"somebody else's lease":          {leaseActions(visitor("bob", auth.RoleHolder), &wire.Lease{Status: "active", Owner: "ada", Until: soon}), "", "release", "its owner or an operator"},
		"a lease, for an operator":       {leaseActions(visitor("ops", auth.RoleOperator), &wire.Lease{Status: "active", Owner: "ada", Until: soon}), "release extend", "", ""},
		"a lease, where nobody is asked": {leaseActions(&visit{}, &wire.Lease{Status: "active", Owner: "ada", Until: soon}), "release extend", "", ""},
		"a lease without an end":         {leaseActions(visitor("ada", auth.RoleHolder), &wire.Lease{Status: "active", Owner: "ada"}), "release", "extend", "no end"},
		"a resource without an end":      {resource(auth.RoleOperator, func(r *wire.Resource) { r.Until = wire.Time{} }), "release pause reclaim update", "extend", "no end"},
		"a resource":                     {resource(auth.RoleOperator, nothing), "release pause reclaim extend update", "unpause", "not paused"},
		"a paused one":                   {resource(auth.RoleOperator, func(r *wire.Resource) { r.Paused = true }), "release unpause reclaim extend update", "pause", "paused already"},
		"one in use":                     {resource(auth.RoleOperator, func(r *wire.Resource) { r.Leases = 1 }), "release pause extend update", "reclaim", "in use"},
		"a resource, for a holder":       {resource(auth.RoleHolder, nothing), "", "release", "takes an operator, and you are holder"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var allowed []string
			for _, a := range tc.actions {
				if a.Allowed {
					allowed = append(allowed, a.Name)
				}
				if a.Allowed != (a.Why == "") {
					t.Errorf("%s is allowed: %t, and not because %q", a.Name, a.Allowed, a.Why)
				}
				if a.Name == tc.button && !strings.Contains(a.Why, tc.why) {
					t.Errorf("%s: not because %q, want %q", a.Name, a.Why, tc.why)
				}
			}
			if got := strings.Join(allowed, " "); got != tc.allowed {
				t.Errorf("allowed are %q, want %q", got, tc.allowed)
			}
		})
	}
}

func TestChart(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration, leased, waiting int) Sample { return Sample{now.Add(-d), leased, waiting} }
	for name, tc := range map[string]struct {
		samples             []Sample
		line, waiting, text string
		empty               bool
	}{
		"nothing is known":  {text: "In use over the last 1 s: now 0, at most 0. Dashed: waiting, now 0.", empty: true},
		"only now is known": {samples: []Sample{ago(0, 1, 0)}, line: "M720 10", waiting: "M720 120", text: "In use over the last 1 s: now 1, at most 1. Dashed: waiting, now 0.", empty: true},
		"a young server":    {samples: []Sample{ago(30*time.Minute, 1, 0), ago(15*time.Minute, 0, 0), ago(0, 2, 1)}, line: "M0 65H360V120H720V10", waiting: "M0 120H360V120H720V65", text: "In use over the last 30 min: now 2, at most 2. Dashed: waiting, now 1."},
		"more than a day":   {samples: []Sample{ago(36*time.Hour, 4, 0), ago(0, 0, 0)}, line: "M0 10H720V120", waiting: "M0 120H720V120", text: "In use over the last 24 h: now 0, at most 4. Dashed: waiting, now 0."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if ch := utilisation(now, tc.samples); ch.Line != tc.line || ch.Waiting != tc.waiting || ch.Text != tc.text || ch.Empty != tc.empty {
				t.Errorf("chart = %+v, want %+v", ch, tc)
			}
		})
	}
}

func TestPathTellsHowLongEachStateTook(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	at := func(d time.Duration) wire.Time { return wire.Time{Time: now.Add(-d)} }
	// Broken before it was acquired: the states between are passed over.
	got := path(now, "broken", []stop{
		{State: "pending", At: at(time.Minute)}, {State: "acquired"}, {State: "active"}, {State: "released", At: at(10 * time.Second)}, {State: "destroyed"},
	})
	if got[0].Took != 50*time.Second || got[1].Done || got[3].State != "broken" || !got[3].Current || got[3].Took != 10*time.Second || got[4].Done {
		t.Errorf("path %+v", got)
	}
}

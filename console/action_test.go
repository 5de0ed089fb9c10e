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
	lease := func(status model.LeaseState, releasing bool) []action {
		return leaseActions(visitor("ada", auth.RoleHolder), &wire.Lease{Status: string(status), Releasing: releasing, Owner: "ada"})
	}
	resource := func(role auth.Role, change func(*wire.Resource)) []action {
		r := &wire.Resource{Status: string(model.ResourceActive)}
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
		"somebody else's lease":          {leaseActions(visitor("bob", auth.RoleHolder), &wire.Lease{Status: "active", Owner: "ada"}), "", "release", "its owner or an operator"},
		"a lease, for an operator":       {leaseActions(visitor("ops", auth.RoleOperator), &wire.Lease{Status: "active", Owner: "ada"}), "release extend", "", ""},
		"a lease, where nobody is asked": {leaseActions(&visit{}, &wire.Lease{Status: "active", Owner: "ada"}), "release extend", "", ""},
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

func TestChartCountsLeasesByTheirOwnTimes(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) wire.Time { return wire.Time{Time: now.Add(-d)} }
	ch := utilisation(now, map[string]wire.Lease{
		"waits": {}, "long": {AcquiredAt: ago(5 * time.Hour)}, "new": {AcquiredAt: ago(30 * time.Minute)},
		"over":        {AcquiredAt: ago(40 * time.Minute), DestroyedAt: ago(10 * time.Minute)},
		"long before": {AcquiredAt: ago(9 * time.Hour), DestroyedAt: ago(8 * time.Hour)},
	})
	if ch.Now != 2 || ch.Max != 3 || ch.Empty {
		t.Errorf("now %d, at most %d, empty %t, want 2, 3 and not", ch.Now, ch.Max, ch.Empty)
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

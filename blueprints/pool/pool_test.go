package pool_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"drydock/blueprints"
	"drydock/blueprints/command"
	"drydock/blueprints/conformance"
	"drydock/blueprints/pool"
	"drydock/model"
)

const lab = `{
	"leases_per_host": 2,
	"hosts": [
		{"name": "h1", "attributes": {"os": "linux", "arch": "arm64"}},
		{"name": "h2", "attributes": {"os": "linux", "gpu": "yes"}, "leases": 5},
		{"name": "h3", "attributes": {"os": "macos"}, "disabled": true},
		{"name": "h4"}
	],
	"health_check": {"command": ["test", "{host}", "!=", "h2"], "timeout": "5s"}
}`

func blueprint(config string) *model.Blueprint {
	return &model.Blueprint{Namespace: "ci", Name: "lab", Kind: "pool", Type: "host", Enabled: true, Config: json.RawMessage(config)}
}

func open(t testing.TB, config string) blueprints.Blueprint {
	t.Helper()
	bp, err := pool.Kind{}.Open(blueprint(config))
	if err != nil {
		t.Fatal(err)
	}
	return bp
}

func want(pairs ...string) model.Request {
	req := model.Request{Type: "host", Attributes: map[string]string{}}
	for i := 0; i < len(pairs); i += 2 {
		req.Attributes[pairs[i]] = pairs[i+1]
	}
	return req
}

func names(bp blueprints.Blueprint, req model.Request) string {
	var out []string
	for offer := range bp.Offers(req) {
		out = append(out, fmt.Sprintf("%s/%d", offer.Name, offer.Capacity))
	}
	return strings.Join(out, " ")
}

func TestConformance(t *testing.T) {
	t.Parallel()
	conformance.Run(t, conformance.Suite{
		Kind: pool.Kind{},
		New: func(*testing.T) conformance.World {
			healthy := strings.Replace(lab, `"!=", "h2"`, `"!=", "h9"`, 1)
			return conformance.World{Blueprint: blueprint(healthy)}
		},
		Bad: []conformance.Bad{
			conformance.BadConfig("no hosts", `{}`, "config.hosts"),
			conformance.BadConfig("no name", `{"hosts": [{"name": "a"}, {}]}`, "config.hosts[1].name"),
			conformance.BadConfig("bad name", `{"hosts": [{"name": "-oProxyCommand=x"}]}`, "config.hosts[0].name"),
			conformance.BadConfig("name that leaves its key", `{"hosts": [{"name": "a}:b"}]}`, "config.hosts[0].name"),
			conformance.BadConfig("same name", `{"hosts": [{"name": "a"}, {"name": "b"}, {"name": "a"}]}`, "config.hosts[2].name"),
			conformance.BadConfig("null attribute of a host", `{"hosts": [{"name": "a", "attributes": {"os": null}}]}`, "config.hosts[0].attributes.os"),
			conformance.BadConfig("unknown field of a host", `{"hosts": [{"name": "a", "disable": true}]}`, "config.hosts[0].disable"),
			conformance.BadConfig("bad attribute name", `{"hosts": [{"name": "a", "attributes": {"o s": "x"}}]}`, "config.hosts[0].attributes"),
			conformance.BadConfig("bad attribute value", `{"hosts": [{"name": "a", "attributes": {"os": "a\u0000"}}]}`, "config.hosts[0].attributes.os"),
			conformance.BadConfig("no leases", `{"leases_per_host": 0, "hosts": []}`, "config.leases_per_host"),
			conformance.BadConfig("too many leases", `{"leases_per_host": 1001, "hosts": []}`, "config.leases_per_host"),
			conformance.BadConfig("no leases on a host", `{"hosts": [{"name": "a", "leases": -1}]}`, "config.hosts[0].leases"),
			conformance.BadConfig("no check command", `{"hosts": [], "health_check": {}}`, "config.health_check.command"),
			conformance.BadConfig("negative timeout", `{"hosts": [], "health_check": {"command": ["true"], "timeout": "-1s"}}`, "config.health_check.timeout"),
			conformance.BadConfig("too many hosts", `{"hosts": [`+strings.Repeat(`{"name": "a"},`, pool.MaxHosts)+`{"name": "a"}]}`, "config.hosts"),
		},
		Serves:  []model.Request{want(), want("os", "linux"), want("os", "linux", "arch", "arm64")},
		Refuses: []model.Request{want("os", "plan9"), want("gpu", "yes", "arch", "arm64"), want("os", "")},
	})
}

func TestOffersFollowTheDeclaration(t *testing.T) {
	t.Parallel()
	bp := open(t, lab)
	for _, tc := range []struct {
		req  model.Request
		want string
	}{
		{want(), "h1/2 h2/5 h4/2"},
		{want("os", "linux"), "h1/2 h2/5"},
		{want("os", "linux", "gpu", "yes"), "h2/5"},
		{want("os", "macos"), ""},
	} {
		if got := names(bp, tc.req); got != tc.want {
			t.Errorf("Offers(%v) = %q, want %q", tc.req.Attributes, got, tc.want)
		}
	}
	for offer := range bp.Offers(want()) {
		if got, want := offer.Slots, []string{"host:lab:" + offer.Name}; !slices.Equal(got, want) {
			t.Errorf("slots of %s = %q, want %q", offer.Name, got, want)
		}
	}
}

func TestCanServeCountsDisabledHosts(t *testing.T) {
	t.Parallel()
	bp := open(t, lab)
	if ok, reason := bp.CanServe(want("os", "macos")); !ok {
		t.Errorf("a disabled host may come back: %s", reason)
	}
	for _, tc := range []struct {
		bp     blueprints.Blueprint
		req    model.Request
		reason string
	}{
		{bp, want("os", "plan9"), `no host has os = "plan9"`},
		{bp, want("os", "macos", "gpu", "yes"), "no host has all of the attributes at once"},
		{open(t, `{"hosts": []}`), want(), "the pool has no hosts"},
	} {
		if ok, reason := tc.bp.CanServe(tc.req); ok || reason != tc.reason {
			t.Errorf("CanServe(%v) = %v, %q, want %q", tc.req.Attributes, ok, reason, tc.reason)
		}
	}
}

func TestFitsLooksAtTheStoredAttributesAndTheDeclaredHost(t *testing.T) {
	t.Parallel()
	bp := open(t, lab)
	host := func(name string, pairs ...string) *model.Resource {
		return &model.Resource{Name: name, Attributes: want(pairs...).Attributes}
	}
	for _, tc := range []struct {
		res    *model.Resource
		reason string
	}{
		{host("h4", "os", "linux"), ""}, // as made, although the declaration says otherwise by now
		{host("h1", "os", "macos"), `its os is "macos", not "linux"`},
		{host("h1"), "it has no attribute os"},
		{host("h3", "os", "linux"), "host h3 is disabled"},
		{host("h9", "os", "linux"), "host h9 is not in the pool any more"},
	} {
		if ok, reason := bp.Fits(tc.res, want("os", "linux")); ok != (tc.reason == "") || reason != tc.reason {
			t.Errorf("Fits(%s %v) = %v, %q, want %q", tc.res.Name, tc.res.Attributes, ok, reason, tc.reason)
		}
	}
}

func TestUpdateReadsTheDeclarationAgain(t *testing.T) {
	t.Parallel()
	bp := open(t, lab)
	got, err := bp.Hooks().UpdateResource(t.Context(), blueprints.Call{}, &model.Resource{Name: "h2", Capacity: 1})
	if err != nil || got.Capacity != 5 || got.Attributes["gpu"] != "yes" {
		t.Errorf("update of h2 = %+v, %v", got, err)
	}
	got, err = bp.Hooks().UpdateResource(t.Context(), blueprints.Call{}, &model.Resource{Name: "h4"})
	if err != nil || got.Attributes == nil || len(got.Attributes) > 0 {
		t.Errorf("update of h4 = %+v, %v, want empty attributes, not absent ones", got, err)
	}
	if _, err = bp.Hooks().UpdateResource(t.Context(), blueprints.Call{}, &model.Resource{Name: "h9"}); err == nil {
		t.Error("a host that is gone was updated")
	}
}

func TestAHostThatFailsItsHealthCheckTakesNoLease(t *testing.T) {
	t.Parallel()
	hooks := open(t, lab).Hooks()
	if hooks.Timeout.String() != "5s" || hooks.ActivateResource != nil {
		t.Errorf("hooks = %+v", hooks)
	}
	if _, err := hooks.AcquireLease(t.Context(), blueprints.Call{}, &model.Resource{Name: "h1"}, nil); err != nil {
		t.Errorf("h1 is well: %v", err)
	}
	_, err := hooks.AcquireLease(t.Context(), blueprints.Call{}, &model.Resource{Name: "h2"}, nil)
	if err == nil || err.Error() != "host h2 failed its health check: test: exit status 1" {
		t.Errorf("h2 is down, yet: %v", err)
	}
	if open(t, `{"hosts": []}`).Hooks().AcquireLease != nil {
		t.Error("a pool without a health check has a hook that costs time")
	}
}

func TestTheHealthCheckSeesTheHostInItsEnvironment(t *testing.T) {
	t.Parallel()
	out := filepath.Join(t.TempDir(), "out")
	config := fmt.Sprintf(`{"hosts": [], "health_check": {"command": ["/bin/sh", "-c", "echo $DRYDOCK_NAMESPACE $DRYDOCK_RESOURCE_NAME > %s"]}}`, out)
	hooks := open(t, config).Hooks()
	call := blueprints.Call{Object: model.LeaseRef("ci", model.NewID())}
	if _, err := hooks.AcquireLease(t.Context(), call, &model.Resource{Name: "h1"}, nil); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(out); err != nil || string(got) != "ci h1\n" {
		t.Errorf("environment = %q, %v", got, err)
	}
	if hooks.Timeout.String() != "10s" {
		t.Errorf("default timeout = %s", hooks.Timeout)
	}
}

func TestTheOperatorCanForbidHealthChecks(t *testing.T) {
	t.Parallel()
	_, err := pool.Kind{Commands: command.Policy{Off: true}}.Open(blueprint(lab))
	if err == nil || !strings.HasPrefix(err.Error(), "config.health_check.command: ") {
		t.Errorf("Open = %v", err)
	}
}

// large is a pool of the largest size, each host with one attribute of its own and two that many share.
func large() string {
	var b strings.Builder
	b.WriteString(`{"hosts": [`)
	for i := range pool.MaxHosts {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"name": "h%d", "attributes": {"serial": "s%d", "parity": "p%d", "mod3": "m%d"}}`, i, i, i%2, i%3)
	}
	b.WriteString(`]}`)
	return b.String()
}

func TestALargePoolAnswersFromItsIndex(t *testing.T) {
	t.Parallel()
	bp := open(t, large())
	if got := names(bp, want("serial", "s9999", "parity", "p1")); got != "h9999/1" {
		t.Errorf("Offers = %q", got)
	}
	if ok, _ := bp.CanServe(want("serial", "s1", "parity", "p0")); ok {
		t.Error("CanServe says yes to a host that does not exist")
	}
}

func BenchmarkPool(b *testing.B) {
	bp := open(b, large())
	for name, req := range map[string]model.Request{
		"rare": want("serial", "s5000", "parity", "p0"), "common": want("parity", "p1", "mod3", "m2"), "any": want(),
		"never": want("parity", "p0", "mod3", "m9"),
	} {
		b.Run("CanServe/"+name, func(b *testing.B) {
			for b.Loop() {
				bp.CanServe(req)
			}
		})
		b.Run("AllOffers/"+name, func(b *testing.B) {
			for b.Loop() {
				for range bp.Offers(req) {
				}
			}
		})
	}
	b.Run("Open", func(b *testing.B) {
		declared := blueprint(large())
		for b.Loop() {
			if _, err := (pool.Kind{}).Open(declared); err != nil {
				b.Fatal(err)
			}
		}
	})
}

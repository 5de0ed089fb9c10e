package e2e_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestCLINotes: the notes on a lease and on a resource, with conditions.
func TestCLINotes(t *testing.T) {
	t.Parallel()
	c, _, _ := system(t, 1)
	l := c.ask("")
	l = c.await(l.ID, "active")
	for noun, id := range map[string]string{"lease": l.ID, "resource": *l.Resource} {
		c.cli(noun, "data", "get", id).ends(t, 0, `There is no data \(rev 0\)`)
		c.cli(noun, "data", "set", id, `{"n": 1}`, "--if-none").ends(t, 0, `data of `+noun+` \S+ is at rev 1`)
		c.cli(noun, "data", "set", id, `2`, "--if-none").ends(t, 5)
		c.cli(noun, "data", "set", id, `2`, "--if-rev", "7").ends(t, 5)
		if got := printed[struct{ N int }](t, c.cli(noun, "data", "get", id)); got.N != 1 {
			t.Errorf("data get = %+v, want n 1", got)
		}
		c.cliIn(nil, `{"n": 2}`, noun, "data", "set", id, "--file", "-", "--if-rev", "1").ends(t, 0, `rev 2`)
		got := printed[struct {
			Data json.RawMessage
			Rev  int
		}](t, c.cli(noun, "data", "get", id, "-o", "json"))
		if got.Rev != 2 {
			t.Errorf("data get -o json = %+v, want rev 2", got)
		}
		c.cli(noun, "data", "set", id, "--remove", "--if-some").ends(t, 0, `rev 3`)
		c.cli(noun, "data", "set", id, "--remove", "--if-some").ends(t, 5)
		c.cli(noun, "data", "set", id, `text`).ends(t, 2, `must be JSON`)
		c.cli(noun, "data", "set", id).ends(t, 2, `either JSON, --file or --remove`)
		c.cli(noun, "data", "set", id, "1", "--if-rev", "1", "--if-none").ends(t, 2, `exclude each other`)
		c.cli(noun, "data", "get", "nope").ends(t, 4)
	}
}

// TestCLIAuthorizations: an operator finds a request and decides.
func TestCLIAuthorizations(t *testing.T) {
	t.Parallel()
	c, _, _ := system(t, 1)
	phones := `blueprints: [{name: phones, kind: pool, type: phone, authorize: request, config: {hosts: [{name: p1}]}}]`
	c.cliIn(nil, phones, "blueprint", "apply", "-f", "-").ends(t, 0, `created`)
	c.cliIn(nil, phones, "blueprint", "apply", "-f", "-").ends(t, 0, `unchanged`)
	c.cliIn(nil, strings.Replace(phones, "request", "request, quota: 2, min_idle: 1, max_idle_age: 1h, on: {type: host}", 1), "blueprint", "apply", "-f", "-").ends(t, 0, `changed`)
	if got := printed[struct {
		Quota, Min_idle int    //nolint:staticcheck // the API's own spelling
		Max_idle_age    string //nolint:staticcheck // the API's own spelling
		On              struct{ Type string }
	}](t, c.cli("blueprint", "get", "phones", "-o", "json")); got.Quota != 2 || got.Min_idle != 1 || got.Max_idle_age != "1h0m0s" ||
		got.On.Type != "host" {
		t.Errorf("blueprint apply has left out something: %+v", got)
	}
	id := printed[lease](t, c.cli("lease", "create", "--type", "phone", "--owner", "ada", "-o", "json")).ID
	for begin := time.Now(); ; {
		r := c.cli("authorization", "list", "--status", "requested")
		if r.ends(t, 0); strings.Contains(r.stdout, "ada") {
			break
		}
		if time.Since(begin) > patience {
			t.Fatalf("the request does not show up:\n%s", r)
		}
	}
	c.cli("authorization", "list").ends(t, 0, `BLUEPRINT +OWNER`, `phones +ada +requested +0`)
	c.cli("authorization", "approve", "phones", "ada", "--reason", "in the team").ends(t, 0, `ada is approved for blueprint phones`)
	c.await(id, "active")
	c.cli("authorization", "decline", "phones", "ada").ends(t, 0, `ada is declined for blueprint phones; 1 lease of this owner lives on`)
	c.cli("authorization", "approve", "phones", "--no-owner").ends(t, 0, `\(no owner\) is approved`)
	list := printed[page[struct{ Owner *string }]](t, c.cli("authorization", "list", "--blueprint", "phones", "--all", "-o", "json")).Items
	if len(list) != 2 || list[0].Owner != nil || deref(list[1].Owner) != "ada" {
		t.Errorf("the authorizations are %+v, want nobody's and ada's", list)
	}
	c.cli("authorization", "approve", "phones").ends(t, 2, `either an owner or --no-owner`)
	c.cli("authorization", "approve", "phones", "").ends(t, 2, `either an owner or --no-owner`)
	c.cli("authorization", "approve", "lab", "ada").ends(t, 5, `takes no requests`)
	c.cli("authorization", "approve", "nope", "ada").ends(t, 4)
}

// TestCLISubscriptions: from the declaration to the dead letters.
func TestCLISubscriptions(t *testing.T) {
	t.Parallel()
	c, _, _ := system(t, 1)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("sixteen bytes or more\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	// Nothing is sent to it: it is disabled.
	url := "https://example.org/hook"
	c.cli("subscription", "apply", "ci", "--url", url).ends(t, 2, `secret`)
	c.cli("subscription", "apply", "ci", "--url", url, "--secret-file", secret, "--event", "released", "--event", "destroyed", "--disabled").
		ends(t, 0, `subscription ci created`)
	c.cliIn([]string{"DRYDOCK_SUBSCRIPTION_SECRET=another secret of mine"}, "", "subscription", "apply", "ci", "--url", url, "--type", "lease",
		"--disabled", "--tries", "3").ends(t, 0, `subscription ci declared anew`)
	c.cli("subscription", "get", "ci").ends(t, 0, `Types +lease\n`, `State +disabled`, `Tries +3`, `Dead letters +0`)
	c.cli("subscription", "list").ends(t, 0, `ci +disabled +0 +- +0 +https://example.org/hook`)
	c.cli("subscription", "dead-letters", "ci").ends(t, 0, `EVENT ID +EVENT`)
	c.cli("subscription", "retry", "ci").ends(t, 0, `0 dead letters`)
	c.cli("subscription", "apply", "ci", "--url", "ftp://x").ends(t, 2, `url`)
	c.cli("subscription", "delete", "ci").ends(t, 0, `subscription ci deleted`)
	c.cli("subscription", "get", "ci").ends(t, 4)
	c.cli("subscription", "dead-letters", "ci").ends(t, 4)
}

// TestCLIEvents: those that are kept, and those that come.
func TestCLIEvents(t *testing.T) {
	t.Parallel()
	c, _, _ := system(t, 1)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	cmd := exec.CommandContext(ctx, binary(t), "events", "--follow", "--event", "queued", "-o", "json")
	cmd.Env = append(environ(), c.settings()...)
	lines, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var first struct{ Object, Event string }
	got := make(chan error, 1)
	go func() { got <- json.NewDecoder(lines).Decode(&first) }()
	var ids []string
	for waiting := true; waiting; { // until it follows
		ids = append(ids, c.ask("").ID)
		select {
		case err := <-got:
			if err != nil {
				t.Fatal(err)
			}
			waiting = false
		default:
		}
	}
	stop()
	_ = cmd.Wait()
	if first.Event != "queued" || !strings.Contains(strings.Join(ids, " "), first.Object) {
		t.Errorf("events --follow told %+v, want that one of %v was queued", first, ids)
	}
	c.cli("lease", "release", "--all", "--wait").ends(t, 0)
	c.cli("events").ends(t, 0, `queued +lease `+ids[0]+`  queued for a host`, `destroyed +lease `+ids[0])
	r := c.cli("events", "--object", ids[0], "--type", "lease", "--event", "queued", "--event", "destroyed")
	if r.ends(t, 0); strings.Count(r.stdout, "\n") != 2 {
		t.Errorf("it shows something else than two events:\n%s", r)
	}
	c.cli("events", "--event", "gone fishing").ends(t, 2, `unknown event`)
	c.cli("events", "--follow", "--timeout", "300ms", "--object", ids[0]).ends(t, 6, `timed out`)
}

package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// ran is what came of a command.
type ran struct {
	line, stdout, stderr string
	code                 int
}

// cli runs a client command against the API of c and returns when it has ended.
func (c *client) cli(args ...string) ran {
	c.t.Helper()
	return c.cliIn(nil, "", args...)
}

// settings are the variables that have a client command come where c is.
func (c *client) settings() []string {
	env := []string{"DRYDOCK_SERVER=" + c.base}
	if c.namespace != "" {
		env = append(env, "DRYDOCK_NAMESPACE="+c.namespace)
	}
	return env
}

// cliIn is cli with further variables and something on stdin.
func (c *client) cliIn(env []string, stdin string, args ...string) ran {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary(c.t), args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	cmd.Env = slices.Concat(environ(), []string{"GORACE=atexit_sleep_ms=0"}, c.settings(), env)
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		c.t.Fatal(err)
	}
	return ran{"drydock " + strings.Join(args, " "), stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

func (r ran) String() string {
	return fmt.Sprintf("%s\nexit code %d\nstdout:\n%s\nstderr:\n%s", r.line, r.code, r.stdout, r.stderr)
}

// ends checks the exit code, and that each of these is on stdout or stderr.
func (r ran) ends(t *testing.T, code int, says ...string) ran {
	t.Helper()
	if r.code != code {
		t.Errorf("exit code %d, want %d:\n%s", r.code, code, r)
	}
	for _, pattern := range says {
		if !regexp.MustCompile(pattern).MatchString(r.stdout + r.stderr) {
			t.Errorf("it does not say %q:\n%s", pattern, r)
		}
	}
	if strings.Contains(r.stdout+r.stderr, "\x1b[") {
		t.Errorf("it colours what is no terminal:\n%q", r.stdout+r.stderr)
	}
	return r
}

// printed decodes the JSON of a command that went well and said nothing else.
func printed[T any](t *testing.T, r ran) (v T) {
	t.Helper()
	r.ends(t, 0)
	if err := json.Unmarshal([]byte(r.stdout), &v); err != nil || r.stderr != "" {
		t.Fatalf("this is not JSON alone (%v):\n%s", err, r)
	}
	return v
}

// TestCLI walks through the client commands.
func TestCLI(t *testing.T) {
	t.Parallel()
	c, _, _ := system(t, 2)

	queued := printed[lease](t, c.cli("lease", "create", "--type", "host", "--ttl", "1h", "--owner", "alice", "--data", `{"a": 1}`, "-o", "json"))
	if deref(queued.Owner) != "alice" || queued.Until == nil {
		t.Errorf("the lease is %+v, want it alice's, with an end", queued)
	}
	id := queued.ID
	got := printed[lease](t, c.cli("-o", "json", "lease", "get", id, "--wait", "active"))
	if got.Status != "active" || got.Resource == nil {
		t.Errorf("the lease is %+v, want it active on a resource", got)
	}
	c.cli("lease", "get", id).ends(t, 0, `Status +active`, `Owner +alice`, `Until +\S+ \S+ \(in 59m\)`, `Data +\{"a":1\}`)
	c.cli("lease", "list", "--status", "active").ends(t, 0, `LEASE +TYPE +STATUS`, id+` +host +active +alice`)
	if list := printed[page[lease]](t, c.cli("lease", "list", "--all", "-o", "json")); len(list.Items) != 1 || list.Next != nil {
		t.Errorf("the list is %+v, want the one lease", list)
	}
	if list := printed[page[lease]](t, c.cli("lease", "list", "--status", "pending", "-o", "json")); list.Items == nil || len(list.Items) != 0 {
		t.Errorf("the list is %+v, want an empty one", list)
	}
	c.cli("resource", "get", *got.Resource).ends(t, 0, `Name +h`, `Leases +1 of 1`, id)
	c.cli("resource", "list", "--type", "host").ends(t, 0, *got.Resource+` +h\d +host +active +1/1 +lab`)

	c.cli("lease", "extend", id, "--ttl", "1s", "--wait").ends(t, 5, `refused: the new end is before the present one`)
	c.cli("lease", "extend", id, "--ttl", "2h", "--wait", "--reason", "more").ends(t, 0, `extend of lease \S+ was applied`)
	c.cli("resource", "pause", *got.Resource, "--wait").ends(t, 0, `pause of resource \S+ was applied`)
	c.cli("resource", "list").ends(t, 0, `active, paused`)
	c.cli("resource", "reclaim", *got.Resource, "--wait").ends(t, 5, `a lease has a place on it`)
	c.cli("resource", "unpause", *got.Resource, "--wait").ends(t, 0)
	c.cli("resource", "update", *got.Resource, "--wait").ends(t, 0)
	top := printed[struct {
		Pools  []struct{ Active, Leases, Capacity int }
		Queues []struct{ Waiting, Active int }
	}](t, c.cli("top", "--once", "-o", "json"))
	if len(top.Pools) != 1 || top.Pools[0].Leases != 1 || len(top.Queues) != 1 || top.Queues[0].Active != 1 {
		t.Errorf("top shows %+v, want one pool and one queue with one lease each", top)
	}
	c.cli("top", "--once").ends(t, 0, `POOL +KIND`, `lab +pool +host +- +1 +1/1`, `QUEUE +LEASED`, `host +1 +0`)

	sent := printed[sent](t, c.cli("lease", "release", id, "--reason", "done", "--wait", "-o", "json"))
	if sent.Command == nil || deref(sent.Command.Outcome) != "applied" || sent.Lease.Status != "destroyed" {
		t.Errorf("the release is %+v, want it applied and the lease destroyed", sent)
	}
	c.cli("lease", "release", id).ends(t, 0, `released already`)
	c.cli("lease", "extend", id, "--ttl", "3h").ends(t, 5)
	commands := printed[page[command]](t, c.cli("command", "list", id, "-o", "json")).Items
	if len(commands) != 3 {
		t.Fatalf("there are %d commands, want 3: %+v", len(commands), commands)
	}
	for _, cmd := range commands {
		if cmd.Origin.Via != "cli" || !strings.HasPrefix(deref(cmd.Origin.UserAgent), "drydock-cli/") || cmd.Author == "anonymous" {
			t.Errorf("the command %s comes from %+v by %s, want it via cli by the user", cmd.Command, cmd.Origin, cmd.Author)
		}
	}
	c.cli("command", "list", id).ends(t, 0, `extend \{"ttl":"2h0m0s"\} +applied`, `release +applied .* done`)
	c.cli("log", id).ends(t, 0, `queued`, `destroyed`)
	if lines := strings.Split(strings.TrimSpace(c.cli("log", id, "--follow", "-o", "json").ends(t, 0).stdout), "\n"); !json.Valid([]byte(lines[0])) ||
		!strings.Contains(lines[len(lines)-1], `"event":"destroyed"`) {
		t.Errorf("the log that is followed is %q", lines)
	}
	c.cli("log", *got.Resource).ends(t, 0, `activated`)
	c.cli("lease", "watch", id).ends(t, 0, `destroyed`)
}

// TestCLIExitCodes: what went wrong can be told from the code, and is said in words on stderr alone.
func TestCLIExitCodes(t *testing.T) {
	t.Parallel()
	c, _, _ := system(t, 1)
	held := c.ask("")
	c.await(held.ID, "active")
	for name, tt := range map[string]struct {
		args []string
		env  []string
		code int
		says string
	}{
		"unreachable":        {[]string{"--server", "http://127.0.0.1:1", "lease", "list"}, nil, 3, "refused"},
		"no such lease":      {[]string{"lease", "get", "nope"}, nil, 4, "no such lease"},
		"no such object":     {[]string{"log", held.ID[1:] + "0"}, nil, 4, "no lease or resource"},
		"no such blueprint":  {[]string{"blueprint", "get", "nope"}, nil, 4, "no such blueprint"},
		"never satisfied":    {[]string{"lease", "create", "--type", "nope"}, nil, 5, "known are host"},
		"in use":             {[]string{"blueprint", "delete", "lab"}, nil, 5, "resources"},
		"timed out":          {[]string{"lease", "get", held.ID, "--wait", "destroyed", "--timeout", "200ms"}, nil, 6, "timed out after 200ms"},
		"timeout variable":   {[]string{"lease", "get", held.ID, "--wait", "destroyed"}, []string{"DRYDOCK_TIMEOUT=200ms"}, 6, "timed out"},
		"no argument":        {[]string{"lease", "get"}, nil, 2, "takes one LEASE"},
		"unknown verb":       {[]string{"lease", "steal"}, nil, 2, `unknown command "lease steal"`},
		"unknown flag":       {[]string{"lease", "list", "--bogus"}, nil, 2, "bogus"},
		"no type":            {[]string{"lease", "create"}, nil, 2, "type"},
		"bad value":          {[]string{"lease", "create", "--type", "No"}, nil, 2, "type: must be"},
		"bad state":          {[]string{"lease", "list", "--status", "gone"}, nil, 2, "status"},
		"bad attribute":      {[]string{"lease", "create", "--type", "host", "-a", "os"}, nil, 2, "NAME=VALUE"},
		"bad output":         {[]string{"-o", "xml", "lease", "list"}, nil, 2, "table or json"},
		"bad server":         {[]string{"--server", "ftp://x", "lease", "list"}, nil, 2, "--server"},
		"bad namespace":      {[]string{"--namespace", "No", "lease", "list"}, nil, 2, "--namespace"},
		"bad variable":       {[]string{"lease", "list"}, []string{"DRYDOCK_TIMEOUT=soon"}, 2, "DRYDOCK_TIMEOUT"},
		"bad bearer file":    {[]string{"--bearer-file", "no-such-file", "lease", "list"}, nil, 2, "--bearer-file"},
		"ttl and until":      {[]string{"lease", "extend", held.ID}, nil, 2, "either --ttl or --until"},
		"id and all":         {[]string{"release-lease", "--all", "--id", held.ID}, nil, 2, "either --id or --all"},
		"ids and all":        {[]string{"lease", "release", held.ID, "--all"}, nil, 2, "either leases, --filter or --all"},
		"release nothing":    {[]string{"lease", "release"}, nil, 2, "either leases, --filter or --all"},
		"bad filter":         {[]string{"lease", "release", "--filter", "state=x"}, nil, 2, "--filter: must be NAME=VALUE"},
		"bad filter value":   {[]string{"lease", "release", "--filter", "status=x"}, nil, 2, "filter.status: must be one of"},
		"release unknown":    {[]string{"lease", "release", "nope", "nope2"}, nil, 4, "lease nope2: no such lease"},
		"a server's flag":    {[]string{"dev", "--server", "http://127.0.0.1:1"}, nil, 2, "is for clients"},
		"a server's flag 2":  {[]string{"--namespace", "ci", "worker", "--redis", "redis://127.0.0.1:1"}, nil, 2, "is for clients"},
		"nothing to run":     {[]string{"run", "--type", "host"}, nil, 2, "takes a command"},
		"no such program":    {[]string{"run", "--type", "host", "--", "no-such-program"}, nil, 127, "no such command"},
		"not a program":      {[]string{"run", "--type", "host", "--", "/"}, nil, 126, "cannot be run"},
		"run, timed out":     {[]string{"run", "--type", "host", "--timeout", "200ms", "--", "true"}, nil, 6, "not active after 200ms"},
		"create, timed out":  {[]string{"lease", "create", "--type", "host", "--wait", "--timeout", "200ms"}, nil, 6, "was given back"},
		"short form unknown": {[]string{"release-lease", "--id", "nope"}, nil, 4, "nope"},
	} {
		t.Run(name, func(t *testing.T) {
			r := c.cliIn(tt.env, "", tt.args...).ends(t, tt.code, tt.says)
			if r.stdout != "" || strings.Count(r.stderr, "\n") > 3 {
				t.Errorf("it says more than needed:\n%s", r)
			}
		})
	}
	// Whoever gave up has given back.
	for _, l := range must[page[lease]](c, http.MethodGet, "/v1/leases", "", http.StatusOK).Items {
		if l.ID != held.ID {
			c.await(l.ID, "destroyed")
		}
	}
}

// TestCLIBlueprints: a file is applied, and applied again.
func TestCLIBlueprints(t *testing.T) {
	t.Parallel()
	c, _, _ := system(t, 1)
	file := filepath.Join(t.TempDir(), "blueprints.yaml")
	write := func(limit int) {
		t.Helper()
		text := fmt.Sprintf(`blueprints:
  - {name: rig, kind: pool, type: rig, limit: %d, config: {hosts: [{name: r1, attributes: {usb: "3"}}]}}
  - {name: copies, namespace: other, kind: git, type: copy, config: {url: "https://example.com/a.git", root: /srv/copies}}
`, limit)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(1)
	c.cli("blueprint", "apply", "-f", file, "--dry-run").ends(t, 0, `rig +`+namespaceOf(t)+` +pool +rig +would be created`)
	c.cli("blueprint", "get", "rig").ends(t, 4)
	// The server keeps git copies below its own root: what is refused is said with its name.
	c.cli("blueprint", "apply", "-f", file).ends(t, 2, `blueprint copies: config.root`)
	c.cli("blueprint", "get", "rig").ends(t, 0, `Limit +1`, `"name": "r1"`)

	rig := `{"blueprints": [{"name": "rig", "kind": "pool", "type": "rig", "limit": 1, "config": {"hosts": [{"attributes": {"usb": "3"}, "name": "r1"}]}}]}`
	c.cliIn(nil, rig, "blueprint", "apply", "-f", "-").ends(t, 0, `rig .* unchanged`)
	c.cliIn(nil, strings.Replace(rig, `"limit": 1`, `"limit": 2`, 1), "blueprint", "apply", "-f", "-", "--dry-run").ends(t, 0, `rig .* would be changed`)
	type blueprint struct {
		Name, Namespace string
		Limit           int
	}
	changed := printed[page[blueprint]](t, c.cliIn(nil, strings.Replace(rig, `"limit": 1`, `"limit": 2`, 1), "blueprint", "apply", "-f", "-", "-o", "json")).Items
	if want := []blueprint{{"rig", namespaceOf(t), 2}}; !slices.Equal(changed, want) {
		t.Errorf("apply prints %+v, want %+v", changed, want)
	}
	c.cliIn([]string{"DRYDOCK_NAMESPACE=ci"}, rig, "blueprint", "apply", "-f", "-").ends(t, 0, `rig +ci +pool +rig +created`)
	c.cli("blueprint", "list").ends(t, 0, `lab +pool +host`, `rig +pool +rig +2 +yes `)
	c.cliIn(nil, "blueprints: [{name: rig, kind: pool}]", "blueprint", "apply", "-f", "-").ends(t, 2, `blueprints\[0\] "rig": type`)
	c.cli("blueprint", "delete", "rig").ends(t, 0, `rig deleted`)
	c.cli("blueprint", "get", "rig").ends(t, 4)
}

// TestCLIShortForms: the commands as Phabricator spells them.
func TestCLIShortForms(t *testing.T) {
	t.Parallel()
	c, _, _ := system(t, 2)
	var ids []string
	for range 3 {
		ids = append(ids, c.ask("").ID)
	}
	c.await(ids[0], "active")
	c.await(ids[1], "active")
	c.cli("update-lease", "--id", ids[2]).ends(t, 0, `Nothing was sent`, ids[2]+` +host +pending .* 1st: `)
	if n := len(c.history(ids[2])); n != 0 {
		t.Errorf("update-lease sent %d commands, want none", n)
	}
	list := printed[page[lease]](t, func() ran { r := c.cli("update-lease", "--all", "-o", "json"); r.stderr = ""; return r }())
	if len(list.Items) != 3 {
		t.Errorf("update-lease --all shows %d leases, want 3", len(list.Items))
	}
	c.cli("update-resource", "--all", "--wait").ends(t, 0, `update of resource \S+ was applied`)
	c.cli("release-lease", "--id", ids[2], "--id", ids[0], "--wait").ends(t, 0, ids[2]+" was applied", ids[0]+" was applied")
	c.cli("release-lease", "--all", "--wait").ends(t, 0, ids[1]+" was applied")
	c.cli("release-lease", "--all").ends(t, 0, "there is no lease to release")
	for range 4 {
		ids = append(ids, c.ask("").ID)
	}
	c.cli("lease", "release", ids[3], ids[4], ids[3], "nope", "--wait").ends(t, 4,
		"release of lease "+ids[3]+" was applied", "release of lease "+ids[4]+" was applied", "drydock: lease nope: no such lease")
	many := printed[page[struct {
		ID     string
		Status int
	}]](t, c.cli("lease", "release", "--filter", "type=host", "--wait", "-o", "json")).Items
	if len(many) != 2 || many[0].Status != 202 {
		t.Errorf("lease release --filter = %+v, want two", many)
	}
	c.cli("lease", "release", "--all").ends(t, 0, "there is no lease to release")
	answers := printed[page[struct{ Resource resource }]](t, c.cli("release-resource", "--all", "--wait", "-o", "json")).Items
	if len(answers) != 2 || answers[0].Resource.Status != "destroyed" {
		t.Errorf("release-resource --all = %+v, want two destroyed", answers)
	}
	c.cli("update-resource", "--id", answers[0].Resource.ID).ends(t, 5)
}

// TestRun: a command runs under a lease, and the lease is given back whatever comes of it.
func TestRun(t *testing.T) {
	t.Parallel()
	c, _, _ := system(t, 1)
	must[any](c, http.MethodPut, "/v1/blueprints/rigs", `{"kind": "pool", "type": "rig", "config":
		{"hosts": [{"name": "r1", "attributes": {"os": "linux", "vendor/model-x": "a b,c"}}]}}`, http.StatusCreated)
	given := func(typ string) lease {
		t.Helper()
		list := must[page[lease]](c, http.MethodGet, "/v1/leases?limit=1&type="+typ, "", http.StatusOK)
		l := c.await(list.Items[0].ID, "destroyed")
		if history := c.history(l.ID); len(history) != 1 || deref(history[0].Outcome) != "applied" {
			t.Errorf("the commands of the lease are %+v, want one release", history)
		}
		return l
	}
	r := c.cli("run", "--type", "rig", "-a", "vendor/model-x=a b,c", "--attribute=os=linux", "sh", "-c", "env; echo \"$0 $*\"", "-o", "json").ends(t, 0)
	l := given("rig")
	for _, want := range []string{
		"DRYDOCK_LEASE_ID=" + l.ID, "DRYDOCK_RESOURCE_ID=" + *l.Resource, "DRYDOCK_RESOURCE_NAME=r1", "DRYDOCK_ATTR_OS=linux",
		"DRYDOCK_ATTR_VENDOR_MODEL_X=a b,c", "DRYDOCK_NAMESPACE=" + namespaceOf(t), "DRYDOCK_SERVER=" + c.base, "-o json",
	} {
		if !strings.Contains(r.stdout, want+"\n") {
			t.Errorf("the command does not know %s:\n%s", want, r)
		}
	}
	if !regexp.MustCompile(`\nDRYDOCK_FENCE=[1-9]\d*\n`).MatchString(r.stdout) {
		t.Errorf("the command has no fence:\n%s", r)
	}
	c.cli("run", "--type", "host", "--", "sh", "-c", "exit 42").ends(t, 42)
	given("host")
	c.cli("run", "--type", "host", "--", "sh", "-c", "kill -KILL $$").ends(t, 128+9)
	given("host")
}

// TestRunForwardsSignals: the command decides what a signal means, and keeps its lease while it cleans up.
func TestRunForwardsSignals(t *testing.T) {
	t.Parallel()
	c, _, _ := system(t, 1)
	// A new session has no terminal, wherever the tests run.
	p := startDetached(t, c, "run", "--type", "host", "--ttl", "1s", "--", "sh", "-c",
		`trap 'echo caught; sleep 3; exit 9' TERM; echo ready; while :; do sleep 0.1; done`)
	p.says("ready")
	p.signal(syscall.SIGTERM)
	p.says("caught")
	if code := p.code(); code != 9 {
		t.Errorf("exit code %d, want the command's own, 9", code)
	}
	l := must[page[lease]](c, http.MethodGet, "/v1/leases", "", http.StatusOK).Items[0]
	c.await(l.ID, "destroyed")
	for _, cmd := range c.history(l.ID) {
		if cmd.Command == "release" && cmd.Author == "drydock" {
			t.Error("the lease ended before the command did")
		}
	}
}

// TestRunStopsWhenTheLeaseIsLost: all of the command's processes are stopped.
func TestRunStopsWhenTheLeaseIsLost(t *testing.T) {
	t.Parallel()
	c, _, _ := system(t, 1)
	p := startDetached(t, c, "run", "--type", "host", "--grace", "200ms", "--", "sh", "-c",
		`sh -c 'trap "" TERM; echo child $$; while :; do sleep 0.1; done' & wait`)
	child, err := strconv.Atoi(p.says(`child (\d+)`)[1])
	if err != nil {
		t.Fatal(err)
	}
	l := must[page[lease]](c, http.MethodGet, "/v1/leases", "", http.StatusOK).Items[0]
	must[sent](c, http.MethodPost, "/v1/leases/"+l.ID+"/release", `{"reason": "maintenance"}`, http.StatusAccepted, "Drydock-Author", "bob")
	p.says(`lost: release by bob: maintenance`)
	if code := p.code(); code != 7 {
		t.Errorf("exit code %d, want 7", code)
	}
	eventually(t, func() error {
		if err := syscall.Kill(child, 0); !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("a process of the command lives on (%w)", err)
		}
		return nil
	})
}

// TestRunKilled: on Linux, where /proc tells, the lease of a `drydock run` that is killed ends with its ttl, and the command with it.
func TestRunKilled(t *testing.T) {
	t.Parallel()
	c, _, _ := system(t, 1)
	p := startDetached(t, c, "run", "--type", "host", "--ttl", "2s", "--", "sh", "-c", `echo pid $$; while :; do sleep 0.1; done`)
	pid := p.says(`pid (\d+)`)[1]
	p.kill()
	l := must[page[lease]](c, http.MethodGet, "/v1/leases", "", http.StatusOK).Items[0]
	c.await(l.ID, "destroyed")
	eventually(t, func() error {
		if _, err := os.Stat("/proc/" + pid); err == nil {
			return fmt.Errorf("the command %s lives on", pid)
		}
		return nil
	})
}

// TestInterruptedWait: SIGINT and SIGTERM end a wait, and the lease with it. Scenario 31.
func TestInterruptedWait(t *testing.T) {
	t.Parallel()
	c, _, _ := system(t, 1)
	held := c.ask("")
	c.await(held.ID, "active")
	for _, args := range [][]string{{"run", "--type", "host", "--", "true"}, {"lease", "create", "--type", "host", "--wait"}} {
		for sig, code := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143, syscall.SIGHUP: 129} {
			p := startDetached(t, c, args...)
			p.says(`waiting for a host, 1st in the queue`)
			got, _ := p.end(sig)
			if got != code {
				t.Errorf("%v ended %q with exit code %d, want %d", sig, args, got, code)
			}
			l := must[page[lease]](c, http.MethodGet, "/v1/leases?limit=1", "", http.StatusOK).Items[0]
			c.await(l.ID, "destroyed")
			if l.ID == held.ID || len(c.history(l.ID)) != 1 {
				t.Errorf("%v: lease %s has the commands %+v, want one release", sig, l.ID, c.history(l.ID))
			}
		}
	}
}

// TestWaitLost: who waits for a lease that somebody else releases is told.
func TestWaitLost(t *testing.T) {
	t.Parallel()
	c, _, _ := system(t, 1)
	held := c.ask("")
	c.await(held.ID, "active")
	p := startDetached(t, c, "lease", "create", "--type", "host", "--wait")
	p.says(`waiting for a host`)
	c.release(must[page[lease]](c, http.MethodGet, "/v1/leases?limit=1", "", http.StatusOK).Items[0].ID)
	p.says(`lost: release by anonymous`)
	if code := p.code(); code != 7 {
		t.Errorf("exit code %d, want 7", code)
	}
}

// TestCompletion: the shell's script is there, and what it asks drydock for.
func TestCompletion(t *testing.T) {
	t.Parallel()
	c := newClient(t, "http://127.0.0.1:1")
	for _, shell := range []string{"bash", "zsh", "fish", "pwsh"} {
		c.cli("completion", shell).ends(t, 0, "generate-shell-completion")
	}
	c.cli("lease", "--generate-shell-completion").ends(t, 0, `(?m)^create\b`, `(?m)^release\b`)
	c.cli("lease", "create", "--t", "--generate-shell-completion").ends(t, 0, `--ttl`, `--type`)
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("there is no bash to ask")
	}
	dir := filepath.Dir(binary(t))
	// What the script uses of the package bash-completion, which need not be installed here.
	script := `_get_comp_words_by_ref() { words=("${COMP_WORDS[@]}"); cword=$COMP_CWORD; cur=${words[cword]}; prev=${words[cword-1]}; }
		source <(drydock completion bash); COMP_WORDS=(drydock resource re); COMP_CWORD=2
		eval "$(complete -p drydock | sed -E 's/.*-F ([^ ]+).*/\1/') drydock re resource"; echo "${COMPREPLY[@]}"`
	cmd := exec.Command(bash, "--norc", "-c", script)
	cmd.Env = append(environ(), "PATH="+dir+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if text := string(out); err != nil || !strings.Contains(text, "release") || !strings.Contains(text, "reclaim") || strings.Contains(text, "pause") {
		t.Errorf("bash completes `drydock resource re` to %q (%v), want release and reclaim", text, err)
	}
}

// TestLostRepliesOnTheCommandLine: replies are cut off after the request was done. Scenarios 32, 33.
func TestLostRepliesOnTheCommandLine(t *testing.T) {
	t.Parallel()
	c, _, _ := system(t, 1)
	cuts := make(chan struct{}, 4)
	for range cap(cuts) {
		cuts <- struct{}{}
	}
	proxy := startProxy(t, strings.TrimPrefix(c.base, "http://"), nil, func(reply []byte) bool {
		if !bytes.HasPrefix(reply, []byte("HTTP/1.1 202")) {
			return true
		}
		select {
		case <-cuts:
			return false
		default:
			return true
		}
	})
	c.cliIn([]string{"DRYDOCK_SERVER=http://" + proxy.Addr()}, "", "run", "--type", "host", "--", "true").ends(t, 0)
	if len(cuts) != 0 {
		t.Errorf("%d replies were not cut off", len(cuts))
	}
	list := must[page[lease]](c, http.MethodGet, "/v1/leases", "", http.StatusOK).Items
	if len(list) != 1 || len(c.history(list[0].ID)) != 1 {
		t.Errorf("there are %d leases, want 1 with one release: %+v", len(list), list)
	}
}

// startDetached starts a client command in a session of its own, without a terminal.
func startDetached(t *testing.T, c *client, args ...string) *process {
	t.Helper()
	p := startWith(t, func(cmd *exec.Cmd) { cmd.SysProcAttr.Setsid = true }, c.settings(), args...)
	t.Cleanup(func() {
		// The command of a `drydock run` that the test has killed.
		if err := syscall.Kill(-p.pid(), syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Log(err)
		}
	})
	p.expectEnd()
	return p
}

// over ends a test's wait for what must come.
func over() <-chan time.Time { return time.After(patience) }

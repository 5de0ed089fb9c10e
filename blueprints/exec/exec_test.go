//go:build unix

package exec_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"drydock/blueprints"
	"drydock/blueprints/command"
	"drydock/blueprints/conformance"
	"drydock/blueprints/exec"
	"drydock/blueprints/hook"
	"drydock/model"
)

func blueprint(config string) *model.Blueprint {
	return &model.Blueprint{Namespace: "ci", Name: "scratch", Kind: "exec", Type: "folder", Enabled: true, Config: []byte(config)}
}

// scratch is the example, working below a folder of the test's own.
func scratch(t *testing.T) (bp *model.Blueprint, root string) {
	t.Helper()
	script, err := filepath.Abs("../../examples/exec/scratch.sh")
	if err != nil {
		t.Fatal(err)
	}
	root = t.TempDir()
	config, err := json.Marshal(map[string]any{
		"attributes": map[string]any{"disk": []string{"hdd", "ssd"}},
		"env":        map[string]string{"SCRATCH_ROOT": root},
		"commands": map[string][]string{
			"activate": {script}, "activate_lease": {script}, "destroy_lease": {script}, "destroy": {script},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return blueprint(string(config)), root
}

// tree lists what is below a folder, with the files' contents.
func tree(t *testing.T, root string) any {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		switch {
		case d.IsDir():
			out[rel] = "folder"
		case d.Name() == ".fence":
			out[rel] = "a fence" // changes with each attempt, as it must
		default:
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			out[rel] = string(b)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestConformance(t *testing.T) {
	t.Parallel()
	conformance.Run(t, conformance.Suite{
		Kind: exec.Kind{},
		New: func(t *testing.T) conformance.World {
			bp, root := scratch(t)
			return conformance.World{Blueprint: bp, State: func(t *testing.T) any { return tree(t, root) }}
		},
		Bad: []conformance.Bad{
			conformance.BadConfig("no commands", `{}`, "config.commands"),
			conformance.BadConfig("unknown step", `{"commands": {"actviate": ["true"]}}`, "config.commands.actviate"),
			conformance.BadConfig("one string", `{"commands": {"activate": "rm -rf"}}`, "config.commands.activate"),
			conformance.BadConfig("empty command", `{"commands": {"activate": []}}`, "config.commands.activate"),
			conformance.BadConfig("relative directory", `{"commands": {"activate": ["true"]}, "directory": "x"}`, "config.directory"),
			conformance.BadConfig("variable name", `{"commands": {"activate": ["true"]}, "env": {"A=B": "x"}}`, "config.env"),
			conformance.BadConfig("our variable", `{"commands": {"activate": ["true"]}, "env": {"DRYDOCK_FENCE": "1"}}`, "config.env.DRYDOCK_FENCE"),
			conformance.BadConfig("NUL in a variable", `{"commands": {"activate": ["true"]}, "env": {"A": "\u0000"}}`, "config.env.A"),
			conformance.BadConfig("timeout", `{"commands": {"activate": ["true"]}, "timeout": "0.1ms"}`, "config.timeout"),
			conformance.BadConfig("capacity", `{"commands": {"activate": ["true"]}, "capacity": 0}`, "config.capacity"),
		},
		Serves:  []model.Request{{}, {Attributes: map[string]string{"disk": "ssd"}}},
		Refuses: []model.Request{{Attributes: map[string]string{"disk": "tape"}}, {Attributes: map[string]string{"color": "red"}}},
	})
}

// script opens a blueprint whose every step runs the script; further fields of the config may be given.
func script(t *testing.T, text string, more ...string) *blueprints.Hooks {
	t.Helper()
	commands := map[hook.Step][]string{}
	for _, step := range hook.Steps() {
		commands[step] = []string{"/bin/sh", "-c", text}
	}
	b, err := json.Marshal(commands)
	if err != nil {
		t.Fatal(err)
	}
	bp, err := exec.Kind{}.Open(blueprint(fmt.Sprintf(`{"commands": %s %s}`, b, strings.Join(more, ""))))
	if err != nil {
		t.Fatal(err)
	}
	return bp.Hooks()
}

var (
	call = blueprints.Call{Object: model.LeaseRef("ci", "l1"), Fence: 7, Key: "l1.acquire", Attempt: 2}
	res  = &model.Resource{
		Ref: model.ResourceRef("ci", "r1"), Name: "scratch-1", Type: "folder", Work: model.ResourceWork{Facts: "f"},
		Attributes: map[string]string{"os": "linux", "vendor/gpu": "yes", "a.b": "1", "a_b": "2"},
	}
	lease = &model.Lease{
		Ref: model.LeaseRef("ci", "l1"), Type: "folder", Owner: "anna", Attributes: map[string]string{"branch": `"; rm -rf / #$(id)`},
	}
)

func TestACommandGetsItsOrders(t *testing.T) {
	t.Setenv("DRYDOCK_WORKER_SECRET", "hidden")
	out := t.TempDir()
	hooks := script(t, `cat > in; env > env; pwd > pwd; echo '{"slots": ["port:22"]}'`,
		`, "directory": "`+out+`", "env": {"TOKEN": "t"}`)
	slots, err := hooks.AcquireLease(t.Context(), call, res, lease)
	if err != nil || len(slots) != 1 || slots[0] != "port:22" {
		t.Fatalf("AcquireLease = %q, %v", slots, err)
	}
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(out, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	var m hook.Message
	if err := json.Unmarshal([]byte(read("in")), &m); err != nil || m.Step != hook.StepAcquire ||
		m.Lease.Attributes["branch"] != lease.Attributes["branch"] || m.IdempotencyKey != "l1.acquire" {
		t.Errorf("standard input = %s, %v", read("in"), err)
	}
	env := "\n" + read("env")
	for _, want := range []string{
		"DRYDOCK_STEP=acquire", "DRYDOCK_OBJECT=ci/lease/l1", "DRYDOCK_OBJECT_KIND=lease", "DRYDOCK_OBJECT_ID=l1", "DRYDOCK_NAMESPACE=ci",
		"DRYDOCK_BLUEPRINT=scratch", "DRYDOCK_FENCE=7", "DRYDOCK_IDEMPOTENCY_KEY=l1.acquire", "DRYDOCK_ATTEMPT=2",
		"DRYDOCK_RESOURCE_ID=r1", "DRYDOCK_RESOURCE_NAME=scratch-1", "DRYDOCK_RESOURCE_FACTS=f",
		"DRYDOCK_RESOURCE_ATTRIBUTE_OS=linux", "DRYDOCK_RESOURCE_ATTRIBUTE_VENDOR_GPU=yes",
		"DRYDOCK_LEASE_ID=l1", "DRYDOCK_LEASE_OWNER=anna", `DRYDOCK_LEASE_ATTRIBUTE_BRANCH="; rm -rf / #$(id)`, "TOKEN=t",
	} {
		if !strings.Contains(env, "\n"+want+"\n") {
			t.Errorf("the environment lacks %s", want)
		}
	}
	for _, not := range []string{"hidden", "ATTRIBUTE_A_B"} {
		if strings.Contains(env, not) {
			t.Errorf("the environment has %s:\n%s", not, env)
		}
	}
	if got := strings.TrimSpace(read("pwd")); got != out {
		t.Errorf("working directory = %s, want %s", got, out)
	}
}

func TestExitCodesDecide(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		script string
		after  time.Duration // of a yield
		reason string
		err    string
	}{
		"success":                  {script: `exit 0`},
		"yield with a delay":       {script: `echo '{"retry_after": "10s", "reason": "booting"}'; exit 75`, after: 10 * time.Second, reason: "booting"},
		"yield":                    {script: `echo booting >&2; exit 75`, reason: "booting"},
		"failure":                  {script: `echo ignored; echo no disk >&2; exit 3`, err: "activate: sh: exit status 3: no disk"},
		"killed":                   {script: `kill -9 $$`, err: "activate: sh: signal: killed"},
		"no JSON":                  {script: `echo done`, err: "activate: answer: must be an object"},
		"too much":                 {script: `yes | head -c 100000`, err: "activate: the command wrote more than 64 KiB to standard output"},
		"too much while it yields": {script: `yes | head -c 100000; exit 75`, reason: "no reason given"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := script(t, tc.script).ActivateResource(t.Context(), call, res)
			y, yield := blueprints.AsYield(err)
			switch {
			case tc.reason != "":
				if !yield || y.After != tc.after || y.Reason != tc.reason {
					t.Errorf("error = %v, want a yield of %s for %q", err, tc.after, tc.reason)
				}
			case tc.err != "":
				if yield || err == nil || err.Error() != tc.err {
					t.Errorf("error = %v, want %s", err, tc.err)
				}
			case err != nil:
				t.Error(err)
			}
		})
	}
}

func TestStepsWithoutAnAnswerMayPrintWhatTheyLike(t *testing.T) {
	t.Parallel()
	hooks := script(t, `yes removed | head -c 100000`)
	if err := hooks.DestroyResource(t.Context(), call, res); err != nil {
		t.Error(err)
	}
	if err := hooks.ReleaseLease(t.Context(), call, res, lease); err != nil {
		t.Error(err)
	}
}

func TestAHookThatHangsIsCutOffWithItsProcessGroup(t *testing.T) {
	t.Parallel()
	alive := filepath.Join(t.TempDir(), "alive")
	if err := syscall.Mkfifo(alive, 0o600); err != nil {
		t.Fatal(err)
	}
	hooks := script(t, `
		( trap '' TERM; exec 3>"$ALIVE"; while :; do sleep 1000; done ) &
		exec 3>"$ALIVE"; wait; sleep 1000`, `, "env": {"ALIVE": "`+alive+`"}`)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- hooks.ActivateLease(ctx, call, res, lease) }()
	f, err := os.Open(alive) // returns when the hook has opened its end
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("ActivateLease = %v", err)
	}
	if _, err := io.Copy(io.Discard, f); err != nil { // ends when no process has it open
		t.Fatal(err)
	}
}

func TestOnlyConfiguredStepsHaveHooks(t *testing.T) {
	t.Parallel()
	bp, err := exec.Kind{}.Open(blueprint(`{"commands": {"activate": ["true"], "update": ["true"]}, "timeout": "90s"}`))
	if err != nil {
		t.Fatal(err)
	}
	h := bp.Hooks()
	if h.ActivateResource == nil || h.UpdateResource == nil || h.Timeout != 90*time.Second {
		t.Errorf("hooks = %+v", h)
	}
	if h.Allocate != nil || h.DestroyResource != nil || h.AcquireLease != nil || h.ActivateLease != nil || h.ReleaseLease != nil || h.DestroyLease != nil {
		t.Error("a step without a command has a hook that costs time")
	}
}

func TestTheOperatorCanLimitThePrograms(t *testing.T) {
	t.Parallel()
	kind := exec.Kind{Commands: command.Policy{Folders: []string{"/etc/drydock/hooks"}}}
	if _, err := kind.Open(blueprint(`{"commands": {"activate": ["/etc/drydock/hooks/a"]}}`)); err != nil {
		t.Error(err)
	}
	if _, err := kind.Open(blueprint(`{"commands": {"activate": ["/bin/sh", "-c", "id"]}}`)); err == nil {
		t.Error("a shell was allowed")
	}
}

func TestTheFenceRefusesAnOlderAttempt(t *testing.T) {
	t.Parallel()
	declared, _ := scratch(t)
	bp, err := exec.Kind{}.Open(declared)
	if err != nil {
		t.Fatal(err)
	}
	h := bp.Hooks()
	if _, err := h.ActivateResource(t.Context(), call, res); err != nil {
		t.Fatal(err)
	}
	newer, older := call, call
	newer.Fence, older.Fence = 9, 8
	if err := h.ActivateLease(t.Context(), newer, res, lease); err != nil {
		t.Fatal(err)
	}
	if err := h.ActivateLease(t.Context(), older, res, lease); err == nil || !strings.Contains(err.Error(), "older") {
		t.Errorf("ActivateLease of an older fence = %v", err)
	}
}

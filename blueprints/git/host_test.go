//go:build unix

package git_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"drydock/blueprints"
	"drydock/blueprints/conformance"
	"drydock/blueprints/git"
	"drydock/internal/sshtest"
	"drydock/model"
)

// oddRoot makes a root whose path a shell would take apart, were it not quoted.
func oddRoot(t *testing.T) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), `it's "a" $(touch x) *`)
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	return root
}

// hostBlueprint is the blueprint for copies on leased hosts.
func hostBlueprint(url, root string, port int, more ...string) *model.Blueprint {
	bp := blueprint(url, root, append(more, fmt.Sprintf(`, "ssh": {"port": %d}`, port))...)
	bp.On = &model.SubLease{Type: "host"}
	return bp
}

// hostAt is a leased host.
func hostAt(name string, attributes map[string]string) *blueprints.Host {
	lease := &model.Lease{Ref: model.LeaseRef("ci", model.NewID()), Status: model.LeaseActive}
	res := &model.Resource{Ref: model.ResourceRef("ci", model.NewID()), Name: name, Status: model.ResourceActive, Attributes: attributes}
	lease.Resource = res.ID
	return &blueprints.Host{Lease: lease, Resource: res}
}

// newHostWorld is newWorld for a copy on a host, which is this machine.
func newHostWorld(t *testing.T, url string, more ...string) *world {
	t.Helper()
	return newWorldOn(t, sshtest.Start(t), url, more...)
}

func newWorldOn(t *testing.T, server *sshtest.Server, url string, more ...string) *world {
	t.Helper()
	bp, err := git.Kind{SSHConfig: server.Config}.Open(hostBlueprint(url, oddRoot(t), server.Port, more...))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, url: url, host: hostAt("h1", map[string]string{"address": "127.0.0.1"})}
	w.open(bp)
	return w
}

func TestConformanceOnAHost(t *testing.T) {
	t.Parallel()
	url, commits := repository(t)
	server := sshtest.Start(t)
	bad := func(name, ssh, field string) conformance.Bad {
		return conformance.BadConfig(name, `{"url": "/u", "root": "/r", "ssh": `+ssh+`}`, field)
	}
	conformance.Run(t, conformance.Suite{
		Kind: git.Kind{SSHConfig: server.Config},
		New: func(t *testing.T) conformance.World {
			root := oddRoot(t)
			return conformance.World{
				Blueprint: hostBlueprint(url, root, server.Port), Host: hostAt("127.0.0.1", nil),
				State: func(t *testing.T) any { return copiesIn(t, root) },
			}
		},
		Bad: []conformance.Bad{
			conformance.BadConfig("no root", `{"url": "/u"}`, "config.root"),
			conformance.BadConfig("own attribute", `{"url": "/u", "root": "/r", "attributes": {"host": "h"}}`, "config.attributes.host"),
			conformance.BadConfig("own attribute", `{"url": "/u", "root": "/r", "attributes": {"address": "h"}}`, "config.attributes.address"),
			bad("an option for a user", `{"user": "-oProxyCommand=x"}`, "config.ssh.user"),
			bad("a user at a host", `{"user": "a@b"}`, "config.ssh.user"),
			bad("port", `{"port": 65536}`, "config.ssh.port"),
			bad("attribute", `{"address_attribute": "a b"}`, "config.ssh.address_attribute"),
			bad("an option", `{"options": {"ProxyCommand": "x"}}`, "config.ssh.options"),
		},
		Serves: []model.Request{
			{}, {Attributes: map[string]string{"repo": "main", "branch": "topic/x"}}, {Attributes: map[string]string{"commit": commits["first"]}},
		},
		Refuses: []model.Request{{Attributes: map[string]string{"repo": "other"}}, {Attributes: map[string]string{"branch": "-x"}}},
	})
}

func TestSSHSettingsNeedSomethingToStandOn(t *testing.T) {
	t.Parallel()
	bp := hostBlueprint("/u", "/r", 22)
	bp.On = nil
	_, err := git.Kind{}.Open(bp)
	if e, _ := errors.AsType[*model.Error](err); e == nil || e.Field != "config.ssh" {
		t.Errorf("Open = %v, want invalid config.ssh", err)
	}
}

func TestTheOperatorsRootIsForTheWorkersMachine(t *testing.T) {
	t.Parallel()
	if _, err := (git.Kind{Root: "/srv/copies"}).Open(hostBlueprint("/u", "/opt/copies", 22)); err != nil {
		t.Errorf("Open = %v", err)
	}
}

func TestACopyTellsWhereItIs(t *testing.T) {
	t.Parallel()
	url, _ := repository(t)
	w := newHostWorld(t, url)
	want := map[string]string{"repo": "main", "path": w.path, "host": "h1", "address": "127.0.0.1"}
	changes, err := w.hooks.ActivateResource(t.Context(), w.call(w.res.Ref), w.res)
	w.must(err)
	if diff := cmp.Diff(want, changes.Attributes); diff != "" {
		t.Errorf("activated (-want +got):\n%s", diff)
	}
	w.res.Attributes = changes.Attributes
	changes, err = w.hooks.UpdateResource(t.Context(), w.call(w.res.Ref), w.res)
	w.must(err)
	if diff := cmp.Diff(want, changes.Attributes); diff != "" {
		t.Errorf("updated (-want +got):\n%s", diff)
	}
}

func TestAHostThatIsDownIsWaitedFor(t *testing.T) {
	t.Parallel()
	url, _ := repository(t)
	server := sshtest.Start(t)
	w := newWorldOn(t, server, url)
	w.must(w.activate())
	server.Stop()
	lease := &model.Lease{Ref: model.LeaseRef("ci", model.NewID())}
	for name, err := range map[string]error{
		"activate": w.activate(), "lease": w.lease(), "destroy": w.destroy(),
		"leave": w.hooks.DestroyLease(t.Context(), w.call(lease.Ref), w.res, lease),
	} {
		y, yield := blueprints.AsYield(err)
		if !yield || y.After != 0 || !strings.Contains(err.Error(), "host h1 cannot be reached") {
			t.Errorf("%s = %v, want a yield with a growing delay", name, err)
		}
	}
	call := w.call(lease.Ref)
	call.Attempt = 3
	if err := w.hooks.DestroyLease(t.Context(), call, w.res, lease); err != nil {
		t.Errorf("leave, the third time = %v: a dead host holds up the release of a lease", err)
	}
	server.Resume()
	w.must(w.lease())
}

func TestAHostWithAnotherKeyIsNotSpokenTo(t *testing.T) {
	t.Parallel()
	url, _ := repository(t)
	server, other := sshtest.Start(t), sshtest.Start(t)
	bp, err := git.Kind{SSHConfig: other.Config}.Open(hostBlueprint(url, oddRoot(t), server.Port))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, host: hostAt("h1", map[string]string{"address": "127.0.0.1"})}
	w.open(bp)
	if err := w.activate(); err == nil || !strings.Contains(err.Error(), "Host key verification failed") {
		t.Errorf("ActivateResource = %v", err)
	}
}

func TestAddressesThatAreNone(t *testing.T) {
	t.Parallel()
	url, _ := repository(t)
	server := sshtest.Start(t)
	w := newWorldOn(t, server, url)
	pwned := filepath.Join(t.TempDir(), "pwned")
	for _, address := range []string{
		"-oProxyCommand=touch " + pwned, "-oProxyCommand=touch${IFS}" + pwned, "--", "-", "a b", "h1;id", "$(id)", "user@h1", "ssh://h1", "h1:22", "%h",
		"fe80::1%eth0", "[::1]", "h1\n", "h1.", ".h1", "größe", strings.Repeat("a", 254),
	} {
		w.host = hostAt("h1", map[string]string{"address": address})
		if err := w.activate(); err == nil || !strings.Contains(err.Error(), "is no address") {
			t.Errorf("address %q: %v", address, err)
		}
	}
	if _, err := os.Lstat(pwned); err == nil || server.Connections() > 0 {
		t.Errorf("ssh was run: %v, %d connections", err, server.Connections())
	}
	w.host = nil
	if err := w.activate(); err == nil || !strings.Contains(err.Error(), "stands on no host") {
		t.Errorf("without a host: %v", err)
	}
	if err := w.destroy(); err != nil {
		t.Errorf("a copy that never had a host cannot be destroyed: %v", err)
	}
}

// TestARunOfAPausedWorkerIsRefused: a worker goes on with a run that others have long done.
func TestARunOfAPausedWorkerIsRefused(t *testing.T) {
	t.Parallel()
	url, _ := repository(t)
	w := newHostWorld(t, url)
	w.must(w.activate())
	refused := func(when string, err error) {
		t.Helper()
		if _, yield := blueprints.AsYield(err); !yield || !strings.Contains(err.Error(), "refused: a run with fence") {
			t.Errorf("%s: %v, want it refused", when, err)
		}
	}
	activate := func(lease *model.Lease, fence int64) error {
		call := blueprints.Call{Object: lease.Ref, Fence: fence, Host: w.host}
		return w.hooks.ActivateLease(t.Context(), call, w.res, lease)
	}
	first := &model.Lease{Ref: model.LeaseRef("ci", model.NewID())}
	next := &model.Lease{Ref: model.LeaseRef("ci", model.NewID())}
	w.must(activate(first, 5))
	work := filepath.Join(w.path, "work")
	write(t, work, "x")
	refused("while the lease is active", activate(first, 4))
	// It ends, without another run before. The next lease counts from 1.
	w.must(w.hooks.DestroyLease(t.Context(), blueprints.Call{Object: first.Ref, Fence: 7, Host: w.host}, w.res, first))
	w.must(activate(next, 1))
	write(t, work, "x")
	refused("under the next lease", activate(first, 6))
	if _, err := os.Stat(work); err != nil {
		t.Errorf("the next holder's work is gone: %v", err)
	}
	w.must(w.destroy())
	late := w.call(w.res.Ref)
	late.Fence = 1
	_, err := w.hooks.ActivateResource(t.Context(), late, w.res)
	refused("after the copy is gone", err)
	if _, err := os.Lstat(w.path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the copy is back: %v", err)
	}
}

// TestTheHostStopsWhenTheWorkerDoes: what was begun on the host ends with the connection.
func TestTheHostStopsWhenTheWorkerDoes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	alive, ssh := filepath.Join(dir, "alive"), filepath.Join(dir, "ssh")
	if err := syscall.Mkfifo(alive, 0o600); err != nil {
		t.Fatal(err)
	}
	write(t, ssh, "#!/bin/sh\ntrap '' TERM\nexec 8>'"+alive+"'\nsleep 1000\n")
	server := sshtest.Start(t, "GIT_SSH_COMMAND="+ssh)
	w := newWorldOn(t, server, "git@example.org:repo.git")
	for name, stop := range map[string]func(cancel func()){
		"the worker gives up":    func(cancel func()) { cancel() },
		"the connection is lost": func(func()) { server.Stop() },
	} {
		server.Resume()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := w.hooks.ActivateResource(ctx, w.call(w.res.Ref), w.res)
			done <- err
		}()
		f, err := os.Open(alive) // returns when git's ssh has opened its end
		w.must(err)
		stop(cancel)
		if err := <-done; err == nil {
			t.Errorf("%s: ActivateResource = nil", name)
		}
		if _, err := io.Copy(io.Discard, f); err != nil { // ends when no process has it open
			t.Fatal(err)
		}
		f.Close()
		cancel()
	}
}

func TestABlueprintThatMovesItsCopiesRetiresThem(t *testing.T) {
	t.Parallel()
	url, _ := repository(t)
	here, there := newWorld(t, url), newHostWorld(t, url)
	for name, tc := range map[string]struct{ old, now *world }{"to hosts": {here, there}, "from hosts": {there, here}} {
		_, err := tc.now.hooks.UpdateResource(t.Context(), tc.old.call(tc.old.res.Ref), tc.old.res)
		if _, gone := blueprints.AsGone(err); !gone {
			t.Errorf("%s: UpdateResource = %v, want it gone", name, err)
		}
	}
}

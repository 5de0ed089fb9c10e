package e2e_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"drydock/internal/sshtest"
)

// runGit runs git as somebody who pushes, or who looks at a working copy.
func runGit(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.org")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %q: %v: %s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// repository makes a repository with a file of each of two commits, and returns both.
func repository(t *testing.T) (url, first, second string) {
	t.Helper()
	url = t.TempDir()
	commit := func(text string) string {
		put(t, filepath.Join(url, "file"), text)
		runGit(t, url, "add", "-A")
		runGit(t, url, "commit", "-q", "-m", text)
		return runGit(t, url, "rev-parse", "HEAD")
	}
	runGit(t, url, "init", "-q", "-b", "main")
	return url, commit("first"), commit("second")
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// wantGone checks that there is nothing any more.
func wantGone(t *testing.T, path string) {
	t.Helper()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is still there (%v)", path, err)
	}
}

// made is what the API shows of a resource that a blueprint made.
type made struct {
	ID         string            `json:"id"`
	Name       string            `json:"name"`
	Status     string            `json:"status"`
	Attributes map[string]string `json:"attributes"`
	HostLease  *string           `json:"host_lease"`
}

func (c *client) declare(name string, body map[string]any) {
	c.t.Helper()
	text, _ := json.Marshal(body)
	must[any](c, http.MethodPut, "/v1/blueprints/"+name, string(text), http.StatusCreated)
}

// get leases a resource of a type and waits until it is ready.
func (c *client) get(typ, attribute, value string) (lease, made) {
	c.t.Helper()
	attributes := map[string]string{}
	if attribute != "" {
		attributes[attribute] = value
	}
	body, _ := json.Marshal(map[string]any{"type": typ, "owner": "somebody", "attributes": attributes})
	l := must[lease](c, http.MethodPost, "/v1/leases", string(body), http.StatusAccepted)
	if l = c.watch(l.ID, "active", patience); l.Status != "active" {
		c.t.Fatalf("lease %s is %s, want active: %s", l.ID, l.Status, must[json.RawMessage](c, http.MethodGet, "/v1/leases/"+l.ID+"/logs", "", http.StatusOK))
	}
	return l, c.made(deref(l.Resource))
}

func (c *client) made(id string) made {
	c.t.Helper()
	return must[made](c, http.MethodGet, "/v1/resources/"+id, "", http.StatusOK)
}

// giveBack releases a lease and waits until it is destroyed.
func (c *client) giveBack(id string) {
	c.t.Helper()
	c.release(id)
	c.await(id, "destroyed")
}

// takeAway releases a resource and waits until it is destroyed.
func (c *client) takeAway(id string) {
	c.t.Helper()
	must[any](c, http.MethodPost, "/v1/resources/"+id+"/release", "", http.StatusAccepted)
	got := must[made](c, http.MethodGet, fmt.Sprintf("/v1/resources/%s?wait=destroyed&timeout=%s", id, patience), "", http.StatusOK)
	if got.Status != "destroyed" {
		c.t.Fatalf("resource %s is %s, want destroyed", id, got.Status)
	}
}

// TestGitAndExecBlueprints: a working copy of a real repository and a folder made by a real script, declared, leased, looked at, given
// back and taken away.
func TestGitAndExecBlueprints(t *testing.T) {
	t.Parallel()
	url, first, second := repository(t)
	server := startRedis(t)
	hooks, err := filepath.Abs("../examples/exec")
	if err != nil {
		t.Fatal(err)
	}
	copies, scratch := t.TempDir(), t.TempDir()
	flags := []string{"--hook-folder", hooks, "--git-root", copies}
	c := newClient(t, startAPI(t, server.URL(), flags...).url)
	startWorker(t, server.URL(), flags...)
	script := []string{filepath.Join(hooks, "scratch.sh")}
	c.declare("scratch", map[string]any{"kind": "exec", "type": "folder", "limit": 1, "config": map[string]any{
		"env":      map[string]string{"SCRATCH_ROOT": scratch},
		"commands": map[string]any{"activate": script, "activate_lease": script, "destroy_lease": script, "destroy": script},
	}})
	c.declare("site", map[string]any{"kind": "git", "type": "copy", "limit": 1, "config": map[string]any{"url": url}})

	l, folder := c.get("folder", "", "")
	path := folder.Attributes["path"]
	if want := filepath.Join(scratch, namespaceOf(t), "scratch-1"); path != want {
		t.Fatalf("the folder is at %q, want %q", path, want)
	}
	if got := readFile(t, filepath.Join(path, "owner")); got != "somebody\n" {
		t.Errorf("the folder's owner is %q", got)
	}
	c.giveBack(l.ID)
	wantGone(t, filepath.Join(path, "owner"))
	c.takeAway(folder.ID)
	wantGone(t, path)

	l, copied := c.get("copy", "commit", first)
	path = copied.Attributes["path"]
	if want := filepath.Join(copies, namespaceOf(t), "site", "site-1"); path != want {
		t.Fatalf("the copy is at %q, want %q", path, want)
	}
	if got := runGit(t, path, "rev-parse", "HEAD"); got != first || readFile(t, filepath.Join(path, "file")) != "first" {
		t.Errorf("HEAD is %s, want %s, with its file", got, first)
	}
	put(t, filepath.Join(path, "litter"), "x")
	c.giveBack(l.ID)
	l, again := c.get("copy", "", "")
	if again.ID != copied.ID {
		t.Errorf("the next lease is on %s, want %s again", again.ID, copied.ID)
	}
	if got := runGit(t, path, "rev-parse", "HEAD"); got != second || readFile(t, filepath.Join(path, "file")) != "second" {
		t.Errorf("HEAD is %s, want %s, with its file", got, second)
	}
	wantGone(t, filepath.Join(path, "litter"))
	c.takeAway(copied.ID)
	c.await(l.ID, "destroyed")
	wantGone(t, path)
	verify(t, server)
}

// onHost is a system with one host, which is this machine by way of an sshd, and working copies on it.
type onHost struct {
	*client
	ssh           *sshtest.Server
	root          string
	first, second string
	verify        func()
}

func startOnHost(t *testing.T) *onHost {
	t.Helper()
	url, first, second := repository(t)
	server, ssh := startRedis(t), sshtest.Start(t)
	flags := []string{"--git-ssh-config", ssh.Config}
	h := &onHost{client: newClient(t, startAPI(t, server.URL(), flags...).url), ssh: ssh, root: t.TempDir(), first: first, second: second}
	startWorker(t, server.URL(), flags...)
	h.declare("lab", map[string]any{"kind": "pool", "type": "host", "config": map[string]any{
		"hosts": []any{map[string]any{"name": "h1", "attributes": map[string]string{"address": "127.0.0.1"}}},
	}})
	h.declare("site", map[string]any{
		"kind": "git", "type": "copy", "on": map[string]any{"type": "host"},
		"config": map[string]any{"url": url, "root": h.root, "ssh": map[string]any{"port": ssh.Port}},
	})
	h.verify = func() { verify(t, server) }
	return h
}

// hostLease is the lease that a copy stands on.
func (h *onHost) hostLease(copied made) lease {
	h.t.Helper()
	return h.lease(deref(copied.HostLease))
}

func TestWorkingCopyOnALeasedHost(t *testing.T) {
	t.Parallel()
	h := startOnHost(t)
	l, copied := h.get("copy", "commit", h.first)
	path := copied.Attributes["path"]
	if want := filepath.Join(h.root, namespaceOf(t), "site", "site-1"); path != want || copied.Attributes["host"] != "h1" || copied.Attributes["address"] != "127.0.0.1" {
		t.Fatalf("the copy is at %v, want %s on h1", copied.Attributes, want)
	}
	if got := runGit(t, path, "rev-parse", "HEAD"); got != h.first || readFile(t, filepath.Join(path, "file")) != "first" {
		t.Errorf("HEAD is %s, want %s, with its file", got, h.first)
	}
	sub := h.hostLease(copied)
	if sub.Status != "active" || deref(sub.Owner) != "blueprint:site" {
		t.Errorf("the copy stands on %+v", sub)
	}
	if got := must[struct {
		ForResource *string `json:"for_resource"`
	}](h.client, http.MethodGet, "/v1/leases/"+sub.ID, "", http.StatusOK); deref(got.ForResource) != copied.ID {
		t.Errorf("the lease on the host is for %q, want %s", deref(got.ForResource), copied.ID)
	}

	// The next lease finds nothing of the last one, and the host is not given back between the two.
	put(t, filepath.Join(path, "litter"), "x")
	put(t, filepath.Join(path, ".git", "hooks.litter"), "x")
	h.giveBack(l.ID)
	l, again := h.get("copy", "branch", "main")
	if again.ID != copied.ID || deref(again.HostLease) != sub.ID {
		t.Errorf("the next lease is on %+v, want the same copy on the same host", again)
	}
	if got := runGit(t, path, "rev-parse", "HEAD"); got != h.second {
		t.Errorf("HEAD is %s, want %s", got, h.second)
	}
	wantGone(t, filepath.Join(path, "litter"))
	wantGone(t, filepath.Join(path, ".git", "hooks.litter"))

	// When the copy goes, so does its lease on the host, and the host is free.
	h.giveBack(l.ID)
	h.takeAway(copied.ID)
	wantGone(t, path)
	h.await(sub.ID, "destroyed")
	free := h.ask("")
	h.await(free.ID, "active")
	h.giveBack(free.ID)
	h.verify()
}

// TestDeathOfALeasedHost: the host is taken away under a copy that is leased.
func TestDeathOfALeasedHost(t *testing.T) {
	t.Parallel()
	h := startOnHost(t)
	l, copied := h.get("copy", "", "")
	sub := h.hostLease(copied)
	h.takeAway(deref(sub.Resource))
	h.await(l.ID, "destroyed")
	h.await(sub.ID, "destroyed")
	if got := h.made(copied.ID); got.Status != "destroyed" {
		t.Errorf("the copy is %s, want destroyed before its host", got.Status)
	}
	wantGone(t, copied.Attributes["path"])
	h.verify()
}

// TestLeasedHostThatRestarts: the host cannot be reached for a while. Nothing breaks, and it goes on when the host is back.
func TestLeasedHostThatRestarts(t *testing.T) {
	t.Parallel()
	h := startOnHost(t)
	l, copied := h.get("copy", "", "")
	h.giveBack(l.ID)
	h.ssh.Stop()
	waiting := must[lease](h.client, http.MethodPost, "/v1/leases", `{"type": "copy"}`, http.StatusAccepted)
	type entry struct {
		Event string `json:"event"`
		Text  string `json:"text"`
	}
	eventually(t, func() error {
		log, err := try[page[entry]](t.Context(), h.client, http.MethodGet, "/v1/leases/"+waiting.ID+"/logs", "", http.StatusOK)
		if err == nil && !slices.ContainsFunc(log.Items, func(e entry) bool { return strings.Contains(e.Text, "host h1 cannot be reached") }) {
			err = fmt.Errorf("the log says %+v, want that the host cannot be reached", log.Items)
		}
		return err
	})
	if got := h.lease(waiting.ID); got.Status != "acquired" {
		t.Errorf("the lease is %s while the host is down, want acquired", got.Status)
	}
	h.ssh.Resume()
	h.await(waiting.ID, "active")
	// A host that is down does not keep a lease from being released.
	h.ssh.Stop()
	h.giveBack(waiting.ID)
	h.ssh.Resume()
	h.takeAway(copied.ID)
	wantGone(t, copied.Attributes["path"])
	h.verify()
}

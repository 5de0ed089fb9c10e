//go:build unix

package git_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"drydock/blueprints"
	"drydock/blueprints/conformance"
	"drydock/blueprints/git"
	"drydock/model"
)

// run runs git as somebody else: the one who pushes, or the holder of a copy.
func run(t *testing.T, dir string, args ...string) string {
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

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

// repository makes a repository: main with two commits, a branch "topic/x", a tag, a ref as code review has them, and a
// commit that only its number leads to.
func repository(t *testing.T) (dir string, commits map[string]string) {
	t.Helper()
	dir = t.TempDir()
	commits = map[string]string{}
	commit := func(name string) {
		write(t, filepath.Join(dir, "file"), name+"\n")
		run(t, dir, "add", "-A")
		run(t, dir, "commit", "-q", "-m", name)
		commits[name] = run(t, dir, "rev-parse", "HEAD")
	}
	run(t, dir, "init", "-q", "-b", "main")
	write(t, filepath.Join(dir, ".gitignore"), "ignored\n")
	write(t, filepath.Join(dir, "folder", "deep"), "deep\n")
	commit("first")
	run(t, dir, "tag", "-a", "v1", "-m", "v1")
	run(t, dir, "checkout", "-q", "-b", "topic/x")
	commit("topic")
	run(t, dir, "checkout", "-q", "--detach", "main")
	commit("review")
	run(t, dir, "update-ref", "refs/changes/01/1/1", "HEAD")
	commit("lost")
	run(t, dir, "update-ref", "refs/hidden/lost", "HEAD")
	run(t, dir, "checkout", "-q", "main")
	commit("main")
	return dir, commits
}

func blueprint(url, root string, more ...string) *model.Blueprint {
	return &model.Blueprint{
		Namespace: "ci", Name: "work", Kind: "git", Type: "copy", Enabled: true,
		Config: fmt.Appendf(nil, `{"url": %q, "root": %q, "attributes": {"repo": "main"}%s}`, url, root, strings.Join(more, "")),
	}
}

// world is a blueprint, open, with one copy.
type world struct {
	t     *testing.T
	bp    blueprints.Blueprint
	hooks *blueprints.Hooks
	res   *model.Resource
	path  string
	url   string
	host  *blueprints.Host // nil for a copy on this machine
	fence int64
}

// makeWorld makes a world of one variant.
type makeWorld func(t *testing.T, url string, more ...string) *world

// onBoth runs a test with a copy on this machine, and with one on a host.
func onBoth(t *testing.T, test func(t *testing.T, newWorld makeWorld)) {
	t.Helper()
	for name, newWorld := range map[string]makeWorld{"here": newWorld, "on a host": newHostWorld} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newWorld)
		})
	}
}

func newWorld(t *testing.T, url string, more ...string) *world {
	t.Helper()
	bp, err := git.Kind{}.Open(blueprint(url, t.TempDir(), more...))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, url: url}
	w.open(bp)
	return w
}

// open takes the blueprint's first offer.
func (w *world) open(bp blueprints.Blueprint) {
	w.bp, w.hooks = bp, bp.Hooks()
	for offer := range bp.Offers(model.Request{}) {
		w.res = &model.Resource{
			Ref: model.ResourceRef("ci", model.NewID()), Name: offer.Name, Attributes: offer.Attributes, Capacity: offer.Capacity,
			Work: model.ResourceWork{Facts: offer.Facts},
		}
		w.path = offer.Attributes["path"]
		break
	}
}

// call is a new claim's.
func (w *world) call(object model.Ref) blueprints.Call {
	w.fence++
	return blueprints.Call{Object: object, Fence: w.fence, Host: w.host, Attempt: 1}
}

func (w *world) activate() error {
	_, err := w.hooks.ActivateResource(w.t.Context(), w.call(w.res.Ref), w.res)
	return err
}

func (w *world) destroy() error {
	return w.hooks.DestroyResource(w.t.Context(), w.call(w.res.Ref), w.res)
}

func (w *world) lease(pairs ...string) error {
	attributes := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		attributes[pairs[i]] = pairs[i+1]
	}
	lease := &model.Lease{Ref: model.LeaseRef("ci", model.NewID()), Attributes: attributes}
	return w.hooks.ActivateLease(w.t.Context(), w.call(lease.Ref), w.res, lease)
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// files lists the working copy's files, without .git, and their contents.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		if rel == ".git" {
			return fs.SkipDir
		}
		if d.IsDir() {
			return nil
		}
		b, err := os.ReadFile(p)
		out[rel] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// copiesIn describes the copies in a root.
func copiesIn(t *testing.T, root string) map[string]any {
	t.Helper()
	state := map[string]any{}
	folder := filepath.Join(root, "ci", "work")
	entries, err := os.ReadDir(folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for _, e := range entries {
		if c := filepath.Join(folder, e.Name()); e.Name()[0] != '.' {
			state[e.Name()] = []any{files(t, c), run(t, c, "rev-parse", "HEAD"), run(t, c, "status", "--porcelain=v2", "--branch", "--ignored")}
		}
	}
	return state
}

func TestConformance(t *testing.T) {
	t.Parallel()
	url, commits := repository(t)
	conformance.Run(t, conformance.Suite{
		Kind: git.Kind{},
		New: func(t *testing.T) conformance.World {
			root := t.TempDir()
			return conformance.World{Blueprint: blueprint(url, root), State: func(t *testing.T) any { return copiesIn(t, root) }}
		},
		Bad: []conformance.Bad{
			conformance.BadConfig("no url", `{"root": "/r"}`, "config.url"),
			conformance.BadConfig("no root", `{"url": "/u"}`, "config.root"),
			conformance.BadConfig("relative root", `{"url": "/u", "root": "r"}`, "config.root"),
			conformance.BadConfig("everything", `{"url": "/u", "root": "/x/.."}`, "config.root"),
			conformance.BadConfig("long root", `{"url": "/u", "root": "/`+strings.Repeat("r", 250)+`"}`, "config.root"),
			conformance.BadConfig("branch", `{"url": "/u", "root": "/r", "branch": "--upload-pack=x"}`, "config.branch"),
			conformance.BadConfig("own attribute", `{"url": "/u", "root": "/r", "attributes": {"path": "/"}}`, "config.attributes.path"),
			conformance.BadConfig("attribute", `{"url": "/u", "root": "/r", "attributes": {"a b": "c"}}`, "config.attributes"),
			conformance.BadConfig("timeout", `{"url": "/u", "root": "/r", "timeout": "0s1ns"}`, "config.timeout"),
		},
		Serves: []model.Request{
			{}, {Attributes: map[string]string{"repo": "main", "branch": "topic/x"}}, {Attributes: map[string]string{"commit": commits["first"]}},
		},
		Refuses: []model.Request{
			{Attributes: map[string]string{"repo": "other"}}, {Attributes: map[string]string{"branch": "-x"}},
			{Attributes: map[string]string{"branch": "main", "commit": commits["first"]}},
		},
	})
}

func TestLeasesGetWhatTheyAskFor(t *testing.T) {
	t.Parallel()
	onBoth(t, leasesGetWhatTheyAskFor)
}

func leasesGetWhatTheyAskFor(t *testing.T, newWorld makeWorld) {
	url, commits := repository(t)
	w := newWorld(t, url)
	w.must(w.activate())
	for _, tc := range []struct {
		attributes []string
		commit     string
		branch     string
	}{
		{nil, "main", "main"},
		{[]string{"branch", "topic/x"}, "topic", "topic/x"},
		{[]string{"branch", "main"}, "main", "main"},
		{[]string{"commit", commits["first"]}, "first", ""},
		{[]string{"ref", "refs/tags/v1"}, "first", ""},
		{[]string{"ref", "refs/changes/01/1/1"}, "review", ""},
		{[]string{"commit", commits["lost"]}, "lost", ""}, // on no branch and no tag
		{[]string{"branch", "topic/x"}, "topic", "topic/x"},
	} {
		w.must(w.lease(tc.attributes...))
		if got, want := run(t, w.path, "rev-parse", "HEAD"), commits[tc.commit]; got != want {
			t.Errorf("%q: HEAD = %s, want %s", tc.attributes, got, want)
		}
		if got := run(t, w.path, "branch", "--show-current"); got != tc.branch {
			t.Errorf("%q: branch = %q, want %q", tc.attributes, got, tc.branch)
		}
		want := map[string]string{"file": tc.commit + "\n", ".gitignore": "ignored\n", "folder/deep": "deep\n"}
		if diff := cmp.Diff(want, files(t, w.path)); diff != "" {
			t.Errorf("%q: files (-want +got):\n%s", tc.attributes, diff)
		}
		if got := run(t, w.path, "status", "--porcelain", "--ignored"); got != "" {
			t.Errorf("%q: status = %q", tc.attributes, got)
		}
	}
	if got := run(t, w.path, "rev-parse", "--abbrev-ref", "@{upstream}"); got != "origin/topic/x" {
		t.Errorf("upstream = %q", got)
	}
}

func TestTheBlueprintCanNameTheBranch(t *testing.T) {
	t.Parallel()
	onBoth(t, theBlueprintCanNameTheBranch)
}

func theBlueprintCanNameTheBranch(t *testing.T, newWorld makeWorld) {
	url, commits := repository(t)
	w := newWorld(t, url, `, "branch": "topic/x"`)
	w.must(w.activate())
	if got := run(t, w.path, "rev-parse", "HEAD"); got != commits["topic"] {
		t.Errorf("HEAD = %s, want that of topic/x", got)
	}
}

func TestALeaseSeesWhatWasPushedMeanwhile(t *testing.T) {
	t.Parallel()
	onBoth(t, aLeaseSeesWhatWasPushedMeanwhile)
}

func aLeaseSeesWhatWasPushedMeanwhile(t *testing.T, newWorld makeWorld) {
	url, _ := repository(t)
	w := newWorld(t, url)
	w.must(w.activate())
	run(t, url, "commit", "-q", "--allow-empty", "-m", "new")
	run(t, url, "branch", "-q", "-D", "topic/x")
	run(t, url, "branch", "-q", "topic") // was a folder of branches until now
	run(t, url, "tag", "-d", "v1")
	w.must(w.lease())
	if got, want := run(t, w.path, "rev-parse", "HEAD"), run(t, url, "rev-parse", "HEAD"); got != want {
		t.Errorf("HEAD = %s, want %s", got, want)
	}
	if got, want := run(t, w.path, "for-each-ref", "--format=%(refname)"), "refs/heads/main\nrefs/remotes/origin/main\nrefs/remotes/origin/topic"; got != want {
		t.Errorf("refs = %q, want %q", got, want)
	}
	if err := w.lease("branch", "topic/x"); err == nil || !strings.Contains(err.Error(), "there is no branch topic/x in the repository") {
		t.Errorf("a deleted branch: %v", err)
	}
}

func TestWhatIsNotThereIsSaid(t *testing.T) {
	t.Parallel()
	onBoth(t, whatIsNotThereIsSaid)
}

func whatIsNotThereIsSaid(t *testing.T, newWorld makeWorld) {
	url, _ := repository(t)
	w := newWorld(t, url)
	w.must(w.activate())
	none := strings.Repeat("0", 39) + "1"
	for _, tc := range []struct{ name, value, want string }{
		{"branch", "none", "there is no branch none in the repository"},
		{"commit", none, "there is no commit " + none},
		{"ref", "refs/tags/none", "there is no ref refs/tags/none"},
	} {
		if err := w.lease(tc.name, tc.value); err == nil || !strings.HasPrefix(err.Error(), tc.want) {
			t.Errorf("%s %s: %v", tc.name, tc.value, err)
		}
	}
	w.must(w.lease())
}

func TestNothingOfTheLastHolderIsLeft(t *testing.T) {
	t.Parallel()
	onBoth(t, nothingOfTheLastHolderIsLeft)
}

func nothingOfTheLastHolderIsLeft(t *testing.T, newWorld makeWorld) {
	url, commits := repository(t)
	other, _ := repository(t)
	w := newWorld(t, url)
	w.must(w.activate())
	at := func(parts ...string) string { return filepath.Join(append([]string{w.path}, parts...)...) }
	ran := filepath.Join(t.TempDir(), "ran")
	script := "#!/bin/sh\necho \"$0\" >> " + ran + "\n"

	// Files: changed, hidden from git, untracked, ignored, read-only, repositories of their own.
	write(t, at("file"), "changed")
	run(t, w.path, "update-index", "--skip-worktree", "file")
	write(t, at("folder", "deep"), "changed")
	run(t, w.path, "update-index", "--assume-unchanged", "folder/deep")
	write(t, at("untracked"), "x")
	write(t, at("ignored"), "x")
	run(t, w.path, "init", "-q", "nested")
	run(t, w.path, "init", "-q", "folder")
	write(t, at("cache", "entry"), "x")
	if err := os.Chmod(at("cache"), 0o500); err != nil {
		t.Fatal(err)
	}
	run(t, w.path, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", other, "sub")
	// Refs and commits.
	run(t, w.path, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "mine")
	run(t, w.path, "branch", "mine")
	run(t, w.path, "replace", commits["main"], commits["topic"])
	run(t, w.path, "update-ref", "refs/remotes/origin/main", "mine")
	run(t, w.path, "tag", "mine")
	run(t, w.path, "pack-refs", "--all")
	run(t, w.path, "update-ref", "refs/stash", "mine")
	// What git would run or read.
	write(t, at(".git", "evil"), script)
	for name, value := range map[string]string{
		"core.fsmonitor": at(".git", "evil"), "core.sshCommand": at(".git", "evil"), "remote.origin.uploadpack": at(".git", "evil"),
		"core.hooksPath": at(".git", "hooks"), "filter.evil.smudge": at(".git", "evil"), "uploadpack.packObjectsHook": at(".git", "evil"),
		"url." + other + ".insteadOf": url, "core.worktree": t.TempDir(), "extensions.worktreeConfig": "true",
	} {
		run(t, w.path, "config", name, value)
	}
	for _, hook := range []string{"post-checkout", "reference-transaction", "post-index-change"} {
		write(t, at(".git", "hooks", hook), script)
	}
	write(t, at(".git", "info", "attributes"), "* filter=evil\n")
	write(t, at(".git", "info", "exclude"), "*\n")
	write(t, at(".git", "objects", "info", "alternates"), filepath.Join(other, ".git", "objects")+"\n")
	write(t, at(".git", "commondir"), filepath.Join(other, ".git")+"\n")
	// What a git that was killed leaves behind.
	write(t, at(".git", "index.lock"), "")
	write(t, at(".git", "config.lock"), "")
	write(t, at(".git", "HEAD.lock"), "")
	write(t, at(".git", "packed-refs.lock"), "")
	write(t, at(".git", "refs", "remotes", "origin", "main.lock"), "")

	w.must(w.lease())
	if b, err := os.ReadFile(ran); err == nil {
		t.Errorf("the last holder's programs ran as the worker: %s", b)
	}
	want := map[string]string{"file": "main\n", ".gitignore": "ignored\n", "folder/deep": "deep\n"}
	if diff := cmp.Diff(want, files(t, w.path)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if got := run(t, w.path, "rev-parse", "HEAD"); got != commits["main"] {
		t.Errorf("HEAD = %s, want %s", got, commits["main"])
	}
	refs := "refs/heads/main\nrefs/remotes/origin/main\nrefs/remotes/origin/topic/x\nrefs/tags/v1"
	if got := run(t, w.path, "for-each-ref", "--format=%(refname)"); got != refs {
		t.Errorf("refs = %q, want %q", got, refs)
	}
	if got := run(t, w.path, "config", "--local", "--list"); strings.Contains(got, "evil") || strings.Contains(got, other) {
		t.Errorf("config = %s", got)
	}
	if got := run(t, w.path, "log", "-1", "--format=%s"); got != "main" {
		t.Errorf("log = %q: a replacement is left", got)
	}
	run(t, w.path, "fsck", "--strict")
}

// TestWhatTheLastHolderLeftInGitGoes: also when git would work all the same, so that nothing makes it begin anew.
func TestWhatTheLastHolderLeftInGitGoes(t *testing.T) {
	t.Parallel()
	onBoth(t, whatTheLastHolderLeftInGitGoes)
}

func whatTheLastHolderLeftInGitGoes(t *testing.T, newWorld makeWorld) {
	url, _ := repository(t)
	other, _ := repository(t)
	w := newWorld(t, url)
	w.must(w.activate())
	left := map[string]string{
		"hooks/post-checkout": "#!/bin/sh\n", "info/exclude": "*\n", "info/attributes": "* -text\n", "evil": "x",
		"objects/info/alternates": filepath.Join(other, ".git", "objects") + "\n", "refs/heads/mine": run(t, w.path, "rev-parse", "HEAD") + "\n",
		"config.worktree": "", "modules/sub/config": "",
	}
	for name, text := range left {
		write(t, filepath.Join(w.path, ".git", name), text)
	}
	kept := filepath.Join(w.path, ".git", "objects", "kept")
	write(t, kept, "x")
	w.must(w.lease("commit", run(t, w.path, "rev-parse", "HEAD")))
	for name := range left {
		if _, err := os.Lstat(filepath.Join(w.path, ".git", name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf(".git/%s is still there: %v", name, err)
		}
	}
	if _, err := os.Stat(kept); err != nil {
		t.Errorf("the objects were not kept: %v", err)
	}
}

func TestAnythingInPlaceOfTheRepositoryGoes(t *testing.T) {
	t.Parallel()
	onBoth(t, anythingInPlaceOfTheRepositoryGoes)
}

func anythingInPlaceOfTheRepositoryGoes(t *testing.T, newWorld makeWorld) {
	url, _ := repository(t)
	other, _ := repository(t)
	for name, damage := range map[string]func(path string) error{
		"nothing":        os.RemoveAll,
		"no repository":  func(path string) error { return os.RemoveAll(filepath.Join(path, ".git")) },
		"an empty one":   func(path string) error { return os.RemoveAll(filepath.Join(path, ".git", "objects")) },
		"a link to some": func(path string) error { return replace(filepath.Join(path, ".git"), filepath.Join(other, ".git")) },
		"a link to refs": func(path string) error {
			return replace(filepath.Join(path, ".git", "refs", "remotes"), filepath.Join(other, ".git", "refs", "heads"))
		},
		"a link in place": func(path string) error { return replace(path, other) },
		"a file": func(path string) error {
			return errors.Join(os.RemoveAll(path), os.WriteFile(path, nil, 0o600))
		},
		"a file naming some": func(path string) error {
			p := filepath.Join(path, ".git")
			return errors.Join(os.RemoveAll(p), os.WriteFile(p, []byte("gitdir: "+other+"/.git\n"), 0o600))
		},
		"broken objects": func(path string) error {
			return filepath.WalkDir(filepath.Join(path, ".git", "objects"), func(p string, d fs.DirEntry, err error) error {
				if err != nil || d.IsDir() {
					return err
				}
				return errors.Join(os.Remove(p), os.WriteFile(p, []byte("garbage"), 0o600))
			})
		},
		"broken packed refs": func(path string) error {
			return os.WriteFile(filepath.Join(path, ".git", "packed-refs"), []byte("garbage refs/tags/v9\nmore"), 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := run(t, other, "for-each-ref") + run(t, other, "config", "--list")
			w := newWorld(t, url)
			w.must(w.activate())
			w.must(damage(w.path))
			w.must(w.lease())
			if got, want := run(t, w.path, "rev-parse", "HEAD"), run(t, url, "rev-parse", "HEAD"); got != want {
				t.Errorf("HEAD = %s, want %s", got, want)
			}
			run(t, w.path, "fsck")
			if after := run(t, other, "for-each-ref") + run(t, other, "config", "--list"); after != before {
				t.Errorf("another repository was changed:\n%s\n%s", before, after)
			}
		})
	}
}

// replace puts a link to target where path is.
func replace(path, target string) error {
	return errors.Join(os.RemoveAll(path), os.Symlink(target, path))
}

func TestObjectsAreKeptForTheNextLease(t *testing.T) {
	t.Parallel()
	onBoth(t, objectsAreKeptForTheNextLease)
}

func objectsAreKeptForTheNextLease(t *testing.T, newWorld makeWorld) {
	url, _ := repository(t)
	w := newWorld(t, url)
	w.must(w.activate())
	objects := func() map[string]uint64 {
		out := map[string]uint64{}
		err := filepath.WalkDir(filepath.Join(w.path, ".git", "objects"), func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			info, err := d.Info()
			if err == nil {
				out[p] = info.Sys().(*syscall.Stat_t).Ino
			}
			return err
		})
		w.must(err)
		return out
	}
	before := objects()
	w.must(w.lease("branch", "topic/x"))
	if diff := cmp.Diff(before, objects()); diff != "" || len(before) == 0 {
		t.Errorf("objects were fetched again (-before +after):\n%s", diff)
	}
}

func TestAFailureToReachTheRepositoryCostsNoObjects(t *testing.T) {
	t.Parallel()
	onBoth(t, aFailureToReachTheRepositoryCostsNoObjects)
}

func aFailureToReachTheRepositoryCostsNoObjects(t *testing.T, newWorld makeWorld) {
	url, _ := repository(t)
	w := newWorld(t, url)
	w.must(w.activate())
	if err := os.Rename(url, url+".away"); err != nil {
		t.Fatal(err)
	}
	if err := w.lease(); err == nil || !strings.Contains(err.Error(), "fetch") {
		t.Errorf("ActivateLease = %v", err)
	}
	if kept, _ := filepath.Glob(filepath.Join(w.path, ".git", "objects", "*", "*")); len(kept) == 0 {
		t.Error("the objects are gone")
	}
	if err := os.Rename(url+".away", url); err != nil {
		t.Fatal(err)
	}
	w.must(w.lease())
}

func TestACopyAtWhichAnEarlierRunIsStillAtWorkYields(t *testing.T) {
	t.Parallel()
	onBoth(t, aCopyAtWhichAnEarlierRunIsStillAtWorkYields)
}

func aCopyAtWhichAnEarlierRunIsStillAtWorkYields(t *testing.T, newWorld makeWorld) {
	url, _ := repository(t)
	w := newWorld(t, url)
	w.must(w.activate())
	if _, err := exec.LookPath("flock"); err != nil && w.host != nil {
		return // as the documentation says of such hosts
	}
	// As a git would whose worker was killed.
	f, err := os.Open(filepath.Join(filepath.Dir(w.path), "."+filepath.Base(w.path)+".lock"))
	w.must(err)
	defer f.Close()
	w.must(syscall.Flock(int(f.Fd()), syscall.LOCK_EX))
	for name, err := range map[string]error{
		"activate": w.activate(), "lease": w.lease(), "destroy": w.destroy(),
	} {
		if _, yield := blueprints.AsYield(err); !yield {
			t.Errorf("%s = %v, want a yield", name, err)
		}
	}
	w.must(syscall.Flock(int(f.Fd()), syscall.LOCK_UN))
	w.must(w.lease())
}

func TestDestroyRemovesTheCopyAndNothingElse(t *testing.T) {
	t.Parallel()
	onBoth(t, destroyRemovesTheCopyAndNothingElse)
}

func destroyRemovesTheCopyAndNothingElse(t *testing.T, newWorld makeWorld) {
	url, _ := repository(t)
	w := newWorld(t, url)
	w.must(w.activate())
	neighbour := filepath.Join(t.TempDir(), "neighbour")
	write(t, filepath.Join(neighbour, "f"), "x")
	w.must(os.Symlink(neighbour, filepath.Join(w.path, "link")))
	for range 2 {
		w.must(w.destroy())
		if _, err := os.Lstat(w.path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the copy is still there: %v", err)
		}
	}
	if _, err := os.Stat(filepath.Join(neighbour, "f")); err != nil {
		t.Error(err)
	}
}

func TestACopyStaysWhereItWasMade(t *testing.T) {
	t.Parallel()
	url, _ := repository(t)
	w := newWorld(t, url)
	w.must(w.activate())
	// The blueprint is declared anew, with another root and another repository.
	url2, commits := repository(t)
	run(t, url2, "commit", "-q", "--allow-empty", "-m", "other")
	bp, err := git.Kind{}.Open(blueprint(url2, t.TempDir(), `, "branch": "topic/x"`))
	w.must(err)
	w.hooks = bp.Hooks()
	w.must(w.lease())
	if got := run(t, w.path, "rev-parse", "HEAD"); got != commits["topic"] {
		t.Errorf("HEAD = %s, want %s", got, commits["topic"])
	}
	changes, err := w.hooks.UpdateResource(t.Context(), blueprints.Call{}, w.res)
	if err != nil || changes.Attributes["path"] != w.path || changes.Attributes["repo"] != "main" {
		t.Errorf("UpdateResource = %v, %v", changes, err)
	}
	w.must(w.destroy())
	if _, err := os.Lstat(w.path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the copy is still there: %v", err)
	}
}

func TestStoredPathsAndNamesDoNotEscape(t *testing.T) {
	t.Parallel()
	url, _ := repository(t)
	w := newWorld(t, url)
	keep := filepath.Join(t.TempDir(), "keep")
	write(t, filepath.Join(keep, "f"), "x")
	for _, res := range []model.Resource{
		{Name: ".."}, {Name: "."}, {Name: ""}, {Name: "../work"}, {Name: "a/b"}, {Name: "-rf"},
		{Name: "keep", Attributes: map[string]string{"path": keep}},
		{Name: "work-1", Attributes: map[string]string{"path": "ci/work/work-1"}},
		{Name: "work-1", Attributes: map[string]string{"path": "/ci/work/work-1"}},
		{Name: "work-1", Attributes: map[string]string{"path": keep + "/../ci/work/work-1"}},
		{Name: "work-1", Attributes: map[string]string{"path": keep + "/other/work/work-1"}},
		{Name: "work-1", Attributes: map[string]string{"path": ""}},
	} {
		if err := w.hooks.DestroyResource(t.Context(), blueprints.Call{}, &res); err == nil {
			t.Errorf("DestroyResource(%q, %q) = nil", res.Name, res.Attributes["path"])
		}
	}
	if _, err := os.Stat(filepath.Join(keep, "f")); err != nil {
		t.Error(err)
	}
}

func TestAFetchThatHangsIsCutOffWithItsProcessGroup(t *testing.T) {
	alive := filepath.Join(t.TempDir(), "alive")
	if err := syscall.Mkfifo(alive, 0o600); err != nil {
		t.Fatal(err)
	}
	ssh := filepath.Join(t.TempDir(), "ssh")
	write(t, ssh, "#!/bin/sh\nexec 9>'"+alive+"'\nsleep 1000\n")
	t.Setenv("GIT_SSH_COMMAND", ssh)
	w := newWorld(t, "git@example.org:repo.git")
	ctx, cancel := context.WithCancelCause(t.Context())
	lost := errors.New("the object lock is lost")
	done := make(chan error, 1)
	go func() {
		_, err := w.hooks.ActivateResource(ctx, blueprints.Call{}, w.res)
		done <- err
	}()
	f, err := os.Open(alive) // returns when git's ssh has opened its end
	w.must(err)
	defer f.Close()
	cancel(lost)
	if err := <-done; !errors.Is(err, lost) {
		t.Errorf("ActivateResource = %v", err)
	}
	if _, err := io.Copy(io.Discard, f); err != nil { // ends when no process has it open
		t.Fatal(err)
	}
}

func TestURLs(t *testing.T) {
	t.Parallel()
	for url, ok := range map[string]bool{
		"https://example.org/a/b.git":       true,
		"https://example.org:8443/a?b=c":    true,
		"ssh://git@example.org/a.git":       true,
		"ssh://example.org:22/~me/a.git":    true,
		"git@example.org:a/b.git":           true,
		"example.org:a.git":                 true,
		"/srv/git/a.git":                    true,
		"file:///srv/git/a.git":             true,
		"":                                  false,
		"a.git":                             false,
		"./a.git":                           false,
		"../a.git":                          false,
		"-oProxyCommand=x":                  false,
		"--upload-pack=x":                   false,
		"ext::sh -c id":                     false,
		"ext::id":                           false,
		"fd::17":                            false,
		"https::https://example.org/":       false,
		"http://example.org/a.git":          false,
		"git://example.org/a.git":           false,
		"ftp://example.org/a.git":           false,
		"https:///a.git":                    false,
		"https://user:pw@example.org/a.git": false,
		"https://token@example.org/a.git":   false,
		"ssh://git:pw@example.org/a.git":    false,
		"ssh://-oProxyCommand=x/a.git":      false,
		"ssh://-o@example.org/a.git":        false,
		"git@-oProxyCommand=x:a.git":        false,
		"-l@example.org:a.git":              false,
		"example.org:-a.git":                false,
		"file://example.org/a.git":          false,
		"/a b.git":                          false,
		"/a\nb.git":                         false,
		"https://example.org/#a":            false,
		"https://example.org/" + fmt.Sprintf("%01000d", 0): false,
	} {
		_, err := git.Kind{}.Open(blueprint(url, "/r"))
		e, _ := errors.AsType[*model.Error](err)
		if ok && err != nil || !ok && (e == nil || e.Field != "config.url") {
			t.Errorf("Open with %q = %v, want ok = %v", url, err, ok)
		}
		if err != nil && strings.Contains(err.Error(), "pw") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
}

func TestTheOperatorCanLimitProtocolsAndRoots(t *testing.T) {
	t.Parallel()
	kind := git.Kind{Root: "/srv/copies", Protocols: []string{"https", "http"}}
	for _, tc := range []struct{ config, field string }{
		{`{"url": "http://example.org/a.git"}`, ""},
		{`{"url": "http://example.org/a.git", "root": "/srv/copies"}`, ""},
		{`{"url": "http://example.org/a.git", "root": "/srv/copies/lab"}`, ""},
		{`{"url": "http://example.org/a.git", "root": "/srv/copies/../other"}`, "config.root"},
		{`{"url": "http://example.org/a.git", "root": "/srv/copies2"}`, "config.root"},
		{`{"url": "http://example.org/a.git", "root": "/"}`, "config.root"},
		{`{"url": "/srv/git/a.git"}`, "config.url"},
		{`{"url": "http://example.org/a.git", "attributes": {"lang": null}}`, "config.attributes.lang"},
		{`{"url": "git@example.org:a.git"}`, "config.url"},
	} {
		bp := blueprint("", "")
		bp.Config = []byte(tc.config)
		_, err := kind.Open(bp)
		e, _ := errors.AsType[*model.Error](err)
		if tc.field == "" && err != nil || tc.field != "" && (e == nil || e.Field != tc.field) {
			t.Errorf("Open(%s) = %v, want invalid %q", tc.config, err, tc.field)
		}
	}
}

func TestTargets(t *testing.T) {
	t.Parallel()
	bp, err := git.Kind{}.Open(blueprint("/u", "/r"))
	if err != nil {
		t.Fatal(err)
	}
	forty := strings.Repeat("a", 40)
	for _, tc := range []struct {
		name, value string
		ok          bool
	}{
		{"branch", "main", true}, {"branch", "feature/a.b_c-d", true}, {"branch", "größe", true}, {"branch", "a@b", true},
		{"branch", "", false}, {"branch", "-f", false}, {"branch", "--force", false}, {"branch", "a..b", false}, {"branch", "a/-b", false},
		{"branch", "../../config", false}, {"branch", "a/../b", false}, {"branch", ".hidden", false}, {"branch", "a.lock", false}, {"branch", "a/", false},
		{"branch", "/a", false}, {"branch", "a//b", false}, {"branch", "a.", false}, {"branch", "a b", false}, {"branch", "a:b", false}, {"branch", "a~1", false},
		{"branch", "a^", false}, {"branch", "a?", false}, {"branch", "*", false}, {"branch", "a[b", false}, {"branch", `a\b`, false}, {"branch", "a@{1}", false},
		{"branch", "@", false}, {"branch", "HEAD", false}, {"branch", "a\x7f", false},
		{"commit", forty, true}, {"commit", forty[:39], false}, {"commit", strings.ToUpper(forty), false}, {"commit", "HEAD", false}, {"commit", "-" + forty[1:], false},
		{"ref", "refs/tags/v1", true}, {"ref", "refs/pull/1/head", true}, {"ref", "v1", false}, {"ref", "refs/heads/a:refs/heads/b", false}, {"ref", "+refs/heads/a", false},
		{"ref", "refs/heads/*", false}, {"ref", "-refs/heads/a", false}, {"ref", "refs/../config", false}, {"ref", "refs/", false}, {"ref", "^refs/heads/a", false},
	} {
		ok, reason := bp.CanServe(model.Request{Attributes: map[string]string{tc.name: tc.value}})
		if ok != tc.ok || ok == (reason != "") {
			t.Errorf("CanServe(%s = %q) = %v, %q, want %v", tc.name, tc.value, ok, reason, tc.ok)
		}
	}
}

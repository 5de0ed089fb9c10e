package git

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"drydock/blueprints"
	"drydock/blueprints/command"
	"drydock/model"
)

const gitDir = ".git"

// tries is how often a fetch is tried; in between it pauses, first so long, then twice as long.
const (
	tries = 3
	pause = 250 * time.Millisecond
)

// errMaybeDamaged marks the failure of a step that fails when the copy's own data are damaged.
var errMaybeDamaged = errors.New("git failed")

// copied is one working copy, open for work by one caller at a time.
type copied struct {
	*copies
	name   string
	path   string
	parent *os.Root // the folder that holds the copies; no path leads out of it
	lock   *os.File
}

// open opens the copy of a resource, which need not exist yet. While an earlier run is still at work on it, it yields: git
// is handed the lock, so that the lock lives as long as git does, even if its worker was killed.
func (w *copies) open(ctx context.Context, res *model.Resource) (*copied, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	folder, err := w.folder(res)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(folder, 0o755); err != nil { //nolint:gosec // holders must get there
		return nil, fmt.Errorf("make the folder for copies: %w", err)
	}
	parent, err := os.OpenRoot(folder)
	if err != nil {
		return nil, fmt.Errorf("open the folder for copies: %w", err)
	}
	// It stays when the copy goes: removing a lock file that somebody else may be opening is a race.
	lock, err := parent.OpenFile("."+res.Name+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err == nil {
		err = tryLock(lock)
	}
	if err != nil {
		_ = parent.Close()
		if lock != nil {
			_ = lock.Close()
		}
		if errors.Is(err, errLocked) {
			return nil, blueprints.Yield(2*time.Second, "an earlier run is still at work on the copy")
		}
		return nil, fmt.Errorf("lock the copy: %w", err)
	}
	return &copied{copies: w, name: res.Name, path: filepath.Join(folder, res.Name), parent: parent, lock: lock}, nil
}

// close gives the copy back.
func (c *copied) close() {
	unlock(c.lock)
	_ = c.lock.Close()
	_ = c.parent.Close()
}

// create lays out an empty repository, or what may be kept of the one that is there.
func (c *copied) create() error {
	// A symbolic link, or a file, is not ours and goes.
	if info, err := c.parent.Lstat(c.name); err == nil && !info.IsDir() {
		if err := c.parent.Remove(c.name); err != nil {
			return err
		}
	}
	if err := c.parent.MkdirAll(c.name, 0o755); err != nil {
		return err
	}
	if err := c.parent.Chmod(c.name, 0o755); err != nil {
		return err
	}
	if err := c.keepOnly("", map[string]fs.FileMode{gitDir: fs.ModeDir}); err != nil {
		return err
	}
	if err := c.parent.MkdirAll(path.Join(c.name, gitDir), 0o755); err != nil {
		return err
	}
	err := c.keepOnly(gitDir, map[string]fs.FileMode{"objects": fs.ModeDir, "refs": fs.ModeDir, "packed-refs": 0})
	if err != nil {
		return err
	}
	for _, dir := range []string{"objects", "refs"} {
		if err := c.parent.MkdirAll(path.Join(c.name, gitDir, dir), 0o755); err != nil {
			return err
		}
	}
	if err := c.remove(gitDir, "objects", "info"); err != nil { // alternates: other folders to take objects from
		return err
	}
	if err := c.keepFetchedRefs(); err != nil {
		return err
	}
	files := map[string]string{"HEAD": "ref: refs/heads/unborn\n", "config": c.gitConfig()}
	for name, text := range files {
		if err := c.parent.WriteFile(path.Join(c.name, gitDir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// gitConfig is all that a copy's own configuration says.
func (w *copies) gitConfig() string {
	return "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n\tlogallrefupdates = true\n" +
		"[remote \"origin\"]\n\turl = " + quoteConfig(w.url) + "\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n"
}

// quoteConfig writes a value of git's config so that it stays one value.
func quoteConfig(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// keepOnly removes everything in a folder of the copy but what is listed and of the listed type.
func (c *copied) keepOnly(dir string, keep map[string]fs.FileMode) error {
	entries, err := fs.ReadDir(c.parent.FS(), path.Join(c.name, dir))
	if errors.Is(err, fs.ErrPermission) {
		if err = c.parent.Chmod(path.Join(c.name, dir), 0o755); err == nil {
			entries, err = fs.ReadDir(c.parent.FS(), path.Join(c.name, dir))
		}
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if typ, ok := keep[e.Name()]; ok && e.Type() == typ {
			continue
		}
		if err := c.remove(dir, e.Name()); err != nil {
			return err
		}
	}
	return nil
}

// remove removes something in the copy.
func (c *copied) remove(parts ...string) error {
	return removeAll(c.parent, path.Join(append([]string{c.name}, parts...)...))
}

// keepFetchedRefs removes all refs but those that a fetch sets right: what the last holder made, branches, stashes and
// replacements, goes, and what was fetched stays, since it tells the other side what need not be sent again.
func (c *copied) keepFetchedRefs() error {
	if err := c.keepOnly(gitDir+"/refs", map[string]fs.FileMode{"remotes": fs.ModeDir, "tags": fs.ModeDir}); err != nil {
		return err
	}
	if err := c.parent.MkdirAll(path.Join(c.name, gitDir, "refs/remotes"), 0o755); err != nil {
		return err
	}
	if err := c.keepOnly(gitDir+"/refs/remotes", map[string]fs.FileMode{"origin": fs.ModeDir}); err != nil {
		return err
	}
	// Lock files are left behind by a git that was killed; the lock on the copy says that none is at work.
	var stray []string
	err := fs.WalkDir(c.parent.FS(), path.Join(c.name, gitDir, "refs"), func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && (!d.Type().IsRegular() || strings.HasSuffix(p, ".lock")) {
			stray = append(stray, p)
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, p := range stray {
		if err := c.parent.Remove(p); err != nil {
			return err
		}
	}
	return c.keepFetchedPackedRefs()
}

// keepFetchedPackedRefs does the same for the refs that git has packed into one file: a line each, "<object> <name>",
// perhaps followed by a line "^<object>" that belongs to it.
func (c *copied) keepFetchedPackedRefs() error {
	name := path.Join(c.name, gitDir, "packed-refs")
	packed, err := c.parent.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var kept strings.Builder
	keep := true
	for line := range strings.Lines(string(packed)) {
		if _, ref, ok := strings.Cut(line, " "); ok && line[0] != '#' {
			keep = strings.HasPrefix(ref, "refs/remotes/origin/") || strings.HasPrefix(ref, "refs/tags/")
		}
		if keep {
			kept.WriteString(line)
		}
	}
	if kept.Len() == len(packed) {
		return nil
	}
	// Not written in place: the last holder may have made it a second name of another file.
	if err := c.parent.Remove(name); err != nil {
		return err
	}
	return c.parent.WriteFile(name, []byte(kept.String()), 0o644)
}

// removeAll removes a file or folder, also one with folders that their owner may not write to, such as caches that
// protect themselves.
func removeAll(root *os.Root, name string) error {
	err := root.RemoveAll(name)
	if err == nil || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	walkErr := fs.WalkDir(root.FS(), name, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return root.Chmod(p, 0o700) // comes before the folder is read
	})
	if walkErr != nil {
		return errors.Join(err, walkErr)
	}
	return root.RemoveAll(name)
}

// update fetches and checks out.
func (c *copied) update(ctx context.Context, want target) error {
	if err := c.fetch(ctx, true, "+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"); err != nil {
		return err
	}
	args, err := c.resolve(ctx, want)
	if err != nil {
		return err
	}
	if _, err := c.git(ctx, append([]string{"checkout", "--quiet", "--force"}, args...)...); err != nil {
		return fmt.Errorf("check out: %w: %w", errMaybeDamaged, err)
	}
	return nil
}

// fetch brings refs of the repository into the copy; prune deletes those that are gone there.
func (c *copied) fetch(ctx context.Context, prune bool, refspecs ...string) error {
	args := []string{"fetch", "--quiet", "--force", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules"}
	if prune {
		args = append(args, "--prune")
	}
	args = append(args, "origin")
	var err error
	for try := range tries {
		if try > 0 {
			select {
			case <-ctx.Done():
			case <-time.After(pause << (try - 1)):
			}
		}
		if _, err = c.git(ctx, append(args, refspecs...)...); err == nil {
			return nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return fmt.Errorf("fetch: %w: %w", errMaybeDamaged, err)
}

// resolve returns the arguments with which git checks out the target.
func (c *copied) resolve(ctx context.Context, want target) ([]string, error) {
	if want == (target{}) {
		branch, err := c.defaultBranch(ctx)
		if err != nil {
			return nil, err
		}
		want.branch = branch
	}
	switch {
	case want.commit != "":
		if _, err := c.git(ctx, "cat-file", "-e", want.commit+"^{commit}"); err != nil {
			// Not on any branch or tag; many servers give it all the same when asked for it by name.
			if err := c.fetchOne(ctx, want.commit); err != nil {
				return nil, fmt.Errorf("there is no commit %s in the repository: %w", want.commit, err)
			}
		}
		return []string{"--detach", want.commit}, nil
	case want.ref != "":
		if err := c.fetchOne(ctx, want.ref); err != nil {
			return nil, fmt.Errorf("there is no ref %s in the repository: %w", want.ref, err)
		}
		return []string{"--detach", fetchedRef}, nil
	}
	remote := "refs/remotes/origin/" + want.branch
	if _, err := c.git(ctx, "rev-parse", "--quiet", "--verify", remote+"^{commit}"); err != nil {
		return nil, fmt.Errorf("there is no branch %s in the repository: %w", want.branch, err)
	}
	return []string{"--track", "-B", want.branch, remote}, nil
}

// fetchedRef holds what fetchOne fetched.
const fetchedRef = "refs/drydock/target"

// fetchOne fetches one commit or ref. It is tried once: that it is not there is the likely reason to fail.
func (c *copied) fetchOne(ctx context.Context, what string) error {
	_, err := c.git(ctx, "fetch", "--quiet", "--force", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules",
		"origin", "+"+what+":"+fetchedRef)
	return err
}

// defaultBranch asks the repository which branch its HEAD is.
func (c *copied) defaultBranch(ctx context.Context) (string, error) {
	out, err := c.git(ctx, "ls-remote", "--quiet", "--symref", "origin", "HEAD")
	if err != nil {
		return "", fmt.Errorf("find the default branch: %w", err)
	}
	for line := range strings.Lines(out) {
		ref, ok := strings.CutPrefix(line, "ref: refs/heads/")
		if !ok {
			continue
		}
		branch, _, _ := strings.Cut(ref, "\t")
		if validBranch(branch) {
			return branch, nil
		}
	}
	return "", errors.New("the repository has no default branch; the blueprint's branch field can name one")
}

// reachable reports whether the repository itself answers, without the copy having a say in it.
func (c *copied) reachable(ctx context.Context) bool {
	_, err := c.run(ctx, []string{"git", "--git-dir=" + os.DevNull, "ls-remote", "--quiet", "--", c.url, "HEAD"})
	return err == nil
}

// git runs git on the copy. It names the repository rather than have git look for one, since git would look in the folders
// above as well.
func (c *copied) git(ctx context.Context, args ...string) (string, error) {
	argv := []string{
		"git", "--git-dir=" + filepath.Join(c.path, gitDir), "--work-tree=" + c.path,
		"-c", "core.hooksPath=" + os.DevNull, "-c", "core.fsmonitor=false", "-c", "submodule.recurse=false",
		// Housekeeping happens now or not at all: a process left behind would work on a copy that is leased.
		"-c", "gc.autoDetach=false", "-c", "maintenance.autoDetach=false",
		"-c", "advice.detachedHead=false",
	}
	return c.run(ctx, append(argv, args...))
}

func (c *copied) run(ctx context.Context, argv []string) (string, error) {
	res, err := command.Run(ctx, command.Command{Argv: argv, Dir: c.path, Env: c.environment(), Files: []*os.File{c.lock}})
	if err == nil && res.Truncated {
		err = errors.New("git wrote too much")
	}
	return string(res.Stdout), err
}

// environment lets git reach the repository as the worker's user would, but never ask anybody anything.
func (c *copied) environment() []string {
	vars := map[string]string{
		"GIT_TERMINAL_PROMPT":    "0",
		"GIT_ALLOW_PROTOCOL":     strings.Join(c.protocols, ":"),
		"GIT_NO_REPLACE_OBJECTS": "1",
		"SSH_ASKPASS_REQUIRE":    "never",
		"LC_ALL":                 "C",
	}
	if _, set := os.LookupEnv("GIT_SSH_COMMAND"); !set {
		vars["GIT_SSH_COMMAND"] = "ssh -o BatchMode=yes"
	}
	return command.Environment([]string{
		"SSH_AUTH_SOCK", "GIT_SSH_COMMAND", "GIT_SSL_CAINFO",
		"https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY",
	}, vars)
}

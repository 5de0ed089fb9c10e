package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"drydock/blueprints"
	"drydock/tracing"
)

// Limits on what is kept of a run.
const (
	// MaxStdout bounds Result.Stdout. Results are small; whatever is longer is a program that prints something else.
	MaxStdout = 64 << 10
	// maxStderr bounds Result.Stderr: the end, where programs say why they stop.
	maxStderr = 2 << 10
)

const (
	// grace is the time between asking a group to stop and killing it. It lets git remove its lock files, and is short
	// because a hook whose object lock is lost must be gone before the next worker begins.
	grace = 500 * time.Millisecond
	// orphanDelay is how long an exited program's children may keep its output open before it is closed under them.
	orphanDelay = time.Second
)

// Command is one run of a program.
type Command struct {
	// Argv is the program and its arguments. A program without a slash is looked up in the PATH of Env.
	Argv []string
	// Dir is the working directory; empty = the root directory, so that nothing depends on where the worker was started.
	Dir string
	// Env is the whole environment; see [Environment].
	Env []string
	// Stdin is what the program reads; nil = nothing.
	Stdin []byte
	// HoldStdin keeps the program's input open after Stdin until the program has ended. The far end of a connection then sees by
	// its end that this side is gone.
	HoldStdin bool
	// Files are open in the program from descriptor 3 on, for as long as it or a child of it lives.
	Files []*os.File
}

// Result is what a program left behind.
type Result struct {
	Stdout []byte
	// Truncated says that the program wrote more than [MaxStdout].
	Truncated bool
	// Stderr is the end of the error output, fit for a log.
	Stderr string
}

// ExitError says that a program ran and failed.
type ExitError struct {
	Program string
	// Code is the exit code; -1 when a signal ended it.
	Code int
	// State says in words how it ended, for example "exit status 3".
	State string
	// Stderr is the end of the error output, fit for a log.
	Stderr string
}

// Error says how the program ended and what it said last.
func (e *ExitError) Error() string {
	msg := e.Program + ": " + e.State
	if e.Stderr != "" {
		msg += ": " + e.Stderr
	}
	return msg
}

// AsExit returns the ExitError in err's chain, if there is one.
func AsExit(err error) (*ExitError, bool) { return errors.AsType[*ExitError](err) }

// Run runs the command to its end. The result is filled in on errors too, as far as the program came. The error is an
// [ExitError] when the program failed, and wraps the context's cause when that ended first.
func Run(ctx context.Context, c Command) (Result, error) {
	if len(c.Argv) == 0 {
		return Result{}, errors.New("no command given")
	}
	name := filepath.Base(c.Argv[0])
	if err := ctx.Err(); err != nil {
		return Result{}, fmt.Errorf("%s: not begun: %w", name, context.Cause(ctx))
	}
	program, err := lookPath(c.Argv[0], c.Env)
	if err != nil {
		return Result{}, err
	}
	stdout, stderr := &head{limit: MaxStdout}, &tail{limit: maxStderr}
	cmd := exec.CommandContext(ctx, program, c.Argv[1:]...)
	cmd.Dir = c.Dir
	if cmd.Dir == "" {
		cmd.Dir = string(filepath.Separator)
	}
	cmd.Env = slices.Clone(c.Env)
	if cmd.Env == nil {
		cmd.Env = []string{} // nil would be the worker's own environment
	}
	if trace := tracing.Carry(ctx); trace != "" {
		cmd.Env = append(cmd.Env, "TRACEPARENT="+trace)
	}
	feed := func() {}
	if c.HoldStdin {
		input, err := cmd.StdinPipe() // closed by Wait
		if err != nil {
			return Result{}, fmt.Errorf("%s: %w", name, err)
		}
		feed = func() { _, _ = input.Write(c.Stdin) }
	} else {
		cmd.Stdin = bytes.NewReader(c.Stdin)
	}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.ExtraFiles = c.Files
	cmd.WaitDelay = orphanDelay
	newGroup(cmd)
	ended := make(chan struct{})
	cmd.Cancel = func() error {
		askGroup(cmd.Process)
		time.AfterFunc(grace, func() {
			select {
			case <-ended:
			default:
				killGroup(cmd.Process)
			}
		})
		return nil
	}
	if err = cmd.Start(); err == nil {
		var feeding sync.WaitGroup
		feeding.Go(feed)
		err = cmd.Wait()
		feeding.Wait()
	}
	close(ended)
	if cmd.Process != nil && ctx.Err() != nil {
		// The leader is gone, but children may have ignored the request. Their group cannot have been given away while one
		// of them is in it.
		killGroup(cmd.Process)
	}
	res := Result{Stdout: stdout.kept, Truncated: stdout.truncated, Stderr: stderr.String()}
	return res, runError(ctx, name, res, err)
}

func runError(ctx context.Context, name string, res Result, err error) error {
	if err == nil || errors.Is(err, exec.ErrWaitDelay) {
		return nil // the program itself succeeded; a child of it kept the output open
	}
	if ctx.Err() != nil {
		cause := context.Cause(ctx)
		what := "was stopped"
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			what = "did not finish in time and was stopped"
		}
		if res.Stderr != "" {
			return fmt.Errorf("%s %s (it last said: %s): %w", name, what, res.Stderr, cause)
		}
		return fmt.Errorf("%s %s: %w", name, what, cause)
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return &ExitError{Program: name, Code: exit.ExitCode(), State: exit.String(), Stderr: res.Stderr}
	}
	return fmt.Errorf("%s: %w", name, err)
}

// Environment returns the environment of a run: PATH and HOME of the worker, the further variables of the worker that
// pass names, if they are set, and those of the further maps, of which later ones win.
func Environment(pass []string, more ...map[string]string) []string {
	vars := map[string]string{"PATH": "/usr/local/bin:/usr/bin:/bin"}
	for _, name := range append([]string{"PATH", "HOME"}, pass...) {
		if value, ok := os.LookupEnv(name); ok {
			vars[name] = value
		}
	}
	for _, m := range more {
		maps.Copy(vars, m)
	}
	env := make([]string, 0, len(vars))
	for name, value := range vars {
		// The kernel ends a string at NUL; a value with one cannot be passed on.
		env = append(env, name+"="+strings.ReplaceAll(value, "\x00", ""))
	}
	slices.Sort(env)
	return env
}

// lookPath finds a program as a shell would with this environment; package os/exec would look in the worker's own PATH.
func lookPath(program string, env []string) (string, error) {
	if strings.ContainsRune(program, filepath.Separator) {
		return program, nil
	}
	for _, v := range env {
		path, ok := strings.CutPrefix(v, "PATH=")
		if !ok {
			continue
		}
		for _, dir := range filepath.SplitList(path) {
			if !filepath.IsAbs(dir) {
				continue // what it means depends on where the worker was started
			}
			found, err := exec.LookPath(filepath.Join(dir, program))
			if err == nil {
				return found, nil
			}
		}
	}
	return "", fmt.Errorf("%s: no such program in PATH", program)
}

// head keeps the first bytes written and swallows the rest, so that a program that writes too much is not stopped by a
// full pipe half-way through its work.
type head struct {
	limit     int
	kept      []byte
	truncated bool
}

func (h *head) Write(p []byte) (int, error) {
	room := h.limit - len(h.kept)
	if len(p) > room {
		h.truncated = true
		h.kept = append(h.kept, p[:room]...)
	} else {
		h.kept = append(h.kept, p...)
	}
	return len(p), nil
}

// tail keeps the last bytes written.
type tail struct {
	limit int
	kept  []byte
	cut   bool
}

func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p...)
	if over := len(t.kept) - t.limit; over > 0 {
		t.kept = append(t.kept[:0], t.kept[over:]...)
		t.cut = true
	}
	return len(p), nil
}

func (t *tail) String() string {
	s := blueprints.Printable(string(t.kept))
	if t.cut {
		s = "…" + s
	}
	return s
}

//go:build unix

package command_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"drydock/blueprints/command"
	"drydock/model"
)

func shell(script string, args ...string) command.Command {
	return command.Command{Argv: append([]string{"/bin/sh", "-c", script, "sh"}, args...), Env: command.Environment(nil)}
}

func TestRunPassesArgumentsWithoutAShell(t *testing.T) {
	t.Parallel()
	c := command.Command{Argv: []string{"printf", "%s|", "$(id)", "a b", ";"}, Env: command.Environment(nil)}
	res, err := command.Run(t.Context(), c)
	if got, want := string(res.Stdout), "$(id)|a b|;|"; err != nil || got != want {
		t.Errorf("Run = %q, %v, want %q", got, err, want)
	}
}

func TestRunGivesStdinAndOnlyTheEnvironmentThatIsListed(t *testing.T) {
	t.Setenv("DRYDOCK_TEST_SECRET", "of the worker")
	c := command.Command{Argv: []string{"/bin/sh", "-c", "cat; env"}, Env: []string{"A=1"}, Stdin: []byte("in\n")}
	res, err := command.Run(t.Context(), c)
	if out := string(res.Stdout); err != nil || !strings.HasPrefix(out, "in\n") || !strings.Contains(out, "A=1") ||
		strings.Contains(out, "DRYDOCK_TEST_SECRET") || strings.Contains(out, "HOME=") {
		t.Errorf("Run = %q, %v", out, err)
	}
	c.Env = nil
	if res, err := command.Run(t.Context(), c); err != nil || strings.Contains(string(res.Stdout), "DRYDOCK_TEST_SECRET") {
		t.Errorf("with no environment: %q, %v", res.Stdout, err)
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("PATH", "/bin")
	t.Setenv("HOME", "/nowhere")
	t.Setenv("PASSED", "yes")
	got := strings.Join(command.Environment([]string{"PASSED", "UNSET_ANYWHERE"},
		map[string]string{"A": "1", "B": "x\x00y"}, map[string]string{"A": "2"}), " ")
	if want := "A=2 B=xy HOME=/nowhere PASSED=yes PATH=/bin"; got != want {
		t.Errorf("Environment = %q, want %q", got, want)
	}
}

func TestRunLooksUpProgramsInTheGivenPath(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "ours"), []byte("#!/bin/sh\necho found\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	res, err := command.Run(t.Context(), command.Command{Argv: []string{"ours"}, Env: []string{"PATH=relative:" + dir}})
	if err != nil || string(res.Stdout) != "found\n" {
		t.Errorf("Run = %q, %v", res.Stdout, err)
	}
	if _, err := command.Run(t.Context(), command.Command{Argv: []string{"ours"}, Env: []string{"PATH=/bin"}}); err == nil {
		t.Error("a program outside PATH was found")
	}
	if _, err := command.Run(t.Context(), command.Command{Argv: []string{"/no/such/program"}}); err == nil {
		t.Error("a missing program ran")
	}
	if _, err := command.Run(t.Context(), command.Command{}); err == nil {
		t.Error("an empty command ran")
	}
}

func TestRunReportsTheExitCodeAndTheEndOfStderr(t *testing.T) {
	t.Parallel()
	_, err := command.Run(t.Context(), shell(`printf 'bad \033[31mthing\000\n' >&2; exit 3`))
	exit, ok := command.AsExit(err)
	if !ok || exit.Code != 3 || exit.Stderr != "bad [31mthing" || err.Error() != "sh: exit status 3: bad [31mthing" {
		t.Errorf("Run = %v", err)
	}
	_, err = command.Run(t.Context(), shell(`kill -9 $$`))
	if exit, ok := command.AsExit(err); !ok || exit.Code != -1 || !strings.Contains(err.Error(), "killed") {
		t.Errorf("Run of a killed program = %v", err)
	}
}

func TestRunBoundsOutput(t *testing.T) {
	t.Parallel()
	res, err := command.Run(t.Context(), shell(`
		yes out | head -c 300000
		yes err | head -c 300000 >&2
		echo the end >&2`))
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Stdout) != command.MaxStdout || !res.Truncated {
		t.Errorf("kept %d bytes of stdout, truncated = %v", len(res.Stdout), res.Truncated)
	}
	if len(res.Stderr) > 4096 || !strings.HasSuffix(res.Stderr, "the end") || !strings.HasPrefix(res.Stderr, "…") {
		t.Errorf("kept of stderr: %q", res.Stderr)
	}
}

func TestAnEndedContextKillsGrandchildrenThatIgnoreTheRequest(t *testing.T) {
	t.Parallel()
	alive := filepath.Join(t.TempDir(), "alive")
	if err := syscall.Mkfifo(alive, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := command.Run(ctx, shell(`
			( trap '' TERM; exec 3>"$1"; while :; do sleep 1000; done ) &
			trap '' TERM; exec 3>"$1"; while :; do sleep 1000; done`, alive))
		done <- err
	}()
	// Opening returns when both ends are there, so the processes run by then; reading ends when the last of them is gone.
	f, err := os.Open(alive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Run = %v, want the context's error", err)
	}
	if _, err := io.Copy(io.Discard, f); err != nil {
		t.Fatal(err)
	}
}

func TestAProgramMayTidyUpWhenAskedToStop(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cut := errors.New("cut off")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 200*time.Millisecond, cut)
	defer cancel()
	_, err := command.Run(ctx, shell(`trap 'echo bye > "$1/bye"; exit 1' TERM; echo working >&2; while :; do sleep 0.05; done`, dir))
	if !errors.Is(err, cut) || !strings.Contains(err.Error(), "did not finish in time") ||
		!strings.Contains(err.Error(), "working") {
		t.Errorf("Run = %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "bye")); err != nil {
		t.Error(err)
	}
}

func TestAnOrphanWithOpenOutputCannotMakeARunHang(t *testing.T) {
	t.Parallel()
	res, err := command.Run(t.Context(), shell(`setsid sleep 1000 & echo $!`))
	if err != nil {
		t.Fatalf("Run = %v; the program itself succeeded", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(res.Stdout)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Errorf("what a hook leaves behind on purpose should live on: %v", err)
	}
}

func TestAnEndedContextStartsNothing(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("lock lost")
	cancel(cause)
	marker := filepath.Join(t.TempDir(), "ran")
	if _, err := command.Run(ctx, shell(`touch "$1"`, marker)); !errors.Is(err, cause) {
		t.Errorf("Run = %v, want the cause", err)
	}
	if _, err := os.Stat(marker); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it ran: %v", err)
	}
}

func TestFilesStayOpenInTheProgram(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "f")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c := shell(`echo hello >&3`)
	c.Files = []*os.File{f}
	if _, err := command.Run(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(name); err != nil || string(b) != "hello\n" {
		t.Errorf("file holds %q, %v", b, err)
	}
}

func TestPolicy(t *testing.T) {
	t.Parallel()
	some := command.Policy{Folders: []string{"/etc/drydock/hooks", "/opt/hooks/"}}
	for name, tc := range map[string]struct {
		policy command.Policy
		argv   []string
		ok     bool
	}{
		"anything":     {command.Policy{}, []string{"ssh", "h1"}, true},
		"off":          {command.Policy{Off: true}, []string{"true"}, false},
		"empty":        {command.Policy{}, nil, false},
		"no program":   {command.Policy{}, []string{""}, false},
		"NUL":          {command.Policy{}, []string{"a\x00b"}, false},
		"too long":     {command.Policy{}, []string{strings.Repeat("a", 5000)}, false},
		"too many":     {command.Policy{}, make([]string, 100), false},
		"inside":       {some, []string{"/etc/drydock/hooks/a"}, true},
		"inside, too":  {some, []string{"/opt/hooks/b/c"}, true},
		"the folder":   {some, []string{"/opt/hooks"}, false},
		"outside":      {some, []string{"/bin/sh"}, false},
		"likeness":     {some, []string{"/opt/hooks2/a"}, false},
		"escape":       {some, []string{"/opt/hooks/../../bin/sh"}, false},
		"by name only": {some, []string{"sh"}, false},
		"relative":     {some, []string{"opt/hooks/a"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if name == "too many" {
				tc.argv[0] = "a"
			}
			err := tc.policy.Check("config.command", tc.argv)
			if (err == nil) != tc.ok {
				t.Errorf("Check(%.80q) = %v, want ok = %v", tc.argv, err, tc.ok)
			}
			if e, ok := errors.AsType[*model.Error](err); err != nil && (!ok || e.Field != "config.command") {
				t.Errorf("Check = %v, want an invalid config.command", err)
			}
		})
	}
}

package e2e_test

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"
)

// terminal is a person at a terminal who runs one command.
type terminal struct {
	t    *testing.T
	tty  *os.File
	out  *output
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

func startTerminal(t *testing.T, c *client, env []string, args ...string) *terminal {
	t.Helper()
	x := &terminal{t: t, out: newOutput(), cmd: exec.Command(binary(t), args...), done: make(chan struct{})}
	x.cmd.Env = slices.Concat(environ(), []string{"GORACE=atexit_sleep_ms=0", "TERM=xterm"}, c.settings(), env)
	var err error
	if x.tty, err = pty.StartWithSize(x.cmd, &pty.Winsize{Rows: 25, Cols: 80}); err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(x.out, x.tty) // ends with an error when nobody has the terminal open any more
	}()
	go func() {
		defer close(x.done)
		<-read
		_ = x.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = x.cmd.Process.Kill()
		_ = x.tty.Close()
		<-x.done
		if t.Failed() {
			t.Logf("the terminal shows:\n%q", x.out.String())
		}
	})
	return x
}

// sees waits until the terminal shows something.
func (x *terminal) sees(pattern string) {
	x.t.Helper()
	re, over := regexp.MustCompile(pattern), over()
	for {
		text, more := x.out.look()
		if re.MatchString(text) {
			return
		}
		select {
		case <-more:
		case <-x.done:
			if !re.MatchString(x.out.String()) {
				x.t.Fatalf("it ended and never showed %q", pattern)
			}
		case <-over:
			x.t.Fatalf("it does not show %q", pattern)
		}
	}
}

// types sends what a key sends.
func (x *terminal) types(keys string) {
	x.t.Helper()
	if _, err := x.tty.WriteString(keys); err != nil {
		x.t.Fatal(err)
	}
}

const ctrlC = "\x03"

// code waits until the command has ended.
func (x *terminal) code() int {
	x.t.Helper()
	select {
	case <-x.done:
	case <-over():
		x.t.Fatal("it does not end")
	}
	return x.cmd.ProcessState.ExitCode()
}

// TestCtrlCWhileWaiting: a lease that is waited for is given back. Scenario 31.
func TestCtrlCWhileWaiting(t *testing.T) {
	t.Parallel()
	c, _, _ := system(t, 1)
	held := c.ask("")
	c.await(held.ID, "active")
	for _, args := range [][]string{{"run", "--type", "host", "--", "true"}, {"lease", "create", "--type", "host", "--wait"}} {
		x := startTerminal(t, c, nil, args...)
		// One line that changes: it is cleared and written over, and tells the time.
		x.sees(`\r\x1b\[Kwaiting for a host, 1st in the queue.*\((0|1)s\)`)
		x.sees(`\r\x1b\[Kwaiting for a host, 1st in the queue.*\((2|3)s\)`)
		if text := x.out.String(); strings.Contains(text, "\n") {
			t.Errorf("it leaves lines behind while it waits: %q", text)
		}
		x.types(ctrlC)
		if code := x.code(); code != 130 {
			t.Errorf("%q ended with exit code %d, want 130", args, code)
		}
		l := must[page[lease]](c, http.MethodGet, "/v1/leases?limit=1", "", http.StatusOK).Items[0]
		if l.ID == held.ID {
			t.Fatalf("%q queued no lease", args)
		}
		c.await(l.ID, "destroyed")
		if history := c.history(l.ID); len(history) != 1 || history[0].Command != "release" || history[0].Origin.Via != "cli" {
			t.Errorf("%q: the commands are %+v, want one release via cli", args, history)
		}
	}
}

// TestCtrlCWhileRunning: the command gets it once, from the terminal, and may read from there.
func TestCtrlCWhileRunning(t *testing.T) {
	t.Parallel()
	c, _, _ := system(t, 1)
	x := startTerminal(t, c, nil, "run", "--type", "host", "--", "sh", "-c",
		`n=0; trap 'n=$((n+1)); echo caught $n' INT; trap 'echo term' TERM; read line; echo "read $line"; echo ready; while [ "$line" != bye ]; do read line; done; exit 5`)
	x.sees(`Lease \w+ is active on h1`)
	x.types("hello\n")
	x.sees(`read hello`)
	x.sees(`ready`)
	// Two SIGINTs at once are one to a shell, so it is not counted: what comes to drydock alone is not passed on, as Ctrl-C is not.
	for _, sig := range []os.Signal{syscall.SIGINT, syscall.SIGTERM} {
		if err := x.cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
	}
	x.sees(`term`)
	if strings.Contains(x.out.String(), "caught") {
		t.Error("drydock passed SIGINT on, which a command at a terminal gets from there")
	}
	x.types(ctrlC)
	x.sees(`caught 1`)
	x.types("bye\n")
	if code := x.code(); code != 5 {
		t.Errorf("exit code %d, want the command's own, 5", code)
	}
	if strings.Contains(x.out.String(), "caught 2") {
		t.Error("the command got one Ctrl-C twice")
	}
	l := must[page[lease]](c, http.MethodGet, "/v1/leases?limit=1", "", http.StatusOK).Items[0]
	c.await(l.ID, "destroyed")
}

// TestColours: only on a terminal, and never with NO_COLOR.
func TestColours(t *testing.T) {
	t.Parallel()
	c, _, _ := system(t, 1)
	c.await(c.ask("").ID, "active")
	for name, tt := range map[string]struct {
		env  []string
		args []string
		want bool
	}{
		"table":    {nil, []string{"lease", "list"}, true},
		"NO_COLOR": {[]string{"NO_COLOR=1"}, []string{"lease", "list"}, false},
		"json":     {nil, []string{"lease", "list", "-o", "json"}, false},
		"dumb":     {[]string{"TERM=dumb"}, []string{"lease", "list"}, false},
	} {
		x := startTerminal(t, c, tt.env, tt.args...)
		code := x.code()
		if got := strings.Contains(x.out.String(), "\x1b["); code != 0 || got != tt.want {
			t.Errorf("%s: exit code %d, coloured %t, want 0 and %t: %q", name, code, got, tt.want, x.out.String())
		}
	}
}

// TestTopOnATerminal: the picture is drawn again, and Ctrl-C is how one leaves it.
func TestTopOnATerminal(t *testing.T) {
	t.Parallel()
	c, _, _ := system(t, 1)
	c.await(c.ask("").ID, "active")
	x := startTerminal(t, c, []string{"NO_COLOR=1"}, "top", "--interval", "100ms")
	x.sees(`(?s)\x1b\[H\x1b\[2J.*POOL.*lab.*\x1b\[H\x1b\[2J.*QUEUE +LEASED`)
	c.ask("")
	x.sees(`host +1 +1 +\d+s`)
	x.types(ctrlC)
	if code := x.code(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

package e2e_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"drydock/embedded"
)

// process is a running drydock.
type process struct {
	t    testing.TB
	name string
	cmd  *exec.Cmd
	out  *output // stdout and stderr together, as a terminal shows them
	// url is where it serves, if it does.
	url  string
	done chan struct{} // closed when it has ended

	mu     sync.Mutex
	ending bool // the test ends it
}

// start runs drydock with these arguments. It is killed when the test ends; a process that ended before, and not by the test's doing,
// fails the test.
func start(t testing.TB, env []string, args ...string) *process {
	t.Helper()
	return startWith(t, nil, env, args...)
}

// startWith is start for a process that prepare has changed before it begins.
func startWith(t testing.TB, prepare func(*exec.Cmd), env []string, args ...string) *process {
	t.Helper()
	if *onCluster {
		checkOnCluster(t, env, args)
	}
	p := &process{
		t: t, name: strings.Join(args[:min(1, len(args))], ""), cmd: exec.Command(binary(t), args...), out: newOutput(), done: make(chan struct{}),
	}
	// A binary with the race detector otherwise sleeps for a second at its end.
	p.cmd.Env = append(append(environ(), "GORACE=atexit_sleep_ms=0"), env...)
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	p.cmd.SysProcAttr = sysProcAttr()
	p.cmd.WaitDelay = 10 * time.Second
	if prepare != nil {
		prepare(p.cmd)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		if p.exited() && !p.expected() {
			t.Errorf("%s ended by itself: %s", p, p.cmd.ProcessState)
		}
		p.kill()
		text := p.out.String()
		for _, bad := range []string{"DATA RACE", "panic", "fatal error:"} {
			if strings.Contains(text, bad) {
				t.Errorf("%s says %q", p, bad)
			}
		}
		if t.Failed() {
			t.Logf("the last words of %s:\n%s", p, tail(text, 60))
		}
	})
	return p
}

// environ is our environment without settings for Drydock, except for where the Redis server is.
func environ() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "DRYDOCK_") && !strings.HasPrefix(v, embedded.EnvServer+"=")
	})
}

func (p *process) String() string { return fmt.Sprintf("%s[%d]", p.name, p.pid()) }

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) exited() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (p *process) expected() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ending
}

func (p *process) expectEnd() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ending = true
}

// kill ends it with SIGKILL and returns when it is gone.
func (p *process) kill() {
	p.expectEnd()
	_ = p.cmd.Process.Kill()
	<-p.done
}

func (p *process) signal(sig syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Errorf("send %v to %s: %v", sig, p, err)
	}
}

// end sends a signal that asks it to end, and returns its exit code and how long it took.
func (p *process) end(sig syscall.Signal) (code int, took time.Duration) {
	p.t.Helper()
	p.expectEnd()
	begin := time.Now()
	p.signal(sig)
	return p.code(), time.Since(begin)
}

// code waits until it has ended and returns its exit code.
func (p *process) code() int {
	p.t.Helper()
	p.expectEnd()
	select {
	case <-p.done:
	case <-time.After(patience):
		p.t.Fatalf("%s does not end", p)
	}
	return p.cmd.ProcessState.ExitCode()
}

// says waits until its output matches, and returns the match and its groups.
func (p *process) says(pattern string) []string {
	p.t.Helper()
	re := regexp.MustCompile(pattern)
	over := time.After(patience)
	for {
		text, more := p.out.look()
		if m := re.FindStringSubmatch(text); m != nil {
			return m
		}
		select {
		case <-more:
		case <-p.done:
			if m := re.FindStringSubmatch(p.out.String()); m != nil {
				return m
			}
			p.t.Fatalf("%s ended and never said %q", p, pattern)
		case <-over:
			p.t.Fatalf("%s does not say %q", p, pattern)
		}
	}
}

// output collects what a process writes.
type output struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	more chan struct{} // closed when something is added
}

func newOutput() *output { return &output{more: make(chan struct{})} }

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.more)
	o.more = make(chan struct{})
	return o.buf.Write(b)
}

func (o *output) look() (text string, more <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String(), o.more
}

func (o *output) String() string {
	text, _ := o.look()
	return text
}

// tail returns the last n lines.
func tail(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// lockTTL keeps tests of faults short: what a dead worker held comes back a second after it.
const lockTTL = time.Second

// startAPI starts the API on a free port.
func startAPI(t testing.TB, redis string, args ...string) *process {
	t.Helper()
	p := start(t, nil, append([]string{
		"api", "--redis", redis, "--listen", "127.0.0.1:0", "--lock-ttl", lockTTL.String(),
	}, args...)...)
	p.url = p.says(`serving the API" url=(http://\S+)`)[1]
	return p
}

// startWorker starts a worker and returns when it runs.
func startWorker(t testing.TB, redis string, args ...string) *process {
	t.Helper()
	p := launchWorker(t, redis, args...)
	p.says("worker is running")
	return p
}

// launchWorker starts a worker. Its Redis is given in the environment, as it is in production.
func launchWorker(t testing.TB, redis string, args ...string) *process {
	t.Helper()
	return start(t, []string{"DRYDOCK_REDIS_URL=" + redis}, append([]string{"worker", "--lock-ttl", lockTTL.String()}, args...)...)
}

//go:build unix

package torture

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a place for one process at a time: when it is killed, another one takes its place.
type process struct {
	name   string
	binary string
	args   []string
	env    []string
	log    *log

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	// killed says that we ended it. starts counts.
	killed bool
	starts int
	// early are processes that ended by themselves.
	early []string
}

func (p *process) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	cmd := exec.Command(p.binary, p.args...) //nolint:noctx // it is ended by kill
	cmd.Env = append(environ(), p.env...)
	cmd.Stdout, cmd.Stderr = p.log, p.log
	cmd.SysProcAttr = sysProcAttr()
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	done := make(chan struct{})
	p.cmd, p.done, p.killed = cmd, done, false
	p.starts++
	go func() {
		_ = cmd.Wait()
		p.mu.Lock()
		if !p.killed {
			p.early = append(p.early, fmt.Sprintf("%s ended by itself: %s", p.name, cmd.ProcessState))
		}
		p.mu.Unlock()
		close(done)
	}()
	return nil
}

// kill ends it with SIGKILL and returns when it is gone.
func (p *process) kill() {
	p.mu.Lock()
	if p.cmd == nil {
		p.mu.Unlock()
		return
	}
	p.killed = true
	_ = p.cmd.Process.Kill()
	done := p.done
	p.mu.Unlock()
	<-done
}

// alive sees to it that it runs.
func (p *process) alive() error {
	p.mu.Lock()
	running := p.cmd != nil
	if running {
		select {
		case <-p.done:
			running = false
		default:
		}
	}
	p.mu.Unlock()
	if running {
		return nil
	}
	return p.start()
}

func (p *process) signal(sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("send %v to %s: %w", sig, p.name, err)
	}
	return nil
}

// environ is our environment without settings for Drydock.
func environ() []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "DRYDOCK_") })
	// A binary with the race detector otherwise sleeps for a second at its end.
	return append(env, "GORACE=atexit_sleep_ms=0")
}

// log is what processes write, kept to the last so many bytes, and what in it must never be.
type log struct {
	mu  sync.Mutex
	buf bytes.Buffer
	bad []string
	// errs are the first of the lines that tell of an error.
	errs []string
}

const logKept = 1 << 20

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range bytes.Lines(b) {
		for _, word := range []string{"DATA RACE", "panic", "fatal error:"} {
			if bytes.Contains(line, []byte(word)) && len(l.bad) < 10 {
				l.bad = append(l.bad, string(bytes.TrimSpace(line)))
			}
		}
		if bytes.Contains(line, []byte("level=ERROR")) && len(l.errs) < 10 {
			l.errs = append(l.errs, string(line))
		}
	}
	l.buf.Write(b)
	if l.buf.Len() > 2*logKept {
		l.buf.Next(l.buf.Len() - logKept)
	}
	return len(b), nil
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// errors returns the first of the lines that tell of an error.
func (l *log) errors() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.errs, "")
}

func (l *log) wrong() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.bad)
}

package bench

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// process is a child of ours.
type process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{}
	err  error
}

// start runs a program whose output goes to a file, as it would in production, with further variables in its environment.
func start(binary, log string, args []string, env ...string) (*process, error) {
	out, err := os.Create(log) //nolint:gosec // in a folder of our own
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", args[0], err)
	}
	defer func() { _ = out.Close() }()
	// stop and kill end it.
	p := &process{cmd: exec.CommandContext(context.Background(), binary, args...), log: log, done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.Env = out, out, append(os.Environ(), env...)
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", args[0], err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// pid is 0 for no process.
func (p *process) pid() int {
	if p == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// failed returns why the process has ended, and nil while it runs.
func (p *process) failed() error {
	if p == nil {
		return nil
	}
	select {
	case <-p.done:
		if p.err == nil {
			return fmt.Errorf("%s has ended", p.cmd.Args[1])
		}
		text, _ := os.ReadFile(p.log)
		lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
		return fmt.Errorf("%s has ended (%w); its last words: %s", p.cmd.Args[1], p.err, lines[len(lines)-1])
	default:
		return nil
	}
}

// kill ends the process as a power cut would.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// stopGrace is how long a process may take to end by itself.
const stopGrace = 15 * time.Second

func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(stopGrace):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

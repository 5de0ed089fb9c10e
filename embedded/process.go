package embedded

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

const (
	logSize  = 64 << 10 // kept of a server's output, bytes
	logLines = 8        // quoted in an error
)

// process is one run of the server binary.
type process struct {
	cmd  *exec.Cmd
	log  *tail
	done chan struct{} // closed once the process has ended and is reaped
	err  error         // how it ended; read it after done
}

// startProcess runs the binary. The process keeps folder, the lock on its data folder, open for as long as it lives.
func startProcess(path string, args []string, folder *os.File) (*process, error) {
	p := &process{cmd: exec.Command(path, args...), log: &tail{max: logSize}, done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.SysProcAttr = sysProcAttr()
	p.cmd.ExtraFiles = []*os.File{folder}
	// A snapshot or rewrite child of a killed server holds the output pipe open; do not wait for it.
	p.cmd.WaitDelay = time.Second

	started := make(chan error, 1)
	go func() {
		// The kernel sends the death signal when the *thread* that started the child ends. This thread serves nothing else while the
		// child lives, so no other goroutine can end it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	return p, nil
}

// exited reports whether the process has ended.
func (p *process) exited() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// kill ends the process and the children it forked, and waits until it is gone.
func (p *process) kill() {
	killGroup(p.cmd.Process)
	<-p.done
}

// stop asks the process to save and end, and kills it when it takes longer than the grace.
func (p *process) stop(grace time.Duration) {
	if err := terminate(p.cmd.Process); err != nil {
		p.kill()
		return
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
		p.kill()
	}
}

// portTaken reports whether the process ended because its port was in use.
func (p *process) portTaken() bool {
	return p.exited() && strings.Contains(p.log.String(), "already in use")
}

// failure says how the process ended, with the end of its log.
func (p *process) failure() error {
	err := p.err
	if err == nil {
		err = errors.New("exit status 0")
	}
	if lines := p.log.lastLines(logLines); lines != "" {
		return fmt.Errorf("%w; its log ends:\n%s", err, lines)
	}
	return err
}

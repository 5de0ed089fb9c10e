//go:build unix

package embedded

import (
	"os"
	"syscall"
)

// terminate asks p to save and end. SIGCONT lets a stopped process act on it.
func terminate(p *os.Process) error {
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return p.Signal(syscall.SIGCONT)
}

// killGroup kills p and the processes it forked, such as one that rewrites the append-only file. A p that has been reaped is left alone:
// its number may be another's by now.
func killGroup(p *os.Process) {
	if p.Signal(syscall.SIGKILL) == nil {
		_ = syscall.Kill(-p.Pid, syscall.SIGKILL)
	}
}

package embedded

import "syscall"

// sysProcAttr gives the child a process group of its own, out of reach of the terminal's Ctrl-C, and ties its life to ours. SIGKILL,
// because a stopped or busy server would not act on SIGTERM; what it has acknowledged is in its append-only file by then.
func sysProcAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

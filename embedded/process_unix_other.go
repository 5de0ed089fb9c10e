//go:build unix && !linux

package embedded

import "syscall"

// sysProcAttr gives the child a process group of its own, out of reach of the terminal's Ctrl-C. There is no death signal here.
func sysProcAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}

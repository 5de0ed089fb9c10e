package main

import "syscall"

// commandAttr ties the life of a command to ours: one that is killed cannot stop its command when the lease is lost.
func commandAttr(group bool) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: group, Pdeathsig: syscall.SIGTERM}
}

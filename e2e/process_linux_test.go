package e2e_test

import "syscall"

// sysProcAttr lets no process outlive the tests, not even when they panic.
func sysProcAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

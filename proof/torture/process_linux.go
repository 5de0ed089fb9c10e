package torture

import "syscall"

// sysProcAttr lets no process outlive the run.
func sysProcAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

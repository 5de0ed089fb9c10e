//go:build unix && !linux

package torture

import "syscall"

func sysProcAttr() *syscall.SysProcAttr { return nil }

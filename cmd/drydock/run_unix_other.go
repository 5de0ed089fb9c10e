//go:build unix && !linux

package main

import "syscall"

func commandAttr(group bool) *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: group} }

//go:build unix

package command

import (
	"os"
	"os/exec"
	"syscall"
)

// newGroup makes the command the leader of a process group of its own.
func newGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// askGroup asks every process of the group to stop. An error means that there is none left.
func askGroup(leader *os.Process) { _ = syscall.Kill(-leader.Pid, syscall.SIGTERM) }

// killGroup ends every process of the group. An error means that there is none left.
func killGroup(leader *os.Process) { _ = syscall.Kill(-leader.Pid, syscall.SIGKILL) }

//go:build !unix

package command

import (
	"os"
	"os/exec"
)

// Without process groups, only the program itself is ended; its children are cut off from its output.

func newGroup(*exec.Cmd) {}

func askGroup(leader *os.Process) { _ = leader.Kill() }

func killGroup(leader *os.Process) { _ = leader.Kill() }

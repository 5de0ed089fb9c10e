//go:build unix

package main

import (
	"os"
	"syscall"
	"time"
)

// forwarded are the signals that go on to a command.
var forwarded = []os.Signal{
	syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH,
}

// terminate asks a command to end.
var terminate os.Signal = syscall.SIGTERM

// fromTerminal reports whether a terminal sends this signal to a whole process group, so that a command has it already.
func fromTerminal(sig os.Signal) bool {
	return sig == syscall.SIGINT || sig == syscall.SIGQUIT || sig == syscall.SIGWINCH
}

// hasTerminal reports whether this process belongs to a terminal.
func hasTerminal() bool {
	tty, err := os.Open("/dev/tty")
	if err != nil {
		return false
	}
	_ = tty.Close()
	return true
}

// sendSignal sends a signal to a command, or to its whole process group. SIGCONT lets one that is stopped act on it.
func sendSignal(p *os.Process, sig os.Signal, group bool) {
	number, ok := sig.(syscall.Signal)
	// A process that has been reaped is left alone: its number may be another's by now.
	if !ok || p.Signal(syscall.Signal(0)) != nil {
		return
	}
	target := p.Pid
	if group {
		target = -p.Pid
	}
	_ = syscall.Kill(target, number)
	if number == syscall.SIGTERM {
		_ = syscall.Kill(target, syscall.SIGCONT)
	}
}

// endGroup waits until a process group is empty, and kills what is left of it when over says so.
func endGroup(group int, over <-chan time.Time) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for syscall.Kill(-group, 0) == nil {
		select {
		case <-tick.C:
		case <-over:
			_ = syscall.Kill(-group, syscall.SIGKILL)
			return
		}
	}
}

// endedBy returns the signal that ended a process; 0 if it ended by itself.
func endedBy(state *os.ProcessState) int {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return int(status.Signal())
	}
	return 0
}

//go:build !unix

package main

import (
	"os"
	"syscall"
	"time"
)

var forwarded = []os.Signal{os.Interrupt}

var terminate = os.Kill

func fromTerminal(os.Signal) bool { return true }

func hasTerminal() bool { return true }

func sendSignal(p *os.Process, sig os.Signal, _ bool) { _ = p.Signal(sig) }

func endGroup(int, <-chan time.Time) {}

func endedBy(*os.ProcessState) int { return 0 }

func commandAttr(bool) *syscall.SysProcAttr { return nil }

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"drydock/api/wire"
	"drydock/client"
)

// defaultRunTTL is how long the lease of a `drydock run` outlives one that was killed, or cut off. A third of it may pass between two
// extensions, so an API that is restarted is no reason to lose the lease.
const defaultRunTTL = 5 * time.Minute

func runCommand(o *clientOptions) *cli.Command {
	var w wanted
	var grace time.Duration
	one := 1
	return &cli.Command{
		Name: "run", Usage: "run a command under a lease", ArgsUsage: "[--] COMMAND [ARGUMENT ...]",
		DisableSliceFlagSeparator: true, StopOnNthArg: &one,
		Description: "Waits for a lease, runs the command, and gives the lease back when the command has ended, whatever happens. The lease is\n" +
			"extended meanwhile. When it is lost all the same, the command is stopped: SIGTERM, and SIGKILL after --grace.\n\n" +
			"The command finds in its environment DRYDOCK_LEASE_ID, DRYDOCK_RESOURCE_ID, DRYDOCK_RESOURCE_NAME, DRYDOCK_FENCE (a number that\n" +
			"grows with each claim on the lease: a target can refuse a smaller one), DRYDOCK_ATTR_<NAME> for each attribute of the resource, and\n" +
			"DRYDOCK_SERVER and DRYDOCK_NAMESPACE. Signals go on to it.\n\n" +
			"The exit code is the command's own, or 128+n when signal n ended it. Of drydock itself: 7 the lease was lost, 126 the command\n" +
			"cannot be run, 127 there is no such command; before the command is started, those of `drydock --help`.",
		Flags: append(w.flags(defaultRunTTL, "`DURATION` by which the lease outlives a drydock that dies; 0 = it has no end"),
			&cli.DurationFlag{
				Name: "grace", Destination: &grace, Value: 10 * time.Second, Usage: "`DURATION` that a command which is stopped may take to end",
			},
		),
		Action: o.unbounded(func(ctx context.Context, cmd *cli.Command, s *session) error {
			argv := cmd.Args().Slice()
			if len(argv) == 0 {
				return usage("run takes a command")
			}
			program, err := exec.LookPath(argv[0])
			if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
				return cli.Exit(fmt.Sprintf("%s: there is no such command", argv[0]), exitNoCommand)
			} else if err != nil {
				return cli.Exit(fmt.Sprintf("%s: it cannot be run: %s", argv[0], err), exitCannotRun)
			}
			n, err := w.request(o)
			if err != nil {
				return err
			}
			return s.run(ctx, n, program, argv, grace)
		}),
	}
}

// ended is how a command ended. Nothing is printed for it: the command has said what there was to say.
type ended int

func (e ended) Error() string { return "" }

// ExitCode implements [cli.ExitCoder].
func (e ended) ExitCode() int { return int(e) }

// run leases, runs and gives back.
func (s *session) run(ctx context.Context, n wire.NewLease, program string, argv []string, grace time.Duration) (err error) {
	ctx, stopHangup := withHangup(ctx)
	defer stopHangup()
	// A signal ends the waiting. Once the command runs, signals are the command's, and the lease is kept until it has ended.
	holding, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	unlink := context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
	held, err := s.Acquire(holding, n, client.AcquireOptions{
		WaitOptions:   client.WaitOptions{Progress: s.say.leaseProgress(s.now()), Interval: s.say.interval()},
		Timeout:       s.opts.timeout,
		ReleaseReason: "drydock run is done",
	})
	s.say.done()
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = errors.Join(cause, err)
		}
		return err
	}
	defer func() {
		if e := held.Close(); e != nil {
			s.say.notef("drydock: %s", e)
		}
	}()
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, forwarded...)
	defer signal.Stop(signals)
	if !unlink() { // a signal came first
		return context.Cause(ctx)
	}
	lease := held.Lease()
	resource, err := held.Resource(holding)
	if err != nil {
		return fmt.Errorf("read the resource of lease %s: %w", lease.ID, err)
	}
	s.say.notef("Lease %s is active on %s.", lease.ID, resource.Name)
	return s.command(held, append(os.Environ(), s.facts(lease, resource)...), program, argv, signals, grace)
}

// command runs the command to its end, or to that of the lease.
func (s *session) command(held *client.Held, env []string, program string, argv []string, signals <-chan os.Signal, grace time.Duration) error {
	cmd := exec.Command(program) //nolint:noctx // it is stopped by the signals that it gets
	cmd.Args, cmd.Env = argv, env
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	// At a terminal the command stays in our process group: it may read, Ctrl-C and Ctrl-Z reach it from there, and `fg` brings both back.
	// Elsewhere it gets a group of its own, so that all of it can be stopped.
	terminal := hasTerminal()
	cmd.SysProcAttr = commandAttr(!terminal)
	started := make(chan error, 1)
	done := make(chan error, 1)
	go func() {
		// The kernel ends the command with the thread that started it, so nothing else may end this thread.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			done <- cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return cli.Exit(fmt.Sprintf("%s: it cannot be run: %s", argv[0], err), exitCannotRun)
	}
	var kill <-chan time.Time
	lost := held.Context().Done() // nil once it is lost
	for {
		select {
		case err := <-done:
			if cause := context.Cause(held.Context()); lost == nil {
				if !terminal { // its first process has ended; the others have what is left of the grace
					endGroup(cmd.Process.Pid, kill)
				}
				return fmt.Errorf("%s was stopped: %w", argv[0], cause)
			}
			return endOf(cmd, err)
		case sig := <-signals:
			if !terminal || !fromTerminal(sig) {
				sendSignal(cmd.Process, sig, !terminal)
			}
		case <-lost:
			lost = nil
			s.say.notef("drydock: %s; stopping %s", context.Cause(held.Context()), argv[0])
			sendSignal(cmd.Process, terminate, !terminal)
			kill = time.After(grace)
		case <-kill:
			sendSignal(cmd.Process, os.Kill, !terminal)
		}
	}
}

// endOf is the end of a command as an error: nil, its exit code, or 128 and the signal that ended it.
func endOf(cmd *exec.Cmd, err error) error {
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		return err
	}
	if n := endedBy(cmd.ProcessState); n > 0 {
		return ended(exitSignal + n)
	}
	if code := cmd.ProcessState.ExitCode(); code != 0 {
		return ended(code)
	}
	return nil
}

// facts are what a command learns about its lease, as variables.
func (s *session) facts(l wire.Lease, r wire.Resource) []string {
	facts := []string{
		"DRYDOCK_LEASE_ID=" + l.ID,
		"DRYDOCK_RESOURCE_ID=" + r.ID,
		"DRYDOCK_RESOURCE_NAME=" + r.Name,
		fmt.Sprintf("DRYDOCK_FENCE=%d", l.Fence),
		"DRYDOCK_SERVER=" + s.opts.server,
		"DRYDOCK_NAMESPACE=" + l.Namespace,
	}
	for _, name := range slices.Sorted(maps.Keys(r.Attributes)) {
		facts = append(facts, "DRYDOCK_ATTR_"+variable(name)+"="+r.Attributes[name])
	}
	return facts
}

// variable makes the name of an attribute fit for a variable: upper case, and '_' for all that is not a letter or digit.
func variable(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, name)
}

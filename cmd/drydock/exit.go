package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v3"

	"drydock/client"
	"drydock/model"
)

// Exit codes. 0 is success. `drydock run` ends with its command's own code once that was started.
const (
	exitFailure     = 1   // something went wrong that was not the caller's doing
	exitUsage       = 2   // a flag, an argument or a value was wrong
	exitUnavailable = 3   // the server, or Redis, could not be reached
	exitNotFound    = 4   // there is no such lease, resource or blueprint
	exitRefused     = 5   // refused: the state, the permission or every blueprint is against it
	exitTimeout     = 6   // --timeout is over
	exitLost        = 7   // the lease ended, by somebody else's doing
	exitCannotRun   = 126 // `run`: the command cannot be run
	exitNoCommand   = 127 // `run`: there is no such command
	exitSignal      = 128 // and the number of the signal that ended it
)

// exitHelp is what --help says of them.
const exitHelp = "Exit codes: 0 success, 1 failure, 2 wrong usage, 3 the server or Redis cannot be reached, 4 not found,\n" +
	"5 refused, 6 timed out, 7 the lease was lost, 128+n ended by signal n."

// errRefused says that a worker refused a command.
var errRefused = errors.New("refused")

// interrupted is the cause of a context that a signal has ended.
type interrupted struct{ signal os.Signal }

func (i interrupted) Error() string { return i.signal.String() }

func (i interrupted) code() int {
	if number, ok := i.signal.(syscall.Signal); ok {
		return exitSignal + int(number)
	}
	return exitFailure
}

// withSignals returns a context that ends with the first of these signals; [interrupted] is its cause then. The second one ends the
// process, as it does without us.
func withSignals(ctx context.Context, signals ...os.Signal) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	// Buffered, because package signal does not wait for us.
	got := make(chan os.Signal, 1)
	signal.Notify(got, signals...)
	go func() {
		select {
		case s := <-got:
			cancel(interrupted{s})
		case <-ctx.Done():
		}
		signal.Stop(got)
	}()
	return ctx, func() { cancel(nil) }
}

// withHangup ends a command also when its terminal goes away, unless it was told not to mind (nohup).
func withHangup(ctx context.Context) (context.Context, context.CancelFunc) {
	if signal.Ignored(syscall.SIGHUP) {
		return ctx, func() {}
	}
	return withSignals(ctx, syscall.SIGHUP)
}

// exitCode picks the code for an error. begun says that the command has begun: an error before that is about a flag or a variable.
func exitCode(err error, begun bool) int {
	if coder, ok := errors.AsType[cli.ExitCoder](err); ok {
		return coder.ExitCode()
	}
	if i, ok := errors.AsType[interrupted](err); ok {
		return i.code()
	}
	refusals := []error{errRefused, client.ErrConflict, client.ErrPrecondition, client.ErrForbidden, client.ErrUnauthorized, client.ErrUnsatisfiable}
	switch kind := model.KindOf(err); {
	case errors.Is(err, client.ErrLost):
		return exitLost
	case kind == model.ErrorUnavailable, client.IsUnavailable(err):
		return exitUnavailable
	case errors.Is(err, context.DeadlineExceeded):
		return exitTimeout
	case client.IsNotFound(err):
		return exitNotFound
	case isAny(err, refusals):
		return exitRefused
	case !begun, kind == model.ErrorInvalid, errors.Is(err, client.ErrInvalid):
		return exitUsage
	}
	return exitFailure
}

func isAny(err error, targets []error) bool {
	for _, target := range targets {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// usage makes an error of wrong usage.
func usage(format string, args ...any) error {
	return cli.Exit(fmt.Sprintf(format, args...)+"; see --help", exitUsage)
}

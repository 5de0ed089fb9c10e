// Command drydock leases shared things and takes them back safely. One binary is every role: `drydock dev` runs all of it
// in one process, `drydock api` and `drydock worker` are the parts for production.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v3"

	"drydock/model"
)

// version is set by the linker.
var version = "dev"

// Exit codes. 0 is success.
const (
	exitFailure     = 1 // something went wrong that was not the caller's doing
	exitUsage       = 2 // a flag or its value was wrong
	exitUnavailable = 3 // Redis could not be reached
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second Ctrl-C ends the process at once.
	context.AfterFunc(ctx, stop)
	code := run(ctx, os.Args)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string) int {
	begun := false
	err := root(&begun).Run(ctx, args)
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, "drydock:", err)
	if coder, ok := errors.AsType[cli.ExitCoder](err); ok {
		return coder.ExitCode()
	}
	switch kind := model.KindOf(err); {
	case !begun, kind == model.ErrorInvalid:
		return exitUsage
	case kind == model.ErrorUnavailable:
		return exitUnavailable
	default:
		return exitFailure
	}
}

// root is the command line. It sets begun when a command begins: an error before that is about a flag or a variable.
func root(begun *bool) *cli.Command {
	usageError := func(_ context.Context, _ *cli.Command, err error, _ bool) error {
		return cli.Exit(err.Error()+"; see --help", exitUsage)
	}
	commands := []*cli.Command{devCommand(), apiCommand(), workerCommand(), tokenCommand(), healthcheckCommand()}
	var prepare func(c *cli.Command)
	prepare = func(c *cli.Command) {
		for _, sub := range c.Commands {
			prepare(sub)
		}
		c.OnUsageError = usageError
		c.HideHelpCommand = true
		action := c.Action
		c.Action = func(ctx context.Context, cmd *cli.Command) error {
			if cmd.Args().Present() && cmd.ArgsUsage == "" {
				return cli.Exit(fmt.Sprintf("%s takes no argument, such as %q; see --help", cmd.Name, cmd.Args().First()), exitUsage)
			}
			*begun = true
			return action(ctx, cmd)
		}
	}
	for _, c := range commands {
		prepare(c)
	}
	return &cli.Command{
		Name:    "drydock",
		Usage:   "lease shared things and take them back safely",
		Version: version,
		Description: "Every flag has an environment variable, DRYDOCK_ and its name. Exit codes: 0 success, 1 failure, 2 wrong usage,\n" +
			"3 Redis cannot be reached.",
		Commands:              commands,
		EnableShellCompletion: true,
		OnUsageError:          usageError,
		// run prints errors and picks the exit code.
		ExitErrHandler: func(context.Context, *cli.Command, error) {},
		Action: func(ctx context.Context, cmd *cli.Command) error {
			if cmd.Args().Present() {
				return cli.Exit(fmt.Sprintf("unknown command %q; see --help", cmd.Args().First()), exitUsage)
			}
			return cli.ShowAppHelp(cmd)
		},
	}
}

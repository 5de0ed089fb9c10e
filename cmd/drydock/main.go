// Command drydock leases shared things and takes them back safely. One binary is every role: `drydock dev` runs all of it
// in one process, `drydock api` and `drydock worker` are the parts for production, and the other commands are clients of the API.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/urfave/cli/v3"
)

// version is set by the linker.
var version = "dev"

func main() { os.Exit(run(context.Background(), os.Args)) }

func run(ctx context.Context, args []string) int {
	// A second Ctrl-C ends the process at once.
	ctx, stop := withSignals(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	begun := false
	err := root(&begun).Run(ctx, args)
	if err == nil {
		return 0
	}
	if cause, ok := errors.AsType[interrupted](context.Cause(ctx)); ok && errors.Is(err, context.Canceled) {
		err = errors.Join(cause, err)
	}
	if text := explain(err); text != "" {
		fmt.Fprintln(os.Stderr, "drydock:", text)
	}
	return exitCode(err, begun)
}

// explain returns what to print of an error: nothing of an interruption, since whoever pressed Ctrl-C knows, but all that failed besides,
// such as the release of a lease.
func explain(err error) string {
	_, byUser := errors.AsType[interrupted](err)
	if joined, ok := err.(interface{ Unwrap() []error }); ok && byUser {
		var news []string
		for _, part := range joined.Unwrap() {
			if _, same := errors.AsType[interrupted](part); !same && !errors.Is(part, context.Canceled) {
				news = append(news, part.Error())
			}
		}
		return strings.Join(news, "\n")
	}
	if byUser {
		return ""
	}
	return err.Error()
}

// root is the command line. It sets begun when a command begins.
func root(begun *bool) *cli.Command {
	var o clientOptions
	servers := []*cli.Command{devCommand(), apiCommand(), workerCommand(), tokenCommand(), healthcheckCommand(), doctorCommand()}
	measures := []*cli.Command{benchCommand(), benchWorkerCommand()}
	for _, c := range servers {
		c.Category = "Servers"
	}
	for _, c := range measures {
		c.Category = "Measurement"
	}
	for _, c := range slices.Concat(servers, measures) {
		c.Before = o.refuse
		c.CustomHelpTemplate = withoutGlobalOptions
	}
	clients := []*cli.Command{
		runCommand(&o), leaseCommand(&o), resourceCommand(&o), blueprintCommand(&o), commandCommand(&o), logCommand(&o), topCommand(&o),
		authorizationCommand(&o), subscriptionCommand(&o), eventsCommand(&o),
	}
	for _, c := range clients {
		c.Category = "Client"
	}
	short := seedCommands(&o)
	for _, c := range short {
		c.Category = "Client, in Phabricator's words"
	}
	commands := slices.Concat(clients, servers, measures, short)
	for _, c := range commands {
		prepare(c, begun)
	}
	return &cli.Command{
		Name:    "drydock",
		Usage:   "lease shared things and take them back safely",
		Version: version,
		Description: "Every flag of a server has an environment variable, DRYDOCK_ and its name; the client's are named below.\n\n" +
			exitHelp,
		Commands:              commands,
		Flags:                 o.flags(),
		EnableShellCompletion: true,
		ConfigureShellCompletionCommand: func(c *cli.Command) {
			c.Hidden = false
			c.Category = "Client"
		},
		OnUsageError: usageError,
		// run prints errors and picks the exit code.
		ExitErrHandler: func(context.Context, *cli.Command, error) {},
		Action:         onlySubcommands(cli.ShowAppHelp),
	}
}

func usageError(_ context.Context, _ *cli.Command, err error, _ bool) error { return usage("%s", err) }

// onlySubcommands is the action of a command that has subcommands and does nothing by itself.
func onlySubcommands(help func(*cli.Command) error) cli.ActionFunc {
	return func(_ context.Context, cmd *cli.Command) error {
		if cmd.Args().Present() {
			return usage("unknown command %q", strings.TrimPrefix(cmd.FullName()+" ", "drydock ")+cmd.Args().First())
		}
		return help(cmd)
	}
}

// prepare gives a command, and those below it, what all have in common.
func prepare(c *cli.Command, begun *bool) {
	c.OnUsageError = usageError
	c.HideHelpCommand = true
	if len(c.Commands) > 0 {
		c.Action = onlySubcommands(cli.ShowSubcommandHelp)
		for _, sub := range c.Commands {
			prepare(sub, begun)
		}
		return
	}
	action := c.Action
	c.Action = func(ctx context.Context, cmd *cli.Command) error {
		if cmd.Args().Present() && cmd.ArgsUsage == "" {
			return usage("%s takes no argument, such as %q", cmd.Name, cmd.Args().First())
		}
		*begun = true
		return action(ctx, cmd)
	}
}

package main

import (
	"cmp"
	"context"
	"errors"
	"io"
	"os"
	"os/user"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"drydock/client"
	"drydock/model"
)

// withoutGlobalOptions is the help of commands that are no clients.
var withoutGlobalOptions = strings.Replace(cli.CommandHelpTemplate, "{{if .VisiblePersistentFlags}}", "{{if false}}", 1)

// clientOptions are the values of the flags that all clients share. They stand before or behind a command.
type clientOptions struct {
	server, token, tokenFile, namespace, author, output string
	timeout                                             time.Duration
}

// clientFlags are their names.
var clientFlags = []string{"server", "token", "bearer-file", "namespace", "author", "output", "timeout"}

// flags returns the flags. Their variables are read later, in [clientOptions.resolve]: a server is not concerned by them, and must
// be able to tell them from a flag that somebody gave it.
func (o *clientOptions) flags() []cli.Flag {
	text := func(name, usage string, into *string, aliases ...string) cli.Flag {
		return &cli.StringFlag{Name: name, Aliases: aliases, Usage: usage + " [$" + envName(name) + "]", Destination: into, Category: "Client"}
	}
	return []cli.Flag{
		text("server", "`URL` of the API; default "+client.DefaultServer, &o.server),
		text("token", "bearer `TOKEN`; others see it in the list of processes, so prefer the variable or --bearer-file", &o.token),
		text("bearer-file", "`FILE` that holds the bearer token", &o.tokenFile),
		text("namespace", "`NAME` of the namespace; default \"default\"", &o.namespace),
		text("author", "`NAME` to send commands under; default the user's", &o.author),
		text("output", "`FORMAT`: table, or json for the API's own objects and nothing else on stdout", &o.output, "o"),
		&cli.DurationFlag{
			Name: "timeout", Destination: &o.timeout, Category: "Client", HideDefault: true,
			Usage: "most that the command may take, as a `DURATION`, waiting included (of run: the waiting alone); default no limit [$DRYDOCK_TIMEOUT]",
		},
	}
}

// refuse refuses the client's flags on behalf of a server, which would ignore them.
func (o *clientOptions) refuse(ctx context.Context, cmd *cli.Command) (context.Context, error) {
	for _, name := range clientFlags {
		if cmd.Root().IsSet(name) {
			return ctx, usage("--%s is for clients; %s does not take it", name, cmd.Name)
		}
	}
	return ctx, nil
}

// resolve fills in what the flags left open from the environment.
func (o *clientOptions) resolve() error {
	for name, value := range map[string]*string{
		"server": &o.server, "namespace": &o.namespace, "author": &o.author, "output": &o.output,
	} {
		*value = cmp.Or(*value, os.Getenv(envName(name)))
	}
	o.server = cmp.Or(o.server, client.DefaultServer)
	if o.token == "" && o.tokenFile == "" {
		o.token, o.tokenFile = os.Getenv(envName("token")), os.Getenv(envName("bearer-file"))
	}
	if o.token == "" && o.tokenFile != "" {
		text, err := os.ReadFile(o.tokenFile)
		if err != nil {
			return model.Invalid("--bearer-file", "%s", err)
		}
		if o.token = strings.TrimSpace(string(text)); o.token == "" {
			return model.Invalid("--bearer-file", "%s is empty", o.tokenFile)
		}
	}
	if value := os.Getenv(envName("timeout")); o.timeout == 0 && value != "" {
		d, err := time.ParseDuration(value)
		if err != nil {
			return model.Invalid("DRYDOCK_TIMEOUT", "%s is not a duration such as \"30s\"", model.Quote(value))
		}
		o.timeout = d
	}
	if o.timeout < 0 {
		return model.Invalid("--timeout", "must not be negative")
	}
	if o.output = cmp.Or(o.output, "table"); o.output != "table" && o.output != "json" {
		return model.Invalid("--output", "must be table or json, not %s", model.Quote(o.output))
	}
	// Whoever shows a token is known by it.
	if u, err := user.Current(); o.author == "" && o.token == "" && err == nil {
		o.author = u.Username
	}
	return nil
}

// session is one run of a client command: the API, and where to print.
type session struct {
	*client.Client
	opts *clientOptions
	out  printer
	// say prints for people, on stderr: progress and notes.
	say *teller
	now func() time.Time
}

// action makes the action of a command that is a client.
func (o *clientOptions) action(do func(ctx context.Context, cmd *cli.Command, s *session) error) cli.ActionFunc {
	return o.unbounded(func(ctx context.Context, cmd *cli.Command, s *session) error {
		if o.timeout > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, o.timeout)
			defer cancel()
		}
		err := do(ctx, cmd, s)
		if errors.Is(ctx.Err(), context.DeadlineExceeded) && errors.Is(err, context.DeadlineExceeded) && !client.IsUnavailable(err) {
			return timeoutError{o.timeout, err}
		}
		return err
	})
}

// unbounded is action for commands that keep to --timeout themselves.
func (o *clientOptions) unbounded(do func(ctx context.Context, cmd *cli.Command, s *session) error) cli.ActionFunc {
	return func(ctx context.Context, cmd *cli.Command) error {
		if err := o.resolve(); err != nil {
			return err
		}
		c, err := client.New(client.Config{
			Server: o.server, Token: o.token, Namespace: o.namespace, Author: o.author, Via: model.ViaCLI, UserAgent: "drydock-cli/" + version,
		})
		if e, ok := errors.AsType[*model.Error](err); ok {
			return model.Invalid("--"+e.Field, "%s", e.Message)
		}
		if err != nil {
			return err
		}
		out := newPrinter(os.Stdout, o.output == "json")
		return do(ctx, cmd, &session{Client: c, opts: o, out: out, say: newTeller(os.Stderr), now: time.Now})
	}
}

// timeoutError says that --timeout is over.
type timeoutError struct {
	after time.Duration
	error
}

func (t timeoutError) Error() string { return "timed out after " + t.after.String() + " (--timeout)" }
func (t timeoutError) Unwrap() error { return t.error }

// oneArg returns the one argument of a command.
func oneArg(cmd *cli.Command) (string, error) {
	if cmd.Args().Len() != 1 {
		return "", usage("%s takes one %s", cmd.Name, cmd.ArgsUsage)
	}
	return cmd.Args().First(), nil
}

// isTerminal reports whether somebody may be watching.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && f.Name() != os.DevNull && os.Getenv("TERM") != "dumb"
}

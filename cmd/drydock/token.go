package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v3"

	"drydock/auth"
	"drydock/model"
)

// tokenCommand looks after a token file. It speaks to no server: who can write the file hands out tokens.
func tokenCommand() *cli.Command {
	var file string
	fileFlag := &cli.StringFlag{
		Name: "file", Sources: cli.EnvVars("DRYDOCK_TOKEN_FILE"), Value: "tokens.yaml", Destination: &file, TakesFile: true,
		Usage: "the token `FILE`, as for the API's --token-file",
	}
	var name, role string
	var namespaces []string
	var expires time.Duration
	create := &cli.Command{
		Name:  "create",
		Usage: "make a token, add its hash to the file, and print it: it can never be shown again",
		Flags: []cli.Flag{
			fileFlag,
			&cli.StringFlag{
				Name: "name", Sources: env("name"), Destination: &name, Required: true,
				Usage: "`NAME` of whoever gets it: the author of its commands and the owner of its leases",
			},
			&cli.StringFlag{
				Name: "role", Sources: env("role"), Destination: &role, Required: true, Usage: model.Join(auth.Roles()) + "; each includes those before it",
			},
			&cli.StringSliceFlag{
				Name: "namespace", Sources: env("namespace"), Value: []string{"default"}, Destination: &namespaces,
				Usage: "the namespace `NAME` in which it has the role (repeatable), or '*' for all",
			},
			&cli.DurationFlag{
				Name: "expires", Sources: env("expires"), Destination: &expires, Usage: "how long it is good for, such as 720h; 0 = until it is revoked",
			},
		},
		Action: func(_ context.Context, cmd *cli.Command) error {
			var until time.Time
			now := time.Now()
			switch {
			case expires < 0:
				return model.Invalid("--expires", "must not be negative")
			case expires > 0:
				until = now.Add(expires)
			}
			token, entry, err := auth.NewEntry(name, auth.Grant{Role: auth.Role(role), Namespaces: namespaces}, now, until)
			if err != nil {
				return err
			}
			err = auth.EditEntries(file, func(entries []auth.Entry) ([]auth.Entry, error) { return append(entries, entry), nil })
			if err != nil {
				return err
			}
			fmt.Fprintf(os.Stderr, "Added %s (%s) to %s. Its token, which is shown only now:\n", entry.Name, entry.ID(), file)
			fmt.Fprintln(cmd.Root().Writer, token)
			return nil
		},
	}
	list := &cli.Command{
		Name:  "list",
		Usage: "list the tokens of the file, without what lets their holders in",
		Flags: []cli.Flag{fileFlag},
		Action: func(_ context.Context, cmd *cli.Command) error {
			entries, err := auth.ReadEntries(file)
			if err != nil {
				return err
			}
			w := tabwriter.NewWriter(cmd.Root().Writer, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "ID\tNAME\tROLE\tNAMESPACES\tCREATED\tEXPIRES")
			for _, e := range entries {
				expires := instant(e.ExpiresAt)
				if e.Expired(time.Now()) {
					expires += " (over)"
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", e.ID(), e.Name, e.Role, strings.Join(e.Namespaces, ","), instant(e.CreatedAt), expires)
			}
			return w.Flush()
		},
	}
	revoke := &cli.Command{
		Name:      "revoke",
		Usage:     "remove the tokens of a name, or the one with an id, from the file",
		ArgsUsage: "NAME|ID",
		Flags:     []cli.Flag{fileFlag},
		Action: func(_ context.Context, cmd *cli.Command) error {
			if cmd.Args().Len() != 1 {
				return cli.Exit("revoke takes one name or id of drydock token list", exitUsage)
			}
			gone, err := auth.Revoke(file, cmd.Args().First())
			for _, e := range gone {
				fmt.Fprintf(os.Stderr, "Removed %s (%s) from %s.\n", e.Name, e.ID(), file)
			}
			return err
		},
	}
	return &cli.Command{
		Name:      "token",
		Usage:     "make, list and revoke the tokens that the API lets in",
		ArgsUsage: "COMMAND",
		Commands:  []*cli.Command{create, list, revoke},
		Action: func(_ context.Context, cmd *cli.Command) error {
			if cmd.Args().Present() {
				return cli.Exit(fmt.Sprintf("unknown command %q; see --help", cmd.Args().First()), exitUsage)
			}
			return cli.ShowSubcommandHelp(cmd)
		},
	}
}

// instant writes a time for people; "-" when there is none.
func instant(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Format(time.RFC3339)
}

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v3"

	"drydock/api/wire"
	"drydock/client"
	"drydock/model"
)

func commandCommand(o *clientOptions) *cli.Command {
	return &cli.Command{
		Name: "command", Usage: "see who asked for what",
		Commands: []*cli.Command{{
			Name: "list", Usage: "list all commands of a lease or resource, oldest first", ArgsUsage: "LEASE|RESOURCE",
			Action: o.action(func(ctx context.Context, cmd *cli.Command, s *session) error {
				id, err := oneArg(cmd)
				if err != nil {
					return err
				}
				kind, err := s.kindOf(ctx, id)
				if err != nil {
					return err
				}
				commands, err := collect(s.Commands(ctx, kind, id))
				if err != nil {
					return err
				}
				return s.showCommands(commands)
			}),
		}},
	}
}

func (s *session) showCommands(commands []wire.Command) error {
	if s.out.json {
		return s.out.object(whole(commands))
	}
	rows := make([][]cell, 0, len(commands))
	for _, c := range commands {
		outcome := cell{or(c.Outcome), stateColour(string(c.Outcome))}
		if c.Outcome == "" {
			outcome = cell{"waiting", yellow}
		}
		what := c.Command
		if args := string(c.Args); args != "" && args != "null" {
			what += " " + args
		}
		rows = append(rows, append(plain(c.ID, what), outcome, cell{text: or(c.Author)}, cell{text: c.Origin.Via},
			cell{text: or(c.Origin.Address)}, cell{text: relative(c.SentAt, s.now())}, cell{text: or(c.Reason)}, cell{text: string(c.Detail)}))
	}
	return s.out.table([]string{"COMMAND", "WHAT", "OUTCOME", "AUTHOR", "VIA", "ADDRESS", "SENT", "REASON", "DETAIL"}, rows)
}

// kindOf finds out whether an id is a lease's or a resource's.
func (s *session) kindOf(ctx context.Context, id string) (model.Kind, error) {
	_, err := s.GetLease(ctx, id)
	if err == nil || !client.IsNotFound(err) {
		return model.KindLease, err
	}
	if _, err = s.GetResource(ctx, id); client.IsNotFound(err) {
		return "", fmt.Errorf("%w: no lease or resource has the id %s", client.ErrNotFound, model.Quote(id))
	}
	return model.KindResource, err
}

func logCommand(o *clientOptions) *cli.Command {
	var follow bool
	return &cli.Command{
		Name: "log", Usage: "show what happened to a lease or resource", ArgsUsage: "LEASE|RESOURCE",
		Description: "With -o json it is one page; with --follow, each line is an entry.",
		Flags: []cli.Flag{&cli.BoolFlag{
			Name: "follow", Aliases: []string{"f"}, Destination: &follow, Usage: "go on until it is destroyed",
		}},
		Action: o.action(func(ctx context.Context, cmd *cli.Command, s *session) error {
			id, err := oneArg(cmd)
			if err != nil {
				return err
			}
			kind, err := s.kindOf(ctx, id)
			if err != nil {
				return err
			}
			if s.out.json && !follow {
				entries, err := collect(s.Log(ctx, kind, id))
				if err != nil {
					return err
				}
				return s.out.object(whole(entries))
			}
			entries := s.Log(ctx, kind, id)
			if follow {
				entries = s.FollowLog(ctx, kind, id, 500*time.Millisecond)
			}
			for entry, err := range entries {
				if err == nil {
					err = s.showEntry(entry)
				}
				if err != nil {
					return err
				}
			}
			return nil
		}),
	}
}

func (s *session) showEntry(e wire.LogEntry) error {
	if s.out.json {
		return s.out.line(e)
	}
	return s.out.sayf("%s  %-12s  %s", e.At.Local().Format("2006-01-02 15:04:05.000"), e.Event, e.Text)
}

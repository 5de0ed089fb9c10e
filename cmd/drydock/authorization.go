package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/urfave/cli/v3"

	"drydock/api/wire"
	"drydock/client"
	"drydock/model"
)

func authorizationCommand(o *clientOptions) *cli.Command {
	return &cli.Command{
		Name: "authorization", Usage: "decide who may use blueprints that take requests",
		Commands: []*cli.Command{
			authorizationList(o),
			authorizationWord(o, "approve", model.AuthorizationApproved, "let an owner use a blueprint"),
			authorizationWord(o, "decline", model.AuthorizationDeclined, "do not let an owner use a blueprint; those who have a lease keep it"),
		},
	}
}

func authorizationList(o *clientOptions) *cli.Command {
	var l listed
	var f client.AuthorizationFilter
	var status string
	return &cli.Command{
		Name: "list", Usage: "list who asked and what was decided, by blueprint and owner",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "status", Destination: &status, Usage: "only those with this `STATUS`: " + model.Join(model.AuthorizationStatuses())},
			&cli.StringFlag{Name: "blueprint", Destination: &f.Blueprint, Usage: "only those of the blueprint with this `NAME`"},
			&cli.StringFlag{Name: "owner", Destination: &f.Owner, Usage: "only those of this `OWNER`"},
		}, l.flags()...),
		Action: o.action(func(ctx context.Context, _ *cli.Command, s *session) error {
			f.Status, f.PageOptions = model.AuthorizationStatus(status), l.page()
			page, err := pageOf(l.all, func() (wire.Page[wire.Authorization], error) { return s.ListAuthorizations(ctx, f) }, s.Authorizations(ctx, f))
			if err != nil {
				return err
			}
			return s.showAuthorizations(page)
		}),
	}
}

// nobody stands for the owner of leases that have none.
const nobody = "(no owner)"

func ownerOf(a wire.Authorization) string {
	if a.Owner == "" {
		return nobody
	}
	return string(a.Owner)
}

func (s *session) showAuthorizations(page wire.Page[wire.Authorization]) error {
	if s.out.json {
		return s.out.object(page)
	}
	rows := make([][]cell, 0, len(page.Items))
	for _, a := range page.Items {
		rows = append(rows, append(plain(a.Blueprint, ownerOf(a)), cell{a.Status, authorizationColour(a.Status)}, cell{text: fmt.Sprint(a.Leases)},
			cell{text: or(a.Author)}, cell{text: relative(a.ChangedAt, s.now())}, cell{text: or(a.Reason)}))
	}
	err := s.out.table([]string{"BLUEPRINT", "OWNER", "STATUS", "LEASES", "AUTHOR", "CHANGED", "REASON"}, rows)
	s.more(page.Next)
	return err
}

func authorizationColour(status string) colour {
	switch model.AuthorizationStatus(status) {
	case model.AuthorizationApproved:
		return green
	case model.AuthorizationDeclined:
		return red
	case model.AuthorizationRequested:
	}
	return yellow
}

func authorizationWord(o *clientOptions, name string, status model.AuthorizationStatus, about string) *cli.Command {
	var reason string
	var noOwner bool
	return &cli.Command{
		Name: name, Usage: about, ArgsUsage: "BLUEPRINT [OWNER]",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "reason", Destination: &reason, Usage: "`TEXT` to keep with the decision"},
			&cli.BoolFlag{Name: "no-owner", Destination: &noOwner, Usage: "instead of OWNER: leases without an owner"},
		},
		Action: o.action(func(ctx context.Context, cmd *cli.Command, s *session) error {
			args := cmd.Args().Slice()
			switch {
			case noOwner && len(args) == 1:
				args = append(args, "")
			case noOwner || len(args) != 2 || slices.Contains(args, ""):
				return usage("%s takes a blueprint and either an owner or --no-owner", name)
			}
			a, err := s.Authorize(ctx, args[0], args[1], status, reason)
			if err != nil {
				return err
			}
			if s.out.json {
				return s.out.object(a)
			}
			text := fmt.Sprintf("%s is %s for blueprint %s", ownerOf(a), a.Status, a.Blueprint)
			if a.Detail != "" {
				text += "; " + string(a.Detail)
			}
			return s.out.sayf("%s", text)
		}),
	}
}

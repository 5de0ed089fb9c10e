package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	"drydock/api/wire"
	"drydock/client"
	"drydock/model"
)

func leaseRelease(o *clientOptions) *cli.Command {
	var f sending
	var filter []string
	var all bool
	return &cli.Command{
		Name: "release", Usage: "give leases back", ArgsUsage: "[LEASE...]", DisableSliceFlagSeparator: true,
		Description: "With more than one lease, --filter or --all, -o json prints a page with what came of each.",
		Flags: append([]cli.Flag{
			&cli.StringSliceFlag{
				Name: "filter", Destination: &filter,
				Usage: "all with this `NAME=VALUE` that can still be released, of status, type, owner and resource (repeatable: all of them must fit)",
			},
			&cli.BoolFlag{Name: "all", Destination: &all, Usage: "all in the namespace that can still be released"},
		}, f.flags()...),
		Action: o.action(func(ctx context.Context, cmd *cli.Command, s *session) error {
			ids := cmd.Args().Slice()
			ways := 0
			for _, given := range []bool{len(ids) > 0, len(filter) > 0, all} {
				if given {
					ways++
				}
			}
			if ways != 1 {
				return usage("release takes either leases, --filter or --all")
			}
			if len(ids) == 1 {
				return s.sendOne(ctx, model.KindLease, ids[0], wire.NewCommand{Command: string(model.CommandRelease), Reason: f.reason}, f.wait)
			}
			order := wire.ReleaseLeases{IDs: ids, All: all, Reason: f.reason}
			if len(filter) > 0 {
				var err error
				if order.Filter, err = parseFilter(filter); err != nil {
					return err
				}
			}
			return s.releaseMany(ctx, order, f.wait)
		}),
	}
}

// parseFilter reads the values of --filter.
func parseFilter(pairs []string) (*wire.ReleaseFilter, error) {
	f := &wire.ReleaseFilter{}
	fields := map[string]*string{"status": &f.Status, "type": &f.Type, "owner": &f.Owner, "resource": &f.Resource}
	for _, pair := range pairs {
		name, value, _ := strings.Cut(pair, "=")
		field, known := fields[name]
		switch {
		case !known || value == "":
			return nil, model.Invalid("--filter", "must be NAME=VALUE with status, type, owner or resource, not %s", model.Quote(pair))
		case *field != "":
			return nil, model.Invalid("--filter", "%s comes more than once", name)
		}
		*field = value
	}
	return f, nil
}

// releaseMany gives leases back and prints what came of each. One that fails does not spare the others.
func (s *session) releaseMany(ctx context.Context, order wire.ReleaseLeases, wait bool) error {
	slices.Sort(order.IDs)
	order.IDs = slices.Compact(order.IDs)
	var failed []error
	items, err := collect(s.ReleaseAll(ctx, order))
	if err != nil {
		failed = append(failed, err)
	}
	// Only now, so that they end together and not one after the other.
	for i := range items {
		item := &items[i]
		if err := client.ReleaseError(*item); err != nil {
			failed = append(failed, fmt.Errorf("lease %s: %w", item.ID, err))
			continue
		}
		answer := sent{kind: model.KindLease, id: item.ID, name: model.CommandRelease, command: item.Command}
		if wait {
			if err := s.settle(ctx, &answer); err != nil {
				failed = append(failed, fmt.Errorf("lease %s: %w", item.ID, err))
				continue
			}
			item.Command = answer.command
		}
		err := answer.refused()
		if err == nil && !s.out.json {
			err = s.out.sayf("%s", answer.text())
		}
		if err != nil {
			failed = append(failed, err)
		}
	}
	switch {
	case s.out.json:
		failed = append(failed, s.out.object(whole(items)))
	case len(items) == 0 && len(failed) == 0:
		failed = append(failed, s.out.sayf("there is no lease to release"))
	}
	return errors.Join(failed...)
}

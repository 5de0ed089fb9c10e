package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/urfave/cli/v3"

	"drydock/api/wire"
	"drydock/client"
	"drydock/model"
)

func resourceCommand(o *clientOptions) *cli.Command {
	verb := func(name model.CommandName, about string) *cli.Command {
		return sendVerb(o, model.KindResource, name, about)
	}
	return &cli.Command{
		Name: "resource", Usage: "look after resources",
		Commands: []*cli.Command{
			resourceList(o),
			resourceGet(o),
			verb(model.CommandRelease, "take a resource and its leases back"),
			verb(model.CommandReclaim, "release a resource if nobody uses it"),
			verb(model.CommandPause, "stop a resource from taking new leases"),
			verb(model.CommandUnpause, "let a resource take leases again"),
			verb(model.CommandUpdate, "make the blueprint read a resource again"),
			extendVerb(o, model.KindResource),
			dataCommand(o, model.KindResource),
		},
	}
}

func resourceList(o *clientOptions) *cli.Command {
	var l listed
	var f client.ResourceFilter
	var state string
	return &cli.Command{
		Name: "list", Usage: "list resources, newest first",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "status", Destination: &state, Usage: "only those in this `STATE`"},
			&cli.StringFlag{Name: "type", Destination: &f.Type, Usage: "only those of this `TYPE`"},
			&cli.StringFlag{Name: "blueprint", Destination: &f.Blueprint, Usage: "only those of the blueprint with this `NAME`"},
		}, l.flags()...),
		Action: o.action(func(ctx context.Context, _ *cli.Command, s *session) error {
			f.Status, f.PageOptions = model.ResourceState(state), l.page()
			page, err := pageOf(l.all, func() (wire.Page[wire.Resource], error) { return s.ListResources(ctx, f) }, s.Resources(ctx, f))
			if err != nil {
				return err
			}
			return s.showResources(page)
		}),
	}
}

func (s *session) showResources(page wire.Page[wire.Resource]) error {
	if s.out.json {
		return s.out.object(page)
	}
	rows := make([][]cell, 0, len(page.Items))
	now := s.now()
	for _, r := range page.Items {
		rows = append(rows, append(plain(r.ID, r.Name, r.Type), resourceStatus(r), cell{text: fmt.Sprintf("%d/%d", r.Leases, r.Capacity)},
			cell{text: or(r.Blueprint)}, cell{text: relative(r.CreatedAt, now)}, cell{text: pairs(r.Attributes)}))
	}
	err := s.out.table([]string{"RESOURCE", "NAME", "TYPE", "STATUS", "LEASES", "BLUEPRINT", "CREATED", "ATTRIBUTES"}, rows)
	s.more(page.Next)
	return err
}

func resourceStatus(r wire.Resource) cell {
	words, paint := []string{r.Status}, stateColour(r.Status)
	if r.Paused {
		words, paint = append(words, "paused"), yellow
	}
	if r.Releasing {
		words = append(words, "releasing")
	}
	return cell{strings.Join(words, ", "), paint}
}

func resourceGet(o *clientOptions) *cli.Command {
	return &cli.Command{
		Name: "get", Usage: "show a resource", ArgsUsage: "RESOURCE",
		Action: o.action(func(ctx context.Context, cmd *cli.Command, s *session) error {
			id, err := oneArg(cmd)
			if err != nil {
				return err
			}
			r, err := s.GetResource(ctx, id)
			if err != nil {
				return err
			}
			return s.showResource(r)
		}),
	}
}

// showResource prints one resource in full.
func (s *session) showResource(r wire.Resource) error {
	if s.out.json {
		return s.out.object(r)
	}
	now := s.now()
	rows := [][]cell{
		plain("Resource", r.ID),
		plain("Namespace", r.Namespace),
		plain("Name", r.Name),
		plain("Type", r.Type),
		{{text: "Status"}, resourceStatus(r)},
		plain("Blueprint", or(r.Blueprint)),
		plain("Attributes", pairs(r.Attributes)),
		plain("Leases", fmt.Sprintf("%d of %d", r.Leases, r.Capacity)),
	}
	for _, id := range r.LeaseIDs {
		rows = append(rows, plain("", id))
	}
	rows = append(rows, plain("Fence", fmt.Sprint(r.Fence)), plain("Until", untilOf(r.Until, now)))
	for _, at := range []struct {
		name string
		wire.Time
	}{{"Created", r.CreatedAt}, {"Activated", r.ActivatedAt}, {"Released", r.ReleasedAt}, {"Destroyed", r.DestroyedAt}} {
		if !at.IsZero() {
			rows = append(rows, plain(at.name, stamp(at.Time, now)))
		}
	}
	return s.out.table(nil, rows)
}

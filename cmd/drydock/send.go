package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/urfave/cli/v3"

	"drydock/api/wire"
	"drydock/client"
	"drydock/model"
)

// sending are the flags of a command that sends one.
type sending struct {
	reason string
	wait   bool
}

func (f *sending) flags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "reason", Destination: &f.reason, Usage: "`TEXT` to keep with the command"},
		&cli.BoolFlag{Name: "wait", Destination: &f.wait, Usage: "wait for what comes of it; of a release, until all is cleaned up"},
	}
}

// sent is the API's answer to a command, whatever it was sent to.
type sent struct {
	kind model.Kind
	id   string
	name model.CommandName
	// command is nil when a release found its object released already.
	command *wire.Command
	// lease or resource is the target; the other is empty.
	lease    wire.Lease
	resource wire.Resource
}

// answer is the whole of it, as the API says it.
func (a sent) answer() any {
	if a.kind == model.KindResource {
		return wire.ResourceSent{Command: a.command, Resource: a.resource}
	}
	return wire.LeaseSent{Command: a.command, Lease: a.lease}
}

// send sends a command to an object. A release has its own route: releasing what is released is no conflict.
func (s *session) send(ctx context.Context, kind model.Kind, id string, cmd wire.NewCommand) (sent, error) {
	out := sent{kind: kind, id: id, name: model.CommandName(cmd.Command)}
	release := out.name == model.CommandRelease
	if kind == model.KindResource {
		var answer wire.ResourceSent
		var err error
		if release {
			answer, err = s.ReleaseResource(ctx, id, cmd.Reason)
		} else {
			answer, err = s.SendResource(ctx, id, cmd)
		}
		out.command, out.resource = answer.Command, answer.Resource
		return out, err
	}
	var answer wire.LeaseSent
	var err error
	if release {
		answer, err = s.ReleaseLease(ctx, id, cmd.Reason)
	} else {
		answer, err = s.SendLease(ctx, id, cmd)
	}
	out.command, out.lease = answer.Command, answer.Lease
	return out, err
}

// settle waits for what comes of a command: for its outcome, and after a release until all is cleaned up.
func (s *session) settle(ctx context.Context, a *sent) error {
	if a.command != nil {
		done, err := s.WaitCommand(ctx, a.kind, a.id, a.command.ID)
		if err != nil {
			return err
		}
		a.command = &done
	}
	var err error
	switch release := a.name == model.CommandRelease; {
	case a.kind == model.KindResource && release:
		a.resource, err = s.WaitResource(ctx, a.id, model.ResourceDestroyed)
	case a.kind == model.KindResource:
		a.resource, err = s.GetResource(ctx, a.id)
	case release:
		a.lease, err = s.WaitLease(ctx, a.id, model.LeaseDestroyed, client.WaitOptions{Interval: 30 * time.Second})
	default:
		a.lease, err = s.GetLease(ctx, a.id)
	}
	return err
}

// sendOne sends a command to one object and prints what came of it.
func (s *session) sendOne(ctx context.Context, kind model.Kind, id string, cmd wire.NewCommand, wait bool) error {
	answer, err := s.send(ctx, kind, id, cmd)
	if err == nil && wait {
		err = s.settle(ctx, &answer)
	}
	if err != nil {
		return err
	}
	return s.show(answer)
}

// refused is the error of a command that a worker refused.
func (a sent) refused() error {
	if a.command == nil || a.command.Outcome != wire.Text(model.OutcomeRefused) {
		return nil
	}
	return fmt.Errorf("%s of %s %s was %w: %s", a.name, a.kind, a.id, errRefused, a.command.Detail)
}

// text says it for people.
func (a sent) text() string {
	switch {
	case a.command == nil:
		return fmt.Sprintf("%s %s is released already", a.kind, a.id)
	case a.command.Outcome == "":
		return fmt.Sprintf("%s sent to %s %s (command %s)", a.name, a.kind, a.id, a.command.ID)
	case a.command.Detail != "":
		return fmt.Sprintf("%s of %s %s was %s: %s", a.name, a.kind, a.id, a.command.Outcome, a.command.Detail)
	}
	return fmt.Sprintf("%s of %s %s was %s", a.name, a.kind, a.id, a.command.Outcome)
}

// show prints an answer and returns the error of a refused command.
func (s *session) show(a sent) error {
	err := a.refused()
	switch {
	case s.out.json:
		return errors.Join(s.out.object(a.answer()), err)
	case err != nil:
		return err
	}
	return s.out.sayf("%s", a.text())
}

// sendVerb makes the command that sends a command without arguments to one object.
func sendVerb(o *clientOptions, kind model.Kind, name model.CommandName, about string) *cli.Command {
	var f sending
	return &cli.Command{
		Name: string(name), Usage: about, ArgsUsage: argOf(kind), Flags: f.flags(),
		Action: o.action(func(ctx context.Context, cmd *cli.Command, s *session) error {
			id, err := oneArg(cmd)
			if err != nil {
				return err
			}
			return s.sendOne(ctx, kind, id, wire.NewCommand{Command: string(name), Reason: f.reason}, f.wait)
		}),
	}
}

// extendVerb makes the command that moves the end of an object.
func extendVerb(o *clientOptions, kind model.Kind) *cli.Command {
	var f sending
	var ttl time.Duration
	var until string
	return &cli.Command{
		Name: "extend", Usage: fmt.Sprintf("move the end of a %s to later", kind), ArgsUsage: argOf(kind),
		Flags: append([]cli.Flag{
			&cli.DurationFlag{Name: "ttl", Destination: &ttl, HideDefault: true, Usage: "new end, as a `DURATION` from now"},
			&cli.StringFlag{Name: "until", Destination: &until, Usage: "new end, as a `TIME` in the form of RFC 3339"},
		}, f.flags()...),
		Action: o.action(func(ctx context.Context, cmd *cli.Command, s *session) error {
			id, err := oneArg(cmd)
			if err != nil {
				return err
			}
			if (ttl == 0) == (until == "") {
				return usage("extend takes either --ttl or --until")
			}
			extend := client.ExtendBy(ttl, f.reason)
			if until != "" {
				at, err := parseUntil(until)
				if err != nil {
					return err
				}
				extend = client.ExtendTo(at, f.reason)
			}
			return s.sendOne(ctx, kind, id, extend, f.wait)
		}),
	}
}

func argOf(kind model.Kind) string {
	if kind == model.KindResource {
		return "RESOURCE"
	}
	return "LEASE"
}

// pageOf reads one page, or all of them as one.
func pageOf[T any](everything bool, one func() (wire.Page[T], error), all iter.Seq2[T, error]) (wire.Page[T], error) {
	if !everything {
		return one()
	}
	items, err := collect(all)
	return whole(items), err
}

// collect reads all that an iterator has.
func collect[T any](all iter.Seq2[T, error]) (items []T, err error) {
	for item, err := range all {
		if err != nil {
			return items, err
		}
		items = append(items, item)
	}
	return items, nil
}

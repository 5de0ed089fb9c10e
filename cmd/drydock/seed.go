package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/urfave/cli/v3"

	"drydock/api/wire"
	"drydock/client"
	"drydock/model"
)

// seedCommands are the commands as Phabricator's bin/drydock spells them, for hands and scripts that know those.
func seedCommands(o *clientOptions) []*cli.Command {
	return []*cli.Command{
		seedCommand(o, model.KindLease, model.CommandRelease, "give leases back"),
		seedCommand(o, model.KindResource, model.CommandRelease, "take resources and their leases back"),
		seedCommand(o, model.KindLease, model.CommandUpdate, "show how leases stand; they are updated without being told"),
		seedCommand(o, model.KindResource, model.CommandUpdate, "make blueprints read resources again"),
	}
}

func seedCommand(o *clientOptions, kind model.Kind, name model.CommandName, about string) *cli.Command {
	var ids []string
	var all bool
	var f sending
	flags := []cli.Flag{
		&cli.StringSliceFlag{Name: "id", Destination: &ids, Usage: fmt.Sprintf("`ID` of a %s (repeatable)", kind)},
		&cli.BoolFlag{Name: "all", Destination: &all, Usage: "all in the namespace that take the command"},
	}
	shows := kind == model.KindLease && name == model.CommandUpdate
	if !shows {
		flags = append(flags, f.flags()...)
	}
	return &cli.Command{
		Name: fmt.Sprintf("%s-%s", name, kind), Usage: about, Flags: flags,
		Description: "With -o json it prints a page of the API's answers.",
		Action: o.action(func(ctx context.Context, _ *cli.Command, s *session) error {
			switch {
			case all == (len(ids) > 0):
				return usage("%s-%s takes either --id or --all", name, kind)
			case shows:
				return s.showLive(ctx, ids)
			}
			if kind == model.KindLease {
				return s.releaseMany(ctx, wire.ReleaseLeases{IDs: ids, All: all, Reason: f.reason}, f.wait)
			}
			if all {
				var err error
				if ids, err = s.resourceIDs(ctx, name); err != nil {
					return err
				}
			}
			return s.sendAll(ctx, ids, wire.NewCommand{Command: string(name), Reason: f.reason}, f.wait, all)
		}),
	}
}

// resourceIDs are the ids of all resources that take a command.
func (s *session) resourceIDs(ctx context.Context, name model.CommandName) (ids []string, err error) {
	for _, state := range model.ResourceStates() {
		// Only an active resource can be read again.
		if !state.Commandable() || name == model.CommandUpdate && state != model.ResourceActive {
			continue
		}
		resources, err := collect(s.Resources(ctx, client.ResourceFilter{Status: state}))
		if err != nil {
			return nil, err
		}
		for _, r := range resources {
			ids = append(ids, r.ID)
		}
	}
	return ids, nil
}

// liveLeases lists the leases that take commands.
func (s *session) liveLeases(ctx context.Context) (leases []wire.Lease, err error) {
	for _, state := range model.LeaseStates() {
		if !state.Commandable() {
			continue
		}
		some, err := collect(s.Leases(ctx, client.LeaseFilter{Status: state}))
		if err != nil {
			return nil, err
		}
		leases = append(leases, some...)
	}
	return leases, nil
}

// sendAll sends a command to each of these resources. One that fails does not spare the others. Of all resources, some may have gone
// between the list and the command, which is no failure.
func (s *session) sendAll(ctx context.Context, ids []string, cmd wire.NewCommand, wait, all bool) error {
	var answers []sent
	var failed []error
	const kind = model.KindResource
	fail := func(id string, err error) { failed = append(failed, fmt.Errorf("%s %s: %w", kind, id, err)) }
	for _, id := range ids {
		answer, err := s.send(ctx, kind, id, cmd)
		switch {
		case err == nil:
			answers = append(answers, answer)
		case !all || !client.IsConflict(err) && !client.IsNotFound(err):
			fail(id, err)
		}
	}
	// Only now, so that they end together and not one after the other.
	shown := make([]any, 0, len(answers))
	for _, answer := range answers {
		if wait {
			if err := s.settle(ctx, &answer); err != nil {
				fail(answer.id, err)
				continue
			}
		}
		shown = append(shown, answer.answer())
		err := answer.refused()
		if err == nil && !s.out.json {
			err = s.out.sayf("%s", answer.text())
		}
		if err != nil {
			failed = append(failed, err)
		}
	}
	if s.out.json {
		failed = append(failed, s.out.object(whole(shown)))
	} else if len(ids) == 0 {
		failed = append(failed, s.out.sayf("there is no %s to %s", kind, cmd.Command))
	}
	return errors.Join(failed...)
}

// showLive prints how leases stand. A lease takes no update: a worker looks at each whenever something is due for it, and there is nothing
// that a person would have to push.
func (s *session) showLive(ctx context.Context, ids []string) error {
	var leases []wire.Lease
	var err error
	if len(ids) == 0 {
		leases, err = s.liveLeases(ctx)
	}
	for _, id := range ids {
		lease, err := s.GetLease(ctx, id)
		if err != nil {
			return fmt.Errorf("lease %s: %w", id, err)
		}
		leases = append(leases, lease)
	}
	if err != nil {
		return err
	}
	s.say.notef("Nothing was sent: workers update a lease whenever something is due for it. This is how it stands.")
	return s.showLeases(whole(leases))
}

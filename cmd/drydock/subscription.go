package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v3"

	"drydock/api/wire"
	"drydock/client"
	"drydock/model"
)

func subscriptionCommand(o *clientOptions) *cli.Command {
	return &cli.Command{
		Name: "subscription", Usage: "have events sent to a service",
		Commands: []*cli.Command{
			subscriptionApply(o), subscriptionGet(o), subscriptionList(o), subscriptionDelete(o), subscriptionDeadLetters(o), subscriptionRetry(o),
		},
	}
}

// filterFlags are the flags that select events.
type filterFlags struct{ types, events, status []string }

func (f *filterFlags) flags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "type", Destination: &f.types, Usage: "only events of a `KIND` of object: lease or resource (repeatable)"},
		&cli.StringSliceFlag{Name: "event", Destination: &f.events, Usage: "only this `EVENT`, such as released (repeatable)"},
		&cli.StringSliceFlag{Name: "status", Destination: &f.status, Usage: "only events after which the object is in this `STATE` (repeatable)"},
	}
}

func subscriptionApply(o *clientOptions) *cli.Command {
	var f filterFlags
	var n wire.NewSubscription
	var secretFile string
	var disabled bool
	return &cli.Command{
		Name: "apply", Usage: "declare a subscription", ArgsUsage: "NAME",
		Description: "What no flag names gets its default: a declaration is the whole of it. Only the secret stays as it is unless one is given.",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "url", Destination: &n.URL, Required: true, Usage: "`URL` that the events are posted to"},
			&cli.StringFlag{
				Name: "secret-file", Destination: &secretFile, TakesFile: true,
				Usage: "`FILE` with the secret that signs them; required for a new subscription, as here or in $" + envName("subscription-secret"),
			},
			&cli.IntFlag{Name: "tries", Destination: &n.Tries, HideDefault: true, Usage: "`NUMBER` of times that an event is sent before it is given up"},
			&cli.BoolFlag{Name: "disabled", Destination: &disabled, Usage: "send nothing for now"},
		}, f.flags()...),
		Action: o.action(func(ctx context.Context, cmd *cli.Command, s *session) error {
			name, err := oneArg(cmd)
			if err != nil {
				return err
			}
			n.Secret = os.Getenv(envName("subscription-secret"))
			if secretFile != "" {
				text, err := os.ReadFile(secretFile) //nolint:gosec // the user names the file
				if err != nil {
					return model.Invalid("--secret-file", "%s", err)
				}
				if n.Secret = strings.TrimSpace(string(text)); n.Secret == "" {
					return model.Invalid("--secret-file", "%s is empty", secretFile)
				}
			}
			n.Filter = &wire.EventFilter{Types: f.types, Events: f.events, Status: f.status}
			n.Enabled = new(!disabled)
			sub, created, err := s.PutSubscription(ctx, name, n)
			switch {
			case err != nil:
				return err
			case s.out.json:
				return s.out.object(sub)
			case created:
				return s.out.sayf("subscription %s created", name)
			}
			return s.out.sayf("subscription %s declared anew", name)
		}),
	}
}

func subscriptionGet(o *clientOptions) *cli.Command {
	return &cli.Command{
		Name: "get", Usage: "show a subscription and how far it has come", ArgsUsage: "NAME",
		Action: o.action(func(ctx context.Context, cmd *cli.Command, s *session) error {
			name, err := oneArg(cmd)
			if err != nil {
				return err
			}
			sub, err := s.GetSubscription(ctx, name)
			if err != nil {
				return err
			}
			return s.showSubscription(sub)
		}),
	}
}

// showSubscription prints one subscription in full.
func (s *session) showSubscription(sub wire.Subscription) error {
	if s.out.json {
		return s.out.object(sub)
	}
	now := s.now()
	rows := [][]cell{plain("Subscription", sub.Name), plain("Namespace", sub.Namespace), plain("URL", sub.URL)}
	add := func(name, value string) {
		if value != "" && value != "-" {
			rows = append(rows, plain(name, value))
		}
	}
	add("Types", strings.Join(sub.Filter.Types, " "))
	add("Events", strings.Join(sub.Filter.Events, " "))
	add("Status", strings.Join(sub.Filter.Status, " "))
	rows = append(rows, []cell{{text: "State"}, subscriptionState(sub)}, plain("Tries", fmt.Sprint(sub.Tries)), plain("Position", sub.Position),
		plain("Sent", fmt.Sprint(sub.Sent)))
	add("Last sent", stamp(sub.SentAt, now))
	if sub.Failures > 0 {
		add("Failures", fmt.Sprint(sub.Failures))
		add("Next try", stamp(sub.TryAt, now))
	}
	add("Last error", string(sub.LastError))
	rows = append(rows, plain("Dead letters", deadLetters(sub)))
	add("Created", stamp(sub.CreatedAt, now))
	add("Updated", stamp(sub.UpdatedAt, now))
	return s.out.table(nil, rows)
}

func subscriptionState(sub wire.Subscription) cell {
	switch {
	case !sub.Enabled:
		return cell{"disabled", dim}
	case sub.Failures > 0:
		return cell{"failing", red}
	case sub.Retrying:
		return cell{"retrying dead letters", yellow}
	}
	return cell{"enabled", green}
}

func deadLetters(sub wire.Subscription) string {
	if sub.Dropped > 0 {
		return fmt.Sprintf("%d, of which %d are no longer kept", sub.DeadLetters, sub.Dropped)
	}
	return fmt.Sprint(sub.DeadLetters)
}

func subscriptionList(o *clientOptions) *cli.Command {
	return &cli.Command{
		Name: "list", Usage: "list subscriptions, by name",
		Action: o.action(func(ctx context.Context, _ *cli.Command, s *session) error {
			subs, err := s.Subscriptions(ctx)
			if err != nil {
				return err
			}
			if s.out.json {
				return s.out.object(whole(subs))
			}
			rows := make([][]cell, 0, len(subs))
			for _, sub := range subs {
				rows = append(rows, append(plain(sub.Name), subscriptionState(sub), cell{text: fmt.Sprint(sub.Sent)},
					cell{text: relative(sub.SentAt, s.now())}, cell{text: fmt.Sprint(sub.DeadLetters)}, cell{text: sub.URL}, cell{text: or(sub.LastError)}))
			}
			return s.out.table([]string{"SUBSCRIPTION", "STATE", "SENT", "LAST", "DEAD", "URL", "LAST ERROR"}, rows)
		}),
	}
}

func subscriptionDelete(o *clientOptions) *cli.Command {
	return &cli.Command{
		Name: "delete", Usage: "end a subscription; its dead letters go with it", ArgsUsage: "NAME",
		Action: o.action(func(ctx context.Context, cmd *cli.Command, s *session) error {
			name, err := oneArg(cmd)
			if err == nil {
				err = s.DeleteSubscription(ctx, name)
			}
			if err != nil || s.out.json {
				return err
			}
			return s.out.sayf("subscription %s deleted", name)
		}),
	}
}

func subscriptionDeadLetters(o *clientOptions) *cli.Command {
	var l listed
	return &cli.Command{
		Name: "dead-letters", Usage: "list the events that a subscription has given up, oldest first", ArgsUsage: "NAME",
		Flags: l.flags(),
		Action: o.action(func(ctx context.Context, cmd *cli.Command, s *session) error {
			name, err := oneArg(cmd)
			if err != nil {
				return err
			}
			one := func() (wire.Page[wire.DeadLetter], error) { return s.ListDeadLetters(ctx, name, l.page()) }
			page, err := pageOf(l.all, one, s.DeadLetters(ctx, name))
			if err != nil {
				return err
			}
			if s.out.json {
				return s.out.object(page)
			}
			rows := make([][]cell, 0, len(page.Items))
			for _, d := range page.Items {
				rows = append(rows, plain(d.Event.ID, d.Event.Event, or(d.Event.Type)+" "+or(d.Event.Object), relative(d.At, s.now()), fmt.Sprint(d.Tries), d.Reason))
			}
			err = s.out.table([]string{"EVENT ID", "EVENT", "OBJECT", "GIVEN UP", "TRIES", "REASON"}, rows)
			s.more(page.Next)
			return err
		}),
	}
}

func subscriptionRetry(o *clientOptions) *cli.Command {
	return &cli.Command{
		Name: "retry", Usage: "send all dead letters again, once each", ArgsUsage: "NAME",
		Action: o.action(func(ctx context.Context, cmd *cli.Command, s *session) error {
			name, err := oneArg(cmd)
			if err != nil {
				return err
			}
			n, err := s.RetryDeadLetters(ctx, name)
			if err != nil {
				return err
			}
			if s.out.json {
				return s.out.object(wire.DeadLettersRetried{Retrying: n})
			}
			return s.out.sayf("%d dead letters of subscription %s will be sent again", n, name)
		}),
	}
}

func eventsCommand(o *clientOptions) *cli.Command {
	var f filterFlags
	var e client.EventOptions
	var follow bool
	return &cli.Command{
		Name: "events", Usage: "show what happens in a namespace",
		Description: "Shows the events that are kept, oldest first, and ends; with --follow, shows those that come from now on, over restarts of the\n" +
			"server too. With -o json, each line is an event. A gap says that events before it are no longer kept.",
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Destination: &follow, Usage: "show what comes, until Ctrl-C or --timeout"},
			&cli.StringFlag{Name: "after", Destination: &e.After, Usage: "begin behind the event with this `ID`; 0 is before the oldest that is kept"},
			&cli.StringFlag{Name: "object", Destination: &e.Object, Usage: "only events of the lease or resource with this `ID`"},
		}, f.flags()...),
		Action: o.action(func(ctx context.Context, _ *cli.Command, s *session) error {
			for _, t := range f.types {
				e.Types = append(e.Types, model.Kind(t))
			}
			for _, name := range f.events {
				e.Events = append(e.Events, model.EventType(name))
			}
			e.Status = f.status
			if !follow && e.After == "" {
				e.After = "0"
			}
			e.UntilNow = !follow
			for event, err := range s.Events(ctx, e) {
				if err == nil {
					err = s.showEvent(event)
				}
				if err != nil {
					return err
				}
			}
			return nil
		}),
	}
}

// showEvent prints a line of `events`.
func (s *session) showEvent(e wire.Event) error {
	if s.out.json {
		return s.out.line(e)
	}
	object := or(e.Type)
	if e.Object != "" {
		object += " " + string(e.Object)
	}
	if e.Text != "" {
		object += "  " + string(e.Text)
	}
	return s.out.sayf("%s  %-12s  %s", e.At.Local().Format("2006-01-02 15:04:05.000"), e.Event, object)
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"drydock/api/wire"
	"drydock/client"
	"drydock/model"
)

func leaseCommand(o *clientOptions) *cli.Command {
	return &cli.Command{
		Name: "lease", Usage: "queue, watch and give back leases",
		Commands: []*cli.Command{
			leaseCreate(o), leaseGet(o), leaseList(o), leaseWatch(o), leaseExtend(o), leaseRelease(o), dataCommand(o, model.KindLease),
		},
	}
}

// wanted are the flags that say what lease is asked for.
type wanted struct {
	typ, owner, until, data string
	attributes, blueprints  []string
	ttl                     time.Duration
	priority                int
}

func (w *wanted) flags(ttl time.Duration, ttlUsage string) []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "type", Destination: &w.typ, Required: true, Usage: "`TYPE` of resource, such as host"},
		&cli.StringSliceFlag{
			Name: "attribute", Aliases: []string{"a"}, Destination: &w.attributes,
			Usage: "`NAME=VALUE` that the resource must have (repeatable)",
		},
		&cli.StringSliceFlag{Name: "blueprint", Destination: &w.blueprints, Usage: "`NAME` of a blueprint to serve it from (repeatable); default any"},
		&cli.DurationFlag{Name: "ttl", Destination: &w.ttl, Value: ttl, HideDefault: ttl == 0, Usage: ttlUsage},
		&cli.StringFlag{Name: "owner", Destination: &w.owner, Usage: "`NAME` of who uses it; default the author"},
		&cli.IntFlag{Name: "priority", Destination: &w.priority, HideDefault: true, Usage: "-100 to 100; one step is worth five minutes of waiting"},
		&cli.StringFlag{Name: "data", Destination: &w.data, Usage: "`JSON` to keep with the lease"},
	}
}

// request makes the request of the flags.
func (w *wanted) request(o *clientOptions) (n wire.NewLease, err error) {
	n = wire.NewLease{Type: w.typ, Blueprints: w.blueprints, Owner: w.owner, Priority: w.priority}
	if n.Owner == "" {
		n.Owner = o.author
	}
	for _, pair := range w.attributes {
		name, value, ok := strings.Cut(pair, "=")
		if !ok {
			return n, model.Invalid("--attribute", "must be NAME=VALUE, not %s", model.Quote(pair))
		}
		if _, twice := n.Attributes[name]; twice {
			return n, model.Invalid("--attribute", "%s comes more than once", model.Quote(name))
		}
		if n.Attributes == nil {
			n.Attributes = wire.Attributes{}
		}
		n.Attributes[name] = value
	}
	if w.ttl != 0 {
		ttl := model.Duration(w.ttl)
		n.TTL = &ttl
	}
	if w.until != "" {
		at, err := parseUntil(w.until)
		if err != nil {
			return n, err
		}
		n.Until = &wire.Time{Time: at}
	}
	if w.data != "" {
		if n.Data = json.RawMessage(w.data); !json.Valid(n.Data) {
			return n, model.Invalid("--data", "must be JSON")
		}
	}
	return n, nil
}

func parseUntil(text string) (time.Time, error) {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, model.Invalid("--until", "must be an RFC 3339 time such as 2030-01-02T15:04:05Z, not %s", model.Quote(text))
	}
	return at, nil
}

func leaseCreate(o *clientOptions) *cli.Command {
	var w wanted
	var wait bool
	var key string
	return &cli.Command{
		Name: "create", Usage: "queue a lease", DisableSliceFlagSeparator: true,
		Description: "Prints the lease as it was queued; with --wait, when it is active. Whoever stops waiting, by Ctrl-C or --timeout, gives\n" +
			"the lease back. The ttl counts from now, also while the lease waits; `drydock run` extends its lease by itself.",
		Flags: append(w.flags(0, "`DURATION` that the lease lasts; without --ttl and --until it has no end"),
			&cli.StringFlag{Name: "until", Destination: &w.until, Usage: "`TIME` at which it ends, in the form of RFC 3339"},
			&cli.BoolFlag{Name: "wait", Destination: &wait, Usage: "wait until it is active"},
			&cli.StringFlag{
				Name: "idempotency-key", Destination: &key,
				Usage: "`KEY` that makes the same request, sent again within a day, the same lease",
			},
		),
		Action: o.action(func(ctx context.Context, _ *cli.Command, s *session) error {
			n, err := w.request(o)
			if err != nil {
				return err
			}
			if key == "" {
				key = client.NewIdempotencyKey()
			}
			if !wait {
				lease, err := s.CreateLease(ctx, n, client.IdempotencyKey(key))
				if err != nil {
					return err
				}
				return s.showLease(lease)
			}
			ctx, stop := withHangup(ctx)
			defer stop()
			lease, err := s.createAndWait(ctx, n, key)
			if err != nil {
				return err
			}
			return s.showLease(lease)
		}),
	}
}

// createAndWait queues a lease and waits until it is active. When that fails the lease is released.
func (s *session) createAndWait(ctx context.Context, n wire.NewLease, key string) (wire.Lease, error) {
	begin := s.now()
	lease, err := s.CreateLease(ctx, n, client.IdempotencyKey(key))
	if err != nil && !errors.Is(err, client.ErrOutcomeUnknown) {
		return lease, err
	}
	id := lease.ID
	if err == nil {
		lease, err = s.WaitLease(ctx, id, model.LeaseActive, client.WaitOptions{
			Progress: s.say.leaseProgress(begin), Interval: s.say.interval(),
		})
		s.say.done()
	}
	if err == nil && lease.Status != "active" {
		return lease, s.WhyEnded(ctx, lease)
	}
	if err == nil {
		return lease, nil
	}
	// A cause such as a signal tells more than "context canceled".
	if cause := context.Cause(ctx); cause != nil {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	if e := s.giveBack(ctx, id, n, key); e != nil {
		s.say.notef("The lease may be left behind: %s", e)
	}
	return lease, err
}

// giveBack releases a lease that is not wanted any more. Without an id its reply was lost: the same key finds it.
func (s *session) giveBack(ctx context.Context, id string, n wire.NewLease, key string) error {
	if id == "" {
		lease, err := s.CreateLease(ctx, n, client.IdempotencyKey(key))
		if err != nil {
			return err
		}
		id = lease.ID
	}
	if _, err := s.ReleaseLease(ctx, id, "its requester stopped waiting"); err != nil {
		return err
	}
	s.say.notef("Lease %s was given back.", id)
	return nil
}

// releaseTimeout bounds the release of a lease that is not wanted any more.
const releaseTimeout = 10 * time.Second

func leaseGet(o *clientOptions) *cli.Command {
	var state string
	return &cli.Command{
		Name: "get", Usage: "show a lease", ArgsUsage: "LEASE",
		Flags: []cli.Flag{&cli.StringFlag{
			Name: "wait", Destination: &state, Usage: "first wait until it is in this `STATE` or past it; its end counts as past all",
		}},
		Action: o.action(func(ctx context.Context, cmd *cli.Command, s *session) error {
			id, err := oneArg(cmd)
			if err != nil {
				return err
			}
			if state == "" {
				lease, err := s.GetLease(ctx, id)
				if err != nil {
					return err
				}
				return s.showLease(lease)
			}
			if !model.LeaseState(state).Valid() {
				return model.Invalid("--wait", "must be one of %s", model.Join(model.LeaseStates()))
			}
			lease, err := s.WaitLease(ctx, id, model.LeaseState(state), client.WaitOptions{
				Progress: s.say.leaseProgress(s.now()), Interval: s.say.interval(),
			})
			s.say.done()
			if err != nil {
				return err
			}
			return s.showLease(lease)
		}),
	}
}

// listed are the flags of a list.
type listed struct {
	limit int
	after string
	all   bool
}

func (l *listed) flags() []cli.Flag {
	return []cli.Flag{
		&cli.IntFlag{Name: "limit", Destination: &l.limit, HideDefault: true, Usage: "`NUMBER` of rows at most; default 50, at most 500"},
		&cli.StringFlag{Name: "after", Destination: &l.after, Usage: "`CURSOR`: the \"next\" of the page before"},
		&cli.BoolFlag{Name: "all", Destination: &l.all, Usage: "all pages, as one"},
	}
}

func (l *listed) page() client.PageOptions { return client.PageOptions{Limit: l.limit, After: l.after} }

// more tells that there is another page.
func (s *session) more(next wire.Text) {
	if next != "" && !s.out.json {
		s.say.notef("There are more: --after %s, or --all.", next)
	}
}

func leaseList(o *clientOptions) *cli.Command {
	var l listed
	var f client.LeaseFilter
	var state string
	return &cli.Command{
		Name: "list", Usage: "list leases, newest first",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "status", Destination: &state, Usage: "only those in this `STATE`"},
			&cli.StringFlag{Name: "type", Destination: &f.Type, Usage: "only those of this `TYPE`"},
			&cli.StringFlag{Name: "resource", Destination: &f.Resource, Usage: "only those on the resource with this `ID`"},
			&cli.StringFlag{Name: "owner", Destination: &f.Owner, Usage: "only those of this `OWNER`"},
		}, l.flags()...),
		Action: o.action(func(ctx context.Context, _ *cli.Command, s *session) error {
			f.Status, f.PageOptions = model.LeaseState(state), l.page()
			page, err := pageOf(l.all, func() (wire.Page[wire.Lease], error) { return s.ListLeases(ctx, f) }, s.Leases(ctx, f))
			if err != nil {
				return err
			}
			return s.showLeases(page)
		}),
	}
}

func (s *session) showLeases(page wire.Page[wire.Lease]) error {
	if s.out.json {
		return s.out.object(page)
	}
	rows := make([][]cell, 0, len(page.Items))
	now := s.now()
	for _, l := range page.Items {
		rows = append(rows, append(plain(l.ID, l.Type), leaseStatus(l),
			cell{text: or(l.Owner)}, cell{text: or(l.Resource)}, cell{text: relative(l.CreatedAt, now)}, cell{text: ending(l, now)},
			cell{text: waitingFor(l)}))
	}
	err := s.out.table([]string{"LEASE", "TYPE", "STATUS", "OWNER", "RESOURCE", "CREATED", "UNTIL", "WAITING"}, rows)
	s.more(page.Next)
	return err
}

// ending says when a lease ends; a dash when it has ended, or never does.
func ending(l wire.Lease, now time.Time) string {
	if !model.LeaseState(l.Status).Commandable() {
		return "-"
	}
	return relative(l.Until, now)
}

func leaseStatus(l wire.Lease) cell {
	text := l.Status
	if l.Releasing {
		text += ", releasing"
	}
	return cell{text, stateColour(l.Status)}
}

// waitingFor says where a lease stands in the queue and why.
func waitingFor(l wire.Lease) string {
	if l.Waiting == nil {
		return ""
	}
	text := ordinal(l.Waiting.Position)
	if l.Waiting.Reason != "" {
		text += ": " + string(l.Waiting.Reason)
	}
	return text
}

// showLease prints one lease in full.
func (s *session) showLease(l wire.Lease) error {
	if s.out.json {
		return s.out.object(l)
	}
	now := s.now()
	rows := [][]cell{
		plain("Lease", l.ID),
		plain("Namespace", l.Namespace),
		plain("Type", l.Type),
		{{text: "Status"}, leaseStatus(l)},
	}
	add := func(name, value string) {
		if value != "" && value != "-" {
			rows = append(rows, plain(name, value))
		}
	}
	add("Waiting", waitingFor(l))
	add("Owner", string(l.Owner))
	add("Attributes", pairs(l.Attributes))
	add("Blueprints", strings.Join(l.Blueprints, " "))
	add("Resource", string(l.Resource))
	add("Blueprint", string(l.Blueprint))
	if l.Priority != 0 {
		add("Priority", fmt.Sprint(l.Priority))
	}
	if data := string(l.Data); data != "null" {
		add("Data", data)
	}
	add("Fence", fmt.Sprint(l.Fence))
	rows = append(rows, plain("Until", untilOf(l.Until, now)))
	add("Created", stamp(l.CreatedAt, now))
	add("Acquired", stamp(l.AcquiredAt, now))
	add("Activated", stamp(l.ActivatedAt, now))
	add("Released", stamp(l.ReleasedAt, now))
	add("Destroyed", stamp(l.DestroyedAt, now))
	return s.out.table(nil, rows)
}

func untilOf(at wire.Time, now time.Time) string {
	if at.IsZero() {
		return "no end"
	}
	return stamp(at, now)
}

func leaseWatch(o *clientOptions) *cli.Command {
	return &cli.Command{
		Name: "watch", Usage: "show a lease now and after each change, until it is destroyed", ArgsUsage: "LEASE",
		Description: "With -o json, each line is the lease.",
		Action: o.action(func(ctx context.Context, cmd *cli.Command, s *session) error {
			id, err := oneArg(cmd)
			if err != nil {
				return err
			}
			for lease, err := range s.WatchLease(ctx, id, time.Second) {
				if err != nil {
					return err
				}
				if s.out.json {
					err = s.out.line(lease)
				} else {
					err = s.watched(lease)
				}
				if err != nil {
					return err
				}
			}
			return nil
		}),
	}
}

// watched prints a line of `lease watch`.
func (s *session) watched(l wire.Lease) error {
	facts := []string{s.now().Format(time.TimeOnly), s.out.paint(leaseStatus(l))}
	if l.Waiting != nil {
		facts = append(facts, waitingFor(l))
	}
	if l.Resource != "" {
		facts = append(facts, "on "+string(l.Resource))
	}
	if end := ending(l, s.now()); end != "-" {
		facts = append(facts, "ends "+end)
	}
	for i := range facts {
		if i != 1 { // it is painted, and the API's own word
			facts[i] = oneLine(facts[i])
		}
	}
	_, err := fmt.Fprintln(s.out.w, strings.Join(facts, "  "))
	return err
}

func leaseExtend(o *clientOptions) *cli.Command { return extendVerb(o, model.KindLease) }

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"drydock/api/wire"
	"drydock/client"
	"drydock/model"
)

func topCommand(o *clientOptions) *cli.Command {
	var once bool
	var interval time.Duration
	return &cli.Command{
		Name: "top", Usage: "watch pools and queues",
		Description: "What each blueprint has, and who waits for what. Ctrl-C ends it. With -o json, each line is one look.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "once", Destination: &once, Usage: "look once"},
			&cli.DurationFlag{
				Name: "interval", Destination: &interval, Value: 2 * time.Second, Usage: "`DURATION` between two looks",
				Validator: func(d time.Duration) error {
					if d < 100*time.Millisecond {
						return model.Invalid("--interval", "must be at least 100ms")
					}
					return nil
				},
			},
		},
		Action: o.action(func(ctx context.Context, _ *cli.Command, s *session) error {
			tick := time.NewTicker(interval)
			defer tick.Stop()
			live := isTerminal(s.out.w) && !once && !s.out.json
			for {
				look, err := s.look(ctx)
				if _, ok := errors.AsType[interrupted](context.Cause(ctx)); ok {
					return nil // that is how one leaves it
				}
				if err != nil {
					return err
				}
				if live {
					fmt.Fprint(s.out.w, "\x1b[H\x1b[2J")
				}
				if err := s.showTop(look); err != nil || once {
					return err
				}
				if !live && !s.out.json {
					fmt.Fprintln(s.out.w)
				}
				select {
				case <-tick.C:
				case <-ctx.Done():
				}
			}
		}),
	}
}

// topLook is one look at a namespace.
type topLook struct {
	At        wire.Time   `json:"at"`
	Namespace string      `json:"namespace"`
	Pools     []*topPool  `json:"pools"`
	Queues    []*topQueue `json:"queues"`
}

// topPool is a blueprint and what it has.
type topPool struct {
	Blueprint string `json:"blueprint"`
	Kind      string `json:"kind"`
	Type      string `json:"type"`
	Enabled   bool   `json:"enabled"`
	Limit     int    `json:"limit"`
	// The resources: by state, and how many of the active ones are paused.
	Pending int `json:"pending"`
	Active  int `json:"active"`
	Paused  int `json:"paused"`
	Leaving int `json:"leaving"` // released or broken, not destroyed yet
	// The places on active resources that take leases, and the leases on all resources.
	Capacity int `json:"capacity"`
	Leases   int `json:"leases"`
}

// topQueue is a type and who waits for it.
type topQueue struct {
	Type    string `json:"type"`
	Waiting int    `json:"waiting"`
	Active  int    `json:"active"`
	// The first in the queue: its id, since when it waits, and why.
	First  wire.Text `json:"first"`
	Since  wire.Time `json:"since"`
	Reason wire.Text `json:"reason"`
}

// look looks at all that lives.
func (s *session) look(ctx context.Context) (*topLook, error) {
	out := &topLook{At: wire.Time{Time: s.now()}, Namespace: s.Namespace(), Pools: []*topPool{}, Queues: []*topQueue{}}
	pools := map[string]*topPool{}
	for b, err := range s.Blueprints(ctx) {
		if err != nil {
			return nil, err
		}
		pools[b.Name] = &topPool{Blueprint: b.Name, Kind: b.Kind, Type: b.Type, Enabled: b.Enabled, Limit: b.Limit}
	}
	for _, state := range model.ResourceStates() {
		if state.Terminal() {
			continue
		}
		for r, err := range s.Resources(ctx, client.ResourceFilter{Status: state}) {
			if err != nil {
				return nil, err
			}
			if pools[string(r.Blueprint)] == nil { // it was declared a moment ago
				pools[string(r.Blueprint)] = &topPool{Blueprint: string(r.Blueprint), Type: r.Type}
			}
			pools[string(r.Blueprint)].count(r)
		}
	}
	queues := map[string]*topQueue{}
	for _, state := range []model.LeaseState{model.LeasePending, model.LeaseAcquired, model.LeaseActive} {
		for l, err := range s.Leases(ctx, client.LeaseFilter{Status: state}) {
			if err != nil {
				return nil, err
			}
			if queues[l.Type] == nil {
				queues[l.Type] = &topQueue{Type: l.Type}
			}
			queues[l.Type].count(l)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(pools)) {
		out.Pools = append(out.Pools, pools[name])
	}
	for _, typ := range slices.Sorted(maps.Keys(queues)) {
		out.Queues = append(out.Queues, queues[typ])
	}
	return out, nil
}

func (p *topPool) count(r wire.Resource) {
	p.Leases += r.Leases
	switch model.ResourceState(r.Status) {
	case model.ResourcePending:
		p.Pending++
	case model.ResourceActive:
		p.Active++
		if r.Paused {
			p.Paused++
		} else {
			p.Capacity += r.Capacity
		}
	case model.ResourceReleased, model.ResourceBroken:
		p.Leaving++
	case model.ResourceDestroyed:
	}
}

func (q *topQueue) count(l wire.Lease) {
	if l.Status != string(model.LeasePending) {
		q.Active++
		return
	}
	q.Waiting++
	if w := l.Waiting; w != nil && w.Position == 1 {
		q.First, q.Since, q.Reason = wire.Text(l.ID), l.CreatedAt, w.Reason
	}
}

func (s *session) showTop(look *topLook) error {
	if s.out.json {
		return s.out.line(look)
	}
	if err := s.out.sayf("drydock top  %s  %s", s, look.At.Local().Format(time.TimeOnly)); err != nil {
		return err
	}
	fmt.Fprintln(s.out.w)
	rows := make([][]cell, 0, len(look.Pools))
	for _, p := range look.Pools {
		var notes []string
		for _, n := range []struct {
			count int
			what  string
		}{{p.Pending, "pending"}, {p.Paused, "paused"}, {p.Leaving, "leaving"}} {
			if n.count > 0 {
				notes = append(notes, fmt.Sprintf("%d %s", n.count, n.what))
			}
		}
		if !p.Enabled {
			notes = append(notes, "disabled")
		}
		limit := "-"
		if p.Limit > 0 {
			limit = fmt.Sprint(p.Limit)
		}
		rows = append(rows, plain(p.Blueprint, cmp.Or(p.Kind, "-"), p.Type, limit, fmt.Sprint(p.Active),
			fmt.Sprintf("%d/%d", p.Leases, p.Capacity), strings.Join(notes, ", ")))
	}
	if err := s.out.table([]string{"POOL", "KIND", "TYPE", "LIMIT", "ACTIVE", "LEASED", "NOTES"}, rows); err != nil {
		return err
	}
	fmt.Fprintln(s.out.w)
	rows = rows[:0]
	for _, q := range look.Queues {
		paint := colour("")
		if q.Waiting > 0 {
			paint = yellow
		}
		since := ""
		if !q.Since.IsZero() {
			since = short(max(0, s.now().Sub(q.Since.Time)))
		}
		rows = append(rows, append(plain(q.Type, fmt.Sprint(q.Active)), cell{fmt.Sprint(q.Waiting), paint},
			cell{text: since}, cell{text: string(q.Reason)}))
	}
	return s.out.table([]string{"QUEUE", "LEASED", "WAITING", "FIRST FOR", "REASON"}, rows)
}

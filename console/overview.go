package console

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"drydock/api/wire"
	"drydock/client"
	"drydock/model"
)

// overview is the first page. It is made from one page of each list, the newest, and says so where there is more.
type overview struct {
	Pools     []*pool
	Waiters   []wire.Lease
	Releases  []released
	Chart     chart
	Status    *Status
	StatusWhy string
	// Partial says that there is more than was looked at.
	Partial bool
	Looked  int
}

// pool is a blueprint with what it has.
type pool struct {
	Blueprint                             wire.Blueprint
	Free, Leased, Paused, Broken, Waiting int
	Places, Others                        int
	FreeW, LeasedW                        int
}

type released struct {
	wire.Lease
	Command *wire.Command
}

// Bounds of the overview.
const (
	shownWaiters  = 8
	shownReleases = 6
)

func (c *Console) overview(w http.ResponseWriter, r *http.Request, v *visit) error {
	ctx, newest := r.Context(), client.PageOptions{Limit: model.MaxPageLimit}
	o := &overview{Looked: model.MaxPageLimit}
	bps, err := v.api.ListBlueprints(ctx, newest)
	if err != nil {
		return err
	}
	resources := []wire.Resource{}
	for _, state := range []model.ResourceState{model.ResourcePending, model.ResourceActive, model.ResourceBroken} {
		page, err := v.api.ListResources(ctx, client.ResourceFilter{Status: state, PageOptions: newest})
		if err != nil {
			return err
		}
		resources, o.Partial = append(resources, page.Items...), o.Partial || page.Next != ""
	}
	leases, err := v.api.ListLeases(ctx, client.LeaseFilter{PageOptions: newest})
	if err != nil {
		return err
	}
	pending, err := v.api.ListLeases(ctx, client.LeaseFilter{Status: model.LeasePending, PageOptions: newest})
	if err != nil {
		return err
	}
	o.Partial = o.Partial || leases.Next != "" || pending.Next != ""
	o.Pools = pools(bps.Items, resources, pending.Items)
	o.Waiters = pending.Items
	slices.SortFunc(o.Waiters, func(a, b wire.Lease) int { return a.CreatedAt.Compare(b.CreatedAt.Time) })
	o.Waiters = o.Waiters[:min(len(o.Waiters), shownWaiters)]
	if o.Releases, err = recent(ctx, v, leases.Items); err != nil {
		return err
	}
	if c.cfg.Status != nil {
		status, err := c.cfg.Status(ctx, v.namespace)
		if err != nil {
			c.cfg.Log.WarnContext(ctx, "the console cannot say how the workers are", "error", err)
			o.StatusWhy = "unknown: it could not be read"
		} else {
			o.Status, o.Chart = &status, utilisation(v.now, status.Usage)
		}
	}
	return c.show(w, r, v, "overview", &view{Title: "Overview", Tab: "overview", Data: o})
}

func pools(bps []wire.Blueprint, resources []wire.Resource, pending []wire.Lease) (out []*pool) {
	byName := map[string]*pool{}
	for _, b := range bps {
		p := &pool{Blueprint: b}
		byName[b.Name] = p
		out = append(out, p)
		for _, l := range pending {
			if l.Type == b.Type && (len(l.Blueprints) == 0 || slices.Contains(l.Blueprints, b.Name)) {
				p.Waiting++
			}
		}
	}
	for _, r := range resources {
		p := byName[string(r.Blueprint)]
		if p == nil {
			continue
		}
		p.Leased += r.Leases
		switch {
		case r.Status == string(model.ResourceBroken):
			p.Broken++
		case r.Paused:
			p.Paused++
		case r.Status == string(model.ResourceActive) && !r.Releasing:
			p.Free += max(0, r.Capacity-r.Leases)
		default:
			p.Others++
		}
	}
	for _, p := range out {
		if p.Places = p.Free + p.Leased + p.Paused + p.Broken + p.Others; p.Places > 0 {
			p.LeasedW = 100 * p.Leased / p.Places
			p.FreeW = 100 * p.Free / p.Places
		}
	}
	return out
}

// recent finds the newest releases with their command. It reads one object each, of few.
func recent(ctx context.Context, v *visit, leases []wire.Lease) (out []released, err error) {
	done := slices.DeleteFunc(leases, func(l wire.Lease) bool { return l.ReleasedAt.IsZero() })
	slices.SortFunc(done, func(a, b wire.Lease) int { return b.ReleasedAt.Compare(a.ReleasedAt.Time) })
	for _, l := range done[:min(len(done), shownReleases)] {
		command, err := appliedRelease(ctx, v, l.ID)
		if err != nil {
			return nil, err
		}
		out = append(out, released{l, command})
	}
	return out, nil
}

// appliedRelease returns the command that released a lease; nil = none did, or it has been removed meanwhile.
func appliedRelease(ctx context.Context, v *visit, lease string) (*wire.Command, error) {
	page, err := v.api.ListCommands(ctx, model.KindLease, lease, client.PageOptions{Limit: historyShown})
	if err != nil && !client.IsNotFound(err) {
		return nil, err
	}
	for i, c := range page.Items {
		if c.Command == string(model.CommandRelease) && string(c.Outcome) == string(model.OutcomeApplied) {
			return &page.Items[i], nil
		}
	}
	return nil, nil
}

// chart is how many leases had a place on a resource, and how many waited for one, over time.
type chart struct {
	Line, Area, Waiting string
	Max, Now            int
	Text, Span          string
	From                wire.Time
	Empty               bool
}

// Size of the chart, in its own units.
const chartWidth, chartHeight = 720, 120

// utilisation draws the samples of a day, or of as long as there are any.
func utilisation(now time.Time, samples []Sample) chart {
	span := time.Second
	if len(samples) > 0 {
		span = min(max(span, now.Sub(samples[0].At)), UsageSpan)
	}
	begin := now.Add(-span)
	ch := chart{From: wire.Time{Time: begin}, Span: length(span), Empty: len(samples) < 2}
	most, waiting := 1, 0
	for _, s := range samples {
		ch.Max, ch.Now, waiting = max(ch.Max, s.Leased), s.Leased, s.Waiting
		most = max(most, s.Leased, s.Waiting)
	}
	// draw makes steps: a number holds until the next sample.
	draw := func(number func(Sample) int) (line string, first int) {
		var b strings.Builder
		for i, s := range samples {
			x := max(0, int(s.At.Sub(begin)*chartWidth/span))
			y := chartHeight - number(s)*(chartHeight-10)/most
			if i == 0 {
				first = x
				fmt.Fprintf(&b, "M%d %d", x, y)
				continue
			}
			fmt.Fprintf(&b, "H%dV%d", x, y)
		}
		return b.String(), first
	}
	var first int
	ch.Waiting, _ = draw(func(s Sample) int { return s.Waiting })
	ch.Line, first = draw(func(s Sample) int { return s.Leased })
	if ch.Line != "" {
		ch.Area = ch.Line + fmt.Sprintf("V%dH%dZ", chartHeight, first)
	}
	ch.Text = fmt.Sprintf("In use over the last %s: now %d, at most %d. Dashed: waiting, now %d.", ch.Span, ch.Now, ch.Max, waiting)
	return ch
}

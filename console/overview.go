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
	Oldest    *wire.Command
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
	leases := map[string]wire.Lease{}
	var lists [2][]wire.Lease
	for i, state := range []model.LeaseState{"", model.LeaseActive} {
		page, err := v.api.ListLeases(ctx, client.LeaseFilter{Status: state, PageOptions: newest})
		if err != nil {
			return err
		}
		lists[i], o.Partial = page.Items, o.Partial || page.Next != ""
		for _, l := range page.Items {
			leases[l.ID] = l
		}
	}
	pending, err := v.api.ListLeases(ctx, client.LeaseFilter{Status: model.LeasePending, PageOptions: newest})
	if err != nil {
		return err
	}
	o.Pools = pools(bps.Items, resources, pending.Items)
	o.Waiters = pending.Items
	slices.SortFunc(o.Waiters, func(a, b wire.Lease) int { return a.CreatedAt.Compare(b.CreatedAt.Time) })
	o.Waiters = o.Waiters[:min(len(o.Waiters), shownWaiters)]
	if err := recent(ctx, v, o, lists[0]); err != nil {
		return err
	}
	o.Chart = utilisation(v.now, leases)
	if c.cfg.Status != nil {
		status, err := c.cfg.Status(ctx, v.namespace)
		if err != nil {
			c.cfg.Log.WarnContext(ctx, "the console cannot say how the workers are", "error", err)
			o.StatusWhy = "unknown: it could not be read"
		} else {
			o.Status = &status
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

// recent finds the newest releases with their command, and the oldest command that waits. Both read one object each, of few.
func recent(ctx context.Context, v *visit, o *overview, leases []wire.Lease) error {
	var done, releasing []wire.Lease
	for _, l := range leases {
		switch {
		case !l.ReleasedAt.IsZero():
			done = append(done, l)
		case l.Releasing:
			releasing = append(releasing, l)
		}
	}
	slices.SortFunc(done, func(a, b wire.Lease) int { return b.ReleasedAt.Compare(a.ReleasedAt.Time) })
	for _, l := range done[:min(len(done), shownReleases)] {
		command, err := find(ctx, v, l.ID, func(c wire.Command) bool {
			return c.Command == string(model.CommandRelease) && string(c.Outcome) == string(model.OutcomeApplied)
		})
		if err != nil {
			return err
		}
		o.Releases = append(o.Releases, released{l, command})
	}
	slices.SortFunc(releasing, func(a, b wire.Lease) int { return a.UpdatedAt.Compare(b.UpdatedAt.Time) })
	for _, l := range releasing[:min(len(releasing), shownReleases)] {
		command, err := find(ctx, v, l.ID, func(c wire.Command) bool { return c.ConsumedAt.IsZero() })
		if err != nil {
			return err
		}
		if command != nil && (o.Oldest == nil || command.SentAt.Before(o.Oldest.SentAt.Time)) {
			o.Oldest = command
		}
	}
	return nil
}

func find(ctx context.Context, v *visit, lease string, match func(wire.Command) bool) (*wire.Command, error) {
	page, err := v.api.ListCommands(ctx, model.KindLease, lease, client.PageOptions{Limit: historyShown})
	if client.IsNotFound(err) {
		return nil, nil // removed meanwhile
	}
	for i := range page.Items {
		if match(page.Items[i]) {
			return &page.Items[i], err
		}
	}
	return nil, err
}

// chart is how many leases had a place on a resource, over the last hours.
type chart struct {
	Line, Area string
	Max, Now   int
	Text       string
	From       wire.Time
	Empty      bool
}

// Size of the chart, in its own units.
const (
	chartWidth, chartHeight = 720, 120
	chartSteps              = 120
	chartSpan               = 2 * time.Hour
)

// utilisation counts from the leases' own times, so nobody has to sample anything, and a restart leaves no hole.
func utilisation(now time.Time, leases map[string]wire.Lease) chart {
	var counts [chartSteps + 1]int
	begin := now.Add(-chartSpan)
	for _, l := range leases {
		if l.AcquiredAt.IsZero() {
			continue
		}
		end := now.Add(time.Second)
		if !l.DestroyedAt.IsZero() {
			end = l.DestroyedAt.Time
		}
		for i := range counts {
			if at := begin.Add(chartSpan / chartSteps * time.Duration(i)); !at.Before(l.AcquiredAt.Time) && at.Before(end) {
				counts[i]++
			}
		}
	}
	ch := chart{Max: slices.Max(counts[:]), Now: counts[chartSteps], From: wire.Time{Time: begin}}
	ch.Empty = ch.Max == 0
	var line strings.Builder
	for i, n := range counts {
		x, y := i*chartWidth/chartSteps, chartHeight-n*(chartHeight-10)/max(1, ch.Max)
		if i == 0 {
			fmt.Fprintf(&line, "M%d %d", x, y)
			continue
		}
		fmt.Fprintf(&line, "H%dV%d", x, y)
	}
	ch.Line = line.String()
	ch.Area = ch.Line + fmt.Sprintf("V%dH0Z", chartHeight)
	ch.Text = fmt.Sprintf("Leases in use over the last %s: now %d, at most %d.", length(chartSpan), ch.Now, ch.Max)
	return ch
}

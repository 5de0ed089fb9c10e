package console

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"drydock/api/wire"
	"drydock/client"
	"drydock/model"
)

// historyShown bounds the commands and log entries of a page: the API lists the oldest first, and a life is seldom longer.
const historyShown = model.MaxPageLimit

// object is the page of a lease or a resource.
type object struct {
	Kind, ID, Name, Type, Status string
	Releasing, Paused            bool
	Lease                        *wire.Lease
	Resource                     *wire.Resource
	// Of is the resource of a lease; Leases are those of a resource.
	Of       *wire.Resource
	Leases   []wire.Lease
	Path     []stop
	Actions  []action
	Commands []wire.Command
	Log      []logRow
	Slots    []wire.Slot
	Data     json.RawMessage
	DataRev  int64
	// Sent is the command that the visitor has just sent.
	Sent *wire.Command
	// MoreCommands and MoreLog say that the page does not show all.
	MoreCommands, MoreLog bool
}

// stop is a state on the way of an object.
type stop struct {
	State         string
	At            wire.Time
	Done, Current bool
	// Took is how long the object was in the state, or has been.
	Took time.Duration
}

type logRow struct {
	wire.LogEntry
	// After is the time since the entry before.
	After time.Duration
	First bool
}

func (c *Console) object(kind model.Kind) func(http.ResponseWriter, *http.Request, *visit) error {
	return func(w http.ResponseWriter, r *http.Request, v *visit) error {
		id := r.PathValue("id")
		o, err := c.readObject(r.Context(), v, kind, id)
		if err != nil {
			return err
		}
		page := client.PageOptions{Limit: historyShown}
		commands, err := v.api.ListCommands(r.Context(), kind, id, page)
		if err != nil {
			return err
		}
		log, err := v.api.ListLog(r.Context(), kind, id, page)
		if err != nil {
			return err
		}
		if o.Slots, err = v.api.Slots(r.Context(), kind, id); err != nil {
			return err
		}
		for i, c := range commands.Items {
			if c.ID == r.FormValue("command") {
				o.Sent = &commands.Items[i]
			}
		}
		o.Commands, o.MoreCommands, o.MoreLog = slices.Clone(commands.Items), commands.Next != "", log.Next != ""
		slices.Reverse(o.Commands)
		for i, e := range log.Items {
			row := logRow{LogEntry: e, First: i == 0}
			if i > 0 {
				row.After = e.At.Sub(log.Items[i-1].At.Time)
			}
			o.Log = append(o.Log, row)
		}
		return c.show(w, r, v, "object", &view{Title: title(o), Tab: string(kind) + "s", Data: o})
	}
}

func title(o *object) string {
	if o.Kind == "lease" {
		return "Lease of a " + o.Type
	}
	return "Resource " + o.Name
}

func (c *Console) readObject(ctx context.Context, v *visit, kind model.Kind, id string) (*object, error) {
	if kind == model.KindLease {
		l, err := v.api.GetLease(ctx, id)
		if err != nil {
			return nil, err
		}
		o := &object{
			Kind: "lease", ID: l.ID, Type: l.Type, Status: l.Status, Releasing: l.Releasing, Lease: &l, Data: l.Data, DataRev: l.DataRev,
			Actions: leaseActions(v, &l),
			Path: path(v.now, l.Status, []stop{
				{State: "pending", At: l.CreatedAt}, {State: "acquired", At: l.AcquiredAt}, {State: "active", At: l.ActivatedAt},
				{State: "released", At: l.ReleasedAt}, {State: "destroyed", At: l.DestroyedAt},
			}),
		}
		if l.Resource != "" {
			// One that has been removed since is no reason to show nothing.
			if res, err := v.api.GetResource(ctx, string(l.Resource)); err == nil {
				o.Of = &res
			} else if !client.IsNotFound(err) {
				return nil, err
			}
		}
		return o, nil
	}
	res, err := v.api.GetResource(ctx, id)
	if err != nil {
		return nil, err
	}
	o := &object{
		Kind: "resource", ID: res.ID, Name: res.Name, Type: res.Type, Status: res.Status, Releasing: res.Releasing, Paused: res.Paused, Resource: &res,
		Data: res.Data, DataRev: res.DataRev, Actions: resourceActions(v, &res),
		Path: path(v.now, res.Status, []stop{
			{State: "pending", At: res.CreatedAt}, {State: "active", At: res.ActivatedAt},
			{State: "released", At: res.ReleasedAt}, {State: "destroyed", At: res.DestroyedAt},
		}),
	}
	leases, err := v.api.ListLeases(ctx, client.LeaseFilter{Resource: id, PageOptions: client.PageOptions{Limit: pageSize}})
	o.Leases = leases.Items
	return o, err
}

// path marks where an object is on its way. Broken takes the place of released; states that were passed over stay empty.
func path(now time.Time, status string, stops []stop) []stop {
	if status == string(model.LeaseBroken) {
		stops[len(stops)-2].State = "broken"
	}
	for i := range stops {
		s := &stops[i]
		s.Current = s.State == status
		s.Done = !s.At.IsZero()
		if !s.Done || s.State == "destroyed" {
			continue
		}
		until := wire.Time{Time: now}
		for _, later := range stops[i+1:] {
			if !later.At.IsZero() {
				until = later.At
				break
			}
		}
		s.Took = until.Sub(s.At.Time)
	}
	return stops
}

// Tabs are the names of the panels.
func (*object) Tabs() []string { return []string{"Properties", "Slots", "Commands", "Log", "Data"} }

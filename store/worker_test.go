package store

import (
	"errors"
	"slices"
	"strings"
	"time"

	"drydock/model"
)

// An update handler that does the least: enough to drive objects through whole lives.

// update runs an object's update.
func (e *env) update(ref model.Ref) {
	e.Helper()
	for range 50 {
		c, err := e.Claim(e.ctx, ref, "w1")
		e.must(err)
		if c == nil {
			return
		}
		var again bool
		switch ref.Kind {
		case model.KindLease:
			again, err = e.updateLease(c)
		case model.KindResource:
			again, err = e.updateResource(c)
		case model.KindBlueprint:
			again, err = e.Finish(e.ctx, c, time.Time{})
		}
		switch {
		case errors.Is(err, model.ErrStaleWriter):
			return
		case kindOf(err) == model.ErrorConflict:
			again = true
		default:
			e.must(err)
		}
		if !again {
			return
		}
	}
	e.Fatalf("update of %s finds no end", ref)
}

// handled consumes a claim's commands: the first that takes the object back is applied, the others are superseded.
func handled(c *Claim) (list []Consumption, release bool) {
	list = consumed(c, model.OutcomeSuperseded)
	if i := slices.IndexFunc(c.Commands, func(cmd *model.Command) bool { return takesBack(cmd.Name) }); i >= 0 {
		list[i].Outcome, release = model.OutcomeApplied, true
	}
	return list, release
}

func (e *env) updateLease(c *Claim) (again bool, err error) {
	l := c.Lease
	consume, release := handled(c)
	st := LeaseStep{Step: Step{Consume: consume}}
	switch {
	case l.Status == model.LeaseReleased, l.Status == model.LeaseBroken && !release:
		st.Path, st.Finish = []model.LeaseState{model.LeaseDestroyed}, true
	case release:
		st.Path, again = []model.LeaseState{model.LeaseReleased}, true
	case l.Status == model.LeasePending:
		return e.allocate(c, st)
	case l.Status == model.LeaseAcquired:
		again = true
		st.Path = []model.LeaseState{model.LeaseActive}
		if r, err := e.Resource(e.ctx, e.ns, l.Resource); err != nil || r.Status != model.ResourceActive {
			st.Path, st.Requeue = []model.LeaseState{model.LeasePending}, true
		}
	default:
		st.Finish, st.LookAgain = true, l.Until
	}
	a, err := e.ApplyLease(e.ctx, c, st)
	return again || a.Again, err
}

func (e *env) allocate(c *Claim, st LeaseStep) (again bool, err error) {
	b, err := e.Blueprint(e.ctx, e.ns, bp)
	e.must(err)
	snap, err := e.Snapshot(e.ctx, c, []*model.Blueprint{b}, 0)
	e.must(err)
	st.LookAgain = c.Now.Add(time.Hour)
	switch {
	case len(snap.Free) > 0:
		st.Path = []model.LeaseState{model.LeaseAcquired}
		st.Acquire = &Acquisition{Resource: snap.Free[0].ID, Blueprint: bp, Rev: b.Rev, Slots: []string{"use:" + c.Lease.ID}}
		st.Pass = 1
		_, err = e.ApplyLease(e.ctx, c, st)
		return true, err
	case snap.Allocation != model.ResourcePending && (b.Limit == 0 || snap.Resources[bp] < b.Limit):
		id := "r-" + c.Lease.ID
		if c.Lease.Work.Allocation != "" {
			id = c.Lease.Work.Allocation + "x"
		}
		a, err := e.CreateResource(e.ctx, c, NewResource{
			ID: id, Name: id, Blueprint: b, Capacity: 2, Slots: []string{"host:" + id},
		}, st)
		return a.Again, err
	}
	st.Finish, st.Compete = true, snap.Allocation != model.ResourcePending
	a, err := e.ApplyLease(e.ctx, c, st)
	return a.Again, err
}

func (e *env) updateResource(c *Claim) (again bool, err error) {
	r := c.Resource
	consume, release := handled(c)
	st := ResourceStep{Step: Step{Consume: consume}}
	switch {
	case r.Status == model.ResourceReleased || r.Status == model.ResourceBroken && !release:
		st.Finish = true
		if len(r.Leases) > 0 {
			st.LookAgain = c.Now.Add(time.Hour)
		} else {
			st.Path, st.Unleased = []model.ResourceState{model.ResourceDestroyed}, true
		}
	case release:
		st.Path, st.Cascade, again = []model.ResourceState{model.ResourceReleased}, "its resource is released", true
	case r.Status == model.ResourcePending:
		st.Path, again = []model.ResourceState{model.ResourceActive}, true
	default:
		st.Finish, st.LookAgain = true, r.Until
	}
	a, err := e.ApplyResource(e.ctx, c, st)
	return again || a.Again, err
}

// drive lets the time pass, so many visibilities long, and updates what is due, in order. The word of the wake index is enough.
func (e *env) drive(due *Store, ticks int) {
	e.Helper()
	for range ticks {
		e.clock.advance(e.Visibility())
		refs, left, err := due.Due(e.ctx, e.ns, 1000)
		e.must(err)
		if left > 0 {
			e.Fatalf("%d more are due", left)
		}
		slices.SortFunc(refs, func(a, b model.Ref) int { return strings.Compare(a.Member(), b.Member()) })
		for _, ref := range refs {
			e.update(ref)
		}
		e.wantVerified()
	}
}

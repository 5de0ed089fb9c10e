package handlers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"drydock/blueprints"
	"drydock/model"
	"drydock/store"
)

// resourceRun is one claim of a resource.
type resourceRun struct{ run }

// update consumes the resource's commands and acts on its state. again asks for another claim.
func (r *resourceRun) update(ctx context.Context) (again bool, err error) {
	res := r.claim.Resource
	d := decideResource(res, r.claim.Commands, r.claim.Now, r.cfg.ReclaimGrace)
	r.carried = store.Step{Consume: d.consume, Log: d.log, Wake: d.wake}
	switch {
	case d.release:
		return r.release(ctx, d)
	case d.until != nil || d.paused != nil:
		st := store.ResourceStep{Paused: d.paused, Refill: true}
		st.Until = d.until
		_, err := r.apply(ctx, st)
		return true, err
	case d.update != nil:
		return r.reread(ctx, d.update)
	}
	switch res.Status {
	case model.ResourcePending:
		return r.activate(ctx)
	case model.ResourceActive:
		return r.rest(ctx)
	case model.ResourceReleased, model.ResourceBroken:
		return r.cleanUp(ctx)
	case model.ResourceDestroyed:
	}
	return false, nil
}

// rest puts the pen down on a resource that needs nothing until its end.
func (r *resourceRun) rest(ctx context.Context) (again bool, err error) {
	if len(r.carried.Consume) == 0 {
		return r.store.Finish(ctx, r.claim, r.claim.Resource.Until)
	}
	// A reclaim that was refused took the resource off the market while it waited.
	return r.finishWith(ctx, store.ResourceStep{Refill: true}, r.claim.Resource.Until)
}

// release moves the resource to released and tells its leases in the same write; it goes on to destroyed in that write when
// there are none and no outside work.
func (r *resourceRun) release(ctx context.Context, d decision) (again bool, err error) {
	res := r.claim.Resource
	hooks, err := r.hooksOf(ctx, r.claim, res.Blueprint)
	if err != nil {
		return false, err
	}
	now := r.claim.Now
	st := store.ResourceStep{Path: []model.ResourceState{model.ResourceReleased}, Unleased: d.reclaims}
	st.Progress()
	st.EndedAt = &now
	st.Log = append(st.Log, store.Entry{Event: model.EventReleased, Text: d.reason})
	if hooks.DestroyResource == nil && len(res.Leases) == 0 {
		st.Path = append(st.Path, model.ResourceDestroyed)
		st.Unleased = true
		st.Log = append(st.Log, store.Entry{Event: model.EventDestroyed, Text: "destroyed"})
		again, err = r.finishWith(ctx, st, time.Time{})
		if !errors.Is(err, store.ErrMoreCommands) {
			return r.unlessLeased(again, err)
		}
		st.Path, st.Log, st.Finish = st.Path[:1], st.Log[:1], false
	}
	st.Cascade = fmt.Sprintf("its resource %s is released (%s)", res.Name, d.reason)
	_, err = r.apply(ctx, st)
	return r.unlessLeased(true, err)
}

// unlessLeased looks again when a lease slipped in since the claim.
func (r *resourceRun) unlessLeased(again bool, err error) (bool, error) {
	if errors.Is(err, store.ErrLeased) {
		return true, nil
	}
	return again, err
}

// activate makes a pending resource usable.
func (r *resourceRun) activate(ctx context.Context) (again bool, err error) {
	res := r.claim.Resource
	hooks, err := r.hooksOf(ctx, r.claim, res.Blueprint)
	if err != nil {
		return false, err
	}
	var st store.ResourceStep
	if hooks.ActivateResource != nil {
		var changes blueprints.Changes
		err := r.hook(ctx, work{name: "activate", key: "activate", timeout: hooks.Timeout}, func(ctx context.Context, call blueprints.Call) (err error) {
			changes, err = hooks.ActivateResource(ctx, call, res)
			return err
		})
		if _, yield := blueprints.AsYield(err); yield {
			return r.yield(ctx, err)
		}
		if hookFailed(err) {
			return r.breakDown(ctx, "could not be activated: "+describe(err))
		}
		if err != nil {
			return false, err
		}
		r.change(&st, changes)
	}
	st.Path = []model.ResourceState{model.ResourceActive}
	st.Progress()
	st.Log = append(st.Log, store.Entry{Event: model.EventActivated, Text: "active"})
	return r.finishWith(ctx, st, r.claim.Resource.Until)
}

// change writes down what a hook found out.
func (r *resourceRun) change(st *store.ResourceStep, c blueprints.Changes) {
	if c.Attributes != nil {
		st.Attributes = c.Attributes
	}
	if c.Capacity > 0 {
		st.Capacity = &c.Capacity
	}
	if c.Facts != "" {
		st.Facts = &c.Facts
	}
	if !c.Until.IsZero() {
		st.Until = &c.Until
		r.claim.Resource.Until = c.Until
	}
}

// reread has the blueprint read the resource again, as the command orders.
func (r *resourceRun) reread(ctx context.Context, cmd *model.Command) (again bool, err error) {
	res := r.claim.Resource
	hooks, err := r.hooksOf(ctx, r.claim, res.Blueprint)
	if err != nil {
		return false, err
	}
	st := store.ResourceStep{Refill: true}
	done := store.Consumption{Command: cmd, Outcome: model.OutcomeApplied}
	entry := store.Entry{Event: model.EventUpdated, Text: "update applied", Command: cmd.ID}
	if hooks.UpdateResource != nil {
		var changes blueprints.Changes
		name := "update " + cmd.ID
		err := r.hook(ctx, work{name: name, key: name, timeout: hooks.Timeout}, func(ctx context.Context, call blueprints.Call) (err error) {
			changes, err = hooks.UpdateResource(ctx, call, res)
			return err
		})
		if _, yield := blueprints.AsYield(err); yield {
			return r.yield(ctx, err)
		}
		switch {
		case hookFailed(err):
			done.Outcome, done.Detail = model.OutcomeRefused, describe(err)
			entry = store.Entry{Event: model.EventRefused, Text: "update refused: " + describe(err), Command: cmd.ID}
		case err != nil:
			return false, err
		default:
			r.change(&st, changes)
		}
	}
	st.Progress()
	st.Consume, st.Log = append(st.Consume, done), append(st.Log, entry)
	_, err = r.apply(ctx, st)
	return true, err
}

// breakDown ends a resource that failed for good, and tells its leases in the same write.
func (r *resourceRun) breakDown(ctx context.Context, text string) (again bool, err error) {
	now := r.claim.Now
	st := store.ResourceStep{Path: []model.ResourceState{model.ResourceBroken}}
	st.Progress()
	st.EndedAt = &now
	st.Log = append(st.Log, store.Entry{Event: model.EventBroken, Text: text})
	st.Cascade = fmt.Sprintf("its resource %s broke: %s", r.claim.Resource.Name, text)
	_, err = r.apply(ctx, st)
	return true, err
}

// cleanUp waits for the resource's leases, whose own hooks may need it, then runs the destroy hook until it works.
func (r *resourceRun) cleanUp(ctx context.Context) (again bool, err error) {
	res := r.claim.Resource
	st := store.ResourceStep{Path: []model.ResourceState{model.ResourceDestroyed}}
	if n := len(res.Leases); n > 0 {
		graceEnds := res.Work.EndedAt.Add(r.cfg.DestroyGrace)
		if r.claim.Now.Before(graceEnds) {
			return r.finishWith(ctx, store.ResourceStep{}, graceEnds)
		}
		st.Log = append(st.Log, store.Entry{
			Event: model.EventGraceElapsed,
			Text:  fmt.Sprintf("destroyed although %d leases have not finished within %s", n, r.cfg.DestroyGrace),
		})
	} else {
		st.Unleased = true
	}
	hooks, err := r.hooksOf(ctx, r.claim, res.Blueprint)
	if err != nil {
		return false, err
	}
	if hooks.DestroyResource != nil {
		err := r.hook(ctx, work{name: "destroy", key: "destroy", timeout: hooks.Timeout}, func(ctx context.Context, call blueprints.Call) error {
			return hooks.DestroyResource(ctx, call, res)
		})
		if hookFailed(err) {
			return r.yield(ctx, err)
		}
		if err != nil {
			return false, err
		}
	}
	st.Progress()
	st.Log = append(st.Log, store.Entry{Event: model.EventDestroyed, Text: "destroyed"})
	again, err = r.finishWith(ctx, st, time.Time{})
	if errors.Is(err, store.ErrMoreCommands) && len(r.carried.Consume) > 0 {
		_, err = r.apply(ctx, store.ResourceStep{})
		return true, err
	}
	return r.unlessLeased(again, err)
}

// hook stores the intent, then runs outside work. The caller stores the result. Errors that match hookFailed are the hook's.
func (r *resourceRun) hook(ctx context.Context, w work, fn func(context.Context, blueprints.Call) error) error {
	res := r.claim.Resource
	call := blueprints.Call{Object: res.Ref, Fence: r.claim.Fence, Attempt: attempt(res.Work.Work, w.name)}
	if res.Work.Hook != w.name || len(r.carried.Consume) > 0 {
		st := store.ResourceStep{}
		if res.Work.Hook != w.name {
			st.Progress()
			st.Hook = &w.name
			st.Log = append(st.Log, store.Entry{Event: model.EventHookBegun, Text: w.name})
			res.Work.Hook, res.Work.Failures = w.name, 0
		}
		if _, err := r.apply(ctx, st); err != nil {
			return err
		}
	}
	return r.runHook(ctx, r.lock, w, call, fn)
}

// yield puts the resource off after a hook failed or asked for time.
func (r *resourceRun) yield(ctx context.Context, cause error) (again bool, err error) {
	st := store.ResourceStep{}
	entry, delay := putOffHook(cause, &st.WorkChanges, r.claim.Resource.Work.Work)
	st.Log = append(st.Log, entry)
	lookAgain := r.claim.Now.Add(delay)
	if r.claim.Resource.Status.Commandable() {
		lookAgain = earliest(lookAgain, r.claim.Resource.Until)
	}
	return r.finishWith(ctx, st, lookAgain)
}

// apply writes a step, together with what is carried, and enqueues whom it woke.
func (r *resourceRun) apply(ctx context.Context, st store.ResourceStep) (store.Applied, error) {
	st.Step = r.merge(st.Step)
	applied, err := r.store.ApplyResource(ctx, r.claim, st)
	if err != nil {
		return applied, err
	}
	r.written(ctx, applied)
	return applied, nil
}

// finishWith writes a step and puts the pen down in the same write.
func (r *resourceRun) finishWith(ctx context.Context, st store.ResourceStep, lookAgain time.Time) (again bool, err error) {
	st.Finish, st.LookAgain = true, lookAgain
	applied, err := r.apply(ctx, st)
	return applied.Again, err
}

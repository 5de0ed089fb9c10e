package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"drydock/blueprints"
	"drydock/model"
	"drydock/store"
)

// resourceRun is one claim of a resource.
type resourceRun struct {
	run
	// host is what the resource stands on, for its hooks; nil = nothing.
	host *blueprints.Host
}

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
	if res.Status == model.ResourceActive {
		bp, err := r.blueprint(ctx)
		if err != nil {
			return false, err
		}
		if bp.Rev != res.Work.Rev {
			return r.reread(ctx, nil)
		}
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

// rest puts the pen down on a resource that needs nothing until its end, or until it has been idle for too long.
func (r *resourceRun) rest(ctx context.Context) (again bool, err error) {
	res := r.claim.Resource
	lookAgain := res.Until
	if retires, ok := r.retiresAt(idleSince(res)); ok {
		if retires.After(r.claim.Now) {
			lookAgain = earliest(retires, res.Until)
		} else {
			sent, err := r.retire(ctx)
			if sent || err != nil {
				return sent, err
			}
			lookAgain = r.lookAgainAtItsAge()
		}
	}
	if len(r.carried.Consume) == 0 {
		return r.store.Finish(ctx, r.claim, lookAgain)
	}
	// A reclaim that was refused took the resource off the market while it waited.
	return r.finishWith(ctx, store.ResourceStep{Refill: true}, lookAgain)
}

// retiresAt is when the resource is to go because nobody uses it; ok is false when it is not.
func (r *resourceRun) retiresAt(idleSince time.Time) (at time.Time, ok bool) {
	res := r.claim.Resource
	if !res.Work.Retires || len(res.Leases) > 0 || res.Paused {
		return time.Time{}, false
	}
	return idleSince.Add(res.Work.RetireAfter), true
}

// lookAgainAtItsAge is for a resource that is old enough to go and stays.
func (r *resourceRun) lookAgainAtItsAge() time.Time {
	res := r.claim.Resource
	return earliest(r.claim.Now.Add(max(res.Work.RetireAfter, time.Second)), res.Until)
}

// retire orders the resource to go, as anybody would: with a command. It reports false when the blueprint needs it.
func (r *resourceRun) retire(ctx context.Context) (sent bool, err error) {
	res := r.claim.Resource
	reason := "its blueprint does not have it any more"
	if res.Work.RetireAfter > 0 {
		bp, err := r.blueprint(ctx)
		if err != nil {
			return false, err
		}
		stock, err := r.store.Stock(ctx, res.Namespace, res.Blueprint)
		if err != nil || stock.Idle <= bp.MinIdle {
			return false, err
		}
		reason = fmt.Sprintf("idle for %s", res.Work.RetireAfter)
	}
	idle := model.Duration(res.Work.RetireAfter)
	args, err := json.Marshal(model.ReclaimArgs{Idle: &idle})
	if err != nil {
		return false, fmt.Errorf("encode reclaim: %w", err)
	}
	order, err := r.store.Send(ctx, model.Command{
		ID: model.NewID(), Target: res.Ref, Name: model.CommandReclaim, Args: args,
		Author: model.SystemAuthor, Origin: model.Origin{Via: model.ViaWorker}, Reason: reason,
	}, model.Idempotency{})
	if model.KindOf(err) == model.ErrorConflict {
		// It takes no commands any more: this run is stale, as its next claim would show.
		return true, nil
	}
	if err != nil {
		return false, err
	}
	r.enqueue(ctx, order.Wake)
	return true, nil
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
	if d.retires {
		bp, err := r.blueprint(ctx)
		if err != nil {
			return false, err
		}
		st.KeepIdle = bp.MinIdle
	}
	st.Progress()
	st.EndedAt = &now
	st.Log = append(st.Log, store.Entry{Event: model.EventReleased, Text: d.reason})
	if hooks.DestroyResource == nil && len(res.Leases) == 0 {
		st.Path = append(st.Path, model.ResourceDestroyed)
		st.Unleased = true
		st.Log = append(st.Log, store.Entry{Event: model.EventDestroyed, Text: "destroyed"})
		again, err = r.finishWith(ctx, st, time.Time{})
		if !errors.Is(err, store.ErrMoreCommands) {
			return r.unlessMissed(ctx, d, again, err)
		}
		st.Path, st.Log, st.Finish = st.Path[:1], st.Log[:1], false
	}
	st.Cascade = fmt.Sprintf("its resource %s is released (%s)", res.Name, d.reason)
	_, err = r.apply(ctx, st)
	return r.unlessMissed(ctx, d, true, err)
}

// unlessLeased looks again when a lease slipped in since the claim.
func (r *resourceRun) unlessLeased(again bool, err error) (bool, error) {
	if errors.Is(err, store.ErrLeased) {
		return true, nil
	}
	return again, err
}

// unlessMissed is unlessLeased for a release, which is also refused when the resource would be missed among the idle ones.
func (r *resourceRun) unlessMissed(ctx context.Context, d decision, again bool, err error) (bool, error) {
	if !errors.Is(err, store.ErrNeeded) {
		return r.unlessLeased(again, err)
	}
	r.carried = store.Step{}
	for _, c := range d.consume {
		if c.Outcome == model.OutcomeApplied {
			c.Outcome, c.Detail = model.OutcomeRefused, "its blueprint keeps it idle"
		}
		r.carried.Consume = append(r.carried.Consume, c)
	}
	return r.finishWith(ctx, store.ResourceStep{Refill: true}, r.lookAgainAtItsAge())
}

// activate makes a pending resource usable.
func (r *resourceRun) activate(ctx context.Context) (again bool, err error) {
	res := r.claim.Resource
	hooks, err := r.hooksOf(ctx, r.claim, res.Blueprint)
	if err != nil {
		return false, err
	}
	bp, err := r.blueprint(ctx)
	if err != nil {
		return false, err
	}
	if bp.On != nil {
		if r.host, again, err = r.footing(ctx, bp); r.host == nil || err != nil {
			return again, err
		}
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
	retires, _ := r.retiresAt(r.claim.Now)
	return r.finishWith(ctx, st, earliest(retires, r.claim.Resource.Until))
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

// reread has the blueprint read the resource again: a command orders it, or the blueprint has been declared anew.
func (r *resourceRun) reread(ctx context.Context, cmd *model.Command) (again bool, err error) {
	bp, err := r.blueprint(ctx)
	if err != nil {
		return false, err
	}
	hooks, err := bp.hooks()
	if err != nil {
		return false, err
	}
	st := store.ResourceStep{Refill: true, Rev: &bp.Rev, RetireAfter: retireAfter(bp)}
	outcome, detail := model.OutcomeApplied, ""
	if r.host, err = r.hostOf(ctx, r.claim.Resource); err != nil {
		return false, err
	}
	if hooks.UpdateResource != nil {
		changes, err := r.readAgain(ctx, hooks, bp, cmd)
		gone, isGone := blueprints.AsGone(err)
		_, yield := blueprints.AsYield(err)
		switch {
		case isGone:
			st.RetireAfter = new(time.Duration)
			outcome, detail = model.OutcomeRefused, gone.Reason
			st.Log = append(st.Log, store.Entry{Event: model.EventGone, Text: gone.Reason + "; it goes when nobody uses it"})
		case yield, hookFailed(err) && cmd == nil:
			return r.yield(ctx, err)
		case hookFailed(err):
			outcome, detail = model.OutcomeRefused, describe(err)
			st.Rev, st.RetireAfter = nil, nil
		case err != nil:
			return false, err
		default:
			r.change(&st, changes)
		}
	}
	switch {
	case cmd == nil && outcome == model.OutcomeApplied:
		st.Log = append(st.Log, store.Entry{Event: model.EventUpdated, Text: "read again: " + bp.Name + " has been declared anew"})
	case cmd != nil && outcome == model.OutcomeApplied:
		st.Log = append(st.Log, store.Entry{Event: model.EventUpdated, Text: "update applied", Command: cmd.ID})
	case cmd != nil:
		st.Log = append(st.Log, store.Entry{Event: model.EventRefused, Text: "update refused: " + detail, Command: cmd.ID})
	}
	if cmd != nil {
		st.Consume = append(st.Consume, store.Consumption{Command: cmd, Outcome: outcome, Detail: detail})
	}
	st.Progress()
	_, err = r.apply(ctx, st)
	return true, err
}

// readAgain runs the hook that reads the resource.
func (r *resourceRun) readAgain(ctx context.Context, hooks *blueprints.Hooks, bp *opened, cmd *model.Command) (changes blueprints.Changes, err error) {
	name := fmt.Sprintf("update %d", bp.Rev)
	if cmd != nil {
		name = "update " + cmd.ID
	}
	err = r.hook(ctx, work{name: name, key: name, timeout: hooks.Timeout}, func(ctx context.Context, call blueprints.Call) (err error) {
		changes, err = hooks.UpdateResource(ctx, call, r.claim.Resource)
		return err
	})
	return changes, err
}

// retireAfter is how long a resource of a blueprint may be idle, as a step wants it.
func retireAfter(bp *opened) *time.Duration {
	after := bp.MaxIdleAge
	if after == 0 {
		after = -1
	}
	return &after
}

// blueprint returns the resource's blueprint. It exists as long as the resource does.
func (r *resourceRun) blueprint(ctx context.Context) (*opened, error) {
	return r.opened(ctx, r.claim, r.claim.Resource.Blueprint)
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
	if r.host, err = r.hostOf(ctx, res); err != nil && !errors.Is(err, model.ErrLeaseNotFound) && !errors.Is(err, model.ErrResourceNotFound) {
		return false, err
	}
	switch {
	case hooks.DestroyResource != nil && footingGone(res, r.host):
		st.Log = append(st.Log, store.Entry{Event: model.EventHookDone, Text: "nothing to clean up: what it stood on is gone"})
	case hooks.DestroyResource != nil:
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
	call := blueprints.Call{Object: res.Ref, Fence: r.claim.Fence, Attempt: attempt(res.Work.Work, w.name), Host: r.host}
	if res.Work.Hook != w.name || len(r.carried.Consume) > 0 || !r.claim.Taken() {
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
	return r.runHook(ctx, w, call, fn)
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
	r.written(ctx, st.Step, applied)
	return applied, nil
}

// finishWith writes a step and puts the pen down in the same write.
func (r *resourceRun) finishWith(ctx context.Context, st store.ResourceStep, lookAgain time.Time) (again bool, err error) {
	st.Finish, st.LookAgain = true, lookAgain
	applied, err := r.apply(ctx, st)
	return applied.Again, err
}

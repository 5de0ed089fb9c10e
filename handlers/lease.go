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

// leaseRun is one claim of a lease.
type leaseRun struct {
	run
	// host is what the lease's resource stands on, for its hooks; nil = nothing.
	host *blueprints.Host
}

// update consumes the lease's commands and acts on its state. again asks for another claim.
func (r *leaseRun) update(ctx context.Context) (again bool, err error) {
	lease := r.claim.Lease
	d := decideLease(lease, r.claim.Commands, r.claim.Now)
	r.carried = store.Step{Consume: d.consume, Log: d.log}
	if d.until != nil {
		lease.Until = *d.until
	}
	switch {
	case d.release:
		return r.release(ctx, d.reason)
	case d.until != nil && lease.Status == model.LeaseActive:
		return r.finishWith(ctx, store.LeaseStep{WorkChanges: store.WorkChanges{Until: d.until}}, r.until())
	case d.until != nil:
		// The end moves before anything that may take long.
		_, err := r.apply(ctx, store.LeaseStep{WorkChanges: store.WorkChanges{Until: d.until}})
		if err != nil {
			return false, err
		}
	}
	switch lease.Status {
	case model.LeasePending:
		return r.allocate(ctx)
	case model.LeaseAcquired:
		return r.activate(ctx)
	case model.LeaseActive:
		return r.rest(ctx)
	case model.LeaseReleased, model.LeaseBroken:
		return r.cleanUp(ctx)
	case model.LeaseDestroyed:
	}
	return false, nil
}

// rest puts the pen down on a lease that needs nothing until its end.
func (r *leaseRun) rest(ctx context.Context) (again bool, err error) {
	if len(r.carried.Consume) == 0 {
		return r.store.Finish(ctx, r.claim, r.until())
	}
	return r.finishWith(ctx, store.LeaseStep{}, r.until())
}

// release moves the lease to released, and in the same write to destroyed when that takes no outside work.
func (r *leaseRun) release(ctx context.Context, reason string) (again bool, err error) {
	lease := r.claim.Lease
	hooks, err := r.hooks(ctx)
	if err != nil {
		return false, err
	}
	now := r.claim.Now
	st := store.LeaseStep{Path: []model.LeaseState{model.LeaseReleased}}
	st.Progress()
	if lease.Status == model.LeaseBroken {
		// The release hook does not run for a lease that broke: its clean-up goes on with what was begun.
		destroy := "destroy"
		st.Hook = &destroy
	}
	st.EndedAt = &now
	st.Log = append(st.Log, store.Entry{Event: model.EventReleased, Text: reason})
	if lease.Work.ForResource == "" && (lease.Resource == "" || (hooks.ReleaseLease == nil && hooks.DestroyLease == nil)) {
		st.Path = append(st.Path, model.LeaseDestroyed)
		st.Log = append(st.Log, store.Entry{Event: model.EventDestroyed, Text: "destroyed"})
		again, err = r.finishWith(ctx, st, time.Time{})
		if errors.Is(err, store.ErrMoreCommands) {
			st.Path = st.Path[:1]
			st.Log = st.Log[:len(st.Log)-1]
			st.Finish = false
			_, err = r.apply(ctx, st)
			return true, err
		}
		return again, err
	}
	_, err = r.apply(ctx, st)
	return true, err
}

// activate makes the resource ready for an acquired lease.
func (r *leaseRun) activate(ctx context.Context) (again bool, err error) {
	lease := r.claim.Lease
	res, err := r.store.Resource(ctx, lease.Namespace, lease.Resource)
	if err != nil && !errors.Is(err, model.ErrResourceNotFound) {
		return false, err
	}
	switch {
	case res != nil && res.Status != model.ResourceActive && lease.Work.Hook == "activate":
		// An earlier run has begun the activation: what it made on the resource must be cleaned up before the resource is.
		return r.breakDown(ctx, fmt.Sprintf("its resource %s is %s, and its activation had begun", res.Name, res.Status))
	case res == nil || res.Status != model.ResourceActive:
		return r.requeue(ctx, res)
	}
	hooks, err := r.hooks(ctx)
	if err != nil {
		return false, err
	}
	if r.host, err = r.hostOf(ctx, res); err != nil {
		return false, err
	}
	if hooks.ActivateLease != nil {
		err := r.hook(ctx, work{name: "activate", key: "activate/" + res.ID, timeout: hooks.Timeout}, func(ctx context.Context, call blueprints.Call) error {
			return hooks.ActivateLease(ctx, call, res, lease)
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
	}
	st := store.LeaseStep{Path: []model.LeaseState{model.LeaseActive}}
	st.Progress()
	st.Log = append(st.Log, store.Entry{Event: model.EventActivated, Text: "active on " + res.Name})
	again, err = r.finishWith(ctx, st, r.until())
	return r.unlessReleasing(ctx, again, err)
}

// unlessReleasing looks again when a release came in before the lease could become active. What its commands came to is written first, so
// that the next claim gets to the release however many stand before it.
func (r *leaseRun) unlessReleasing(ctx context.Context, again bool, err error) (bool, error) {
	if !errors.Is(err, store.ErrReleasing) {
		return again, err
	}
	if len(r.carried.Consume) > 0 {
		_, err = r.apply(ctx, store.LeaseStep{})
		return true, err
	}
	return true, nil
}

// requeue sends a lease whose resource died before activation back into the queue, at its old place.
func (r *leaseRun) requeue(ctx context.Context, res *model.Resource) (again bool, err error) {
	text := "its resource is gone"
	if res != nil {
		text = fmt.Sprintf("its resource %s is %s", res.Name, res.Status)
	}
	st := store.LeaseStep{Path: []model.LeaseState{model.LeasePending}, Requeue: true}
	st.Progress()
	st.Log = append(st.Log, store.Entry{Event: model.EventRequeued, Text: text + "; waiting again"})
	_, err = r.apply(ctx, st)
	return true, err
}

// breakDown ends a lease that can never become active.
func (r *leaseRun) breakDown(ctx context.Context, text string) (again bool, err error) {
	now := r.claim.Now
	st := store.LeaseStep{Path: []model.LeaseState{model.LeaseBroken}}
	st.Progress()
	st.EndedAt = &now
	st.Log = append(st.Log, store.Entry{Event: model.EventBroken, Text: text})
	_, err = r.apply(ctx, st)
	return true, err
}

// cleanUp runs the hooks that end a lease, one per claim, and destroys it. A hook that fails is tried again until it works:
// nobody else will ever clean up.
func (r *leaseRun) cleanUp(ctx context.Context) (again bool, err error) {
	lease := r.claim.Lease
	above, err := r.waitsForAbove(ctx)
	if err != nil {
		return false, err
	}
	var st store.LeaseStep
	if above != nil {
		graceEnds := lease.Work.EndedAt.Add(r.cfg.DestroyGrace)
		if r.claim.Now.Before(graceEnds) {
			return r.finishWith(ctx, store.LeaseStep{}, graceEnds)
		}
		st.Log = append(st.Log, store.Entry{
			Event: model.EventGraceElapsed,
			Text:  fmt.Sprintf("destroyed although %s, which stands on it, has not been destroyed within %s", above.Name, r.cfg.DestroyGrace),
		})
	}
	hooks, err := r.hooks(ctx)
	if err != nil {
		return false, err
	}
	var res *model.Resource
	if lease.Resource != "" && (hooks.ReleaseLease != nil || hooks.DestroyLease != nil) {
		if res, err = r.store.Resource(ctx, lease.Namespace, lease.Resource); err != nil {
			return false, err
		}
		if r.host, err = r.hostOf(ctx, res); err != nil && !errors.Is(err, model.ErrLeaseNotFound) && !errors.Is(err, model.ErrResourceNotFound) {
			return false, err
		}
	}
	type stage struct {
		name string
		run  func(context.Context, blueprints.Call, *model.Resource, *model.Lease) error
	}
	stages := []stage{{"destroy", hooks.DestroyLease}}
	// Once "destroy" was begun, the release hook has done its work.
	if lease.Status == model.LeaseReleased && lease.Work.Hook != "destroy" {
		stages = append([]stage{{"release", hooks.ReleaseLease}}, stages...)
	}
	for _, s := range stages {
		if res == nil || s.run == nil || footingGone(res, r.host) {
			continue
		}
		err := r.hook(ctx, work{name: s.name, key: s.name + "/" + res.ID, timeout: hooks.Timeout}, func(ctx context.Context, call blueprints.Call) error {
			return s.run(ctx, call, res, lease)
		})
		if hookFailed(err) {
			return r.yield(ctx, err)
		}
		if err != nil {
			return false, err
		}
	}
	st.Path = []model.LeaseState{model.LeaseDestroyed}
	st.Progress()
	st.Log = append(st.Log, store.Entry{Event: model.EventDestroyed, Text: "destroyed"})
	again, err = r.finishWith(ctx, st, time.Time{})
	if errors.Is(err, store.ErrMoreCommands) && len(r.carried.Consume) > 0 {
		_, err = r.apply(ctx, store.LeaseStep{})
		return true, err
	}
	return again, err
}

// waitsForAbove returns the resource that stands on the lease as long as that is not destroyed: its clean-up may need what the lease is
// for. The script has told it to go.
func (r *leaseRun) waitsForAbove(ctx context.Context) (*model.Resource, error) {
	if r.claim.Lease.Work.ForResource == "" {
		return nil, nil
	}
	above, err := r.store.Resource(ctx, r.claim.Lease.Namespace, r.claim.Lease.Work.ForResource)
	if errors.Is(err, model.ErrResourceNotFound) || err == nil && above.Status == model.ResourceDestroyed {
		return nil, nil
	}
	return above, err
}

// hook stores the intent, then runs outside work. The caller stores the result. Errors that match hookFailed are the hook's.
func (r *leaseRun) hook(ctx context.Context, w work, fn func(context.Context, blueprints.Call) error) error {
	lease := r.claim.Lease
	call := blueprints.Call{Object: lease.Ref, Fence: r.claim.Fence, Attempt: attempt(lease.Work.Work, w.name), Host: r.host}
	if lease.Work.Hook != w.name || len(r.carried.Consume) > 0 || !r.claim.Taken() {
		st := store.LeaseStep{}
		if lease.Work.Hook != w.name {
			st.Progress()
			st.Hook = &w.name
			st.Log = append(st.Log, store.Entry{Event: model.EventHookBegun, Text: w.name})
			lease.Work.Hook, lease.Work.Failures = w.name, 0
		}
		if _, err := r.apply(ctx, st); err != nil {
			return err
		}
	}
	return r.runHook(ctx, w, call, fn)
}

// yield puts the lease off after a hook failed or asked for time.
func (r *leaseRun) yield(ctx context.Context, cause error) (again bool, err error) {
	st := store.LeaseStep{}
	entry, delay := putOffHook(cause, &st.WorkChanges, r.claim.Lease.Work.Work)
	st.Log = append(st.Log, entry)
	return r.finishWith(ctx, st, r.earliest(r.claim.Now.Add(delay)))
}

// hooks returns the outside work of the lease's blueprint; none while it has no resource, and none when the blueprint has been removed: a
// grace has passed, the resource is gone without the lease, and nobody could say any more what was to be cleaned up.
func (r *leaseRun) hooks(ctx context.Context) (*blueprints.Hooks, error) {
	lease := r.claim.Lease
	if lease.Blueprint == "" {
		return &blueprints.Hooks{}, nil
	}
	hooks, err := r.hooksOf(ctx, r.claim, lease.Blueprint)
	if errors.Is(err, errBlueprintGone) {
		return &blueprints.Hooks{}, nil
	}
	return hooks, err
}

func (r *leaseRun) until() time.Time { return r.claim.Lease.Until }

// earliest returns t, or the lease's end when that comes first and still matters.
func (r *leaseRun) earliest(t time.Time) time.Time {
	if !r.claim.Lease.Status.Commandable() {
		return t
	}
	return earliest(t, r.claim.Lease.Until)
}

// apply writes a step, together with what is carried, and enqueues whom it woke.
func (r *leaseRun) apply(ctx context.Context, st store.LeaseStep) (store.Applied, error) {
	st.Step = r.merge(st.Step)
	applied, err := r.store.ApplyLease(ctx, r.claim, st)
	if err != nil {
		return applied, err
	}
	r.written(ctx, st.Step, applied)
	return applied, nil
}

// finishWith writes a step and puts the pen down in the same write.
func (r *leaseRun) finishWith(ctx context.Context, st store.LeaseStep, lookAgain time.Time) (again bool, err error) {
	st.Finish, st.LookAgain = true, lookAgain
	applied, err := r.apply(ctx, st)
	return applied.Again, err
}

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

// work is one piece of outside work.
type work struct {
	// name is what the object's hook field holds while the work is under way.
	name string
	// key tells this step from all others of the object; it becomes the idempotency key.
	key     string
	timeout time.Duration
}

// hookError is the failure of a hook, as opposed to one of ours around it.
type hookError struct{ err error }

func (e *hookError) Error() string { return e.err.Error() }
func (e *hookError) Unwrap() error { return e.err }

// hookFailed reports whether err came from a hook: the object has to deal with it. Any other error ends the run.
func hookFailed(err error) bool {
	_, ok := errors.AsType[*hookError](err)
	return ok
}

// describe is what logs and callers read of a hook's error.
func describe(err error) string {
	const limit = 2000
	text := err.Error()
	if len(text) > limit {
		text = text[:limit] + "…"
	}
	return text
}

// runHook runs outside work under the object lock. The caller has stored the intent, and has the pen by that. A hook that outlives its
// timeout loses the extension of the lock with it, so that it cannot hold the object for ever.
func (r *run) runHook(ctx context.Context, w work, call blueprints.Call, fn func(context.Context, blueprints.Call) error) (err error) {
	timeout := w.timeout
	if timeout <= 0 {
		timeout = blueprints.DefaultTimeout
	}
	hookCtx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("cut off after its timeout of %s", timeout))
	defer cancel()
	r.lock.OnExtend(func(ctx context.Context) {
		if err := r.store.Touch(ctx, r.claim); err != nil {
			r.log.Warn("could not keep the object out of the sweeper's sight", "object", r.claim.Ref.String(), "error", err)
		}
	})
	defer r.lock.OnExtend(nil)
	watchdog := time.AfterFunc(timeout+hookGrace, r.lock.StopExtending)
	defer watchdog.Stop()
	ends := func(error) {}
	defer func() { ends(err) }()
	defer func() {
		if p := recover(); p != nil {
			err = &hookError{fmt.Errorf("the hook panicked: %v", p)}
		}
	}()
	if err := r.lock.Trusted(); err != nil {
		return err
	}
	call.Key = string(call.Object.Kind) + "/" + call.Object.ID + "/" + w.key
	var observed context.Context
	observed, ends = r.observeHook(hookCtx, w, call)
	err = fn(observed, call)
	switch {
	case ctx.Err() != nil:
		// The lock was lost or the process shuts down: whatever the hook says, this run must not write.
		return context.Cause(ctx)
	case err == nil:
		return nil
	case hookCtx.Err() != nil && !errors.Is(err, context.Cause(hookCtx)):
		err = context.Cause(hookCtx)
	}
	return &hookError{err}
}

// hookGrace is how long after its timeout a hook may take to return before the lock stops being extended under it.
const hookGrace = 5 * time.Second

// attempt counts from 1: how often the current hook was begun.
func attempt(w model.Work, name string) int {
	if w.Hook != name {
		return 1
	}
	return w.Failures + 1
}

// hookRetryFirst is the delay before a hook that failed is tried again; it doubles with each try.
const hookRetryFirst = time.Second

// putOffHook says how a failed or yielding hook is recorded and when it is tried again.
func putOffHook(cause error, changes *store.WorkChanges, w model.Work) (store.Entry, time.Duration) {
	failures := w.Failures + 1
	delay := backoff(hookRetryFirst, failures)
	if y, ok := blueprints.AsYield(cause); ok {
		if y.After > 0 {
			return store.Entry{Event: model.EventYield, Text: y.Error()}, y.After
		}
		changes.Failures = &failures
		return store.Entry{Event: model.EventYield, Text: y.Error()}, delay
	}
	changes.Failures = &failures
	return store.Entry{
		Event: model.EventHookFailed, Text: fmt.Sprintf("%s; trying again in %s", describe(cause), delay),
	}, delay
}

// hooksOf returns the outside work of a named blueprint. It exists as long as a resource of it does.
func (u *Updater) hooksOf(ctx context.Context, claim *store.Claim, name string) (*blueprints.Hooks, error) {
	bp, err := u.opened(ctx, claim, name)
	if err != nil {
		return nil, err
	}
	return bp.hooks()
}

// errBlueprintGone says that an object's blueprint has been removed.
var errBlueprintGone = model.Errorf(model.ErrorInternal, "it is gone")

// opened returns a named blueprint, at least as new as the claim.
func (u *Updater) opened(ctx context.Context, claim *store.Claim, name string) (*opened, error) {
	entry, err := u.catalog.at(ctx, claim.Ref.Namespace, claim.BlueprintsRev)
	if err != nil {
		return nil, err
	}
	bp, ok := entry.byName[name]
	if !ok {
		return nil, fmt.Errorf("blueprint %q of %s: %w", name, claim.Ref, errBlueprintGone)
	}
	return bp, nil
}

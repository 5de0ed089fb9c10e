package handlers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"drydock/blueprints"
	"drydock/model"
	"drydock/store"
)

// blueprintRun is one claim of a blueprint. A blueprint takes no commands: its update tells its resources when it has been declared
// anew, and keeps as many of them idle as it shall.
type blueprintRun struct{ run }

// sparesAgain is when a blueprint looks again that leaves what there is room for to those who wait. Events tell when they have taken
// it, but not when they find their place elsewhere.
const sparesAgain = time.Second

// sparesPatience is how often in a row it does so. A waiting lease that could have something made and does not, because what was made
// for it broke, must not keep spares from everybody; what is made here it may take as well.
const sparesPatience = 5

// update does what is to be done next. again asks for another claim.
func (r *blueprintRun) update(ctx context.Context) (again bool, err error) {
	entry, err := r.catalog.at(ctx, r.claim.Ref.Namespace, r.claim.BlueprintsRev)
	if err != nil {
		return false, err
	}
	bp, ok := entry.byName[r.claim.Ref.ID]
	if !ok { // it was deleted
		return r.store.Finish(ctx, r.claim, time.Time{})
	}
	if bp.Rev != r.claim.Blueprint.Told {
		if err := r.tell(ctx, bp); err != nil {
			return false, err
		}
	}
	return r.keepIdle(ctx, bp)
}

// rest puts the pen down until something comes in. What that leads to is no longer the doing of who declared the blueprint.
func (r *blueprintRun) rest(ctx context.Context) (again bool, err error) {
	if r.claim.Blueprint.Trace == "" {
		return r.store.Finish(ctx, r.claim, time.Time{})
	}
	st := store.BlueprintStep{EndTrace: true}
	st.Finish = true
	applied, err := r.apply(ctx, st)
	return applied.Again, err
}

// tell wakes the resources that were last read by another revision: each sees to itself. If it does not come to its end, it is done
// again and finds them awake.
func (r *blueprintRun) tell(ctx context.Context, bp *opened) error {
	cursor := ""
	for {
		next, wake, err := r.store.TellResources(ctx, r.claim.Ref, bp.Rev, cursor)
		if err != nil {
			return err
		}
		r.enqueue(ctx, wake)
		if cursor = next; cursor == "" {
			break
		}
	}
	_, err := r.apply(ctx, store.BlueprintStep{Told: &bp.Rev})
	return err
}

// keepIdle makes one more resource if the blueprint has fewer idle ones than it shall.
func (r *blueprintRun) keepIdle(ctx context.Context, bp *opened) (again bool, err error) {
	if bp.MinIdle == 0 || !bp.Enabled || bp.err != nil {
		return r.rest(ctx)
	}
	stock, err := r.store.Stock(ctx, bp.Namespace, bp.Name)
	if err != nil {
		return false, err
	}
	if stock.Idle+stock.Making >= bp.MinIdle {
		return r.restAnew(ctx)
	}
	if bp.Limit > 0 && stock.All >= bp.Limit {
		// The write would refuse one more, but outside work comes before the write.
		return r.restAnew(ctx)
	}
	// What has been begun is finished, whoever has come meanwhile.
	if work := r.claim.Blueprint.Work; work.Hook == "" && work.Failures < sparesPatience {
		if others, err := r.othersFirst(ctx, bp); err != nil {
			return false, err
		} else if others {
			return r.holdBack(ctx)
		}
	}
	offer, err := r.spare(ctx, bp)
	if err != nil {
		return false, err
	}
	if offer == nil {
		return r.restAnew(ctx)
	}
	return r.make(ctx, bp, *offer)
}

// restAnew is rest when there is nothing to make or no room for it: what was held back is forgotten, so that those who wait when there is
// room come first again.
func (r *blueprintRun) restAnew(ctx context.Context) (again bool, err error) {
	if work := r.claim.Blueprint.Work; work.Hook != "" || work.Failures == 0 {
		return r.rest(ctx)
	}
	st := store.BlueprintStep{EndTrace: true, WorkChanges: store.WorkChanges{Failures: new(int)}}
	st.Finish = true
	applied, err := r.apply(ctx, st)
	return applied.Again, err
}

// holdBack puts the making of a spare off for a moment.
func (r *blueprintRun) holdBack(ctx context.Context) (again bool, err error) {
	times := r.claim.Blueprint.Failures + 1
	st := store.BlueprintStep{WorkChanges: store.WorkChanges{Failures: &times}}
	st.Finish, st.LookAgain = true, r.claim.Now.Add(sparesAgain)
	applied, err := r.apply(ctx, st)
	return applied.Again, err
}

// othersFirst reports whether a waiting lease can have a resource of the blueprint made now: then what there is room for is its to make.
func (r *blueprintRun) othersFirst(ctx context.Context, bp *opened) (bool, error) {
	wanted, err := r.store.Wanted(ctx, bp.Namespace, bp.Type)
	if err != nil {
		return false, err
	}
	for _, req := range wanted {
		if !allowed(req, bp) {
			continue
		}
		if free, err := r.freeOffers(ctx, bp, req, 1); len(free) > 0 || err != nil {
			return true, err
		}
	}
	return false, nil
}

// spare finds a resource that could be made: the one that was begun, if it still can be, or the best; nil = none.
func (r *blueprintRun) spare(ctx context.Context, bp *opened) (*blueprints.Offer, error) {
	free, err := r.freeOffers(ctx, bp, model.Request{Type: bp.Type}, passMost)
	if err != nil || len(free) == 0 {
		return nil, err
	}
	if _, name, begun := parseAllocation(r.claim.Blueprint.Hook); begun {
		if i := slices.IndexFunc(free, func(o *blueprints.Offer) bool { return o.Name == name }); i >= 0 {
			return free[i], nil
		}
	}
	return free[0], nil
}

// make makes the spare. again asks for another claim, which looks whether one more is needed.
func (r *blueprintRun) make(ctx context.Context, bp *opened, offer blueprints.Offer) (again bool, err error) {
	hooks, id := bp.behaviour.Hooks(), model.NewID()
	if hooks.Allocate != nil {
		// A try that failed left its id and the name of its offer, so that the next one has the same idempotency key.
		if begun, name, ok := parseAllocation(r.claim.Blueprint.Hook); ok && name == offer.Name {
			id = begun
		}
		w := work{name: allocationName(id, offer.Name), key: "allocate/" + id, timeout: hooks.Timeout}
		err := r.hook(ctx, w, func(ctx context.Context, call blueprints.Call) error {
			made, err := hooks.Allocate(ctx, call, model.Request{Type: bp.Type}, offer)
			if err == nil {
				offer = made
			}
			return err
		})
		if hookFailed(err) {
			return r.yield(ctx, err)
		}
		if err != nil {
			return false, err
		}
	}
	spare := newResource(id, bp.Blueprint, offer)
	st := store.BlueprintStep{Spare: &spare}
	st.Progress()
	st.Log = append(st.Log, store.Entry{Event: model.EventAllocated, Text: fmt.Sprintf("makes %s, to be kept idle", offer.Name)})
	_, err = r.apply(ctx, st)
	switch {
	case errors.Is(err, model.ErrLimitReached), errors.Is(err, store.ErrEnoughIdle):
		return r.rest(ctx)
	case errors.Is(err, model.ErrSlotHeld), errors.Is(err, model.ErrBlueprintChanged):
		return true, nil // somebody was quicker
	}
	return true, err
}

// hook stores the intent, then runs outside work.
func (r *blueprintRun) hook(ctx context.Context, w work, fn func(context.Context, blueprints.Call) error) error {
	bp := r.claim.Blueprint
	call := blueprints.Call{Object: r.claim.Ref, Fence: r.claim.Fence, Attempt: attempt(bp.Work, w.name)}
	if bp.Hook != w.name || !r.claim.Taken() {
		var st store.BlueprintStep
		if bp.Hook != w.name {
			st.Progress()
			st.Hook = &w.name
			st.Log = append(st.Log, store.Entry{Event: model.EventHookBegun, Text: w.name})
			bp.Hook, bp.Failures = w.name, 0
		}
		if _, err := r.apply(ctx, st); err != nil {
			return err
		}
	}
	return r.runHook(ctx, w, call, fn)
}

// yield puts the blueprint off after a hook failed or asked for time.
func (r *blueprintRun) yield(ctx context.Context, cause error) (again bool, err error) {
	var st store.BlueprintStep
	entry, delay := putOffHook(cause, &st.WorkChanges, r.claim.Blueprint.Work)
	st.Log = append(st.Log, entry)
	st.Finish, st.LookAgain = true, r.claim.Now.Add(delay)
	applied, err := r.apply(ctx, st)
	return applied.Again, err
}

// apply writes a step and enqueues whom it woke.
func (r *blueprintRun) apply(ctx context.Context, st store.BlueprintStep) (store.Applied, error) {
	applied, err := r.store.ApplyBlueprint(ctx, r.claim, st)
	if err == nil {
		r.enqueue(ctx, applied.Wake)
	}
	return applied, err
}

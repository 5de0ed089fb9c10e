package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"drydock/model"
	"drydock/store"
)

// makeRoom is the allocator's last resort: the pool is full of idle resources of the wrong shape, so one is asked to go. A lease
// asks one resource at a time, and only the first of those who ask for the same does. It fills in w with what the lease waits for.
func (r *leaseRun) makeRoom(ctx context.Context, req model.Request, usable []*opened, m *market, w *waiting) error {
	if rid := r.claim.Lease.Work.Reclaiming; rid != "" {
		name, underWay, err := r.askToGo(ctx, rid, r.claim.Lease.Work.ReclaimCommand)
		if err != nil {
			return err
		}
		if underWay {
			w.reason = "waiting for " + name + " to make room"
			return nil
		}
		w.forget = true
	}
	if m.behind {
		return nil
	}
	victim, after, err := r.victim(ctx, req, usable, m)
	if err != nil || victim == nil {
		return err
	}
	if after > 0 {
		w.reason, w.delay = fmt.Sprintf("waiting until %s has been idle for %s and may be reclaimed", victim.Name, r.cfg.ReclaimGrace), after
		return nil
	}
	// The intent is stored before the command is sent, so that a crash in between cannot lead to a second one.
	asked := store.Reclaiming{Resource: victim.ID, Command: model.NewID()}
	st := store.LeaseStep{Reclaiming: &asked}
	st.Log = append(st.Log, store.Entry{Event: model.EventWaiting, Text: "asks " + victim.Name + " to make room", Command: asked.Command})
	if _, err := r.apply(ctx, st); err != nil {
		return err
	}
	w.forget = false
	w.reason = "waiting for " + victim.Name + " to make room"
	_, _, err = r.askToGo(ctx, asked.Resource, asked.Command)
	return err
}

// victim picks the idle resource to reclaim: the longest idle one of a blueprint that is at its limit and could otherwise make
// what the lease asks for. after is how long the resource's grace lasts yet.
func (r *leaseRun) victim(ctx context.Context, req model.Request, usable []*opened, m *market) (victim *model.Resource, after time.Duration, err error) {
	for _, bp := range usable {
		if m.mayMake(bp) {
			continue
		}
		probe := market{}
		for _, res := range m.unfit {
			if res.Blueprint != bp.Name {
				continue
			}
			if len(probe.offers) == 0 {
				if err := r.collectFrom(ctx, &probe, req, bp, 1); err != nil {
					return nil, 0, err
				}
				if len(probe.offers) == 0 {
					break
				}
			}
			left := r.cfg.ReclaimGrace - r.claim.Now.Sub(idleSince(res))
			if left <= 0 {
				return res, 0, nil
			}
			if victim == nil || left < after {
				victim, after = res, left
			}
		}
	}
	return victim, after, nil
}

// askToGo sends the reclaim command, once, however often it is called. underWay reports that the resource has not answered yet or
// is on its way out.
func (r *leaseRun) askToGo(ctx context.Context, resource, command string) (name string, underWay bool, err error) {
	lease := r.claim.Lease
	args, err := json.Marshal(model.ReclaimArgs{Lease: lease.ID})
	if err != nil {
		return "", false, fmt.Errorf("encode reclaim: %w", err)
	}
	sent, err := r.store.Send(ctx, model.Command{
		ID: command, Target: model.ResourceRef(lease.Namespace, resource), Name: model.CommandReclaim, Args: args,
		Author: model.SystemAuthor, Origin: model.Origin{Via: model.ViaWorker}, Reason: "lease " + lease.ID + " needs the room",
	}, model.Idempotency{})
	switch {
	case errors.Is(err, model.ErrResourceNotFound):
		return "", false, nil
	case model.KindOf(err) == model.ErrorConflict:
		// It takes no commands: it is on its way out without us, and its end wakes us.
		res, err := r.store.Resource(ctx, lease.Namespace, resource)
		if err != nil {
			return "", false, err
		}
		return res.Name, !res.Status.Terminal(), nil
	case err != nil:
		return "", false, err
	}
	r.enqueue(ctx, sent.Wake)
	outcome := sent.Command.Outcome
	return sent.Resource.Name, (outcome == "" || outcome == model.OutcomeApplied) && !sent.Resource.Status.Terminal(), nil
}

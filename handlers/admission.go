package handlers

import (
	"context"
	"fmt"
	"strings"

	"drydock/model"
	"drydock/store"
)

// admission is which blueprints admit a lease, as far as its owner goes.
type admission struct {
	admitted []*opened
	// gates are the blueprints that do not, and why says so in words.
	gates []store.Gate
	why   []string
	// unasked take an operator's approval that nobody has asked for yet.
	unasked []string
	// declined are the words of operators against the owner.
	declined []string
}

// admit asks each blueprint that could serve a lease whether it admits the lease's owner. It is as pure as the rest of the policy.
func admit(owner string, usable []*opened, views map[string]store.OwnerView) admission {
	var a admission
	for _, bp := range usable {
		view := views[bp.Name]
		gate := store.Gate{Blueprint: bp.Name, Rev: bp.Rev}
		admitted, needsApproval := bp.Authorize.Decision(owner)
		switch {
		case needsApproval && view.Authorization == model.AuthorizationApproved, admitted:
			if bp.Quota == 0 || view.Held < bp.Quota {
				a.admitted = append(a.admitted, bp)
				continue
			}
			gate.Quota = bp.Quota
			a.why = append(a.why, fmt.Sprintf("%s: %s has all of its quota of %d", bp.Name, ownerName(owner), bp.Quota))
		case !needsApproval:
			a.why = append(a.why, fmt.Sprintf("%s: %s is not among the owners it admits", bp.Name, ownerName(owner)))
		case view.Authorization == model.AuthorizationDeclined:
			gate.Authorization = model.AuthorizationDeclined
			text := fmt.Sprintf("%s: %s was declined", bp.Name, ownerName(owner))
			a.why, a.declined = append(a.why, text), append(a.declined, text)
		default:
			// Asked for before the gate is written: then its status is this one.
			gate.Authorization = model.AuthorizationRequested
			a.why = append(a.why, fmt.Sprintf("%s: %s waits for an operator's approval", bp.Name, ownerName(owner)))
			if view.Authorization == "" {
				a.unasked = append(a.unasked, bp.Name)
			}
		}
		a.gates = append(a.gates, gate)
	}
	return a
}

func ownerName(owner string) string {
	if owner == "" {
		return "a lease without an owner"
	}
	return "owner " + model.Quote(owner)
}

// ask puts on record that the owner wants to use blueprints that take an operator's approval.
func (r *leaseRun) ask(ctx context.Context, blueprints []string) error {
	lease := r.claim.Lease
	for _, name := range blueprints {
		_, wake, err := r.store.Authorize(ctx, model.Authorization{
			Namespace: lease.Namespace, Blueprint: name, Owner: lease.Owner, Status: model.AuthorizationRequested,
			Author: model.SystemAuthor, Origin: model.Origin{Via: model.ViaWorker}, Reason: "lease " + lease.ID + " asks for it",
		})
		if kind := model.KindOf(err); err != nil && kind != model.ErrorNotFound && kind != model.ErrorConflict {
			return err
		}
		// Not found, or a conflict: the blueprint has changed, and the write that follows says so.
		r.enqueue(ctx, wake)
	}
	return nil
}

// turnedAway ends a lease whose owner every blueprint has declined that could ever serve it.
func (r *leaseRun) turnedAway(ctx context.Context, a admission) (again bool, err error) {
	return r.breakDown(ctx, "no blueprint may serve it: "+strings.Join(a.declined, "; "))
}

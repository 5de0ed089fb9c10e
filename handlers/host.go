package handlers

import (
	"context"
	"errors"
	"fmt"

	"drydock/blueprints"
	"drydock/model"
	"drydock/store"
)

// Composition. A blueprint may say what its resources stand on: a working copy on a host, say. Such a resource takes a lease of its own,
// as anybody would, before it is activated, and holds it until it is destroyed. The scripts tie the two together: when the lease ends,
// the resource is released in the same write; when the resource is destroyed, the lease is.

// footing sees to the lease that a pending resource stands on. The host is nil as long as there is something to wait for; then again
// and err are what the update comes to.
func (r *resourceRun) footing(ctx context.Context, bp *opened) (host *blueprints.Host, again bool, err error) {
	res := r.claim.Resource
	if res.Work.SubLease == "" {
		if res.Work.Depth >= model.MaxDepth {
			again, err = r.breakDown(ctx, fmt.Sprintf("it would stand on %d others, one upon the other; blueprints lease from each other in a circle", model.MaxDepth))
			return nil, again, err
		}
		// The intent is stored first: a lease that nobody remembers could not be given back.
		id := model.NewID()
		st := store.ResourceStep{SubLease: &id}
		st.Log = append(st.Log, store.Entry{Event: model.EventWaiting, Text: fmt.Sprintf("asks for a %s to stand on: lease %s", bp.On.Type, id)})
		if _, err := r.apply(ctx, st); err != nil {
			return nil, false, err
		}
		res.Work.SubLease = id
	}
	lease, err := r.store.Lease(ctx, res.Namespace, res.Work.SubLease)
	if errors.Is(err, model.ErrLeaseNotFound) {
		created, err := r.store.CreateSubLease(ctx, res, bp.On.NewLease(bp.Name))
		if err != nil {
			return nil, false, err
		}
		r.enqueue(ctx, created.Wake)
		lease = created.Lease
	} else if err != nil {
		return nil, false, err
	}
	switch lease.Status {
	case model.LeasePending, model.LeaseAcquired:
		// Its activation or its end wakes the resource.
		again, err = r.finishWith(ctx, store.ResourceStep{}, earliest(r.claim.Now.Add(pollMost), res.Until))
		return nil, again, err
	case model.LeaseActive:
		host, err = r.hostOf(ctx, res)
		return host, false, err
	case model.LeaseReleased, model.LeaseBroken, model.LeaseDestroyed:
	}
	again, err = r.breakDown(ctx, fmt.Sprintf("the lease %s that it was to stand on is %s", lease.ID, lease.Status))
	return nil, again, err
}

// hostOf returns what a resource stands on; nil when that is nothing.
func (u *Updater) hostOf(ctx context.Context, res *model.Resource) (*blueprints.Host, error) {
	if res.Work.SubLease == "" {
		return nil, nil
	}
	lease, err := u.store.Lease(ctx, res.Namespace, res.Work.SubLease)
	if err != nil {
		return nil, fmt.Errorf("read what %s stands on: %w", res.Ref, err)
	}
	host := &blueprints.Host{Lease: lease}
	if lease.Resource != "" {
		if host.Resource, err = u.store.Resource(ctx, res.Namespace, lease.Resource); err != nil {
			return nil, fmt.Errorf("read what %s stands on: %w", res.Ref, err)
		}
	}
	return host, nil
}

// footingGone reports whether a resource has lost what it stood on: there is nothing left that could be cleaned up there, and what is
// there now may be somebody else's.
func footingGone(res *model.Resource, host *blueprints.Host) bool {
	return res.Work.SubLease != "" && (host == nil || host.Resource == nil || host.Lease.Status == model.LeaseDestroyed)
}

package handlers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"drydock/blueprints"
	"drydock/model"
	"drydock/store"
)

// Bounds of one run of the allocator.
const (
	// maxTries is how often it decides anew because somebody was quicker.
	maxTries = 5
	// maxPages is how many pages of free resources it looks at before it takes them to be all unfit.
	maxPages = 16
	// maxOffers is how many resources that could be made it compares.
	maxOffers = 64
	// passMost is how many resources that could be made are looked for beyond those that the lease and those ahead could take: so
	// many others are woken when there are.
	passMost = 16
	// offerBatch is how many offers are checked for held slot locks in one round trip.
	offerBatch = 512
)

// Waiting. Events wake a waiting lease; the poll is a net under them. A lease that was refused for a reason of its own tries
// again sooner, since no event tells when that reason is gone.
const (
	pollFirst  = 30 * time.Second
	retryFirst = 2 * time.Second
	pollMost   = 5 * time.Minute
)

// allocate looks for a place for a pending lease.
func (r *leaseRun) allocate(ctx context.Context) (again bool, err error) {
	rev := r.claim.BlueprintsRev
	for range maxTries {
		catalog, err := r.catalog.at(ctx, r.claim.Ref.Namespace, rev)
		if err != nil {
			return false, err
		}
		again, err = r.allocateOnce(ctx, catalog)
		switch {
		case errors.Is(err, model.ErrBlueprintChanged):
			if rev, err = r.store.BlueprintsRev(ctx, r.claim.Ref.Namespace); err != nil {
				return false, err
			}
		case errors.Is(err, model.ErrResourceUnusable), errors.Is(err, model.ErrSlotHeld), errors.Is(err, model.ErrLimitReached),
			errors.Is(err, model.ErrQuotaReached):
			// Somebody was quicker; nothing was written.
		default:
			return again, err
		}
	}
	// So much traffic that waiting a moment is quicker than trying again.
	return r.wait(ctx, waiting{reason: "others were quicker; trying again", delay: 50 * time.Millisecond})
}

func (r *leaseRun) allocateOnce(ctx context.Context, catalog catalogEntry) (again bool, err error) {
	req := r.claim.Lease.Request()
	req.Barred = nil // those of the last time; the survey finds today's
	usable, why := catalog.forRequest(req)
	market, found, err := r.survey(ctx, &req, usable)
	if err != nil {
		return false, err
	}
	served, pending, owner := found.served, found.pending, found.owner
	if len(why) == 0 && !pending && len(owner.declined) > 0 && len(owner.declined) == len(usable) {
		return r.turnedAway(ctx, owner)
	}
	p := market.choose(req, pending)
	if p != nil && p.offer != nil {
		p = market.begun(r.claim.Lease.Work.Hook, p)
	}
	switch {
	case p != nil && p.offer == nil:
		market.take(p)
		return r.acquire(ctx, p, market.left(), served)
	case p != nil:
		market.take(p)
		return r.make(ctx, p, market.left(), served)
	}
	w := waiting{
		reason:     waitingReason(owner.admitted, market, append(why, owner.why...), len(served) > 0, pending),
		considered: names(usable),
		allocating: pending,
		pass:       market.left(),
		nudge:      served,
	}
	if !market.failing.IsZero() {
		w.delay = market.failing.Sub(r.claim.Now)
	}
	if !pending {
		// A lease with a resource of its own on the way stands at no gate.
		w.gates = &owner.gates
		if err := r.ask(ctx, owner.unasked); err != nil {
			return false, err
		}
		if err := r.makeRoom(ctx, req, owner.admitted, market, &w); err != nil {
			return false, err
		}
	}
	return r.wait(ctx, w)
}

// found is what a survey found out besides what there is to have.
type found struct {
	// served are the first of each group of those ahead that took something.
	served []string
	// pending says that a resource is being made for the lease.
	pending bool
	owner   admission
}

// survey reads what there is and lets those ahead choose first. It sets in req which blueprints do not admit the lease.
func (r *leaseRun) survey(ctx context.Context, req *model.Request, usable []*opened) (m *market, f found, err error) {
	bps := make([]*model.Blueprint, len(usable))
	for i, bp := range usable {
		bps[i] = bp.Blueprint
	}
	// The wants of most are met by what a glance shows. It counts when it also shows enough to pass on to those behind.
	snap, err := r.store.Glance(ctx, r.claim, bps, 1+passMost)
	if err != nil {
		return nil, f, err
	}
	m, f = r.open(req, usable, snap)
	m.serveAll(snap.Ahead, &f, *req)
	if p := m.choose(*req, f.pending); p != nil && (p.load == 0 || !r.mayOffer(m, *req, f, snap)) && m.left() > passMost {
		return m, f, nil
	}
	for page := range maxPages {
		if page > 0 || snap.More {
			if snap, err = r.store.Snapshot(ctx, r.claim, bps, page); err != nil {
				return nil, f, err
			}
		}
		m, f = r.open(req, usable, snap)
		if !f.pending {
			if err := r.collectOffers(ctx, m, *req, f.owner.admitted, snap); err != nil {
				return nil, f, err
			}
		}
		m.serveAll(snap.Ahead, &f, *req)
		if !snap.More || m.choose(*req, f.pending) != nil {
			break
		}
	}
	return m, f, nil
}

// open makes a market of a snapshot. It sets in req which blueprints do not admit the lease.
func (r *leaseRun) open(req *model.Request, usable []*opened, snap *store.Snapshot) (m *market, f found) {
	f.pending = snap.Allocation == model.ResourcePending
	f.owner = admit(req.Owner, usable, snap.Owner)
	req.Barred = nil
	for _, gate := range f.owner.gates {
		req.Barred = append(req.Barred, gate.Blueprint)
	}
	m = newMarket(*req, f.owner.admitted, snap)
	for _, bp := range usable {
		barred := slices.Contains(req.Barred, bp.Name)
		m.elsewhere = m.elsewhere || barred && (bp.Limit == 0 || snap.Resources[bp.Name] < bp.Limit)
	}
	return m, f
}

// mayOffer reports whether a resource could be made for the lease, as far as that is known without a look at the slot locks.
func (r *leaseRun) mayOffer(m *market, req model.Request, f found, snap *store.Snapshot) bool {
	return !f.pending && slices.ContainsFunc(f.owner.admitted, func(bp *opened) bool {
		return m.mayMake(bp) && !bp.exhausted.holds(req, snap.Freed, r.claim.Now)
	})
}

// collectOffers lists what could be made: candidates whose slot locks nobody holds, as many as those ahead and the lease could
// want.
func (r *leaseRun) collectOffers(ctx context.Context, m *market, req model.Request, usable []*opened, snap *store.Snapshot) error {
	want := int64(1 + passMost)
	for _, group := range snap.Ahead {
		want += group.Count
	}
	want = min(want, maxOffers)
	for _, bp := range usable {
		if !m.mayMake(bp) {
			continue
		}
		if until, failing := r.failing(bp); failing {
			m.failing, m.reasons = until, append(m.reasons, fmt.Sprintf("%s failed to make one %d times in a row", bp.Name, r.claim.Lease.Work.Failed.Count))
			continue
		}
		if bp.exhausted.holds(req, snap.Freed, r.claim.Now) {
			continue
		}
		before := len(m.offers)
		if err := r.collectFrom(ctx, m, req, bp, int(want)); err != nil {
			return err
		}
		if len(m.offers) == before {
			bp.exhausted.note(req, snap.Freed, r.claim.Now)
		}
	}
	return nil
}

// failing reports whether what a blueprint made for the lease broke twice in a row, and until when it is left in peace.
func (r *leaseRun) failing(bp *opened) (until time.Time, failing bool) {
	failed := r.claim.Lease.Work.Failed
	if failed.Blueprint != bp.Name || failed.Count < 2 {
		return time.Time{}, false
	}
	until = failed.At.Add(backoff(retryFirst, failed.Count-1))
	return until, until.After(r.claim.Now)
}

func (r *leaseRun) collectFrom(ctx context.Context, m *market, req model.Request, bp *opened, want int) error {
	offers, err := r.freeOffers(ctx, bp, req, want)
	for _, offer := range offers {
		m.offers = append(m.offers, &place{bp: bp, offer: offer, room: 1})
	}
	return err
}

// freeOffers lists up to so many resources that a blueprint could make for a request and whose slot locks nobody holds, best first.
func (r *run) freeOffers(ctx context.Context, bp *opened, req model.Request, want int) (found []*blueprints.Offer, err error) {
	var batch []blueprints.Offer
	flush := func() error {
		var keys []string
		for _, o := range batch {
			keys = append(keys, o.Slots...)
		}
		free, err := r.store.FreeSlots(ctx, r.claim.Ref.Namespace, keys)
		if err != nil {
			return err
		}
		for i := range batch {
			if len(found) < want && !slices.ContainsFunc(batch[i].Slots, func(k string) bool { return !free[k] }) {
				found = append(found, &batch[i])
			}
		}
		batch = nil
		return nil
	}
	size := want
	for offer := range bp.behaviour.Offers(req) {
		batch = append(batch, offer)
		if len(batch) < size {
			continue
		}
		if err := flush(); err != nil || len(found) >= want {
			return found, err
		}
		size = offerBatch
	}
	return found, flush()
}

// acquire puts the lease on a resource, and activates it in the same write when that takes no outside work.
func (r *leaseRun) acquire(ctx context.Context, p *place, left int, ahead []string) (again bool, err error) {
	lease := r.claim.Lease
	hooks := p.bp.behaviour.Hooks()
	slots := p.bp.behaviour.Slots(p.res, lease.Request())
	if r.host, err = r.hostOf(ctx, p.res); err != nil {
		return false, err
	}
	if hooks.AcquireLease != nil {
		// Hooks are told of the leases, too, which the survey has only counted.
		if p.res, err = r.store.Resource(ctx, lease.Namespace, p.res.ID); errors.Is(err, model.ErrResourceNotFound) {
			return false, model.ErrResourceUnusable
		} else if err != nil {
			return false, err
		}
		err := r.hook(ctx, work{name: "acquire", key: "acquire/" + p.res.ID, timeout: hooks.Timeout}, func(ctx context.Context, call blueprints.Call) error {
			more, err := hooks.AcquireLease(ctx, call, p.res, lease)
			slots = append(slots, more...)
			return err
		})
		if err != nil {
			return r.refused(ctx, err, fmt.Sprintf("%s: %s", p.res.Name, describe(err)), names([]*opened{p.bp}))
		}
	}
	st := store.LeaseStep{
		Path: []model.LeaseState{model.LeaseAcquired},
		Acquire: &store.Acquisition{
			Resource: p.res.ID, Blueprint: p.bp.Name, Rev: p.bp.Rev, Slots: slots, Idle: p.load == 1, Quota: p.bp.Quota,
		},
		Pass: left,
	}
	_, st.Acquire.Approved = p.bp.Authorize.Decision(lease.Owner)
	r.nudge(&st, ahead)
	st.Progress()
	st.Log = append(st.Log, store.Entry{Event: model.EventAcquired, Text: "acquired " + p.res.Name})
	if hooks.ActivateLease == nil {
		st.Path = append(st.Path, model.LeaseActive)
		st.Log = append(st.Log, store.Entry{Event: model.EventActivated, Text: "active on " + p.res.Name})
		again, err = r.finishWith(ctx, st, r.until())
		return r.unlessReleasing(ctx, again, err)
	}
	_, err = r.apply(ctx, st)
	return true, err
}

// make has a resource made for the lease.
func (r *leaseRun) make(ctx context.Context, p *place, left int, ahead []string) (again bool, err error) {
	lease, hooks := r.claim.Lease, p.bp.behaviour.Hooks()
	id := model.NewID()
	offer := *p.offer
	if hooks.Allocate != nil {
		// A try that failed left its id and the name of its offer, so that the next one has the same idempotency key.
		if begun, name, ok := parseAllocation(lease.Work.Hook); ok && name == offer.Name {
			id = begun
		}
		err := r.hook(ctx, work{name: allocationName(id, offer.Name), key: "allocate/" + id, timeout: hooks.Timeout}, func(ctx context.Context, call blueprints.Call) error {
			made, err := hooks.Allocate(ctx, call, lease.Request(), offer)
			if err == nil {
				offer = made
			}
			return err
		})
		if err != nil {
			return r.refused(ctx, err, fmt.Sprintf("%s failed to allocate: %s", p.bp.Name, describe(err)), names([]*opened{p.bp}))
		}
	}
	reason, considered := "waiting for "+offer.Name+" to become active", names([]*opened{p.bp})
	st := store.LeaseStep{Reason: &reason, Considered: &considered, Pass: left}
	r.nudge(&st, ahead)
	st.Progress()
	st.Log = append(st.Log, store.Entry{Event: model.EventAllocated, Text: fmt.Sprintf("%s makes %s for this lease", p.bp.Name, offer.Name)})
	st.Step = r.merge(st.Step)
	st.LookAgain = r.earliest(r.claim.Now.Add(pollMost))
	made := newResource(id, p.bp.Blueprint, offer)
	made.Depth = lease.Work.Depth
	applied, err := r.store.CreateResource(ctx, r.claim, made, st)
	if err != nil {
		return false, err
	}
	r.written(ctx, st.Step, applied)
	return applied.Again, nil
}

func newResource(id string, bp *model.Blueprint, offer blueprints.Offer) store.NewResource {
	return store.NewResource{
		ID: id, Name: offer.Name, Blueprint: bp, Attributes: offer.Attributes, Capacity: max(1, offer.Capacity),
		Slots: offer.Slots, UntilMS: millisOf(offer.Until), Facts: offer.Facts,
	}
}

// allocationName is what a lease's hook field holds while a resource is allocated for it; parseAllocation is its inverse.
func allocationName(id, offer string) string { return "allocate " + id + " " + offer }

func parseAllocation(hook string) (id, offer string, ok bool) {
	rest, ok := strings.CutPrefix(hook, "allocate ")
	if !ok {
		return "", "", false
	}
	return strings.Cut(rest, " ")
}

// waiting is why a lease waits.
type waiting struct {
	reason     string
	considered []string
	// allocating says that a resource is being made for it.
	allocating bool
	// standBack says that it was refused for a reason of its own and must not hold up the others.
	standBack bool
	// gates are the blueprints that do not admit it; nil = as before.
	gates *[]store.Gate
	// pass is for how many leases it leaves room behind.
	pass int
	// nudge are those that stand before it and could take what is there: should none of them have been woken, they are now.
	nudge []string
	// delay until it looks again by itself; 0 = the growing poll.
	delay time.Duration
	// forget says that the resource that was asked to make room has answered.
	forget bool
}

// wait records why the lease waits and puts the pen down.
func (r *leaseRun) wait(ctx context.Context, w waiting) (again bool, err error) {
	work := r.claim.Lease.Work
	tries := work.Failures + 1
	delay := w.delay
	if delay == 0 {
		delay = backoff(pollFirst, tries)
	}
	st := store.LeaseStep{Compete: !w.allocating && !w.standBack, StandBack: w.standBack, Gates: w.gates, Pass: w.pass}
	st.Failures = &tries
	r.nudge(&st, w.nudge)
	if w.forget {
		st.Reclaiming = &store.Reclaiming{}
	}
	if w.reason != work.Reason {
		st.Reason, st.Considered = &w.reason, &w.considered
		st.Log = append(st.Log, store.Entry{Event: model.EventWaiting, Text: w.reason})
	}
	return r.finishWith(ctx, st, r.earliest(r.claim.Now.Add(delay)))
}

// nudge wakes leases that stand before this one and could take what is there, should nobody have woken them.
func (r *leaseRun) nudge(st *store.LeaseStep, ahead []string) {
	for _, id := range ahead {
		st.Wake = append(st.Wake, model.LeaseRef(r.claim.Ref.Namespace, id))
	}
}

// refused puts a lease off after a blueprint's own hook said no, not yet, or failed.
func (r *leaseRun) refused(ctx context.Context, err error, reason string, considered []string) (again bool, fatal error) {
	if !hookFailed(err) {
		return false, err
	}
	delay := backoff(retryFirst, r.claim.Lease.Work.Failures+1)
	if y, ok := blueprints.AsYield(err); ok && y.After > 0 {
		delay = y.After
	}
	return r.wait(ctx, waiting{reason: reason, considered: considered, standBack: true, pass: 1, delay: delay})
}

func waitingReason(usable []*opened, m *market, why []string, contended, pending bool) string {
	switch {
	case pending:
		return "waiting for its resource to become active"
	case len(usable) == 0 && len(why) == 0:
		return "no blueprint of this type is declared"
	case len(usable) == 0:
		return "no blueprint can serve it now: " + strings.Join(why, "; ")
	case contended:
		return "waiting for its turn"
	case len(m.reasons) > 0:
		return "nothing that is free fits: " + strings.Join(m.reasons, "; ")
	}
	return strings.Join(append([]string{"all that fits is in use or paused"}, why...), "; ")
}

func names(list []*opened) []string {
	out := make([]string, len(list))
	for i, o := range list {
		out[i] = o.Name
	}
	return out
}

func millisOf(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// backoff doubles from first with each try, up to pollMost.
func backoff(first time.Duration, try int) time.Duration {
	return min(pollMost, first<<min(max(try-1, 0), 20))
}

package handlers

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"drydock/blueprints"
	"drydock/model"
	"drydock/store"
)

// The allocator's policy: pure, no I/O. In this order a waiting lease
//
//  1. takes a free resource, one that nobody uses;
//  2. waits for the resource that is being made for it;
//  3. has a resource made, within the blueprints' limits;
//  4. takes a place on a resource that others use too;
//  5. asks an idle resource of the wrong shape to make room, where a blueprint could then make one of the right shape
//     (reclaim.go);
//  6. waits.
//
// So a pool grows before a host is shared. Among resources, the least loaded comes first, then the one idle for longest: the
// order of the store's index.
//
// A blueprint may not admit the lease because of its owner, whose quota is used up or who is not authorized. Such a lease waits at the
// blueprint's gate until that changes, and counts as one that does not ask for this blueprint (admission.go).
//
// Fairness: whoever stands before the lease and could use a place gets it, in this reckoning, before the lease chooses. They
// have been woken by the same event; the lease is woken again when one of them leaves something behind.

// place is room that a lease could have: on a resource that is there, or on one to be made.
type place struct {
	res *model.Resource
	bp  *opened
	// room is how many more leases the resource takes; load how many it has, those counted here included.
	room, load int
	// offer is what would be made; nil when res is there.
	offer *blueprints.Offer
}

func (p *place) fits(req model.Request) (bool, string) {
	if !allowed(req, p.bp) {
		return false, ""
	}
	res := p.res
	if p.offer != nil {
		// What would be made. Only the blueprint knows which attributes of a request are to be compared.
		res = &model.Resource{
			Name: p.offer.Name, Type: p.bp.Type, Status: model.ResourceActive, Blueprint: p.bp.Name, Attributes: p.offer.Attributes,
			Capacity: max(1, p.offer.Capacity), Until: p.offer.Until, Work: model.ResourceWork{Facts: p.offer.Facts},
		}
	}
	return p.bp.behaviour.Fits(res, req)
}

func allowed(req model.Request, bp *opened) bool {
	return (len(req.Blueprints) == 0 || slices.Contains(req.Blueprints, bp.Name)) && !slices.Contains(req.Barred, bp.Name)
}

// market is what there is for one request.
type market struct {
	// free are resources with room, best first; offers are what could be made, best first.
	free   []*place
	offers []*place
	// allowance is how many resources each blueprint may still make, by name; absent = no limit.
	allowance map[string]int
	// behind says that somebody who asks for the same stands before the lease.
	behind bool
	// failing is until when a blueprint is not asked to make another one, because what it made last for the lease broke; zero = none is.
	failing time.Time
	// elsewhere says that there is something that the lease cannot use, and that those behind it may wait for: room on a resource that
	// does not fit, or a blueprint that could make more and does not admit it.
	elsewhere bool
	// unfit are idle resources that do not fit: they could make room for one that does.
	unfit []*model.Resource
	// reasons say why resources that have room do not fit.
	reasons []string
}

// newMarket lists the places that fit the request.
func newMarket(req model.Request, usable []*opened, snap *store.Snapshot) *market {
	m := &market{allowance: make(map[string]int)}
	byName := make(map[string]*opened, len(usable))
	for _, bp := range usable {
		byName[bp.Name] = bp
		if bp.Limit > 0 {
			m.allowance[bp.Name] = max(0, bp.Limit-snap.Resources[bp.Name])
		}
	}
	for _, free := range snap.Free {
		res := free.Resource
		bp, ok := byName[res.Blueprint]
		if !ok {
			m.elsewhere = true
			continue
		}
		p := &place{res: res, bp: bp, room: max(0, res.Capacity-free.Load), load: free.Load}
		if ok, why := p.fits(req); ok {
			m.free = append(m.free, p)
			continue
		} else if why != "" && len(m.reasons) < 3 {
			m.reasons = append(m.reasons, fmt.Sprintf("%s: %s", res.Name, why))
		}
		m.elsewhere = true
		if free.Load == 0 {
			m.unfit = append(m.unfit, res)
		}
	}
	return m
}

// sameShape reports whether two requests can take the same places.
func sameShape(a, b model.Request) bool {
	return maps.Equal(a.Attributes, b.Attributes) && slices.Equal(a.Blueprints, b.Blueprints) && slices.Equal(a.Barred, b.Barred)
}

// mayMake reports whether a blueprint may make another resource.
func (m *market) mayMake(bp *opened) bool {
	left, limited := m.allowance[bp.Name]
	return !limited || left > 0
}

// choose returns the place a request would take; nil = none. ownPending says that a resource is being made for it.
func (m *market) choose(req model.Request, ownPending bool) *place {
	var shared *place
	for _, p := range m.free {
		if p.room == 0 {
			continue
		}
		if ok, _ := p.fits(req); !ok {
			continue
		}
		if p.load == 0 {
			return p
		}
		if shared == nil || p.load < shared.load {
			shared = p
		}
	}
	if ownPending {
		return nil
	}
	for _, p := range m.offers {
		if p.room == 0 || !m.mayMake(p.bp) {
			continue
		}
		if ok, _ := p.fits(req); ok {
			return p
		}
	}
	return shared
}

// begun returns the offer whose allocation was begun and not finished, when it can still be had, and p otherwise.
func (m *market) begun(hook string, p *place) *place {
	_, name, ok := parseAllocation(hook)
	if !ok {
		return p
	}
	for _, o := range m.offers {
		if o.room > 0 && o.offer.Name == name && o.bp == p.bp {
			return o
		}
	}
	return p
}

// take counts a place as taken.
func (m *market) take(p *place) {
	p.room--
	p.load++
	if p.offer == nil {
		return
	}
	// An offer is one resource, whatever its capacity: later leases share it once it is there.
	if len(p.offer.Slots) > 0 {
		p.room = 0
	} else {
		p.room = 1
	}
	if _, limited := m.allowance[p.bp.Name]; limited {
		m.allowance[p.bp.Name]--
	}
}

// serve lets those who stand before the lease choose first. It returns the first of each group that took something from what the
// lease could use.
func (m *market) serve(ahead []store.Ahead) (served []string) {
	for _, group := range ahead {
		for i := range group.Count {
			p := m.choose(group.First, false)
			if p == nil {
				break
			}
			m.take(p)
			if i == 0 {
				served = append(served, group.First.Lease)
			}
		}
	}
	return served
}

// serveAll is serve, noted in f.
func (m *market) serveAll(ahead []store.Ahead, f *found, req model.Request) {
	f.served = m.serve(ahead)
	m.behind = slices.ContainsFunc(ahead, func(a store.Ahead) bool { return sameShape(a.First, req) })
}

// left counts how many more leases could be served by what is there, as far as it was looked at. When there is only what the lease cannot
// use, that counts as one: the word must not stop at somebody whom it does not concern. It does stop at a lease that leaves a blueprint in
// peace: those behind take it to be served, would wake it, and so on without end.
func (m *market) left() int {
	n := 0
	for _, p := range m.free {
		n += p.room
	}
	for _, p := range m.offers {
		if m.mayMake(p.bp) {
			n += p.room
		}
	}
	if n == 0 && m.elsewhere && m.failing.IsZero() {
		return 1
	}
	return n
}

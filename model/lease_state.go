package model

import "slices"

// LeaseState is the state of a saved lease, stored as written here and readable in redis-cli.
type LeaseState string

// The states of a lease. In every one but destroyed, only the lease's own update moves it out.
const (
	// LeasePending waits in the queue for a resource; the allocator moves it to acquired.
	LeasePending LeaseState = "pending"
	// LeaseAcquired holds its slot locks and its place on an active resource and is being activated.
	LeaseAcquired LeaseState = "acquired"
	// LeaseActive is in use by its owner until it is released or its until passes.
	LeaseActive LeaseState = "active"
	// LeaseReleased has been given back and is being cleaned up; it still holds its slot locks and its place.
	LeaseReleased LeaseState = "released"
	// LeaseBroken failed for good and is being cleaned up; it still holds its slot locks and its place.
	LeaseBroken LeaseState = "broken"
	// LeaseDestroyed holds nothing any more; nobody moves it out.
	LeaseDestroyed LeaseState = "destroyed"
)

// LeaseStates lists every state in the order of a lease's life.
func LeaseStates() []LeaseState {
	return []LeaseState{LeasePending, LeaseAcquired, LeaseActive, LeaseReleased, LeaseBroken, LeaseDestroyed}
}

// leaseTransitions is the whole truth about which state may follow which.
var leaseTransitions = map[LeaseState][]LeaseState{
	LeasePending:  {LeaseAcquired, LeaseReleased, LeaseBroken},
	LeaseAcquired: {LeasePending, LeaseActive, LeaseReleased, LeaseBroken},
	LeaseActive:   {LeaseReleased, LeaseBroken},
	LeaseReleased: {LeaseDestroyed},
	LeaseBroken:   {LeaseReleased, LeaseDestroyed},
}

// Valid reports whether s is a known state.
func (s LeaseState) Valid() bool { return slices.Contains(LeaseStates(), s) }

// CanBecome reports whether an update may move a lease from s to next.
func (s LeaseState) CanBecome(next LeaseState) bool {
	return slices.Contains(leaseTransitions[s], next)
}

// Next lists the states that may follow s.
func (s LeaseState) Next() []LeaseState { return slices.Clone(leaseTransitions[s]) }

// Terminal reports whether nothing follows s.
func (s LeaseState) Terminal() bool { return s == LeaseDestroyed }

// Releasable reports whether `release` does anything in s.
func (s LeaseState) Releasable() bool {
	return s == LeasePending || s == LeaseAcquired || s == LeaseActive || s == LeaseBroken
}

// Commandable reports whether s takes commands at all.
func (s LeaseState) Commandable() bool { return s.Releasable() }

// OnResource reports whether a lease in s has a place on a resource. Released and broken leases may have one: those that
// never got past pending do not.
func (s LeaseState) OnResource() bool { return s == LeaseAcquired || s == LeaseActive }

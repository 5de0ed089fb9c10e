package model

import "slices"

// ResourceState is the state of a saved resource, stored as written here and readable in redis-cli.
type ResourceState string

// The states of a resource. In every one but destroyed, only the resource's own update moves it out.
const (
	// ResourcePending has been allocated and is being activated; it takes no lease yet.
	ResourcePending ResourceState = "pending"
	// ResourceActive can be leased, unless it is paused or full.
	ResourceActive ResourceState = "active"
	// ResourceReleased is on its way out: its leases have been told, and it is destroyed when they are.
	ResourceReleased ResourceState = "released"
	// ResourceBroken failed for good: its leases have been told, and it is destroyed when they are.
	ResourceBroken ResourceState = "broken"
	// ResourceDestroyed holds nothing any more; nobody moves it out.
	ResourceDestroyed ResourceState = "destroyed"
)

// ResourceStates lists every state in the order of a resource's life.
func ResourceStates() []ResourceState {
	return []ResourceState{ResourcePending, ResourceActive, ResourceReleased, ResourceBroken, ResourceDestroyed}
}

// resourceTransitions is the whole truth about which state may follow which.
var resourceTransitions = map[ResourceState][]ResourceState{
	ResourcePending:  {ResourceActive, ResourceReleased, ResourceBroken},
	ResourceActive:   {ResourceReleased, ResourceBroken},
	ResourceReleased: {ResourceDestroyed},
	ResourceBroken:   {ResourceReleased, ResourceDestroyed},
}

// Valid reports whether s is a known state.
func (s ResourceState) Valid() bool { return slices.Contains(ResourceStates(), s) }

// CanBecome reports whether an update may move a resource from s to next.
func (s ResourceState) CanBecome(next ResourceState) bool {
	return slices.Contains(resourceTransitions[s], next)
}

// Next lists the states that may follow s.
func (s ResourceState) Next() []ResourceState {
	return slices.Clone(resourceTransitions[s])
}

// Terminal reports whether nothing follows s.
func (s ResourceState) Terminal() bool { return s == ResourceDestroyed }

// Releasable reports whether `release` does anything in s. A broken resource is releasable, unlike in Phabricator's
// Drydock, where it would stay for ever.
func (s ResourceState) Releasable() bool {
	return s == ResourcePending || s == ResourceActive || s == ResourceBroken
}

// Commandable reports whether s takes commands at all.
func (s ResourceState) Commandable() bool { return s.Releasable() }

package model

import (
	"encoding/json"
	"time"
)

// Resource is a thing that can be leased.
type Resource struct {
	Ref
	// Name is what the blueprint calls it, for example the host's name; unique among a blueprint's live resources.
	Name   string
	Type   string
	Status ResourceState
	// Releasing reports whether a release or reclaim command waits on the resource's queue.
	Releasing bool
	// Paused says that an active resource takes no new leases.
	Paused     bool
	Blueprint  string
	Attributes map[string]string
	// Capacity is how many leases the resource takes at once.
	Capacity int
	// Leases are the ids of the leases that have a place on it, oldest first.
	Leases []string
	// Until is the instant the resource ends; zero = never.
	Until time.Time
	// Fence is the ordered number of the last claim. A target can refuse an older one.
	Fence int64

	// Data are the notes on it, DataRev counts their writes (see [Data]); the update never writes them.
	Data    json.RawMessage
	DataRev int64

	// IdleSince is when the last lease left it; zero if none ever did.
	IdleSince time.Time

	CreatedAt, ActivatedAt, ReleasedAt, DestroyedAt, UpdatedAt time.Time

	// Work is what the updates keep for themselves.
	Work ResourceWork
}

// ResourceWork is the part of a resource that only its update reads and writes.
type ResourceWork struct {
	Work
	// ForLease is the id of the lease for which the resource was allocated; empty for a warm spare.
	ForLease string
	// SubLease is the id of the lease that the resource stands on; empty when it has none, or not yet. Depth is that of the lease it was
	// made for.
	SubLease string
	Depth    int
	// Rev is the blueprint's revision by which the resource was last read.
	Rev int64
	// Retires says that the resource goes when it has been idle for RetireAfter.
	Retires     bool
	RetireAfter time.Duration
	// Facts are what the blueprint wants to remember about the resource, opaque to everybody else.
	Facts string
}

// Free reports how many more leases the resource could take, by what was read.
func (r *Resource) Free() int {
	if r.Status != ResourceActive || r.Paused || r.Releasing {
		return 0
	}
	return max(0, r.Capacity-len(r.Leases))
}

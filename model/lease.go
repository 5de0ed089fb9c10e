package model

import (
	"encoding/json"
	"time"
)

// Lease is one use of one resource by an owner.
type Lease struct {
	Ref
	Type   string
	Status LeaseState
	// Releasing reports whether a release command waits on the lease's queue.
	Releasing bool
	// Resource is the id of the resource the lease has a place on; kept after it left, for history. Empty until acquired.
	Resource string
	// Blueprint names the blueprint of that resource.
	Blueprint string
	Owner     string
	// Attributes are what the lease asks of a resource: each must be there with just this value.
	Attributes map[string]string
	// Blueprints are the names the lease may be served from; empty = any of its type.
	Blueprints []string
	Priority   int
	// Until is the instant the lease ends; zero = never.
	Until time.Time
	// Fence is the ordered number of the last claim. A target can refuse an older one.
	Fence int64
	// Waiting says where a pending lease stands; nil in every other state.
	Waiting *Waiting
	// Data are the notes on it, DataRev counts their writes (see [Data]); the update never writes them.
	Data    json.RawMessage
	DataRev int64

	CreatedAt, AcquiredAt, ActivatedAt, ReleasedAt, DestroyedAt, UpdatedAt time.Time

	// Work is what the updates keep for themselves.
	Work LeaseWork
}

// LeaseWork is the part of a lease that only its update reads and writes.
type LeaseWork struct {
	Work
	// Order is the lease's place in the queue for its type: lower is served first.
	Order float64
	// Shape names what the lease asks for: leases of one shape can take the same resources.
	Shape string
	// Allocation is the id of the resource that was allocated for this lease while it waits; empty if none.
	Allocation string
	// Reclaiming is the id of the idle resource that was asked to make room for this lease, and ReclaimCommand that of the
	// command; both empty if none was.
	Reclaiming, ReclaimCommand string
	// ForResource is the id of the resource that stands on the lease; empty for everybody else's. Depth counts how many resources stand
	// above it.
	ForResource string
	Depth       int
	// Gates are the blueprints that do not admit the lease now because of its owner: a quota, or an authorization.
	Gates []string
	// Failed tells of resources that broke before they could become active for this lease.
	Failed Failed
	// Reason says why the lease waits.
	Reason string
}

// Failed counts resources that were made for a lease and broke before they became active.
type Failed struct {
	// Count is how many did so in a row; 0 = none.
	Count int
	// At is when the last one did, Blueprint what made it.
	At        time.Time
	Blueprint string
}

// Work is the part of an object that only its update reads and writes.
type Work struct {
	Writer  string
	Version int64
	// Slots are the keys of the slot locks the object holds.
	Slots []string
	// Hook names the outside work that was begun and not yet recorded as done; empty if none.
	Hook string
	// Failures counts how often in a row the update got no further; it sets the delay of the next try.
	Failures int
	// EndedAt is when the object was released or broke; zero before that. Graces count from it.
	EndedAt time.Time
	// Trace is the W3C traceparent of what sent the object on its way: the request that made or declared it, or the update that consumed its last
	// command; empty when nobody traces.
	Trace string
}

// Waiting says where a pending lease stands and why.
type Waiting struct {
	// Position counts from 1, over all leases that wait for the type.
	Position   int64    `json:"position"`
	Reason     string   `json:"reason"`
	Blueprints []string `json:"blueprints"`
}

// Request is what a lease asks for: all that matching and allocation look at.
type Request struct {
	Lease      string
	Type       string
	Owner      string
	Attributes map[string]string
	Blueprints []string
	// Barred are blueprints that do not admit the owner now.
	Barred []string
}

// Request returns what the lease asks for.
func (l *Lease) Request() Request {
	return Request{Lease: l.ID, Type: l.Type, Owner: l.Owner, Attributes: l.Attributes, Blueprints: l.Blueprints, Barred: l.Work.Gates}
}

// Matches reports whether attributes has every attribute that want asks for.
func Matches(want, attributes map[string]string) bool {
	for name, value := range want {
		if got, ok := attributes[name]; !ok || got != value {
			return false
		}
	}
	return true
}

// NewLease is a request for a lease, as a caller makes it.
type NewLease struct {
	Type       string
	Attributes map[string]string
	Blueprints []string
	Owner      string
	// TTL and Until: at most one. TTL counts from the instant the request is stored.
	TTL      time.Duration
	Until    time.Time
	Priority int
	Data     json.RawMessage
}

// Check checks every field; errors are [ErrorInvalid] and name the field. An until must lie after now.
func (n *NewLease) Check(now time.Time) error {
	if err := CheckName("type", n.Type); err != nil {
		return err
	}
	if err := CheckAttributes("attributes", n.Attributes); err != nil {
		return err
	}
	if len(n.Blueprints) > MaxBlueprintsListed {
		return Invalid("blueprints", "must have at most %d entries", MaxBlueprintsListed)
	}
	for _, name := range n.Blueprints {
		if err := CheckName("blueprints", name); err != nil {
			return err
		}
	}
	if err := CheckText("owner", n.Owner, MaxOwnerLength); err != nil {
		return err
	}
	if n.Priority < MinPriority || n.Priority > MaxPriority {
		return Invalid("priority", "must be between %d and %d", MinPriority, MaxPriority)
	}
	if len(n.Data) > MaxDataLength {
		return Invalid("data", "must not be longer than %d bytes", MaxDataLength)
	}
	switch {
	case n.TTL != 0 && !n.Until.IsZero():
		return Invalid("ttl", "give ttl or until, not both")
	case n.TTL != 0:
		return CheckTTL("ttl", n.TTL)
	case !n.Until.IsZero():
		return CheckUntil("until", n.Until, now)
	}
	return nil
}

package blueprints

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"drydock/model"
)

// Kind opens the blueprints of one kind.
type Kind interface {
	// Name is what a blueprint's "kind" says.
	Name() string
	// Open reads bp's Config. Errors are [model.ErrorInvalid] and name the field, below "config".
	Open(bp *model.Blueprint) (Blueprint, error)
}

// Blueprint is an opened blueprint. Its methods do no I/O and may be called concurrently.
type Blueprint interface {
	// CanServe reports whether the blueprint could ever serve the request if everything it has were free and enabled; if
	// not, reason says why. Type, allowed names and enabledness have been checked by the caller.
	CanServe(req model.Request) (ok bool, reason string)

	// Offers lists the resources that could be made for the request, best first. It yields candidates without regard to
	// what exists: a candidate is real only when its slot locks are taken in the write that creates it. There may be
	// thousands: they are made as they are asked for. Callers change neither the map nor the slice of an offer, which may be
	// the blueprint's own.
	Offers(req model.Request) iter.Seq[Offer]

	// Fits reports whether the request may be put on res, given that res is active, of this blueprint, and has room; if
	// not, reason says why. It includes the comparison of attributes.
	Fits(res *model.Resource, req model.Request) (ok bool, reason string)

	// Slots returns the slot locks that the lease takes when it is put on res, beyond its place in res's capacity.
	Slots(res *model.Resource, req model.Request) []string

	// Hooks returns the outside work. It does not change during the life of the opened blueprint.
	Hooks() *Hooks
}

// Offer is a resource that could be made.
type Offer struct {
	// Name is unique among the blueprint's live resources.
	Name       string
	Attributes map[string]string
	// Capacity is how many leases it takes at once; at least 1.
	Capacity int
	// Slots are the slot locks that the resource holds from creation until it is destroyed.
	Slots []string
	// Until is the instant the resource ends; zero = never.
	Until time.Time
	// Facts are stored with the resource, for the blueprint's own use.
	Facts string
}

// Hooks is the outside work of a blueprint. A nil function means that the step needs none.
//
// The error of a hook decides what happens: [Yield] puts the step off and does not count as a failure; anything else is
// a failure. A failed Allocate leaves the lease waiting; a failed AcquireLease makes the allocator look elsewhere; a
// failed ActivateResource or ActivateLease breaks the object; a failed UpdateResource refuses the command,
// or is tried again when it was not a command that asked, and [Gone] retires the resource;
// a failed ReleaseLease, DestroyLease or DestroyResource is tried again, with growing delays, until it succeeds.
type Hooks struct {
	// Timeout bounds each call; 0 = [DefaultTimeout]. The context ends then, or earlier when the object lock is lost.
	Timeout time.Duration

	// Allocate prepares the making of a resource and may fill in the offer.
	Allocate func(ctx context.Context, call Call, req model.Request, offer Offer) (Offer, error)
	// ActivateResource makes a pending resource usable.
	ActivateResource func(ctx context.Context, call Call, res *model.Resource) (Changes, error)
	// UpdateResource reads the resource again without touching its leases.
	UpdateResource func(ctx context.Context, call Call, res *model.Resource) (Changes, error)
	// DestroyResource cleans up a resource that has no leases any more.
	DestroyResource func(ctx context.Context, call Call, res *model.Resource) error

	// AcquireLease agrees to put a lease on a resource and may name slot locks to take with it.
	AcquireLease func(ctx context.Context, call Call, res *model.Resource, lease *model.Lease) (slots []string, err error)
	// ActivateLease makes the resource ready for the lease.
	ActivateLease func(ctx context.Context, call Call, res *model.Resource, lease *model.Lease) error
	// ReleaseLease takes the resource back from the lease. It does not run for a lease that broke.
	ReleaseLease func(ctx context.Context, call Call, res *model.Resource, lease *model.Lease) error
	// DestroyLease cleans up after the lease, released or broken.
	DestroyLease func(ctx context.Context, call Call, res *model.Resource, lease *model.Lease) error
}

// DefaultTimeout bounds a hook whose blueprint does not say otherwise. Five minutes lets a machine boot and still
// shows a hang to the people on call within a coffee break.
const DefaultTimeout = 5 * time.Minute

// Call tells a hook for whom and as which attempt it runs.
type Call struct {
	// Object is what the step is about.
	Object model.Ref
	// Fence is the number of the claim under which the hook runs. A target that remembers the highest number it has seen can
	// refuse an older one.
	Fence int64
	// Key is the idempotency key of the step: the same for each attempt, made from the object and the step.
	Key string
	// Attempt counts from 1.
	Attempt int
	// Host is what the resource stands on; nil when its blueprint says nothing of the kind.
	Host *Host
}

// Host is the lease that a resource stands on, and where it is.
type Host struct {
	Lease *model.Lease
	// Resource is the one that the lease is on.
	Resource *model.Resource
}

// Changes is what a hook found out about a resource; zero fields change nothing.
type Changes struct {
	Attributes map[string]string
	Capacity   int
	Facts      string
	Until      time.Time
}

// GoneError is the answer of UpdateResource when the blueprint does not have the resource any more: it takes no new lease and goes
// when nobody uses it.
type GoneError struct{ Reason string }

// Error says why.
func (e *GoneError) Error() string { return e.Reason }

// Gone returns an error that says that the blueprint does not have the resource any more.
func Gone(format string, args ...any) error { return &GoneError{Reason: fmt.Sprintf(format, args...)} }

// AsGone returns the GoneError in err's chain, if there is one.
func AsGone(err error) (*GoneError, bool) { return errors.AsType[*GoneError](err) }

// YieldError puts a step off.
type YieldError struct {
	// After is how long; 0 = the updater's own growing delay.
	After  time.Duration
	Reason string
}

// Error says why.
func (e *YieldError) Error() string {
	return fmt.Sprintf("not yet: %s", e.Reason)
}

// Yield returns an error that puts the step off for about after.
func Yield(after time.Duration, format string, args ...any) error {
	return &YieldError{After: after, Reason: fmt.Sprintf(format, args...)}
}

// AsYield returns the YieldError in err's chain, if there is one.
func AsYield(err error) (*YieldError, bool) { return errors.AsType[*YieldError](err) }

package api

import (
	"context"
	"encoding/json"

	"drydock/model"
)

// Store is the domain in Redis. Its errors are [model.Error]s: a Redis outage is [model.ErrorUnavailable], never not-found. All
// methods may be called concurrently.
type Store interface {
	// CreateLease stores a pending lease and makes the namespace known to the workers.
	CreateLease(ctx context.Context, namespace, id string, n model.NewLease, idem model.Idempotency) (model.Created, error)
	// Send stores a command on its target's queue. A state that takes no commands is [model.ErrorConflict]; a release then
	// succeeds without a command instead.
	Send(ctx context.Context, cmd model.Command, idem model.Idempotency) (model.Sent, error)

	Lease(ctx context.Context, namespace, id string) (*model.Lease, error)
	// Leases lists newest first.
	Leases(ctx context.Context, namespace string, f model.LeaseFilter) (model.Page[*model.Lease], error)
	Resource(ctx context.Context, namespace, id string) (*model.Resource, error)
	// Resources lists newest first.
	Resources(ctx context.Context, namespace string, f model.ResourceFilter) (model.Page[*model.Resource], error)

	// Commands lists oldest first: what was consumed, then what waits.
	Commands(ctx context.Context, ref model.Ref, limit int, after string) (model.Page[*model.Command], error)
	// Log lists oldest first.
	Log(ctx context.Context, ref model.Ref, limit int, after string) (model.Page[model.LogEntry], error)
	Slots(ctx context.Context, ref model.Ref) ([]model.Slot, error)

	// Data reads the notes on an object.
	Data(ctx context.Context, ref model.Ref) (model.Data, error)
	// SetData writes them, or removes them when value is nil. It is [model.ErrorConflict] when the object is destroyed and
	// [model.ErrorPrecondition] when cond does not hold.
	SetData(ctx context.Context, ref model.Ref, value json.RawMessage, cond model.Condition) (model.Data, error)

	// PutBlueprint stores a checked blueprint and names the leases that it may now serve.
	PutBlueprint(ctx context.Context, bp *model.Blueprint, cond model.Condition) (stored *model.Blueprint, created bool, wake []model.Ref, err error)
	Blueprint(ctx context.Context, namespace, name string) (*model.Blueprint, error)
	// Blueprints lists all, sorted by name.
	Blueprints(ctx context.Context, namespace string) ([]*model.Blueprint, error)
	// DeleteBlueprint is [model.ErrorConflict] while the blueprint has resources. It names the leases whose wait looks different now.
	DeleteBlueprint(ctx context.Context, namespace, name string) (wake []model.Ref, err error)

	// Authorize stores an operator's word on an owner and names the leases that waited for it. It is [model.ErrorConflict] when the
	// blueprint takes no requests. Told again what it knows already, it changes nothing.
	Authorize(ctx context.Context, a model.Authorization) (stored *model.Authorization, wake []model.Ref, err error)
	// Authorizations lists by blueprint, then by owner.
	Authorizations(ctx context.Context, namespace string, f model.AuthorizationFilter) (model.Page[*model.Authorization], error)

	// Watch returns a channel that receives after each change of the object, and now and then for safety. It holds one
	// signal, so a reader who reads the object after each misses nothing. stop must be called.
	Watch(ctx context.Context, ref model.Ref) (changed <-chan struct{}, stop func())
	Ping(ctx context.Context) error

	Batch
	Events
	Subscriptions
}

// KeyKnower is a [Store] that can tell whether a request with this idempotency key was accepted before. With it, a repeated
// request is not refused by a rule that has changed its mind since: an until that has passed, a blueprint that was removed. Without
// it, such a repetition is answered like a new request.
type KeyKnower interface {
	KnowsKey(ctx context.Context, namespace, key string) (bool, error)
}

// Tasks schedules update tasks.
type Tasks interface {
	// Enqueue asks for an update of each object. A failure loses nothing: the sweeper finds the objects in the wake index.
	Enqueue(ctx context.Context, refs ...model.Ref) error
}

// Kinds knows what the kinds of blueprints can do; it does no I/O.
type Kinds interface {
	// Check checks a declaration; errors are [model.ErrorInvalid] and name the field.
	Check(bp *model.Blueprint) error
	// CanServe reports whether the blueprint could ever serve the request; if not, reason says why.
	CanServe(bp *model.Blueprint, req model.Request) (ok bool, reason string)
}

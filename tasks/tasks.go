// Package tasks names the asynq tasks that wake workers, and enqueues them. A task says "update this object" and nothing
// else; what is owed is recorded in the store's wake index. Losing, delaying or doubling a task therefore harms nothing, and
// the options below choose accordingly.
package tasks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hibiken/asynq"

	"drydock/model"
)

// Task types.
const (
	TypeLeaseUpdate     = "lease:update"
	TypeResourceUpdate  = "resource:update"
	TypeBlueprintUpdate = "blueprint:update"
)

// Queue is the asynq queue of all updates. There is one, because an asynq server pays a round trip for every queue it tries.
const Queue = "updates"

// timeout bounds one task. asynq turns anything below a second into 30 minutes; hooks have limits of their own, so this
// only has to be longer than the longest of them.
const timeout = 2 * time.Hour

// maxRetry lets a task whose worker was killed or whose Redis was away run again rather than end up archived. By then the
// sweeper has long seen to the object.
const maxRetry = 10

// Payload is what a task carries, in JSON.
type Payload struct {
	Namespace string `json:"namespace"`
	ID        string `json:"id"`
}

// types are the task types by kind of object.
var types = map[model.Kind]string{
	model.KindLease:     TypeLeaseUpdate,
	model.KindResource:  TypeResourceUpdate,
	model.KindBlueprint: TypeBlueprintUpdate,
}

// Type returns the task type for a kind of object.
func Type(k model.Kind) string { return types[k] }

// New makes the task that updates an object.
func New(ref model.Ref) (*asynq.Task, error) {
	payload, err := json.Marshal(Payload{Namespace: ref.Namespace, ID: ref.ID})
	if err != nil {
		return nil, fmt.Errorf("encode task for %s: %w", ref, err)
	}
	return asynq.NewTask(Type(ref.Kind), payload), nil
}

// Parse is the inverse of New. An error means that the task will never make sense.
func Parse(typ string, payload []byte) (model.Ref, error) {
	var p Payload
	if err := json.Unmarshal(payload, &p); err != nil {
		return model.Ref{}, fmt.Errorf("decode payload of %s: %w", typ, err)
	}
	if err := model.CheckName("namespace", p.Namespace); err != nil {
		return model.Ref{}, fmt.Errorf("payload of %s: %w", typ, err)
	}
	for kind, known := range types {
		if typ != known {
			continue
		}
		ok := model.ValidID(p.ID)
		if kind == model.KindBlueprint {
			ok = model.CheckName("id", p.ID) == nil
		}
		if !ok {
			return model.Ref{}, fmt.Errorf("payload of %s: malformed id", typ)
		}
		return model.Ref{Namespace: p.Namespace, Kind: kind, ID: p.ID}, nil
	}
	return model.Ref{}, fmt.Errorf("unknown task type %q", typ)
}

// Client enqueues update tasks.
type Client struct {
	connect   func() *asynq.Client
	retention time.Duration

	mu     sync.Mutex
	asynq  *asynq.Client
	madeAt time.Time
}

// clientAge is how long a client of asynq's is used. One tells Redis the name of its queue once, and believes for ever that it stands
// there: when asynq's keys are lost, tasks still flow, and nobody who looks sees the queue until there is another client.
const clientAge = 10 * time.Second

// NewClient returns a Client. Completed tasks stay visible in Asynqmon for retention; 0 = not at all.
func NewClient(c *asynq.Client, retention time.Duration) *Client {
	return NewRenewingClient(func() *asynq.Client { return c }, retention)
}

// NewRenewingClient returns a Client for a process that lives for long. connect makes a client of asynq's on a connection that is
// somebody else's to close; it is called every few seconds, so that a queue whose name was lost gets it back.
func NewRenewingClient(connect func() *asynq.Client, retention time.Duration) *Client {
	return &Client{connect: connect, retention: retention}
}

// client returns a client of asynq's that is not too old.
func (c *Client) client() *asynq.Client {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asynq == nil || time.Since(c.madeAt) >= clientAge {
		c.asynq, c.madeAt = c.connect(), time.Now()
	}
	return c.asynq
}

// Enqueue schedules an update of each object. On an error the objects are still in the wake index and the sweeper finds
// them, so callers log it and go on.
//
// Tasks get random ids. An id made from the object would be refused while an older task of it is active, and the word
// that came in after that task's last look would be lost.
func (c *Client) Enqueue(ctx context.Context, refs ...model.Ref) error {
	var errs []error
	client := c.client()
	for _, ref := range refs {
		task, err := New(ref)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		_, err = client.EnqueueContext(ctx, task,
			asynq.Queue(Queue), asynq.MaxRetry(maxRetry), asynq.Timeout(timeout), asynq.Retention(c.retention))
		// A conflict of random ids is this very call, sent again after its reply was lost.
		if err != nil && !errors.Is(err, asynq.ErrTaskIDConflict) {
			errs = append(errs, fmt.Errorf("enqueue update of %s: %w", ref, err))
		}
	}
	return errors.Join(errs...)
}

// Package tasks names the asynq tasks that wake workers, and enqueues them. A task says "update this object" and nothing
// else; what is owed is recorded in the store's wake index. Losing, delaying or doubling a task therefore harms nothing, and
// the options below choose accordingly.
package tasks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
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
	// TypeBatchUpdate is for several objects.
	TypeBatchUpdate = "batch:update"
)

// MaxBatch is how many objects a task names at most. Handing a task out and marking it done costs as much for one object as for many; but
// a batch is one worker's: the others get nothing of it, and what that worker had begun of it is what waits when it dies. At 16, asynq's
// part of an update is next to nothing.
const MaxBatch = 16

// Queue is the asynq queue of all updates. There is one, because an asynq server pays a round trip for every queue it tries.
const Queue = "updates"

// timeout bounds one task. asynq turns anything below a second into 30 minutes; hooks have limits of their own, so this
// only has to be longer than the longest of them.
const timeout = 2 * time.Hour

// maxRetry lets a task whose worker was killed or whose Redis was away run again rather than end up archived. By then the
// sweeper has long seen to the object.
const maxRetry = 10

// Options are how update tasks are enqueued; completed ones are kept for retention.
func Options(retention time.Duration) []asynq.Option {
	return []asynq.Option{asynq.Queue(Queue), asynq.MaxRetry(maxRetry), asynq.Timeout(timeout), asynq.Retention(retention)}
}

// Payload is what a task for one object carries, in JSON.
type Payload struct {
	Namespace string `json:"namespace"`
	ID        string `json:"id"`
}

// BatchPayload is what a task for several objects of a namespace carries.
type BatchPayload struct {
	Namespace string `json:"namespace"`
	// Objects are as in the wake index: "lease:01abc".
	Objects []string `json:"objects"`
}

// types are the task types by kind of object.
var types = map[model.Kind]string{
	model.KindLease:     TypeLeaseUpdate,
	model.KindResource:  TypeResourceUpdate,
	model.KindBlueprint: TypeBlueprintUpdate,
}

// Type returns the task type for a kind of object.
func Type(k model.Kind) string { return types[k] }

// New makes the task that updates objects: one or more, up to [MaxBatch], different ones of the same namespace.
func New(refs ...model.Ref) (*asynq.Task, error) {
	if err := checkBatch(refs); err != nil {
		return nil, fmt.Errorf("make a task for %v: %w", refs, err)
	}
	first := refs[0]
	typ, content := Type(first.Kind), any(Payload{Namespace: first.Namespace, ID: first.ID})
	if len(refs) > 1 {
		batch := BatchPayload{Namespace: first.Namespace}
		for _, ref := range refs {
			batch.Objects = append(batch.Objects, ref.Member())
		}
		typ, content = TypeBatchUpdate, batch
	}
	payload, err := json.Marshal(content)
	if err != nil {
		return nil, fmt.Errorf("encode task for %v: %w", refs, err)
	}
	return asynq.NewTask(typ, payload), nil
}

// checkBatch returns what is wrong with the objects of a task.
func checkBatch(refs []model.Ref) error {
	if len(refs) == 0 || len(refs) > MaxBatch {
		return fmt.Errorf("it names %d objects, want 1 to %d", len(refs), MaxBatch)
	}
	for i, ref := range refs {
		switch {
		case ref.Namespace != refs[0].Namespace:
			return errors.New("it names objects of several namespaces")
		case slices.Contains(refs[:i], ref):
			return fmt.Errorf("it names %s twice", ref)
		}
	}
	return nil
}

// Parse is the inverse of New. An error means that the task will never make sense.
func Parse(typ string, payload []byte) ([]model.Ref, error) {
	refs, err := parse(typ, payload)
	if err != nil {
		return nil, fmt.Errorf("task %q: %w", typ, err)
	}
	return refs, nil
}

func parse(typ string, payload []byte) ([]model.Ref, error) {
	if typ == TypeBatchUpdate {
		return parseBatch(payload)
	}
	for kind, known := range types {
		if typ != known {
			continue
		}
		var p Payload
		if err := json.Unmarshal(payload, &p); err != nil {
			return nil, err
		}
		ref := model.Ref{Namespace: p.Namespace, Kind: kind, ID: p.ID}
		return []model.Ref{ref}, checkRef(ref)
	}
	return nil, errors.New("unknown type")
}

func parseBatch(payload []byte) ([]model.Ref, error) {
	var p BatchPayload
	if err := json.Unmarshal(payload, &p); err != nil {
		return nil, err
	}
	if len(p.Objects) < 2 {
		return nil, errors.New("a batch of fewer than two objects")
	}
	var refs []model.Ref
	for _, member := range p.Objects {
		ref, err := model.ParseMember(p.Namespace, member)
		if err == nil {
			err = checkRef(ref)
		}
		if err != nil {
			return nil, err
		}
		refs = append(refs, ref)
	}
	return refs, checkBatch(refs)
}

// checkRef refuses names that no object can have, and that must not become part of a key.
func checkRef(ref model.Ref) error {
	if err := model.CheckName("namespace", ref.Namespace); err != nil {
		return err
	}
	if ref.Kind == model.KindBlueprint {
		return model.CheckName("id", ref.ID)
	}
	if !model.ValidID(ref.ID) {
		return errors.New("malformed id")
	}
	return nil
}

// Client enqueues update tasks.
type Client struct {
	connect             func() *asynq.Client
	retention, patience time.Duration

	mu     sync.Mutex
	asynq  *asynq.Client
	madeAt time.Time
	// flying: tasks are being enqueued, for no longer than patience yet. Meanwhile others gather in next.
	flying bool
	next   *flight
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
	return &Client{connect: connect, retention: retention, patience: flightPatience}
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
// While tasks are being enqueued, those who call wait, and theirs are enqueued together, as few tasks for many objects: the busier the
// senders, the less a task costs. Who calls alone is served at once. A caller whose ctx ends while it waits gets that for an answer; its
// objects are enqueued all the same.
func (c *Client) Enqueue(ctx context.Context, refs ...model.Ref) error {
	if len(refs) == 0 {
		return nil
	}
	c.mu.Lock()
	if !c.flying {
		c.flying = true
		c.mu.Unlock()
		f := newFlight(refs)
		c.fly(ctx, f)
		return f.errorOf(refs)
	}
	if c.next == nil {
		c.next = newFlight(nil)
	}
	f := c.next
	f.refs = append(f.refs, refs...)
	c.mu.Unlock()
	select {
	case <-f.done:
		return f.errorOf(refs)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// flight is what is enqueued together.
type flight struct {
	refs []model.Ref
	// done is closed when failed is there: what became of the objects that could not be enqueued.
	done   chan struct{}
	failed map[model.Ref]error
}

func newFlight(refs []model.Ref) *flight { return &flight{refs: refs, done: make(chan struct{})} }

// errorOf tells a caller what became of its own objects.
func (f *flight) errorOf(refs []model.Ref) error {
	var errs []error
	for _, ref := range refs {
		if err := f.failed[ref]; err != nil {
			errs = append(errs, fmt.Errorf("enqueue update of %s: %w", ref, err))
		}
	}
	return errors.Join(errs...)
}

// flightPatience is how long those who call wait for a flight before theirs begins: while Redis hangs, nobody waits for much more than
// their own call.
const flightPatience = 500 * time.Millisecond

// fly enqueues what a flight has, and then has the next one go, or sooner if it takes too long.
func (c *Client) fly(ctx context.Context, f *flight) {
	land := sync.OnceFunc(c.landed)
	late := time.AfterFunc(c.patience, land)
	defer land()
	defer late.Stop()
	defer close(f.done)
	f.failed = c.enqueue(ctx, f.refs)
}

func (c *Client) landed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.next
	c.next, c.flying = nil, f != nil
	if f != nil {
		// No caller's end may be that of the others. The client has time limits of its own.
		go c.fly(context.Background(), f)
	}
}

// enqueue makes the tasks for objects. It gives up at the first task that is not taken: the queue is on one server, so that the others would
// not be either, each after waiting for as long.
//
// Tasks get random ids. An id made from the object would be refused while an older task of it is active, and the word
// that came in after that task's last look would be lost.
func (c *Client) enqueue(ctx context.Context, refs []model.Ref) (failed map[model.Ref]error) {
	client := c.client()
	batches := batch(refs)
	for i, objects := range batches {
		task, err := New(objects...)
		if err == nil {
			_, err = client.EnqueueContext(ctx, task, Options(c.retention)...)
		}
		// A conflict of random ids is this very call, sent again after its reply was lost.
		if err == nil || errors.Is(err, asynq.ErrTaskIDConflict) {
			continue
		}
		failed = map[model.Ref]error{}
		for _, left := range batches[i:] {
			for _, ref := range left {
				failed[ref] = err
			}
		}
		return failed
	}
	return nil
}

// batch arranges objects in tasks, in the order in which they came, each once.
func batch(refs []model.Ref) (batches [][]model.Ref) {
	if len(refs) == 1 {
		return [][]model.Ref{refs}
	}
	var namespaces []string
	objects := map[string][]model.Ref{}
	seen := make(map[model.Ref]bool, len(refs))
	for _, ref := range refs {
		if seen[ref] {
			continue
		}
		seen[ref] = true
		if objects[ref.Namespace] == nil {
			namespaces = append(namespaces, ref.Namespace)
		}
		objects[ref.Namespace] = append(objects[ref.Namespace], ref)
	}
	for _, ns := range namespaces {
		batches = slices.AppendSeq(batches, slices.Chunk(objects[ns], MaxBatch))
	}
	return batches
}

package store

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"drydock/model"
)

// Observer is told what a store has done, to count it. Its methods are called in the course of writes, from many goroutines: they
// return at once and do no I/O.
//
// What it is told is what this process knows. When a reply is lost for good, nobody knows what was written, and nothing is counted.
type Observer interface {
	// Sent is told of n commands that were stored, those that Drydock sends itself among them.
	Sent(k model.Kind, name model.CommandName, via model.Via, n int)
	// Consumed is told of a command that was consumed. took is the time from its storing to the look of the update that consumed it, both
	// by the server's clock.
	Consumed(k model.Kind, name model.CommandName, outcome model.Outcome, took time.Duration)
	// Unread is told of n commands that the write which destroyed their object consumed unread, as superseded.
	Unread(k model.Kind, n int)
	// Stale is told of a write that was refused because its claim is not the latest, or has not read what is there now.
	Stale(op string)
	// Swept is told of the objects that [Store.Due] handed out.
	Swept(due Swept)
}

// Swept counts the objects that a sweeper was handed, by why they were due.
type Swept struct {
	// Lost are those that were woken and that no update has heard of since: their task was lost, or waits for longer than the visibility.
	Lost int
	// Busy are those whose lock was busy when their task came.
	Busy int
	// Planned are the others: an end, a next try, or an update that was cut off.
	Planned int
}

// nobody is the observer of a store that has none.
type nobody struct{}

func (nobody) Sent(model.Kind, model.CommandName, model.Via, int)                   {}
func (nobody) Consumed(model.Kind, model.CommandName, model.Outcome, time.Duration) {}
func (nobody) Unread(model.Kind, int)                                               {}
func (nobody) Stale(string)                                                         {}
func (nobody) Swept(Swept)                                                          {}

// observeStep tells the observer what came of a step of an update.
func (s *Store) observeStep(op string, c *Claim, st Step, reply []any, err error) {
	if err != nil {
		s.observeStale(op, err)
		return
	}
	for _, k := range st.Consume {
		s.cfg.Observer.Consumed(c.Ref.Kind, k.Command.Name, k.Outcome, c.Now.Sub(k.Command.SentAt))
	}
	if len(reply) < 3 {
		return // sent again: the first reply, which was lost, had the counts
	}
	var t tally
	t.read(toString(reply[2]))
	if t.unread > 0 {
		s.cfg.Observer.Unread(c.Ref.Kind, t.unread)
	}
	for k, n := range map[model.Kind]int{model.KindLease: t.leases, model.KindResource: t.resources} {
		if n > 0 {
			s.cfg.Observer.Sent(k, model.CommandRelease, model.ViaWorker, n)
		}
	}
}

func (s *Store) observeStale(op string, err error) {
	if errors.Is(err, model.ErrStaleWriter) {
		s.cfg.Observer.Stale(op)
	}
}

// observeExpiry counts the release that a claim has sent because the object's end has passed.
func (s *Store) observeExpiry(c *Claim, id string) {
	for _, cmd := range c.Commands {
		if cmd.ID == id {
			s.cfg.Observer.Sent(c.Ref.Kind, cmd.Name, model.ViaWorker, 1)
		}
	}
}

// tally is what an apply script has done besides what the step says: the releases it sent to leases and resources, and the commands it
// consumed unread.
type tally struct{ leases, resources, unread int }

// read reads a script's tally; empty = nothing.
func (t *tally) read(s string) {
	if s != "" {
		_, _ = fmt.Sscan(s, &t.leases, &t.resources, &t.unread)
	}
}

// Trips counts round trips to Redis.
type Trips struct{ n atomic.Int64 }

// Count returns how many there were.
func (t *Trips) Count() int64 { return t.n.Load() }

type tripsKey struct{}

// WithTrips returns a context whose calls to Redis are counted, by clients that [CountTrips] was called for.
func WithTrips(ctx context.Context) (context.Context, *Trips) {
	t := new(Trips)
	return context.WithValue(ctx, tripsKey{}, t), t
}

// CountTrips makes a client count the calls under a context of [WithTrips]: a command or a pipeline is one round trip. What the client does
// by itself, to set a connection up or to try again, is not counted.
func CountTrips(c redis.UniversalClient) { c.AddHook(tripsHook{}) }

type tripsHook struct{}

func (tripsHook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (tripsHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		countTrip(ctx, cmd)
		return next(ctx, cmd)
	}
}

func (tripsHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if len(cmds) > 0 {
			countTrip(ctx, cmds[0])
		}
		return next(ctx, cmds)
	}
}

func countTrip(ctx context.Context, first redis.Cmder) {
	t, ok := ctx.Value(tripsKey{}).(*Trips)
	if !ok {
		return
	}
	switch first.Name() {
	case "hello", "auth", "client", "select", "readonly": // a new connection
	default:
		t.n.Add(1)
	}
}

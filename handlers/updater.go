package handlers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"drydock/blueprints"
	"drydock/locks"
	"drydock/metrics"
	"drydock/model"
	"drydock/store"
	"drydock/tracing"
)

// Enqueuer schedules update tasks; see [tasks.Client].
type Enqueuer interface {
	Enqueue(ctx context.Context, refs ...model.Ref) error
}

// Config configures an [Updater].
type Config struct {
	// Worker names this process in histories and logs.
	Worker string
	// Namespaces are those that this process serves; empty = all. All namespaces share one queue, so it may be handed a task of
	// another one: it hands the object back to the sweepers of those that serve it.
	Namespaces []string
	// ReclaimGrace is how long an idle resource is kept from being reclaimed; 0 = not at all. [DefaultReclaimGrace] is a good value.
	ReclaimGrace time.Duration
	// DestroyGrace is how long a released or broken resource waits for its leases to be destroyed before it is destroyed all the
	// same; 0 = not at all. [DefaultDestroyGrace] is a good value.
	DestroyGrace time.Duration
	// Logger gets what happens to objects. Default slog.Default().
	Logger *slog.Logger
	// Metrics counts updates and hooks; nil = nobody does.
	Metrics *metrics.Metrics
	// Tracer traces updates; nil = nobody does.
	Tracer *tracing.Tracer
}

// Graces that suit most: a host that was needed a moment ago is likely to be needed again, and most clean-up ends sooner.
const (
	DefaultReclaimGrace = 3 * time.Minute
	DefaultDestroyGrace = 10 * time.Minute
)

// Updater runs updates. It is safe for concurrent use: the object lock makes it one at a time per object.
type Updater struct {
	store   *store.Store
	locks   *locks.Locker
	tasks   Enqueuer
	catalog *catalog
	cfg     Config
	log     *slog.Logger
	// maxRounds is [maxRounds] but for tests.
	maxRounds int
}

// NewUpdater returns an Updater.
func NewUpdater(s *store.Store, l *locks.Locker, t Enqueuer, r *blueprints.Registry, cfg Config) *Updater {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	return &Updater{store: s, locks: l, tasks: t, catalog: newCatalog(s, r), cfg: cfg, log: cfg.Logger, maxRounds: maxRounds}
}

const (
	// busyFirst is how long the first yield to a busy lock lasts: an update takes a few milliseconds.
	busyFirst = 100 * time.Millisecond
	// maxRounds bounds one task, so that an object under constant fire does not keep a worker for itself: what is left goes behind
	// the other tasks.
	maxRounds = 50
	// manyConsumed is how many commands must have been consumed by a write for their lines in the log to be written while the next look is
	// under way: with hundreds waiting, these lines are a quarter of the work.
	manyConsumed = 50
	// failureDelay is when an object is looked at again after an update failed for a reason of our own.
	failureDelay = 5 * time.Second
	// cleanupTimeout bounds what is still written after the context of an update has ended.
	cleanupTimeout = 2 * time.Second
)

// Update runs one update of an object: take its lock, look at it, consume its commands, act on its state, and do so again
// as long as something came in meanwhile. A busy lock is no error: the object is put off a little. Errors are ours, not the
// object's: the object is still in the wake index.
func (u *Updater) Update(ctx context.Context, ref model.Ref) error {
	for range u.maxRounds {
		owed, err := u.updateLocked(ctx, ref)
		if err != nil || !owed {
			return err
		}
	}
	u.enqueue(ctx, []model.Ref{ref})
	return nil
}

// updateLocked holds the lock once. owed reports that something came in between the last look under the lock and the unlock.
func (u *Updater) updateLocked(ctx context.Context, ref model.Ref) (owed bool, err error) {
	ctx, trips := store.WithTrips(ctx)
	begin, result := time.Now(), metrics.UpdateDone
	defer func() {
		if err != nil {
			result = metrics.UpdateFailed
		}
		u.cfg.Metrics.Updated(ref.Kind, result, time.Since(begin), trips.Count())
	}()
	lock, err := u.locks.TryLock(ctx, store.LockKey(ref))
	if errors.Is(err, locks.ErrBusy) {
		result = metrics.UpdateBusy
		delay, err := u.store.Busy(ctx, ref, model.NewWriter(), busyFirst)
		u.log.Debug("lock is busy", "object", ref.String(), "delay", delay)
		return false, err
	}
	if err != nil {
		return false, fmt.Errorf("lock %s: %w", ref, err)
	}
	defer lock.Unlock()
	again, over := true, false
	var logs sync.WaitGroup
	defer logs.Wait()
	for n := 0; again && n < u.maxRounds; n++ {
		again, over, err = u.round(lock.Context(), lock, ref, &logs)
		if errors.Is(err, model.ErrStaleWriter) {
			// Somebody else is the writer now, and sees to the object.
			result = metrics.UpdateStale
			u.log.Info("stale update stopped", "object", ref.String())
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("update %s: %w", ref, err)
		}
	}
	lock.Unlock()
	if over {
		return false, nil
	}
	if again {
		u.enqueue(ctx, []model.Ref{ref})
		return false, nil
	}
	// A task that found the lock busy after our last look has gone: look for what it was about.
	return u.store.Owed(ctx, ref)
}

// round is one look and what follows from it; over says that the object is destroyed and will never be owed anything. A panic becomes an
// error, so that the lock is given back on every path.
func (u *Updater) round(ctx context.Context, lock *locks.Lock, ref model.Ref, logs *sync.WaitGroup) (again, over bool, err error) {
	// Both looks at the lock matter: an object whose end has passed is claimed at once, and the first keeps us from taking the pen from a
	// rightful writer; the second keeps us from working on when the look took so long that there may be another.
	if err := lock.Trusted(); err != nil {
		return false, false, err
	}
	began := time.Now()
	claim, err := u.store.Begin(ctx, ref, u.cfg.Worker)
	if err != nil || claim == nil {
		return false, false, err
	}
	ctx, end := u.trace(ctx, claim, began)
	defer func() { end(err) }()
	if err := lock.Trusted(); err != nil {
		return false, false, err
	}
	defer func() {
		if p := recover(); p != nil {
			u.log.Error("update panicked", "object", ref.String(), "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", p)
		}
		if errors.Is(err, model.ErrStaleWriter) && !claim.Taken() && lock.Trusted() == nil {
			// Whoever wrote between our look and our first write has lost the lock, for we hold it: nobody else will see to the object.
			again, err = true, nil
		}
		if err != nil {
			u.putOff(ctx, claim, err)
		}
	}()
	r := run{Updater: u, lock: lock, claim: claim, logs: logs}
	switch ref.Kind {
	case model.KindLease:
		again, err = (&leaseRun{run: r}).update(ctx)
	case model.KindResource:
		again, err = (&resourceRun{run: r}).update(ctx)
	case model.KindBlueprint:
		again, err = (&blueprintRun{r}).update(ctx)
	}
	return again, claim.Over(), err
}

// putOff makes an object whose update failed come back soon rather than when its visibility has passed.
func (u *Updater) putOff(ctx context.Context, claim *store.Claim, cause error) {
	if errors.Is(cause, model.ErrStaleWriter) || errors.Is(cause, store.ErrMoreCommands) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	delay := failureDelay
	if errors.Is(cause, context.Canceled) || errors.Is(cause, locks.ErrLost) {
		delay = 0
	}
	var err error
	if claim.Taken() {
		_, err = u.store.Finish(ctx, claim, claim.Now.Add(delay))
	} else {
		// Nothing has been written, and the pen is not to be taken for this: whoever has the lock by now is to have it.
		_, err = u.store.Busy(ctx, claim.Ref, claim.Writer, max(delay, time.Millisecond))
	}
	if err != nil {
		u.log.Debug("could not put off", "object", claim.Ref.String(), "error", err)
	}
}

// enqueue schedules tasks for objects that a write woke. Should it fail, the sweeper finds them.
func (u *Updater) enqueue(ctx context.Context, refs []model.Ref) {
	if len(refs) == 0 {
		return
	}
	if err := u.tasks.Enqueue(context.WithoutCancel(ctx), refs...); err != nil {
		u.log.Warn("could not enqueue updates; the sweeper will", "objects", len(refs), "error", err)
	}
}

// run is what updates of leases and of resources have in common during one claim.
type run struct {
	*Updater
	lock  *locks.Lock
	claim *store.Claim
	// carried is what the commands came to and has not been written yet; it joins the next write.
	carried store.Step
	// logs are the lines of the write before that are still being written.
	logs *sync.WaitGroup
}

// merge puts what is carried in front of a step. It stays carried until the step has been written.
func (r *run) merge(st store.Step) store.Step {
	st.Consume = append(slices.Clone(r.carried.Consume), st.Consume...)
	st.Log = append(slices.Clone(r.carried.Log), st.Log...)
	st.Wake = append(slices.Clone(r.carried.Wake), st.Wake...)
	return st
}

// written says that what was carried has been written, and enqueues whom the write woke.
func (r *run) written(ctx context.Context, st store.Step, applied store.Applied) {
	r.carried = store.Step{}
	r.enqueue(ctx, applied.Wake)
	r.logs.Wait()
	if len(st.Consume) < manyConsumed {
		r.logConsumed(ctx, st.Consume)
		return
	}
	r.logs.Go(func() { r.logConsumed(ctx, st.Consume) })
}

// earliest returns t, or end when that comes first.
func earliest(t, end time.Time) time.Time {
	if !end.IsZero() && (t.IsZero() || end.Before(t)) {
		return end
	}
	return t
}

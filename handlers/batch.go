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

	"github.com/hibiken/asynq"

	"drydock/model"
	"drydock/tasks"
)

// patience is how long an object waits for its update to begin before it is given back to the queue: long enough for those in front of it
// if they do no more than write, and short beside hooks, which must not make it wait here while other workers are idle.
const patience = time.Second

// batcher runs the updates of the objects that tasks name, so many at once in the process, however many tasks there are.
type batcher struct {
	update   func(context.Context, model.Ref) error
	tasks    Enqueuer
	patience time.Duration
	log      *slog.Logger
	// turn is held by the task whose objects begin, so that they do in the order of the tasks.
	turn chan struct{}
	// begins is received from by those that run updates, one at a time each. They live as long as the batcher: a goroutine of its own for
	// each update would spend a tenth of it on growing its stack.
	begins chan func()
	stop   context.CancelFunc
}

func newBatcher(u *Updater, log *slog.Logger) *batcher {
	return &batcher{
		update: u.serve, tasks: u.tasks, patience: patience, log: log, turn: make(chan struct{}, 1), begins: make(chan func()), stop: func() {},
	}
}

// start starts so many that run updates, until stop is called.
func (b *batcher) start(concurrency int) {
	var ctx context.Context
	ctx, b.stop = context.WithCancel(context.Background())
	for range concurrency {
		go func() {
			for {
				select {
				case update := <-b.begins:
					update()
				case <-ctx.Done():
					return
				}
			}
		}()
	}
}

// ProcessTask implements [asynq.Handler]. Its error is that of all objects whose update failed; asynq tries the whole task again, which
// costs those that have nothing to do a look. When ctx ends, what has not begun is left to whoever gets the task next, or to the sweeper.
func (b *batcher) ProcessTask(ctx context.Context, t *asynq.Task) error {
	refs, err := tasks.Parse(t.Type(), t.Payload())
	if err != nil {
		return fmt.Errorf("%w: %w", err, asynq.SkipRetry)
	}
	errs := make([]error, len(refs)+1)
	var running sync.WaitGroup
	running.Add(len(refs))
	begun, err := b.begin(ctx, len(refs), func(i int) {
		defer running.Done()
		errs[i] = b.run(ctx, refs[i])
	})
	running.Add(begun - len(refs))
	if err == nil && begun < len(refs) {
		b.giveBack(ctx, refs[begun:])
	}
	running.Wait()
	errs[len(refs)] = err
	return errors.Join(errs...)
}

// begin has n updates run as soon as somebody is free to, and returns how many have begun when it lost its patience or ctx ended.
func (b *batcher) begin(ctx context.Context, n int, update func(i int)) (begun int, err error) {
	late := time.NewTimer(b.patience)
	defer late.Stop()
	select {
	case b.turn <- struct{}{}:
		defer func() { <-b.turn }()
	case <-late.C:
		return 0, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	for i := range n {
		select {
		case b.begins <- func() { update(i) }:
		case <-late.C:
			return i, nil
		case <-ctx.Done():
			return i, ctx.Err()
		}
	}
	return n, nil
}

// run keeps a panic from ending the process: asynq does so in its own goroutines alone.
func (b *batcher) run(ctx context.Context, ref model.Ref) (err error) {
	defer func() {
		if p := recover(); p != nil {
			b.log.Error("update panicked", "object", ref.String(), "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("update %s: panic: %v", ref, p)
		}
	}()
	return b.update(ctx, ref)
}

// giveBack makes tasks of their own for objects, so that each goes to whichever worker has a slot for it. Should it fail, the sweeper finds
// them.
func (b *batcher) giveBack(ctx context.Context, refs []model.Ref) {
	for _, ref := range refs {
		if err := b.tasks.Enqueue(ctx, ref); err != nil {
			b.log.Warn("could not give updates back; the sweeper will", "objects", len(refs), "error", err)
			return
		}
	}
}

// awaitSlot returns when an update could begin and none waits to, or when ctx has ended.
func (b *batcher) awaitSlot(ctx context.Context) {
	select {
	case b.turn <- struct{}{}:
		defer func() { <-b.turn }()
	case <-ctx.Done():
		return
	}
	select {
	case b.begins <- func() {}:
	case <-ctx.Done():
	}
}

// serve updates an object if its namespace is one of ours, and otherwise gives it back to the sweepers of those whose it is.
func (u *Updater) serve(ctx context.Context, ref model.Ref) error {
	if len(u.cfg.Namespaces) > 0 && !slices.Contains(u.cfg.Namespaces, ref.Namespace) {
		_, err := u.store.Busy(ctx, ref, model.NewWriter(), time.Millisecond)
		return err
	}
	return u.Update(ctx, ref)
}

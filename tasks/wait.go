package tasks

import (
	"context"
	"errors"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// Pending is the list of the tasks that no worker has taken yet, in asynq's own naming.
const Pending = "asynq:{" + Queue + "}:pending"

// waitFor bounds one call that waits. It is less than a client's read timeout, so that a server that hangs is noticed as always.
const waitFor = time.Second

// firstPause is how long a worker waits before it looks again after others took what was there; each time doubles it.
const firstPause = time.Millisecond

// PollInterval is for asynq's TaskCheckInterval when its connection is [Waiting]: all the waiting is done there.
const PollInterval = 200 * time.Microsecond

// Waiting returns a connection for an asynq server that waits for tasks instead of asking for them again and again, which is what an
// idle server does with its time otherwise. When asynq has found no task, the answer is held back until there is one: BLMOVE from the
// end of the pending list to the same end of the same list blocks while the list is empty, and changes nothing. The list itself is
// watched, so it does not matter who enqueues, and with what.
//
// interval is the most that a worker waits between two looks while there are tasks that it does not get, because others are faster or
// the queue is paused; and how often it looks when Redis refuses to let it wait. Nothing is held back once ctx has ended.
//
// Before each look it calls ready, which returns when the server can do something for another task: asynq counts tasks, whatever they hold.
func Waiting(ctx context.Context, opt asynq.RedisConnOpt, interval time.Duration, ready func(context.Context)) asynq.RedisConnOpt {
	return waitingOpt{ctx: ctx, opt: opt, interval: interval, ready: ready}
}

type waitingOpt struct {
	ctx      context.Context
	opt      asynq.RedisConnOpt
	interval time.Duration
	ready    func(context.Context)
}

// MakeRedisClient implements [asynq.RedisConnOpt].
func (o waitingOpt) MakeRedisClient() any {
	made := o.opt.MakeRedisClient()
	if client, ok := made.(redis.UniversalClient); ok {
		client.AddHook(&waiter{ctx: o.ctx, client: client, interval: o.interval, ready: o.ready})
	}
	return made
}

// waiter is a hook of one asynq server's client. The server asks for tasks from one goroutine, so pause needs no lock.
type waiter struct {
	ctx      context.Context
	client   redis.UniversalClient
	interval time.Duration
	ready    func(context.Context)
	pause    time.Duration
}

func (*waiter) DialHook(next redis.DialHook) redis.DialHook { return next }

func (*waiter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (w *waiter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if !asksForTask(cmd) {
			return next(ctx, cmd)
		}
		w.ready(w.ctx)
		err := next(ctx, cmd)
		switch {
		case err == nil:
			w.pause = 0
		case errors.Is(err, redis.Nil):
			w.wait()
		}
		return err
	}
}

// asksForTask tells asynq's script that takes the next task: of those that a server runs, only its first key is the pending list.
func asksForTask(cmd redis.Cmder) bool {
	args := cmd.Args()
	return len(args) > 3 && args[3] == Pending && (cmd.Name() == "evalsha" || cmd.Name() == "eval")
}

// wait returns when there may be a task, after waitFor at the latest.
func (w *waiter) wait() {
	w.sleep(w.pause)
	again := w.pause > 0
	w.pause = min(max(2*w.pause, firstPause), w.interval)
	if again {
		// BLMOVE would come back at once, and be one more write for the append-only file and the replicas: for days, if the queue is
		// paused for days.
		if n, err := w.client.LLen(w.ctx, Pending).Result(); err != nil || n > 0 {
			return
		}
	}
	answer := make(chan error, 1)
	go func() {
		answer <- w.client.Do(w.ctx, "BLMOVE", Pending, Pending, "RIGHT", "RIGHT", waitFor.Seconds()).Err()
	}()
	select {
	case err := <-answer:
		if errors.Is(err, redis.Nil) {
			w.pause = 0
		} else if err != nil {
			w.sleep(w.interval)
		}
	case <-w.ctx.Done():
	}
}

func (w *waiter) sleep(d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-w.ctx.Done():
	}
}

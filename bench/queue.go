package bench

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/go-redsync/redsync/v4"
	"github.com/go-redsync/redsync/v4/redis/goredis/v9"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"drydock/store"
	"drydock/tasks"
)

// Work runs an asynq worker that is not Drydock's, until ctx ends: its handler does nothing ("noop"), what one would write first ("naive"),
// what nobody could do without ("floor"), or nothing for ever ("stuck").
func Work(ctx context.Context, redisURL, kind string, concurrency int, dispatchInterval time.Duration) error {
	rdb, err := store.Connect(redisURL)
	if err != nil {
		return err
	}
	defer func() { _ = rdb.Close() }()
	var handler asynq.Handler
	switch kind {
	case "noop":
		handler = asynq.HandlerFunc(func(context.Context, *asynq.Task) error { return nil })
	case "stuck":
		handler = asynq.HandlerFunc(func(ctx context.Context, _ *asynq.Task) error {
			<-ctx.Done()
			return ctx.Err()
		})
	case "naive":
		handler = locked{locks: redsync.New(goredis.NewPool(rdb)), release: naive{rdb}.release}
	case "floor":
		handler = locked{locks: redsync.New(goredis.NewPool(rdb)), release: floor{rdb}.release}
	default:
		return fmt.Errorf("unknown kind of worker %q; known are noop, naive, floor and stuck", kind)
	}
	server := asynq.NewServerFromRedisClient(rdb, asynq.Config{
		Concurrency: concurrency, Queues: map[string]int{tasks.Queue: 1}, TaskCheckInterval: dispatchInterval, LogLevel: asynq.WarnLevel,
	})
	if err := server.Start(handler); err != nil {
		return err
	}
	<-ctx.Done()
	server.Shutdown()
	return nil
}

// foreignWorker starts a worker of [Work].
func (f *field) foreignWorker(ctx context.Context, kind string, concurrency int) error {
	return f.startWorker(ctx, WorkCommand, "--redis", f.redis.URL(), "--kind", kind, "--concurrency", strconv.Itoa(concurrency),
		"--dispatch-interval", f.cfg.DispatchInterval.String())
}

// WorkCommand is the drydock command that calls [Work].
const WorkCommand = "bench-worker"

// drained reports whether the queue is empty and nobody works.
func (f *field) drained(ctx context.Context) func() (bool, error) {
	return func() (bool, error) {
		pipe := f.rdb.Pipeline()
		pending := pipe.LLen(ctx, tasks.Pending)
		active := pipe.LLen(ctx, "asynq:{"+tasks.Queue+"}:active")
		_, err := pipe.Exec(ctx)
		return pending.Val()+active.Val() == 0, err
	}
}

// asynqDrain is the rung asynq: what the queue itself can do.
func asynqDrain(ctx context.Context, f *field) (Sample, error) {
	if err := f.hold(); err != nil {
		return Sample{}, err
	}
	list := refs(f.cfg.Count)
	err := each(ctx, len(list), f.cfg.Clients, func(ctx context.Context, i int) error { return f.enqueueOne(ctx, list[i]) })
	if err != nil {
		return Sample{}, err
	}
	if err := f.foreignWorker(ctx, "noop", f.cfg.Concurrency); err != nil {
		return Sample{}, err
	}
	s, err := f.drain(ctx, len(list), f.drained(ctx))
	if err != nil {
		return s, err
	}
	info, err := f.queue.GetQueueInfo(tasks.Queue)
	if err != nil {
		return s, err
	}
	if info.ProcessedTotal != len(list) || info.FailedTotal != 0 {
		return s, fmt.Errorf("asynq has processed %d tasks and failed %d of %d", info.ProcessedTotal, info.FailedTotal, len(list))
	}
	return s, nil
}

// The trio of the rung redis does what asynq's scripts for a task do to the keyspace.
var (
	trioEnqueue = redis.NewScript(`redis.call('HSET', KEYS[1], 'msg', ARGV[1], 'state', 'pending') return redis.call('LPUSH', KEYS[2], KEYS[1])`)
	trioDequeue = redis.NewScript(`local t = redis.call('RPOPLPUSH', KEYS[1], KEYS[2]) if t then redis.call('HSET', t, 'state', 'active') end return t`)
	trioDone    = redis.NewScript(`redis.call('LREM', KEYS[1], 0, ARGV[1]) return redis.call('DEL', ARGV[1])`)
)

// redisCeiling is the rung redis: what three small scripts for each task cost, with nobody behind them.
func redisCeiling(ctx context.Context, f *field) (Sample, error) {
	const pending, active = "ceiling:pending", "ceiling:active"
	payload := `{"namespace":"bench","id":"01234567890123456789012345"}`
	once := func(ctx context.Context, i int) error {
		if err := trioEnqueue.Run(ctx, f.rdb, []string{"ceiling:" + strconv.Itoa(i), pending}, payload).Err(); err != nil {
			return err
		}
		task, err := trioDequeue.Run(ctx, f.rdb, []string{pending, active}).Text()
		if err != nil {
			return err
		}
		return trioDone.Run(ctx, f.rdb, []string{active}, task).Err()
	}
	if err := once(ctx, -1); err != nil {
		return Sample{}, err
	}
	before, err := f.read(ctx)
	if err != nil {
		return Sample{}, err
	}
	if err := each(ctx, f.cfg.Count, f.cfg.Concurrency, once); err != nil {
		return Sample{}, err
	}
	s, err := f.since(ctx, before, f.cfg.Count)
	if err != nil {
		return s, err
	}
	left, err := f.rdb.Exists(ctx, pending, active).Result()
	if err == nil && left != 0 {
		err = errors.New("tasks are left over")
	}
	return s, err
}

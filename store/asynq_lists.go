package store

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// listPatience is how long a write to one of asynq's lists is waited for.
const listPatience = 250 * time.Millisecond

// asynqLists keeps what asynq writes for those who look at it from standing in the way of its work. The lists of its queues, servers and
// workers have keys of their own, each on any master of a Cluster: without the first asynq enqueues no task, in whatever queue, and while it
// writes the others it begins none.
type asynqLists struct {
	mu   sync.Mutex
	open map[string]bool // the keys that are being written
}

// asynqQueues is the list of the queues' names.
const asynqQueues = "asynq:queues"

// listOf returns the key when a command writes one of the lists.
func listOf(cmd redis.Cmder) string {
	at := map[string]int{"sadd": 1, "zadd": 1, "zrem": 1, "evalsha": 3}[cmd.Name()]
	if at == 0 || len(cmd.Args()) <= at {
		return ""
	}
	key, _ := cmd.Args()[at].(string)
	if key == asynqQueues || strings.HasPrefix(key, "asynq:servers") || strings.HasPrefix(key, "asynq:workers") {
		return key
	}
	return ""
}

// DialHook implements [redis.Hook].
func (*asynqLists) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessPipelineHook implements [redis.Hook].
func (*asynqLists) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// ProcessHook implements [redis.Hook].
func (l *asynqLists) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		key := listOf(cmd)
		if key == "" {
			return next(ctx, cmd)
		}
		err := l.write(ctx, next, key, cmd)
		if key == asynqQueues {
			err = nil // it is written again every few seconds
		}
		cmd.SetErr(err)
		return err
	}
}

// write sends a copy of a command, and has the answer in the command itself if it comes soon.
func (l *asynqLists) write(ctx context.Context, next redis.ProcessHook, key string, cmd redis.Cmder) error {
	l.mu.Lock()
	busy := l.open[key]
	l.open[key] = true
	l.mu.Unlock()
	if busy {
		return fmt.Errorf("%s is still being written", key)
	}
	sent := redis.NewCmd(ctx, cmd.Args()...)
	done := make(chan error, 1)
	go func() {
		err := next(context.WithoutCancel(ctx), sent)
		l.mu.Lock()
		delete(l.open, key)
		l.mu.Unlock()
		done <- err
	}()
	select {
	case err := <-done:
		switch cmd := cmd.(type) {
		case *redis.IntCmd:
			cmd.SetVal(toInt(sent.Val()))
		case *redis.Cmd:
			cmd.SetVal(sent.Val())
		}
		return err
	case <-time.After(listPatience):
		return fmt.Errorf("%s could not be written within %v", key, listPatience)
	}
}

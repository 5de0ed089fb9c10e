package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/go-redsync/redsync/v4"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"drydock/model"
	"drydock/tasks"
)

// locked releases objects, each under its lock.
type locked struct {
	locks   *redsync.Redsync
	release func(ctx context.Context, id string) error
}

// ProcessTask implements [asynq.Handler].
func (l locked) ProcessTask(ctx context.Context, t *asynq.Task) error {
	var p tasks.Payload
	if err := json.Unmarshal(t.Payload(), &p); err != nil {
		return err
	}
	mutex := l.locks.NewMutex("{bench}:lock:"+p.ID, redsync.WithTries(1))
	if err := mutex.LockContext(ctx); err != nil {
		return err
	}
	defer func() { _, _ = mutex.UnlockContext(ctx) }()
	return l.release(ctx, p.ID)
}

func benchObject(id string) string   { return "{bench}:" + id }
func benchCommands(id string) string { return "{bench}:" + id + ":commands" }

// naive releases an object as one would write it first: pop a command, change the state. It has no fence, no history, no log, and loses
// the command when it dies in between.
type naive struct{ rdb redis.UniversalClient }

func (n naive) release(ctx context.Context, id string) error {
	command, err := n.rdb.LPop(ctx, benchCommands(id)).Result()
	if errors.Is(err, redis.Nil) {
		return nil
	}
	if err != nil {
		return err
	}
	return n.rdb.HSet(ctx, benchObject(id), "status", "destroyed", "command", command).Err()
}

// floor releases an object with what Drydock writes for a release, in one script: a fence, the command consumed, with its outcome and its
// place in the history, the state, the indexes, the log, the event, the place that was freed. It reads nothing, checks nothing, and wakes
// nobody, so it is right only when nothing ever goes wrong: what is between it and Drydock is what makes Drydock right.
type floor struct{ rdb redis.UniversalClient }

var floorScript = redis.NewScript(`
local key, id = KEYS[1], ARGV[1]
local t = redis.call('TIME')
local now = string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000))
local cid = redis.call('LPOP', key .. ':commands')
local fence = redis.call('HINCRBY', key, 'fence', 1)
redis.call('HSET', key, 'writer', ARGV[2], 'version', fence, 'status', 'destroyed', 'updated', now, 'released', now, 'destroyed', now, 'ended', now)
redis.call('HSET', key .. ':records', cid .. ':outcome', '{"consumed_ms":' .. now .. ',"outcome":"applied","fence":' .. fence .. ',"worker":"bench"}')
redis.call('RPUSH', key .. ':history', cid)
for _, event in ipairs({'consumed', 'released', 'destroyed'}) do
  redis.call('XADD', key .. ':log', 'MAXLEN', '~', 1000, '*', 'e', event, 't', 'release by bench', 'c', cid, 'f', fence, 'w', 'bench')
end
redis.call('ZREM', '{bench}:active', id)
redis.call('ZADD', '{bench}:destroyed', 0, id)
redis.call('ZADD', '{bench}:collectable', now, id)
redis.call('ZREM', '{bench}:resource:leases', id)
redis.call('ZADD', '{bench}:free', now, 'resource')
redis.call('ZREM', '{bench}:wake', id)
redis.call('XADD', '{bench}:events', 'MAXLEN', '~', 100000, '*', 'o', id, 'e', 'destroyed', 's', 'destroyed', 't', 'release by bench', 'f', fence, 'w', 'bench')
return cid`)

func (f floor) release(ctx context.Context, id string) error {
	return floorScript.Run(ctx, f.rdb, []string{benchObject(id)}, id, model.NewWriter()).Err()
}

// naiveDrain is the rung naive.
func naiveDrain(ctx context.Context, f *field) (Sample, error) { return f.drainForeign(ctx, "naive") }

// floorDrain is the rung floor.
func floorDrain(ctx context.Context, f *field) (Sample, error) {
	s, err := f.drainForeign(ctx, "floor")
	if err != nil {
		return s, err
	}
	destroyed, err := f.rdb.ZCard(ctx, "{bench}:destroyed").Result()
	if err == nil && int(destroyed) != f.cfg.Count {
		err = fmt.Errorf("%d were destroyed, want %d", destroyed, f.cfg.Count)
	}
	return s, err
}

// drainForeign has active objects released by a worker of that kind.
func (f *field) drainForeign(ctx context.Context, kind string) (Sample, error) {
	if err := f.hold(); err != nil {
		return Sample{}, err
	}
	list := refs(f.cfg.Count)
	err := each(ctx, len(list), f.cfg.Clients, func(ctx context.Context, i int) error {
		id := list[i].ID
		if _, err := f.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
			p.HSet(ctx, benchObject(id), "status", "active", "owner", "bench", "type", "host")
			p.RPush(ctx, benchCommands(id), `{"command":"release"}`)
			for _, index := range []string{"active", "wake", "resource:leases"} {
				p.ZAdd(ctx, "{bench}:"+index, redis.Z{Member: id})
			}
			return nil
		}); err != nil {
			return err
		}
		return f.enqueueOne(ctx, list[i])
	})
	if err != nil {
		return Sample{}, err
	}
	if err := f.foreignWorker(ctx, kind, f.cfg.Concurrency); err != nil {
		return Sample{}, err
	}
	s, err := f.drain(ctx, len(list), f.drained(ctx))
	if err != nil {
		return s, err
	}
	return s, each(ctx, len(list), f.cfg.Clients, func(ctx context.Context, i int) error {
		status, err := f.rdb.HGet(ctx, benchObject(list[i].ID), "status").Result()
		if err == nil && status != "destroyed" {
			err = fmt.Errorf("%s is %s", list[i].ID, status)
		}
		return err
	})
}

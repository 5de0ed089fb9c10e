package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"drydock/model"
	"drydock/tracing"
)

// Durability is what an accepted write has reached before it is acknowledged.
type Durability struct {
	// Local: the server's append-only file has been synced.
	Local bool
	// Replicas: so many replicas have the write in memory.
	Replicas int
	// Timeout bounds the wait. Default 1 s for replicas, and 2 s for the file: with appendfsync everysec the next sync comes within little
	// more than one second.
	Timeout time.Duration
}

// Memory is the level that waits for nothing: the write is in the server's memory, and in its files as the server's own
// settings have it.
var Memory = Durability{}

// ParseDurability reads "memory", "local" or "replicas:<k>".
func ParseDurability(s string) (Durability, error) {
	switch {
	case s == "" || s == "memory":
		return Memory, nil
	case s == "local":
		return Durability{Local: true}, nil
	case strings.HasPrefix(s, "replicas:"):
		k, err := strconv.Atoi(strings.TrimPrefix(s, "replicas:"))
		if err == nil && k >= 1 && k <= 10 {
			return Durability{Replicas: k}, nil
		}
	}
	return Memory, model.Invalid("durability", "%s is not one of memory, local, replicas:<1 to 10>", model.Quote(s))
}

// String is the inverse of ParseDurability.
func (d Durability) String() string {
	switch {
	case d.Replicas > 0:
		return fmt.Sprintf("replicas:%d", d.Replicas)
	case d.Local:
		return "local"
	}
	return "memory"
}

// errNotDurable is the answer when the write happened but did not reach the level in time.
func errNotDurable(level Durability, cause error) error {
	return &model.Error{
		Kind:    model.ErrorUnknown,
		Message: fmt.Sprintf("the write did not reach durability level %s in time: its outcome is unknown, send it again with the same Idempotency-Key", level),
		Cause:   cause,
	}
}

// write runs a script whose effects a caller will be told are safe.
func (s *Store) write(ctx context.Context, op string, script *redis.Script, keys []string, args ...any) (_ []any, err error) {
	level := s.cfg.Durability
	if level == Memory {
		return s.run(ctx, op, script, keys, args...)
	}
	ctx, end := tracing.Child(ctx, "store "+op+" and sync")
	defer func() { end(err) }()
	node, err := s.nodeFor(ctx, keys[0])
	if err != nil {
		return nil, translate(op, err)
	}
	reply, synced, err := runAndSync(ctx, node, level, script.EvalSha, keys, append(s.head(), args...))
	if err != nil && redis.HasErrorPrefix(err, "NOSCRIPT") {
		// EVALSHA does not fall back to EVAL inside a pipeline. One that was loaded just now may be gone again, or be on another server.
		reply, synced, err = runAndSync(ctx, node, level, script.Eval, keys, append(s.head(), args...))
	}
	if err != nil {
		return nil, translate(op, err)
	}
	if synced != nil {
		return nil, fmt.Errorf("%s: %w", op, errNotDurable(level, synced))
	}
	return reply, nil
}

// eval is how a script is run: by its name, or by its text.
type eval func(ctx context.Context, c redis.Scripter, keys []string, args ...any) *redis.Cmd

// runAndSync runs a script and waits, on one connection. synced is why the write has not reached the level.
func runAndSync(
	ctx context.Context, node *redis.Client, level Durability, script eval, keys []string, args []any,
) (reply []any, synced, err error) {
	var run *redis.Cmd
	var reached func() error
	_, execErr := node.Pipelined(ctx, func(p redis.Pipeliner) error {
		run = script(ctx, p, keys, args...)
		reached = level.barrier(ctx, p, keys[0])
		return nil
	})
	if reply, err = run.Slice(); err != nil {
		return nil, nil, err
	}
	if err := reached(); err != nil {
		return reply, errors.Join(err, execErr), nil
	}
	return reply, nil, nil
}

// barrier adds to a pipeline what waits for its writes. The returned function tells afterwards whether they have reached the level.
func (d Durability) barrier(ctx context.Context, p redis.Pipeliner, key string) (reached func() error) {
	if d == Memory {
		return func() error { return nil }
	}
	timeout := d.timeout()
	// WAIT and WAITAOF speak of their own connection's last write. This one makes sure that there is one, also when a script finds
	// its work done and writes nothing.
	p.Set(ctx, hashTagOf(key)+"barrier", 1, time.Minute)
	var wait *redis.Cmd
	if d.Replicas > 0 {
		wait = p.Do(ctx, "WAIT", d.Replicas, timeout.Milliseconds())
	} else {
		wait = p.Do(ctx, "WAITAOF", 1, 0, timeout.Milliseconds())
	}
	return func() error {
		if err := wait.Err(); err != nil {
			return err
		}
		var got int64
		if d.Replicas > 0 {
			got, _ = wait.Int64()
		} else if counts, _ := wait.Int64Slice(); len(counts) > 0 {
			got = counts[0]
		}
		if want := int64(max(1, d.Replicas)); got < want {
			return fmt.Errorf("%d of %d acknowledged", got, want)
		}
		return nil
	}
}

func (d Durability) timeout() time.Duration {
	switch {
	case d.Timeout > 0:
		return d.Timeout
	case d.Replicas > 0:
		return time.Second
	}
	return 2 * time.Second
}

// hashTagOf returns the key's prefix up to and with its hash tag.
func hashTagOf(key string) string { return key[:strings.Index(key, "}:")+2] }

// nodeFor returns the client of the one server that holds a key.
func (s *Store) nodeFor(ctx context.Context, key string) (*redis.Client, error) {
	switch c := s.rdb.(type) {
	case *redis.Client:
		return c, nil
	case *redis.ClusterClient:
		return c.MasterForKey(ctx, key)
	}
	return nil, fmt.Errorf("a client of type %T does not tell which server has a key", s.rdb)
}

// pipelineOn returns a pipeline on the server of a namespace, for what has no key and is about that server, such as its time: a Cluster's
// client asks any for that.
func (s *Store) pipelineOn(ctx context.Context, ns string) (redis.Pipeliner, error) {
	node, err := s.nodeFor(ctx, prefix(ns))
	if err != nil {
		return nil, err
	}
	return node.Pipeline(), nil
}

// CheckDurability reports whether the server can give the level in use. Errors: [model.ErrorInvalid] when it cannot,
// [model.ErrorUnavailable] when it does not answer.
func (s *Store) CheckDurability(ctx context.Context) error {
	if !s.cfg.Durability.Local {
		return nil
	}
	node, err := s.nodeFor(ctx, prefix("default"))
	if err != nil {
		return err
	}
	// WAITAOF is refused as unknown before Redis 7.2, and by a server without an append-only file. One that never syncs its file accepts it, and
	// lets it wait in vain: so there must be something to wait for.
	var reached func() error
	_, err = node.Pipelined(ctx, func(p redis.Pipeliner) error {
		reached = s.cfg.Durability.barrier(ctx, p, prefix("default"))
		return nil
	})
	if _, ok := errors.AsType[redis.Error](err); ok && !transient(err.Error()) {
		return model.Invalid("durability", "local needs WAITAOF (Redis 7.2 or newer, or Valkey) and appendonly yes; the server says: %s", err)
	}
	if err == nil && reached() != nil {
		return model.Invalid("durability", "local needs an append-only file that is synced (appendfsync everysec or always); the server's was not within %v",
			s.cfg.Durability.timeout())
	}
	return translate("check durability", err)
}

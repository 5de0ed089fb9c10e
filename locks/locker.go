package locks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/go-redsync/redsync/v4"
	redsyncredis "github.com/go-redsync/redsync/v4/redis"
	"github.com/go-redsync/redsync/v4/redis/goredis/v9"
	"github.com/redis/go-redis/v9"
)

var (
	// ErrBusy means that somebody else holds the lock, or is just taking it.
	ErrBusy = errors.New("lock is busy")
	// ErrUnavailable means that the lock could not be taken for another reason: too few nodes answered in time, or the caller's
	// context had ended.
	ErrUnavailable = errors.New("lock is unavailable")
	// ErrLost means that a lock may no longer be relied upon.
	ErrLost = errors.New("lock is lost")
)

const minTTL = 100 * time.Millisecond // shorter ones expire while a process waits for its CPU

// Config says how a [Locker] works. The zero value is good.
type Config struct {
	// TTL is how long a lock outlives a holder that died. Default 10 s; at least 100 ms.
	TTL time.Duration
	// Margin is the part of the TTL that is not trusted, for clocks that differ in speed and for the way from a look at the clock to
	// the deed. Default a tenth of the TTL; less than half of it.
	Margin time.Duration
	// NodeTimeout is the time limit of each call to a node. Default a quarter of the TTL, at most 500 ms; at most half the TTL.
	NodeTimeout time.Duration
	// ExtendDone is told of each attempt to extend a lock: how long it took, and nil or why it failed. May be nil.
	ExtendDone func(took time.Duration, err error)
	// Lost is told of each lock that was lost while held, with an error that matches ErrLost. May be nil.
	Lost func(key string, err error)
	// Logger gets a warning for each lost lock and each unlock that failed. Default [slog.Default].
	Logger *slog.Logger
	// Attr says in those lines which lock it is about. Default its key.
	Attr func(key string) slog.Attr
	// Clocks reads the clocks. Default [ReadClocks]; another one is for tests.
	Clocks func() Reading
}

func (cfg Config) withDefaults() (Config, error) {
	cfg.TTL = cmp.Or(cfg.TTL, 10*time.Second)
	cfg.Margin = cmp.Or(cfg.Margin, cfg.TTL/10)
	cfg.NodeTimeout = cmp.Or(cfg.NodeTimeout, min(cfg.TTL/4, 500*time.Millisecond))
	cfg.Logger = cmp.Or(cfg.Logger, slog.Default())
	if cfg.Attr == nil {
		cfg.Attr = func(key string) slog.Attr { return slog.String("key", key) }
	}
	if cfg.Clocks == nil {
		cfg.Clocks = ReadClocks
	}
	switch {
	case cfg.TTL < minTTL || cfg.TTL%time.Millisecond != 0:
		return cfg, fmt.Errorf("lock TTL %v: want whole milliseconds, at least %v", cfg.TTL, minTTL)
	case cfg.Margin < 0 || cfg.Margin >= cfg.TTL/2:
		return cfg, fmt.Errorf("lock margin %v: want less than half the TTL of %v", cfg.Margin, cfg.TTL)
	case cfg.NodeTimeout < 0 || cfg.NodeTimeout > cfg.TTL/2:
		return cfg, fmt.Errorf("lock node timeout %v: want at most half the TTL of %v", cfg.NodeTimeout, cfg.TTL)
	}
	return cfg, nil
}

// Locker takes object locks. It holds no goroutine and may be used from many.
type Locker struct {
	cfg     Config
	nodes   []redsyncredis.Pool
	single  *redsync.Redsync // when there is one node
	options []redsync.Option
}

// New returns a Locker over independent Redis nodes: one, which may be the data Redis, or three or five masters. A cluster client counts as
// one. Make the clients with [NodeOptions]; they stay the caller's to close, after the last Unlock.
func New(nodes []redis.UniversalClient, cfg Config) (*Locker, error) {
	if err := checkNodes(nodes); err != nil {
		return nil, fmt.Errorf("locks: %w", err)
	}
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("locks: %w", err)
	}
	l := &Locker{cfg: cfg, nodes: make([]redsyncredis.Pool, len(nodes))}
	for i, client := range nodes {
		l.nodes[i] = goredis.NewPool(client)
	}
	if len(nodes) == 1 {
		l.single = redsync.New(&node{pool: l.nodes[0], timeout: cfg.NodeTimeout})
	}
	share := func(d time.Duration) float64 { return float64(d) / float64(cfg.TTL) }
	l.options = []redsync.Option{
		redsync.WithExpiry(cfg.TTL),
		redsync.WithTries(1),
		redsync.WithDriftFactor(share(cfg.Margin)),
		redsync.WithTimeoutFactor(share(cfg.NodeTimeout)),
		// Answer at a majority: one node that hangs must not slow every update down.
		redsync.WithFailFast(true),
	}
	return l, nil
}

// newMutex returns a redsync mutex for one taking of a lock.
func (l *Locker) newMutex(key string) *redsync.Mutex {
	if l.single != nil {
		return l.single.NewMutex(key, l.options...)
	}
	pools := make([]redsyncredis.Pool, len(l.nodes))
	for i, pool := range l.nodes {
		pools[i] = &node{pool: pool, timeout: l.cfg.NodeTimeout, turn: make(chan struct{}, 1)}
	}
	return redsync.New(pools...).NewMutex(key, l.options...)
}

// TryLock takes the lock named key, the full Redis key, in one attempt without waiting for its holder. An error matches [ErrBusy] or
// [ErrUnavailable], never both, and comes within two node timeouts.
//
// ctx is the parent of [Lock.Context]; its end does not unlock. A call under way is not cut short by ctx, since its key would stay behind.
//
// A lock that was taken must be unlocked on every path: until then it extends itself.
func (l *Locker) TryLock(ctx context.Context, key string) (*Lock, error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("lock %s: %w: %w", key, ErrUnavailable, context.Cause(ctx))
	}
	mutex := l.newMutex(key)
	start := l.cfg.Clocks()
	if err := mutex.TryLockContext(ctx); err != nil {
		return nil, fmt.Errorf("lock %s: %w: %w", key, l.kind(err), err)
	}
	k := newLock(ctx, l, mutex, start)
	err := k.Trusted()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		k.Unlock()
		return nil, fmt.Errorf("lock %s: %w: %w", key, ErrUnavailable, err)
	}
	return k, nil
}

// kind tells a lock that somebody holds from nodes that do not answer. redsync says ErrTaken when a majority has the key under another
// value. Two callers that split the nodes which answer between them both fail without it: that is busy as well.
func (l *Locker) kind(err error) error {
	if isTaken(err) {
		return ErrBusy
	}
	taken, failed := count(err)
	if taken > 0 && len(l.nodes)-failed > len(l.nodes)/2 {
		return ErrBusy
	}
	return ErrUnavailable
}

func isTaken(err error) bool {
	var taken *redsync.ErrTaken
	return errors.As(err, &taken)
}

// count returns how many nodes had the key under another value and how many failed, by redsync's joined error.
func count(err error) (taken, failed int) {
	switch err := err.(type) { //nolint:errorlint // walks the tree that redsync builds, one level at a time
	case *redsync.ErrNodeTaken:
		return 1, 0
	case *redsync.RedisError:
		return 0, 1
	case interface{ Unwrap() []error }:
		for _, err := range err.Unwrap() {
			t, f := count(err)
			taken, failed = taken+t, failed+f
		}
	}
	return taken, failed
}

package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"drydock/model"
	"drydock/tracing"
)

// Config configures a [Store].
type Config struct {
	// Visibility is how long an enqueued or claimed object stays out of the sweeper's sight: about the lock TTL plus a second.
	// Default [DefaultVisibility].
	Visibility time.Duration
	// Durability is what an accepted write has reached before it is acknowledged. Default [Memory].
	Durability Durability
	// Now overrides the server's clock, for tests. Default nil: the server's own time decides.
	Now func() time.Time
	// EventsKept is about how many events a namespace keeps; the same for all processes. Default [DefaultEventsKept], at least
	// [MinEventsKept].
	EventsKept int
	// Logger gets what nobody else is told. Default slog.Default().
	Logger *slog.Logger
	// Observer is told what is done. Default nobody.
	Observer Observer
}

// DefaultVisibility fits the default lock TTL of 10 s.
const DefaultVisibility = 11 * time.Second

// idempotencyWindow is how long an idempotency key is remembered: a day outlasts every sane retry.
const idempotencyWindow = 24 * time.Hour

// announceAgain bounds how long a namespace stays unknown to sweepers after Redis was emptied under a running process.
const announceAgain = 10 * time.Second

// schemaVersion is the version of stored objects. No update touches objects of a higher one.
const schemaVersion = 1

// Store is the domain in Redis. It is safe for concurrent use.
type Store struct {
	rdb redis.UniversalClient
	cfg Config
	log *slog.Logger

	// announced holds when this process last announced a namespace.
	announced sync.Map

	watchers watchers
}

// New returns a store on a client. The client stays the caller's: Close does not close it.
func New(rdb redis.UniversalClient, cfg Config) *Store {
	if cfg.Visibility == 0 {
		cfg.Visibility = DefaultVisibility
	}
	cfg.EventsKept = max(cmp.Or(cfg.EventsKept, DefaultEventsKept), MinEventsKept)
	if cfg.Observer == nil {
		cfg.Observer = nobody{}
	}
	s := &Store{rdb: rdb, cfg: cfg, log: cfg.Logger}
	if s.log == nil {
		s.log = slog.Default()
	}
	s.watchers.init(s)
	return s
}

// Close ends what the store runs in the background.
func (s *Store) Close() { s.watchers.close() }

// Visibility is how long an enqueued or claimed object stays out of the sweeper's sight.
func (s *Store) Visibility() time.Duration { return s.cfg.Visibility }

// Ping reports whether Redis answers; the error is [model.ErrorUnavailable]. Of a Cluster, one master has to say that it serves its part:
// others may be away.
func (s *Store) Ping(ctx context.Context) error {
	if cluster, ok := s.rdb.(*redis.ClusterClient); ok {
		return translate("ping", pingCluster(ctx, cluster))
	}
	return translate("ping", s.rdb.Ping(ctx).Err())
}

// pingKeys are so many that they find every master of a Cluster, or of a very large one enough.
const pingKeys = 50

// pingCluster returns nil as soon as one master says that it serves; a node answers PING also while it serves nothing. Which masters there are
// is asked of nobody, as ForEachMaster does: it may be the one that hangs.
func pingCluster(ctx context.Context, cluster *redis.ClusterClient) error {
	asked := map[*redis.Client]bool{}
	answers := make(chan error, pingKeys)
	for i := range pingKeys {
		node, err := cluster.MasterForKey(ctx, strconv.Itoa(i))
		if err != nil {
			return err
		}
		if !asked[node] {
			asked[node] = true
			go func() { answers <- serves(ctx, node) }()
		}
	}
	var first error
	for range asked {
		select {
		case err := <-answers:
			if err == nil {
				return nil
			}
			first = cmp.Or(first, err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return first
}

// serves returns nil when a node says that its Cluster serves.
func serves(ctx context.Context, node *redis.Client) error {
	info, err := node.ClusterInfo(ctx).Result()
	if err == nil && !strings.Contains(info, "cluster_state:ok") {
		err = fmt.Errorf("the Cluster's node %s serves nothing", node.Options().Addr)
	}
	return err
}

// Sharded reports whether the namespaces are on several servers, of which one may be away while the others serve.
func (s *Store) Sharded() bool {
	_, cluster := s.rdb.(*redis.ClusterClient)
	return cluster
}

// Namespaces lists the namespaces that anybody has ever written to.
func (s *Store) Namespaces(ctx context.Context) ([]string, error) {
	names, err := s.rdb.SMembers(ctx, namespacesKey).Result()
	return names, translate("list namespaces", err)
}

// announce makes a namespace known to sweepers before anything is written to it. The set is in another Cluster slot, so
// no script could do this along the way.
func (s *Store) announce(ctx context.Context, ns string) error {
	if at, ok := s.announced.Load(ns); ok {
		if t, _ := at.(time.Time); time.Since(t) < announceAgain {
			return nil
		}
	}
	err := s.rdb.SAdd(ctx, namespacesKey, ns).Err()
	// The set may be on a Cluster node that is away. Who has announced the namespace before need not wait for that.
	if _, before := s.announced.Load(ns); err != nil && !before {
		return translate("announce namespace", err)
	}
	s.announced.Store(ns, time.Now())
	return nil
}

// head returns the two arguments that every script begins with.
func (s *Store) head() []any {
	var now int64
	if s.cfg.Now != nil {
		now = s.cfg.Now().UnixMilli()
	}
	word := strconv.FormatUint(rand.Uint64()|1<<63, 36) // longer than "0", which is none
	return []any{fmt.Sprintf("%d %d %s", now, s.cfg.EventsKept, word), s.cfg.Visibility.Milliseconds()}
}

// run runs a script that returns an array.
func (s *Store) run(ctx context.Context, op string, script *redis.Script, keys []string, args ...any) ([]any, error) {
	ctx, end := tracing.Child(ctx, "store "+op)
	reply, err := script.Run(ctx, s.rdb, keys, append(s.head(), args...)...).Slice()
	end(err)
	return reply, translate(op, err)
}

// translate turns an error of Redis or its client into one of ours. redis.Nil must have been dealt with before.
func translate(op string, err error) error {
	if err == nil {
		return nil
	}
	if reply, ok := errors.AsType[redis.Error](err); ok && !transient(reply.Error()) {
		return fmt.Errorf("%s: %w", op, &model.Error{Kind: model.ErrorInternal, Message: "redis refused", Cause: err})
	}
	return fmt.Errorf("%s: %w", op, model.Unavailable(err))
}

// transient reports whether an error reply says that the server cannot serve right now, rather than that we asked wrongly.
func transient(reply string) bool {
	for _, p := range []string{
		"LOADING", "READONLY", "CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN", "OOM", "MISCONF", "NOREPLICAS", "BUSY", "MOVED", "ASK",
		// Our transactions are well formed: one that is discarded met one of these on the way.
		"EXECABORT",
		"UNKILLABLE", "NOAUTH", "WRONGPASS", "ERR max number of clients",
	} {
		if strings.HasPrefix(reply, p) {
			return true
		}
	}
	return false
}

// The rest reads replies of scripts. They come from our own scripts, so a wrong type is a bug and reads as a zero value.

func toInt(v any) int64 {
	switch v := v.(type) {
	case int64:
		return v
	case string:
		n, _ := strconv.ParseInt(v, 10, 64)
		return n
	}
	return 0
}

func toString(v any) string {
	s, _ := v.(string)
	return s
}

func toSlice(v any) []any {
	s, _ := v.([]any)
	return s
}

func toStrings(v any) []string {
	list := toSlice(v)
	out := make([]string, len(list))
	for i, x := range list {
		out[i] = toString(x)
	}
	return out
}

func toMap(v any) map[string]string {
	list := toSlice(v)
	m := make(map[string]string, len(list)/2)
	for i := 0; i+1 < len(list); i += 2 {
		m[toString(list[i])] = toString(list[i+1])
	}
	return m
}

// toRefs reads members of the wake index.
func (s *Store) toRefs(ns string, members []any) []model.Ref {
	refs := make([]model.Ref, 0, len(members))
	for _, m := range members {
		ref, err := model.ParseMember(ns, toString(m))
		if err != nil {
			s.log.Error("unreadable object in the wake index", "namespace", ns, "error", err)
			continue
		}
		refs = append(refs, ref)
	}
	return refs
}

// Instants are stored as milliseconds since the epoch; 0 and '' are none.

func toMillis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func millis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

func parseMillis(s string) time.Time {
	ms, _ := strconv.ParseInt(s, 10, 64)
	return millis(ms)
}

func formatMillis(t time.Time) string { return strconv.FormatInt(toMillis(t), 10) }

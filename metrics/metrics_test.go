package metrics

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/redis/go-redis/v9"

	"drydock/embedded/redistest"
	"drydock/model"
	"drydock/store"
	"drydock/tasks"
)

func TestMain(m *testing.M) { redistest.Main(m) }

// scrape returns what a registry shows, by "name" and then by the values of the labels, joined with a space.
func scrape(t testing.TB, registry *prometheus.Registry) map[string]map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]map[string]float64{}
	for _, f := range families {
		series := map[string]float64{}
		for _, m := range f.GetMetric() {
			series[labels(m)] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
		out[f.GetName()] = series
	}
	return out
}

func labels(m *dto.Metric) string {
	values := make([]string, 0, len(m.GetLabel()))
	for _, l := range m.GetLabel() {
		values = append(values, l.GetValue())
	}
	return strings.Join(values, " ")
}

// collecting is a registry with a collector on a Redis of its own, since it reads all namespaces.
type collecting struct {
	*prometheus.Registry
	store  *store.Store
	client redis.UniversalClient
	stop   func()
}

func newCollecting(t *testing.T, cfg CollectorConfig) collecting {
	t.Helper()
	server := redistest.Start(t)
	return newCollectingOn(t, redistest.Client(t, server), server.Stop, cfg)
}

func newCollectingOn(t *testing.T, client redis.UniversalClient, stop func(), cfg CollectorConfig) collecting {
	t.Helper()
	s := store.New(client, store.Config{})
	t.Cleanup(s.Close)
	cfg.Store, cfg.Queue, cfg.Log = s, tasks.NewInspector(asynq.NewInspectorFromRedisClient(client)), slog.New(slog.DiscardHandler)
	registry := prometheus.NewRegistry()
	registry.MustRegister(NewCollector(cfg))
	return collecting{registry, s, client, stop}
}

func (c collecting) queueLease(t *testing.T, ns string) {
	t.Helper()
	created, err := c.store.CreateLease(t.Context(), ns, model.NewID(), model.NewLease{Type: "host"}, model.Idempotency{})
	if err != nil {
		t.Fatal(err)
	}
	if err := tasks.NewClient(asynq.NewClientFromRedisClient(c.client), 0).Enqueue(t.Context(), created.Wake...); err != nil {
		t.Fatal(err)
	}
}

func (c collecting) declare(t *testing.T, ns string) {
	t.Helper()
	if _, _, _, err := c.store.PutBlueprint(t.Context(), &model.Blueprint{Namespace: ns, Name: "lab", Kind: "pool", Type: "host"}, model.Condition{}); err != nil {
		t.Fatal(err)
	}
}

func TestCollectorReadsTheIndexes(t *testing.T) {
	t.Parallel()
	c := newCollecting(t, CollectorConfig{MaxAge: time.Nanosecond})
	empty := scrape(t, c.Registry)
	if empty["drydock_redis_up"][""] != 1 || empty["drydock_queue_tasks"]["pending"] != 0 || len(empty["drydock_leases"]) != 0 {
		t.Errorf("of an empty Redis: %v", empty)
	}
	c.declare(t, "ci")
	for range 3 {
		c.queueLease(t, "ci")
	}
	got := scrape(t, c.Registry)
	for name, want := range map[string]map[string]float64{
		"drydock_namespaces":     {"": 1},
		"drydock_waiting_leases": {"ci host": 3},
		"drydock_free_resources": {"ci host": 0},
		"drydock_wake_objects":   {"ci": 4}, // the blueprint too
		"drydock_redis_up":       {"": 1},
	} {
		for series, n := range want {
			if v, ok := got[name][series]; !ok || v != n {
				t.Errorf("%s{%s} = %v, %t, want %v", name, series, v, ok, n)
			}
		}
	}
	if _, ok := got["drydock_delivery_lag_seconds"]["ci"]; !ok || got["drydock_dead_letters"]["ci"] != 0 {
		t.Errorf("lag %v, dead letters %v", got["drydock_delivery_lag_seconds"], got["drydock_dead_letters"])
	}
	if got["drydock_leases"]["ci pending"] != 3 || got["drydock_queue_tasks"]["pending"] != 3 {
		t.Errorf("leases %v, tasks %v", got["drydock_leases"], got["drydock_queue_tasks"])
	}
}

// TestCollectorShowsSubscriptionsThatAreBehind, by namespace.
func TestCollectorShowsSubscriptionsThatAreBehind(t *testing.T) {
	t.Parallel()
	c := newCollecting(t, CollectorConfig{MaxAge: time.Nanosecond})
	for _, ns := range []string{"ci", "other"} {
		sub := &model.Subscription{Namespace: ns, Name: "s1", URL: "https://example.org", Secret: "sixteen bytes or more", Enabled: true, Tries: 3}
		if _, _, err := c.store.PutSubscription(t.Context(), sub); err != nil {
			t.Fatal(err)
		}
	}
	c.queueLease(t, "ci")
	_ = scrape(t, c.Registry) // so that the event has an age
	if got := scrape(t, c.Registry)["drydock_delivery_lag_seconds"]; got["ci"] <= 0 || got["other"] != 0 {
		t.Errorf("lag %v, want one of ci alone", got)
	}
}

// TestCollectorBoundsItsLabels: whoever may write to any namespace must not be able to flood Prometheus.
func TestCollectorBoundsItsLabels(t *testing.T) {
	t.Parallel()
	c := newCollecting(t, CollectorConfig{MaxNamespaces: 2})
	for _, ns := range []string{"d", "b", "a", "c"} {
		c.queueLease(t, ns)
	}
	got := scrape(t, c.Registry)
	if got["drydock_namespaces"][""] != 4 || len(got["drydock_wake_objects"]) != 2 || got["drydock_wake_objects"]["a"] != 1 {
		t.Errorf("namespaces %v, shown %v", got["drydock_namespaces"], got["drydock_wake_objects"])
	}
	only := newCollecting(t, CollectorConfig{Namespaces: []string{"c"}})
	for _, ns := range []string{"b", "c"} {
		only.queueLease(t, ns)
	}
	if got := scrape(t, only.Registry)["drydock_wake_objects"]; len(got) != 1 || got["c"] != 1 {
		t.Errorf("of one namespace alone: %v", got)
	}
}

func TestCollectorOfARedisThatIsAway(t *testing.T) {
	t.Parallel()
	c := newCollecting(t, CollectorConfig{MaxAge: time.Nanosecond, Timeout: 100 * time.Millisecond})
	c.queueLease(t, "ci")
	c.stop()
	got := scrape(t, c.Registry)
	if up, ok := got["drydock_redis_up"][""]; !ok || up != 0 || len(got) != 1 {
		t.Errorf("it shows %v, want drydock_redis_up 0 and nothing else", got)
	}
}

// TestCollectorOfAClusterWithoutAMaster: whichever master is away, the namespaces on the others are shown, and the outage is.
func TestCollectorOfAClusterWithoutAMaster(t *testing.T) {
	t.Parallel()
	all := []string{"north", "south", "east"} // on the masters 0, 1 and 2
	for away := range all {
		t.Run(fmt.Sprintf("master=%d", away), func(t *testing.T) {
			t.Parallel()
			cluster := redistest.StartCluster(t, 3)
			client, err := store.Connect(cluster.URL())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = client.Close() })
			c := newCollectingOn(t, client, cluster.Masters[away].Stop, CollectorConfig{MaxAge: time.Nanosecond})
			for i, ns := range all {
				if got := cluster.MasterOf(t, "drydock:{"+ns+"}:"); got != i {
					t.Fatalf("namespace %s is on master %d, want %d", ns, got, i)
				}
				c.queueLease(t, ns)
			}
			if got := scrape(t, c.Registry); got["drydock_redis_up"][""] != 1 || got["drydock_namespaces"][""] != 3 {
				t.Fatalf("it shows %v, want drydock_redis_up 1 and three namespaces", got)
			}
			c.stop()
			got := scrape(t, c.Registry)
			if got["drydock_redis_up"][""] != 0 || got["drydock_namespaces"][""] != 3 {
				t.Errorf("it shows drydock_redis_up %v and %v namespaces, want 0 and 3", got["drydock_redis_up"], got["drydock_namespaces"])
			}
			for i, ns := range all {
				if n, shown := got["drydock_leases"][ns+" pending"]; shown == (i == away) || shown && n != 1 {
					t.Errorf("with master %d away, namespace %s on master %d shows %v pending leases (%t)", away, ns, i, n, shown)
				}
			}
		})
	}
}

// countingStore counts how often it is asked.
type countingStore struct{ asked int }

func (s *countingStore) Namespaces(context.Context) ([]string, error) {
	s.asked++
	return nil, errors.New("away")
}

func (*countingStore) Deliveries(context.Context, string) (store.Deliveries, error) {
	return store.Deliveries{}, nil
}

func (*countingStore) Sharded() bool { return false }

func (*countingStore) Sizes(context.Context, string) (store.Sizes, error) { return store.Sizes{}, nil }

func TestManyScrapersCostOneReading(t *testing.T) {
	t.Parallel()
	s := &countingStore{}
	registry := prometheus.NewRegistry()
	registry.MustRegister(NewCollector(CollectorConfig{Store: s, MaxAge: time.Hour, Log: slog.New(slog.DiscardHandler)}))
	for range 5 {
		scrape(t, registry)
	}
	if s.asked != 1 {
		t.Errorf("Redis was asked %d times, want once", s.asked)
	}
}

// TestNilCountsNothing: whoever has no metrics needs no if.
func TestNilCountsNothing(t *testing.T) {
	t.Parallel()
	var m *Metrics
	m.Sent(model.KindLease, model.CommandRelease, model.ViaAPI, 1)
	m.Consumed(model.KindLease, model.CommandRelease, model.OutcomeApplied, time.Second)
	m.Unread(model.KindLease, 1)
	m.Stale("finish")
	m.Swept(store.Swept{Lost: 1})
	m.Updated(model.KindLease, UpdateDone, time.Second, 1)
	m.LockLost()
	m.LockExtended(nil)
	m.Delivered(DeliveryOK)
	m.DeadLetter()
	m.HookBegins(model.KindLease, "activate")(HookOK)
}

func TestLocksAreCounted(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	m := New(registry)
	m.LockLost()
	m.LockExtended(nil)
	m.LockExtended(errors.New("no"))
	m.Updated(model.KindLease, UpdateBusy, 0, 0)
	got := scrape(t, registry)
	if got["drydock_lock_lost_total"][""] != 1 || got["drydock_lock_busy_total"][""] != 1 ||
		got["drydock_lock_extensions_total"]["ok"] != 1 || got["drydock_lock_extensions_total"]["failed"] != 1 {
		t.Errorf("it shows %v", got)
	}
}

// BenchmarkUpdate is what counting an update costs that consumes one command.
func BenchmarkUpdate(b *testing.B) {
	m := New(prometheus.NewRegistry())
	for b.Loop() {
		m.Consumed(model.KindLease, model.CommandRelease, model.OutcomeApplied, time.Millisecond)
		m.Updated(model.KindLease, UpdateDone, time.Millisecond, 7)
	}
}

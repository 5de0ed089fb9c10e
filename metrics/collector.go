package metrics

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"drydock/model"
	"drydock/store"
	"drydock/tasks"
)

// Store is what a [Collector] reads of the store.
type Store interface {
	Namespaces(ctx context.Context) ([]string, error)
	Sizes(ctx context.Context, ns string) (store.Sizes, error)
	Deliveries(ctx context.Context, ns string) (store.Deliveries, error)
	Sharded() bool
}

// Queue is what a [Collector] reads of the task queue.
type Queue interface {
	Depth() (tasks.Depth, error)
}

// CollectorConfig says what a [Collector] reads.
type CollectorConfig struct {
	Store Store
	Queue Queue
	// Namespaces are those to show; empty = all, but no more than MaxNamespaces, the first by name.
	Namespaces []string
	// MaxNamespaces bounds the values of the label "namespace". Default 100.
	MaxNamespaces int
	// Timeout bounds one reading. Default 2 s.
	Timeout time.Duration
	// MaxAge is how old a reading may be that is shown again, so that many scrapers cost no more than one. Default 1 s.
	MaxAge time.Duration
	// Log gets a warning when Redis cannot be read, once per outage. Default [slog.Default].
	Log *slog.Logger
}

// Collector reads the sizes of the indexes from Redis when it is asked: a bounded number of ZCARDs, never the objects
// themselves, and the places of the subscriptions.
type Collector struct {
	cfg CollectorConfig

	mu   sync.Mutex
	last reading
	down bool
	// known are all namespaces, as they were told last.
	known []string
}

// reading is what was read at one time.
type reading struct {
	at         time.Time
	err        error // something of this is missing
	namespaces int
	sizes      []store.Sizes
	deliveries []store.Deliveries // of the same namespaces
	queue      tasks.Depth
	queueErr   error // does not hide the rest: asynq's own look at its keys can trip over one that is gone
}

// NewCollector returns a collector, to be registered with a registry.
func NewCollector(cfg CollectorConfig) *Collector {
	if cfg.MaxNamespaces <= 0 {
		cfg.MaxNamespaces = 100
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 2 * time.Second
	}
	if cfg.MaxAge <= 0 {
		cfg.MaxAge = time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	return &Collector{cfg: cfg}
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var (
	redisUp      = describe("drydock_redis_up", "1 when all of the data Redis could be read; the gauges below are missing of what could not.")
	namespaces   = describe("drydock_namespaces", "Namespaces that anybody has ever written to; the gauges show no more than a bounded number.")
	owed         = describe("drydock_wake_objects", "Objects in the wake index: owed an update, now or at a planned time.", "namespace")
	overdue      = describe("drydock_wake_overdue_seconds", "How long the first object in the wake index has been due; sweepers keep it near 0.", "namespace")
	waiting      = describe("drydock_waiting_leases", "Leases that wait for a resource, by type.", "namespace", "type")
	free         = describe("drydock_free_resources", "Resources that take one more lease, by type.", "namespace", "type")
	leases       = describe("drydock_leases", "Leases by state.", "namespace", "status")
	resources    = describe("drydock_resources", "Resources by state.", "namespace", "status")
	lag          = describe("drydock_delivery_lag_seconds", "Age of the oldest event that an enabled subscription still has to send or pass over.", "namespace")
	deadLetters  = describe("drydock_dead_letters", "Dead letters that the subscriptions keep.", "namespace")
	queueTasks   = describe("drydock_queue_tasks", "Update tasks in asynq's queue, by state. A task names one object or several.", "state")
	queueLatency = describe("drydock_queue_latency_seconds", "How long the oldest pending update task has been waiting for a worker.")
)

// Describe implements [prometheus.Collector].
func (*Collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{redisUp, namespaces, owed, overdue, waiting, free, leases, resources, lag, deadLetters, queueTasks, queueLatency} {
		to <- d
	}
}

// Collect implements [prometheus.Collector].
func (c *Collector) Collect(to chan<- prometheus.Metric) {
	r := c.read()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	if r.err != nil {
		gauge(redisUp, 0)
	} else {
		gauge(redisUp, 1)
	}
	if r.err != nil && len(r.sizes) == 0 {
		return
	}
	gauge(namespaces, float64(r.namespaces))
	if r.queueErr == nil {
		for state, n := range r.queue.Tasks {
			gauge(queueTasks, float64(n), state)
		}
		gauge(queueLatency, r.queue.Latency.Seconds())
	}
	for i, s := range r.sizes {
		gauge(lag, r.deliveries[i].Lag.Seconds(), s.Namespace)
		gauge(deadLetters, float64(r.deliveries[i].DeadLetters), s.Namespace)
		gauge(owed, float64(s.Owed), s.Namespace)
		gauge(overdue, s.Overdue.Seconds(), s.Namespace)
		for typ, n := range s.Waiting {
			gauge(waiting, float64(n), s.Namespace, typ)
		}
		for typ, n := range s.Free {
			gauge(free, float64(n), s.Namespace, typ)
		}
		for _, st := range model.LeaseStates() {
			gauge(leases, float64(s.Leases[st]), s.Namespace, string(st))
		}
		for _, st := range model.ResourceStates() {
			gauge(resources, float64(s.Resources[st]), s.Namespace, string(st))
		}
	}
}

// read returns a reading that is young enough. One goroutine reads at a time; those who come meanwhile get what it has read.
func (c *Collector) read() reading {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.last.at) < c.cfg.MaxAge {
		return c.last
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.cfg.Timeout)
	defer cancel()
	r := c.readNow(ctx)
	r.at = time.Now()
	err := cmp.Or(r.err, r.queueErr)
	if err != nil && !c.down {
		c.cfg.Log.Warn("cannot read all sizes for the metrics", "error", err)
	}
	c.last, c.down = r, err != nil
	return r
}

func (c *Collector) readNow(ctx context.Context) (r reading) {
	names, err := c.cfg.Store.Namespaces(ctx)
	if err == nil {
		c.known = names
	} else if r.err = err; !c.cfg.Store.Sharded() {
		return r
	}
	all := slices.Clone(c.known)
	r.namespaces = len(all)
	if len(c.cfg.Namespaces) > 0 {
		all = slices.DeleteFunc(all, func(ns string) bool { return !slices.Contains(c.cfg.Namespaces, ns) })
	}
	slices.Sort(all)
	for _, ns := range all[:min(len(all), c.cfg.MaxNamespaces)] {
		s, err := c.cfg.Store.Sizes(ctx, ns)
		var d store.Deliveries
		if err == nil {
			d, err = c.cfg.Store.Deliveries(ctx, ns)
		}
		if err == nil {
			r.sizes, r.deliveries = append(r.sizes, s), append(r.deliveries, d)
			continue
		}
		if r.err = cmp.Or(r.err, err); !c.cfg.Store.Sharded() {
			return reading{err: r.err}
		}
	}
	// asynq takes no context, but its client has time limits of its own.
	r.queue, r.queueErr = c.cfg.Queue.Depth()
	return r
}

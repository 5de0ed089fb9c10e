package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"drydock/model"
	"drydock/store"
)

// Results of an update, as the label "result" has them.
const (
	// UpdateDone is an update that has done what there was to do.
	UpdateDone = "done"
	// UpdateBusy found the object's lock busy and put the object off.
	UpdateBusy = "busy"
	// UpdateStale found another writer and stopped.
	UpdateStale = "stale"
	// UpdateFailed met an error of our own, such as a Redis that does not answer; the object is looked at again.
	UpdateFailed = "failed"
)

// Results of a hook, as the label "result" has them.
const (
	// HookOK is a hook that succeeded.
	HookOK = "ok"
	// HookYield is a hook that asked for time.
	HookYield = "yield"
	// HookFailed is a hook that failed, or was cut off after its timeout.
	HookFailed = "failed"
	// HookAbandoned is a hook whose lock was lost, or whose process shuts down.
	HookAbandoned = "abandoned"
)

// Results of sending an event to the service of a subscription, as the label "result" has them.
const (
	// DeliveryOK is an event that the service accepted.
	DeliveryOK = "ok"
	// DeliveryRedirect, DeliveryRefused and DeliveryError are answers of 3xx, which are not followed, of 4xx and of all others.
	DeliveryRedirect = "3xx"
	DeliveryRefused  = "4xx"
	DeliveryError    = "5xx"
	// DeliveryTimeout is a service that did not answer in time.
	DeliveryTimeout = "timeout"
	// DeliveryForbidden is an address to which the worker may not send.
	DeliveryForbidden = "forbidden_address"
	// DeliveryUnreachable is a request that could not be sent, or whose answer broke off.
	DeliveryUnreachable = "unreachable"
)

func deliveryResults() []string {
	return []string{
		DeliveryOK, DeliveryRedirect, DeliveryRefused, DeliveryError, DeliveryTimeout, DeliveryForbidden, DeliveryUnreachable,
	}
}

// Metrics count what this process does. A nil *Metrics counts nothing. It is a [store.Observer].
type Metrics struct {
	sent       *prometheus.CounterVec
	consumed   *prometheus.CounterVec
	applied    *prometheus.HistogramVec
	stale      *prometheus.CounterVec
	swept      *prometheus.CounterVec
	updates    *prometheus.CounterVec
	seconds    *prometheus.HistogramVec
	trips      *prometheus.HistogramVec
	busy       prometheus.Counter
	lost       prometheus.Counter
	extensions *prometheus.CounterVec
	hooks      *prometheus.HistogramVec
	hooking    prometheus.Gauge
	deliveries *prometheus.CounterVec
	dead       prometheus.Counter
}

var _ store.Observer = (*Metrics)(nil)

// New returns metrics that are registered with a registry, and no others of their names may be.
func New(registry prometheus.Registerer) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
	}
	m := &Metrics{
		sent: counter("drydock_commands_sent_total",
			"Commands stored on an object's queue, those that Drydock sends itself (via=\"worker\") among them.", "kind", "command", "via"),
		consumed: counter("drydock_commands_consumed_total",
			"Commands consumed. command=\"unread\" are those that came in too late, consumed by the write that destroyed their object.",
			"kind", "command", "outcome"),
		applied: histogram("drydock_command_accept_to_applied_seconds",
			"Time from a command's storing to the beginning of the update that applied it.",
			[]float64{.002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30, 60, 300}, "kind", "command"),
		stale: counter("drydock_stale_writes_refused_total",
			"Writes that were refused because somebody else has become the object's writer.", "op"),
		swept: counter("drydock_sweeper_enqueued_total",
			"Objects that the sweeper made a task for: a planned look, a busy lock, or a task that was lost or is late (reason=\"lost\").", "reason"),
		updates: counter("drydock_updates_total", "Updates run.", "kind", "result"),
		seconds: histogram("drydock_update_seconds", "Time an update held its object's lock, hooks included.",
			[]float64{.001, .002, .005, .01, .025, .05, .1, .25, .5, 1, 5, 15, 60, 300}, "kind"),
		trips: histogram("drydock_update_round_trips", "Round trips to Redis that an update took, those for the lock included, and those for enqueueing unless others did it.",
			[]float64{2, 4, 6, 8, 10, 12, 16, 24, 32, 64, 128}, "kind"),
		busy: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "drydock_lock_busy_total", Help: "Object locks that somebody else held; the object was put off a little.",
		}),
		lost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "drydock_lock_lost_total", Help: "Object locks that were lost while held.",
		}),
		extensions: counter("drydock_lock_extensions_total", "Attempts to extend an object lock.", "result"),
		hooks: histogram("drydock_hook_seconds", "Time of outside work.",
			[]float64{.005, .02, .05, .1, .5, 1, 2, 5, 10, 30, 60, 120, 300, 900}, "kind", "step", "result"),
		hooking: prometheus.NewGauge(prometheus.GaugeOpts{Name: "drydock_hooks_running", Help: "Outside work under way."}),
		deliveries: counter("drydock_deliveries_total",
			"Attempts to send an event to the service of a subscription, those for dead letters included.", "result"),
		dead: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "drydock_deliveries_dead_total", Help: "Events that became dead letters, after the last try.",
		}),
	}
	registry.MustRegister(m.sent, m.consumed, m.applied, m.stale, m.swept, m.updates, m.seconds, m.trips, m.busy, m.lost, m.extensions,
		m.hooks, m.hooking, m.deliveries, m.dead)
	m.begin()
	return m
}

// begin makes series that are zero, so that the first event shows as a rise and a rule about them finds something from the start.
func (m *Metrics) begin() {
	for _, k := range model.Kinds() {
		for _, name := range model.CommandNames() {
			if !name.For(k) {
				continue
			}
			m.sent.WithLabelValues(string(k), string(name), string(model.ViaAPI))
			for _, outcome := range []model.Outcome{model.OutcomeApplied, model.OutcomeRefused, model.OutcomeSuperseded} {
				m.consumed.WithLabelValues(string(k), string(name), string(outcome))
			}
		}
		m.applied.WithLabelValues(string(k), string(model.CommandRelease))
		for _, result := range []string{UpdateDone, UpdateBusy, UpdateStale, UpdateFailed} {
			m.updates.WithLabelValues(string(k), result)
		}
	}
	for _, op := range []string{"apply lease", "apply resource", "create resource", "touch", "finish"} {
		m.stale.WithLabelValues(op)
	}
	for _, reason := range []string{"lost", "busy", "planned"} {
		m.swept.WithLabelValues(reason)
	}
	for _, result := range []string{"ok", "failed"} {
		m.extensions.WithLabelValues(result)
	}
	for _, result := range deliveryResults() {
		m.deliveries.WithLabelValues(result)
	}
}

// Sent implements [store.Observer].
func (m *Metrics) Sent(k model.Kind, name model.CommandName, via model.Via, n int) {
	if m != nil {
		m.sent.WithLabelValues(string(k), string(name), string(via)).Add(float64(n))
	}
}

// Consumed implements [store.Observer].
func (m *Metrics) Consumed(k model.Kind, name model.CommandName, outcome model.Outcome, took time.Duration) {
	if m == nil {
		return
	}
	m.consumed.WithLabelValues(string(k), string(name), string(outcome)).Inc()
	if outcome == model.OutcomeApplied {
		m.applied.WithLabelValues(string(k), string(name)).Observe(max(0, took.Seconds()))
	}
}

// Unread implements [store.Observer].
func (m *Metrics) Unread(k model.Kind, n int) {
	if m != nil {
		m.consumed.WithLabelValues(string(k), "unread", string(model.OutcomeSuperseded)).Add(float64(n))
	}
}

// Stale implements [store.Observer].
func (m *Metrics) Stale(op string) {
	if m != nil {
		m.stale.WithLabelValues(op).Inc()
	}
}

// Swept implements [store.Observer].
func (m *Metrics) Swept(due store.Swept) {
	if m == nil {
		return
	}
	m.swept.WithLabelValues("lost").Add(float64(due.Lost))
	m.swept.WithLabelValues("busy").Add(float64(due.Busy))
	m.swept.WithLabelValues("planned").Add(float64(due.Planned))
}

// Updated counts an update that ended with a result; took is how long it had the lock and trips the round trips it took.
func (m *Metrics) Updated(k model.Kind, result string, took time.Duration, trips int64) {
	if m == nil {
		return
	}
	m.updates.WithLabelValues(string(k), result).Inc()
	if result == UpdateBusy {
		m.busy.Inc()
		return
	}
	m.seconds.WithLabelValues(string(k)).Observe(took.Seconds())
	m.trips.WithLabelValues(string(k)).Observe(float64(trips))
}

// LockLost counts a lock that was lost while held.
func (m *Metrics) LockLost() {
	if m != nil {
		m.lost.Inc()
	}
}

// LockExtended counts an attempt to extend a lock.
func (m *Metrics) LockExtended(err error) {
	if m == nil {
		return
	}
	result := "ok"
	if err != nil {
		result = "failed"
	}
	m.extensions.WithLabelValues(result).Inc()
}

// HookBegins counts a hook as running, until the function it returns is called with the result.
func (m *Metrics) HookBegins(k model.Kind, step string) (ends func(result string)) {
	if m == nil {
		return func(string) {}
	}
	m.hooking.Inc()
	begin := time.Now()
	return func(result string) {
		m.hooking.Dec()
		m.hooks.WithLabelValues(string(k), step, result).Observe(time.Since(begin).Seconds())
	}
}

// Delivered counts an attempt to send an event to a service, by its result.
func (m *Metrics) Delivered(result string) {
	if m != nil {
		m.deliveries.WithLabelValues(result).Inc()
	}
}

// DeadLetter counts an event that became a dead letter.
func (m *Metrics) DeadLetter() {
	if m != nil {
		m.dead.Inc()
	}
}

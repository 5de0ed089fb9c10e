package handlers

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"drydock/blueprints"
	"drydock/embedded/redistest"
	"drydock/metrics"
	"drydock/model"
	"drydock/store"
)

// measuredHarness is a harness whose store, locks and updater are counted.
func measuredHarness(t *testing.T) (*harness, *prometheus.Registry) {
	t.Helper()
	registry := prometheus.NewRegistry()
	m := metrics.New(registry)
	rdb := redistest.Client(t, redistest.Shared(t))
	store.CountTrips(rdb)
	h := newHarnessOn(t, rdb, Config{Metrics: m})
	h.store = store.New(rdb, store.Config{Now: h.clock.Now, Observer: m})
	t.Cleanup(h.store.Close)
	h.updater = NewUpdater(h.store, h.locks, h, h.updater.catalog.registry, h.updater.cfg)
	return h, registry
}

// gathered returns the value of a series, written as name{label=value,…} with the labels sorted: a counter's, a gauge's, or how often a
// histogram was observed. -1 = there is none.
func gathered(t testing.TB, from prometheus.Gatherer, series string) float64 {
	t.Helper()
	families, err := from.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if seriesName(f.GetName(), m) != series {
				continue
			}
			switch {
			case m.GetCounter() != nil:
				return m.GetCounter().GetValue()
			case m.GetGauge() != nil:
				return m.GetGauge().GetValue()
			case m.GetHistogram() != nil:
				return float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return -1
}

func seriesName(name string, m *dto.Metric) string {
	labels := make([]string, 0, len(m.GetLabel()))
	for _, l := range m.GetLabel() {
		labels = append(labels, l.GetName()+"="+l.GetValue())
	}
	return fmt.Sprintf("%s{%s}", name, strings.Join(labels, ","))
}

// TestMetricsOfALeasesLife: from the request to the end, every number is what the history says.
func TestMetricsOfALeasesLife(t *testing.T) {
	t.Parallel()
	h, registry := measuredHarness(t)
	fails := true
	h.kind.hooks.ActivateLease = func(context.Context, blueprints.Call, *model.Resource, *model.Lease) error { return nil }
	h.kind.hooks.DestroyLease = func(context.Context, blueprints.Call, *model.Resource, *model.Lease) error {
		if fails {
			fails = false
			return errors.New("not now")
		}
		return nil
	}
	h.put("lab", h.kind.Name(), "host", 0, nil)
	id := h.lease(model.NewLease{})
	h.drain()
	h.releaseLease(id)
	h.releaseLease(id)
	h.drain()
	h.sweep(time.Minute)
	h.drain()
	if got := h.readLease(id).Status; got != model.LeaseDestroyed {
		t.Fatalf("the lease is %s", got)
	}
	for series, want := range map[string]float64{
		"drydock_commands_sent_total{command=release,kind=lease,via=api}":                2,
		"drydock_commands_consumed_total{command=release,kind=lease,outcome=applied}":    1,
		"drydock_commands_consumed_total{command=release,kind=lease,outcome=superseded}": 1,
		"drydock_command_accept_to_applied_seconds{command=release,kind=lease}":          1,
		"drydock_hook_seconds{kind=lease,result=ok,step=activate}":                       1,
		"drydock_hook_seconds{kind=lease,result=failed,step=destroy}":                    1,
		"drydock_hook_seconds{kind=lease,result=ok,step=destroy}":                        1,
		"drydock_hooks_running{}":                         0,
		"drydock_updates_total{kind=lease,result=failed}": 0,
		"drydock_lock_busy_total{}":                       0,
		"drydock_sweeper_enqueued_total{reason=planned}":  1,
		"drydock_sweeper_enqueued_total{reason=lost}":     0,
	} {
		if got := gathered(t, registry, series); got != want {
			t.Errorf("%s = %v, want %v", series, got, want)
		}
	}
	updates := gathered(t, registry, "drydock_updates_total{kind=lease,result=done}")
	if trips := gathered(t, registry, "drydock_update_round_trips{kind=lease}"); updates < 3 || trips != updates {
		t.Errorf("%v updates, round trips of %v", updates, trips)
	}
}

func TestMetricsOfABusyLockAndAPanic(t *testing.T) {
	t.Parallel()
	h, registry := measuredHarness(t)
	h.kind.hooks.ActivateLease = func(context.Context, blueprints.Call, *model.Resource, *model.Lease) error { panic("oops") }
	h.put("lab", h.kind.Name(), "host", 0, nil)
	id := h.lease(model.NewLease{})
	lock, err := h.locks.TryLock(h.ctx, store.LockKey(model.LeaseRef(h.ns, id)))
	if err != nil {
		t.Fatal(err)
	}
	h.drain()
	lock.Unlock()
	h.sweep(time.Second)
	h.drain()
	for series, want := range map[string]float64{
		"drydock_lock_busy_total{}":                                    1,
		"drydock_updates_total{kind=lease,result=busy}":                1,
		"drydock_sweeper_enqueued_total{reason=busy}":                  1,
		"drydock_hook_seconds{kind=lease,result=failed,step=activate}": 1,
		"drydock_hooks_running{}":                                      0,
	} {
		if got := gathered(t, registry, series); got != want {
			t.Errorf("%s = %v, want %v", series, got, want)
		}
	}
}

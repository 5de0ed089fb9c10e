package deliver

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"drydock/metrics"
	"drydock/model"
)

// counted are the metrics of a worker.
type counted struct{ registry *prometheus.Registry }

// measured makes a worker count.
func measured() (counted, func(*Config, *redis.Client)) {
	registry := prometheus.NewRegistry()
	m := metrics.New(registry)
	return counted{registry}, func(c *Config, _ *redis.Client) { c.Metrics = m }
}

// read returns the counters of deliveries that are not zero: by result, and dead letters as "dead".
func (c counted) read(t *testing.T) map[string]float64 {
	t.Helper()
	families, err := c.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			n := m.GetCounter().GetValue()
			switch {
			case n == 0:
			case f.GetName() == "drydock_deliveries_total":
				found[m.GetLabel()[0].GetValue()] = n
			case f.GetName() == "drydock_deliveries_dead_total":
				found["dead"] = n
			}
		}
	}
	return found
}

func TestDeliveriesAreCounted(t *testing.T) {
	t.Parallel()
	e, svc := newEnv(t), newService(t)
	e.subscribe(svc.url, func(s *model.Subscription) { s.Tries = 3 })
	svc.answers(func(n int, r *received) int {
		switch {
		case r.body.Command == "c001" && n < 10:
			return 410
		case n == 0:
			return 503
		}
		return 200
	})
	e.happen(3)
	counts, count := measured()
	w := e.start(count)
	e.until(func(s *model.Subscription) bool { return s.Sent == 2 && s.DeadLetters == 1 })
	_, err := e.store.RetryDeadLetters(e.ctx, e.ns, "s1")
	e.must(err)
	e.until(func(s *model.Subscription) bool { return s.Retry == "" })
	w.stop()
	// A dead letter that is refused once more is an attempt, and no new dead letter.
	if diff := cmp.Diff(map[string]float64{"ok": 2, "5xx": 1, "4xx": 4, "dead": 1}, counts.read(t)); diff != "" {
		t.Errorf("counted (-want +got):\n%s", diff)
	}
}

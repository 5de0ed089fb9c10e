package api

import (
	"cmp"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are the API's own numbers. Labels take few values: routes as registered, never paths.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	waiting  prometheus.Gauge
	streams  prometheus.Gauge
}

func newMetrics(registry *prometheus.Registry) *metrics {
	m := &metrics{
		registry: registry,
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "drydock_api_requests_total",
			Help: "Requests answered, by route, method and status.",
		}, []string{"route", "method", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "drydock_api_request_seconds",
			Help:    "Time to answer a request, waiting reads and event streams left out.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"route", "method"}),
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "drydock_api_waiting_reads",
			Help: "Requests that wait for an object to change.",
		}),
		streams: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "drydock_api_event_streams",
			Help: "Event streams that are open.",
		}),
	}
	registry.MustRegister(m.requests, m.seconds, m.waiting, m.streams)
	return m
}

var knownMethods = []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions}

func (m *metrics) observe(route, method string, status int, latency time.Duration, waited bool) {
	route = cmp.Or(route, "none")
	if !slices.Contains(knownMethods, method) {
		method = "other"
	}
	m.requests.WithLabelValues(route, method, strconv.Itoa(status)).Inc()
	if !waited {
		m.seconds.WithLabelValues(route, method).Observe(latency.Seconds())
	}
}

// handler serves /metrics. A metric that fails must not take the others with it.
func (m *metrics) handler(log *slog.Logger) http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError,
		ErrorLog:      slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	})
}

package api

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"drydock/auth"
	"drydock/outbound"
	"drydock/tracing"
)

// Config says what a [Server] works with.
type Config struct {
	// Store, Tasks and Kinds are required.
	Store Store
	Tasks Tasks
	Kinds Kinds

	// Asynqmon serves the dashboard below AsynqmonRoot; nil = there is none.
	Asynqmon http.Handler
	// AsynqmonRoot is the path of the dashboard, without a slash at its end; default "/asynqmon".
	AsynqmonRoot string

	// Auth tells who sends a request; nil = nobody is asked, and everybody may do everything.
	Auth auth.Authenticator
	// OpenMetrics shows /metrics to everybody; default only to those who may read all namespaces.
	OpenMetrics bool
	// TrustedProxies are the networks of proxies whose X-Forwarded-For is believed; default none.
	TrustedProxies []netip.Prefix
	// RateLimit is how many requests per second a token may send, and an address that shows none; 0 = any number.
	RateLimit float64
	// RateBurst is how many it may send at once; default two seconds' worth.
	RateBurst int
	// CORSOrigins are the sites, such as "https://console.example.com", whose pages may call the API; default none but its own.
	CORSOrigins []string

	// Registry takes the API's metrics, and /metrics shows all that it holds; default a new one.
	Registry *prometheus.Registry
	// Log takes the access log and what went wrong; default [slog.Default].
	Log *slog.Logger

	// Tracer traces requests; nil = nobody does.
	Tracer *tracing.Tracer

	// RequestTimeout bounds a request, without the waiting of a waiting read; default 15s.
	RequestTimeout time.Duration
	// HeaderTimeout bounds how long a request's headers may take to come; default 5s. It is [Server.HTTPServer]'s.
	HeaderTimeout time.Duration
	// MaxWaiters bounds the waiting reads at one time; default 10000. A waiter costs a goroutine and a connection.
	MaxWaiters int
	// MaxStreams bounds the event streams at one time; default 1000.
	MaxStreams int
	// Heartbeat is how long an event stream may be silent; default 15s.
	Heartbeat time.Duration
	// StreamSlow is how long the reader of an event stream may take for what is written at one time before he is cut off; default 10s.
	StreamSlow time.Duration
	// Addresses says where subscriptions may send events; default public addresses only.
	Addresses outbound.AddressPolicy
	// Now is the clock; default [time.Now].
	Now func() time.Time
}

// Limits of the server.
const (
	maxBody        = "1MiB"
	maxHeaderBytes = 64 << 10
	// backgroundTimeout bounds what is done for a request after its client may have gone.
	backgroundTimeout = 2 * time.Second
	// pingTimeout is short: a readiness probe that hangs tells nothing.
	pingTimeout = 2 * time.Second
)

// Server is the API. It is an [http.Handler] and needs no start.
type Server struct {
	cfg     Config
	echo    *echo.Echo
	metrics *metrics
	limiter *limiter
	// needs are what the routes ask for, by method and path as registered.
	needs map[string]need

	draining atomic.Bool
	waiters  atomic.Int64
	streams  atomic.Int64
	endWaits func()
	// untilDrain ends when event streams have to.
	untilDrain context.Context
	// waitsEndC is closed when waiting reads have to answer with what they have.
	waitsEndC chan struct{}
}

// New returns a server. It panics when the configuration lacks a part, which is a mistake in the program.
func New(cfg Config) *Server {
	if cfg.Store == nil || cfg.Tasks == nil || cfg.Kinds == nil {
		panic("api.New: Store, Tasks and Kinds are required")
	}
	cfg.AsynqmonRoot = strings.TrimRight(cmp.Or(cfg.AsynqmonRoot, "/asynqmon"), "/")
	cfg.Registry = cmp.Or(cfg.Registry, prometheus.NewRegistry())
	cfg.Log = cmp.Or(cfg.Log, slog.Default())
	cfg.RequestTimeout = cmp.Or(cfg.RequestTimeout, 15*time.Second)
	cfg.HeaderTimeout = cmp.Or(cfg.HeaderTimeout, 5*time.Second)
	cfg.MaxWaiters = cmp.Or(cfg.MaxWaiters, 10_000)
	cfg.MaxStreams = cmp.Or(cfg.MaxStreams, 1000)
	cfg.Heartbeat = cmp.Or(cfg.Heartbeat, defaultHeartbeat)
	cfg.StreamSlow = cmp.Or(cfg.StreamSlow, defaultStreamSlow)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Server{cfg: cfg, echo: echo.New(), metrics: newMetrics(cfg.Registry), waitsEndC: make(chan struct{})}
	s.limiter = newLimiter(cfg.RateLimit, cfg.RateBurst, cfg.Now)
	untilDrain, drained := context.WithCancel(context.Background())
	s.untilDrain = untilDrain
	s.endWaits = sync.OnceFunc(func() {
		close(s.waitsEndC)
		drained()
	})
	s.echo.HTTPErrorHandler = s.fail
	s.echo.IPExtractor = addressOf(cfg.TrustedProxies)
	s.use()
	s.routes()
	s.needs = map[string]need{}
	for _, r := range s.echo.Routes() {
		s.needs[r.Method+" "+r.Path] = s.needOf(r.Method, r.Path)
	}
	return s
}

// ServeHTTP answers a request. HEAD is GET without the body, on every route.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodHead {
		// A copy: net/http looks at its own request to leave the body out.
		get := *r
		get.Method = http.MethodGet
		r = &get
	}
	s.echo.ServeHTTP(w, r)
}

// Drain makes /readyz answer 503, so that balancers send no new work; requests are still served. Waiting reads go on until the
// server of [Server.HTTPServer] shuts down.
func (s *Server) Drain() { s.draining.Store(true) }

// HTTPServer returns a server with bounds on slow and large requests. Its Shutdown ends waiting reads with what they have, and event
// streams.
//
// It has no ReadTimeout and no WriteTimeout, which would cut waiting reads off: the API sets both deadlines per request.
func (s *Server) HTTPServer() *http.Server {
	srv := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: s.cfg.HeaderTimeout,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelWarn),
	}
	srv.RegisterOnShutdown(func() {
		s.Drain()
		s.endWaits()
	})
	return srv
}

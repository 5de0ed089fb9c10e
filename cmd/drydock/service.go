package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/redis/go-redis/v9"

	"drydock/api"
	"drydock/asynqmon"
	"drydock/blueprints"
	"drydock/blueprints/command"
	"drydock/blueprints/exec"
	"drydock/blueprints/git"
	"drydock/blueprints/pool"
	"drydock/blueprints/webhook"
	"drydock/console"
	"drydock/deliver"
	"drydock/handlers"
	"drydock/locks"
	"drydock/metrics"
	"drydock/model"
	"drydock/outbound"
	"drydock/store"
	"drydock/tasks"
	"drydock/tracing"
)

// kinds are the blueprint kinds that this binary knows, within the bounds that the flags set.
func kinds(o *options) (*blueprints.Registry, error) {
	programs := command.Policy{Off: len(o.hookFolders) == 0}
	for _, folder := range o.hookFolders {
		abs, err := filepath.Abs(folder)
		if err != nil {
			return nil, model.Invalid("--hook-folder", "%s", err)
		}
		programs.Folders = append(programs.Folders, abs)
	}
	addresses, err := o.addresses()
	if err != nil {
		return nil, err
	}
	root, err := filepath.Abs(o.gitRoot)
	if err != nil {
		return nil, model.Invalid("--git-root", "%s", err)
	}
	sshConfig := o.gitSSHConfig
	if sshConfig != "" {
		if sshConfig, err = filepath.Abs(sshConfig); err != nil {
			return nil, model.Invalid("--git-ssh-config", "%s", err)
		}
	}
	return blueprints.NewRegistry(
		pool.Kind{Commands: programs}, exec.Kind{Commands: programs}, webhook.Kind{Addresses: addresses}, git.Kind{Root: root, SSHConfig: sshConfig},
	), nil
}

// addresses says where webhooks may go, those of blueprints and those of subscriptions.
func (o *options) addresses() (outbound.AddressPolicy, error) {
	policy := outbound.AddressPolicy{Private: o.webhookPrivate}
	for _, network := range o.webhookAllow {
		prefix, err := netip.ParsePrefix(network)
		if err != nil {
			return policy, model.Invalid("--webhook-allow", "%s is not a network such as 10.1.0.0/16", model.Quote(network))
		}
		policy.Allow = append(policy.Allow, prefix)
	}
	return policy, nil
}

// asynqmonRoot is where the dashboard is mounted.
const asynqmonRoot = "/asynqmon"

// queueClient makes clients for asynq's server and dashboard from a Redis URL that has been checked. They take their time while
// Redis is away.
type queueClient string

// MakeRedisClient implements [asynq.RedisConnOpt].
func (url queueClient) MakeRedisClient() any {
	client, err := store.Connect(string(url))
	if err != nil {
		panic(err)
	}
	store.SlowWhenDown(client)
	return client
}

// clientLogger takes what go-redis says by itself. What fails is also an error, and whoever gets that says so; for the rest there is
// --log-level debug.
type clientLogger struct{ log *slog.Logger }

// Printf implements go-redis's logger.
func (l clientLogger) Printf(ctx context.Context, format string, args ...any) {
	l.log.DebugContext(ctx, fmt.Sprintf(format, args...))
}

// service is what every process is made of: a client of the data Redis and the store on it.
type service struct {
	opts  *options
	log   *slog.Logger
	rdb   redis.UniversalClient
	store *store.Store
	tasks *tasks.Client
	kinds *blueprints.Registry
	prom  *prometheus.Registry
	// addresses says where webhooks may go.
	addresses outbound.AddressPolicy
	stats     *metrics.Metrics
	// tracer is nil when nobody traces.
	tracer *tracing.Tracer
	// closers run last to first.
	closers []func()
}

func newService(opts *options) (*service, error) {
	if err := opts.check(); err != nil {
		return nil, err
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	level, err := store.ParseDurability(opts.durability)
	if err != nil {
		return nil, err
	}
	known, err := kinds(opts)
	if err != nil {
		return nil, err
	}
	rdb, err := store.Connect(opts.redis)
	if err != nil {
		return nil, err
	}
	addresses, err := opts.addresses()
	if err != nil {
		return nil, err
	}
	log := opts.logger()
	redis.SetLogger(clientLogger{log.With("component", "go-redis")})
	s := &service{opts: opts, log: log, rdb: rdb, kinds: known, prom: prometheus.NewRegistry(), addresses: addresses}
	s.prom.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if err := s.startTracing(); err != nil {
		_ = rdb.Close()
		return nil, err
	}
	s.stats = metrics.New(s.prom)
	store.CountTrips(rdb)
	store.Gather(rdb)
	s.store = store.New(rdb, store.Config{Visibility: opts.lockTTL + time.Second, Durability: level, EventsKept: opts.eventsKept, Logger: log, Observer: s.stats})
	s.prom.MustRegister(metrics.NewCollector(metrics.CollectorConfig{
		Store: s.store, Queue: tasks.NewInspector(asynq.NewInspectorFromRedisClient(rdb)), Namespaces: opts.namespaces, Log: log,
	}), buildInfo())
	s.tasks = tasks.NewRenewingClient(func() *asynq.Client { return asynq.NewClientFromRedisClient(rdb) }, opts.taskRetention)
	s.onClose(func() { _ = rdb.Close() })
	s.onClose(s.store.Close)
	return s, nil
}

// gcPercent lets the heap grow to five times what is in use before it is collected, where GOGC does not say otherwise. What is in use are a
// few megabytes; at Go's own 100, a busy worker spends a tenth of its time on collecting them over and over.
const gcPercent = 400

// startTracing exports traces if there is somebody who takes them.
func (s *service) startTracing() error {
	if s.opts.otlpEndpoint == "" {
		return nil
	}
	tracer, stop, err := tracing.Export(context.Background(), tracing.ExportConfig{
		Endpoint: s.opts.otlpEndpoint, Version: version, Instance: workerName(), Log: s.log,
	})
	if err != nil {
		return model.Invalid("--otlp-endpoint", "%s", err)
	}
	s.tracer = tracer
	s.onClose(func() {
		ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
		defer cancel()
		if err := stop(ctx); err != nil {
			s.log.Warn("could not send the last traces", "error", err)
		}
	})
	return nil
}

// flushTimeout bounds how long the end of a process waits for the collector.
const flushTimeout = 3 * time.Second

// buildInfo is a gauge that names the version.
func buildInfo() prometheus.Collector {
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "drydock_build_info", Help: "Always 1; the label says which version runs.", ConstLabels: prometheus.Labels{"version": version},
	})
	info.Set(1)
	return info
}

func (s *service) onClose(fn func()) { s.closers = append(s.closers, fn) }

func (s *service) close() {
	for _, fn := range slices.Backward(s.closers) {
		fn()
	}
	s.closers = nil
}

// declare stores blueprints, and returns those whose Redis is away: of a Cluster, that may be the part of one namespace.
func (s *service) declare(ctx context.Context, bps []*model.Blueprint) (left []*model.Blueprint, err error) {
	for _, bp := range bps {
		_, created, wake, putErr := s.store.PutBlueprint(ctx, bp, model.Condition{})
		if putErr != nil {
			err = fmt.Errorf("declare blueprint %s: %w", bp.Name, putErr)
			if model.KindOf(err) != model.ErrorUnavailable {
				return nil, err
			}
			left = append(left, bp)
			continue
		}
		s.log.Info("blueprint declared", "object", model.BlueprintRef(bp.Namespace, bp.Name).String(), "kind", bp.Kind, "type", bp.Type, "new", created)
		if err := s.tasks.Enqueue(ctx, wake...); err != nil {
			s.log.Warn("could not enqueue updates; the sweeper will", "error", err)
		}
	}
	return left, err
}

// startAPI serves the API until ctx ends, then drains. The returned function waits for that.
func (s *service) startAPI(ctx context.Context, ln net.Listener, door *access, errs chan<- error) (wait func()) {
	dashboard := asynqmon.Handler(queueClient(s.opts.redis), asynqmonRoot, false)
	s.onClose(func() { _ = dashboard.Close() })
	cfg := api.Config{
		Store: s.store, Tasks: s.tasks, Kinds: s.kinds, Registry: s.prom, Log: s.log, Addresses: s.addresses,
		Asynqmon: dashboard, AsynqmonRoot: asynqmonRoot, Tracer: s.tracer,
	}
	door.configure(&cfg, &s.opts.access)
	server := api.New(cfg)
	web := server.HTTPServer()
	web.Handler = console.New(console.Config{API: server, AsynqmonRoot: asynqmonRoot, Auth: door.auth, Redirect: door.login, Status: s.status, Log: s.log})
	web.TLSConfig = door.tls
	waitDoor, waitWeb := door.start(ctx, s.log), serve(ctx, web, ln, errs, func() { s.drain(server, ln) })
	return func() {
		waitWeb()
		waitDoor()
	}
}

// status is how the whole is, for the console.
func (s *service) status(ctx context.Context, namespace string) (console.Status, error) {
	sizes, err := s.store.Sizes(ctx, namespace)
	if err != nil {
		return console.Status{}, err
	}
	workers, err := asynq.NewInspectorFromRedisClient(s.rdb).Servers()
	if err != nil {
		return console.Status{}, model.Unavailable(err)
	}
	out := console.Status{Workers: len(workers), Overdue: sizes.Overdue}
	if out.Oldest, err = s.store.OldestCommand(ctx, namespace); err != nil {
		return out, err
	}
	now := time.Now()
	samples, err := s.store.Usage(ctx, namespace, now.Add(-console.UsageSpan))
	for _, sample := range samples {
		out.Usage = append(out.Usage, console.Sample(sample))
	}
	out.Usage = append(out.Usage, console.Sample{
		At: now, Leased: int(sizes.Leases[model.LeaseAcquired] + sizes.Leases[model.LeaseActive]), Waiting: int(sizes.Leases[model.LeasePending]),
	})
	return out, err
}

// drain tells balancers to send no more and gives them time to hear it. Where only this host can connect, nobody is waited for, unless the
// delay was asked for.
func (s *service) drain(server *api.Server, ln net.Listener) {
	server.Drain()
	delay := s.opts.drainDelay
	if tcp, ok := ln.Addr().(*net.TCPAddr); ok && tcp.IP.IsLoopback() && !s.opts.drainDelaySet {
		delay = 0
	}
	if delay > 0 {
		s.log.Info("not ready any more; still serving", "for", delay)
		time.Sleep(delay)
	}
}

// newLocker returns what takes the object locks. It speaks to no server yet, and finds what is wrong with the flags.
func (s *service) newLocker() (*locks.Locker, error) {
	nodes, err := s.lockNodes()
	if err != nil {
		return nil, err
	}
	locker, err := locks.New(nodes, locks.Config{
		TTL: s.opts.lockTTL, Logger: s.log, Attr: lockAttr,
		ExtendDone: func(_ time.Duration, err error) { s.stats.LockExtended(err) },
		Lost:       func(string, error) { s.stats.LockLost() },
		Clocks:     testClocks(),
	})
	if err != nil {
		return nil, model.Invalid("--lock-redis", "%s", err)
	}
	return locker, nil
}

// lockAttr names the object of a lock in a log line, as all other lines do.
func lockAttr(key string) slog.Attr {
	ref, err := store.ParseLockKey(key)
	if err != nil {
		return slog.String("key", key)
	}
	return slog.String("object", ref.String())
}

// startWorker takes update tasks until ctx ends, then lets the running ones finish. The returned function waits for that.
func (s *service) startWorker(ctx context.Context, locker *locks.Locker) (wait func(), err error) {
	updater := handlers.NewUpdater(s.store, locker, s.tasks, s.kinds, handlers.Config{
		Worker: workerName(), Namespaces: s.opts.namespaces, Logger: s.log, DestroyGrace: s.opts.destroyGrace, ReclaimGrace: s.opts.reclaimGrace,
		Metrics: s.stats, Tracer: s.tracer,
	})
	server := handlers.NewServer(queueClient(s.opts.redis), updater, handlers.ServerConfig{
		Concurrency: s.opts.concurrency, DispatchInterval: s.opts.dispatchInterval, ShutdownTimeout: s.opts.shutdownTimeout, Logger: s.log,
	})
	sweeper := handlers.NewSweeper(s.store, s.tasks, handlers.SweeperConfig{Namespaces: s.opts.namespaces, Logger: s.log})
	deliverer := deliver.New(s.store, locker, deliver.Config{
		Addresses: s.addresses, Namespaces: s.opts.namespaces, Metrics: s.stats, Logger: s.log,
	})
	if err := server.Start(); err != nil {
		return nil, err
	}
	var wg sync.WaitGroup
	wg.Go(func() { deliverer.Run(ctx) })
	wg.Go(func() { sweeper.Run(ctx) })
	if s.opts.retention > 0 {
		janitor := handlers.NewJanitor(s.store, handlers.JanitorConfig{
			Retention: s.opts.retention, Namespaces: s.opts.namespaces, Logger: s.log,
		})
		wg.Go(func() { janitor.Run(ctx) })
	}
	wg.Go(func() {
		<-ctx.Done()
		server.Stop()
	})
	return wg.Wait, nil
}

// lockNodes are the servers that hold the object locks: the independent ones if there are any, otherwise the data Redis.
func (s *service) lockNodes() (nodes []redis.UniversalClient, err error) {
	add := func(node redis.UniversalClient) {
		store.CountTrips(node)
		store.Gather(node)
		s.onClose(func() { _ = node.Close() })
		nodes = append(nodes, node)
	}
	for _, url := range s.opts.lockRedis {
		opts, err := locks.NodeOptions(url)
		if err != nil {
			return nil, model.Invalid("--lock-redis", "%s", err)
		}
		add(redis.NewClient(opts))
	}
	if len(nodes) == 0 {
		node, err := store.ConnectForLocks(s.opts.redis)
		if err != nil {
			return nil, err
		}
		add(node)
	}
	return nodes, nil
}

// startProbe serves a worker's own /healthz, /readyz and /metrics.
func (s *service) startProbe(ctx context.Context, ln net.Listener, errs chan<- error) (wait func()) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
		defer cancel()
		if err := s.store.Ping(ctx); err != nil {
			http.Error(w, "Redis cannot be reached", http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.prom, promhttp.HandlerOpts{}))
	web := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second}
	return serve(ctx, web, ln, errs, func() {})
}

// drainTimeout bounds how long open requests may take on shutdown.
const drainTimeout = 15 * time.Second

// serve serves until ctx ends; then it says so by drain, takes no more requests and lets the open ones finish.
func serve(ctx context.Context, web *http.Server, ln net.Listener, errs chan<- error, drain func()) (wait func()) {
	var wg sync.WaitGroup
	wg.Go(func() {
		run := func() error { return web.Serve(ln) }
		if web.TLSConfig != nil {
			run = func() error { return web.ServeTLS(ln, "", "") }
		}
		if err := run(); !errors.Is(err, http.ErrServerClosed) {
			errs <- fmt.Errorf("serve %s: %w", ln.Addr(), err)
		}
	})
	wg.Go(func() {
		<-ctx.Done()
		drain()
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
		defer cancel()
		if err := web.Shutdown(bounded); err != nil {
			_ = web.Close()
		}
	})
	return wg.Wait
}

func listen(ctx context.Context, addr string) (net.Listener, error) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, model.Invalid("--listen", "cannot listen on %s: %s", addr, err)
	}
	return ln, nil
}

// waitForRedis does what needs Redis, again and again until Redis can. A server that is just starting up must not make the service crash,
// nor one of a Cluster that is away.
func (s *service) waitForRedis(ctx context.Context, do func(context.Context) error) error {
	said := false
	for {
		err := do(ctx)
		if err == nil {
			return nil
		}
		if model.KindOf(err) != model.ErrorUnavailable {
			return err
		}
		if !said {
			s.log.Warn("waiting for Redis", "redis", store.Redact(s.opts.redis), "error", err)
			said = true
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(500 * time.Millisecond):
		}
	}
}

package client_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"drydock/api"
	"drydock/api/wire"
	"drydock/blueprints"
	"drydock/blueprints/pool"
	"drydock/client"
	"drydock/embedded/redistest"
	"drydock/handlers"
	"drydock/locks"
	"drydock/store"
	"drydock/tasks"
)

func TestMain(m *testing.M) { redistest.Main(m) }

// patience bounds each wait for what must come; the machine may be busy.
const patience = 30 * time.Second

// drydock is a whole Drydock in this process: the API and a worker on a Redis of its own.
type drydock struct {
	t     testing.TB
	url   string
	http  *http.Client
	redis interface{ Kill() }
}

// connection makes clients for asynq.
type connection string

func (url connection) MakeRedisClient() any {
	client, err := store.Connect(string(url))
	if err != nil {
		panic(err)
	}
	return client
}

func newDrydock(t testing.TB) *drydock {
	t.Helper()
	server := redistest.Start(t)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	log := slog.New(slog.DiscardHandler)
	rdb, err := store.Connect(server.URL())
	must(t, err)
	t.Cleanup(func() { _ = rdb.Close() })
	st := store.New(rdb, store.Config{Logger: log})
	t.Cleanup(st.Close)
	queue := tasks.NewClient(asynq.NewClientFromRedisClient(rdb), 0)
	node, err := store.ConnectForLocks(server.URL())
	must(t, err)
	t.Cleanup(func() { _ = node.Close() })
	locker, err := locks.New([]redis.UniversalClient{node}, locks.Config{Logger: log})
	must(t, err)
	kinds := blueprints.NewRegistry(pool.Kind{})
	updater := handlers.NewUpdater(st, locker, queue, kinds, handlers.Config{Worker: "w1", Logger: log, DestroyGrace: time.Minute})
	worker := handlers.NewServer(connection(server.URL()), updater, handlers.ServerConfig{
		Concurrency: 10, DispatchInterval: 5 * time.Millisecond, ShutdownTimeout: time.Second, Logger: log,
	})
	must(t, worker.Start())
	sweeper := handlers.NewSweeper(st, queue, handlers.SweeperConfig{Logger: log})
	swept := make(chan struct{})
	go func() {
		defer close(swept)
		sweeper.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		worker.Stop()
		<-swept
	})
	web := httptest.NewServer(api.New(api.Config{Store: st, Tasks: queue, Kinds: kinds, Log: log}))
	t.Cleanup(web.Close)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &drydock{t: t, url: web.URL, http: &http.Client{Transport: transport}, redis: server}
}

// client returns a client that is quick to try again.
func (d *drydock) client(cfg client.Config) *client.Client {
	d.t.Helper()
	if cfg.Server == "" {
		cfg.Server = d.url
	}
	if cfg.HTTP == nil {
		cfg.HTTP = d.http
	}
	c, err := client.New(cfg)
	must(d.t, err)
	return c
}

// pool declares a pool of hosts h1, h2, …, each for one lease.
func (d *drydock) pool(c *client.Client, hosts int) {
	d.t.Helper()
	type host struct {
		Name       string            `json:"name"`
		Attributes map[string]string `json:"attributes"`
	}
	list := make([]host, hosts)
	for i := range list {
		list[i] = host{Name: fmt.Sprintf("h%d", i+1), Attributes: map[string]string{"os": "linux"}}
	}
	config, err := json.Marshal(map[string]any{"hosts": list})
	must(d.t, err)
	_, created, err := c.PutBlueprint(d.t.Context(), "lab", wire.NewBlueprint{Kind: "pool", Type: "host", Config: config})
	must(d.t, err)
	if !created {
		d.t.Fatal("the pool was there before")
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// within ends a test's wait for something that must come.
func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

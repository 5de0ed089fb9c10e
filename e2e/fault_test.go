package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"drydock/embedded"
	"drydock/embedded/redistest"
)

// TestWorkersKilledAndStopped: workers are killed, and stopped for longer than their locks last, while others go on. Scenarios 22, 23.
func TestWorkersKilledAndStopped(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	api := startAPI(t, server.URL())
	c := newClient(t, api.url)
	c.pool(10, 0)
	workers := []*process{startWorker(t, server.URL()), startWorker(t, server.URL())}
	watchCapacity(c)
	l := startLoad(c, 12)
	for range 4 {
		l.more(20)
		workers[0].kill()
		workers[0] = launchWorker(t, server.URL())
		l.more(20)
		stopped := workers[1]
		stopped.signal(syscall.SIGSTOP)
		// What it had locked is out of sight for the visibility, then somebody else does it. By then the lock is gone.
		lockGone := time.After(lockTTL * 3 / 2)
		l.more(10)
		<-lockGone
		stopped.signal(syscall.SIGCONT)
		workers[0], workers[1] = workers[1], workers[0]
	}
	l.stop()
	l.check(c, server)
	if n := l.retried.Load(); n > 0 {
		t.Errorf("%d requests had to be sent again, although API and Redis were well", n)
	}
}

// TestAsynqKeysVanish: all that asynq knows is deleted again and again. Scenario 25.
func TestAsynqKeysVanish(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	api := startAPI(t, server.URL())
	c := newClient(t, api.url)
	c.pool(10, 0)
	startWorker(t, server.URL())
	startWorker(t, server.URL())
	l := startLoad(c, 30)
	deleted := 0
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for l.taken.Load() < 120 {
		deleted += server.deleteAll("asynq:*")
		<-tick.C
	}
	l.stop()
	if deleted == 0 {
		t.Error("there was no asynq key to delete")
	}
	t.Logf("%d keys were deleted", deleted)
	l.check(c, server)
}

// TestRedisKilledAndRestarted: Redis dies under load and comes back with its append-only file. Scenarios 26, 34.
func TestRedisKilledAndRestarted(t *testing.T) {
	t.Parallel()
	server := startRedis(t, redistest.AppendOnly("always"))
	api := startAPI(t, server.URL())
	c := newClient(t, api.url)
	c.pool(10, 0)
	probeAddr := fmt.Sprintf("127.0.0.1:%d", redistest.FreePort(t))
	probe := newClient(t, "http://"+probeAddr)
	staying := startWorker(t, server.URL(), "--listen", probeAddr)
	leaving := startWorker(t, server.URL(), "--shutdown-timeout", "1s")
	l := startLoad(c, 8)
	for outage := range 2 {
		l.more(30)
		server.kill()
		checkOutage(t, c, l)
		quietWorker(t, probe)
		if outage == 1 {
			// Without Redis a worker can still be stopped, and started.
			if code, took := leaving.end(syscall.SIGTERM); code != 0 || took > 15*time.Second {
				t.Errorf("SIGTERM ended a worker without Redis with exit code %d after %v, want 0 within its shutdown timeout of 1s", code, took)
			}
			launchWorker(t, server.URL()).says("waiting for Redis")
		}
		const lostIt, hasIt = "sweeper cannot reach Redis", "sweeper reaches Redis again"
		staying.says(lostIt)
		if text := staying.out.String(); strings.Count(text, hasIt) >= strings.Count(text, lostIt) {
			t.Errorf("a worker says %q, and Redis is away", hasIt)
		}
		server.restart()
		for _, s := range []*client{c, probe} {
			eventually(t, func() error { return s.status(t.Context(), "/readyz", http.StatusOK) })
		}
		staying.says("(?s)" + strings.Repeat(hasIt+".*", outage+1))
	}
	l.more(30)
	l.stop()
	l.check(c, server)
	if l.retried.Load() == 0 {
		t.Error("no client met the outage")
	}
}

// TestEverythingStartsBeforeRedis: the order in which things are started does not matter.
func TestEverythingStartsBeforeRedis(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	server.stop()
	file := filepath.Join(t.TempDir(), "blueprints.yaml")
	declaration := "blueprints: [{name: lab, namespace: " + namespaceOf(t) + ", kind: pool, type: host, config: {hosts: [{name: h1}]}}]"
	if err := os.WriteFile(file, []byte(declaration), 0o600); err != nil {
		t.Fatal(err)
	}
	worker := launchWorker(t, server.URL())
	c := newClient(t, startAPI(t, server.URL(), "--blueprints", file).url)
	worker.says("waiting for Redis")
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 503, "/v1/leases": 503} {
		if err := c.status(t.Context(), path, want); err != nil {
			t.Error(err)
		}
	}
	server.restart()
	eventually(t, func() error { return c.status(t.Context(), "/v1/blueprints/lab", http.StatusOK) })
	c.await(c.ask("").ID, "active")
}

// status gets a path and wants a status.
func (c *client) status(ctx context.Context, path string, want int) error {
	a, err := c.do(ctx, http.MethodGet, path, "")
	if err == nil && a.status != want {
		err = fmt.Errorf("GET %s = %d, want %d", path, a.status, want)
	}
	return err
}

// checkOutage checks what the API says while Redis is away.
func checkOutage(t *testing.T, c *client, l *load) {
	t.Helper()
	l.mu.Lock()
	id := l.leases[0].id
	l.mu.Unlock()
	eventually(t, func() error { return c.status(t.Context(), "/readyz", http.StatusServiceUnavailable) })
	if err := c.status(t.Context(), "/healthz", http.StatusOK); err != nil {
		t.Error(err)
	}
	for _, r := range [][3]string{
		{http.MethodGet, "/v1/leases/" + id, ""},
		{http.MethodGet, "/v1/leases/" + id + "?wait=destroyed", ""},
		{http.MethodGet, "/v1/leases", ""},
		{http.MethodGet, "/v1/leases/" + id + "/commands", ""},
		{http.MethodGet, "/v1/blueprints/lab", ""},
		{http.MethodPost, "/v1/leases", `{"type": "host"}`},
		{http.MethodPost, "/v1/leases/" + id + "/release", ""},
		{http.MethodGet, "/readyz", ""},
	} {
		a, err := c.do(t.Context(), r[0], r[1], r[2])
		if err != nil {
			t.Error(err)
			continue
		}
		var p problem
		if err := json.Unmarshal(a.body, &p); err != nil || a.status != http.StatusServiceUnavailable || p.Code != "unavailable" ||
			p.RequestID == "" || a.header.Get("Retry-After") == "" || a.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s %s without Redis = %d %v %s (%v), want 503 with Retry-After and a problem that says unavailable",
				r[0], r[1], a.status, a.header, a.body, err)
		}
	}
}

// quietWorker checks that a worker lives on without Redis, says so, and does not spin.
func quietWorker(t *testing.T, probe *client) {
	t.Helper()
	const long, most = 2 * time.Second, time.Second
	if err := probe.status(t.Context(), "/readyz", http.StatusServiceUnavailable); err != nil {
		t.Errorf("a worker without Redis: %v", err)
	}
	before, over := cpuSeconds(t, probe), time.After(long)
	<-over
	used := cpuSeconds(t, probe) - before
	if used > most.Seconds() {
		t.Errorf("a worker without Redis used %.2f s of CPU in %v", used, long)
	}
	t.Logf("a worker without Redis used %.2f s of CPU in %v", used, long)
	if err := probe.status(t.Context(), "/healthz", http.StatusOK); err != nil {
		t.Errorf("a worker without Redis: %v", err)
	}
}

// cpuSeconds is what a process says it has used.
func cpuSeconds(t *testing.T, probe *client) float64 {
	t.Helper()
	a, err := probe.do(t.Context(), http.MethodGet, "/metrics", "")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(a.body)) {
		if value, ok := strings.CutPrefix(line, "process_cpu_seconds_total "); ok {
			seconds, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatal(err)
			}
			return seconds
		}
	}
	t.Fatalf("the metrics do not say process_cpu_seconds_total:\n%s", a.body)
	return 0
}

// TestAPIKilledBetweenStoreAndEnqueue: the API has stored a command and is about to enqueue the task for it. Scenario 24.
func TestAPIKilledBetweenStoreAndEnqueue(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	startWorker(t, server.URL())
	safe := newClient(t, startAPI(t, server.URL()).url)
	safe.pool(1, 0)
	l := safe.ask("")
	safe.await(l.ID, "active")

	// The doomed API's enqueueing gets no further than the proxy.
	seen, killed := make(chan struct{}), make(chan struct{})
	sawOnce := sync.OnceFunc(func() { close(seen) })
	url := server.behindProxies(func(piece []byte) bool {
		if !bytes.Contains(piece, []byte("asynq:")) {
			return true
		}
		sawOnce()
		<-killed
		return false
	}, nil)
	letGo := sync.OnceFunc(func() { close(killed) })
	t.Cleanup(letGo)
	doomed := startAPI(t, url)
	user := newClient(t, doomed.url)
	eventually(t, func() error { return user.status(t.Context(), "/readyz", http.StatusOK) })

	answered := make(chan error, 1)
	go func() {
		_, err := user.do(t.Context(), http.MethodPost, "/v1/leases/"+l.ID+"/release", "", "Idempotency-Key", "once")
		answered <- err
	}()
	select {
	case <-seen:
	case <-time.After(patience):
		t.Fatal("the API never enqueued a task")
	}
	doomed.kill()
	letGo()
	if err := <-answered; err == nil {
		t.Error("the API answered and was to die first")
	}

	// Nobody sends anything any more, and still it is done.
	safe.await(l.ID, "destroyed")
	again := must[sent](safe, http.MethodPost, "/v1/leases/"+l.ID+"/release", "", http.StatusAccepted, "Idempotency-Key", "once")
	if history := safe.history(l.ID); len(history) != 1 || again.Command == nil || history[0].ID != again.Command.ID ||
		deref(history[0].Outcome) != "applied" {
		t.Errorf("the history is %+v, want the one release %+v, applied", history, again.Command)
	}
	verify(t, server)
}

// TestTasksLostBeforeWorkersStart: ten releases wait, their tasks are gone, and so is the API. Scenarios 1, 24.
func TestTasksLostBeforeWorkersStart(t *testing.T) {
	t.Parallel()
	server := startRedis(t, redistest.AppendOnly("always"))
	api := startAPI(t, server.URL())
	c := newClient(t, api.url)
	c.pool(1, 0)
	wanted, unwanted := c.ask(""), &booking{id: c.ask("").ID}
	for range 10 {
		s := c.release(unwanted.id)
		if !s.Lease.Releasing || s.Command.Outcome != nil {
			t.Errorf("an accepted release = %+v, want the lease releasing and no outcome yet", s)
		}
		unwanted.commands = append(unwanted.commands, s.Command.ID)
	}
	if server.deleteAll("asynq:*") == 0 {
		t.Error("there was no asynq key to delete")
	}
	api.kill()

	startWorker(t, server.URL())
	c = newClient(t, startAPI(t, server.URL()).url)
	c.await(wanted.ID, "active")
	if l := c.await(unwanted.id, "destroyed"); l.ActivatedAt != nil || l.Releasing {
		t.Errorf("the lease was released before anybody looked at it, and is %+v", l)
	}
	for _, p := range unwanted.check(c.history(unwanted.id)) {
		t.Error(p)
	}
	verify(t, server)
}

// TestRepliesOfRedisLost: Redis has done what it was asked, and its reply is lost. Clients of it send again.
func TestRepliesOfRedisLost(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	var mu sync.Mutex
	rng := rand.New(rand.NewPCG(seed, 0))
	lost, calm := 0, false
	url := server.behindProxies(nil, func([]byte) bool {
		mu.Lock()
		defer mu.Unlock()
		if calm || rng.Float64() >= 0.02 {
			return true
		}
		lost++
		return false
	})
	c := newClient(t, startAPI(t, url).url)
	eventually(t, func() error {
		_, err := try[any](t.Context(), c, http.MethodPut, "/v1/blueprints/lab",
			`{"kind": "pool", "type": "host", "config": {"hosts": [{"name": "h1"}, {"name": "h2"}, {"name": "h3"}]}}`, http.StatusCreated)
		return err
	})
	launchWorker(t, url)
	launchWorker(t, url)
	l := startLoad(c, 6)
	l.reach(100)
	l.stop()
	mu.Lock()
	calm = true
	t.Logf("%d replies were lost", lost)
	if lost == 0 {
		t.Error("no reply was lost")
	}
	mu.Unlock()
	l.check(c, server)
}

// TestRepliesOfAPILost: the API has done what it was asked, and its reply is lost. The client sends again. Scenarios 32, 33.
func TestRepliesOfAPILost(t *testing.T) {
	t.Parallel()
	c, _, _ := system(t, 2)
	lossy := func() *client {
		p := startProxy(t, strings.TrimPrefix(c.base, "http://"), nil, func([]byte) bool { return false })
		return newClient(t, "http://"+p.Addr())
	}
	twice := func(path, body, key string) answer {
		t.Helper()
		if a, err := lossy().do(t.Context(), http.MethodPost, path, body, "Idempotency-Key", key); err == nil {
			t.Fatalf("POST %s through a proxy that drops replies = %d", path, a.status)
		}
		a, err := c.do(t.Context(), http.MethodPost, path, body, "Idempotency-Key", key)
		if err != nil || a.status != http.StatusAccepted || a.header.Get("Idempotency-Replayed") != "true" {
			t.Fatalf("POST %s once more = %d %v %s, %v, want 202 and that it was replayed", path, a.status, a.header, a.body, err)
		}
		return a
	}

	l, err := decode[lease](twice("/v1/leases", `{"type": "host", "owner": "alice"}`, "take"))
	if err != nil {
		t.Fatal(err)
	}
	c.await(l.ID, "active")
	list := must[page[lease]](c, http.MethodGet, "/v1/leases?owner=alice", "", http.StatusOK)
	if len(list.Items) != 1 || list.Items[0].ID != l.ID {
		t.Errorf("alice asked twice under one key and has the leases %+v, want only %s", list.Items, l.ID)
	}
	a, err := c.do(t.Context(), http.MethodPost, "/v1/leases", `{"type": "host", "owner": "bob"}`, "Idempotency-Key", "take")
	if err != nil || a.status != http.StatusUnprocessableEntity {
		t.Errorf("another request under the same key = %d %s, %v, want 422", a.status, a.body, err)
	}

	s, err := decode[sent](twice("/v1/leases/"+l.ID+"/release", `{"reason": "done"}`, "give back"))
	if err != nil {
		t.Fatal(err)
	}
	c.await(l.ID, "destroyed")
	if history := c.history(l.ID); s.Command == nil || len(history) != 1 || history[0].ID != s.Command.ID || deref(history[0].Outcome) != "applied" {
		t.Errorf("the history is %+v, want the one release %+v, applied", history, s.Command)
	}
}

// TestLockNodes: the object locks live on three or five servers of their own. With a minority of them down, killed or hung, all goes on at its
// normal pace; with a majority down nothing is updated, until one comes back.
func TestLockNodes(t *testing.T) {
	t.Parallel()
	for _, n := range []int{3, 5} {
		t.Run(fmt.Sprintf("nodes=%d", n), func(t *testing.T) {
			t.Parallel()
			testLockNodes(t, n)
		})
	}
}

func testLockNodes(t *testing.T, n int) {
	server := startRedis(t)
	var args []string
	nodes := make([]*embedded.Server, n)
	for i := range nodes {
		nodes[i] = redistest.Start(t)
		args = append(args, "--lock-redis", nodes[i].URL())
	}
	c := newClient(t, startAPI(t, server.URL()).url)
	c.pool(4, 0)
	workers := []*process{startWorker(t, server.URL(), args...), startWorker(t, server.URL(), args...)}
	const lives = 10
	pace := func(when string) {
		t.Helper()
		begin := time.Now()
		for range lives {
			l := c.ask("")
			c.await(l.ID, "active")
			c.release(l.ID)
			c.await(l.ID, "destroyed")
		}
		took := time.Since(begin)
		t.Logf("%d leases in turn took %v, %s", lives, took.Round(time.Millisecond), when)
		// A single update that waits for a node's time limit, or for the sweeper, takes longer than all of them.
		if most := lives * lockTTL / 4; took > most {
			t.Errorf("%d leases in turn took %v %s, want at most %v", lives, took, when, most)
		}
	}
	held := c.ask("")
	c.await(held.ID, "active")
	pace("with all lock nodes")
	for i := range n / 2 {
		if i == 0 {
			nodes[i].Kill()
			continue
		}
		if err := nodes[i].Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = nodes[i].Signal(syscall.SIGCONT) })
	}
	pace("with a minority of them down")

	back := nodes[n/2]
	back.Kill()
	l := c.ask("")
	c.release(held.ID)
	if l = c.watch(l.ID, "active", 2*lockTTL); l.Status != "pending" {
		t.Errorf("with a majority of the lock nodes down the lease is %s, want it to stay pending", l.Status)
	}
	if got := c.lease(held.ID); got.Status != "active" || !got.Releasing {
		t.Errorf("with a majority of the lock nodes down the released lease is %+v, want it active and releasing", got)
	}
	eventually(t, func() error {
		for _, w := range workers {
			if strings.Contains(w.out.String(), "lock is unavailable") {
				return nil
			}
		}
		return errors.New("no worker says that it gets no lock")
	})
	if err := back.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.await(l.ID, "active")
	c.await(held.ID, "destroyed")
	c.release(l.ID)
	c.await(l.ID, "destroyed")
	if history := c.history(held.ID); len(history) != 1 || deref(history[0].Outcome) != "applied" {
		t.Errorf("the history is %+v, want the one release, applied", history)
	}
	pace("with a majority again")
	verify(t, server)
}

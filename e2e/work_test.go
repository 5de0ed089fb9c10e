package e2e_test

import (
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMoreWorkersShareTheWork: starting a worker is all that it takes.
func TestMoreWorkersShareTheWork(t *testing.T) {
	t.Parallel()
	c, rdb, first := system(t, 6)
	url := rdb.URL()
	workers := []*process{first, startWorker(t, url), startWorker(t, url)}
	l := startLoad(c, 6)
	l.reach(60)
	l.stop()
	did := l.check(c, rdb)
	for _, w := range workers {
		share := 0
		for name, n := range did {
			if strings.HasSuffix(name, fmt.Sprintf(":%d", w.pid())) {
				share += n
			}
		}
		if share == 0 {
			t.Errorf("%s consumed no command; all of them: %v", w, did)
		}
	}
}

// TestCleanShutdown: SIGTERM lets a worker finish what it does, and the API what it was asked.
func TestCleanShutdown(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	api := startAPI(t, server.URL())
	c := newClient(t, api.url)
	c.pool(10, 0)
	const timeout = 5 * time.Second
	leaving := startWorker(t, server.URL(), "--shutdown-timeout", timeout.String())
	startWorker(t, server.URL())
	l := startLoad(c, 8)
	l.more(30)
	code, took := leaving.end(syscall.SIGTERM)
	// Twice the timeout, because the machine may be busy.
	if code != 0 || took > 2*timeout {
		t.Errorf("SIGTERM ended the worker with exit code %d after %v, want 0 within %v", code, took, timeout)
	}
	t.Logf("the worker stopped in %v", took)
	l.more(30)
	l.stop()
	l.check(c, server)

	held := c.ask("")
	c.await(held.ID, "active")
	type read struct {
		lease
		error
	}
	reads := make(chan read)
	for range 3 {
		go func() {
			l, err := try[lease](t.Context(), c, http.MethodGet, "/v1/leases/"+held.ID+"?wait=destroyed&timeout=5m", "", http.StatusOK)
			reads <- read{l, err}
		}()
	}
	eventually(t, func() error {
		a, err := c.do(t.Context(), http.MethodGet, "/metrics", "")
		if err == nil && !strings.Contains(string(a.body), "\ndrydock_api_waiting_reads 3\n") {
			err = fmt.Errorf("the metrics do not show three waiting reads:\n%s", a.body)
		}
		return err
	})
	code, took = api.end(syscall.SIGTERM)
	if code != 0 {
		t.Errorf("SIGTERM ended the API with exit code %d, want 0", code)
	}
	t.Logf("the API stopped in %v", took)
	for range 3 {
		if r := <-reads; r.error != nil || r.Status != "active" {
			t.Errorf("a read that waited when the API was stopped = %+v, want the lease as it is, active", r)
		}
	}
}

// TestWaitersServedInOrder: five leases, a limit of two. Scenarios 12, 20, 21.
func TestWaitersServedInOrder(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	// With the default lock TTL the net under a lost wake-up takes 11 s; who is served sooner was woken.
	const soon = 5 * time.Second
	api := start(t, nil, "api", "--redis", server.URL(), "--listen", "127.0.0.1:0")
	c := newClient(t, api.says(`serving the API" url=(http://\S+)`)[1])
	c.pool(5, 2)
	start(t, nil, "worker", "--redis", server.URL()).says("worker is running")

	atMostTwo := func() {
		t.Helper()
		list := must[page[resource]](c, http.MethodGet, "/v1/resources?limit=500", "", http.StatusOK)
		live := 0
		for _, r := range list.Items {
			if r.Status != "destroyed" {
				live++
			}
		}
		if live > 2 {
			t.Errorf("there are %d resources, the limit is 2: %+v", live, list.Items)
		}
	}
	ids := make([]string, 5)
	for i := range ids {
		ids[i] = c.ask("").ID
		atMostTwo()
	}
	c.await(ids[0], "active")
	c.await(ids[1], "active")
	for i := range ids {
		queue := ids[min(i+2, len(ids)):]
		for k, id := range queue {
			l := c.lease(id)
			if l.Status != "pending" || l.Waiting == nil || l.Waiting.Position != k+1 {
				t.Errorf("with %d leases given back, the next but %d is %s and waits as %+v, want it pending at position %d",
					i, k, l.Status, l.Waiting, k+1)
			}
		}
		atMostTwo()
		c.release(ids[i])
		begin := time.Now()
		if len(queue) > 0 {
			c.await(queue[0], "active")
			if took := time.Since(begin); took > soon {
				t.Errorf("the next lease became active after %v, want less than %v: it was not woken", took, soon)
			}
		}
		c.await(ids[i], "destroyed")
	}
	verify(t, server)
}

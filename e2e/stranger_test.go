package e2e_test

import (
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// startDev starts drydock dev and reads from its greeting where it is.
func startDev(t *testing.T, env []string, listen, data string) (p *process, redisURL string) {
	t.Helper()
	p = start(t, env, "dev", "--listen", listen, "--data", data)
	p.url = p.says(`API +(http://\S+)/v1 `)[1]
	redisURL = p.says(`Redis +.*(redis://\d+\.\d+\.\d+\.\d+:\d+/0)`)[1]
	p.says(`Try:\n(.*\n)+\n`)
	return p, redisURL
}

// TestStranger is the first session of somebody who has just cloned the repository. Scenario 1.
func TestStranger(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	dev, redisURL := startDev(t, nil, "127.0.0.1:0", data)
	addr := strings.TrimPrefix(dev.url, "http://")
	c := newClient(t, dev.url)
	for _, path := range []string{"/", "/healthz", "/readyz", "/metrics", "/openapi.json", "/asynqmon/"} {
		if a, err := c.do(t.Context(), http.MethodGet, path, ""); err != nil || a.status != http.StatusOK {
			t.Errorf("GET %s = %d, %v, want 200", path, a.status, err)
		}
	}

	kept := c.ask(`, "owner": "me"`)
	released := c.ask(`, "owner": "me"`)
	c.await(kept.ID, "active")
	c.await(released.ID, "active")
	releaseTenTimesAtOnce(t, c, released.ID)
	history := c.history(released.ID)

	pid := redisPID(t, redisURL)
	code, took := dev.end(syscall.SIGINT)
	if code != 0 {
		t.Errorf("Ctrl-C ended it with exit code %d, want 0", code)
	}
	t.Logf("it stopped in %v", took)
	if err := syscall.Kill(pid, 0); err != syscall.ESRCH {
		t.Errorf("its redis-server, process %d, is still there (%v)", pid, err)
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatalf("its port is not free: %v", err)
	}
	_ = ln.Close()

	// The same folder, the same port, the same data.
	dev, _ = startDev(t, nil, addr, data)
	if l := c.lease(kept.ID); l.Status != "active" || deref(l.Owner) != "me" {
		t.Errorf("after a restart the lease is %+v, want it active and mine", l)
	}
	if got := c.history(released.ID); len(got) != len(history) {
		t.Errorf("after a restart the history has %d commands, want %d", len(got), len(history))
	}
	c.release(kept.ID)
	c.await(kept.ID, "destroyed")
	if code, _ := dev.end(syscall.SIGINT); code != 0 {
		t.Errorf("Ctrl-C ended it with exit code %d, want 0", code)
	}
}

// TestStrangerWithoutRedis is the same on a machine that has no redis-server.
func TestStrangerWithoutRedis(t *testing.T) {
	t.Parallel()
	env := []string{"PATH=", "DRYDOCK_REDIS_SERVER=" + t.TempDir() + "/none"}
	dev, _ := startDev(t, env, "127.0.0.1:0", t.TempDir())
	dev.says(`WARNING: DRYDOCK_REDIS_SERVER is ".*/none", which is no program that can be run, so everything is forgotten`)
	c := newClient(t, dev.url)
	l := c.ask("")
	c.await(l.ID, "active")
	releaseTenTimesAtOnce(t, c, l.ID)
	if code, _ := dev.end(syscall.SIGINT); code != 0 {
		t.Errorf("Ctrl-C ended it with exit code %d, want 0", code)
	}
}

// releaseTenTimesAtOnce releases an active lease from four places. A release that comes after the lease is gone is answered 200
// without a command; all others must be in the history, one of them applied.
func releaseTenTimesAtOnce(t *testing.T, c *client, id string) {
	t.Helper()
	b := &booking{id: id}
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			author := fmt.Sprintf("shell-%d", i%4)
			a, err := c.do(t.Context(), http.MethodPost, "/v1/leases/"+id+"/release", `{"reason": "done"}`,
				"Drydock-Author", author, "User-Agent", "curl/8")
			if err != nil {
				t.Error(err)
				return
			}
			s, err := decode[sent](a)
			switch {
			case err != nil:
				t.Error(err)
			case a.status == http.StatusAccepted && s.Command != nil:
				b.mu.Lock()
				b.commands = append(b.commands, s.Command.ID)
				b.mu.Unlock()
				if s.Command.Author != author || deref(s.Command.Origin.UserAgent) != "curl/8" {
					t.Errorf("the command says it is from %q by %+v", s.Command.Author, s.Command.Origin)
				}
			case a.status != http.StatusOK || s.Command != nil:
				t.Errorf("release = %d: %s", a.status, a.body)
			}
		})
	}
	wg.Wait()
	if l := c.await(id, "destroyed"); l.Releasing {
		t.Error("the lease is destroyed and still says that it is releasing")
	}
	for _, p := range b.check(c.history(id)) {
		t.Error(p)
	}
}

// redisPID asks a Redis for its process id.
func redisPID(t *testing.T, url string) int {
	t.Helper()
	opts, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(opts)
	defer rdb.Close()
	info, err := rdb.InfoMap(t.Context(), "server").Result()
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(info["Server"]["process_id"])
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// TestExpiry: Drydock releases a lease itself when its end has passed.
func TestExpiry(t *testing.T) {
	t.Parallel()
	c, _, worker := system(t, 4)

	gone := c.ask(`, "ttl": "1s"`)
	kept := c.ask(`, "ttl": "5s"`)
	late := c.ask(`, "ttl": "5s"`)
	c.await(kept.ID, "active")
	c.await(late.ID, "active")
	extend := func(id string) sent {
		t.Helper()
		return must[sent](c, http.MethodPost, "/v1/leases/"+id+"/commands", `{"command": "extend", "args": {"ttl": "1h"}}`,
			http.StatusAccepted)
	}
	extend(kept.ID)

	c.await(gone.ID, "destroyed")
	history := c.history(gone.ID)
	if len(history) != 1 || history[0].Command != "release" || history[0].Author != "drydock" ||
		history[0].Origin.Via != "worker" || deref(history[0].Outcome) != "applied" || history[0].Reason == nil {
		t.Errorf("the history of an expired lease is %+v, want one release by drydock via worker, applied, with a reason", history)
	}
	a, err := c.do(t.Context(), http.MethodPost, "/v1/leases/"+gone.ID+"/commands", `{"command": "extend", "args": {"ttl": "1h"}}`)
	if err != nil || a.status != http.StatusConflict {
		t.Errorf("extending a destroyed lease = %d %s, %v, want 409", a.status, a.body, err)
	}

	// Nobody looks at this one until its end has passed; the extension that came in between came too late.
	worker.signal(syscall.SIGSTOP)
	l := c.watch(late.ID, "released", time.Until(*c.lease(late.ID).Until)+100*time.Millisecond)
	if l.Status != "active" {
		t.Fatalf("the lease is %s while the only worker is stopped, want active", l.Status)
	}
	extend(late.ID)
	worker.signal(syscall.SIGCONT)
	c.await(late.ID, "destroyed")
	history = c.history(late.ID)
	if len(history) != 2 || history[0].Command != "extend" || deref(history[0].Outcome) != "refused" ||
		history[1].Author != "drydock" || deref(history[1].Outcome) != "applied" {
		t.Errorf("the history of a lease that was extended too late is %+v, want the extension refused, the release applied", history)
	}

	// By now the first end of the extended one has passed too.
	if l := c.watch(kept.ID, "released", time.Until(*kept.Until)+500*time.Millisecond); l.Status != "active" || !l.Until.After(*kept.Until) {
		t.Errorf("the extended lease is %+v, want it active with a later end", l)
	}
}

//go:build upgrade

package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"drydock/embedded/redistest"
)

// startOld runs the old version with these arguments. scripts/upgrade-test.sh builds it.
func startOld(t *testing.T, args ...string) *process {
	t.Helper()
	old := os.Getenv("DRYDOCK_OLD_BINARY")
	if _, err := os.Stat(old); err != nil {
		t.Fatalf("DRYDOCK_OLD_BINARY must name the drydock of the old version (%v); `make upgrade FROM=<commit>` builds it and runs this test", err)
	}
	p := startWith(t, func(cmd *exec.Cmd) { cmd.Path, cmd.Args[0] = old, old }, nil, args...)
	p.name = "old " + p.name
	return p
}

// TestUpgrade: API and workers of the old version are replaced by those of this one, one by one, under load. In between, all four of them serve.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	rdb := startRedis(t, redistest.AppendOnly("everysec"))
	url := rdb.URL()
	oldAPI := startOld(t, "api", "--redis", url, "--listen", "127.0.0.1:0", "--lock-ttl", lockTTL.String())
	before := newClient(t, oldAPI.says(`serving the API" url=(http://\S+)`)[1])
	oldWorker := startOld(t, "worker", "--redis", url, "--lock-ttl", lockTTL.String())
	oldWorker.says("worker is running")
	before.pool(10, 0)
	watchCapacity(before)
	held := before.ask("")
	before.await(held.ID, "active")
	oldLoad := startLoad(before, 4)
	oldLoad.more(40)

	newWorker := startWorker(t, url)
	newAPI := startAPI(t, url)
	after := newClient(t, newAPI.url)
	newLoad := startLoad(after, 4)
	oldLoad.more(80)
	newLoad.more(80)

	if code, took := oldWorker.end(syscall.SIGTERM); code != 0 {
		t.Errorf("SIGTERM ended the old worker with exit code %d after %v, want 0", code, took)
	}
	second := startWorker(t, url)
	oldLoad.more(20)
	newLoad.more(20)
	oldLoad.stop()
	if code, took := oldAPI.end(syscall.SIGTERM); code != 0 {
		t.Errorf("SIGTERM ended the old API with exit code %d after %v, want 0", code, took)
	}
	newLoad.more(20)
	newLoad.stop()

	did := map[string]int{}
	for _, l := range []*load{oldLoad, newLoad} {
		for worker, n := range l.check(after, rdb) {
			did[worker[strings.LastIndex(worker, ":")+1:]] += n
		}
		if n := l.retried.Load(); n > 0 {
			t.Errorf("%d requests had to be sent again", n)
		}
	}
	for _, p := range []*process{oldWorker, newWorker, second} {
		if did[fmt.Sprint(p.pid())] == 0 {
			t.Errorf("%s consumed no command; all of them: %v", p, did)
		}
	}
	if l := after.lease(held.ID); l.Status != "active" {
		t.Errorf("a lease that was active through all of it is %s", l.Status)
	}
	after.release(held.ID)
	after.await(held.ID, "destroyed")
	for _, p := range []*process{oldAPI, oldWorker, newAPI, newWorker, second} {
		for line := range strings.Lines(p.out.String()) {
			if strings.Contains(line, "level=WARN") || strings.Contains(line, "level=ERROR") {
				t.Errorf("%s says %s", p, line)
			}
		}
	}
	doctor(t, url).ends(t, 0, `asynq: 2 workers`, `ok +namespace `+namespaceOf(t))
}

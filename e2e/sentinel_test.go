package e2e_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"drydock/embedded/redistest"
)

// TestSentinelFailover: the primary dies under load, in step with its replica, and the Sentinels promote that. What users and operators see
// meanwhile: reads go on, orders cannot be promised, and both end without anybody's doing. What a failover may lose, and what it may
// not, is checked by the histories of proof/torture. Scenario 26.
func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	w := redistest.StartWatched(t, time.Second)
	api := startAPI(t, w.URL(), "--durability", "replicas:1")
	c := newClient(t, api.url)
	c.pool(10, 0)
	startWorker(t, w.URL())
	startWorker(t, w.URL())
	watchCapacity(c)
	l := startLoad(c, 8)
	l.more(40)

	begin := time.Now()
	w.Primary.Kill()
	eventually(t, func() error {
		addr, err := w.PrimaryAddr(t.Context())
		if err == nil && addr != w.Replica.Addr() {
			err = fmt.Errorf("the Sentinels take %s for the primary, want the replica, %s", addr, w.Replica.Addr())
		}
		return err
	})
	t.Logf("the Sentinels promoted the replica after %v", time.Since(begin).Round(10*time.Millisecond))
	// The new primary has no replica. What is read is read; what is written cannot be promised.
	eventually(t, func() error { return c.status(t.Context(), "/readyz", http.StatusOK) })
	api.says("did not reach durability level replicas:1 in time: its outcome is unknown")
	if err := w.Primary.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	begin = time.Now()
	l.more(40)
	t.Logf("40 leases were taken within %v", time.Since(begin).Round(10*time.Millisecond))
	l.stop()
	if l.retried.Load() == 0 {
		t.Error("no client met the failover")
	}
	l.check(c, redistest.Client(t, w.Replica))
	doctor(t, w.URL()).ends(t, 0, `redis `+w.Replica.Addr(), `asynq: 2 workers`, `ok +namespace default`)
}

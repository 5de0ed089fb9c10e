package e2e_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"drydock/embedded/redistest"
)

// watchedSystem is a primary, a replica and three Sentinels, with an API and two workers on them and clients that load them.
type watchedSystem struct {
	*redistest.Watched
	api *process
	c   *client
	l   *load
}

func startWatched(t *testing.T, durability string) *watchedSystem {
	t.Helper()
	w := redistest.StartWatched(t, 500*time.Millisecond)
	api := startAPI(t, w.URL(), "--durability", durability)
	c := newClient(t, api.url)
	c.pool(10, 0)
	startWorker(t, w.URL())
	startWorker(t, w.URL())
	watchCapacity(c)
	s := &watchedSystem{Watched: w, api: api, c: c, l: startLoad(c, 8)}
	s.l.forgetful.Store(durability == "memory")
	return s
}

// failOver kills the primary, waits until the Sentinels have promoted the replica, and returns a client of that.
func (s *watchedSystem) failOver(t *testing.T) *redis.Client {
	t.Helper()
	begin := time.Now()
	s.Primary.Kill()
	eventually(t, func() error {
		addr, err := s.PrimaryAddr(t.Context())
		if err == nil && addr != s.Replica.Addr() {
			err = fmt.Errorf("the Sentinels take %s for the primary, want the replica, %s", addr, s.Replica.Addr())
		}
		return err
	})
	t.Logf("the Sentinels promoted the replica after %v", time.Since(begin).Round(10*time.Millisecond))
	return redistest.Client(t, s.Replica)
}

// goesOn checks that leases are taken and given back again, without anybody's doing.
func (s *watchedSystem) goesOn(t *testing.T) {
	t.Helper()
	begin := time.Now()
	s.l.more(40)
	t.Logf("40 leases were taken within %v", time.Since(begin).Round(10*time.Millisecond))
	s.l.stop()
	if s.l.retried.Load() == 0 {
		t.Error("no client met the failover")
	}
}

// TestSentinelFailover: the primary dies under load, in sync with its replica or cut off from it, and the Sentinels promote the replica.
// With --durability replicas:1, nothing that was accepted is lost. With memory it may be; what is left is sound. Scenario 26.
func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	const notSafe = "did not reach durability level replicas:1 in time: its outcome is unknown"
	for _, cutOff := range []bool{false, true} {
		name := map[bool]string{false: "in sync", true: "cut off"}[cutOff]
		t.Run("replicas:1, "+name, func(t *testing.T) {
			t.Parallel()
			s := startWatched(t, "replicas:1")
			s.l.more(40)
			if cutOff {
				s.CutOff(t)
				s.api.says(notSafe)
			}
			rdb := s.failOver(t)
			// The new primary has no replica. What is read is read; what is written cannot be promised.
			eventually(t, func() error { return s.c.status(t.Context(), "/readyz", http.StatusOK) })
			s.api.says(notSafe)
			if err := s.Primary.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			s.goesOn(t)
			s.l.check(s.c, rdb)
			s.wantSound(t)
		})
		t.Run("memory, "+name, func(t *testing.T) {
			t.Parallel()
			s := startWatched(t, "memory")
			s.l.more(40)
			if cutOff {
				s.CutOff(t)
				s.l.more(10)
			}
			rdb := s.failOver(t)
			s.goesOn(t)
			if lost := s.checkLossy(t); cutOff && lost == 0 {
				t.Error("nothing was lost, although the replica was cut off: this test shows nothing")
			}
			verify(t, rdb)
			s.wantSound(t)
		})
	}
}

// wantSound has the doctor look at the new primary.
func (s *watchedSystem) wantSound(t *testing.T) {
	t.Helper()
	doctor(t, s.URL()).ends(t, 0, `redis `+s.Replica.Addr(), `asynq: 2 workers`, `ok +namespace default`)
}

// checkLossy counts what the failover has lost, and checks that what is left was done once, and that nothing is stuck.
func (s *watchedSystem) checkLossy(t *testing.T) (commands int) {
	t.Helper()
	leases, accepted := 0, 0
	var ended []lease
	for _, b := range s.l.leases {
		accepted += len(b.commands)
		a, err := s.c.do(t.Context(), http.MethodGet, "/v1/leases/"+b.id, "")
		if err != nil {
			t.Fatal(err)
		}
		if a.status == http.StatusNotFound {
			leases, commands = leases+1, commands+len(b.commands)
			continue
		}
		// One of which every release was lost is there as if nobody had sent any.
		if a, err = s.c.do(t.Context(), http.MethodPost, "/v1/leases/"+b.id+"/release", ""); err != nil {
			t.Fatal(err)
		}
		again, err := decode[sent](a)
		if err != nil {
			t.Fatal(err)
		}
		ended = append(ended, s.c.await(b.id, "destroyed"))
		seen := map[string]int{}
		for _, cmd := range s.c.history(b.id) {
			if seen[cmd.ID]++; seen[cmd.ID] > 1 {
				t.Errorf("command %s of lease %s was consumed twice", cmd.ID, b.id)
			}
			if o := deref(cmd.Outcome); o != "applied" && o != "superseded" {
				t.Errorf("release %s of lease %s is %q (%s)", cmd.ID, b.id, o, deref(cmd.Detail))
			}
		}
		for _, id := range b.commands {
			if seen[id] == 0 {
				commands++
			}
		}
		if again.Command != nil && seen[again.Command.ID] != 1 {
			t.Errorf("release %s of lease %s was accepted after the failover and is in the history %d times", again.Command.ID, b.id, seen[again.Command.ID])
		}
	}
	for _, p := range overlaps(ended) {
		t.Error(p)
	}
	t.Logf("of %d leases %d were lost, of %d accepted commands %d", len(s.l.leases), leases, accepted, commands)
	return commands
}

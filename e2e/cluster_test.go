package e2e_test

import (
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"drydock/embedded/redistest"
	"drydock/tasks"
)

// clusterSystem is a Cluster of three masters, with an API and two workers on it and a namespace on each master.
type clusterSystem struct {
	*redistest.Cluster
	rdb *redis.ClusterClient
	api *process
	// users are clients in a namespace on the master with the same number.
	users []*client
	// probe is a user of one worker's own pages.
	probe *client
}

func startCluster(t *testing.T) *clusterSystem {
	t.Helper()
	s := &clusterSystem{Cluster: redistest.StartCluster(t, 3, redistest.AppendOnly("always"))}
	s.rdb = s.Client(t)
	s.api = startAPI(t, s.URL())
	c := newClient(t, s.api.url)
	for i, ns := range clusterNamespaces {
		if got := s.MasterOf(t, "drydock:{"+ns+"}:"); got != i {
			t.Fatalf("namespace %s is on master %d, want %d", ns, got, i)
		}
		s.users = append(s.users, c.in(ns))
		s.users[i].pool(6, 0)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", redistest.FreePort(t))
	s.probe = newClient(t, "http://"+addr)
	startWorker(t, s.URL(), "--listen", addr)
	startWorker(t, s.URL())
	return s
}

// TestCluster: the whole story on a Redis Cluster, in a namespace on each of its masters.
func TestCluster(t *testing.T) {
	t.Parallel()
	s := startCluster(t)
	for _, c := range s.users {
		t.Run(c.namespace, func(t *testing.T) {
			c := newClient(t, c.base).in(c.namespace)
			_, position := hears(t, c, "", 0)
			l := c.ask(`, "owner": "alice"`)
			if got := c.await(l.ID, "active"); got.Resource == nil || deref(got.Owner) != "alice" {
				t.Errorf("the lease is %+v, want it alice's, on a resource", got)
			}
			sent := c.release(l.ID)
			c.await(l.ID, "destroyed")
			history := c.history(l.ID)
			if len(history) != 1 || history[0].ID != sent.Command.ID || deref(history[0].Outcome) != "applied" {
				t.Errorf("the history is %+v, want the one release %+v, applied", history, sent.Command)
			}
			want := []told{{Object: l.ID, Event: "queued"}, {Object: l.ID, Event: "activated"}, {Object: l.ID, Event: "released"}, {Object: l.ID, Event: "destroyed"}}
			if heard, _ := hears(t, c, position, len(want)); !slices.Equal(nameless(heard), want) {
				t.Errorf("the reader heard %v, want %v", heard, want)
			}

			expiring := c.ask(`, "ttl": "1s"`)
			c.await(expiring.ID, "active")
			c.await(expiring.ID, "destroyed")
			if history := c.history(expiring.ID); len(history) != 1 || history[0].Author != "drydock" {
				t.Errorf("the history of an expired lease is %+v, want one release, by drydock", history)
			}

			// More than there are hosts: some wait, and all of them go at once.
			var ids []string
			for range 8 {
				ids = append(ids, c.ask(`, "owner": "bulk"`).ID)
			}
			for _, id := range ids[:6] {
				c.await(id, "active")
			}
			all := must[struct {
				Items []struct {
					ID     string `json:"id"`
					Status int    `json:"status"`
				} `json:"items"`
			}](c, http.MethodPost, "/v1/leases:release", `{"filter": {"owner": "bulk"}}`, http.StatusAccepted)
			if len(all.Items) != len(ids) {
				t.Errorf("a release of all is about %+v, want the %d leases %q", all, len(ids), ids)
			}
			for _, id := range ids {
				c.await(id, "destroyed")
			}
			if list := must[page[resource]](c, http.MethodGet, "/v1/resources", "", http.StatusOK); len(list.Items) != 6 {
				t.Errorf("there are %d resources, want the pool's six: %+v", len(list.Items), list.Items)
			}

			l2 := startLoad(c, 4)
			l2.more(40)
			l2.stop()
			l2.check(c, s.rdb)
		})
	}
	doctor(t, s.URL()).ends(t, 0, `asynq: 2 workers`, `ok +namespace north`, `ok +namespace south`, `ok +namespace east`,
		s.Masters[0].Addr(), s.Masters[1].Addr(), s.Masters[2].Addr())
}

// TestClusterMasterDies: each master of a Cluster dies under load and comes back with its append-only file. The namespaces on the others go on
// meanwhile; those on it go on afterwards; nothing is lost. While the master is away that has asynq's queue, nothing is updated.
func TestClusterMasterDies(t *testing.T) {
	t.Parallel()
	s := startCluster(t)
	queue := s.MasterOf(t, "asynq:{"+tasks.Queue+"}:")
	for dead, server := range s.Masters {
		loads := make([]*load, len(s.users))
		for i, c := range s.users {
			loads[i] = startLoad(c, 3)
		}
		for _, l := range loads {
			l.more(10)
		}
		server.Kill()
		for i, c := range s.users {
			switch {
			case i == dead:
				continue
			case dead == queue:
				// What is sent is accepted, and waits.
				c.release(c.ask("").ID)
				continue
			}
			begin := time.Now()
			loads[i].more(20)
			// One that nobody gives back ends by itself, which takes a sweeper.
			c.await(c.ask(`, "ttl": "1s"`).ID, "destroyed")
			t.Logf("master %d is dead: 20 leases were taken in namespace %s, and one ended by itself, within %v", dead, c.namespace,
				time.Since(begin).Round(time.Millisecond))
		}
		if dead == queue {
			s.wantQuietWorker(t)
		}
		for _, path := range []string{"/v1/leases", "/v1/blueprints/lab"} {
			if err := s.users[dead].status(t.Context(), path, http.StatusServiceUnavailable); err != nil {
				t.Error(err)
			}
		}
		// Who serves the others is ready, and says what it measures.
		for _, path := range []string{"/readyz", "/metrics"} {
			for _, c := range []*client{s.users[dead], s.probe} {
				if err := c.status(t.Context(), path, http.StatusOK); err != nil {
					t.Error(err)
				}
			}
		}
		doctor(t, s.URL()).ends(t, 3, server.Addr())
		if err := server.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		eventually(t, func() error { return s.Whole(t.Context()) })
		for i, l := range loads {
			l.more(10)
			l.stop()
			l.check(s.users[i], s.rdb)
		}
		t.Logf("master %d was back, and after %v all was done", dead, time.Since(begin).Round(time.Millisecond))
	}
	doctor(t, s.URL()).ends(t, 0, `asynq: 2 workers`)
}

// TestClusterMasterHangs: a master that has nothing but a namespace stops answering, and its connections stay. The namespaces on the others go on.
func TestClusterMasterHangs(t *testing.T) {
	t.Parallel()
	// A call to one that hangs takes more than twenty seconds to fail.
	const atMost = 10 * time.Second
	s := startCluster(t)
	queue, list := s.MasterOf(t, "asynq:{"+tasks.Queue+"}:"), s.MasterOf(t, "drydock:namespaces")
	hung := slices.IndexFunc([]int{0, 1, 2}, func(i int) bool { return i != queue && i != list })
	loads := make([]*load, len(s.users))
	for i, c := range s.users {
		loads[i] = startLoad(c, 3)
		loads[i].more(10)
	}
	if err := s.Masters[hung].Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	goOn := func() { _ = s.Masters[hung].Signal(syscall.SIGCONT) }
	t.Cleanup(goOn)
	for i, c := range s.users {
		if i == hung {
			continue
		}
		begin := time.Now()
		loads[i].more(20)
		// One that nobody gives back ends by itself, which takes a sweeper that waits for no other namespace.
		c.await(c.ask(`, "ttl": "1s"`).ID, "destroyed")
		took := time.Since(begin).Round(time.Millisecond)
		t.Logf("master %d hangs: 20 leases were taken in namespace %s, and one ended by itself, within %v", hung, c.namespace, took)
		if took > atMost {
			t.Errorf("that took %v, want at most %v", took, atMost)
		}
		for _, ready := range []*client{c, s.probe} {
			if err := ready.status(t.Context(), "/readyz", http.StatusOK); err != nil {
				t.Error(err)
			}
		}
	}
	goOn()
	for i, l := range loads {
		l.more(10)
		l.stop()
		l.check(s.users[i], s.rdb)
	}
}

// TestClusterAPIStartsWithoutAMaster: an API starts while a master is away and is to declare blueprints, one in a namespace on it. The others are
// declared and served, and that one when the master is back.
func TestClusterAPIStartsWithoutAMaster(t *testing.T) {
	t.Parallel()
	s := redistest.StartCluster(t, 3, redistest.AppendOnly("always"))
	list, away := s.MasterOf(t, "drydock:namespaces"), 0
	if away == list {
		away++ // without the list of namespaces there would be no new ones
	}
	var text strings.Builder
	text.WriteString("blueprints:\n")
	// That on the dead master comes first.
	for i := range clusterNamespaces {
		fmt.Fprintf(&text, "- {name: lab, namespace: %s, kind: pool, type: host, config: {hosts: [{name: h1}]}}\n", clusterNamespaces[(away+i)%3])
	}
	file := filepath.Join(t.TempDir(), "blueprints.yaml")
	writeFile(t, file, []byte(text.String()))
	s.Masters[away].Kill()
	api := startAPI(t, s.URL(), "--blueprints", file)
	startWorker(t, s.URL())
	c := newClient(t, api.url)
	for i, ns := range clusterNamespaces {
		if i != away {
			eventually(t, func() error { return c.in(ns).status(t.Context(), "/v1/blueprints/lab", http.StatusOK) })
		}
	}
	if err := s.Masters[away].Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, ns := range clusterNamespaces {
		eventually(t, func() error { return c.in(ns).status(t.Context(), "/v1/blueprints/lab", http.StatusOK) })
		u := c.in(ns)
		u.await(u.ask("").ID, "active")
	}
	if n := strings.Count(api.out.String(), "blueprint declared"); n != len(clusterNamespaces) {
		t.Errorf("the API says %d times that a blueprint was declared, want once of each", n)
	}
}

// wantQuietWorker checks that a worker without a queue does not spin.
func (s *clusterSystem) wantQuietWorker(t *testing.T) {
	t.Helper()
	const long, most = 2 * time.Second, time.Second
	before, over := cpuSeconds(t, s.probe), time.After(long)
	<-over
	used := cpuSeconds(t, s.probe) - before
	if used > most.Seconds() {
		t.Errorf("a worker without a queue used %.2f s of CPU in %v", used, long)
	}
	t.Logf("a worker without a queue used %.2f s of CPU in %v", used, long)
}

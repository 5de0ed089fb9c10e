package store

import (
	"context"
	"errors"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"drydock/embedded/redistest"
	"drydock/model"
)

// TestAnnounceWhileItsNodeIsAway: the list of namespaces is on a Cluster node that dies. A namespace on another one that was announced before is
// served on; one that nobody knows yet is not.
func TestAnnounceWhileItsNodeIsAway(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 3)
	s := New(cluster.Client(t), Config{})
	t.Cleanup(s.Close)
	const known, unknown = "south", "green"
	list := cluster.MasterOf(t, namespacesKey)
	for _, ns := range []string{known, unknown} {
		if cluster.MasterOf(t, prefix(ns)) == list {
			t.Fatalf("namespace %s is on the node that is to die", ns)
		}
	}
	if err := s.announce(t.Context(), known); err != nil {
		t.Fatal(err)
	}
	cluster.Masters[list].Kill()
	s.announced.Store(known, time.Now().Add(-announceAgain))
	if err := s.announce(t.Context(), known); err != nil {
		t.Errorf("announce of a namespace that was announced before = %v, want nil", err)
	}
	if err := s.announce(t.Context(), unknown); model.KindOf(err) != model.ErrorUnavailable {
		t.Errorf("announce of a new namespace = %v, want unavailable", err)
	}
}

// TestPingOfACluster: one master that serves is enough, whichever are away.
func TestPingOfACluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 3, redistest.NodeTimeout(time.Second))
	s := New(cluster.Client(t), Config{})
	t.Cleanup(s.Close)
	// Who asks one at random would, of this many times, meet the one that is away.
	const times = 30
	pings := func(when string) {
		t.Helper()
		for range times {
			if err := s.Ping(t.Context()); err != nil {
				t.Fatalf("ping of a Cluster %s = %v, want nil", when, err)
			}
		}
	}
	pings("that is whole")
	cluster.Masters[0].Kill()
	pings("without one of three masters")

	// Without a majority none serves, and those that are left answer all the same.
	cluster.Masters[1].Kill()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(30 * time.Second); ; <-tick.C {
		err := s.Ping(t.Context())
		if model.KindOf(err) == model.ErrorUnavailable {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("ping of a Cluster without two of three masters = %v, want unavailable", err)
		}
	}
	cluster.Masters[2].Kill()
	if err := s.Ping(t.Context()); model.KindOf(err) != model.ErrorUnavailable {
		t.Errorf("ping of a Cluster that is away = %v, want unavailable", err)
	}
}

// TestClockOfANamespaceOnACluster: what has come due in a namespace is told by the clock of its own master, as its scripts do, not of any.
func TestClockOfANamespaceOnACluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 3)
	s := New(cluster.Client(t), Config{})
	t.Cleanup(s.Close)
	const ns = "south"
	sub := &model.Subscription{Namespace: ns, Name: "ci", URL: "https://example.org/", Secret: "sixteen bytes or more", Enabled: true, Tries: 1}
	if _, _, err := s.PutSubscription(t.Context(), sub); err != nil {
		t.Fatal(err)
	}
	for range 30 { // one of these would meet another master
		_, err1 := s.Sizes(t.Context(), ns)
		_, err2 := s.Deliveries(t.Context(), ns)
		_, _, err3 := s.Overdue(t.Context(), ns, time.Minute, 1)
		if err := errors.Join(err1, err2, err3); err != nil {
			t.Fatal(err)
		}
	}
	own := cluster.MasterOf(t, prefix(ns))
	for i, m := range cluster.Masters {
		stats, err := redistest.Client(t, m).Info(t.Context(), "commandstats").Result()
		if err != nil {
			t.Fatal(err)
		}
		if asked := strings.Contains(stats, "cmdstat_time:"); asked != (i == own) {
			t.Errorf("master %d was asked for the time: %t; the namespace is on master %d", i, asked, own)
		}
	}
}

// askedHook tells when something is asked of a namespace.
type askedHook struct {
	ns    string
	asked func()
}

func (askedHook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (askedHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (h askedHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if strings.Contains(cmd.String(), prefix(h.ns)) {
			h.asked()
		}
		return next(ctx, cmd)
	}
}

// TestWatchWhileAMasterHangs: somebody who watches an object on a master that hangs holds up nobody who watches one on another.
func TestWatchWhileAMasterHangs(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 3)
	client := cluster.Client(t)
	s := New(client, Config{})
	t.Cleanup(s.Close)
	const hung, well = "north", "south"
	server := cluster.Masters[cluster.MasterOf(t, prefix(hung))]
	if server == cluster.Masters[cluster.MasterOf(t, prefix(well))] {
		t.Fatal("both namespaces are on one master")
	}
	if err := s.Ping(t.Context()); err != nil { // the client has found the nodes
		t.Fatal(err)
	}
	asked := make(chan struct{})
	client.AddHook(askedHook{hung, sync.OnceFunc(func() { close(asked) })})
	if err := server.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	goOn := func() { _ = server.Signal(syscall.SIGCONT) }
	t.Cleanup(goOn)
	watch := func(ns string) <-chan struct{} {
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, stop := s.Watch(t.Context(), model.LeaseRef(ns, "1"))
			stop()
		}()
		return done
	}
	held := watch(hung)
	<-asked
	select {
	case <-watch(well):
	case <-held:
		t.Error("a watch of an object on a master that hangs began first")
	}
	goOn()
	<-held
}

// TestAsynqsListsOnACluster: asynq's lists are on masters of their own. What it does needs none of them: a queue's name that cannot be written is
// none of its errors, and nothing waits for them for long, whether the master is away or hangs.
func TestAsynqsListsOnACluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 3)
	client, err := Connect(cluster.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	SlowWhenDown(client)
	writes := func(when string, want bool) {
		t.Helper()
		began := time.Now()
		if err := client.SAdd(t.Context(), asynqQueues, "updates").Err(); err != nil {
			t.Errorf("%s, asynq's queue cannot be listed: %v", when, err)
		}
		err := client.ZAdd(t.Context(), "asynq:workers", redis.Z{Member: "one"}).Err()
		if (err == nil) != want {
			t.Errorf("%s, asynq's workers are listed: %v, want %t", when, err, want)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%s, asynq waited for its lists for %v", when, took)
		}
	}
	writes("with all masters", true)
	if got, err := client.SMembers(t.Context(), asynqQueues).Result(); err != nil || len(got) != 1 {
		t.Errorf("asynq's queues are %q, %v, want the one", got, err)
	}
	away, hung := cluster.Masters[cluster.MasterOf(t, asynqQueues)], cluster.Masters[cluster.MasterOf(t, "asynq:workers")]
	if away == hung {
		t.Fatal("both lists are on one master")
	}
	away.Kill()
	if err := hung.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hung.Signal(syscall.SIGCONT) })
	writes("without their masters", false)
	writes("still without", false)
}

// TestSlowWhenDownOnACluster: the nodes of a Cluster client are slow when they are down.
func TestSlowWhenDownOnACluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 3)
	universal, err := Connect(cluster.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = universal.Close() })
	SlowWhenDown(universal)
	client, ok := universal.(*redis.ClusterClient)
	if !ok {
		t.Fatalf("the client is a %T", universal)
	}
	node, err := client.MasterForKey(t.Context(), namespacesKey)
	if err != nil {
		t.Fatal(err)
	}
	cluster.Masters[cluster.MasterOf(t, namespacesKey)].Kill()
	_ = node.Ping(t.Context()).Err() // what was connected notices
	begin := time.Now()
	if err := node.Process(t.Context(), redis.NewStatusCmd(t.Context(), "ping")); err == nil {
		t.Fatal("a dead node answers")
	}
	if took := time.Since(begin); took < 50*time.Millisecond {
		t.Errorf("a call to a dead node took %v, want the delay of at least 50 ms", took)
	}
}

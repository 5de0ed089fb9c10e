package store

import (
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

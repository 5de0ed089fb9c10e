package redistest

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"drydock/embedded"
)

// Cluster is a Redis Cluster of masters without replicas. Each can be restarted, and is itself again; its data are there only with [AppendOnly].
type Cluster struct {
	Masters []*embedded.Server
}

// clusterSlots is how many slots a Cluster has.
const clusterSlots = 16384

// StartCluster starts a Cluster of n masters for this test alone, with the same options each and an equal range of the slots, the first with the
// lowest. The slots of one that is down are out of reach, and all others are served.
func StartCluster(t testing.TB, n int, opts ...Option) *Cluster {
	t.Helper()
	c := &Cluster{}
	for range n {
		bus := strconv.Itoa(FreePort(t))
		server := Start(t, slices.Concat([]Option{Args(
			"--cluster-enabled", "yes", "--cluster-port", bus, "--cluster-require-full-coverage", "no",
		), NodeTimeout(10 * time.Second)}, opts)...)
		client := Client(t, server)
		first := len(c.Masters)
		if err := client.ClusterAddSlotsRange(t.Context(), first*clusterSlots/n, (first+1)*clusterSlots/n-1).Err(); err != nil {
			t.Fatal(err)
		}
		if err := client.Do(t.Context(), "cluster", "set-config-epoch", first+1).Err(); err != nil {
			t.Fatal(err)
		}
		c.Masters = append(c.Masters, server)
		if first > 0 {
			host, port, _ := strings.Cut(server.Addr(), ":")
			if err := Client(t, c.Masters[0]).Do(t.Context(), "cluster", "meet", host, port, bus).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	poll(t, c.Whole)
	return c
}

// NodeTimeout sets after how long the masters of a Cluster take a silent one for dead. It is otherwise long, so that none is that is only slow.
func NodeTimeout(d time.Duration) Option {
	return Args("--cluster-node-timeout", strconv.FormatInt(d.Milliseconds(), 10))
}

// Whole returns nil when each master knows all masters, and sees them up.
func (c *Cluster) Whole(ctx context.Context) error {
	for _, m := range c.Masters {
		client := redis.NewClient(&redis.Options{Addr: m.Addr()})
		text, err := client.ClusterInfo(ctx).Result()
		_ = client.Close()
		if err != nil {
			return err
		}
		for _, want := range []string{
			"cluster_state:ok", fmt.Sprintf("cluster_slots_ok:%d\r", clusterSlots), fmt.Sprintf("cluster_known_nodes:%d\r", len(c.Masters)),
		} {
			if !strings.Contains(text, want) {
				return fmt.Errorf("the Cluster's node %s does not say %q:\n%s", m.Addr(), want, text)
			}
		}
	}
	return nil
}

// URL returns the address for clients, as Drydock writes it: all masters.
func (c *Cluster) URL() string {
	addrs := make([]string, len(c.Masters))
	for i, m := range c.Masters {
		addrs[i] = m.Addr()
	}
	return "redis://" + strings.Join(addrs, ",")
}

// MasterOf returns which of the masters has a key.
func (c *Cluster) MasterOf(t testing.TB, key string) int {
	t.Helper()
	slot, err := Client(t, c.Masters[0]).ClusterKeySlot(t.Context(), key).Result()
	if err != nil {
		t.Fatal(err)
	}
	n := len(c.Masters)
	for i := range n {
		if int(slot) < (i+1)*clusterSlots/n {
			return i
		}
	}
	t.Fatalf("%q is in slot %d", key, slot)
	return 0
}

// Client returns a client of the Cluster that is closed when the test ends.
func (c *Cluster) Client(t testing.TB) *redis.ClusterClient {
	t.Helper()
	addrs := make([]string, len(c.Masters))
	for i, m := range c.Masters {
		addrs[i] = m.Addr()
	}
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs})
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Errorf("close client: %v", err)
		}
	})
	return client
}

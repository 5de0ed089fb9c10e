package redistest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"drydock/embedded"
)

// setupTimeout bounds how long servers take to find each other, which on a busy machine is long.
const setupTimeout = 60 * time.Second

// Watched is a primary and a replica of it that three Sentinels watch over.
type Watched struct {
	// Primary and Replica are what they are at the beginning. Each keeps its append-only file and can be restarted.
	Primary, Replica *embedded.Server
	sentinels        []*embedded.Server
}

// watchedName is what the Sentinels call the primary.
const watchedName = "drydock"

// StartWatched starts five servers for this test alone: a primary, a replica that is in sync with it, and three Sentinels, which take a
// server for dead that is silent for down and promote the replica when two of them agree.
func StartWatched(t testing.TB, down time.Duration) *Watched {
	t.Helper()
	// A replica that asks for the data is otherwise let wait for others that might do so as well.
	atOnce := Args("--repl-diskless-sync-delay", "0")
	w := &Watched{Primary: Start(t, AppendOnly("everysec"), atOnce)}
	host, port, _ := strings.Cut(w.Primary.Addr(), ":")
	w.Replica = Start(t, AppendOnly("everysec"), atOnce, Args("--replicaof", host, port))
	for range 3 {
		dir := t.TempDir()
		file := filepath.Join(dir, "sentinel.conf")
		text := fmt.Sprintf("sentinel monitor %[1]s %[2]s %[3]s 2\nsentinel down-after-milliseconds %[1]s %[4]d\nsentinel failover-timeout %[1]s 5000\n",
			watchedName, host, port, down.Milliseconds())
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		w.sentinels = append(w.sentinels, Start(t, File(file), Args("--sentinel")))
	}
	poll(t, func(ctx context.Context) error {
		for _, s := range w.sentinels {
			info, err := sentinel(ctx, s, "master", watchedName)
			if err != nil {
				return err
			}
			if info["num-other-sentinels"] != "2" || info["num-slaves"] != "1" {
				return fmt.Errorf("a Sentinel knows %s others and %s replicas, want 2 and 1", info["num-other-sentinels"], info["num-slaves"])
			}
		}
		return w.InSync(ctx)
	})
	return w
}

// File has the server read a configuration file first, which it may rewrite.
func File(path string) Option {
	return func(cfg *embedded.Config) { cfg.File = path }
}

// URL returns the address for clients, as Drydock writes it: the Sentinels, and the name of what they watch.
func (w *Watched) URL() string {
	addrs := make([]string, len(w.sentinels))
	for i, s := range w.sentinels {
		addrs[i] = s.Addr()
	}
	return "redis+sentinel://" + strings.Join(addrs, ",") + "/" + watchedName + "/0"
}

// PrimaryAddr returns the address of the server that the first Sentinel takes for the primary.
func (w *Watched) PrimaryAddr(ctx context.Context) (string, error) {
	info, err := sentinel(ctx, w.sentinels[0], "master", watchedName)
	return info["ip"] + ":" + info["port"], err
}

// CutOff cuts the primary's replica off, and refuses it from then on. It may still be promoted within ten times the time after which a
// server is taken for dead.
func (w *Watched) CutOff(t testing.TB) {
	t.Helper()
	client := Client(t, w.Primary)
	for _, args := range [][]any{
		{"acl", "setuser", "default", "-psync", "-sync"},
		{"client", "kill", "type", "replica"},
	} {
		if err := client.Do(t.Context(), args...).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

// InSync returns nil when the primary of now has a replica whose link is up.
func (w *Watched) InSync(ctx context.Context) error {
	addr, err := w.PrimaryAddr(ctx)
	if err != nil {
		return err
	}
	client := redis.NewClient(&redis.Options{Addr: addr})
	defer client.Close()
	info, err := client.Info(ctx, "replication").Result()
	if err != nil {
		return err
	}
	if !strings.Contains(info, "role:master") || !strings.Contains(info, "state=online") {
		return fmt.Errorf("the primary %s has no replica that is in sync:\n%s", addr, info)
	}
	return nil
}

func sentinel(ctx context.Context, server *embedded.Server, args ...any) (map[string]string, error) {
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer client.Close()
	cmd := redis.NewMapStringStringCmd(ctx, append([]any{"sentinel"}, args...)...)
	if err := client.Process(ctx, cmd); err != nil {
		return nil, fmt.Errorf("ask Sentinel %s: %w", server.Addr(), err)
	}
	return cmd.Val(), nil
}

// poll waits until cond holds; cond says what is missing.
func poll(t testing.TB, cond func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), setupTimeout)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := cond(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatal(err)
		case <-tick.C:
		}
	}
}

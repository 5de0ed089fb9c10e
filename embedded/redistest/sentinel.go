package redistest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"drydock/embedded"
)

// setupTimeout bounds how long servers take to find each other, which on a busy machine is long.
const setupTimeout = 60 * time.Second

// Watched is a primary and a replica of it that three Sentinels watch over. The servers are the default user to each other, and clients
// another one, so that the servers can be kept from each other and clients not.
type Watched struct {
	// Primary and Replica are what they are at the beginning. Each keeps its append-only file and can be restarted.
	Primary, Replica *embedded.Server
	sentinels        []*embedded.Server
}

const (
	// watchedName is what the Sentinels call the primary.
	watchedName = "drydock"
	// WatchedUser is who clients of [Watched] are.
	WatchedUser     = "client"
	watchedPassword = "of-the-watched"
)

// StartWatched starts what [Watch] starts for this test alone, and stops it when the test ends.
func StartWatched(t testing.TB, down time.Duration) *Watched {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), setupTimeout)
	defer cancel()
	w, err := Watch(ctx, t.TempDir(), down)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop)
	return w
}

// Watch starts five servers in a folder: a primary, a replica that is in sync with it, and three Sentinels, which take a server for
// dead that is silent for down and promote the replica when two of them agree. Whoever calls it calls Stop.
func Watch(ctx context.Context, dir string, down time.Duration) (w *Watched, err error) {
	w = &Watched{}
	defer func() {
		if err != nil {
			w.Stop()
		}
	}()
	args := []string{
		// A replica that asks for the data is otherwise let wait for others that might do so as well.
		"--repl-diskless-sync-delay", "0",
		"--user", WatchedUser, "on", ">" + watchedPassword, "~*", "&*", "+@all",
	}
	w.Primary, err = embedded.StartServer(ctx, embedded.Config{Dir: filepath.Join(dir, "primary"), AppendOnly: true, AppendFsync: "always", Args: args})
	if err != nil {
		return w, err
	}
	host, port, _ := strings.Cut(w.Primary.Addr(), ":")
	w.Replica, err = embedded.StartServer(ctx, embedded.Config{Dir: filepath.Join(dir, "replica"), AppendOnly: true, AppendFsync: "always", Args: args})
	if err != nil {
		return w, err
	}
	// It is told, and not configured: when it has been promoted and is started again, it must not be a replica at once.
	if err = w.tell(ctx, w.Replica, []any{"replicaof", host, port}); err != nil {
		return w, err
	}
	for i := range 3 {
		folder := filepath.Join(dir, fmt.Sprintf("sentinel%d", i))
		file := filepath.Join(folder, "sentinel.conf")
		text := fmt.Sprintf("sentinel monitor %[1]s %[2]s %[3]s 2\nsentinel down-after-milliseconds %[1]s %[4]d\nsentinel failover-timeout %[1]s 5000\n",
			watchedName, host, port, down.Milliseconds())
		if err := errors.Join(os.MkdirAll(folder, 0o700), os.WriteFile(file, []byte(text), 0o600)); err != nil {
			return w, err
		}
		s, err := embedded.StartServer(ctx, embedded.Config{Dir: folder, File: file, Args: []string{"--sentinel"}})
		if err != nil {
			return w, err
		}
		w.sentinels = append(w.sentinels, s)
		hurry(ctx, s)
	}
	return w, until(ctx, func(ctx context.Context) error {
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
}

// hurry has a Sentinel look and speak more often, so that it finds the others, and makes an old primary a replica, within about five seconds
// instead of ten. One before Redis 7.0 cannot, and takes its time.
func hurry(ctx context.Context, server *embedded.Server) {
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer client.Close()
	_ = client.Do(ctx, "sentinel", "debug", "info-period", 1000, "publish-period", 1200)
}

// Stop stops all five.
func (w *Watched) Stop() {
	for _, s := range append(slices.Clone(w.sentinels), w.Replica, w.Primary) {
		if s != nil {
			s.Stop()
		}
	}
}

// Log returns the last words of all five.
func (w *Watched) Log() string {
	var text strings.Builder
	for i, s := range append([]*embedded.Server{w.Primary, w.Replica}, w.sentinels...) {
		name := fmt.Sprintf("Sentinel %d", i-1)
		if i < 2 {
			name = [...]string{"the first primary", "the first replica"}[i]
		}
		said := s.Log()
		fmt.Fprintf(&text, "--- the last words of %s, %s:\n%s\n", name, s.Addr(), said[max(0, len(said)-6000):])
	}
	return text.String()
}

// URL returns the address for clients, as Drydock writes it: the Sentinels, and the name of what they watch.
func (w *Watched) URL() string {
	return fmt.Sprintf("redis+sentinel://%s:%s@%s/%s/0", WatchedUser, watchedPassword, strings.Join(w.addrs(), ","), watchedName)
}

func (w *Watched) addrs() []string {
	addrs := make([]string, len(w.sentinels))
	for i, s := range w.sentinels {
		addrs[i] = s.Addr()
	}
	return addrs
}

// Client returns a client of whichever server is the primary.
func (w *Watched) Client() *redis.Client {
	return redis.NewFailoverClient(&redis.FailoverOptions{
		MasterName: watchedName, SentinelAddrs: w.addrs(), Username: WatchedUser, Password: watchedPassword,
	})
}

// ClientOf returns a client of one of the two servers, which no [Watched.Isolate] shuts out.
func (w *Watched) ClientOf(server *embedded.Server) *redis.Client {
	return redis.NewClient(&redis.Options{Addr: server.Addr(), Username: WatchedUser, Password: watchedPassword})
}

// PrimaryAddr returns the address of the server that the first Sentinel takes for the primary.
func (w *Watched) PrimaryAddr(ctx context.Context) (string, error) {
	info, err := sentinel(ctx, w.sentinels[0], "master", watchedName)
	return info["ip"] + ":" + info["port"], err
}

// Agree returns nil when all Sentinels take a server for the primary.
func (w *Watched) Agree(ctx context.Context, server *embedded.Server) error {
	for _, s := range w.sentinels {
		info, err := sentinel(ctx, s, "master", watchedName)
		if err != nil {
			return err
		}
		if addr := info["ip"] + ":" + info["port"]; addr != server.Addr() {
			return fmt.Errorf("a Sentinel takes %s for the primary, want %s", addr, server.Addr())
		}
	}
	return nil
}

// Epoch returns what rises with each failover.
func (w *Watched) Epoch(ctx context.Context) (string, error) {
	info, err := sentinel(ctx, w.sentinels[0], "master", watchedName)
	return info["config-epoch"], err
}

// Now returns which server the first Sentinel takes for the primary, and the other one.
func (w *Watched) Now(ctx context.Context) (primary, replica *embedded.Server, err error) {
	addr, err := w.PrimaryAddr(ctx)
	if addr == w.Replica.Addr() {
		return w.Replica, w.Primary, err
	}
	return w.Primary, w.Replica, err
}

// CutOff cuts a primary's replica off, and refuses it from then on. It may still be promoted within ten times the time after which a
// server is taken for dead.
func (w *Watched) CutOff(ctx context.Context, primary *embedded.Server) error {
	return w.tell(ctx, primary, []any{"acl", "setuser", "default", "-psync", "-sync"}, []any{"client", "kill", "type", "replica"})
}

// Isolate lets neither the Sentinels nor the replica reach a primary any more. Clients still do.
func (w *Watched) Isolate(ctx context.Context, primary *embedded.Server) error {
	return w.tell(ctx, primary, []any{"acl", "setuser", "default", "off"}, []any{"client", "kill", "user", "default"})
}

// Readmit undoes CutOff and Isolate.
func (w *Watched) Readmit(ctx context.Context, server *embedded.Server) error {
	return w.tell(ctx, server, []any{"acl", "setuser", "default", "on", "+psync", "+sync"})
}

func (w *Watched) tell(ctx context.Context, server *embedded.Server, commands ...[]any) error {
	client := w.ClientOf(server)
	defer client.Close()
	for _, args := range commands {
		if err := client.Do(ctx, args...).Err(); err != nil {
			return fmt.Errorf("%v: %w", args, err)
		}
	}
	return nil
}

// InSync returns nil when the primary of now has a replica whose link is up.
func (w *Watched) InSync(ctx context.Context) error {
	primary, _, err := w.Now(ctx)
	if err != nil {
		return err
	}
	client := w.ClientOf(primary)
	defer client.Close()
	info, err := client.Info(ctx, "replication").Result()
	if err != nil {
		return err
	}
	if !strings.Contains(info, "role:master") || !strings.Contains(info, "state=online") {
		return fmt.Errorf("the primary %s has no replica that is in sync:\n%s", primary.Addr(), info)
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
	if err := until(ctx, cond); err != nil {
		t.Fatal(err)
	}
}

// until waits until cond holds, and returns what is missing when ctx ends.
func until(ctx context.Context, cond func(context.Context) error) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := cond(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

// Package redistest gives tests a real Redis.
//
// A test that stops, kills or configures its Redis starts one with [Start]. All others share one with [Shared], each in a
// [Namespace] of its own, so that they can run in parallel. A test fails when there is no server binary; it never skips.
package redistest

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"drydock/embedded"
)

// startTimeout bounds a server's start; 10–13 ms is usual, on a busy machine much more.
const startTimeout = 30 * time.Second

// An Option changes how [Start] runs a server.
type Option func(*embedded.Config)

// AppendOnly makes the data outlive the server, synced to disk as fsync says: "always", "everysec" or "no".
func AppendOnly(fsync string) Option {
	return func(cfg *embedded.Config) { cfg.AppendOnly, cfg.AppendFsync = true, fsync }
}

// Args adds arguments for the server, such as "--maxmemory", "10mb".
func Args(args ...string) Option {
	return func(cfg *embedded.Config) { cfg.Args = append(cfg.Args, args...) }
}

// StopTimeout sets how long the server may take to stop before it is killed.
func StopTimeout(d time.Duration) Option {
	return func(cfg *embedded.Config) { cfg.StopTimeout = d }
}

// Port sets the port, which is otherwise a free one.
func Port(port int) Option {
	return func(cfg *embedded.Config) { cfg.Port = port }
}

// Start runs a server for this test alone, with its data in a temporary folder and in memory only unless [AppendOnly] is given. It is
// stopped when the test ends.
func Start(t testing.TB, opts ...Option) *embedded.Server {
	t.Helper()
	cfg := embedded.Config{Dir: t.TempDir()}
	for _, opt := range opts {
		opt(&cfg)
	}
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	server, err := embedded.StartServer(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	return server
}

// shared is the server of this test binary.
var shared struct {
	mu      sync.Mutex
	managed bool // Main runs, and will stop the server
	server  *embedded.Server
	dir     string
}

// Shared returns the one server that the tests of this test binary share, started on first use. Keep to a [Namespace]; do not flush,
// stop or configure it. The package's TestMain must call [Main], which stops it.
func Shared(t testing.TB) *embedded.Server {
	t.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.server != nil {
		return shared.server
	}
	if !shared.managed {
		t.Fatal("redistest.Shared needs a TestMain that calls redistest.Main, to stop the server")
	}
	dir, err := os.MkdirTemp("", "redistest") //nolint:usetesting // outlives the test that happens to be first
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	server, err := embedded.StartServer(ctx, embedded.Config{Dir: dir})
	if err != nil {
		_ = os.RemoveAll(dir)
		t.Fatal(err)
	}
	shared.server, shared.dir = server, dir
	return server
}

// Main runs a package's tests, stops the [Shared] server, fails when goroutines are left over, and exits. Call it from TestMain.
func Main(m *testing.M, ignore ...goleak.Option) {
	shared.mu.Lock()
	shared.managed = true
	shared.mu.Unlock()

	code := m.Run()

	shared.mu.Lock()
	if shared.server != nil {
		shared.server.Stop()
		_ = os.RemoveAll(shared.dir)
	}
	shared.mu.Unlock()
	if code == 0 {
		// A client that could not dial looks once a second whether it can, or is closed: longer than goleak has patience.
		ignore = append(ignore, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
		if err := goleak.Find(ignore...); err != nil {
			fmt.Fprintln(os.Stderr, "goroutines are left over:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// Addresser is a server that a client can be made for.
type Addresser interface{ Addr() string }

// Client returns a client of the server that is closed when the test ends.
func Client(t testing.TB, server Addresser) *redis.Client {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Errorf("close client: %v", err)
		}
	})
	return client
}

// Namespace returns a name for the keys of this test that no other test or run uses: lower-case letters, digits and hyphens, at most 40
// characters.
func Namespace(t testing.TB) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '-'
	}, t.Name())
	return name[:min(len(name), 31)] + "-" + strings.ToLower(rand.Text()[:8])
}

// FreePort returns a TCP port of 127.0.0.1 that nobody listened on a moment ago.
func FreePort(t testing.TB) int {
	t.Helper()
	port, err := embedded.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

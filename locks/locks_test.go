package locks_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"drydock/embedded"
	"drydock/embedded/redistest"
	"drydock/locks"
)

// server is what a locker and a test need to know of a Redis.
type server interface {
	URL() string
	Addr() string
}

func nodeClient(t testing.TB, s server) *redis.Client {
	t.Helper()
	opts, err := locks.NodeOptions(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(opts)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func newLocker(t testing.TB, cfg locks.Config, servers ...server) *locks.Locker {
	t.Helper()
	nodes := make([]redis.UniversalClient, len(servers))
	for i, s := range servers {
		nodes[i] = nodeClient(t, s)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	locker, err := locks.New(nodes, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return locker
}

// start returns n servers of the test's own.
func start(t testing.TB, n int) ([]*embedded.Server, []server) {
	t.Helper()
	own, all := make([]*embedded.Server, n), make([]server, n)
	for i := range own {
		own[i] = redistest.Start(t)
		all[i] = own[i]
	}
	return own, all
}

func mustLock(t testing.TB, locker *locks.Locker, key string) *locks.Lock {
	t.Helper()
	lock, err := locker.TryLock(t.Context(), key)
	if err != nil {
		t.Fatalf("TryLock() = %v", err)
	}
	t.Cleanup(lock.Unlock)
	return lock
}

// wantBusy fails unless the lock is busy.
func wantBusy(t testing.TB, locker *locks.Locker, key string) {
	t.Helper()
	lock, err := locker.TryLock(t.Context(), key)
	if err == nil {
		lock.Unlock()
	}
	if !errors.Is(err, locks.ErrBusy) || errors.Is(err, locks.ErrUnavailable) {
		t.Errorf("TryLock() = %v, want ErrBusy alone", err)
	}
}

// wantUnavailable fails unless the lock cannot be had for another reason than its being busy.
func wantUnavailable(t testing.TB, locker *locks.Locker, key string) {
	t.Helper()
	lock, err := locker.TryLock(t.Context(), key)
	if err == nil {
		lock.Unlock()
	}
	if !errors.Is(err, locks.ErrUnavailable) || errors.Is(err, locks.ErrBusy) {
		t.Errorf("TryLock() = %v, want ErrUnavailable alone", err)
	}
}

// lockWhenFree tries until it has the lock, for at most half a minute.
func lockWhenFree(t testing.TB, locker *locks.Locker, key string) *locks.Lock {
	t.Helper()
	for begin := time.Now(); ; {
		lock, err := locker.TryLock(t.Context(), key)
		if err == nil {
			t.Cleanup(lock.Unlock)
			return lock
		}
		if !errors.Is(err, locks.ErrBusy) {
			t.Fatalf("TryLock() = %v, want ErrBusy until it is free", err)
		}
		if time.Since(begin) > 30*time.Second {
			t.Fatalf("TryLock() = %v for half a minute", err)
		}
		runtime.Gosched()
	}
}

func await[T any](t testing.TB, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(20 * time.Second):
		t.Fatalf("no %s", what)
		panic("unreachable")
	}
}

func wantLost(t testing.TB, lock *locks.Lock) {
	t.Helper()
	await(t, lock.Context().Done(), "end of the lock's context")
	if cause := context.Cause(lock.Context()); !errors.Is(cause, locks.ErrLost) {
		t.Errorf("cause = %v, want ErrLost", cause)
	}
	if err := lock.Trusted(); !errors.Is(err, locks.ErrLost) {
		t.Errorf("Trusted() = %v, want ErrLost", err)
	}
}

func exists(t testing.TB, s server, key string) bool {
	t.Helper()
	n, err := redistest.Client(t, s).Exists(t.Context(), key).Result()
	if err != nil {
		t.Fatal(err)
	}
	return n == 1
}

// awaitKey waits until the key is there or gone: TryLock and Unlock return at a majority, with a call to the slowest node under way.
func awaitKey(t testing.TB, s server, key string, there bool) {
	t.Helper()
	client := redistest.Client(t, s)
	for begin := time.Now(); client.Exists(t.Context(), key).Val() == 1 != there; {
		if time.Since(begin) > 20*time.Second {
			t.Fatalf("the key is there on %s = %v, want %v", s.Addr(), !there, there)
		}
	}
}

func TestLockAndUnlock(t *testing.T) {
	t.Parallel()
	redisServer, key := redistest.Shared(t), redistest.Namespace(t)
	mine := newLocker(t, locks.Config{TTL: 20 * time.Second}, redisServer)
	theirs := newLocker(t, locks.Config{}, redisServer)

	lock := mustLock(t, mine, key)
	if lock.Key() != key {
		t.Errorf("Key() = %s, want %s", lock.Key(), key)
	}
	if err := lock.Trusted(); err != nil {
		t.Errorf("Trusted() = %v, want nil", err)
	}
	if ttl := redistest.Client(t, redisServer).PTTL(t.Context(), key).Val(); ttl <= 10*time.Second || ttl > 20*time.Second {
		t.Errorf("the key lives for %v, want 20 s", ttl)
	}
	wantBusy(t, theirs, key)
	wantBusy(t, mine, key)

	lock.Unlock()
	if err := context.Cause(lock.Context()); !errors.Is(err, context.Canceled) {
		t.Errorf("the context's cause after Unlock = %v, want context.Canceled", err)
	}
	if err := lock.Trusted(); !errors.Is(err, locks.ErrLost) {
		t.Errorf("Trusted() after Unlock = %v, want ErrLost", err)
	}
	mustLock(t, theirs, key)
	lock.Unlock()
	wantBusy(t, mine, key)
}

func TestMutualExclusion(t *testing.T) {
	t.Parallel()
	for _, nodes := range []int{1, 3} {
		t.Run(fmt.Sprintf("nodes=%d", nodes), func(t *testing.T) {
			t.Parallel()
			_, servers := start(t, nodes)
			// Expiry has no part in this: a key that a lock or unlock left behind would stay.
			cfg := locks.Config{TTL: time.Minute, NodeTimeout: 20 * time.Second}
			var inside atomic.Int32
			total, key := 0, redistest.Namespace(t) // total is guarded by the lock alone
			var wg sync.WaitGroup
			const workers, turns = 6, 30
			for range workers {
				locker := newLocker(t, cfg, servers...)
				wg.Go(func() {
					for range turns {
						lock := lockWhenFree(t, locker, key) // its Fatal ends this goroutine, and total shows it
						if n := inside.Add(1); n != 1 {
							t.Errorf("%d holders at once", n)
						}
						total++
						inside.Add(-1)
						lock.Unlock()
					}
				})
			}
			wg.Wait()
			if total != workers*turns {
				t.Errorf("%d turns counted, want %d", total, workers*turns)
			}
			for _, s := range servers {
				awaitKey(t, s, key, false)
			}
		})
	}
}

func TestLockOfAKilledProcessExpires(t *testing.T) {
	t.Parallel()
	redisServer, key := redistest.Shared(t), redistest.Namespace(t)
	locker := newLocker(t, locks.Config{}, redisServer)

	holder := exec.Command(os.Args[0])
	holder.Env = append(os.Environ(), envHolder+"="+redisServer.URL()+" "+key)
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	said, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || said != "locked\n" {
		t.Fatalf("the holder said %q, %v", said, err)
	}
	// It lives, so it extends.
	for begin := time.Now(); time.Since(begin) < holderTTL+holderTTL/2; {
		wantBusy(t, locker, key)
	}
	if err := holder.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = holder.Wait()
	killed := time.Now()
	lockWhenFree(t, locker, key)
	if got := time.Since(killed); got > holderTTL+2*time.Second {
		t.Errorf("the lock was free %v after its holder was killed, want about its TTL of %v", got, holderTTL)
	}
}

func TestExtensionKeepsTheLockBeyondItsTTL(t *testing.T) {
	t.Parallel()
	for _, nodes := range []int{1, 3} {
		t.Run(fmt.Sprintf("nodes=%d", nodes), func(t *testing.T) {
			t.Parallel()
			const ttl = 600 * time.Millisecond
			_, servers := start(t, nodes)
			key := redistest.Namespace(t)
			attempts := make(chan error, 100)
			mine := newLocker(t, locks.Config{TTL: ttl, ExtendDone: func(_ time.Duration, err error) { attempts <- err }}, servers...)
			begin := time.Now()
			lock := mustLock(t, mine, key)
			extended := make(chan context.Context, 100)
			lock.OnExtend(func(ctx context.Context) { extended <- ctx })
			for time.Since(begin) < 2*ttl {
				ctx := await(t, extended, "extension")
				if _, ok := ctx.Deadline(); !ok {
					t.Error("the function's context has no deadline")
				}
			}
			if err := lock.Trusted(); err != nil {
				t.Errorf("Trusted() = %v, want nil", err)
			}
			wantBusy(t, newLocker(t, locks.Config{}, servers...), key)
			if err := await(t, attempts, "report of an extension"); err != nil {
				t.Errorf("an extension reports %v", err)
			}
			lock.Unlock()
			mustLock(t, newLocker(t, locks.Config{}, servers...), key)
		})
	}
}

func TestLostWhenTheKeyIsGone(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		nodes int
		do    func(t *testing.T, client *redis.Client, key string)
		left  string
	}{
		{"deleted", 1, func(t *testing.T, c *redis.Client, key string) { c.Del(t.Context(), key) }, ""},
		{"taken by another", 1, func(t *testing.T, c *redis.Client, key string) { c.Set(t.Context(), key, "another", 0) }, "another"},
		{"deleted on a majority", 3, func(t *testing.T, c *redis.Client, key string) { c.Del(t.Context(), key) }, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, servers := start(t, tt.nodes)
			key := redistest.Namespace(t)
			told := make(chan error, 10)
			const ttl = 3 * time.Second
			locker := newLocker(t, locks.Config{TTL: ttl, Lost: func(_ string, err error) { told <- err }}, servers...)
			begin := time.Now()
			lock := mustLock(t, locker, key)
			for _, s := range servers {
				awaitKey(t, s, key, true)
			}
			for _, s := range servers[:tt.nodes/2+1] {
				tt.do(t, redistest.Client(t, s), key)
			}
			wantLost(t, lock)
			if took := time.Since(begin); took > ttl*3/4 {
				t.Errorf("the loss was noticed after %v, want it at the first extension, after %v", took, ttl/3)
			}
			if err := await(t, told, "report of the loss"); !errors.Is(err, locks.ErrLost) {
				t.Errorf("Lost was told %v, want ErrLost", err)
			}
			lock.Unlock()
			if got := redistest.Client(t, servers[0]).Get(t.Context(), key).Val(); got != tt.left {
				t.Errorf("the key holds %q after Unlock, want %q", got, tt.left)
			}
			if len(told) != 0 {
				t.Errorf("Lost was told again: %v", <-told)
			}
		})
	}
}

func TestStopExtending(t *testing.T) {
	t.Parallel()
	const ttl = time.Second
	redisServer, key := redistest.Shared(t), redistest.Namespace(t)
	locker := newLocker(t, locks.Config{TTL: ttl, Margin: ttl * 4 / 10}, redisServer)
	begin := time.Now()
	lock := mustLock(t, locker, key)
	var extensions atomic.Int32
	lock.OnExtend(func(context.Context) { extensions.Add(1) })
	lock.StopExtending()
	if err := lock.Trusted(); err != nil {
		t.Errorf("Trusted() = %v, want nil for what is left", err)
	}
	wantLost(t, lock)
	if got := time.Since(begin); got < ttl/2 {
		t.Errorf("the lock ended after %v, want %v", got, ttl-ttl*4/10)
	}
	if !exists(t, redisServer, key) {
		t.Error("the key expired before the lock's context ended")
	}
	if n := extensions.Load(); n != 0 {
		t.Errorf("%d extensions after StopExtending", n)
	}
	lockWhenFree(t, newLocker(t, locks.Config{}, redisServer), key)
}

func TestStopExtendingAfterAnExtension(t *testing.T) {
	t.Parallel()
	locker := newLocker(t, locks.Config{TTL: 600 * time.Millisecond}, redistest.Shared(t))
	lock := mustLock(t, locker, redistest.Namespace(t))
	extended := make(chan struct{}, 100)
	lock.OnExtend(func(context.Context) { extended <- struct{}{} })
	await(t, extended, "extension")
	lock.StopExtending()
	wantLost(t, lock)
}

func TestNoExtensionGoesOnAfterStopOrUnlock(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*locks.Lock){"StopExtending": (*locks.Lock).StopExtending, "Unlock": (*locks.Lock).Unlock} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			locker := newLocker(t, locks.Config{TTL: 1500 * time.Millisecond}, redistest.Shared(t))
			lock := mustLock(t, locker, redistest.Namespace(t))
			var over atomic.Bool
			entered := make(chan struct{}, 100)
			lock.OnExtend(func(ctx context.Context) {
				entered <- struct{}{}
				<-ctx.Done() // as slow as it may be
				if over.Load() {
					t.Errorf("the function runs after %s", name)
				}
			})
			await(t, entered, "extension")
			end(lock)
			over.Store(true)
		})
	}
}

func TestUnlockAfterTheCallersContextEnded(t *testing.T) {
	t.Parallel()
	redisServer, key := redistest.Shared(t), redistest.Namespace(t)
	locker := newLocker(t, locks.Config{TTL: time.Minute}, redisServer)
	ctx, cancel := context.WithCancel(t.Context())
	lock, err := locker.TryLock(ctx, key)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	await(t, lock.Context().Done(), "end of the lock's context")
	if err := lock.Trusted(); err != nil {
		t.Errorf("Trusted() = %v, want nil until it is unlocked", err)
	}
	wantBusy(t, locker, key)
	lock.Unlock()
	if exists(t, redisServer, key) {
		t.Error("the key is still there after Unlock")
	}
}

func TestTryLockWithAnEndedContext(t *testing.T) {
	t.Parallel()
	redisServer, key := redistest.Shared(t), redistest.Namespace(t)
	ctx, cancel := context.WithCancel(t.Context())
	t.Run("before the call", func(t *testing.T) {
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := newLocker(t, locks.Config{}, redisServer).TryLock(ended, key)
		if !errors.Is(err, locks.ErrUnavailable) || !errors.Is(err, context.Canceled) {
			t.Errorf("TryLock() = %v, want ErrUnavailable and context.Canceled", err)
		}
	})
	t.Run("during the call", func(t *testing.T) {
		client := nodeClient(t, redisServer)
		client.AddHook(after(func(cmd redis.Cmder) {
			if cmd.Name() == "set" {
				cancel()
			}
		}))
		locker, err := locks.New([]redis.UniversalClient{client}, locks.Config{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = locker.TryLock(ctx, key)
		if !errors.Is(err, locks.ErrUnavailable) || !errors.Is(err, context.Canceled) {
			t.Errorf("TryLock() = %v, want ErrUnavailable and context.Canceled", err)
		}
		if exists(t, redisServer, key) {
			t.Error("the key was left behind")
		}
	})
}

func TestHangingRedis(t *testing.T) {
	t.Parallel()
	const ttl, nodeTimeout = 2 * time.Second, 200 * time.Millisecond
	own, servers := start(t, 1)
	key := redistest.Namespace(t)
	locker := newLocker(t, locks.Config{TTL: ttl, NodeTimeout: nodeTimeout}, servers...)
	begin := time.Now()
	lock := mustLock(t, locker, key)
	if err := own[0].Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}

	call := time.Now()
	wantUnavailable(t, locker, key+"-other")
	if took := time.Since(call); took > 2*nodeTimeout+time.Second {
		t.Errorf("TryLock took %v, want at most two node timeouts of %v", took, nodeTimeout)
	}
	wantLost(t, lock)
	if took := time.Since(begin); took > ttl {
		t.Errorf("the lock was lost after %v, want less than its TTL of %v", took, ttl)
	}
	call = time.Now()
	lock.Unlock()
	if took := time.Since(call); took > 2*nodeTimeout+time.Second {
		t.Errorf("Unlock took %v, want at most two node timeouts of %v", took, nodeTimeout)
	}
}

func TestLostWhileACallHangs(t *testing.T) {
	t.Parallel()
	client := nodeClient(t, redistest.Shared(t))
	hanging, gate := make(chan struct{}, 100), make(chan struct{})
	client.AddHook(before(func(cmd redis.Cmder) {
		if cmd.Name() == "evalsha" {
			hanging <- struct{}{}
			<-gate // obeys no deadline
		}
	}))
	locker, err := locks.New([]redis.UniversalClient{client}, locks.Config{
		TTL: 600 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	lock := mustLock(t, locker, redistest.Namespace(t))
	t.Cleanup(sync.OnceFunc(func() { close(gate) }))
	await(t, hanging, "extension")
	wantLost(t, lock)
}

func TestExtensionIsTriedAgain(t *testing.T) {
	t.Parallel()
	own, servers := start(t, 1)
	attempts := make(chan error, 1000)
	locker := newLocker(t, locks.Config{
		TTL:         3 * time.Second,
		NodeTimeout: 100 * time.Millisecond,
		ExtendDone:  func(_ time.Duration, err error) { attempts <- err },
	}, servers...)
	lock := mustLock(t, locker, redistest.Namespace(t))
	if err := own[0].Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := await(t, attempts, "attempt"); err == nil {
			t.Fatal("an extension worked on a stopped Redis")
		}
	}
	if err := own[0].Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	for await(t, attempts, "attempt") != nil {
	}
	if err := lock.Trusted(); err != nil {
		t.Errorf("Trusted() = %v, want nil after an extension that worked at last", err)
	}
	if err := lock.Context().Err(); err != nil {
		t.Errorf("the lock's context ended: %v", context.Cause(lock.Context()))
	}
}

func TestThreeNodes(t *testing.T) {
	t.Parallel()
	// With a node timeout this long a call that waits for a hanging node is seen.
	cfg := locks.Config{TTL: time.Minute, NodeTimeout: 20 * time.Second}
	cycle := func(t *testing.T, locker *locks.Locker, key string) {
		t.Helper()
		begin := time.Now()
		lock := lockWhenFree(t, locker, key)
		wantBusy(t, locker, key)
		lock.Unlock()
		lockWhenFree(t, locker, key).Unlock()
		if took := time.Since(begin); took > cfg.NodeTimeout/2 {
			t.Errorf("it took %v, as long as the node that does not answer", took)
		}
	}
	t.Run("one dead", func(t *testing.T) {
		t.Parallel()
		own, servers := start(t, 3)
		locker, key := newLocker(t, cfg, servers...), redistest.Namespace(t)
		cycle(t, locker, key)
		own[1].Kill()
		cycle(t, locker, key)
	})
	t.Run("one hangs", func(t *testing.T) {
		t.Parallel()
		own, servers := start(t, 3)
		cfg := cfg
		locker, key := newLocker(t, cfg, servers...), redistest.Namespace(t)
		cycle(t, locker, key)
		if err := own[0].Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		cycle(t, locker, key)
	})
	t.Run("two dead", func(t *testing.T) {
		t.Parallel()
		own, servers := start(t, 3)
		locker, key := newLocker(t, cfg, servers...), redistest.Namespace(t)
		own[0].Kill()
		own[2].Kill()
		wantUnavailable(t, locker, key)
		if exists(t, servers[1], key) {
			t.Error("a key was left behind on the living node")
		}
	})
	t.Run("two dead and the third busy", func(t *testing.T) {
		t.Parallel()
		own, servers := start(t, 3)
		locker, key := newLocker(t, cfg, servers...), redistest.Namespace(t)
		redistest.Client(t, servers[0]).Set(t.Context(), key, "another", 0)
		own[1].Kill()
		own[2].Kill()
		wantUnavailable(t, locker, key)
	})
	t.Run("one dead and two callers split the others", func(t *testing.T) {
		t.Parallel()
		own, servers := start(t, 3)
		locker, key := newLocker(t, cfg, servers...), redistest.Namespace(t)
		redistest.Client(t, servers[0]).Set(t.Context(), key, "another", 0)
		own[1].Kill()
		wantBusy(t, locker, key)
		if exists(t, servers[2], key) {
			t.Error("a key was left behind on the node that was free")
		}
	})
	t.Run("a held lock survives one death and not two", func(t *testing.T) {
		t.Parallel()
		own, servers := start(t, 3)
		locker := newLocker(t, locks.Config{TTL: time.Second}, servers...)
		key := redistest.Namespace(t)
		lock := mustLock(t, locker, key)
		for _, s := range servers {
			awaitKey(t, s, key, true)
		}
		extended := make(chan struct{}, 100)
		lock.OnExtend(func(context.Context) { extended <- struct{}{} })
		own[0].Kill()
		await(t, extended, "extension")
		await(t, extended, "extension")
		if err := lock.Trusted(); err != nil {
			t.Errorf("Trusted() = %v, want nil with one node dead", err)
		}
		own[1].Kill()
		wantLost(t, lock)
	})
}

// TestSlowNode has a third node whose lock call is on its way until the test lets it go.
func TestSlowNode(t *testing.T) {
	t.Parallel()
	setup := func(t *testing.T) (servers []server, locker *locks.Locker, release func()) {
		_, servers = start(t, 3)
		gate := make(chan struct{})
		nodes := make([]redis.UniversalClient, len(servers))
		for i, s := range servers {
			client := nodeClient(t, s)
			if i == 2 {
				client.AddHook(before(func(cmd redis.Cmder) {
					if cmd.Name() == "set" {
						<-gate
					}
				}))
			}
			nodes[i] = client
		}
		locker, err := locks.New(nodes, locks.Config{TTL: time.Minute, NodeTimeout: 20 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		release = sync.OnceFunc(func() { close(gate) })
		t.Cleanup(release)
		return servers, locker, release
	}
	t.Run("gets the key of a lock that is held", func(t *testing.T) {
		t.Parallel()
		servers, locker, release := setup(t)
		key := redistest.Namespace(t)
		mustLock(t, locker, key)
		release()
		awaitKey(t, servers[2], key, true)
	})
	t.Run("keeps no key of a lock that was freed", func(t *testing.T) {
		t.Parallel()
		servers, locker, release := setup(t)
		key, removed := redistest.Namespace(t), removals(t, servers[2])
		mustLock(t, locker, key).Unlock()
		release()
		await(t, removed, "removal of the key")
		awaitKey(t, servers[2], key, false)
	})
	t.Run("keeps no key of a lock that was busy", func(t *testing.T) {
		t.Parallel()
		servers, locker, release := setup(t)
		key, removed := redistest.Namespace(t), removals(t, servers[2])
		for _, s := range servers[:2] {
			redistest.Client(t, s).Set(t.Context(), key, "another", 0)
		}
		wantBusy(t, locker, key)
		release()
		await(t, removed, "removal of the key")
		awaitKey(t, servers[2], key, false)
	})
}

// removals returns a channel that tells of each key removed on the server.
func removals(t *testing.T, s server) <-chan *redis.Message {
	t.Helper()
	client := redistest.Client(t, s)
	if err := client.ConfigSet(t.Context(), "notify-keyspace-events", "Eg$").Err(); err != nil {
		t.Fatal(err)
	}
	sub := client.Subscribe(t.Context(), "__keyevent@0__:del")
	t.Cleanup(func() { _ = sub.Close() })
	if _, err := sub.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	return sub.Channel()
}

// before runs before each command.
type before func(redis.Cmder)

func (b before) DialHook(next redis.DialHook) redis.DialHook { return next }

func (b before) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		b(cmd)
		return next(ctx, cmd)
	}
}

func (b before) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// after runs after each command.
type after func(redis.Cmder)

func (a after) DialHook(next redis.DialHook) redis.DialHook { return next }

func (a after) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		a(cmd)
		return err
	}
}

func (a after) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// clocks are two clocks that a test sets.
type clocks struct {
	mu  sync.Mutex
	now locks.Reading
}

func newClocks() *clocks {
	return &clocks{now: locks.Reading{Monotonic: time.Hour, Wall: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}}
}

func (c *clocks) read() locks.Reading {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clocks) advance(monotonic, wall time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now.Monotonic += monotonic
	c.now.Wall = c.now.Wall.Add(wall)
}

func TestTrustedAsksBothClocks(t *testing.T) {
	t.Parallel()
	const trusted = 50 * time.Second // a TTL of a minute less the margin
	tests := []struct {
		name            string
		monotonic, wall time.Duration
		lost            bool
	}{
		{"just in time", trusted - 1, trusted - 1, false},
		{"time is over", trusted, trusted, true},
		{"the machine was suspended", time.Second, trusted, true},
		{"the wall clock was set back", trusted, -time.Hour, true},
		{"the wall clock was set back a moment ago", time.Second, -time.Hour, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			clocks := newClocks()
			locker := newLocker(t, locks.Config{TTL: time.Minute, Margin: 10 * time.Second, Clocks: clocks.read}, redistest.Shared(t))
			lock := mustLock(t, locker, redistest.Namespace(t))
			clocks.advance(tt.monotonic, tt.wall)
			if tt.lost {
				if err := lock.Trusted(); !errors.Is(err, locks.ErrLost) {
					t.Errorf("Trusted() = %v, want ErrLost", err)
				}
				wantLost(t, lock)
				return
			}
			if err := lock.Trusted(); err != nil {
				t.Errorf("Trusted() = %v, want nil", err)
			}
		})
	}
}

func TestTrustedTimeCountsFromBeforeTheCall(t *testing.T) {
	t.Parallel()
	slow := func(t *testing.T, call string, by time.Duration, ttl time.Duration) (*locks.Locker, *clocks) {
		clocks, client := newClocks(), nodeClient(t, redistest.Shared(t))
		client.AddHook(after(func(cmd redis.Cmder) {
			if cmd.Name() == call {
				clocks.advance(by, by)
			}
		}))
		locker, err := locks.New([]redis.UniversalClient{client}, locks.Config{
			TTL: ttl, Margin: ttl / 6, Clocks: clocks.read, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		return locker, clocks
	}
	t.Run("lock", func(t *testing.T) {
		t.Parallel()
		locker, clocks := slow(t, "set", 30*time.Second, time.Minute)
		lock := mustLock(t, locker, redistest.Namespace(t))
		clocks.advance(20*time.Second, 20*time.Second)
		if err := lock.Trusted(); !errors.Is(err, locks.ErrLost) {
			t.Errorf("Trusted() = %v, want ErrLost: the call took 30 s of the 50 s", err)
		}
	})
	t.Run("lock taken too late", func(t *testing.T) {
		t.Parallel()
		key := redistest.Namespace(t)
		locker, _ := slow(t, "set", 50*time.Second, time.Minute)
		wantUnavailable(t, locker, key)
		if exists(t, redistest.Shared(t), key) {
			t.Error("the key was left behind")
		}
	})
	t.Run("extension", func(t *testing.T) {
		t.Parallel()
		const ttl = 600 * time.Millisecond
		locker, clocks := slow(t, "evalsha", ttl/2, ttl)
		lock := mustLock(t, locker, redistest.Namespace(t))
		extended := make(chan struct{}, 100)
		proceed := make(chan struct{})
		lock.OnExtend(func(context.Context) { extended <- struct{}{}; <-proceed })
		defer close(proceed)
		await(t, extended, "extension")
		clocks.advance(ttl/3, ttl/3)
		if err := lock.Trusted(); !errors.Is(err, locks.ErrLost) {
			t.Errorf("Trusted() = %v, want ErrLost: the call took half the TTL", err)
		}
	})
}

func TestOverInMemoryRedis(t *testing.T) {
	t.Parallel()
	memory, err := embedded.StartMemory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(memory.Stop)
	key := redistest.Namespace(t)
	locker := newLocker(t, locks.Config{TTL: time.Second}, memory)
	lock := mustLock(t, locker, key)
	wantBusy(t, locker, key)
	lock.Unlock()
	lock = mustLock(t, locker, key)
	lock.StopExtending()
	lockWhenFree(t, locker, key)
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	locker := newLocker(t, locks.Config{TTL: 100 * time.Millisecond}, redistest.Shared(t))
	for range 10 {
		lock := mustLock(t, locker, redistest.Namespace(t))
		extended := make(chan struct{}, 100)
		lock.OnExtend(func(context.Context) { extended <- struct{}{} })
		select {
		case <-extended:
		case <-lock.Context().Done(): // a slow machine may lose a lock this short
		}
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { _ = lock.Trusted() })
			wg.Go(func() { lock.OnExtend(nil) })
			wg.Go(lock.StopExtending)
			wg.Go(lock.Unlock)
		}
		wg.Wait()
	}
}

func TestWarningsAreLogged(t *testing.T) {
	t.Parallel()
	redisServer, key := redistest.Shared(t), redistest.Namespace(t)
	log := &buffer{}
	locker := newLocker(t, locks.Config{Logger: slog.New(slog.NewTextHandler(log, nil))}, redisServer)
	lock := mustLock(t, locker, key)
	lock.Unlock()
	lock.Unlock()
	if got := log.String(); got != "" {
		t.Errorf("log = %q after a lock was unlocked twice, want nothing", got)
	}
	lock = mustLock(t, locker, key)
	redistest.Client(t, redisServer).Del(t.Context(), key)
	lock.Unlock()
	if got := log.String(); !strings.Contains(got, "unlock failed") || !strings.Contains(got, key) {
		t.Errorf("log = %q, want a failed unlock of %s", got, key)
	}
}

type buffer struct {
	mu sync.Mutex
	strings.Builder
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Builder.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Builder.String()
}

var _ io.Writer = (*buffer)(nil)

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	good := func(port int) *redis.Client {
		opts, err := locks.NodeOptions(fmt.Sprintf("redis://127.0.0.1:%d/0", port))
		if err != nil {
			t.Fatal(err)
		}
		client := redis.NewClient(opts)
		t.Cleanup(func() { _ = client.Close() })
		return client
	}
	some := func(n int) []redis.UniversalClient {
		var nodes []redis.UniversalClient
		for i := range n {
			nodes = append(nodes, good(i+1))
		}
		return nodes
	}
	plain := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	t.Cleanup(func() { _ = plain.Close() })
	tests := []struct {
		name  string
		nodes []redis.UniversalClient
		cfg   locks.Config
		want  string // in the error; empty: it is accepted
	}{
		{"one node", some(1), locks.Config{}, ""},
		{"three nodes", some(3), locks.Config{}, ""},
		{"five nodes", some(5), locks.Config{}, ""},
		{"no node", nil, locks.Config{}, "--lock-redis"},
		{"two nodes", some(2), locks.Config{}, "--lock-redis"},
		{"four nodes", some(4), locks.Config{}, "--lock-redis"},
		{"seven nodes", some(7), locks.Config{}, "--lock-redis"},
		{"a node twice", []redis.UniversalClient{good(1), good(2), good(1)}, locks.Config{}, "named twice"},
		{"a nil node", []redis.UniversalClient{nil}, locks.Config{}, "nil"},
		{"a client that ignores deadlines", []redis.UniversalClient{plain}, locks.Config{}, "ContextTimeoutEnabled"},
		{"a short TTL", some(1), locks.Config{TTL: 99 * time.Millisecond}, "TTL"},
		{"a TTL in microseconds", some(1), locks.Config{TTL: time.Second + time.Microsecond}, "TTL"},
		{"a negative TTL", some(1), locks.Config{TTL: -time.Second}, "TTL"},
		{"a wide margin", some(1), locks.Config{TTL: time.Second, Margin: time.Second / 2}, "margin"},
		{"a negative margin", some(1), locks.Config{Margin: -1}, "margin"},
		{"a long node timeout", some(1), locks.Config{TTL: time.Second, NodeTimeout: time.Second}, "node timeout"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := locks.New(tt.nodes, tt.cfg)
			if tt.want == "" && err != nil {
				t.Errorf("New() = %v, want nil", err)
			}
			if tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("New() = %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func TestNodeOptions(t *testing.T) {
	t.Parallel()
	opts, err := locks.NodeOptions("redis://user:secret@lock1:7000/2?read_timeout=3s&max_retries=5")
	if err != nil {
		t.Fatal(err)
	}
	if opts.Addr != "lock1:7000" || opts.DB != 2 || opts.Username != "user" || opts.Password != "secret" {
		t.Errorf("the URL's parts are %s, %d, %s, %s", opts.Addr, opts.DB, opts.Username, opts.Password)
	}
	if !opts.ContextTimeoutEnabled || opts.MaxRetries != -1 || opts.DialerRetries != 1 {
		t.Errorf("ContextTimeoutEnabled, MaxRetries, DialerRetries = %v, %d, %d, want true, -1, 1",
			opts.ContextTimeoutEnabled, opts.MaxRetries, opts.DialerRetries)
	}
	if opts.ReadTimeout != 3*time.Second || opts.WriteTimeout != time.Second {
		t.Errorf("ReadTimeout, WriteTimeout = %v, %v, want the URL's 3 s and 1 s", opts.ReadTimeout, opts.WriteTimeout)
	}
	if _, err := locks.NodeOptions("lock1:7000"); err == nil {
		t.Error("NodeOptions() takes an address for a URL")
	}
}

func BenchmarkTryLockUnlock(b *testing.B) {
	for _, nodes := range []int{1, 3} {
		_, servers := start(b, nodes)
		locker := newLocker(b, locks.Config{}, servers...)
		b.Run(fmt.Sprintf("nodes=%d/serial", nodes), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				lock, err := locker.TryLock(b.Context(), "key")
				if err != nil {
					b.Fatal(err)
				}
				lock.Unlock()
			}
		})
		b.Run(fmt.Sprintf("nodes=%d/parallel", nodes), func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(5) // 10 goroutines on two cores
			var n atomic.Int64
			b.RunParallel(func(pb *testing.PB) {
				key := fmt.Sprintf("key-%d", n.Add(1))
				for pb.Next() {
					lock, err := locker.TryLock(b.Context(), key)
					if err != nil {
						b.Error(err)
						return
					}
					lock.Unlock()
				}
			})
		})
	}
}

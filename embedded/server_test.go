package embedded_test

import (
	"bufio"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"drydock/embedded"
	"drydock/embedded/redistest"
)

func TestStartServer(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	opts, err := redis.ParseURL(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	if opts.Addr != server.Addr() || opts.DB != 0 {
		t.Errorf("URL() = %q, want address %s and database 0", server.URL(), server.Addr())
	}
	client := redistest.Client(t, server)
	for name, want := range map[string]string{
		"maxmemory-policy": "noeviction", "save": "", "appendonly": "no", "appendfsync": "everysec", "bind": "127.0.0.1",
	} {
		if got := client.ConfigGet(t.Context(), name).Val()[name]; got != want {
			t.Errorf("config %s = %q, want %q", name, got, want)
		}
	}
	if pgid, err := syscall.Getpgid(server.PID()); err != nil || pgid != server.PID() {
		t.Errorf("process group = %d, %v, want its own, %d", pgid, err, server.PID())
	}
	if err := server.Err(); err != nil {
		t.Errorf("Err() = %v while it runs", err)
	}
	server.Stop()
	server.Stop()
	<-server.Done()
	if err := server.Err(); err != nil {
		t.Errorf("Err() = %v after Stop, want nil", err)
	}
	if err := server.Signal(syscall.SIGCONT); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("Signal() after Stop = %v, want os.ErrProcessDone", err)
	}
	if !strings.Contains(server.Log(), "ready to exit") {
		t.Errorf("no clean end in the log:\n%s", server.Log())
	}
}

func TestArgsWin(t *testing.T) {
	t.Parallel()
	client := redistest.Client(t, redistest.Start(t, redistest.Args("--appendfsync", "no")))
	if got := client.ConfigGet(t.Context(), "appendfsync").Val()["appendfsync"]; got != "no" {
		t.Errorf("appendfsync = %q, want no", got)
	}
}

func TestKillAndRestartKeepTheAppendOnlyFile(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.AppendOnly("always"))
	client := redistest.Client(t, server)
	if err := client.Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	addr, pid, done := server.Addr(), server.PID(), server.Done()

	server.Kill()
	<-done
	if err := server.Err(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("Err() after Kill = %v, want it to say killed", err)
	}
	for _, how := range []string{"after Kill", "while it runs", "after Stop"} {
		if how == "after Stop" {
			server.Stop()
		}
		if err := server.Restart(t.Context()); err != nil {
			t.Fatalf("Restart() %s: %v", how, err)
		}
		if server.Addr() != addr || server.PID() == pid {
			t.Errorf("%s: address %s and process %d, want %s and a process other than %d", how, server.Addr(), server.PID(), addr, pid)
		}
		pid = server.PID()
		if got, err := client.Get(t.Context(), "k").Result(); err != nil || got != "v" {
			t.Errorf("%s: value = %q, %v, want v", how, got, err)
		}
		if err := server.Err(); err != nil {
			t.Errorf("%s: Err() = %v, want nil", how, err)
		}
	}
}

func TestRestartWaitsUntilTheDataIsLoaded(t *testing.T) {
	t.Parallel()
	const keys = 200
	server := redistest.Start(t, redistest.Args(
		"--key-load-delay", "2000", // µs for each key
		"--loading-process-events-interval-bytes", "1024"))
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), MaxRetries: -1})
	defer client.Close()
	for i := range keys {
		if err := client.Set(t.Context(), strconv.Itoa(i), strings.Repeat("x", 1024), 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if err := client.Save(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := client.DBSize(t.Context()).Result(); err != nil || got != keys {
		t.Errorf("DBSIZE after Restart = %d, %v, want %d", got, err, keys)
	}
}

func TestDoneAndErrTellOfADeath(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	redistest.Client(t, server).ShutdownNoSave(t.Context())
	<-server.Done()
	if err := server.Err(); err == nil || !strings.Contains(err.Error(), "User requested shutdown") {
		t.Errorf("Err() = %v, want the end of the log", err)
	}
	server.Stop()
	if server.Err() == nil {
		t.Error("Err() = nil after Stop of a dead server, want how it died")
	}
}

func TestStopOfAStoppedProcessIsQuick(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	if err := server.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	server.Stop()
	if !strings.Contains(server.Log(), "ready to exit") {
		t.Errorf("it was killed, not stopped; log:\n%s", server.Log())
	}
}

func TestStopKillsAServerThatDoesNotEnd(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.StopTimeout(100*time.Millisecond))
	busy := make(chan error, 1)
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), ReadTimeout: -1, MaxRetries: -1})
	defer client.Close()
	// A write makes the script unkillable for everything but SIGKILL.
	go func() {
		busy <- client.Eval(context.Background(), `redis.call("SET", KEYS[1], "1") while true do end`, []string{"k"}).Err()
	}()
	waitBusy(t, server)
	server.Stop()
	if err := <-busy; err == nil {
		t.Error("the endless script ended well")
	}
}

// waitBusy returns once the server no longer answers.
func waitBusy(t *testing.T, server *embedded.Server) {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), ReadTimeout: 100 * time.Millisecond, MaxRetries: -1})
	defer client.Close()
	for client.Ping(t.Context()).Err() == nil {
		if t.Context().Err() != nil {
			t.Fatal("the server still answers")
		}
	}
}

func TestStartFailures(t *testing.T) {
	t.Parallel()
	start := func(cfg embedded.Config) error {
		server, err := embedded.StartServer(t.Context(), cfg)
		if err == nil {
			server.Stop()
		}
		return err
	}
	t.Run("no folder", func(t *testing.T) {
		if err := start(embedded.Config{}); err == nil || !strings.Contains(err.Error(), "no data folder") {
			t.Errorf("error = %v, want one about the folder", err)
		}
	})
	t.Run("bad argument quotes the log", func(t *testing.T) {
		err := start(embedded.Config{Dir: t.TempDir(), Args: []string{"--no-such-option", "1"}})
		if err == nil || !strings.Contains(err.Error(), "no-such-option") {
			t.Errorf("error = %v, want one that names the option", err)
		}
	})
	t.Run("no such binary", func(t *testing.T) {
		err := start(embedded.Config{Dir: t.TempDir(), Path: filepath.Join(t.TempDir(), "none")})
		if !errors.Is(err, os.ErrNotExist) {
			t.Errorf("error = %v, want os.ErrNotExist", err)
		}
	})
	t.Run("a given port in use by another server", func(t *testing.T) {
		other := redistest.Shared(t)
		_, port, _ := net.SplitHostPort(other.Addr())
		number, _ := strconv.Atoi(port)
		err := start(embedded.Config{Dir: t.TempDir(), Port: number})
		if err == nil || !strings.Contains(err.Error(), "already in use") {
			t.Errorf("error = %v, want one that says the port is in use", err)
		}
	})
	t.Run("context ends first", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := embedded.StartServer(ctx, embedded.Config{Dir: t.TempDir()})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error = %v, want context.Canceled", err)
		}
	})
}

func TestFindServer(t *testing.T) {
	dir := t.TempDir()
	own := filepath.Join(dir, "my-redis")
	if err := os.WriteFile(own, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Run("named by path", func(t *testing.T) {
		t.Setenv(embedded.EnvServer, own)
		if got, err := embedded.FindServer(); err != nil || got != own {
			t.Errorf("FindServer() = %q, %v, want %q", got, err, own)
		}
	})
	t.Run("named by name", func(t *testing.T) {
		t.Setenv(embedded.EnvServer, "my-redis")
		t.Setenv("PATH", dir)
		if got, err := embedded.FindServer(); err != nil || got != own {
			t.Errorf("FindServer() = %q, %v, want %q", got, err, own)
		}
	})
	t.Run("named but not there", func(t *testing.T) {
		t.Setenv(embedded.EnvServer, own+"-gone")
		_, err := embedded.FindServer()
		if !errors.Is(err, embedded.ErrNoServer) || !strings.Contains(err.Error(), own+"-gone") {
			t.Errorf("FindServer() = %v, want ErrNoServer and the path", err)
		}
		_, err = embedded.StartServer(t.Context(), embedded.Config{Dir: t.TempDir()})
		if !errors.Is(err, embedded.ErrNoServer) {
			t.Errorf("StartServer() = %v, want ErrNoServer", err)
		}
	})
	t.Run("on PATH", func(t *testing.T) {
		t.Setenv(embedded.EnvServer, "")
		path := t.TempDir()
		want := filepath.Join(path, "redis-server")
		if err := os.Symlink(own, want); err != nil {
			t.Fatal(err)
		}
		t.Setenv("PATH", path)
		if got, err := embedded.FindServer(); err != nil || got != want {
			t.Errorf("FindServer() = %q, %v, want %q", got, err, want)
		}
	})
}

func TestServerDiesWithItsParent(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has a death signal")
	}
	t.Parallel()
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), envParent+"="+t.TempDir())
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", strings.TrimSpace(addr))
	if err != nil {
		t.Fatalf("%v (the parent said %q)", err, addr)
	}
	defer conn.Close()
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait()
	// The connection ends when the server does.
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := conn.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal("the server outlives its parent")
	}
}

func TestServerOutlivesTheThreadThatAskedForIt(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has a death signal")
	}
	t.Parallel()
	var server *embedded.Server
	var err error
	dir, asked, tid := t.TempDir(), make(chan struct{}), 0
	go func() {
		defer close(asked)
		runtime.LockOSThread() // and end without unlocking: the thread ends too
		tid = syscall.Gettid()
		server, err = embedded.StartServer(t.Context(), embedded.Config{Dir: dir})
	}()
	<-asked
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	if tid != os.Getpid() { // the main thread does not end
		for {
			if _, err := os.Stat("/proc/self/task/" + strconv.Itoa(tid)); err != nil {
				break
			}
			runtime.Gosched()
		}
	}
	if err := redistest.Client(t, server).Ping(t.Context()).Err(); err != nil {
		t.Errorf("the server died with a thread: %v", err)
	}
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { _ = server.Restart(t.Context()) })
		wg.Go(server.Kill)
		wg.Go(func() { _, _, _, _ = server.Addr(), server.PID(), server.Err(), server.Log() })
	}
	wg.Wait()
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := redistest.Client(t, server).Ping(t.Context()).Err(); err != nil {
		t.Error(err)
	}
}

func TestSharedIsOne(t *testing.T) {
	t.Parallel()
	if a, b := redistest.Shared(t), redistest.Shared(t); a != b {
		t.Error("Shared() gives two servers")
	}
	if a, b := redistest.Namespace(t), redistest.Namespace(t); a == b {
		t.Errorf("Namespace() gives %s twice", a)
	}
}

func TestFreePortIsFree(t *testing.T) {
	t.Parallel()
	port := redistest.FreePort(t)
	if got := redistest.Start(t, redistest.Port(port)).Addr(); got != net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) {
		t.Errorf("Addr() = %s, want port %d", got, port)
	}
}

func TestMemory(t *testing.T) {
	t.Parallel()
	memory, err := embedded.StartMemory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer memory.Stop()
	client := redistest.Client(t, memory)
	const ttl = 300 * time.Millisecond
	set := time.Now()
	if err := client.Set(t.Context(), "k", "v", ttl).Err(); err != nil {
		t.Fatal(err)
	}
	for client.Exists(t.Context(), "k").Val() == 1 {
		if time.Since(set) > 10*time.Second {
			t.Fatal("the key does not expire")
		}
	}
	if got := time.Since(set); got < ttl-110*time.Millisecond {
		t.Errorf("a TTL of %v ran out after %v", ttl, got)
	}
	if err := client.Set(t.Context(), "mark", "ours", 0).Err(); err != nil {
		t.Fatal(err)
	}
	memory.Stop()
	memory.Stop()
	// Somebody else may listen on the port by now, so it is the data that tell.
	if got, err := client.Get(t.Context(), "mark").Result(); err == nil {
		t.Errorf("it still serves after Stop: %q", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := embedded.StartMemory(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("StartMemory() with a cancelled context = %v, want context.Canceled", err)
	}
}

// TestFolderBelongsToOneServer: two servers on one append-only file would make one history of two.
func TestFolderBelongsToOneServer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, err := embedded.StartServer(t.Context(), embedded.Config{Dir: dir, AppendOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(first.Stop)
	second, err := embedded.StartServer(t.Context(), embedded.Config{Dir: dir, AppendOnly: true})
	if err == nil {
		second.Stop()
		t.Fatal("a second server was started on the folder of the first")
	}
	if text := err.Error(); !strings.Contains(text, "in use") || !strings.Contains(text, dir) {
		t.Errorf("error %q, want one that names the folder and says that it is in use", text)
	}
	first.Stop()
	again, err := embedded.StartServer(t.Context(), embedded.Config{Dir: dir, AppendOnly: true})
	if err != nil {
		t.Fatalf("after the first has stopped: %v", err)
	}
	again.Stop()
}

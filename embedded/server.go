package embedded

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"
)

const (
	startTries   = 5                // one more try each time somebody takes the port first
	readyTimeout = 10 * time.Second // until the first answer; loading data may take longer
	stopTimeout  = 5 * time.Second  // from SIGTERM to SIGKILL
)

// Config says how to run a server.
type Config struct {
	// Dir is the data folder, made if it is not there. It belongs to one server at a time. Required: a server in the current folder would load any dump it finds.
	Dir string
	// Port is the TCP port on 127.0.0.1. Default: a free one.
	Port int
	// AppendOnly keeps the data in an append-only file in Dir, so that it outlives the server. Default: in memory alone.
	AppendOnly bool
	// AppendFsync is when that file is synced to disk: "always" (before each reply), "everysec", or "no" (when the system likes).
	// Default "everysec".
	AppendFsync string
	// StopTimeout is how long a stopping server may take to write out its data before it is killed. Default 5 s.
	StopTimeout time.Duration
	// Path is the server binary. Default: what [FindServer] finds.
	Path string
	// File is a configuration file that the server reads first, and may write. Default none.
	File string
	// Args are further arguments for the server, such as "--maxmemory", "100mb"; they win over ours.
	Args []string
}

// Server is a redis-server child process. Its methods may be called from several goroutines.
type Server struct {
	cfg Config

	lifeMu sync.Mutex // held by Stop and Restart: one change of process at a time
	folder *os.File   // the lock on the data folder; nil when it is free. Guarded by lifeMu.

	mu      sync.Mutex
	port    int
	process *process // the present or last one
	stopped bool     // Stop ended it
}

// StartServer starts a server and returns once it answers. While it loads an append-only file it waits as long as ctx allows; ctx does
// not bound the server's life, [Server.Stop] ends it. The error matches [ErrNoServer] when there is no binary to run; when the server
// ends at once, the error quotes its log.
func StartServer(ctx context.Context, cfg Config) (*Server, error) {
	cfg.AppendFsync = cmp.Or(cfg.AppendFsync, "everysec")
	cfg.StopTimeout = cmp.Or(cfg.StopTimeout, stopTimeout)
	if cfg.Dir == "" {
		return nil, errors.New("start redis-server: no data folder given")
	}
	var err error
	if cfg.Dir, err = filepath.Abs(cfg.Dir); err != nil {
		return nil, fmt.Errorf("start redis-server: %w", err)
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("start redis-server: %w", err)
	}
	if cfg.Path == "" {
		if cfg.Path, err = FindServer(); err != nil {
			return nil, fmt.Errorf("start redis-server: %w", err)
		}
	}
	s := &Server{cfg: cfg, port: cfg.Port}
	if err := s.start(ctx); err != nil {
		s.freeFolder()
		return nil, fmt.Errorf("start redis-server: %w", err)
	}
	return s, nil
}

// start runs a new process, on the port of the last one if there was one.
func (s *Server) start(ctx context.Context) error {
	if s.folder == nil {
		var err error
		if s.folder, err = lockFolder(ctx, s.cfg.Dir); err != nil {
			return err
		}
	}
	port, fixed := s.port, s.port != 0
	for try := 1; ; try++ {
		if !fixed {
			var err error
			if port, err = FreePort(); err != nil {
				return err
			}
		}
		p, err := startProcess(s.cfg.Path, s.args(port), s.folder)
		if err != nil {
			return err
		}
		if err = p.awaitReady(ctx, loopback(port)); err == nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.port, s.process, s.stopped = port, p, false
			return nil
		}
		taken := p.portTaken()
		if !p.exited() {
			p.kill()
		}
		if !taken || fixed || try == startTries {
			return err
		}
	}
}

func (s *Server) args(port int) []string {
	onOff := map[bool]string{true: "yes", false: "no"}
	var file []string
	if s.cfg.File != "" {
		file = []string{s.cfg.File}
	}
	return slices.Concat(file, []string{
		"--bind", "127.0.0.1",
		"--port", strconv.Itoa(port),
		"--dir", s.cfg.Dir,
		"--daemonize", "no",
		"--logfile", "",
		"--save", "",
		"--appendonly", onOff[s.cfg.AppendOnly],
		"--appendfsync", s.cfg.AppendFsync,
		"--maxmemory-policy", "noeviction",
	}, s.cfg.Args)
}

// awaitReady returns once the process answers on addr.
func (p *process) awaitReady(ctx context.Context, addr string) error {
	deadline := time.Now().Add(readyTimeout)
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait until it answers: %w", context.Cause(ctx))
		case <-p.done:
			return p.failure()
		case <-pause.C:
		}
		err := probe(ctx, addr, p.cmd.Process.Pid)
		if err == nil {
			return nil
		}
		wait := time.Millisecond
		if errors.Is(err, errLoading) {
			wait = 10 * time.Millisecond
		} else if time.Now().After(deadline) {
			return fmt.Errorf("no answer on %s after %v: %w", addr, readyTimeout, err)
		}
		pause.Reset(wait)
	}
}

// Addr returns the server's address, "127.0.0.1:PORT". It stays the same over restarts.
func (s *Server) Addr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return loopback(s.port)
}

// URL returns the server's address in the form that clients take, "redis://127.0.0.1:PORT/0".
func (s *Server) URL() string {
	return "redis://" + s.Addr() + "/0"
}

// PID returns the process id of the present process, or of the last one.
func (s *Server) PID() int {
	return s.current().cmd.Process.Pid
}

// Log returns the last 64 KiB that the present process, or the last one, wrote to its log.
func (s *Server) Log() string {
	return s.current().log.String()
}

func (s *Server) current() *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.process
}

// Stop lets the server write out its data and end, and kills it when that takes longer than Config.StopTimeout. It returns when the
// process is gone. Stopping a server that has ended does nothing.
func (s *Server) Stop() {
	s.lifeMu.Lock()
	defer s.lifeMu.Unlock()
	s.stop()
	s.freeFolder()
}

// freeFolder lets another server have the data folder.
func (s *Server) freeFolder() {
	if s.folder != nil {
		_ = s.folder.Close()
		s.folder = nil
	}
}

func (s *Server) stop() {
	s.mu.Lock()
	p := s.process
	if p.exited() {
		s.mu.Unlock()
		return
	}
	s.stopped = true
	s.mu.Unlock()
	p.stop(s.cfg.StopTimeout)
}

// Kill ends the server with SIGKILL, as a crash would, and returns when the process is gone.
func (s *Server) Kill() {
	if p := s.current(); !p.exited() {
		p.kill()
	}
}

// Signal sends a signal, such as SIGSTOP or SIGCONT, to the server. The error matches [os.ErrProcessDone] when it has ended.
func (s *Server) Signal(sig os.Signal) error {
	if err := s.current().cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("signal redis-server: %w", err)
	}
	return nil
}

// Restart starts the server again on the same port and data folder, stopping it first if it runs, and returns once it answers. Without
// AppendOnly the data is gone. When it fails the server is not running, and Restart may be called again.
func (s *Server) Restart(ctx context.Context) error {
	s.lifeMu.Lock()
	defer s.lifeMu.Unlock()
	s.stop()
	if err := s.start(ctx); err != nil {
		return fmt.Errorf("restart redis-server: %w", err)
	}
	return nil
}

// Done returns a channel that is closed when the present process has ended, for whatever reason; [Server.Err] tells which. After
// [Server.Restart] it is another channel.
func (s *Server) Done() <-chan struct{} {
	return s.current().done
}

// Err returns nil while the server runs and after [Server.Stop]; otherwise how it ended, with the end of its log.
func (s *Server) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped || !s.process.exited() {
		return nil
	}
	return fmt.Errorf("redis-server on %s ended: %w", loopback(s.port), s.process.failure())
}

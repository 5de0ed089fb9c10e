//go:build unix

// Package sshtest gives tests a real sshd: one that runs as the current user, on a loopback port, with keys of its own.
package sshtest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Server is an sshd that the current user can log in to.
type Server struct {
	// Port is where it listens, on 127.0.0.1.
	Port int
	// Config is a configuration file for ssh, with the one key that the server lets in and the one host key that it has.
	Config string

	t      testing.TB
	sshd   string
	config string // of sshd
	log    string

	wg sync.WaitGroup
	mu sync.Mutex
	// open are the processes of the connections.
	open   map[*exec.Cmd]bool
	logins int
	down   bool
}

// Start starts a server, which stops when the test ends. A test fails when there is no sshd; it never skips. env are variables, as
// NAME=value, that everybody who logs in has.
func Start(t testing.TB, env ...string) *Server {
	t.Helper()
	dir := t.TempDir()
	s := &Server{
		t: t, sshd: find(t), Config: filepath.Join(dir, "ssh_config"), config: filepath.Join(dir, "sshd_config"),
		log: filepath.Join(dir, "log"), open: map[*exec.Cmd]bool{},
	}
	if os.Geteuid() == 0 {
		// Debian's sshd insists on this folder when it runs as root; its service makes it at each start.
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil { //nolint:gosec // as the service makes it
			t.Fatal(err)
		}
	}
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr, _ := ln.Addr().(*net.TCPAddr)
	s.Port = addr.Port
	hostKey, userKey := newKey(t, dir, "host_key"), newKey(t, dir, "user_key")
	write(t, filepath.Join(dir, "known_hosts"), fmt.Sprintf("[127.0.0.1]:%d %s", s.Port, hostKey))
	write(t, filepath.Join(dir, "authorized_keys"), userKey)
	settings := []string{
		"HostKey " + filepath.Join(dir, "host_key"), "AuthorizedKeysFile " + filepath.Join(dir, "authorized_keys"), "StrictModes no",
		"PermitRootLogin prohibit-password", "PasswordAuthentication no", "KbdInteractiveAuthentication no", "UsePAM no", "PidFile none",
		"MaxStartups 1000", "LogLevel VERBOSE",
	}
	for _, variable := range env {
		settings = append(settings, "SetEnv "+variable)
	}
	write(t, s.config, strings.Join(append(settings, ""), "\n"))
	write(t, s.Config, strings.Join([]string{
		"IdentityFile " + filepath.Join(dir, "user_key"), "IdentitiesOnly yes", "UserKnownHostsFile " + filepath.Join(dir, "known_hosts"),
		"GlobalKnownHostsFile none", "StrictHostKeyChecking yes", "",
	}, "\n"))
	s.wg.Go(func() { s.accept(ln) })
	t.Cleanup(func() {
		_ = ln.Close()
		s.Stop()
		s.wg.Wait()
		if text, err := os.ReadFile(s.log); t.Failed() && err == nil {
			t.Logf("sshd says:\n%s", text[max(0, len(text)-4000):])
		}
	})
	return s
}

func find(t testing.TB) string {
	t.Helper()
	for _, name := range []string{"sshd", "/usr/sbin/sshd", "/usr/local/sbin/sshd"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("this test needs sshd (Debian: openssh-server); `make setup` installs it")
	return ""
}

// newKey makes a key and returns its public half.
func newKey(t testing.TB, dir, name string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	cmd := exec.CommandContext(t.Context(), "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", path)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen: %v: %s", err, out)
	}
	public, err := os.ReadFile(path + ".pub") //nolint:gosec // the test's own folder
	if err != nil {
		t.Fatal(err)
	}
	return string(public)
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// accept gives each connection an sshd of its own. There is no other process: the listener is the test's, so that no port is guessed
// and a server that is down can come back on its port.
func (s *Server) accept(ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		s.serve(conn)
	}
}

func (s *Server) serve(conn net.Conn) {
	defer conn.Close()
	tcp, _ := conn.(*net.TCPConn)
	file, err := tcp.File()
	if err != nil {
		return
	}
	defer file.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return
	}
	cmd := exec.Command(s.sshd, "-i", "-f", s.config, "-E", s.log) //nolint:noctx // Stop ends it
	cmd.Stdin, cmd.Stdout = file, file
	if err := cmd.Start(); err != nil {
		s.t.Errorf("start sshd: %v", err)
		return
	}
	s.logins++
	s.open[cmd] = true
	s.wg.Go(func() {
		_ = cmd.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.open, cmd)
	})
}

// Stop ends the connections and takes no more, as a host that is down.
func (s *Server) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = true
	for cmd := range s.open {
		_ = cmd.Process.Kill()
	}
}

// Resume takes connections again.
func (s *Server) Resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = false
}

// Connections counts those that were taken.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.logins
}

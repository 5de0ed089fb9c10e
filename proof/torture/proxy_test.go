//go:build unix

package torture

import (
	"bufio"
	"io"
	"net"
	"testing"
	"time"
)

// TestProxy: each way in which the proxy can be bad is seen by a client, and so is that it ends.
func TestProxy(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	received := make(chan string, 100)
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				lines := bufio.NewScanner(conn)
				for lines.Scan() {
					received <- lines.Text()
					_, _ = io.WriteString(conn, lines.Text()+"\n")
				}
			}()
		}
	}()
	defer ln.Close()
	p, err := startProxy(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	dial := func() (say func(string) (string, error)) {
		conn, err := net.Dial("tcp", p.Addr())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		answers := bufio.NewReader(conn)
		return func(line string) (string, error) {
			if _, err := io.WriteString(conn, line+"\n"); err != nil {
				return "", err
			}
			return answers.ReadString('\n')
		}
	}
	well := func(say func(string) (string, error), line string) {
		t.Helper()
		if got, err := say(line); err != nil || got != line+"\n" || <-received != line {
			t.Fatalf("said %q, and the answer is %q, %v", line, got, err)
		}
	}
	say := dial()
	well(say, "hello")
	p.setDelay(30 * time.Millisecond)
	begin := time.Now()
	well(say, "slow")
	if took := time.Since(begin); took < 60*time.Millisecond {
		t.Errorf("two pieces, each held back for 30ms, took %v", took)
	}
	p.heal()
	p.Cut()
	if got, err := say("cut"); err == nil {
		t.Errorf("the answer on a connection that was cut is %q", got)
	}

	lost := func(line string) {
		t.Helper()
		if got, err := dial()(line); err == nil {
			t.Errorf("the reply to %q was to be lost, and is %q", line, got)
		}
		if got := <-received; got != line {
			t.Errorf("the server received %q, want %q: it is the reply that is lost", got, line)
		}
	}
	p.setDrop(1, 0)
	lost("dropped")
	p.heal()
	then := 0
	p.dropNext(func() { then++ })
	lost("this one")
	well(dial(), "the next")
	p.mu.Lock()
	defer p.mu.Unlock()
	if then != 1 || p.dropped != 2 {
		t.Errorf("the function for the dropped reply ran %d times, %d replies were dropped; want 1 and 2", then, p.dropped)
	}
}

package relay_test

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"drydock/internal/relay"
)

// echo starts a server that says each line back, and tells which it has read.
func echo(t *testing.T) (addr string, read <-chan string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	lines := make(chan string, 100)
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for scan := bufio.NewScanner(conn); scan.Scan(); {
					lines <- scan.Text()
					_, _ = io.WriteString(conn, scan.Text()+"\n")
				}
			}()
		}
	}()
	return ln.Addr().String(), lines
}

// dial connects, and returns what says a line and reads the answer.
func dial(t *testing.T, addr string) func(line string) (string, error) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
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

// TestRelay: what passes is seen in both directions; what does not go on cuts its own connection, and nobody else's.
func TestRelay(t *testing.T) {
	t.Parallel()
	addr, read := echo(t)
	no := func(word string) relay.GoesOn {
		return func(piece []byte) bool { return !strings.Contains(string(piece), word) }
	}
	r, err := relay.Start(addr, no("unheard"), no("unanswered"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Stop()
	bystander := dial(t, r.Addr())
	well := func(line string) {
		t.Helper()
		if got, err := bystander(line); err != nil || got != line+"\n" || <-read != line {
			t.Errorf("said %q, and the answer is %q, %v", line, got, err)
		}
	}
	well("hello")
	for _, line := range []string{"unheard", "unanswered"} {
		if got, err := dial(t, r.Addr())(line); err == nil {
			t.Errorf("said %q, and the answer is %q, want that the connection is cut", line, got)
		}
	}
	if got := <-read; got != "unanswered" {
		t.Errorf("the server has read %q, want only what was not to be answered", got)
	}
	well("hello again")

	r.Cut()
	if got, err := bystander("cut"); err == nil {
		t.Errorf("said something on a connection that was cut, and the answer is %q", got)
	}
	bystander = dial(t, r.Addr())
	well("back")
	r.Stop()
	if got, err := bystander("over"); err == nil {
		t.Errorf("said something to a relay that was stopped, and the answer is %q", got)
	}
	if conn, err := net.Dial("tcp", r.Addr()); err == nil {
		_ = conn.Close()
		t.Error("a relay that was stopped takes connections")
	}
}

// TestRelayWithoutAServer: whoever connects is sent away, and may come again.
func TestRelayWithoutAServer(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	r, err := relay.Start(ln.Addr().String(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Stop()
	for range 2 {
		if got, err := dial(t, r.Addr())("anybody?"); err == nil {
			t.Errorf("there is no server, and the answer is %q", got)
		}
	}
}

package relay

import (
	"bufio"
	"io"
	"net"
	"testing"
	"time"
)

// StartEcho starts a server that says each line back, and tells which it has read. It ends with the test.
func StartEcho(t testing.TB) (addr string, read <-chan string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it listens at once or not at all
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

// Dial connects, and returns what says a line and reads the answer.
func Dial(t testing.TB, addr string) func(line string) (string, error) {
	t.Helper()
	conn, err := net.Dial("tcp", addr) //nolint:noctx // loopback answers at once
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

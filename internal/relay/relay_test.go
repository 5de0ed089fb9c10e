package relay_test

import (
	"net"
	"strings"
	"testing"

	"drydock/internal/relay"
)

// TestRelay: what passes is seen in both directions; what does not go on cuts its own connection, and nobody else's.
func TestRelay(t *testing.T) {
	t.Parallel()
	addr, read := relay.StartEcho(t)
	no := func(word string) relay.GoesOn {
		return func(piece []byte) bool { return !strings.Contains(string(piece), word) }
	}
	r, err := relay.Start(addr, no("unheard"), no("unanswered"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Stop()
	bystander := relay.Dial(t, r.Addr())
	well := func(line string) {
		t.Helper()
		if got, err := bystander(line); err != nil || got != line+"\n" || <-read != line {
			t.Errorf("said %q, and the answer is %q, %v", line, got, err)
		}
	}
	well("hello")
	for _, line := range []string{"unheard", "unanswered"} {
		if got, err := relay.Dial(t, r.Addr())(line); err == nil {
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
	bystander = relay.Dial(t, r.Addr())
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
		if got, err := relay.Dial(t, r.Addr())("anybody?"); err == nil {
			t.Errorf("there is no server, and the answer is %q", got)
		}
	}
}

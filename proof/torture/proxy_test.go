//go:build unix

package torture

import (
	"testing"
	"time"

	"drydock/internal/relay"
)

// TestProxy: each way in which the proxy can be bad is seen by a client, and so is that it ends.
func TestProxy(t *testing.T) {
	t.Parallel()
	addr, received := relay.StartEcho(t)
	p, err := startProxy(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	dial := func() func(string) (string, error) { return relay.Dial(t, p.Addr()) }
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
	then := make(chan struct{}, 2)
	p.dropNext(func() { then <- struct{}{} })
	lost("this one")
	<-then
	well(dial(), "the next")
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(then) != 0 || p.dropped != 2 {
		t.Errorf("the function for the dropped reply ran %d times more, %d replies were dropped; want 0 and 2", len(then), p.dropped)
	}
}

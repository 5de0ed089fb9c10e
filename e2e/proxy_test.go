package e2e_test

import (
	"testing"

	"drydock/internal/relay"
)

// startProxy starts a relay in front of a server, which is stopped when the test ends.
func startProxy(t testing.TB, target string, request, reply relay.GoesOn) *relay.Relay {
	t.Helper()
	p := newProxy(t, target, request, reply)
	p.Serve()
	return p
}

// newProxy returns a relay that has an address and does not serve yet.
func newProxy(t testing.TB, target string, request, reply relay.GoesOn) *relay.Relay {
	t.Helper()
	p, err := relay.Listen(target, request, reply)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return p
}

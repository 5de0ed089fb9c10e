package outbound_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"drydock/outbound"
)

// TestRequestsInARowShareAConnection: each would pay for a connection of its own otherwise, and for a TLS handshake.
func TestRequestsInARowShareAConnection(t *testing.T) {
	t.Parallel()
	var made atomic.Int32
	service := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
	}))
	service.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			made.Add(1)
		}
	}
	service.Start()
	t.Cleanup(service.Close)
	client := outbound.NewClient(outbound.AddressPolicy{Private: true})
	t.Cleanup(client.CloseIdleConnections)
	for range 3 {
		resp, err := client.Post(service.URL, "text/plain", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		if err := resp.Body.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if got := made.Load(); got != 1 {
		t.Errorf("three requests made %d connections, want 1", got)
	}
}

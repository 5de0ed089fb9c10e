package client_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"drydock/api/wire"
	"drydock/client"
	"drydock/model"
)

var host = wire.NewLease{Type: "host"}

func ttl(d time.Duration) *model.Duration { return (*model.Duration)(&d) }

// releases counts the releases in a lease's history, whatever came of them.
func releases(t *testing.T, c *client.Client, id string) int {
	t.Helper()
	n := 0
	for cmd, err := range c.Commands(within(t), model.KindLease, id) {
		must(t, err)
		if cmd.Command == "release" {
			n++
		}
	}
	return n
}

// onlyLease returns the one lease there is.
func onlyLease(t *testing.T, c *client.Client) wire.Lease {
	t.Helper()
	page, err := c.ListLeases(within(t), client.LeaseFilter{})
	must(t, err)
	if len(page.Items) != 1 {
		t.Fatalf("there are %d leases, want 1: %+v", len(page.Items), page.Items)
	}
	return page.Items[0]
}

func isDestroyed(t *testing.T, c *client.Client, id string) wire.Lease {
	t.Helper()
	lease, err := c.WaitLease(within(t), id, model.LeaseDestroyed, client.WaitOptions{})
	must(t, err)
	return lease
}

func TestAcquireHoldsAndGivesBack(t *testing.T) {
	t.Parallel()
	d := newDrydock(t)
	c := d.client(client.Config{Author: "alice", Via: model.ViaCLI, UserAgent: "test/1"})
	d.pool(c, 1)
	held, err := c.Acquire(within(t), wire.NewLease{Type: "host", Owner: "alice", Attributes: wire.Attributes{"os": "linux"}},
		client.AcquireOptions{ReleaseReason: "done"})
	must(t, err)
	if l := held.Lease(); l.Status != "active" || l.Resource == "" || l.Fence == 0 || held.Context().Err() != nil {
		t.Errorf("the held lease is %+v, its context %v", l, held.Context().Err())
	}
	resource, err := held.Resource(within(t))
	if err != nil || resource.Name != "h1" {
		t.Errorf("its resource is %+v, %v, want h1", resource, err)
	}
	for range 2 {
		must(t, held.Close())
	}
	if cause := context.Cause(held.Context()); !errors.Is(cause, client.ErrClosed) {
		t.Errorf("the context ended with %v, want ErrClosed", cause)
	}
	isDestroyed(t, c, held.ID())
	var commands []wire.Command
	for cmd, err := range c.Commands(within(t), model.KindLease, held.ID()) {
		must(t, err)
		commands = append(commands, cmd)
	}
	if len(commands) != 1 || commands[0].Author != "alice" || commands[0].Reason != "done" || commands[0].Outcome != "applied" ||
		commands[0].Origin.Via != "cli" || commands[0].Origin.UserAgent != "test/1" {
		t.Errorf("its commands are %+v, want one release by alice via cli", commands)
	}
}

// TestAcquireGivesUpItsPlace: whoever stops waiting leaves no lease behind. Scenario 31.
func TestAcquireGivesUpItsPlace(t *testing.T) {
	t.Parallel()
	d := newDrydock(t)
	c := d.client(client.Config{})
	d.pool(c, 1)
	first, err := c.Acquire(within(t), host, client.AcquireOptions{})
	must(t, err)
	t.Cleanup(func() { _ = first.Close() })

	ctx, cancel := context.WithCancel(t.Context())
	var id string
	_, err = c.Acquire(ctx, host, client.AcquireOptions{WaitOptions: client.WaitOptions{
		Interval: 10 * time.Millisecond,
		Progress: func(l wire.Lease) {
			if id = l.ID; l.Waiting == nil || l.Waiting.Position != 1 {
				t.Errorf("it waits as %+v, want position 1", l.Waiting)
			}
			cancel()
		},
	}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Acquire with a cancelled context = %v, want context.Canceled", err)
	}
	if isDestroyed(t, c, id); releases(t, c, id) != 1 {
		t.Errorf("it was released %d times, want 1", releases(t, c, id))
	}

	_, err = c.Acquire(t.Context(), host, client.AcquireOptions{
		Timeout:     50 * time.Millisecond,
		WaitOptions: client.WaitOptions{Interval: 20 * time.Millisecond, Progress: func(l wire.Lease) { id = l.ID }},
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Acquire with a timeout = %v, want context.DeadlineExceeded", err)
	}
	isDestroyed(t, c, id)
}

func TestHeldLeaseIsKept(t *testing.T) {
	t.Parallel()
	d := newDrydock(t)
	c := d.client(client.Config{})
	d.pool(c, 1)
	const short = 2 * time.Second
	held, err := c.Acquire(within(t), wire.NewLease{Type: "host", TTL: ttl(short)}, client.AcquireOptions{})
	must(t, err)
	// The second one is kept in the queue for longer than its ttl.
	waited := make(chan error, 1)
	go func() {
		next, err := c.Acquire(t.Context(), wire.NewLease{Type: "host", TTL: ttl(short)}, client.AcquireOptions{})
		if err == nil {
			err = next.Close()
		}
		waited <- err
	}()
	begun := held.Lease().Until.Time
	for lease, err := range c.WatchLease(within(t), held.ID(), 50*time.Millisecond) {
		must(t, err)
		if lease.Status != "active" {
			t.Fatalf("the lease is %s", lease.Status)
		}
		if lease.Until.After(begun.Add(short)) {
			break
		}
	}
	must(t, held.Context().Err())
	must(t, held.Close())
	if err := <-waited; err != nil {
		t.Errorf("who waited for longer than the ttl got %v", err)
	}
}

func TestHolderIsToldOfTheLoss(t *testing.T) {
	t.Parallel()
	d := newDrydock(t)
	c := d.client(client.Config{})
	d.pool(c, 1)
	held, err := c.Acquire(within(t), host, client.AcquireOptions{})
	must(t, err)
	_, err = d.client(client.Config{Author: "bob"}).ReleaseLease(within(t), held.ID(), "maintenance")
	must(t, err)
	select {
	case <-held.Context().Done():
	case <-within(t).Done():
		t.Fatal("the holder was not told")
	}
	cause := context.Cause(held.Context())
	if !errors.Is(cause, client.ErrLost) || !strings.Contains(cause.Error(), "bob: maintenance") {
		t.Errorf("the cause is %v, want ErrLost that names bob and his reason", cause)
	}
	must(t, held.Close())
}

// TestHolderStopsWhenItCannotExtend: without the server the context ends before the lease does.
func TestHolderStopsWhenItCannotExtend(t *testing.T) {
	t.Parallel()
	d := newDrydock(t)
	var cut atomic.Bool
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if cut.Load() {
			panic(http.ErrAbortHandler)
		}
		d.forward(w, r)
	}))
	t.Cleanup(proxy.Close)
	c := d.client(client.Config{Server: proxy.URL})
	d.pool(c, 1)
	begin := time.Now()
	held, err := c.Acquire(within(t), wire.NewLease{Type: "host", TTL: ttl(1500 * time.Millisecond)}, client.AcquireOptions{
		ReleaseTimeout: 100 * time.Millisecond,
	})
	must(t, err)
	cut.Store(true)
	proxy.CloseClientConnections()
	select {
	case <-held.Context().Done():
	case <-within(t).Done():
		t.Fatal("the holder goes on without his lease")
	}
	if cause := context.Cause(held.Context()); !errors.Is(cause, client.ErrLost) || !client.IsUnavailable(cause) {
		t.Errorf("the cause is %v, want ErrLost because the server is unavailable", cause)
	}
	t.Logf("lost after %v", time.Since(begin))
	if err := held.Close(); err == nil {
		t.Error("Close says that it released a lease of a server that is away")
	}
}

// forward hands a request on to the API and its answer back.
func (d *drydock) forward(w http.ResponseWriter, r *http.Request) {
	resp := d.relay(r)
	if resp == nil {
		panic(http.ErrAbortHandler)
	}
	defer resp.Body.Close()
	maps.Copy(w.Header(), resp.Header)
	w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(w, resp.Body)
}

func (d *drydock) relay(r *http.Request) *http.Response {
	body, _ := io.ReadAll(r.Body)
	out, err := http.NewRequestWithContext(r.Context(), r.Method, d.url+r.URL.RequestURI(), strings.NewReader(string(body)))
	if err != nil {
		return nil
	}
	out.Header = r.Header.Clone()
	resp, err := d.http.Do(out)
	if err != nil {
		return nil
	}
	return resp
}

// TestLostReplies: the first replies to every POST are lost after it was done. One lease, one release. Scenarios 32, 33.
func TestLostReplies(t *testing.T) {
	t.Parallel()
	d := newDrydock(t)
	var posts, lost atomic.Int64
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && posts.Add(1)%3 != 0 {
			if resp := d.relay(r); resp != nil {
				_ = resp.Body.Close()
				lost.Add(1)
			}
			panic(http.ErrAbortHandler)
		}
		d.forward(w, r)
	}))
	t.Cleanup(proxy.Close)
	c := d.client(client.Config{Server: proxy.URL, Retry: client.Retry{Base: time.Millisecond}})
	d.pool(c, 2)
	held, err := c.Acquire(within(t), host, client.AcquireOptions{})
	must(t, err)
	must(t, held.Close())
	if lost.Load() != 4 {
		t.Errorf("%d replies were lost, want 4", lost.Load())
	}
	lease := onlyLease(t, c)
	if lease.ID != held.ID() || releases(t, c, lease.ID) != 1 {
		t.Errorf("lease %s has %d releases, want lease %s and 1", lease.ID, releases(t, c, lease.ID), held.ID())
	}
}

// TestUnknownLeaseIsAbandoned: all replies to the first POST are lost, and the caller gives up: the lease that was queued is released.
func TestUnknownLeaseIsAbandoned(t *testing.T) {
	t.Parallel()
	d := newDrydock(t)
	ctx, cancel := context.WithCancel(t.Context())
	var once atomic.Bool
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && once.CompareAndSwap(false, true) {
			if resp := d.relay(r); resp != nil {
				_ = resp.Body.Close()
			}
			cancel()
			panic(http.ErrAbortHandler)
		}
		d.forward(w, r)
	}))
	t.Cleanup(proxy.Close)
	c := d.client(client.Config{Server: proxy.URL})
	d.pool(c, 1)
	_, err := c.Acquire(ctx, host, client.AcquireOptions{})
	if !errors.Is(err, context.Canceled) || !errors.Is(err, client.ErrOutcomeUnknown) || client.IsUnavailable(err) {
		t.Errorf("Acquire = %v, want context.Canceled with an unknown outcome", err)
	}
	isDestroyed(t, c, onlyLease(t, c).ID)
}

// TestAcquireOfAnEndedLease: somebody releases what is waited for.
func TestAcquireOfAnEndedLease(t *testing.T) {
	t.Parallel()
	d := newDrydock(t)
	c := d.client(client.Config{})
	d.pool(c, 1)
	first, err := c.Acquire(within(t), host, client.AcquireOptions{})
	must(t, err)
	_, err = c.Acquire(within(t), host, client.AcquireOptions{WaitOptions: client.WaitOptions{
		Interval: 10 * time.Millisecond,
		Progress: func(l wire.Lease) {
			if l.Status == "pending" && !l.Releasing {
				_, err := c.ReleaseLease(t.Context(), l.ID, "not now")
				if err != nil {
					t.Error(err)
				}
			}
		},
	}})
	if !errors.Is(err, client.ErrLost) || !strings.Contains(err.Error(), "not now") {
		t.Errorf("Acquire of a lease that was released = %v, want ErrLost with the reason", err)
	}
	must(t, first.Close())
}

package api

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"drydock/model"
)

// watched is a lease whose state the test moves. Nothing here sleeps: looked says when the server has read the lease.
type watched struct {
	mu      sync.Mutex
	status  model.LeaseState
	changed chan struct{}
	looked  chan model.LeaseState
	stopped atomic.Int64
}

func newWatched(status model.LeaseState) *watched {
	return &watched{status: status, changed: make(chan struct{}, 1), looked: make(chan model.LeaseState, 100)}
}

func (w *watched) store() *fakeStore {
	return &fakeStore{
		lease: func(_ context.Context, ns, _ string) (*model.Lease, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			lease := activeLease(ns)
			lease.Status = w.status
			w.looked <- w.status
			return lease, nil
		},
		watch: func(model.Ref) (<-chan struct{}, func()) {
			return w.changed, func() { w.stopped.Add(1) }
		},
	}
}

func (w *watched) become(status model.LeaseState) {
	w.mu.Lock()
	w.status = status
	w.mu.Unlock()
	w.changed <- struct{}{}
}

// get reads the lease in the background.
func get(a *testAPI, query string) <-chan answer {
	done := make(chan answer, 1)
	go func() { done <- a.do(http.MethodGet, "/v1/leases/"+leaseID+query, "") }()
	return done
}

func TestWaitEndsWhenTheStateIsReached(t *testing.T) {
	t.Parallel()
	w := newWatched(model.LeasePending)
	a := newAPI(t, w.store())
	done := get(a, "?wait=active")
	<-w.looked // before it subscribes
	<-w.looked // after
	w.become(model.LeaseAcquired)
	<-w.looked
	w.become(model.LeaseActive)
	got := <-done
	if got.status != http.StatusOK || !strings.Contains(string(got.body), `"status":"active"`) {
		t.Errorf("= %d %s, want the active lease", got.status, got.body)
	}
	if n := w.stopped.Load(); n != 1 {
		t.Errorf("the watch was stopped %d times, want once", n)
	}
}

// TestWaitSeesAChangeBeforeItsWatch: the state changes between the first look and the subscription, and no signal ever comes.
func TestWaitSeesAChangeBeforeItsWatch(t *testing.T) {
	t.Parallel()
	w := newWatched(model.LeasePending)
	f := w.store()
	f.watch = func(model.Ref) (<-chan struct{}, func()) {
		w.mu.Lock()
		w.status = model.LeaseActive
		w.mu.Unlock()
		return nil, func() {}
	}
	if got := newAPI(t, f).do(http.MethodGet, "/v1/leases/"+leaseID+"?wait=active&timeout=5m", ""); got.status != http.StatusOK {
		t.Errorf("= %d %s", got.status, got.body)
	}
}

// TestWaitMatrix says for each state whether it ends a wait for each other. A wait that goes on ends here by its timeout of zero.
func TestWaitMatrix(t *testing.T) {
	t.Parallel()
	// Rows: the state the lease is in; columns in the order of model.LeaseStates: pending acquired active released broken destroyed.
	ends := map[model.LeaseState]string{
		model.LeasePending:   "x-----",
		model.LeaseAcquired:  "xx----",
		model.LeaseActive:    "xxx---",
		model.LeaseReleased:  "xxxxx-",
		model.LeaseBroken:    "xxxxx-",
		model.LeaseDestroyed: "xxxxxx",
	}
	for _, is := range model.LeaseStates() {
		for i, wanted := range model.LeaseStates() {
			var watches atomic.Int64
			f := newWatched(is).store()
			f.watch = func(model.Ref) (<-chan struct{}, func()) {
				watches.Add(1)
				return nil, func() {}
			}
			a := newAPI(t, f)
			if got := a.do(http.MethodGet, "/v1/leases/"+leaseID+"?timeout=0s&wait="+string(wanted), ""); got.status != http.StatusOK {
				t.Errorf("wait=%s on %s = %d %s", wanted, is, got.status, got.body)
			}
			if over, want := watches.Load() == 0, ends[is][i] == 'x'; over != want {
				t.Errorf("wait=%s on %s is over at once: %t, want %t", wanted, is, over, want)
			}
		}
	}
}

func TestWaitAnswersWithTheObjectWhenTheTimeIsOver(t *testing.T) {
	t.Parallel()
	w := newWatched(model.LeasePending)
	got := newAPI(t, w.store()).do(http.MethodGet, "/v1/leases/"+leaseID+"?wait=active&timeout=1ms", "")
	if got.status != http.StatusOK || !strings.Contains(string(got.body), `"status":"pending"`) {
		t.Errorf("= %d %s, want 200 with the pending lease", got.status, got.body)
	}
}

func TestWaitIsNotCutByTheRequestTimeout(t *testing.T) {
	t.Parallel()
	w := newWatched(model.LeasePending)
	a := newAPI(t, w.store(), func(c *Config) { c.RequestTimeout = 50 * time.Millisecond })
	got := a.do(http.MethodGet, "/v1/leases/"+leaseID+"?wait=active&timeout=200ms", "")
	if got.status != http.StatusOK {
		t.Errorf("= %d %s, want 200", got.status, got.body)
	}
}

func TestWaitForNothingIsNotFound(t *testing.T) {
	t.Parallel()
	a := newAPI(t, &fakeStore{lease: func(context.Context, string, string) (*model.Lease, error) { return nil, model.ErrLeaseNotFound }})
	got := a.do(http.MethodGet, "/v1/leases/"+leaseID+"?wait=active", "")
	if p := got.problem(t); got.status != http.StatusNotFound || p.Code != "not_found" {
		t.Errorf("= %d %s", got.status, got.body)
	}
}

func TestWaitFailsWhenRedisGoesDown(t *testing.T) {
	t.Parallel()
	w := newWatched(model.LeasePending)
	f := w.store()
	look, looks := f.lease, 0
	f.lease = func(ctx context.Context, ns, id string) (*model.Lease, error) {
		if looks++; looks > 2 {
			return nil, model.Unavailable(errors.New("gone"))
		}
		return look(ctx, ns, id)
	}
	a := newAPI(t, f)
	done := get(a, "?wait=active")
	<-w.looked
	<-w.looked
	w.changed <- struct{}{}
	if got := <-done; got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" {
		t.Errorf("= %d %s", got.status, got.body)
	}
}

// TestWaitSurvivesAClosedChannel: it waits for its timeout and does not spin.
func TestWaitSurvivesAClosedChannel(t *testing.T) {
	t.Parallel()
	w := newWatched(model.LeasePending)
	close(w.changed)
	got := newAPI(t, w.store()).do(http.MethodGet, "/v1/leases/"+leaseID+"?wait=active&timeout=20ms", "")
	if looks := len(w.looked); got.status != http.StatusOK || looks > 5 {
		t.Errorf("= %d after %d looks", got.status, looks)
	}
}

func TestWaitersAreBounded(t *testing.T) {
	t.Parallel()
	w := newWatched(model.LeasePending)
	a := newAPI(t, w.store(), func(c *Config) { c.MaxWaiters = 1 })
	done := get(a, "?wait=active")
	<-w.looked
	<-w.looked
	got := a.do(http.MethodGet, "/v1/leases/"+leaseID+"?wait=active", "")
	if p := got.problem(t); got.status != http.StatusServiceUnavailable || p.Code != "unavailable" || got.header.Get("Retry-After") == "" {
		t.Errorf("second waiter = %d %s", got.status, got.body)
	}
	w.become(model.LeaseActive)
	if got := <-done; got.status != http.StatusOK {
		t.Errorf("first waiter = %d %s", got.status, got.body)
	}
	if got := a.do(http.MethodGet, "/v1/leases/"+leaseID+"?wait=destroyed&timeout=0s", ""); got.status != http.StatusOK {
		t.Errorf("after the first has gone = %d %s", got.status, got.body)
	}
}

// TestWaitEndsWhenTheClientGoes: nothing is left behind.
func TestWaitEndsWhenTheClientGoes(t *testing.T) {
	t.Parallel()
	w := newWatched(model.LeasePending)
	stopped := make(chan struct{})
	f := w.store()
	f.watch = func(model.Ref) (<-chan struct{}, func()) { return w.changed, func() { close(stopped) } }
	a := newAPI(t, f)
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.URL+"/v1/leases/"+leaseID+"?wait=active&timeout=5m", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	go func() {
		resp, err := a.Client().Do(req)
		if err == nil {
			resp.Body.Close()
		}
		failed <- err
	}()
	<-w.looked
	<-w.looked
	cancel()
	<-stopped
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("the client's error = %v", err)
	}
}

// TestShutdownEndsWaits: waiting reads answer with what they have, so that a shutdown need not wait for them.
func TestShutdownEndsWaits(t *testing.T) {
	t.Parallel()
	w := newWatched(model.LeasePending)
	a := newAPI(t, w.store())
	done := get(a, "?wait=active&timeout=5m")
	<-w.looked
	<-w.looked
	if err := a.Config.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := <-done; got.status != http.StatusOK || !strings.Contains(string(got.body), `"status":"pending"`) {
		t.Errorf("= %d %s", got.status, got.body)
	}
}

func TestResourceCanBeWaitedFor(t *testing.T) {
	t.Parallel()
	changed := make(chan struct{}, 1)
	var looks atomic.Int64
	a := newAPI(t, &fakeStore{
		resource: func(ns, _ string) (*model.Resource, error) {
			res := activeResource(ns)
			if looks.Add(1) < 3 {
				res.Status = model.ResourcePending
			}
			return res, nil
		},
		watch: func(ref model.Ref) (<-chan struct{}, func()) {
			if ref != model.ResourceRef("ci", resourceID) {
				t.Errorf("watches %s", ref)
			}
			changed <- struct{}{}
			return changed, func() {}
		},
	})
	got := a.do(http.MethodGet, "/v1/resources/"+resourceID+"?namespace=ci&wait=active&timeout=5m", "")
	if got.status != http.StatusOK || !strings.Contains(string(got.body), `"status":"active"`) {
		t.Errorf("= %d %s", got.status, got.body)
	}
}

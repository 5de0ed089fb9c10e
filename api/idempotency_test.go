package api

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"

	"drydock/model"
)

// onceStore is a small store with real idempotency: what a repeated request meets.
type onceStore struct {
	mu    sync.Mutex
	seen  map[string]string // fingerprint by key
	first map[string]string // id by key
	sends int
}

func newOnceStore() *onceStore {
	return &onceStore{seen: map[string]string{}, first: map[string]string{}}
}

// begin returns the id that the first request with the key was given.
func (o *onceStore) begin(idem model.Idempotency, id string) (first string, repeat bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if first, ok := o.seen[idem.Key]; ok && idem.Key != "" {
		if first != idem.Fingerprint {
			return "", false, model.Errorf(model.ErrorMismatch, "the key was used for another request")
		}
		return o.first[idem.Key], true, nil
	}
	o.seen[idem.Key], o.first[idem.Key] = idem.Fingerprint, id
	o.sends++
	return id, false, nil
}

func (o *onceStore) store() *fakeStore {
	return &fakeStore{
		blueprints: someBlueprints,
		createLease: func(_ context.Context, ns, id string, _ model.NewLease, idem model.Idempotency) (model.Created, error) {
			first, repeat, err := o.begin(idem, id)
			lease := pendingLease(ns)
			lease.ID = first
			return model.Created{Lease: lease, Repeat: repeat}, err
		},
		send: func(_ context.Context, cmd model.Command, idem model.Idempotency) (model.Sent, error) {
			_, repeat, err := o.begin(idem, cmd.ID)
			return model.Sent{Lease: activeLease(cmd.Target.Namespace), Repeat: repeat}, err
		},
	}
}

// TestRepeatedCreateGetsTheFirstAnswer is scenario 32.
func TestRepeatedCreateGetsTheFirstAnswer(t *testing.T) {
	t.Parallel()
	o := newOnceStore()
	a := newAPI(t, o.store())
	const body = `{"type": "host"}`
	first := a.do(http.MethodPost, "/v1/leases?namespace=ci", body, "Idempotency-Key: k 1")
	again := a.do(http.MethodPost, "/v1/leases?namespace=ci", body, "Idempotency-Key: k 1")
	if first.status != http.StatusAccepted || again.status != first.status || string(again.body) != string(first.body) {
		t.Errorf("first %d %s\nagain %d %s", first.status, first.body, again.status, again.body)
	}
	if f, g := first.header.Get("Location"), again.header.Get("Location"); f != "/v1/leases/"+o.first["k 1"]+"?namespace=ci" || f != g {
		t.Errorf("Location first %q, again %q", f, g)
	}
	if f, g := first.header.Get("Idempotency-Replayed"), again.header.Get("Idempotency-Replayed"); f != "" || g != "true" {
		t.Errorf("Idempotency-Replayed first %q, again %q", f, g)
	}
	if first.header.Get("Content-Type") != again.header.Get("Content-Type") {
		t.Error("the content types differ")
	}
	if o.sends != 1 {
		t.Errorf("%d leases, want 1", o.sends)
	}
}

// TestRepeatedReleaseOfAReleasedLeaseGetsTheFirstAnswer is scenario 33, where the answer is 200 without a command.
func TestRepeatedReleaseOfAReleasedLeaseGetsTheFirstAnswer(t *testing.T) {
	t.Parallel()
	o := newOnceStore()
	a := newAPI(t, o.store())
	path := "/v1/leases/" + leaseID + "/release"
	first := a.do(http.MethodPost, path, "", "Idempotency-Key: k")
	again := a.do(http.MethodPost, path, "", "Idempotency-Key: k")
	if first.status != http.StatusOK || again.status != http.StatusOK || string(again.body) != string(first.body) {
		t.Errorf("first %d %s\nagain %d %s", first.status, first.body, again.status, again.body)
	}
	if o.sends != 1 {
		t.Errorf("%d sends, want 1", o.sends)
	}
}

func TestSameKeyForAnotherRequestIsRefused(t *testing.T) {
	t.Parallel()
	o := newOnceStore()
	a := newAPI(t, o.store())
	a.do(http.MethodPost, "/v1/leases", `{"type": "host"}`, "Idempotency-Key: k")
	for name, got := range map[string]answer{
		"another body":      a.do(http.MethodPost, "/v1/leases", `{"type": "host", "owner": "x"}`, "Idempotency-Key: k"),
		"another path":      a.do(http.MethodPost, "/v1/leases/"+leaseID+"/release", "", "Idempotency-Key: k"),
		"another namespace": a.do(http.MethodPost, "/v1/leases?namespace=ci", `{"type": "host"}`, "Idempotency-Key: k"),
	} {
		if p := got.problem(t); got.status != http.StatusUnprocessableEntity || p.Code != "key_reused" {
			t.Errorf("%s = %d %s", name, got.status, got.body)
		}
	}
}

func TestRefusalIsNotRecorded(t *testing.T) {
	t.Parallel()
	o := newOnceStore()
	a := newAPI(t, o.store())
	got := a.do(http.MethodPost, "/v1/leases", `{"type": "gpu"}`, "Idempotency-Key: k")
	if got.status != http.StatusUnprocessableEntity || len(o.seen) != 0 {
		t.Errorf("= %d, seen %v", got.status, o.seen)
	}
}

// TestRepetitionIsNotJudgedAnew: since the first request, its until has passed and its blueprint has gone. A store that knows keys
// lets the repetition through to its first answer; a key that it does not know is judged like any other request.
func TestRepetitionIsNotJudgedAnew(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"until has passed":   `{"type": "host", "until": "2030-01-01T00:00:00Z"}`,
		"blueprint has gone": `{"type": "gpu"}`,
	} {
		o := newOnceStore()
		f := o.store()
		a := newAPI(t, f, func(c *Config) {
			c.Store = knowingStore{f, func(_, key string) (bool, error) {
				if key == "down" {
					return false, model.Unavailable(errors.New("gone"))
				}
				return key == "known", nil
			}}
		})
		o.seen["known"] = fingerprint(http.MethodPost, "/v1/leases", "default", body)
		o.first["known"] = leaseID
		for key, want := range map[string]int{"known": http.StatusAccepted, "new": http.StatusUnprocessableEntity, "down": http.StatusServiceUnavailable} {
			if got := a.do(http.MethodPost, "/v1/leases", body, "Idempotency-Key: "+key); got.status != want {
				t.Errorf("%s, key %s = %d %s, want %d", name, key, got.status, got.body, want)
			}
		}
	}
}

// TestClientThatHangsUpStillWakesAWorker: the lease was stored, so its update is enqueued, on a context that the client's going does
// not cancel.
func TestClientThatHangsUpStillWakesAWorker(t *testing.T) {
	t.Parallel()
	ctx, hangUp := context.WithCancel(t.Context())
	enqueued := make(chan error, 1)
	f := &fakeStore{
		blueprints: someBlueprints,
		createLease: func(ctx context.Context, ns, _ string, _ model.NewLease, _ model.Idempotency) (model.Created, error) {
			hangUp()
			<-ctx.Done()
			lease := pendingLease(ns)
			return model.Created{Lease: lease, Wake: []model.Ref{lease.Ref}}, nil
		},
	}
	a := newAPI(t, f)
	a.tasks.enqueue = func(ctx context.Context, _ []model.Ref) error {
		enqueued <- ctx.Err()
		return nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.URL+"/v1/leases", strings.NewReader(`{"type": "host"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Idempotency-Key", "k")
	if resp, err := a.Client().Do(req); err == nil {
		resp.Body.Close()
		t.Error("the client got an answer")
	}
	if err := <-enqueued; err != nil {
		t.Errorf("context of Enqueue: %v", err)
	}
}

// TestFailedEnqueueDoesNotFailTheRequest: the sweeper finds the object.
func TestFailedEnqueueDoesNotFailTheRequest(t *testing.T) {
	t.Parallel()
	var cmd model.Command
	a := newAPI(t, &fakeStore{send: sending(&cmd)})
	a.tasks.enqueue = func(context.Context, []model.Ref) error { return errors.New("asynq is away") }
	got := a.do(http.MethodPost, "/v1/leases/"+leaseID+"/release", "")
	if got.status != http.StatusAccepted || !strings.Contains(a.log.String(), "asynq is away") {
		t.Errorf("= %d %s, log %s", got.status, got.body, a.log)
	}
}

func TestFingerprintTellsRequestsApart(t *testing.T) {
	t.Parallel()
	seen := map[string][]string{}
	for _, parts := range [][]string{{"POST", "/a", "b", "c"}, {"POST", "/ab", "", "c"}, {"POST", "/a", "b", "cd"}, {"POST", "/a", "bc", ""}, {"PUT", "/a", "b", "c"}} {
		f := fingerprint(parts...)
		if other, ok := seen[f]; ok {
			t.Errorf("%q and %q have one fingerprint", parts, other)
		}
		seen[f] = parts
	}
}

package e2e_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// told is one event, as a stream or a subscription tells it.
type told struct {
	ID     string `json:"id"`
	Object string `json:"object"`
	Event  string `json:"event"`
}

// hears reads a stream until it has heard so many events, and returns them and the id to resume with.
func hears(t *testing.T, c *client, lastID string, n int) ([]told, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.at("/v1/events?type=lease&event=queued,activated,released,destroyed"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var events []told
	for lines := bufio.NewScanner(resp.Body); lastID == "" || len(events) < n; {
		if !lines.Scan() {
			t.Fatalf("the stream ended after %d of %d events: %v", len(events), n, lines.Err())
		}
		if id, ok := strings.CutPrefix(lines.Text(), "id: "); ok {
			lastID = id
		}
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			var e told
			if err := json.Unmarshal([]byte(data), &e); err != nil {
				t.Fatal(err)
			}
			events = append(events, e)
		}
	}
	return events, lastID
}

// subscriber is a service that hears the events. The first time that it hears of the event named stopAt, it answers only when the
// test says so.
type subscriber struct {
	stopAt  string
	reached chan struct{}
	goOn    chan struct{}

	mu   sync.Mutex
	once bool
	got  []told
}

func (s *subscriber) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var e told
	if err := json.NewDecoder(r.Body).Decode(&e); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	s.got = append(s.got, e)
	stop := e.Event == s.stopAt && !s.once
	s.once = s.once || stop
	s.mu.Unlock()
	if stop {
		close(s.reached)
		<-s.goOn
	}
}

func (s *subscriber) heard() []told {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.got)
}

// TestEventsSurviveKilledProcesses: the API is killed under a reader, the worker under a request to a service. Both hear everything, in
// order, the service one event twice.
func TestEventsSurviveKilledProcesses(t *testing.T) {
	t.Parallel()
	redis := startRedis(t).URL()
	api := startAPI(t, redis, "--webhook-private")
	worker := startWorker(t, redis, "--webhook-private")
	c := newClient(t, api.url)
	c.pool(1, 0)
	service := &subscriber{stopAt: "activated", reached: make(chan struct{}), goOn: make(chan struct{})}
	srv := httptest.NewServer(service)
	t.Cleanup(srv.Close)
	t.Cleanup(sync.OnceFunc(func() { close(service.goOn) }))
	must[any](c, http.MethodPut, "/v1/subscriptions/ci", fmt.Sprintf(
		`{"url": %q, "secret": "sixteen bytes or more", "filter": {"types": ["lease"], "events": ["queued", "activated", "released", "destroyed"]}}`,
		srv.URL), http.StatusCreated)

	_, position := hears(t, c, "", 0)
	first := c.ask("")
	c.await(first.ID, "active")
	heard, position := hears(t, c, position, 2)
	select {
	case <-service.reached:
	case <-time.After(patience):
		t.Fatal("the service hears nothing of the activated lease")
	}
	worker.kill()
	api.kill()

	api = startAPI(t, redis, "--webhook-private")
	c = newClient(t, api.url)
	startWorker(t, redis, "--webhook-private")
	startWorker(t, redis, "--webhook-private")
	c.release(first.ID)
	c.await(first.ID, "destroyed")
	second := c.ask("")
	c.await(second.ID, "active")
	more, _ := hears(t, c, position, 4)
	heard = append(heard, more...)

	want := []told{
		{Object: first.ID, Event: "queued"}, {Object: first.ID, Event: "activated"}, {Object: first.ID, Event: "released"},
		{Object: first.ID, Event: "destroyed"}, {Object: second.ID, Event: "queued"}, {Object: second.ID, Event: "activated"},
	}
	if got := nameless(heard); !slices.Equal(got, want) {
		t.Errorf("the reader heard %v, want %v", got, want)
	}
	twice := slices.Insert(slices.Clone(want), 1, want[1])
	eventually(t, func() error {
		if got := service.heard(); len(got) < len(twice) {
			return fmt.Errorf("the service heard %v, want %v", got, twice)
		}
		return nil
	})
	got := service.heard()
	if !slices.Equal(nameless(got), twice) || got[1].ID != got[2].ID {
		t.Errorf("the service heard %v, want %v", got, twice)
	}
}

func nameless(events []told) []told {
	out := slices.Clone(events)
	for i := range out {
		out[i].ID = ""
	}
	return out
}

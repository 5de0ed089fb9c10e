package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"drydock/api/wire"
	"drydock/client"
	"drydock/model"
)

// never is an interval that no test lives to see the end of: what is seen was told by an event.
const never = time.Hour

// activeLease returns the id of a lease that is active.
func (d *drydock) activeLease(c *client.Client) string {
	d.t.Helper()
	d.pool(c, 1)
	lease, err := c.CreateLease(within(d.t), host)
	must(d.t, err)
	_, err = c.WaitLease(within(d.t), lease.ID, model.LeaseActive, client.WaitOptions{})
	must(d.t, err)
	return lease.ID
}

// TestWatchIsTold: of each change by an event, whether the lease waits in the queue or is in use.
func TestWatchIsTold(t *testing.T) {
	t.Parallel()
	d := newDrydock(t)
	c := d.client(client.Config{})
	first := d.activeLease(c)
	second, err := c.CreateLease(within(t), wire.NewLease{Type: "host", TTL: ttl(time.Hour)})
	must(t, err)
	var seen []string
	for lease, err := range c.WatchLease(within(t), second.ID, never) {
		must(t, err)
		now := lease.Status
		if lease.Releasing {
			now += " releasing"
		}
		if seen = slices.Compact(append(seen, now)); len(seen) == 1 {
			_, err = c.ReleaseLease(within(t), first, "")
			must(t, err)
		}
		switch begun := second.Until; {
		case now == "active" && lease.Until.Equal(begun.Time):
			_, err = c.ExtendLease(within(t), lease.ID, 2*time.Hour)
			must(t, err)
		case now == "active":
			_, err = c.ReleaseLease(within(t), lease.ID, "")
			must(t, err)
		}
	}
	if len(seen) < 3 || seen[0] != "pending" || !slices.Contains(seen, "active") || seen[len(seen)-1] != "destroyed" {
		t.Errorf("watched %q, want pending, active and at last destroyed", seen)
	}
}

// followed reads a log to its end; at the entry with this event it does something.
func followed(t *testing.T, c *client.Client, id string, interval time.Duration, event string, do func()) (ids []string) {
	t.Helper()
	for entry, err := range c.FollowLog(within(t), model.KindLease, id, interval) {
		must(t, err)
		if ids = append(ids, entry.ID); entry.Event == event {
			do()
		}
	}
	return ids
}

// wholeLog reads the ids of a log.
func wholeLog(t *testing.T, c *client.Client, id string) (ids []string) {
	t.Helper()
	for entry, err := range c.Log(within(t), model.KindLease, id) {
		must(t, err)
		ids = append(ids, entry.ID)
	}
	return ids
}

// TestFollowedLogIsWholeOverLostStreams: every stream of events is cut after its first event, and before the next one is open more happens.
func TestFollowedLogIsWholeOverLostStreams(t *testing.T) {
	t.Parallel()
	d := newDrydock(t)
	direct := d.client(client.Config{})
	id := d.activeLease(direct)
	var opened, cut atomic.Int64
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		resp := d.relay(r)
		if resp == nil {
			panic(http.ErrAbortHandler)
		}
		defer resp.Body.Close()
		w.Header().Set("Content-Type", resp.Header.Get("Content-Type"))
		stream := strings.HasSuffix(r.URL.Path, "/events")
		for some := make([]byte, 4096); ; {
			n, err := resp.Body.Read(some)
			_, _ = w.Write(some[:n])
			_ = http.NewResponseController(w).Flush()
			switch {
			case stream && strings.Contains(string(some[:n]), "data:"):
				var err error
				if cut.Add(1) == 1 { // while nobody follows
					_, err = direct.ReleaseLease(r.Context(), id, "")
				}
				if err != nil {
					t.Error(err)
				}
				panic(http.ErrAbortHandler)
			case stream && opened.Add(1) == 1:
				if _, err := direct.SendLease(r.Context(), id, client.ExtendTo(time.Now().Add(time.Hour), "")); err != nil {
					t.Error(err)
				}
			case err != nil:
				return
			}
		}
	}))
	t.Cleanup(proxy.Close)
	c := d.client(client.Config{Server: proxy.URL, Retry: client.Retry{Base: time.Millisecond}})
	told := followed(t, c, id, never, "", func() {})
	if whole := wholeLog(t, direct, id); !slices.Equal(told, whole) || cut.Load() == 0 {
		t.Errorf("followed %q over %d lost streams, want %q", told, cut.Load(), whole)
	}
}

// TestFollowersSeeWhatCameBeforeTheirStream: all that there is to see happens between the first look and the opening of the stream.
func TestFollowersSeeWhatCameBeforeTheirStream(t *testing.T) {
	t.Parallel()
	d := newDrydock(t)
	direct := d.client(client.Config{})
	id := d.activeLease(direct)
	c := d.client(client.Config{HTTP: &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		if strings.HasSuffix(r.URL.Path, "/events") {
			if _, err := direct.ReleaseLease(r.Context(), id, ""); err != nil {
				return nil, err
			}
			if _, err := direct.WaitLease(r.Context(), id, model.LeaseDestroyed, client.WaitOptions{}); err != nil {
				return nil, err
			}
		}
		return d.http.Transport.RoundTrip(r)
	})}})
	told := followed(t, c, id, never, "", func() {})
	if whole := wholeLog(t, direct, id); !slices.Equal(told, whole) {
		t.Errorf("followed %q, want %q", told, whole)
	}
}

// TestFollowersLookWhereThereAreNoEvents: the caller may not read them, or not any more, the server has none, or too many read them already.
func TestFollowersLookWhereThereAreNoEvents(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]http.HandlerFunc{
		"forbidden": problem(403, "forbidden"), "none": says(404, "<html>"), "too many": problem(503, "unavailable"), "no stream": says(200, "{}"),
		"no longer": inTurn(streams(": hello\nid: 1-0\n"), problem(403, "forbidden")),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDrydock(t)
			var asked atomic.Int64
			c := d.client(client.Config{Retry: client.Retry{Base: time.Millisecond}, HTTP: &http.Client{
				Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
					if !strings.HasSuffix(r.URL.Path, "/events") {
						return d.http.Transport.RoundTrip(r)
					}
					asked.Add(1)
					w := httptest.NewRecorder()
					answer(w, r)
					return w.Result(), nil
				}),
			}})
			id := d.activeLease(c)
			told := followed(t, c, id, 10*time.Millisecond, "activated", func() {
				go func() { _, _ = c.ReleaseLease(t.Context(), id, "") }()
			})
			if whole := wholeLog(t, c, id); !slices.Equal(told, whole) || asked.Load() == 0 {
				t.Errorf("followed %q after asking for events %d times, want %q", told, asked.Load(), whole)
			}
			for lease, err := range c.WatchLease(within(t), id, 10*time.Millisecond) {
				if err != nil || lease.Status != "destroyed" {
					t.Errorf("watched %+v, %v", lease, err)
				}
			}
		})
	}
}

// inTurn gives these answers in turn, and the last one for ever.
func inTurn(answers ...http.HandlerFunc) http.HandlerFunc {
	var n atomic.Int64
	return func(w http.ResponseWriter, r *http.Request) { answers[min(int(n.Add(1)), len(answers))-1](w, r) }
}

// told is a server with one command, which is consumed when somebody has looked at it while the stream of events is open.
type told struct {
	mu     sync.Mutex
	opened bool
	lookC  chan struct{} // closed by that look
	endedC chan struct{} // closed when the stream has ended
	silent bool          // no event tells of it
}

func (s *told) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/events") {
		defer close(s.endedC)
		w.Header().Set("Content-Type", "text/event-stream")
		s.mu.Lock()
		s.opened = true
		s.mu.Unlock()
		fmt.Fprint(w, ": hello\nid: 1-0\n\n")
		_ = http.NewResponseController(w).Flush()
		<-s.lookC
		if !s.silent {
			fmt.Fprintln(w, block("2-0", "extended"))
			_ = http.NewResponseController(w).Flush()
		}
		<-r.Context().Done()
		return
	}
	s.mu.Lock()
	outcome := "null"
	select {
	case <-s.lookC:
		outcome = `"applied"`
	default:
		if s.opened {
			close(s.lookC)
		}
	}
	s.mu.Unlock()
	says(200, `{"items": [{"id": "c1", "outcome": `+outcome+`}], "next": null}`)(w, r)
}

func newTold(t *testing.T) (*client.Client, *told) {
	t.Helper()
	s := &told{lookC: make(chan struct{}), endedC: make(chan struct{})}
	web := httptest.NewServer(s)
	t.Cleanup(web.Close)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	c, err := client.New(client.Config{Server: web.URL, HTTP: &http.Client{Transport: transport}})
	must(t, err)
	return c, s
}

// TestWaitForACommandIsTold: nobody looks again before the event comes, and the stream is closed behind it.
func TestWaitForACommandIsTold(t *testing.T) {
	t.Parallel()
	c, s := newTold(t)
	begin := time.Now()
	cmd, err := c.WaitCommand(within(t), model.KindLease, "a", "c1")
	if took := time.Since(begin); err != nil || cmd.Outcome != "applied" || took > 20*time.Second {
		t.Errorf("WaitCommand = %+v, %v after %s, want it well before the net's 30 seconds", cmd, err, took)
	}
	<-s.endedC
}

// TestFollowersEndWithTheirContext: at once, although no event comes.
func TestFollowersEndWithTheirContext(t *testing.T) {
	t.Parallel()
	c, s := newTold(t)
	s.silent = true
	ctx, cancel := context.WithCancel(within(t))
	go func() {
		<-s.lookC
		cancel()
	}()
	_, err := c.WaitCommand(ctx, model.KindLease, "a", "c2")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("WaitCommand = %v, want the end of its context", err)
	}
	<-s.endedC
}

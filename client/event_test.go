package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"drydock/client"
	"drydock/model"
)

// streams answers with these lines of a stream of events, and then hangs up.
func streams(lines ...string) http.HandlerFunc {
	return says(200, strings.Join(lines, "\n")+"\n", "Content-Type", "text/event-stream")
}

func block(id, event string) string {
	return fmt.Sprintf("id: %s\nevent: %s\ndata: {\"id\": %q, \"event\": %q}\n", id, event, id, event)
}

// follow reads so many events and returns their ids and names.
func follow(t *testing.T, c *client.Client, o client.EventOptions, most int) (told []string, err error) {
	t.Helper()
	for e, err := range c.Events(within(t), o) {
		if err != nil {
			return told, err
		}
		if told = append(told, e.ID+" "+e.Event); len(told) == most {
			break
		}
	}
	return told, nil
}

// TestEventsGoOnWhereTheConnectionWasLost: in the middle of an event, after a heartbeat that moved the position, and over a gap.
func TestEventsGoOnWhereTheConnectionWasLost(t *testing.T) {
	t.Parallel()
	c, s := scripted(t, client.Config{},
		streams(": hello\nid: 1-0\n", block("2-0", "queued"), "id: 3-0\ndata: {\"id\": \"3-0\""),
		problem(503, "unavailable"),
		hangUp,
		streams(block("3-0", "acquired"), ": heartbeat\nid: 9-0\n"),
		streams("data: {\"id\": \"20-0\",\ndata:  \"event\": \"gap\"}\nid: 20-0\n", block("21-0", "released")),
	)
	told, err := follow(t, c, client.EventOptions{}, 4)
	if want := []string{"2-0 queued", "3-0 acquired", "20-0 gap", "21-0 released"}; err != nil || !slices.Equal(told, want) {
		t.Errorf("told %q, %v, want %q", told, err, want)
	}
	var after []string
	for _, r := range s.seen() {
		after = append(after, r.Header.Get("Last-Event-ID"))
		if r.Header.Get("Accept") != "text/event-stream" {
			t.Errorf("it accepts %q", r.Header.Get("Accept"))
		}
	}
	if want := []string{"", "2-0", "2-0", "2-0", "9-0"}; !slices.Equal(after, want) {
		t.Errorf("the Last-Event-IDs are %q, want %q", after, want)
	}
}

func TestEventsEndWithAnError(t *testing.T) {
	t.Parallel()
	short := client.EventOptions{Patience: time.Millisecond}
	for name, tt := range map[string]struct {
		answers []http.HandlerFunc
		want    error // nil = just some error
		sent    int   // 0 = any number
	}{
		"refused":             {[]http.HandlerFunc{problem(422, "invalid")}, client.ErrInvalid, 1},
		"refused later":       {[]http.HandlerFunc{streams(block("1-0", "queued")), problem(401, "unauthorized")}, client.ErrUnauthorized, 2},
		"never there":         {[]http.HandlerFunc{problem(503, "unavailable")}, client.ErrUnavailable, 3},
		"empty for ever":      {[]http.HandlerFunc{says(200, "", "Content-Type", "text/event-stream")}, client.ErrUnavailable, 3},
		"gone for too long":   {[]http.HandlerFunc{streams(block("1-0", "queued")), hangUp}, client.ErrUnavailable, 0},
		"no stream":           {[]http.HandlerFunc{says(200, "{}")}, nil, 1},
		"not Drydock's event": {[]http.HandlerFunc{streams("data: hello\n")}, nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, s := scripted(t, client.Config{}, tt.answers...)
			_, err := follow(t, c, short, 100)
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) || tt.sent != 0 && len(s.seen()) != tt.sent {
				t.Errorf("ended with %v after %d requests, want %v after %d", err, len(s.seen()), tt.want, tt.sent)
			}
		})
	}
}

// TestSilentConnectionIsDead: the network has lost the other side, and nobody says so.
func TestSilentConnectionIsDead(t *testing.T) {
	t.Parallel()
	silent := func(w http.ResponseWriter, r *http.Request) {
		streams(block("1-0", "queued"))(w, r)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
	c, _ := scripted(t, client.Config{}, silent, streams(block("2-0", "acquired")))
	told, err := follow(t, c, client.EventOptions{Silence: 50 * time.Millisecond}, 2)
	if want := []string{"1-0 queued", "2-0 acquired"}; err != nil || !slices.Equal(told, want) {
		t.Errorf("told %q, %v, want %q", told, err, want)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for e, err := range c.Events(ctx, client.EventOptions{}) {
		cancel()
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("the end of the caller's context = %v, %v", e, err)
		}
	}
}

// TestEventsThroughABadNetwork: each connection is cut after some bytes, and all events of a real server come, in order, each once.
func TestEventsThroughABadNetwork(t *testing.T) {
	t.Parallel()
	d := newDrydock(t)
	var connections atomic.Int64
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		resp := d.relay(r)
		if resp == nil {
			panic(http.ErrAbortHandler)
		}
		defer resp.Body.Close()
		w.Header().Set("Content-Type", resp.Header.Get("Content-Type"))
		some := make([]byte, 100)
		for left := 300 + 700*int(connections.Add(1)%3); left > 0; left -= len(some) {
			n, err := resp.Body.Read(some[:min(left, len(some))])
			if _, e := w.Write(some[:n]); err != nil || e != nil {
				break
			}
			_ = http.NewResponseController(w).Flush()
		}
		panic(http.ErrAbortHandler)
	}))
	t.Cleanup(proxy.Close)
	c := d.client(client.Config{})
	d.pool(c, 2)
	for range 5 {
		lease, err := c.CreateLease(within(t), host)
		must(t, err)
		_, err = c.ReleaseLease(within(t), lease.ID, "")
		must(t, err)
		isDestroyed(t, c, lease.ID)
	}
	all, err := follow(t, c, client.EventOptions{After: "0"}, 20)
	must(t, err)
	bad := d.client(client.Config{Server: proxy.URL, Retry: client.Retry{Base: time.Millisecond}})
	told, err := follow(t, bad, client.EventOptions{After: "0"}, 20)
	if err != nil || !slices.Equal(told, all) || connections.Load() < 3 {
		t.Errorf("through %d connections came %q, %v, want %q", connections.Load(), told, err, all)
	}
}

// TestEventsUntilNow ends by itself, whatever the filter lets through.
func TestEventsUntilNow(t *testing.T) {
	t.Parallel()
	d := newDrydock(t)
	c := d.client(client.Config{})
	until := func(o client.EventOptions) []string {
		t.Helper()
		o.UntilNow = true
		told, err := follow(t, c, o, -1)
		must(t, err)
		return told
	}
	if told := until(client.EventOptions{After: "0"}); len(told) != 0 {
		t.Errorf("before anything happened there was %q", told)
	}
	d.pool(c, 1)
	lease, err := c.CreateLease(within(t), host)
	must(t, err)
	_, err = c.ReleaseLease(within(t), lease.ID, "")
	must(t, err)
	isDestroyed(t, c, lease.ID)
	leases := []model.Kind{model.KindLease} // the resource goes on by itself
	all := until(client.EventOptions{After: "0", Types: leases})
	if len(all) < 4 || !strings.HasSuffix(all[len(all)-1], " destroyed") {
		t.Errorf("all events are %q, want them to end with destroyed", all)
	}
	if told := until(client.EventOptions{After: "0", Events: []model.EventType{model.EventQueued}}); len(told) != 1 {
		t.Errorf("of queued there are %q, want one", told)
	}
	last, _, _ := strings.Cut(all[len(all)-1], " ")
	if told := until(client.EventOptions{After: last, Types: leases}); len(told) != 0 {
		t.Errorf("behind the last event there is %q", told)
	}
}

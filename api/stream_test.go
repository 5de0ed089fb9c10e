package api

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"drydock/api/wire"
	"drydock/embedded/redistest"
	"drydock/model"
	"drydock/store"
)

// streamEnv is an API on a real store, in a namespace with a lease whose commands are the events of the tests.
type streamEnv struct {
	*testAPI

	ns    string
	rdb   *redis.Client
	real  *store.Store
	lease model.Ref
	sent  int
}

func newStreamEnv(t *testing.T, options ...func(*Config)) *streamEnv {
	t.Helper()
	e := &streamEnv{ns: redistest.Namespace(t), rdb: redistest.Client(t, redistest.Shared(t))}
	e.testAPI, e.real = startOn(t, e.rdb, options...)
	created, err := e.real.CreateLease(t.Context(), e.ns, model.NewID(), model.NewLease{Type: "host", Owner: "ada"}, model.Idempotency{})
	if err != nil {
		t.Fatal(err)
	}
	e.lease = created.Lease.Ref
	return e
}

// startOn starts an API process on a Redis.
func startOn(t *testing.T, rdb *redis.Client, options ...func(*Config)) (*testAPI, *store.Store) {
	t.Helper()
	s := store.New(rdb, store.Config{})
	t.Cleanup(s.Close)
	return newAPI(t, &fakeStore{}, append(options, func(c *Config) { c.Store = s })...), s
}

// happen makes n events and returns the ids of their commands.
func (e *streamEnv) happen(n int) []string {
	e.t.Helper()
	ids := []string{}
	for range n {
		id := fmt.Sprintf("c%03d", e.sent)
		e.sent++
		_, err := e.real.Send(e.t.Context(), model.Command{ID: id, Target: e.lease, Name: model.CommandExtend, Author: "ada", Origin: model.Origin{Via: model.ViaAPI}}, model.Idempotency{})
		if err != nil {
			e.t.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids
}

// sse is a client of an event stream.
type sse struct {
	t      *testing.T
	resp   *http.Response
	lines  *bufio.Scanner
	cancel func()
	// lastID is what a browser would send when it connects again.
	lastID string
}

// message is what came up to an empty line.
type message struct {
	comment, id, event string
	data               wire.Event
	raw                string
}

func (a *testAPI) stream(query string, lastID string) *sse {
	a.t.Helper()
	return a.streamAs(query, lastID, "")
}

// streamAs is stream with an Authorization header.
func (a *testAPI) streamAs(query, lastID, authorization string) *sse {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), 30*time.Second)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.URL+"/v1/events?"+query, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	resp, err := a.Client().Do(req) //nolint:bodyclose // close does
	if err != nil {
		a.t.Fatal(err)
	}
	s := &sse{t: a.t.(*testing.T), resp: resp, lines: bufio.NewScanner(resp.Body), cancel: cancel, lastID: lastID}
	a.t.Cleanup(s.close)
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		a.t.Fatalf("stream = %d %v", resp.StatusCode, resp.Header)
	}
	if m, ok := s.next(); !ok || m.comment == "" || m.id == "" || m.raw != "" {
		a.t.Fatalf("the stream begins with %+v, want a comment and the position", m)
	}
	return s
}

func (s *sse) close() {
	s.cancel()
	_ = s.resp.Body.Close()
}

// next returns the next message; ok is false when the stream has ended.
func (s *sse) next() (m message, ok bool) {
	s.t.Helper()
	for s.lines.Scan() {
		field, value, _ := strings.Cut(s.lines.Text(), ": ")
		switch field {
		case "":
			if s.lines.Text() == "" {
				if m.id != "" {
					s.lastID = m.id
				}
				if err := json.Unmarshal([]byte(m.raw), &m.data); m.raw != "" && err != nil {
					s.t.Fatalf("data %s: %v", m.raw, err)
				}
				return m, true
			}
			m.comment = value
		case "id":
			m.id = value
		case "event":
			m.event = value
		case "data":
			m.raw = value
		default:
			s.t.Fatalf("line %q", s.lines.Text())
		}
	}
	return m, false
}

// events returns the next n events, heartbeats left out.
func (s *sse) events(n int) []message {
	s.t.Helper()
	var out []message
	for len(out) < n {
		m, ok := s.next()
		if !ok {
			s.t.Fatalf("the stream ended after %d of %d events: %v", len(out), n, s.lines.Err())
		}
		if m.raw != "" {
			if m.data.ID != m.id || m.data.Event != m.event {
				s.t.Errorf("id %s and event %s, data %s", m.id, m.event, m.raw)
			}
			out = append(out, m)
		}
	}
	return out
}

func commandsOf(messages []message) []string {
	ids := []string{}
	for _, m := range messages {
		ids = append(ids, string(m.data.Command))
	}
	return ids
}

func TestStreamTellsEveryReader(t *testing.T) {
	t.Parallel()
	e := newStreamEnv(t)
	one, two := e.stream("namespace="+e.ns, ""), e.stream("namespace="+e.ns, "")
	other := e.stream("namespace=other-"+e.ns, "")
	want := e.happen(5)
	for _, s := range []*sse{one, two} {
		got := s.events(5)
		if diff := cmp.Diff(want, commandsOf(got)); diff != "" {
			t.Errorf("commands (-want +got):\n%s", diff)
		}
		d := got[0].data
		if d.Namespace != e.ns || d.Type != "lease" || string(d.Object) != e.lease.ID || d.Event != "command-sent" || d.Status != "pending" ||
			d.Owner != "ada" || d.ResourceType != "host" || d.At.IsZero() || !strings.Contains(string(d.Text), "extend from ada") {
			t.Errorf("data = %s", got[0].raw)
		}
	}
	// Another namespace hears nothing of it.
	created, err := e.real.CreateLease(t.Context(), "other-"+e.ns, model.NewID(), model.NewLease{Type: "host"}, model.Idempotency{})
	if err != nil {
		t.Fatal(err)
	}
	if got := other.events(1); string(got[0].data.Object) != created.Lease.ID {
		t.Errorf("the other namespace heard %s", got[0].raw)
	}
}

// TestStreamIsResumedAcrossARestart: what happens while no API process runs is not missed.
func TestStreamIsResumedAcrossARestart(t *testing.T) {
	t.Parallel()
	e := newStreamEnv(t)
	s := e.stream("namespace="+e.ns, "")
	want := e.happen(3)
	got := commandsOf(s.events(3))
	quiet := e.stream("namespace="+e.ns, "") // sees no event at all before the restart
	e.CloseClientConnections()
	e.Close()
	for _, r := range []*sse{s, quiet} {
		if m, ok := r.next(); ok && m.raw != "" {
			t.Errorf("the stream goes on with %s", m.raw)
		}
	}
	missed := e.happen(4)
	after, _ := startOn(t, e.rdb)
	again := after.stream("namespace="+e.ns, s.lastID)
	if diff := cmp.Diff(missed, commandsOf(after.stream("namespace="+e.ns, quiet.lastID).events(4))); diff != "" {
		t.Errorf("commands of the quiet reader (-want +got):\n%s", diff)
	}
	want = append(append(want, missed...), e.happen(2)...)
	got = append(got, commandsOf(again.events(6))...)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("commands (-want +got):\n%s", diff)
	}
	// ?after= does the same, and the header goes before it.
	if diff := cmp.Diff(want, commandsOf(after.stream("namespace="+e.ns+"&after=0", "").events(10))[1:]); diff != "" {
		t.Errorf("commands from the oldest on (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want[3:], commandsOf(after.stream("namespace="+e.ns+"&after=0", s.lastID).events(6))); diff != "" {
		t.Errorf("commands with both (-want +got):\n%s", diff)
	}
}

func TestStreamFilters(t *testing.T) {
	t.Parallel()
	e := newStreamEnv(t)
	for query, want := range map[string]string{
		"type=lease&event=queued":                      "queued",
		"event=queued,released":                        "queued",
		"object=" + e.lease.ID + "&event=command-sent": "command-sent",
		"status=pending,active&event=command-sent":     "command-sent",
	} {
		e.happen(1)
		if got := e.stream("namespace="+e.ns+"&after=0&"+query, "").events(1); got[0].event != want {
			t.Errorf("%s: %s", query, got[0].raw)
		}
	}
	for query, field := range map[string]string{
		"type=blueprint": "type", "event=realesed": "event", "event=queued,": "event", "status=gone": "status", "object=x": "object", "after=x": "after",
	} {
		got := e.do(http.MethodGet, "/v1/events?"+query, "")
		if p := got.problem(t); got.status != http.StatusUnprocessableEntity || string(p.Field) != field {
			t.Errorf("%s = %d %s", query, got.status, got.body)
		}
	}
}

// TestHeartbeatCarriesThePosition: a filter that lets nothing through must not leave its reader behind.
func TestHeartbeatCarriesThePosition(t *testing.T) {
	t.Parallel()
	e := newStreamEnv(t, func(c *Config) { c.Heartbeat = 20 * time.Millisecond })
	s := e.stream("namespace="+e.ns+"&event=destroyed", "")
	all := e.stream("namespace="+e.ns, "")
	e.happen(3)
	last := all.events(3)[2].id
	for m, ok := s.next(); m.id != last; m, ok = s.next() {
		if !ok || m.comment != "heartbeat" || m.raw != "" {
			t.Fatalf("= %+v, want a heartbeat", m)
		}
	}
}

func TestStreamTellsOfAGap(t *testing.T) {
	t.Parallel()
	e := newStreamEnv(t)
	s := e.stream("namespace="+e.ns, "")
	e.happen(1)
	s.events(1)
	s.close()
	want := e.happen(5)
	if err := e.rdb.XTrimMaxLen(t.Context(), "drydock:{"+e.ns+"}:events", 2).Err(); err != nil {
		t.Fatal(err)
	}
	after, _ := startOn(t, e.rdb)
	got := after.stream("namespace="+e.ns+"&type=resource,lease&status=pending", s.lastID).events(3)
	if got[0].event != "gap" || got[0].data.Type != "" || got[0].data.Text == "" {
		t.Errorf("first = %s, want a gap, whatever the filter", got[0].raw)
	}
	if diff := cmp.Diff(want[3:], commandsOf(got[1:])); diff != "" {
		t.Errorf("commands (-want +got):\n%s", diff)
	}
}

// TestSlowReaderIsCutOffAndResumes: he gets everything in the end.
func TestSlowReaderIsCutOffAndResumes(t *testing.T) {
	t.Parallel()
	e := newStreamEnv(t)
	const n = 5000
	pipe := e.rdb.Pipeline()
	for i := range n {
		pipe.XAdd(t.Context(), &redis.XAddArgs{Stream: "drydock:{" + e.ns + "}:events", Values: []any{
			"o", e.lease.Member(), "e", "changed", "s", "pending", "t", strings.Repeat("x", 500), "c", fmt.Sprintf("c%04d", i),
		}})
	}
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	api := New(Config{Store: e.real, Tasks: e.tasks, Kinds: fakeKinds{}, StreamSlow: 50 * time.Millisecond})
	srv := httptest.NewUnstartedServer(nil)
	srv.Config = api.HTTPServer()
	srv.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		_ = c.(*net.TCPConn).SetWriteBuffer(16 << 10)
		return ctx
	}
	cutOff := make(chan struct{})
	srv.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed { // of the one connection
			close(cutOff)
		}
	}
	srv.Start()
	defer srv.Close()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.(*net.TCPConn).SetReadBuffer(16 << 10)
	fmt.Fprintf(conn, "GET /v1/events?namespace=%s&after=0 HTTP/1.1\r\nHost: x\r\n\r\n", e.ns)
	// He reads the beginning, and then no more until he has been cut off.
	resp, err := http.ReadResponse(bufio.NewReaderSize(conn, 4096), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	select {
	case <-cutOff:
	case <-time.After(30 * time.Second):
		t.Fatal("the slow reader is not cut off")
	}
	if n := api.streams.Load(); n != 0 {
		t.Errorf("%d streams are still counted", n)
	}
	slow := &sse{t: t, resp: resp, lines: bufio.NewScanner(resp.Body), cancel: func() {}}
	seen := 0
	for m, ok := slow.next(); ok; m, ok = slow.next() {
		if strings.HasPrefix(string(m.data.Command), "c") {
			if want := fmt.Sprintf("c%04d", seen); string(m.data.Command) != want {
				t.Fatalf("event %s, want %s", m.data.Command, want)
			}
			seen++
		}
	}
	if seen == n {
		t.Fatal("everything fitted into the buffers")
	}
	t.Logf("cut off after %d of %d events", seen, n)
	rest := e.stream("namespace="+e.ns, slow.lastID)
	for _, m := range rest.events(n - seen + min(1, max(0, 1-seen))) {
		if m.event == "queued" {
			continue
		}
		if want := fmt.Sprintf("c%04d", seen); string(m.data.Command) != want {
			t.Fatalf("resumed with event %s, want %s", m.data.Command, want)
		}
		seen++
	}
}

func TestStreamsAreBounded(t *testing.T) {
	t.Parallel()
	e := newStreamEnv(t, func(c *Config) { c.MaxStreams = 1 })
	s := e.stream("namespace="+e.ns, "")
	got := e.do(http.MethodGet, "/v1/events", "")
	if p := got.problem(t); got.status != http.StatusServiceUnavailable || p.Code != "unavailable" || !strings.Contains(p.Detail, "streams") {
		t.Errorf("one too many = %d %s", got.status, got.body)
	}
	e.happen(1)
	s.events(1)
}

func TestStreamEndsWithTheServer(t *testing.T) {
	t.Parallel()
	e := newStreamEnv(t)
	s := e.stream("namespace="+e.ns, "")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- e.Config.Shutdown(ctx) }()
	m, ok := s.next()
	if !ok || !strings.Contains(m.comment, "connect again") {
		t.Errorf("last words = %+v", m)
	}
	if _, ok := s.next(); ok || s.lines.Err() != nil {
		t.Errorf("the stream does not end cleanly: %v", s.lines.Err())
	}
	if err := <-done; err != nil {
		t.Errorf("Shutdown = %v", err)
	}
}

func TestSubscriptionsOverHTTP(t *testing.T) {
	t.Parallel()
	e := newStreamEnv(t)
	path := "/v1/subscriptions/ci?namespace=" + e.ns
	body := `{"url": "https://example.org/hook", "secret": "hunter2-hunter2-hunter2", "filter": {"types": ["lease"], "events": ["released"]}, "tries": 3}`
	put := e.do(http.MethodPut, path, body)
	if put.status != http.StatusCreated || put.header.Get("Location") != path {
		t.Fatalf("PUT = %d %s, Location %q", put.status, put.body, put.header.Get("Location"))
	}
	var sub wire.Subscription
	if err := json.Unmarshal(put.body, &sub); err != nil {
		t.Fatal(err)
	}
	want := wire.Subscription{
		Name: "ci", Namespace: e.ns, URL: "https://example.org/hook", Enabled: true, Tries: 3,
		Filter:   wire.EventFilter{Types: []string{"lease"}, Events: []string{"released"}, Status: []string{}},
		Position: sub.Position, CreatedAt: sub.CreatedAt, UpdatedAt: sub.UpdatedAt,
	}
	if diff := cmp.Diff(want, sub); diff != "" || sub.Position == "" || sub.CreatedAt.IsZero() {
		t.Errorf("PUT (-want +got):\n%s", diff)
	}
	// Again without the secret, which it keeps.
	again := e.do(http.MethodPut, path, `{"url": "https://example.org/hook", "enabled": false}`)
	if again.status != http.StatusOK || !strings.Contains(string(again.body), `"tries":10,`) || !strings.Contains(string(again.body), `"enabled":false`) {
		t.Errorf("PUT again = %d %s", again.status, again.body)
	}
	stored, err := e.real.Subscription(t.Context(), e.ns, "ci")
	if err != nil || stored.Secret != "hunter2-hunter2-hunter2" {
		t.Errorf("stored = %+v, %v", stored, err)
	}
	read, list := e.do(http.MethodGet, path, ""), e.do(http.MethodGet, "/v1/subscriptions?namespace="+e.ns, "")
	if read.status != http.StatusOK || list.status != http.StatusOK || !strings.Contains(string(list.body), strings.TrimSpace(string(read.body))) {
		t.Errorf("GET = %d %s, list = %d %s", read.status, read.body, list.status, list.body)
	}

	c, err := e.real.ClaimSubscription(t.Context(), e.ns, "ci")
	if err == nil {
		err = e.real.EventDead(t.Context(), c, &model.Event{
			ID: "5-0", At: testNow, Namespace: e.ns, Object: e.lease, Event: model.EventReleased, Status: "released",
		}, 3, "the service answered 500")
	}
	if err != nil {
		t.Fatal(err)
	}
	dead := e.do(http.MethodGet, "/v1/subscriptions/ci/dead-letters?namespace="+e.ns, "")
	var page wire.Page[wire.DeadLetter]
	if err := json.Unmarshal(dead.body, &page); err != nil || len(page.Items) != 1 || page.Items[0].Event.ID != "5-0" ||
		string(page.Items[0].Event.Object) != e.lease.ID || page.Items[0].Reason == "" || page.Items[0].Tries != 3 {
		t.Errorf("dead letters = %s, %v", dead.body, err)
	}
	retry := e.do(http.MethodPost, "/v1/subscriptions/ci/dead-letters/retry?namespace="+e.ns, "")
	if retry.status != http.StatusAccepted || strings.TrimSpace(string(retry.body)) != `{"retrying":1}` {
		t.Errorf("retry = %d %s", retry.status, retry.body)
	}
	if got := e.do(http.MethodDelete, path, ""); got.status != http.StatusNoContent {
		t.Errorf("DELETE = %d %s", got.status, got.body)
	}
	for method, path := range map[string]string{
		http.MethodGet: path, http.MethodDelete: path, http.MethodPost: "/v1/subscriptions/ci/dead-letters/retry?namespace=" + e.ns,
	} {
		if got := e.do(method, path, ""); got.status != http.StatusNotFound {
			t.Errorf("%s after it was deleted = %d %s", method, got.status, got.body)
		}
	}
	for _, text := range []string{string(put.body), string(again.body), string(read.body), string(list.body), e.log.String()} {
		if strings.Contains(text, "hunter2") {
			t.Errorf("the secret is shown: %s", text)
		}
	}
}

func TestSubscriptionsThatAreRefused(t *testing.T) {
	t.Parallel()
	e := newStreamEnv(t)
	for name, tc := range map[string]struct{ body, field string }{
		"no url":         {`{"secret": "hunter2-hunter2-hunter2"}`, "url"},
		"private":        {`{"url": "http://127.0.0.1/", "secret": "hunter2-hunter2-hunter2"}`, "url"},
		"password":       {`{"url": "https://u:hunter2@example.org/", "secret": "hunter2-hunter2-hunter2"}`, "url"},
		"no secret":      {`{"url": "https://example.org/"}`, "secret"},
		"short secret":   {`{"url": "https://example.org/", "secret": "hunter2"}`, "secret"},
		"tries":          {`{"url": "https://example.org/", "secret": "hunter2-hunter2-hunter2", "tries": 51}`, "tries"},
		"event":          {`{"url": "https://example.org/", "secret": "hunter2-hunter2-hunter2", "filter": {"events": ["realesed"]}}`, "filter.events"},
		"filter's field": {`{"url": "https://example.org/", "secret": "hunter2-hunter2-hunter2", "filter": {"event": ["released"]}}`, "filter.event"},
		"filter's case":  {`{"url": "https://example.org/", "secret": "hunter2-hunter2-hunter2", "filter": {"Events": ["released"]}}`, "filter.Events"},
		"filter's type":  {`{"url": "https://example.org/", "secret": "hunter2-hunter2-hunter2", "filter": {"events": "released"}}`, "filter.events"},
		"unknown":        {`{"url": "https://example.org/", "retries": 3}`, "retries"},
	} {
		got := e.do(http.MethodPut, "/v1/subscriptions/ci?namespace="+e.ns, tc.body)
		if p := got.problem(t); got.status != http.StatusUnprocessableEntity || string(p.Field) != tc.field || strings.Contains(string(got.body), "hunter2") {
			t.Errorf("%s = %d %s", name, got.status, got.body)
		}
	}
}

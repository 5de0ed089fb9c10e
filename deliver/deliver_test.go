package deliver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"drydock/embedded/redistest"
	"drydock/locks"
	"drydock/model"
	"drydock/outbound"
	"drydock/store"
)

func TestMain(m *testing.M) { redistest.Main(m) }

// patience bounds each wait for something that must come.
const patience = 30 * time.Second

const secret = "hunter2-hunter2-hunter2"

// service is what a subscription sends to.
type service struct {
	t   *testing.T
	url string

	mu sync.Mutex
	// answer decides the status of a request; nil = 204.
	answer func(n int, r *received) int
	got    []received
	cameC  chan struct{} // closed when a request has come
}

// received is one request.
type received struct {
	key, event, sub string
	body            struct {
		ID, Event, Namespace, Type, Object, Status, Command, Text string
	}
	status int
}

func newService(t *testing.T) *service {
	t.Helper()
	s := &service{t: t, cameC: make(chan struct{})}
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	s.url = srv.URL + "/hook?token=in-the-url"
	return s
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the sender has gone
	}
	if err := outbound.Verify([]byte(secret), body, r.Header.Get(outbound.HeaderSignature), time.Now()); err != nil {
		s.t.Errorf("signature: %v", err)
	}
	got := received{key: r.Header.Get("Idempotency-Key"), event: r.Header.Get(HeaderEvent), sub: r.Header.Get(HeaderSubscription), status: http.StatusNoContent}
	if err := json.Unmarshal(body, &got.body); err != nil {
		s.t.Errorf("body %s: %v", body, err)
	}
	s.mu.Lock()
	if s.answer != nil {
		got.status = s.answer(len(s.got), &got)
	}
	s.got = append(s.got, got)
	close(s.cameC)
	s.cameC = make(chan struct{})
	s.mu.Unlock()
	w.Header().Set("Location", "/elsewhere")
	w.WriteHeader(got.status)
	fmt.Fprint(w, secret)
}

// wait waits until the requests that have come are as the test wants them, and returns them.
func (s *service) wait(ok func([]received) bool) []received {
	s.t.Helper()
	over := time.After(patience)
	for {
		s.mu.Lock()
		got, cameC := slices.Clone(s.got), s.cameC
		s.mu.Unlock()
		if ok(got) {
			return got
		}
		select {
		case <-cameC:
		case <-over:
			s.t.Fatalf("only these came: %+v", got)
		}
	}
}

// accepted returns what was accepted, by the ids of its commands.
func accepted(got []received) []string {
	ids := []string{}
	for _, r := range got {
		if r.status/100 == 2 {
			ids = append(ids, r.body.Command)
		}
	}
	return ids
}

func atLeast(n int) func([]received) bool {
	return func(got []received) bool { return len(accepted(got)) >= n }
}

func (s *service) answers(f func(n int, r *received) int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = f
}

// env is a namespace with a lease whose commands are the events of the tests.
type env struct {
	t     *testing.T
	ctx   context.Context
	rdb   *redis.Client
	store *store.Store
	ns    string
	lease model.Ref
	log   *syncBuffer
	sent  int
	// did tells of each command that a worker has given to Redis.
	did signal
}

// signal wakes all who wait for it. It is a hook of a Redis client, and given after each command.
type signal struct {
	mu sync.Mutex
	c  chan struct{}
}

// next is closed by the next one.
func (s *signal) next() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.c == nil {
		s.c = make(chan struct{})
	}
	return s.c
}

func (s *signal) give() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.c != nil {
		close(s.c)
		s.c = nil
	}
}

func (*signal) DialHook(next redis.DialHook) redis.DialHook { return next }

func (s *signal) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		defer s.give()
		return next(ctx, cmd)
	}
}

func (s *signal) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		defer s.give()
		return next(ctx, cmds)
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func newEnv(t *testing.T) *env {
	t.Helper()
	e := &env{t: t, ctx: t.Context(), rdb: redistest.Client(t, redistest.Shared(t)), ns: redistest.Namespace(t), log: &syncBuffer{}}
	e.store = store.New(e.rdb, store.Config{Logger: slog.New(slog.DiscardHandler)})
	t.Cleanup(e.store.Close)
	created, err := e.store.CreateLease(e.ctx, e.ns, model.NewID(), model.NewLease{Type: "host", Owner: "ada"}, model.Idempotency{})
	e.must(err)
	e.lease = created.Lease.Ref
	t.Cleanup(func() {
		for _, word := range []string{"hunter2", "in-the-url"} {
			if strings.Contains(e.log.String(), word) {
				t.Errorf("the log shows %q:\n%s", word, e.log)
			}
		}
		if t.Failed() {
			t.Logf("log:\n%s", e.log)
		}
	})
	return e
}

func (e *env) must(err error) {
	e.t.Helper()
	if err != nil {
		e.t.Fatal(err)
	}
}

// happen makes n events and returns the ids of their commands.
func (e *env) happen(n int) []string {
	e.t.Helper()
	ids := []string{}
	for range n {
		id := fmt.Sprintf("c%03d", e.sent)
		e.sent++
		_, err := e.store.Send(e.ctx, model.Command{ID: id, Target: e.lease, Name: model.CommandExtend, Author: "ada", Origin: model.Origin{Via: model.ViaAPI}}, model.Idempotency{})
		e.must(err)
		ids = append(ids, id)
	}
	return ids
}

func (e *env) subscribe(url string, change ...func(*model.Subscription)) *model.Subscription {
	e.t.Helper()
	sub := &model.Subscription{Namespace: e.ns, Name: "s1", URL: url, Secret: secret, Enabled: true, Tries: 50}
	for _, f := range change {
		f(sub)
	}
	stored, _, err := e.store.PutSubscription(e.ctx, sub)
	e.must(err)
	return stored
}

// until waits until workers have made the subscription what the test wants.
func (e *env) until(ok func(*model.Subscription) bool) *model.Subscription {
	e.t.Helper()
	over := time.After(patience)
	for {
		didC := e.did.next()
		sub, err := e.store.Subscription(e.ctx, e.ns, "s1")
		e.must(err)
		if ok(sub) {
			return sub
		}
		select {
		case <-didC:
		case <-over:
			e.t.Fatalf("the subscription stays %+v", sub)
		}
	}
}

// worker is a process that delivers, with a connection and locks of its own.
type worker struct {
	runner *Runner
	rdb    *redis.Client
	stop   func()
}

// start runs a worker until it is stopped, or the test ends.
func (e *env) start(change ...func(*Config, *redis.Client)) *worker {
	e.t.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: e.rdb.Options().Addr})
	lockClient := redis.NewClient(&redis.Options{Addr: e.rdb.Options().Addr, ContextTimeoutEnabled: true, MaxRetries: -1})
	rdb.AddHook(&e.did)
	lockClient.AddHook(&e.did)
	log := slog.New(slog.NewTextHandler(e.log, nil))
	cfg := Config{
		Addresses: outbound.AddressPolicy{Private: true}, Namespaces: []string{e.ns}, Interval: 10 * time.Millisecond, FirstPause: time.Millisecond,
		MostPause: 10 * time.Millisecond, Logger: log,
	}
	for _, f := range change {
		f(&cfg, rdb)
	}
	s := store.New(rdb, store.Config{Logger: log})
	l, err := locks.New([]redis.UniversalClient{lockClient}, locks.Config{Logger: log})
	e.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	w := &worker{runner: New(s, l, cfg), rdb: rdb}
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.runner.Run(ctx)
	}()
	w.stop = sync.OnceFunc(func() {
		cancel()
		<-done
		s.Close()
		_ = rdb.Close()
		_ = lockClient.Close()
	})
	e.t.Cleanup(w.stop)
	return w
}

func TestEverythingArrivesInOrderOnceTheServiceIsBack(t *testing.T) {
	t.Parallel()
	e, svc := newEnv(t), newService(t)
	svc.answers(func(int, *received) int { return http.StatusServiceUnavailable })
	e.subscribe(svc.url)
	want := e.happen(10)
	e.start()
	sub := e.until(func(s *model.Subscription) bool { return s.Failures >= 3 })
	if sub.LastError != "the service answered 503" || sub.TryAt.IsZero() || sub.Sent != 0 {
		t.Errorf("while it is down: %+v", sub)
	}
	svc.answers(nil)
	want = append(want, e.happen(10)...)
	got := svc.wait(atLeast(20))
	if diff := cmp.Diff(want, accepted(got)); diff != "" {
		t.Errorf("accepted (-want +got):\n%s", diff)
	}
	last := got[len(got)-1]
	if last.key != e.ns+"/"+last.body.ID || last.event != "command-sent" || last.sub != "s1" || last.body.Event != "command-sent" ||
		last.body.Namespace != e.ns || last.body.Type != "lease" || last.body.Object != e.lease.ID || last.body.Status != "pending" ||
		!strings.Contains(last.body.Text, "extend from ada") {
		t.Errorf("last = %+v", last)
	}
	for _, r := range got[1:] { // while it is tried, it is the same
		if r.status/100 != 2 && r.key != got[0].key {
			t.Errorf("key %s before %s was accepted", r.key, got[0].key)
		}
	}
	sub = e.until(func(s *model.Subscription) bool { return s.Sent == 20 })
	if sub.Failures != 0 || sub.LastError != "" || sub.DeadLetters != 0 {
		t.Errorf("in the end: %+v", sub)
	}
}

func TestDeadLetterAfterTheTries(t *testing.T) {
	t.Parallel()
	e, svc := newEnv(t), newService(t)
	e.subscribe(svc.url, func(s *model.Subscription) { s.Tries = 3 })
	poison := true
	svc.answers(func(_ int, r *received) int {
		if poison && r.body.Command == "c001" {
			return http.StatusBadRequest
		}
		return http.StatusOK
	})
	e.happen(4)
	e.start()
	got := svc.wait(atLeast(3))
	if diff := cmp.Diff([]string{"c000", "c002", "c003"}, accepted(got)); diff != "" || len(got) != 6 {
		t.Errorf("accepted out of %d requests (-want +got):\n%s", len(got), diff)
	}
	page, err := e.store.DeadLetters(e.ctx, e.ns, "s1", 0, "")
	e.must(err)
	if len(page.Items) != 1 || page.Items[0].Event.Command != "c001" || page.Items[0].Tries != 3 || page.Items[0].Reason != "the service answered 400" {
		t.Fatalf("dead letters %+v", page.Items)
	}
	// Sent again while the service still refuses it: once, and new events are not held up.
	_, err = e.store.RetryDeadLetters(e.ctx, e.ns, "s1")
	e.must(err)
	e.until(func(s *model.Subscription) bool { return s.Retry == "" })
	e.happen(1)
	if got := svc.wait(atLeast(4)); len(got) != 8 {
		t.Errorf("%d requests, want one more for the dead letter and one for the new event", len(got))
	}
	svc.mu.Lock()
	poison = false
	svc.mu.Unlock()
	_, err = e.store.RetryDeadLetters(e.ctx, e.ns, "s1")
	e.must(err)
	got = svc.wait(atLeast(5))
	if last := got[len(got)-1]; last.body.Command != "c001" || last.key != got[1].key {
		t.Errorf("last = %+v, want c001 with the key that it had", last)
	}
	e.until(func(s *model.Subscription) bool { return s.DeadLetters == 0 && s.Retry == "" && s.Sent == 5 })
}

// TestNothingIsLeftOutWhenAWorkerEnds: it ends while the service has the event, before the place has moved.
func TestNothingIsLeftOutWhenAWorkerEnds(t *testing.T) {
	t.Parallel()
	e, svc := newEnv(t), newService(t)
	e.subscribe(svc.url)
	want := e.happen(5)
	here, goOn := make(chan struct{}), make(chan struct{})
	svc.answers(func(n int, _ *received) int {
		if n == 2 {
			close(here)
			<-goOn
		}
		return http.StatusOK
	})
	w := e.start()
	<-here
	w.stop() // returns although the service has not answered
	close(goOn)
	svc.wait(func(got []received) bool { return len(got) == 3 })
	sub, err := e.store.Subscription(e.ctx, e.ns, "s1")
	e.must(err)
	if sub.Sent != 2 {
		t.Errorf("the place moved for %d events, want 2", sub.Sent)
	}
	want = append(want, e.happen(2)...)
	e.start()
	got := svc.wait(atLeast(8))
	if diff := cmp.Diff(slices.Insert(want, 3, "c002"), accepted(got)); diff != "" {
		t.Errorf("accepted (-want +got):\n%s", diff)
	}
	if got[2].key != got[3].key {
		t.Error("the event that came twice has two keys")
	}
}

// failing makes the recording of what was sent fail, like a worker that is killed right after the answer of the service.
type failing struct{ redis.Hook }

func (failing) DialHook(next redis.DialHook) redis.DialHook { return next }
func (failing) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (failing) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if slices.Contains(cmd.Args(), any("sent")) {
			return errors.New("killed")
		}
		return next(ctx, cmd)
	}
}

func TestSentAgainWhenItCouldNotBeRecorded(t *testing.T) {
	t.Parallel()
	e, svc := newEnv(t), newService(t)
	e.subscribe(svc.url)
	e.happen(2)
	w := e.start(func(_ *Config, rdb *redis.Client) { rdb.AddHook(failing{}) })
	svc.wait(atLeast(1))
	w.stop()
	before := len(svc.wait(atLeast(1)))
	e.start()
	got := accepted(svc.wait(atLeast(before + 2)))
	if diff := cmp.Diff(append(slices.Repeat([]string{"c000"}, before), "c000", "c001"), got); diff != "" {
		t.Errorf("accepted (-want +got):\n%s", diff)
	}
}

func TestTwoWorkersOneDeliverer(t *testing.T) {
	t.Parallel()
	e, svc := newEnv(t), newService(t)
	e.subscribe(svc.url)
	first := e.start()
	e.start()
	want := e.happen(40)
	if diff := cmp.Diff(want, accepted(svc.wait(atLeast(40)))); diff != "" {
		t.Errorf("accepted (-want +got):\n%s", diff)
	}
	// Whichever of them it was, the other goes on.
	e.until(func(s *model.Subscription) bool { return s.Sent == 40 })
	first.stop()
	want = append(want, e.happen(10)...)
	if diff := cmp.Diff(want, accepted(svc.wait(atLeast(50)))); diff != "" {
		t.Errorf("accepted after one has gone (-want +got):\n%s", diff)
	}
}

func TestGapIsSent(t *testing.T) {
	t.Parallel()
	e, svc := newEnv(t), newService(t)
	e.subscribe(svc.url, func(s *model.Subscription) { s.Filter.Events = []model.EventType{model.EventSent} })
	e.happen(10)
	e.must(e.rdb.XTrimMaxLen(e.ctx, "drydock:{"+e.ns+"}:events", 2).Err())
	e.start()
	got := svc.wait(atLeast(3))
	if got[0].event != "gap" || got[0].body.Event != "gap" || got[0].key == got[1].key {
		t.Errorf("first = %+v, want a gap", got[0])
	}
	if diff := cmp.Diff([]string{"", "c008", "c009"}, accepted(got)); diff != "" {
		t.Errorf("accepted (-want +got):\n%s", diff)
	}
	e.until(func(s *model.Subscription) bool { return s.Sent == 3 })
	if !strings.Contains(e.log.String(), "trimmed") {
		t.Error("the log does not tell")
	}
}

func TestFilterPassesOver(t *testing.T) {
	t.Parallel()
	e, svc := newEnv(t), newService(t)
	e.subscribe(svc.url, func(s *model.Subscription) { s.Filter.Events = []model.EventType{model.EventQueued} })
	e.happen(20)
	_, err := e.store.CreateLease(e.ctx, e.ns, model.NewID(), model.NewLease{Type: "host"}, model.Idempotency{})
	e.must(err)
	e.happen(20)
	last, err := e.store.FollowEvents(e.ctx, e.ns, "")
	e.must(err)
	defer last.Close()
	e.start()
	// What is not for the service does not hold up the place either, or it would be trimmed away.
	e.until(func(s *model.Subscription) bool { return s.Position == last.Position() })
	if got := svc.wait(atLeast(1)); len(got) != 1 || got[0].event != "queued" {
		t.Errorf("= %+v, want the lease that was queued", got)
	}
}

func TestChangesAreFollowed(t *testing.T) {
	t.Parallel()
	e, svc, other := newEnv(t), newService(t), newService(t)
	svc.answers(func(int, *received) int { return http.StatusInternalServerError })
	e.subscribe(svc.url)
	want := e.happen(3)
	e.start(func(c *Config, _ *redis.Client) { c.FirstPause, c.MostPause = time.Hour, time.Hour })
	e.until(func(s *model.Subscription) bool { return s.Failures == 1 })
	// It goes to the new address at once, not in an hour.
	e.subscribe(other.url)
	if diff := cmp.Diff(want, accepted(other.wait(atLeast(3)))); diff != "" {
		t.Errorf("accepted (-want +got):\n%s", diff)
	}
	e.until(func(s *model.Subscription) bool { return s.Sent == 3 })
	// Disabled, it keeps its place.
	e.subscribe(other.url, func(s *model.Subscription) { s.Enabled = false })
	lock := e.lockIsFree()
	e.happen(2)
	lock.Unlock()
	e.subscribe(other.url)
	if got := accepted(other.wait(atLeast(5))); len(got) != 5 {
		t.Errorf("= %v, want the two that came meanwhile", got)
	}
	e.until(func(s *model.Subscription) bool { return s.Sent == 5 })
	e.must(e.store.DeleteSubscription(e.ctx, e.ns, "s1"))
	e.lockIsFree().Unlock()
	e.happen(1)
	if got := accepted(other.wait(atLeast(5))); len(got) != 5 {
		t.Errorf("= %v after it was deleted", got)
	}
}

// lockIsFree waits until nobody serves the subscription, and keeps anybody from it.
func (e *env) lockIsFree() *locks.Lock {
	e.t.Helper()
	client := redis.NewClient(&redis.Options{Addr: e.rdb.Options().Addr, ContextTimeoutEnabled: true, MaxRetries: -1})
	e.t.Cleanup(func() { _ = client.Close() })
	l, err := locks.New([]redis.UniversalClient{client}, locks.Config{Logger: slog.New(slog.DiscardHandler)})
	e.must(err)
	over := time.After(patience)
	for {
		didC := e.did.next()
		lock, err := l.TryLock(e.ctx, store.SubscriptionLockKey(e.ns, "s1"))
		if err == nil {
			return lock
		}
		select {
		case <-didC:
		case <-over:
			e.t.Fatal("somebody still serves the subscription")
		}
	}
}

// TestWhatIsRefused: each is a failure like any other, and says so without the URL or the secret.
func TestWhatIsRefused(t *testing.T) {
	t.Parallel()
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	hangs := make(chan struct{})
	hanging := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		select {
		case <-hangs:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(hanging.Close)
	t.Cleanup(func() { close(hangs) })
	for name, tc := range map[string]struct {
		url    func(*service) string
		status int
		change func(*Config)
		want   string
		result string // as the metrics call it
	}{
		"redirect": {status: http.StatusFound, result: "3xx", want: "redirects are not followed"},
		"error":    {status: http.StatusTeapot, result: "4xx", want: "the service answered 418"},
		"private":  {change: func(c *Config) { c.Addresses = outbound.AddressPolicy{} }, result: "forbidden_address", want: "public addresses only"},
		"nobody":   {url: func(*service) string { return closed.URL + "/?token=in-the-url" }, result: "unreachable", want: "connection refused"},
		"hangs": {
			url: func(*service) string { return hanging.URL }, change: func(c *Config) { c.Timeout = 20 * time.Millisecond },
			result: "timeout", want: "no answer within 20ms",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, svc := newEnv(t), newService(t)
			svc.answers(func(int, *received) int { return tc.status })
			url := svc.url
			if tc.url != nil {
				url = tc.url(svc)
			}
			e.subscribe(url)
			e.happen(1)
			counts, count := measured()
			e.start(count, func(c *Config, _ *redis.Client) {
				if tc.change != nil {
					tc.change(c)
				}
			})
			sub := e.until(func(s *model.Subscription) bool { return s.Failures > 0 })
			if !strings.Contains(sub.LastError, tc.want) || strings.Contains(sub.LastError, "hunter2") || strings.Contains(sub.LastError, "in-the-url") {
				t.Errorf("last error = %q, want %q", sub.LastError, tc.want)
			}
			if got := counts.read(t); got[tc.result] == 0 || len(got) != 1 {
				t.Errorf("counted %v, want only %s", got, tc.result)
			}
		})
	}
}

func TestPauseGrows(t *testing.T) {
	t.Parallel()
	r := &run{Runner: New(nil, nil, Config{})}
	for failures, want := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 5: 16 * time.Second, 9: 256 * time.Second, 10: 5 * time.Minute, 50: 5 * time.Minute} {
		if got := r.pause(failures); got != want {
			t.Errorf("pause(%d) = %s, want %s", failures, got, want)
		}
	}
}

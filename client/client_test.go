package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"drydock/api/wire"
	"drydock/client"
	"drydock/model"
)

// script is a server that gives these answers in turn and keeps the requests.
type script struct {
	mu       sync.Mutex
	answers  []http.HandlerFunc
	requests []*http.Request
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, r)
	answer := s.answers[min(len(s.requests), len(s.answers))-1]
	s.mu.Unlock()
	answer(w, r)
}

func (s *script) seen() []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

func says(status int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}
}

func problem(status int, code string) http.HandlerFunc {
	return says(status, fmt.Sprintf(`{"title": "t", "status": %d, "detail": "d", "code": %q, "field": "type", "request_id": "r1"}`, status, code),
		"Content-Type", wire.ProblemContentType)
}

func hangUp(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

func scripted(t *testing.T, cfg client.Config, answers ...http.HandlerFunc) (*client.Client, *script) {
	t.Helper()
	s := &script{answers: answers}
	web := httptest.NewServer(s)
	t.Cleanup(web.Close)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	cfg.HTTP = &http.Client{Transport: transport}
	if cfg.Server == "" {
		cfg.Server = web.URL
	}
	if cfg.Retry == (client.Retry{}) {
		cfg.Retry = client.Retry{Attempts: 3, Base: time.Millisecond}
	}
	c, err := client.New(cfg)
	must(t, err)
	return c, s
}

func TestErrors(t *testing.T) {
	t.Parallel()
	sentinels := []error{
		client.ErrNotFound, client.ErrConflict, client.ErrPrecondition, client.ErrInvalid, client.ErrUnsatisfiable, client.ErrUnauthorized,
		client.ErrForbidden, client.ErrUnavailable, client.ErrOutcomeUnknown,
	}
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		want   []error
	}{
		"not found":      {problem(404, "not_found"), []error{client.ErrNotFound}},
		"conflict":       {problem(409, "conflict"), []error{client.ErrConflict}},
		"precondition":   {problem(412, "precondition_failed"), []error{client.ErrPrecondition}},
		"invalid":        {problem(422, "invalid"), []error{client.ErrInvalid}},
		"malformed":      {problem(400, "malformed"), []error{client.ErrInvalid}},
		"unsatisfiable":  {problem(422, "unsatisfiable"), []error{client.ErrUnsatisfiable}},
		"unauthorized":   {problem(401, "unauthorized"), []error{client.ErrUnauthorized}},
		"forbidden":      {problem(403, "forbidden"), []error{client.ErrForbidden}},
		"unavailable":    {problem(503, "unavailable"), []error{client.ErrUnavailable}},
		"unknown":        {problem(503, "outcome_unknown"), []error{client.ErrUnavailable, client.ErrOutcomeUnknown}},
		"internal":       {problem(500, "internal"), nil},
		"hang-up":        {hangUp, []error{client.ErrUnavailable, client.ErrOutcomeUnknown}},
		"another server": {says(404, "<html>"), nil},
		"gateway":        {says(502, "<html>"), []error{client.ErrUnavailable}},
		"not JSON":       {says(202, "<html>"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, _ := scripted(t, client.Config{}, tt.answer)
			_, err := c.CreateLease(t.Context(), host)
			var e *client.Error
			if !errors.As(err, &e) || e.Error() == "" {
				t.Fatalf("CreateLease = %v, want an *Error with a text", err)
			}
			for _, s := range sentinels {
				if got, want := errors.Is(err, s), slices.Contains(tt.want, s); got != want {
					t.Errorf("errors.Is(%v, %v) = %t, want %t", err, s, got, want)
				}
			}
		})
	}
	c, _ := scripted(t, client.Config{}, problem(503, "unavailable"))
	_, err := c.GetLease(t.Context(), "x")
	e, ok := errors.AsType[*client.Error](err)
	if !ok || e.Status != 503 || e.Code != model.ErrorUnavailable || e.Field != "type" || e.RequestID != "r1" || err.Error() != "d (request r1)" {
		t.Errorf("the error is %#v", err)
	}
}

func TestRequestsAreSentAgainWhereThatIsSafe(t *testing.T) {
	t.Parallel()
	lease := says(200, `{"id": "a"}`)
	get := func(c *client.Client) error { _, err := c.GetLease(t.Context(), "a"); return err }
	post := func(c *client.Client) error { _, err := c.CreateLease(t.Context(), host); return err }
	put := func(c *client.Client) error {
		_, _, err := c.PutBlueprint(t.Context(), "b", wire.NewBlueprint{})
		return err
	}
	del := func(c *client.Client) error { return c.DeleteBlueprint(t.Context(), "b") }
	ready := func(c *client.Client) error { return c.Ready(t.Context()) }
	gone := problem(503, "unavailable")
	for name, tt := range map[string]struct {
		call    func(*client.Client) error
		answers []http.HandlerFunc
		sent    int
		ok      bool
	}{
		"get, 503":             {get, []http.HandlerFunc{gone, gone, lease}, 3, true},
		"get, 429":             {get, []http.HandlerFunc{says(429, ""), lease}, 2, true},
		"get, hang-up":         {get, []http.HandlerFunc{hangUp, lease}, 2, true},
		"get, 503 for ever":    {get, []http.HandlerFunc{gone}, 3, false},
		"get, 404":             {get, []http.HandlerFunc{problem(404, "not_found"), lease}, 1, false},
		"get, 500":             {get, []http.HandlerFunc{problem(500, "internal"), lease}, 1, false},
		"get, long retry":      {get, []http.HandlerFunc{says(503, "", "Retry-After", "3600"), lease}, 1, false},
		"post, 503":            {post, []http.HandlerFunc{gone, lease}, 2, true},
		"post, unknown":        {post, []http.HandlerFunc{problem(503, "outcome_unknown"), lease}, 2, true},
		"post, hang-up":        {post, []http.HandlerFunc{hangUp, lease}, 2, true},
		"post, 409":            {post, []http.HandlerFunc{problem(409, "conflict"), lease}, 1, false},
		"put, 503":             {put, []http.HandlerFunc{gone, lease}, 1, false},
		"put, hang-up":         {put, []http.HandlerFunc{hangUp, lease}, 1, false},
		"delete, hang-up":      {del, []http.HandlerFunc{hangUp, lease}, 1, false},
		"ready, 503, at once":  {ready, []http.HandlerFunc{gone, lease}, 1, false},
		"get, cut-off answer":  {get, []http.HandlerFunc{says(200, `{"id"`, "Content-Length", "1000"), lease}, 2, true},
		"post, cut-off answer": {post, []http.HandlerFunc{says(202, `{"id"`, "Content-Length", "1000"), lease}, 2, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, s := scripted(t, client.Config{}, tt.answers...)
			err := tt.call(c)
			if (err == nil) != tt.ok || len(s.seen()) != tt.sent {
				t.Errorf("%v after %d requests, want success %t after %d", err, len(s.seen()), tt.ok, tt.sent)
			}
			keys := map[string]bool{}
			for _, r := range s.seen() {
				keys[r.Header.Get(wire.HeaderIdempotencyKey)] = true
				if (r.Method == http.MethodPost) != (r.Header.Get(wire.HeaderIdempotencyKey) != "") {
					t.Errorf("%s has the Idempotency-Key %q", r.Method, r.Header.Get(wire.HeaderIdempotencyKey))
				}
			}
			if len(keys) != 1 {
				t.Errorf("the attempts have different keys: %v", keys)
			}
		})
	}
}

// TestWritesAreSentAgainWhenTheyCannotHaveLeft: nobody listens yet, so also a PUT is safe.
func TestWritesAreSentAgainWhenTheyCannotHaveLeft(t *testing.T) {
	t.Parallel()
	var dials int
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	c, err := client.New(client.Config{
		Server: "http://127.0.0.1:1", Retry: client.Retry{Attempts: 3, Base: time.Millisecond},
		HTTP: &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			dials++
			return transport.RoundTrip(r)
		})},
	})
	must(t, err)
	_, _, err = c.PutBlueprint(t.Context(), "b", wire.NewBlueprint{})
	if dials != 3 || !client.IsUnavailable(err) || errors.Is(err, client.ErrOutcomeUnknown) {
		t.Errorf("%d attempts, then %v, want 3 and unavailable with a known outcome", dials, err)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestRetryAfterIsHonoured(t *testing.T) {
	t.Parallel()
	c, _ := scripted(t, client.Config{}, says(503, "", "Retry-After", "1"), says(200, "{}"))
	begin := time.Now()
	_, err := c.GetLease(t.Context(), "a")
	if took := time.Since(begin); err != nil || took < time.Second {
		t.Errorf("GetLease = %v after %v, want success after more than a second", err, took)
	}
	// It cannot come in time: better the error that tells why.
	c, _ = scripted(t, client.Config{}, says(503, "", "Retry-After", "2"), says(200, "{}"))
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := c.GetLease(ctx, "a"); !client.IsUnavailable(err) || ctx.Err() != nil {
		t.Errorf("GetLease = %v, context %v, want ErrUnavailable at once", err, ctx.Err())
	}
}

func TestAttemptsAreBounded(t *testing.T) {
	t.Parallel()
	hang := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	c, s := scripted(t, client.Config{AttemptTimeout: 20 * time.Millisecond}, hang, says(200, `{"id": "a"}`))
	if lease, err := c.GetLease(t.Context(), "a"); err != nil || lease.ID != "a" || len(s.seen()) != 2 {
		t.Errorf("GetLease = %+v, %v after %d requests, want the lease of the second", lease, err, len(s.seen()))
	}
	c, s = scripted(t, client.Config{}, hang)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.GetLease(ctx, "a"); !errors.Is(err, context.DeadlineExceeded) || client.IsUnavailable(err) || len(s.seen()) != 1 {
		t.Errorf("GetLease = %v after %d requests, want the caller's own deadline after 1", err, len(s.seen()))
	}
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	c, s := scripted(t, client.Config{Token: "secret", Namespace: "ci", Author: "alice", Via: model.ViaConsole, UserAgent: "me/2"}, says(200, "{}"))
	_, err := c.ReleaseLease(t.Context(), "a/b", "why", client.IdempotencyKey("k1"))
	must(t, err)
	r := s.seen()[0]
	for name, want := range map[string]string{
		"Authorization": "Bearer secret", "Drydock-Author": "alice", "Drydock-Via": "console", "User-Agent": "me/2",
		"Idempotency-Key": "k1", "Content-Type": "application/json",
	} {
		if got := r.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if got, want := r.URL.RequestURI(), "/v1/leases/a%2Fb/release?namespace=ci"; got != want {
		t.Errorf("it asks for %s, want %s", got, want)
	}
	plain, s := scripted(t, client.Config{}, says(200, "{}"))
	_, err = plain.GetLease(t.Context(), "a")
	must(t, err)
	for _, name := range []string{"Authorization", "Drydock-Author", "Drydock-Via", "Idempotency-Key", "Content-Type"} {
		if values := s.seen()[0].Header.Values(name); len(values) > 0 {
			t.Errorf("a plain client sends %s: %q", name, values)
		}
	}
}

func TestNewRefusesWhatCannotWork(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]client.Config{
		"no scheme": {Server: "127.0.0.1:8080"}, "wrong scheme": {Server: "redis://x"}, "no host": {Server: "http://"},
		"query": {Server: "http://x?namespace=ci"}, "namespace": {Namespace: "No"}, "token": {Token: "a\nb"}, "author": {Author: "a\r\nX: y"},
		"password": {Server: "http://u:hunter2%zz@x"},
	} {
		if _, err := client.New(cfg); model.KindOf(err) != model.ErrorInvalid || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: New = %v, want an invalid field and no password", name, err)
		}
	}
	if _, err := new(client.Client).In("No"); model.KindOf(err) != model.ErrorInvalid {
		t.Errorf("In = %v, want an invalid namespace", err)
	}
}

// TestListsGoThroughAllPages, and stop where the caller does, or at an error.
func TestListsGoThroughAllPages(t *testing.T) {
	t.Parallel()
	c, s := scripted(t, client.Config{},
		says(200, `{"items": [{"id": "a"}, {"id": "b"}], "next": "b"}`), says(200, `{"items": [], "next": "c"}`),
		says(200, `{"items": [{"id": "d"}], "next": null}`), problem(404, "not_found"))
	var ids []string
	for lease, err := range c.Leases(t.Context(), client.LeaseFilter{Status: model.LeaseActive, Owner: "a b", PageOptions: client.PageOptions{Limit: 2}}) {
		must(t, err)
		ids = append(ids, lease.ID)
	}
	if got := strings.Join(ids, ""); got != "abd" {
		t.Errorf("the leases are %s, want abd", got)
	}
	var queries []string
	for _, r := range s.seen() {
		queries = append(queries, r.URL.RawQuery)
	}
	if want := []string{"limit=2&owner=a+b&status=active", "after=b&limit=2&owner=a+b&status=active", "after=c&limit=2&owner=a+b&status=active"}; !slices.Equal(queries, want) {
		t.Errorf("the queries are %q, want %q", queries, want)
	}
	for _, err := range c.Leases(t.Context(), client.LeaseFilter{}) {
		if !client.IsNotFound(err) {
			t.Errorf("a page that fails = %v, want its error", err)
		}
	}
}

// TestEveryRoute: there is a method for each operation of the API's description, and each works.
func TestEveryRoute(t *testing.T) {
	t.Parallel()
	d := newDrydock(t)
	var used sync.Map
	c := d.client(client.Config{HTTP: &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		used.Store(r.Method+" "+r.URL.Path, true)
		return d.http.Transport.RoundTrip(r)
	})}})
	ctx := within(t)
	d.pool(c, 2)
	lease, err := c.CreateLease(ctx, host)
	must(t, err)
	lease, err = c.WaitLease(ctx, lease.ID, model.LeaseActive, client.WaitOptions{})
	must(t, err)
	resource := string(lease.Resource)

	sent, err := c.SendLease(ctx, lease.ID, client.ExtendTo(time.Now().Add(time.Hour), "longer"))
	must(t, err)
	if cmd, err := c.WaitCommand(ctx, model.KindLease, lease.ID, sent.Command.ID); err != nil || cmd.Outcome != "refused" {
		t.Errorf("extending a lease without an end = %+v, %v, want refused", cmd, err)
	}
	paused, err := c.SendResource(ctx, resource, wire.NewCommand{Command: "pause"})
	must(t, err)
	if cmd, err := c.WaitCommand(ctx, model.KindResource, resource, paused.Command.ID); err != nil || cmd.Outcome != "applied" {
		t.Errorf("pause = %+v, %v, want applied", cmd, err)
	}
	if r, err := c.GetResource(ctx, resource); err != nil || !r.Paused || r.LeaseIDs[0] != lease.ID {
		t.Errorf("the resource is %+v, %v, want it paused with the lease", r, err)
	}
	for _, kind := range model.Kinds() {
		id := map[model.Kind]string{model.KindLease: lease.ID, model.KindResource: resource}[kind]
		if commands, err := c.ListCommands(ctx, kind, id, client.PageOptions{}); err != nil || len(commands.Items) != 1 {
			t.Errorf("the commands of the %s are %+v, %v, want one", kind, commands, err)
		}
		if _, err := c.Slots(ctx, kind, id); err != nil {
			t.Error(err)
		}
	}
	followed := make(chan string, 1)
	go func() {
		var events []string
		for entry, err := range c.FollowLog(ctx, model.KindLease, lease.ID, 10*time.Millisecond) {
			if err != nil {
				events = append(events, err.Error())
			}
			events = append(events, entry.Event)
		}
		followed <- strings.Join(events, " ")
	}()
	testNotes(t, c, lease.ID, resource)
	_, err = c.ReleaseLease(ctx, lease.ID, "done")
	must(t, err)
	if events := <-followed; !strings.HasPrefix(events, "queued ") || !strings.HasSuffix(events, " released destroyed") {
		t.Errorf("the log that was followed is %q, want all of it, from queued to destroyed", events)
	}
	if err := c.DeleteBlueprint(ctx, "lab"); !client.IsConflict(err) {
		t.Errorf("deleting a blueprint that has resources = %v, want a conflict", err)
	}
	_, err = c.ReleaseResource(ctx, resource, "")
	must(t, err)
	if r, err := c.WaitResource(ctx, resource, model.ResourceDestroyed); err != nil || r.Status != "destroyed" {
		t.Errorf("the resource is %+v, %v, want it destroyed", r, err)
	}
	for r, err := range c.Resources(ctx, client.ResourceFilter{Blueprint: "lab"}) {
		if err != nil || r.ID != resource {
			t.Errorf("among the resources is %+v, %v", r, err)
		}
	}
	for range c.Log(ctx, model.KindResource, resource) {
		break
	}
	for b, err := range c.Blueprints(ctx) {
		if err != nil || b.Name != "lab" {
			t.Errorf("among the blueprints is %+v, %v", b, err)
		}
	}
	_, err = c.GetBlueprint(ctx, "lab")
	must(t, err)
	testAuthorizations(t, c)
	must(t, c.DeleteBlueprint(ctx, "lab"))
	if _, err := c.GetBlueprint(ctx, "lab"); !client.IsNotFound(err) {
		t.Errorf("a deleted blueprint = %v, want not found", err)
	}
	for range c.Leases(ctx, client.LeaseFilter{}) {
		break
	}
	testReleases(t, c, lease.ID)
	testSubscriptions(t, c)
	for event, err := range c.Events(ctx, client.EventOptions{After: "0", Types: []model.Kind{model.KindLease}, Object: lease.ID, Events: []model.EventType{model.EventDestroyed}}) {
		if err != nil || event.Event != "destroyed" || string(event.Object) != lease.ID {
			t.Errorf("the event of the end is %+v, %v", event, err)
		}
		break
	}
	must(t, c.Health(ctx))
	must(t, c.Ready(ctx))
	_, err = c.Metrics(ctx)
	must(t, err)
	text, err := c.OpenAPI(ctx)
	must(t, err)

	file, err := os.ReadFile("../api/openapi.json")
	must(t, err)
	if string(file) != string(text) {
		t.Error("OpenAPI does not return the description")
	}
	var description struct {
		Paths map[string]map[string]json.RawMessage `json:"paths"`
	}
	must(t, json.Unmarshal(text, &description))
	fill := strings.NewReplacer("leases/{id}", "leases/"+lease.ID, "resources/{id}", "resources/"+resource, "{name}", "lab")
	for path, operations := range description.Paths {
		for method := range operations {
			// The page for people is none of a client's business.
			if method == "parameters" || path == "/" {
				continue
			}
			if _, ok := used.Load(strings.ToUpper(method) + " " + fill.Replace(path)); !ok {
				t.Errorf("no method of the client was seen to call %s %s", method, path)
			}
		}
	}
}

// testNotes walks through the data of a lease and a resource.
func testNotes(t *testing.T, c *client.Client, lease, resource string) {
	t.Helper()
	ctx := within(t)
	for kind, id := range map[model.Kind]string{model.KindLease: lease, model.KindResource: resource} {
		none, err := c.GetData(ctx, kind, id)
		if err != nil || none.Data != nil || none.Rev != 0 {
			t.Errorf("data of a fresh %s = %+v, %v, want none", kind, none, err)
		}
		first, err := c.SetData(ctx, kind, id, json.RawMessage(`{"n": 1}`), model.Condition{None: true})
		if err != nil || string(first.Data) != `{"n":1}` || first.Rev != 1 {
			t.Errorf("SetData if there is none = %+v, %v", first, err)
		}
		if _, err := c.SetData(ctx, kind, id, json.RawMessage(`2`), model.Condition{None: true}); !client.IsPrecondition(err) {
			t.Errorf("SetData if there is none, when there is some = %v, want a failed precondition", err)
		}
		if _, err := c.SetData(ctx, kind, id, json.RawMessage(`2`), model.Condition{Rev: new(int64(7))}); !client.IsPrecondition(err) {
			t.Errorf("SetData at another rev = %v, want a failed precondition", err)
		}
		if again, err := c.SetData(ctx, kind, id, nil, model.Condition{Rev: &first.Rev}); err != nil || again.Data != nil || again.Rev != 2 {
			t.Errorf("SetData that removes = %+v, %v", again, err)
		}
		if _, err := c.SetData(ctx, kind, id, json.RawMessage(`3`), model.Condition{Some: true}); !client.IsPrecondition(err) {
			t.Errorf("SetData if there is some, when there is none = %v, want a failed precondition", err)
		}
	}
}

// testAuthorizations has an operator decide about owners.
func testAuthorizations(t *testing.T, c *client.Client) {
	t.Helper()
	ctx := within(t)
	if _, err := c.Authorize(ctx, "lab", "ada", model.AuthorizationApproved, ""); !client.IsConflict(err) {
		t.Errorf("Authorize on a blueprint that takes no requests = %v, want a conflict", err)
	}
	_, _, err := c.PutBlueprint(ctx, "asked", wire.NewBlueprint{
		Kind: "pool", Type: "phone", Config: json.RawMessage(`{"hosts": [{"name": "p1"}]}`), Authorize: model.Authorize{Request: true},
	})
	must(t, err)
	for owner, status := range map[string]model.AuthorizationStatus{"ada": model.AuthorizationApproved, "": model.AuthorizationDeclined} {
		a, err := c.Authorize(ctx, "asked", owner, status, "why")
		if err != nil || a.Status != string(status) || string(a.Owner) != owner || a.Reason != "why" {
			t.Errorf("Authorize %q = %+v, %v", owner, a, err)
		}
	}
	var owners []string
	for a, err := range c.Authorizations(ctx, client.AuthorizationFilter{Blueprint: "asked", PageOptions: client.PageOptions{Limit: 1}}) {
		must(t, err)
		owners = append(owners, string(a.Owner)+"="+a.Status)
	}
	if want := []string{"=declined", "ada=approved"}; !slices.Equal(owners, want) {
		t.Errorf("the authorizations are %q, want %q", owners, want)
	}
}

// testSubscriptions walks through the life of a subscription.
func testSubscriptions(t *testing.T, c *client.Client) {
	t.Helper()
	ctx := within(t)
	n := wire.NewSubscription{URL: "https://example.org/hook", Secret: "sixteen bytes or more"}
	if sub, created, err := c.PutSubscription(ctx, "lab", n); err != nil || !created || sub.URL != n.URL {
		t.Errorf("PutSubscription = %+v, %t, %v", sub, created, err)
	}
	if sub, err := c.GetSubscription(ctx, "lab"); err != nil || sub.Name != "lab" {
		t.Errorf("GetSubscription = %+v, %v", sub, err)
	}
	if subs, err := c.Subscriptions(ctx); err != nil || len(subs) != 1 {
		t.Errorf("Subscriptions = %+v, %v, want one", subs, err)
	}
	for letter, err := range c.DeadLetters(ctx, "lab") {
		t.Errorf("a new subscription has the dead letter %+v, %v", letter, err)
	}
	if n, err := c.RetryDeadLetters(ctx, "lab"); err != nil || n != 0 {
		t.Errorf("RetryDeadLetters = %d, %v, want none", n, err)
	}
	must(t, c.DeleteSubscription(ctx, "lab"))
	if _, err := c.GetSubscription(ctx, "lab"); !client.IsNotFound(err) {
		t.Errorf("a deleted subscription = %v, want not found", err)
	}
}

// testReleases gives many leases back.
func testReleases(t *testing.T, c *client.Client, destroyed string) {
	t.Helper()
	ctx := within(t)
	phone, err := c.CreateLease(ctx, wire.NewLease{Type: "phone", Owner: "bob"})
	must(t, err)
	unknown := model.NewID()
	page, err := c.ReleaseLeases(ctx, wire.ReleaseLeases{IDs: []string{destroyed, phone.ID, unknown}})
	must(t, err)
	for i, status := range []int{200, 202, 404} {
		if got := page.Items[i]; got.Status != status || (got.Command != nil) != (status == 202) || (got.Error != nil) != (status == 404) {
			t.Errorf("item %d is %+v, want status %d", i, got, status)
		}
		if err := client.ReleaseError(page.Items[i]); client.IsNotFound(err) != (status == 404) || (err == nil) != (status < 400) {
			t.Errorf("the error of item %d is %v", i, err)
		}
	}
	isDestroyed(t, c, phone.ID)
	if _, err := c.ReleaseLeases(ctx, wire.ReleaseLeases{Filter: &wire.ReleaseFilter{}}); !errors.Is(err, client.ErrInvalid) {
		t.Errorf("an empty filter = %v, want it refused", err)
	}
	for item, err := range c.ReleaseAll(ctx, wire.ReleaseLeases{All: true}) {
		t.Errorf("among all that can be released is %+v, %v", item, err)
	}
}

// TestReleaseAllGoesOn: by pages of a filter, and by as many ids as fit into a request.
func TestReleaseAllGoesOn(t *testing.T) {
	t.Parallel()
	var orders []wire.ReleaseLeases
	next := []string{`"pending:b"`, "null", "null", "null"}
	c, s := scripted(t, client.Config{}, func(w http.ResponseWriter, r *http.Request) {
		var o wire.ReleaseLeases
		must(t, json.NewDecoder(r.Body).Decode(&o))
		orders = append(orders, o)
		says(202, `{"items": [{"id": "a", "status": 202}], "next": `+next[len(orders)-1]+`}`)(w, r)
	})
	drain := func(o wire.ReleaseLeases) {
		n := 0
		for _, err := range c.ReleaseAll(t.Context(), o) {
			must(t, err)
			n++
		}
		if n != 2 {
			t.Errorf("%d items, want 2", n)
		}
	}
	drain(wire.ReleaseLeases{All: true, Reason: "why"})
	drain(wire.ReleaseLeases{IDs: slices.Repeat([]string{"x"}, wire.MaxReleases+1)})
	if orders[0].After != "" || orders[1].After != "pending:b" || !orders[1].All || orders[1].Reason != "why" {
		t.Errorf("the orders are %+v", orders[:2])
	}
	if len(orders[2].IDs) != wire.MaxReleases || len(orders[3].IDs) != 1 || orders[3].After != "" {
		t.Errorf("the orders hold %d and %d ids, want %d and 1", len(orders[2].IDs), len(orders[3].IDs), wire.MaxReleases)
	}
	keys := map[string]bool{}
	for _, r := range s.seen() {
		keys[r.Header.Get(wire.HeaderIdempotencyKey)] = true
	}
	if len(keys) != 4 {
		t.Errorf("four orders have %d keys", len(keys))
	}
}

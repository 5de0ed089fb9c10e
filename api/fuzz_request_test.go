package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	"drydock/api/wire"
	"drydock/model"
)

// fuzzedHeaders are the headers that a request is read for.
var fuzzedHeaders = []string{
	"Accept", "Accept-Encoding", "Access-Control-Request-Headers", "Access-Control-Request-Method", "Content-Encoding", "Content-Type",
	wire.HeaderAuthor, wire.HeaderVia, "Forwarded", wire.HeaderIdempotencyKey, wire.HeaderIfMatch, wire.HeaderIfNoneMatch, "Last-Event-Id",
	"Origin", "Sec-Fetch-Site", "Traceparent", "User-Agent", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Http-Method-Override",
	"X-Real-Ip", wire.HeaderRequestID,
}

// FuzzRequest: whatever a request for any route says in its path, query, headers and body, the answer is a success or a problem that is
// the caller's, and what reaches the store has passed the rules.
func FuzzRequest(f *testing.F) {
	good := goodRequests()
	routes := slices.Sorted(maps.Keys(good))
	seed := func(route, id, query, header, value, body string) {
		i, j := slices.Index(routes, route), slices.Index(fuzzedHeaders, header)
		if i < 0 || j < 0 {
			f.Fatalf("no route %s or header %s", route, header)
		}
		f.Add(uint8(i), id, query, uint8(j), value, []byte(body))
	}
	for _, route := range routes {
		seed(route, leaseID, "", "Accept", "*/*", good[route].body)
	}
	seed("GET /v1/leases", "", "status=active&type=host&owner=ada&limit=3&after="+leaseID, "X-Forwarded-For", "192.0.2.7, 10.0.0.3", "")
	seed("GET /v1/leases/:id", leaseID, "wait=destroyed&timeout=30s", wire.HeaderIfNoneMatch, `W/"x", *`, "")
	seed("GET /v1/leases/:id", "%2e%2e%2f", "namespace=ci", "Accept-Encoding", "gzip", "")
	seed("GET /v1/events", "", "type=lease,resource&event=released&status=active&object="+leaseID, "Last-Event-Id", "1767366245678-0", "")
	seed("GET /v1/events", "", "", "Last-Event-Id", strings.Repeat("9", 500), "")
	seed("GET /v1/authorizations", "", "blueprint=lab&owner=a%00&after=bGFi", wire.HeaderAuthor, "ada", "")
	seed("POST /v1/leases", "", "namespace=", wire.HeaderIdempotencyKey, "k", `{"type": "host", "ttl": "1h"}`)
	seed("GET /v1/authorizations", "", "after=%01", "Accept", "*/*", "")
	seed("POST /v1/leases", "", "", wire.HeaderIdempotencyKey, strings.Repeat("k", maxIdempotencyKey+1), `{"type": "host"}`)
	seed("POST /v1/leases", "", "a=%zz;b", "Content-Type", "text/plain", `{"type": "host"}`)
	seed("POST /v1/leases/:id/commands", leaseID, "", "Origin", "https://evil.example", `{"command": "extend", "args": {"ttl": "1h"}}`)
	seed("PUT /v1/leases/:id/data", leaseID, "", wire.HeaderIfMatch, `"3"`, `{"data": null}`)
	seed("PUT /v1/blueprints/:name", "lab", "", wire.HeaderIfNoneMatch, `*`, good["PUT /v1/blueprints/:name"].body)

	store := newGuard()
	server := New(Config{
		Store: store, Tasks: &fakeTasks{}, Kinds: fakeKinds{}, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return testNow },
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, CORSOrigins: []string{"https://console.example.com"},
	})
	server.endWaits() // waiting reads answer with what there is, and streams end

	f.Fuzz(func(t *testing.T, route uint8, id, query string, header uint8, value string, body []byte) {
		store.t = t
		req := good[routes[int(route)%len(routes)]]
		path := req.path
		for _, part := range []string{leaseID, resourceID, "lab", "ci"} {
			path = strings.Replace(path, "/"+part, "/"+id, 1)
		}
		target := path
		if query != "" {
			target += "?" + query
		}
		u, err := url.ParseRequestURI(target)
		if err != nil || strings.ContainsAny(target, " \x7f") || !validValue(value) {
			return // net/http refuses it
		}
		r, err := http.NewRequestWithContext(t.Context(), req.method, "http://drydock.example", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.URL, r.RequestURI, r.RemoteAddr = u, target, "10.0.0.2:1234"
		r.Header.Set(fuzzedHeaders[int(header)%len(fuzzedHeaders)], value)
		w := httptest.NewRecorder()
		server.ServeHTTP(w, r)

		for name, values := range w.Header() {
			if strings.ContainsAny(strings.Join(values, ""), "\r\n\x00") {
				t.Errorf("the header %s is %q", name, values)
			}
		}
		if id := w.Header().Get(wire.HeaderRequestID); !plainID(id) {
			t.Errorf("the request id is %q", id)
		}
		checkAnswer(t, w)
	})
}

// checkAnswer checks that an answer is a success, or a problem of the caller's that says what it is.
func checkAnswer(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	switch {
	case w.Code == http.StatusNoContent || w.Code == http.StatusNotModified:
		if w.Body.Len() > 0 {
			t.Errorf("%d with the body %q", w.Code, w.Body)
		}
	case w.Code >= 200 && w.Code < 300:
		if w.Header().Get("Content-Encoding") == "" && strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") && !json.Valid(w.Body.Bytes()) {
			t.Errorf("%d with the body %q", w.Code, w.Body)
		}
	case w.Code >= 400 && w.Code < 500:
		if w.Header().Get("Content-Encoding") != "" {
			return // what is long enough is compressed
		}
		p := answer{status: w.Code, header: w.Header(), body: w.Body.Bytes()}.problem(t)
		if _, known := problems[model.ErrorKind(p.Code)]; !known || len(p.Detail) > maxDetail || !oneLineOfText(p.Detail) {
			t.Errorf("%d with the problem %s", w.Code, w.Body)
		}
	default:
		t.Errorf("the answer is a %d: %s", w.Code, w.Body)
	}
}

// validValue reports whether net/http lets a header's value in.
func validValue(value string) bool {
	return !strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

// guard is a store that takes everything and fails the test when what it is given breaks a rule.
type guard struct {
	*fakeStore
}

func (g guard) check(what string, err error) {
	if err != nil {
		g.t.Errorf("%s reached the store: %v", what, err)
	}
}

func (g guard) ref(ref model.Ref) {
	g.check("a namespace", model.CheckName("namespace", ref.Namespace))
	if !model.ValidID(ref.ID) {
		g.t.Errorf("the id %q reached the store", ref.ID)
	}
}

func (g guard) page(limit int, after string) {
	if limit < 1 || limit > model.MaxPageLimit || len(after) > maxCursor || !printable(after) {
		g.t.Errorf("a page of %d after %q reached the store", limit, after)
	}
}

func (g guard) name(name string) { g.check("a name", model.CheckName("name", name)) }

func (g guard) idempotency(idem model.Idempotency) {
	if len(idem.Key) > maxIdempotencyKey || !printable(idem.Key) || (idem.Key == "") != (idem.Fingerprint == "") {
		g.t.Errorf("the key %q with the fingerprint %q reached the store", idem.Key, idem.Fingerprint)
	}
}

func (g guard) origin(by string, o model.Origin) {
	_, err := netip.ParseAddr(o.Address)
	if err != nil || len(o.UserAgent) > maxUserAgent || !oneLineOfText(o.UserAgent) || !plainID(o.RequestID) ||
		!slices.Contains([]model.Via{model.ViaAPI, model.ViaCLI, model.ViaConsole}, o.Via) {
		g.t.Errorf("the origin %+v reached the store", o)
	}
	if by == "" || by == model.SystemAuthor || len(by) > maxAuthor || !plainForPeople(by) {
		g.t.Errorf("the author %q reached the store", by)
	}
}

func (g guard) command(cmd model.Command) (model.Sent, error) {
	g.ref(cmd.Target)
	g.origin(cmd.Author, cmd.Origin)
	g.check("a command", model.CheckCommand(cmd.Target.Kind, cmd.Name, cmd.Args, cmd.Reason))
	sent := model.Sent{Command: &cmd, Wake: []model.Ref{cmd.Target}}
	if cmd.Target.Kind == model.KindLease {
		sent.Lease = activeLease(cmd.Target.Namespace)
	} else {
		sent.Resource = activeResource(cmd.Target.Namespace)
	}
	return sent, nil
}

// endedReader has no events.
type endedReader struct{ after string }

func (endedReader) Next(ctx context.Context) ([]model.Event, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}
func (r endedReader) Position() string { return "1-1" }
func (endedReader) Close()             {}

func newGuard() guard {
	f := &fakeStore{}
	g := guard{f}
	f.createLease = func(_ context.Context, ns, id string, n model.NewLease, idem model.Idempotency) (model.Created, error) {
		g.ref(model.LeaseRef(ns, id))
		g.check("a lease", n.Check(testNow))
		g.idempotency(idem)
		lease := pendingLease(ns)
		lease.ID, lease.Owner, lease.Attributes, lease.Data = id, n.Owner, n.Attributes, n.Data
		return model.Created{Lease: lease, Wake: []model.Ref{lease.Ref}}, nil
	}
	f.send = func(_ context.Context, cmd model.Command, idem model.Idempotency) (model.Sent, error) {
		g.idempotency(idem)
		return g.command(cmd)
	}
	f.sendAll = func(cmds []model.Command) (results []model.SendResult, _ error) {
		for _, cmd := range cmds {
			sent, err := g.command(cmd)
			results = append(results, model.SendResult{Sent: sent, Err: err})
		}
		return results, nil
	}
	f.plan = func(_ string, idem model.Idempotency, plan []byte) ([]byte, *model.Answer, error) {
		g.idempotency(idem)
		return plan, nil, nil
	}
	f.leasesByID = func(ns string, _ []string) ([]*model.Lease, error) { return []*model.Lease{activeLease(ns)}, nil }
	f.lease = func(_ context.Context, ns, id string) (*model.Lease, error) {
		g.ref(model.LeaseRef(ns, id))
		return activeLease(ns), nil
	}
	f.leases = func(ns string, filter model.LeaseFilter) (model.Page[*model.Lease], error) {
		g.name(ns)
		g.page(filter.Limit, filter.After)
		g.check("an owner", model.CheckText("owner", filter.Owner, model.MaxOwnerLength))
		return model.Page[*model.Lease]{Items: []*model.Lease{activeLease(ns)}}, nil
	}
	f.resource = func(ns, id string) (*model.Resource, error) {
		g.ref(model.ResourceRef(ns, id))
		return activeResource(ns), nil
	}
	f.resources = func(ns string, filter model.ResourceFilter) (model.Page[*model.Resource], error) {
		g.name(ns)
		g.page(filter.Limit, filter.After)
		return model.Page[*model.Resource]{Items: []*model.Resource{activeResource(ns)}}, nil
	}
	f.commands = func(ref model.Ref, limit int, after string) (model.Page[*model.Command], error) {
		g.ref(ref)
		g.page(limit, after)
		return model.Page[*model.Command]{Items: []*model.Command{consumedCommand(ref)}}, nil
	}
	f.log = func(ref model.Ref, limit int, after string) (model.Page[model.LogEntry], error) {
		g.ref(ref)
		g.page(limit, after)
		return model.Page[model.LogEntry]{}, nil
	}
	f.slots = func(ref model.Ref) ([]model.Slot, error) {
		g.ref(ref)
		return nil, nil
	}
	f.data = func(ref model.Ref) (model.Data, error) {
		g.ref(ref)
		return model.Data{Value: json.RawMessage(`{"n":1}`), Rev: 3}, nil
	}
	f.setData = func(ref model.Ref, value json.RawMessage, cond model.Condition) (model.Data, error) {
		g.ref(ref)
		g.check("data", model.CheckData("data", value))
		g.condition(cond)
		return model.Data{Value: value, Rev: 4}, nil
	}
	f.putBlueprint = func(bp *model.Blueprint, cond model.Condition) (*model.Blueprint, bool, []model.Ref, error) {
		g.check("a blueprint", bp.Check())
		g.condition(cond)
		return bp, true, nil, nil
	}
	f.blueprint = func(ns, name string) (*model.Blueprint, error) {
		g.name(ns)
		g.name(name)
		return lab(), nil
	}
	f.blueprints = someBlueprints
	f.deleteBlueprint = func(_, name string) error {
		g.name(name)
		return nil
	}
	f.authorize = func(a model.Authorization) (*model.Authorization, []model.Ref, error) {
		g.name(a.Blueprint)
		g.origin(a.Author, a.Origin)
		g.check("an authorization", a.CheckDecision())
		return &a, nil, nil
	}
	f.authorizations = func(ns string, filter model.AuthorizationFilter) (model.Page[*model.Authorization], error) {
		g.name(ns)
		g.page(filter.Limit, filter.After)
		return model.Page[*model.Authorization]{}, nil
	}
	f.saveAnswer = func(_ context.Context, _, key string, a model.Answer) (model.Answer, error) {
		g.idempotency(model.Idempotency{Key: key, Fingerprint: "f"})
		return a, nil
	}
	f.watch = func(ref model.Ref) (<-chan struct{}, func()) {
		g.ref(ref)
		return nil, func() {}
	}
	f.ping = func() error { return nil }
	f.followEvents = func(ns, after string) (model.EventReader, error) {
		g.name(ns)
		g.page(1, after)
		return endedReader{after}, nil
	}
	f.putSubscription = func(sub *model.Subscription) (*model.Subscription, bool, error) {
		g.check("a subscription", sub.Check())
		return sub, true, nil
	}
	f.subscription = func(ns, name string) (*model.Subscription, error) {
		g.name(name)
		return &model.Subscription{Namespace: ns, Name: name}, nil
	}
	f.subscriptions = func(string) ([]*model.Subscription, error) { return nil, nil }
	f.deleteSubscription = func(_, name string) error {
		g.name(name)
		return nil
	}
	f.deadLetters = func(_, name string, limit int, after string) (model.Page[model.DeadLetter], error) {
		g.name(name)
		g.page(limit, after)
		return model.Page[model.DeadLetter]{}, nil
	}
	f.retryDeadLetters = func(_, name string) (int64, error) {
		g.name(name)
		return 0, nil
	}
	return g
}

func (g guard) condition(cond model.Condition) {
	set := 0
	for _, is := range []bool{cond.Rev != nil, cond.Some, cond.None} {
		if is {
			set++
		}
	}
	if set > 1 || cond.Rev != nil && *cond.Rev < 0 {
		g.t.Errorf("the condition %+v reached the store", cond)
	}
}

// fuzzContext is the request of a fuzz target.
func fuzzContext(t *testing.T, query string, header http.Header) echo.Context {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody)
	r.URL.RawQuery, r.Header = query, header
	return echo.New().NewContext(r, httptest.NewRecorder())
}

// FuzzQuery: a query string is refused with the name of the parameter, or every value in it is in its bounds and comes out again.
func FuzzQuery(f *testing.F) {
	for _, seed := range []string{
		"", "namespace=ci", "namespace=", "namespace=a&namespace=b", "status=active&type=host&resource=" + resourceID + "&owner=ada&limit=5&after=" + leaseID,
		"limit=+5", "limit=0x5", "limit=501", "limit=1e2", "after=%00", "owner=%ff", "owner=a%0ab", "a;b", "limit=1&limit=2", "%zz=1", "=x", "status=Active", "x%1b=1",
		"timeout=30s", "timeout=-1s", "timeout=5m0.000000001s", "type=lease,,resource&event=released&object=" + leaseID, "blueprint=a:b", "st%61tus=active",
	} {
		f.Add(seed)
	}
	known := []string{"status", "type", "resource", "owner", "limit", "after", "timeout", "blueprint", "event", "object"}
	f.Fuzz(func(t *testing.T, raw string) {
		q, err := readQuery(fuzzContext(t, raw, nil), known...)
		if err != nil {
			checkRefusal(t, err)
			return
		}
		if model.CheckName("namespace", q.namespace) != nil {
			t.Errorf("let in the namespace %q", q.namespace)
		}
		for name, values := range q.values {
			if len(values) != 1 || !slices.Contains(append(known, "namespace"), name) {
				t.Errorf("let in %q: %q", name, values)
			}
		}
		if again, err := readQuery(fuzzContext(t, q.values.Encode(), nil), known...); err != nil || again.values.Encode() != q.values.Encode() {
			t.Errorf("%q comes out as %q, %v", q.values.Encode(), again.values.Encode(), err)
		}
		lease, errLease := leaseFilter(q)
		authorization, errAuthorization := authorizationFilter(q)
		event, errEvent := q.eventFilter()
		timeout, errTimeout := q.duration("timeout", time.Minute, maxWait)
		for _, err := range []error{errLease, errAuthorization, errEvent, errTimeout} {
			if err != nil {
				checkRefusal(t, err)
			}
		}
		if errLease == nil && (lease.Limit < 1 || lease.Limit > model.MaxPageLimit || !plainForPeople(lease.Owner) || len(lease.Owner) > model.MaxOwnerLength ||
			lease.After != "" && !model.ValidID(lease.After) || lease.Resource != "" && !model.ValidID(lease.Resource)) {
			t.Errorf("let in the filter %+v", lease)
		}
		if errAuthorization == nil && (len(authorization.After) > maxCursor || !printable(authorization.After)) {
			t.Errorf("let in the filter %+v", authorization)
		}
		if errEvent == nil && (event.Object != "" && !model.ValidID(event.Object) || slices.Contains(event.Types, "") || slices.Contains(event.Status, "")) {
			t.Errorf("let in the filter %+v", event)
		}
		if errTimeout == nil && (timeout < 0 || timeout > maxWait) {
			t.Errorf("let in the timeout %s", timeout)
		}
	})
}

// FuzzCondition: what a write asks for is one of few things, and is written as it was read.
func FuzzCondition(f *testing.F) {
	for _, seed := range []string{"", "*", `"3"`, `"03"`, `"+3"`, `"-1"`, `3`, `"3`, `W/"3"`, `"3", "4"`, `"9223372036854775808"`, `"3" `} {
		f.Add(true, seed, false, "")
		f.Add(false, "", true, seed)
		f.Add(true, seed, true, seed)
	}
	f.Fuzz(func(t *testing.T, hasMatch bool, match string, hasNone bool, none string) {
		h := http.Header{}
		if hasMatch {
			h.Set(wire.HeaderIfMatch, match)
		}
		if hasNone {
			h.Set(wire.HeaderIfNoneMatch, none)
		}
		known(h, `"3"`)
		cond, err := condition(h)
		if err != nil {
			checkRefusal(t, err)
			return
		}
		back := http.Header{}
		switch {
		case cond.Rev != nil:
			back.Set(wire.HeaderIfMatch, wire.ETag(*cond.Rev))
		case cond.Some:
			back.Set(wire.HeaderIfMatch, "*")
		case cond.None:
			back.Set(wire.HeaderIfNoneMatch, "*")
		}
		if !maps.EqualFunc(h, back, slices.Equal) {
			t.Errorf("%v is read as %v", h, back)
		}
	})
}

// FuzzKnown: a caller who has a thing is spared it, and one who names other tags never is.
func FuzzKnown(f *testing.F) {
	for _, seed := range []string{"", "*", `"3"`, `W/"3"`, `"4", "3"`, `"4",W/"3" `, `"33"`, `W/W/"3"`, `"3`, `,`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		got := known(http.Header{wire.HeaderIfNoneMatch: {value}}, `"3"`)
		if got && !strings.Contains(value, `"3"`) && !strings.Contains(value, "*") {
			t.Errorf("If-None-Match: %s is taken for one who has \"3\"", value)
		}
		if !known(http.Header{wire.HeaderIfNoneMatch: {value, `W/"3"`}}, `"3"`) {
			t.Errorf("a second line after %q is not read", value)
		}
	})
}

// FuzzIdempotencyKey: a key is short and printable, and two requests that differ have two fingerprints.
func FuzzIdempotencyKey(f *testing.F) {
	for _, seed := range []string{"", "k", "a b", "\t", "schlüssel", strings.Repeat("k", maxIdempotencyKey), strings.Repeat("k", maxIdempotencyKey+1), "\x7f"} {
		f.Add(seed, []byte("{}"), []byte(""))
	}
	f.Fuzz(func(t *testing.T, key string, one, other []byte) {
		c := fuzzContext(t, "", http.Header{wire.HeaderIdempotencyKey: {key}})
		a, err := idempotency(c, "ci", one)
		if err != nil {
			checkRefusal(t, err)
			return
		}
		if a.Key != key || key == "" || len(key) > maxIdempotencyKey || !printable(key) {
			t.Errorf("the key %q is read as %q", key, a.Key)
		}
		b, _ := idempotency(c, "ci", other)
		if (a.Fingerprint == b.Fingerprint) != bytes.Equal(one, other) {
			t.Errorf("%q and %q have the fingerprints %s and %s", one, other, a.Fingerprint, b.Fingerprint)
		}
	})
}

// FuzzOrigin: what is kept of where a request comes from is short, plain and true.
func FuzzOrigin(f *testing.F) {
	for _, seed := range []string{
		"", "192.0.2.7", "192.0.2.7, 10.0.0.3", "192.0.2.7,", "::1", "[::1]", "[::1]:80", "fe80::1%eth0", "unknown", "10.0.0.1, x, 10.0.0.2",
		"\u212a", " 192.0.2.7 ", "192.0.2.07", "1.2.3.4:5", "::ffff:10.0.0.1", "a\tb", "drydock", "cli", "console", "worker", "\xff",
	} {
		f.Add(seed, seed, seed)
	}
	extract := addressOf([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")})
	direct := addressOf(nil)
	f.Fuzz(func(t *testing.T, forwarded, said, agent string) {
		h := http.Header{"X-Forwarded-For": {forwarded}, "Forwarded": {"for=" + forwarded}, "X-Real-Ip": {forwarded}, "User-Agent": {agent}}
		h.Set(wire.HeaderAuthor, said)
		h.Set(wire.HeaderVia, said)
		c := fuzzContext(t, "", h)
		c.Request().RemoteAddr = "192.0.2.1:1234"
		if got := direct(c.Request()); got != "192.0.2.1" {
			t.Errorf("without proxies, the address is %q", got)
		}
		if got := extract(c.Request()); got != "192.0.2.1" {
			t.Errorf("of one who is no proxy, the address is %q", got)
		}
		c.Request().RemoteAddr = "10.0.0.2:1234"
		if got := direct(c.Request()); got != "10.0.0.2" {
			t.Errorf("without proxies, the address of one in a private network is %q", got)
		}
		got := extract(c.Request())
		if _, err := netip.ParseAddr(got); err != nil {
			t.Errorf("behind a proxy that says %q, the address is %q", forwarded, got)
		}
		o := origin(c)
		if o.Via != model.ViaAPI && string(o.Via) != said || o.Via == model.ViaWorker || len(o.UserAgent) > maxUserAgent || !oneLineOfText(o.UserAgent) {
			t.Errorf("%q from %q is kept as %+v", agent, said, o)
		}
		if oneLineOfText(agent) && len(agent) <= maxUserAgent && !strings.Contains(agent, "\ufffd") && o.UserAgent != agent {
			t.Errorf("the agent %q is kept as %q", agent, o.UserAgent)
		}
		by, err := author(c)
		if err != nil {
			checkRefusal(t, err)
			return
		}
		if by == "" || by == model.SystemAuthor || len(by) > maxAuthor || !plainForPeople(by) {
			t.Errorf("let in the author %q", by)
		}
	})
}

// FuzzRequestID: an id of the caller's is kept when it is short and plain, and another is made otherwise.
func FuzzRequestID(f *testing.F) {
	for _, seed := range []string{"", "r1", "a b", "a\tb", "é", strings.Repeat("a", maxRequestID), strings.Repeat("a", maxRequestID+1), "00-4bf92f-01"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, id string) {
		c := fuzzContext(t, "", http.Header{wire.HeaderRequestID: {id}})
		var kept []string
		err := checkRequestID(func(c echo.Context) error {
			kept = c.Request().Header.Values(wire.HeaderRequestID)
			return errors.ErrUnsupported
		})(c)
		if !errors.Is(err, errors.ErrUnsupported) || len(kept) > 1 || len(kept) == 1 && (kept[0] != id || !plainID(id)) {
			t.Errorf("the id %q is kept as %q, %v", id, kept, err)
		}
	})
}

package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"drydock/api/wire"
	"drydock/blueprints"
	"drydock/blueprints/pool"
	"drydock/embedded/redistest"
	"drydock/handlers"
	"drydock/locks"
	"drydock/model"
	"drydock/store"
)

// conformance is a Drydock in a namespace of its own whose every answer is held against openapi.json. It asks for tokens; see [people].
type conformance struct {
	*contract

	api      *testAPI
	ns       string
	store    *store.Store
	updater  *handlers.Updater
	happened map[string]map[int]bool // by operationId and status

	mu    sync.Mutex
	queue []model.Ref
}

func newConformance(t *testing.T) *conformance {
	t.Helper()
	return newConformanceOn(t, redistest.Shared(t))
}

func newConformanceOn(t *testing.T, server redistest.Addresser) *conformance {
	t.Helper()
	c := &conformance{contract: newContract(t), ns: redistest.Namespace(t), happened: map[string]map[int]bool{}}
	log := slog.New(slog.DiscardHandler)
	kinds := blueprints.NewRegistry(pool.Kind{})
	c.store = store.New(redistest.Client(t, server), store.Config{Logger: log})
	t.Cleanup(c.store.Close)
	locker, err := locks.New([]redis.UniversalClient{lockClient(t, server.Addr())}, locks.Config{Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	c.updater = handlers.NewUpdater(c.store, locker, c, kinds, handlers.Config{Worker: "w1", Logger: log})
	c.api = newAPI(t, &fakeStore{}, withPeople, func(cfg *Config) { cfg.Store, cfg.Tasks, cfg.Kinds, cfg.Now = c.store, c, kinds, time.Now })
	return c
}

func lockClient(t *testing.T, addr string) *redis.Client {
	client := redis.NewClient(&redis.Options{Addr: addr, ContextTimeoutEnabled: true, MaxRetries: -1})
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// Enqueue implements [Tasks] and [handlers.Enqueuer].
func (c *conformance) Enqueue(_ context.Context, refs ...model.Ref) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue = append(c.queue, refs...)
	return nil
}

// work does what a worker would: all updates that are due, and those that follow from them.
func (c *conformance) work() {
	c.t.Helper()
	for {
		c.mu.Lock()
		refs := c.queue
		c.queue = nil
		c.mu.Unlock()
		if len(refs) == 0 {
			return
		}
		for _, ref := range refs {
			if err := c.updater.Update(c.t.Context(), ref); err != nil {
				c.t.Errorf("update %s: %v", ref, err)
			}
		}
	}
}

// to makes a request for an operation, by an admin of the namespace. A path has at most one parameter, whose value is given.
func (c *conformance) to(id, parameter, query, body string, headers ...string) call {
	c.t.Helper()
	op := c.operations[id]
	if op == nil {
		c.t.Fatalf("openapi.json has no operation %s", id)
	}
	req := call{op: op, path: strings.NewReplacer("{id}", parameter, "{name}", parameter).Replace(op.path), query: query, body: body, header: http.Header{}}
	if strings.HasPrefix(op.path, "/v1/") {
		req.query = strings.TrimSuffix("namespace="+c.ns+"&"+query, "&")
	}
	for _, h := range append([]string{bearer("root.admin." + c.ns)}, headers...) {
		name, value, _ := strings.Cut(h, ": ")
		req.header.Set(name, value)
		if value == "" {
			req.header.Del(name)
		}
	}
	return req
}

// send sends a request to a server and checks the answer.
func (c *conformance) send(a *testAPI, req call, want int) answer {
	c.t.Helper()
	return c.sendReader(a, req, want, strings.NewReader(req.body))
}

func (c *conformance) sendReader(a *testAPI, req call, want int, body io.Reader) answer {
	c.t.Helper()
	target := req.path
	if req.query != "" {
		target += "?" + req.query
	}
	var headers []string
	for name := range req.header {
		headers = append(headers, name+": "+req.header.Get(name))
	}
	got := a.doReader(req.op.method, target, body, headers...)
	c.record(req, got.status, want, got.body)
	c.check(req, got.status, got.header, got.body)
	return got
}

func (c *conformance) record(req call, got, want int, body []byte) {
	c.t.Helper()
	if got != want {
		c.t.Errorf("%s: %s = %d %.500s, want %d", req.op.id, req, got, body, want)
	}
	if c.happened[req.op.id] == nil {
		c.happened[req.op.id] = map[int]bool{}
	}
	c.happened[req.op.id][got] = true
}

// good sends a request of an admin.
func (c *conformance) good(id, parameter, query, body string, want int, headers ...string) answer {
	c.t.Helper()
	return c.send(c.api, c.to(id, parameter, query, body, headers...), want)
}

// created is good for a request whose answer has an id.
func (c *conformance) created(body string, headers ...string) string {
	c.t.Helper()
	id := idOf(c.good("createLease", "", "", body, http.StatusAccepted, headers...).body)
	if id == "" {
		c.t.Fatal("a lease without an id")
	}
	return id
}

// idOf returns the id of the object in an answer.
func idOf(body []byte) string {
	var object struct {
		ID string `json:"id"`
	}
	_ = json.Unmarshal(body, &object) // no id is what the caller looks for
	return object.ID
}

// resourceOf returns the resource of a lease that must be active.
func (c *conformance) resourceOf(lease string) string {
	c.t.Helper()
	l, err := c.store.Lease(c.t.Context(), c.ns, lease)
	if err != nil || l.Status != model.LeaseActive {
		c.t.Fatalf("the lease is %+v (%v), want it active", l, err)
	}
	return l.Resource
}

// TestEveryAnswerIsAsOpenAPISays provokes every status that openapi.json lists for each operation, with a real store, and holds
// each answer against the document: status, headers, content type and body, and the request too if the server took it.
func TestEveryAnswerIsAsOpenAPISays(t *testing.T) {
	t.Parallel()
	c := newConformance(t)
	c.refusals()
	c.outages()
	c.slowBodies()
	c.leases()
	c.resources()
	c.blueprints()
	c.owners()
	c.subscriptions()
	c.events()
	c.operationsOfTheServer()

	for _, op := range c.sorted() {
		for _, status := range slices.Sorted(maps.Keys(op.responses)) {
			if !c.happened[op.id][status] {
				t.Errorf("%s is never answered with %d, which the document lists: provoke it, or take it out", op.id, status)
			}
		}
	}
}

// somewhere is a parameter that a path of an operation may have; there need not be anything.
func somewhere(op *operation) string {
	if strings.Contains(op.path, "{name}") {
		return "nowhere"
	}
	return model.NewID()
}

// refusals are answers that no store is asked for, and that the document lists for many operations.
func (c *conformance) refusals() {
	c.t.Helper()
	limited := newAPI(c.t, &fakeStore{}, func(cfg *Config) { cfg.RateLimit, cfg.RateBurst = 1e-6, 1 })
	limited.do(http.MethodGet, "/v1/leases?bogus=1", "") // the one request that is allowed
	broken := newAPI(c.t, &fakeStore{down: errors.New("a bug")}, func(cfg *Config) { cfg.Kinds = blueprints.NewRegistry(pool.Kind{}) })
	broken.api.endWaits()
	for _, op := range c.sorted() {
		if !strings.HasPrefix(op.path, "/v1/") {
			continue
		}
		send := func(a *testAPI, want int, query, body string, headers ...string) {
			c.t.Helper()
			if op.responses[want].value != nil {
				c.send(a, c.to(op.id, somewhere(op), query, body, headers...), want)
			}
		}
		body := op.example()
		send(c.api, http.StatusBadRequest, "limit=%zz", body)
		send(c.api, http.StatusUnauthorized, "", body, "Authorization: ")
		send(c.api, http.StatusUnauthorized, "", body, bearer("no.such"))
		send(c.api, http.StatusForbidden, "", body, bearer("nobody")) // no role anywhere
		if op.method != http.MethodGet {
			send(c.api, http.StatusForbidden, "", body, bearer("eve.viewer."+c.ns))
		}
		send(c.api, http.StatusNotFound, "", body, bearer("eve.admin.elsewhere"))
		send(c.api, http.StatusUnprocessableEntity, "bogus=1", body)
		send(limited, http.StatusTooManyRequests, "", body)
		send(broken, http.StatusInternalServerError, "", body)
		tooLarge := `{"x": "` + strings.Repeat("x", 1<<20) + `"}`
		if !op.takesBody() { // then it is not read
			c.send(c.api, c.to(op.id, somewhere(op), "bogus=1", tooLarge), http.StatusUnprocessableEntity)
		}
		if op.takesBody() {
			send(c.api, http.StatusBadRequest, "", "{")
			send(c.api, http.StatusRequestEntityTooLarge, "", tooLarge)
			send(c.api, http.StatusUnsupportedMediaType, "", "kind: pool", "Content-Type: text/yaml")
			send(c.api, http.StatusUnprocessableEntity, "", `{"bogus": 1}`)
			send(c.api, http.StatusForbidden, "", body, "Sec-Fetch-Site: cross-site")
		}
	}
}

// outages are what is answered while there is no Redis.
func (c *conformance) outages() {
	c.t.Helper()
	nobody := redis.NewClient(&redis.Options{Addr: fmt.Sprintf("127.0.0.1:%d", redistest.FreePort(c.t)), MaxRetries: -1, DialerRetries: 1})
	c.t.Cleanup(func() { _ = nobody.Close() })
	s := store.New(nobody, store.Config{Logger: slog.New(slog.DiscardHandler)})
	c.t.Cleanup(s.Close)
	down := newAPI(c.t, &fakeStore{}, func(cfg *Config) { cfg.Store, cfg.Kinds = s, blueprints.NewRegistry(pool.Kind{}) })
	for _, op := range c.sorted() {
		if op.responses[http.StatusServiceUnavailable].value != nil && op.id != "metrics" {
			c.send(down, c.to(op.id, somewhere(op), "", op.example()), http.StatusServiceUnavailable)
		}
	}
}

// slowBodies are bodies that never end.
func (c *conformance) slowBodies() {
	c.t.Helper()
	impatient := newAPI(c.t, &fakeStore{}, withPeople, func(cfg *Config) { cfg.Store, cfg.RequestTimeout = c.store, 100*time.Millisecond })
	for _, op := range c.sorted() {
		if op.takesBody() {
			body, more := io.Pipe()
			stop := context.AfterFunc(c.t.Context(), func() { _ = more.Close() })
			c.sendReader(impatient, c.to(op.id, somewhere(op), "", ""), http.StatusRequestTimeout, body)
			_ = more.Close()
			stop()
		}
	}
}

const labPool = `{"kind": "pool", "type": "host", "config": {"hosts": [{"name": "h1", "attributes": {"os": "linux"}}, {"name": "h2"}]}}`

// leases drives the operations on leases.
func (c *conformance) leases() {
	c.t.Helper()
	c.good("putBlueprint", "lab", "", labPool, http.StatusCreated)
	body := `{"type": "host", "attributes": {"os": "linux"}, "blueprints": ["lab"], "owner": "ada", "ttl": "1h", "priority": 3, "data": {"n": 1}}`
	lease := c.created(body, "Idempotency-Key: one")
	if again := c.good("createLease", "", "", body, http.StatusAccepted, "Idempotency-Key: one"); again.header.Get(wire.HeaderIdempotencyReplayed) != "true" {
		c.t.Errorf("the second POST with one key is not marked as such: %v", again.header)
	}
	c.good("createLease", "", "", `{"type": "host"}`, http.StatusUnprocessableEntity, "Idempotency-Key: one") // key_reused
	c.good("createLease", "", "", `{"type": "boat"}`, http.StatusUnprocessableEntity)                         // unsatisfiable
	c.work()
	resource := c.resourceOf(lease)
	// Two hosts, three leases: one waits.
	c.created(`{"type": "host"}`)
	later := time.Now().Add(48 * time.Hour).UTC().Format(time.RFC3339)
	waiting := c.created(`{"type": "host", "owner": "ada", "until": "` + later + `"}`)
	c.work()

	c.readTagged("readLease", lease)
	c.good("readLease", lease, "wait=active&timeout=1s", "", http.StatusOK)
	if got := c.good("readLease", waiting, "wait=active&timeout=1ms", "", http.StatusOK); !strings.Contains(string(got.body), `"position":1`) {
		c.t.Errorf("the lease that waits is %s", got.body)
	}
	c.good("readLease", model.NewID(), "", "", http.StatusNotFound)
	c.pages("listLeases", "", "status=active&type=host&owner=ada&resource="+resource)

	const extend = `{"command": "extend", "args": {"ttl": "2h"}, "reason": "slow tests"}`
	c.good("sendLeaseCommand", lease, "", extend, http.StatusAccepted, "Idempotency-Key: two", "Drydock-Via: cli", "Drydock-Author: root")
	c.good("sendLeaseCommand", lease, "", extend, http.StatusAccepted, "Idempotency-Key: two")
	c.work()
	c.good("sendLeaseCommand", lease, "", `{"command": "extend", "args": {"until": "`+later+`"}}`, http.StatusAccepted)
	c.pages("listLeaseCommands", lease, "")
	c.pages("listLeaseLog", lease, "")
	c.pages("listLeaseSlots", lease, "")
	c.notes("Lease", lease)

	release := `{"ids": ["` + waiting + `", "` + model.NewID() + `", "nonsense"], "reason": "enough"}`
	for range 2 {
		c.good("releaseLeases", "", "", release, http.StatusAccepted, "Idempotency-Key: three")
	}
	c.good("releaseLeases", "", "", `{"ids": ["`+lease+`"]}`, http.StatusAccepted, bearer("eve.holder."+c.ns)) // refused in the answer
	c.good("releaseLeases", "", "", `{"filter": {"status": "broken", "type": "host", "owner": "ada", "resource": "`+resource+`"}}`, http.StatusAccepted)
	for _, want := range []int{http.StatusAccepted, http.StatusOK} {
		c.good("releaseLease", lease, "", `{"reason": "done"}`, want, "Drydock-Via: console")
		c.work()
	}
	c.good("releaseLease", lease, "", "", http.StatusOK)
	c.good("sendLeaseCommand", lease, "", `{"command": "release"}`, http.StatusOK)
	c.good("sendLeaseCommand", lease, "", extend, http.StatusConflict)
	c.good("putLeaseData", lease, "", `{"data": 1}`, http.StatusConflict)
	c.good("readLease", lease, "wait=destroyed", "", http.StatusOK)
}

// resources drives the operations on resources, of which there are two by now.
func (c *conformance) resources() {
	c.t.Helper()
	lease := c.created(`{"type": "host"}`)
	c.work()
	resource := c.resourceOf(lease)
	c.readTagged("readResource", resource)
	c.good("readResource", resource, "wait=active&timeout=1s", "", http.StatusOK)
	c.good("readResource", model.NewID(), "", "", http.StatusNotFound)
	c.pages("listResources", "", "status=active&type=host&blueprint=lab")
	for _, name := range []string{"pause", "unpause", "update", "reclaim"} {
		c.good("sendResourceCommand", resource, "", `{"command": "`+name+`", "reason": "why not"}`, http.StatusAccepted)
		c.work()
	}
	c.good("sendResourceCommand", resource, "", `{"command": "pause"}`, http.StatusAccepted)
	c.pages("listResourceCommands", resource, "")
	c.pages("listResourceLog", resource, "")
	if got := c.good("listResourceSlots", resource, "", "", http.StatusOK); !strings.Contains(string(got.body), `"owner_kind":"resource"`) {
		c.t.Errorf("slots of the resource: %s", got.body)
	}
	c.notes("Resource", resource)
	c.good("putBlueprint", "lab", "", strings.Replace(labPool, "host", "boat", 1), http.StatusConflict)
	c.good("deleteBlueprint", "lab", "", "", http.StatusConflict)

	for _, want := range []int{http.StatusAccepted, http.StatusOK} {
		c.good("releaseResource", resource, "", `{"reason": "broken"}`, want)
		c.work()
	}
	c.good("sendResourceCommand", resource, "", `{"command": "release"}`, http.StatusOK)
	c.good("sendResourceCommand", resource, "", `{"command": "pause"}`, http.StatusConflict)
	c.good("putResourceData", resource, "", `{"data": 1}`, http.StatusConflict)
	c.good("readResource", resource, "wait=destroyed", "", http.StatusOK)
}

// readTagged reads a thing, and reads it again knowing it.
func (c *conformance) readTagged(id, parameter string) {
	c.t.Helper()
	tag := c.good(id, parameter, "", "", http.StatusOK).header.Get(wire.HeaderETag)
	c.good(id, parameter, "", "", http.StatusNotModified, "If-None-Match: \"other\", "+tag)
}

// pages reads a list whole and in pages of one, and with a filter.
func (c *conformance) pages(id, parameter, filter string) {
	c.t.Helper()
	var page struct {
		Items []json.RawMessage `json:"items"`
		Next  string            `json:"next"`
	}
	read := func(query string) int {
		c.t.Helper()
		page.Next = ""
		if err := json.Unmarshal(c.good(id, parameter, query, "", http.StatusOK).body, &page); err != nil {
			c.t.Fatal(err)
		}
		return len(page.Items)
	}
	all := read("")
	if filter != "" && read(filter) == 0 {
		c.t.Errorf("%s finds nothing with %s", id, filter)
	}
	count := read("limit=1")
	for page.Next != "" {
		count += read("limit=1&after=" + url.QueryEscape(page.Next))
	}
	if count != all {
		c.t.Errorf("%s has %d items, %d in pages", id, all, count)
	}
}

// notes drives the notes on an object of a kind.
func (c *conformance) notes(kind, id string) {
	c.t.Helper()
	put, read := "put"+kind+"Data", "read"+kind+"Data"
	rev := c.good(read, id, "", "", http.StatusOK).header.Get(wire.HeaderETag)
	c.good(put, id, "", `{"data": {"a": [1, null]}}`, http.StatusOK, "If-Match: "+rev)
	c.good(put, id, "", `{"data": 1}`, http.StatusPreconditionFailed, "If-Match: "+rev)
	c.good(put, id, "", `{"data": 1}`, http.StatusPreconditionFailed, "If-None-Match: *")
	c.good(put, id, "", `{"data": null}`, http.StatusOK, "If-Match: *")
	c.good(put, id, "", `{"data": "text"}`, http.StatusOK, "If-None-Match: *")
	c.readTagged(read, id)
	c.good(put, model.NewID(), "", `{"data": 1}`, http.StatusNotFound)
	c.good(read, model.NewID(), "", "", http.StatusNotFound)
}

// blueprints drives the operations on blueprints.
func (c *conformance) blueprints() {
	c.t.Helper()
	const boats = `{"kind": "pool", "type": "boat", "limit": 3, "min_idle": 1, "max_idle_age": "90m", "quota": 2, "authorize": ["ada", "bob"],
		"on": {"type": "host", "attributes": {"os": "linux"}, "blueprints": ["lab"]}, "enabled": false, "config": {"hosts": []}}`
	got := c.good("putBlueprint", "boats", "", boats, http.StatusCreated, "If-None-Match: *")
	c.good("putBlueprint", "boats", "", boats, http.StatusPreconditionFailed, "If-None-Match: *")
	c.good("putBlueprint", "boats", "", boats, http.StatusOK, "If-Match: "+got.header.Get(wire.HeaderETag))
	c.readTagged("readBlueprint", "boats")
	c.good("readBlueprint", "nowhere", "", "", http.StatusNotFound)
	c.pages("listBlueprints", "", "")
	c.good("deleteBlueprint", "nowhere", "", "", http.StatusNotFound)
	c.good("deleteBlueprint", "boats", "", "", http.StatusNoContent)
}

// owners drives the operations on authorizations.
func (c *conformance) owners() {
	c.t.Helper()
	c.good("putBlueprint", "gpus", "", `{"kind": "pool", "type": "gpu", "authorize": "request", "config": {"hosts": [{"name": "g1"}]}}`, http.StatusCreated)
	c.created(`{"type": "gpu", "owner": "ada"}`)
	c.created(`{"type": "gpu", "owner": null}`, bearer("root.operator."+c.ns))
	c.work()
	c.good("authorize", "gpus", "", `{"owner": "ada", "status": "approved", "reason": "on the team"}`, http.StatusOK, "Drydock-Via: cli")
	c.work()
	if got := c.good("authorize", "gpus", "", `{"owner": "ada", "status": "declined"}`, http.StatusOK); !strings.Contains(string(got.body), "lives on") {
		c.t.Errorf("declined: %s", got.body)
	}
	c.good("authorize", "gpus", "", `{"owner": null, "status": "approved", "reason": null}`, http.StatusOK)
	c.good("authorize", "lab", "", `{"owner": "ada", "status": "approved"}`, http.StatusConflict)
	c.pages("listAuthorizations", "", "blueprint=gpus&owner=ada&status=declined")
}

// subscriptions drives the operations on subscriptions.
func (c *conformance) subscriptions() {
	c.t.Helper()
	const declared = `{"url": "https://example.org/hook", "secret": "sixteen bytes or more", "filter": {"types": ["lease"], "status": ["active"]}, "tries": 3}`
	c.good("putSubscription", "ci", "", declared, http.StatusCreated)
	c.good("putSubscription", "ci", "", `{"url": "https://example.org/hook", "secret": null, "filter": null, "enabled": null, "tries": null}`, http.StatusOK)
	claim, err := c.store.ClaimSubscription(c.t.Context(), c.ns, "ci")
	for _, e := range []model.Event{
		{ID: "5-0", At: testNow, Namespace: c.ns, Object: model.LeaseRef(c.ns, leaseID), Event: model.EventReleased, Status: "released"},
		{ID: "6-0", At: testNow, Namespace: c.ns, Event: model.EventGap},
	} {
		if err == nil {
			err = c.store.EventDead(c.t.Context(), claim, &e, 3, "the service answered 500")
		}
	}
	if err != nil {
		c.t.Fatal(err)
	}
	c.readTagged("readSubscription", "ci")
	c.good("readSubscription", "nowhere", "", "", http.StatusNotFound)
	c.good("listSubscriptions", "", "", "", http.StatusOK)
	c.pages("listDeadLetters", "ci", "")
	c.good("retryDeadLetters", "ci", "", "", http.StatusAccepted)
	for i := 1; i < model.MaxSubscriptions; i++ {
		c.good("putSubscription", fmt.Sprintf("s%d", i), "", declared, http.StatusCreated)
	}
	c.good("putSubscription", "one-too-many", "", declared, http.StatusConflict)
	c.good("deleteSubscription", "ci", "", "", http.StatusNoContent)
	c.good("deleteSubscription", "ci", "", "", http.StatusNotFound)
}

// events reads all that has happened so far from the stream.
func (c *conformance) events() {
	c.t.Helper()
	last := c.created(`{"type": "host"}`)
	req := c.to("streamEvents", "", "after=0", "")
	s := c.api.streamAs(req.query, "", req.header.Get("Authorization"))
	c.record(req, s.resp.StatusCode, http.StatusOK, nil)
	c.check(req, s.resp.StatusCode, s.resp.Header, nil)
	seen := map[string]bool{}
	next := func() message {
		c.t.Helper()
		e := s.events(1)[0]
		if err := c.closed.checkJSON("/components/schemas/Event", []byte(e.raw)); err != nil {
			c.t.Errorf("event %s breaks its schema: %v", e.raw, err)
		}
		seen[e.event] = true
		return e
	}
	for string(next().data.Object) != last {
	}
	// One that begins behind an event that nobody keeps, and is picky.
	req = c.to("streamEvents", "", "after=0&type=lease,resource&object="+last+"&event=queued&status=pending", "", "Last-Event-ID: 1-0")
	s = c.api.streamAs(req.query, req.header.Get("Last-Event-ID"), req.header.Get("Authorization"))
	c.check(req, s.resp.StatusCode, s.resp.Header, nil)
	if gap, e := next(), next(); gap.event != string(model.EventGap) || string(e.data.Object) != last {
		c.t.Errorf("%s and %s came through the filter, want a gap and the lease", gap.raw, e.raw)
	}
	if len(seen) < 10 {
		c.t.Errorf("only %v were seen", slices.Sorted(maps.Keys(seen)))
	}
}

// operationsOfTheServer drives what is not below /v1.
func (c *conformance) operationsOfTheServer() {
	c.t.Helper()
	for _, id := range []string{"healthz", "readyz", "openapi"} {
		c.good(id, "", "", "", http.StatusOK, "Authorization: ")
	}
	everywhere := bearer("root.admin.ALL")
	c.good("metrics", "", "", "", http.StatusOK, everywhere)
	c.good("metrics", "", "", "", http.StatusForbidden)
	c.good("metrics", "", "", "", http.StatusUnauthorized, "Authorization: ")
	c.good("metrics", "", "", "", http.StatusServiceUnavailable, bearer("down")) // the issuer cannot be reached
	limited := newAPI(c.t, &fakeStore{}, func(cfg *Config) { cfg.RateLimit, cfg.RateBurst = 1e-6, 1 })
	limited.do(http.MethodGet, "/metrics", "")
	c.send(limited, c.to("metrics", "", "", ""), http.StatusTooManyRequests)
}

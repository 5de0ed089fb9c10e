package api

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"drydock/api/wire"
	"drydock/model"
)

// The ids and the clock of the tests.
const (
	leaseID    = "06f2k1m9v5t1p0c3b8q7n4s6a0"
	resourceID = "06f2k1m9v5t1p0c3b8q7n4s6r0"
	commandID  = "06f2k1m9v5t1p0c3b8q7n4s6c0"
	fixedID    = "test-request"
)

var testNow = time.Date(2030, 1, 2, 15, 4, 5, 678_900_000, time.UTC)

// fakeStore is a Store of functions. A method without one fails the test, unless down is set: then every method returns it.
type fakeStore struct {
	t    testing.TB
	down error

	createLease     func(ctx context.Context, namespace, id string, n model.NewLease, idem model.Idempotency) (model.Created, error)
	send            func(ctx context.Context, cmd model.Command, idem model.Idempotency) (model.Sent, error)
	lease           func(ctx context.Context, namespace, id string) (*model.Lease, error)
	leases          func(namespace string, f model.LeaseFilter) (model.Page[*model.Lease], error)
	resource        func(namespace, id string) (*model.Resource, error)
	resources       func(namespace string, f model.ResourceFilter) (model.Page[*model.Resource], error)
	commands        func(ref model.Ref, limit int, after string) (model.Page[*model.Command], error)
	log             func(ref model.Ref, limit int, after string) (model.Page[model.LogEntry], error)
	slots           func(ref model.Ref) ([]model.Slot, error)
	data            func(ref model.Ref) (model.Data, error)
	setData         func(ref model.Ref, value json.RawMessage, cond model.Condition) (model.Data, error)
	putBlueprint    func(bp *model.Blueprint, cond model.Condition) (*model.Blueprint, bool, []model.Ref, error)
	blueprint       func(namespace, name string) (*model.Blueprint, error)
	blueprints      func(namespace string) ([]*model.Blueprint, error)
	deleteBlueprint func(namespace, name string) error
	authorize       func(a model.Authorization) (*model.Authorization, []model.Ref, error)
	authorizations  func(namespace string, f model.AuthorizationFilter) (model.Page[*model.Authorization], error)
	saveAnswer      func(ctx context.Context, namespace, key string, a model.Answer) (model.Answer, error)
	watch           func(ref model.Ref) (<-chan struct{}, func())
	ping            func() error

	fakeBatch
	fakeEvents
}

// ready reports whether a method may call its function, and what to return if not.
func (f *fakeStore) ready(method string, set bool) error {
	switch {
	case f.down != nil:
		return f.down
	case !set:
		f.t.Errorf("the store's %s was called", method)
		return model.Errorf(model.ErrorInternal, "%s is not expected", method)
	}
	return nil
}

func (f *fakeStore) CreateLease(ctx context.Context, namespace, id string, n model.NewLease, idem model.Idempotency) (model.Created, error) {
	if err := f.ready("CreateLease", f.createLease != nil); err != nil {
		return model.Created{}, err
	}
	return f.createLease(ctx, namespace, id, n, idem)
}

func (f *fakeStore) Send(ctx context.Context, cmd model.Command, idem model.Idempotency) (model.Sent, error) {
	if err := f.ready("Send", f.send != nil); err != nil {
		return model.Sent{}, err
	}
	return f.send(ctx, cmd, idem)
}

func (f *fakeStore) Lease(ctx context.Context, namespace, id string) (*model.Lease, error) {
	if err := f.ready("Lease", f.lease != nil); err != nil {
		return nil, err
	}
	return f.lease(ctx, namespace, id)
}

func (f *fakeStore) Leases(_ context.Context, namespace string, filter model.LeaseFilter) (model.Page[*model.Lease], error) {
	if err := f.ready("Leases", f.leases != nil); err != nil {
		return model.Page[*model.Lease]{}, err
	}
	return f.leases(namespace, filter)
}

func (f *fakeStore) Resource(_ context.Context, namespace, id string) (*model.Resource, error) {
	if err := f.ready("Resource", f.resource != nil); err != nil {
		return nil, err
	}
	return f.resource(namespace, id)
}

func (f *fakeStore) Resources(_ context.Context, namespace string, filter model.ResourceFilter) (model.Page[*model.Resource], error) {
	if err := f.ready("Resources", f.resources != nil); err != nil {
		return model.Page[*model.Resource]{}, err
	}
	return f.resources(namespace, filter)
}

func (f *fakeStore) Commands(_ context.Context, ref model.Ref, limit int, after string) (model.Page[*model.Command], error) {
	if err := f.ready("Commands", f.commands != nil); err != nil {
		return model.Page[*model.Command]{}, err
	}
	return f.commands(ref, limit, after)
}

func (f *fakeStore) Log(_ context.Context, ref model.Ref, limit int, after string) (model.Page[model.LogEntry], error) {
	if err := f.ready("Log", f.log != nil); err != nil {
		return model.Page[model.LogEntry]{}, err
	}
	return f.log(ref, limit, after)
}

func (f *fakeStore) Slots(_ context.Context, ref model.Ref) ([]model.Slot, error) {
	if err := f.ready("Slots", f.slots != nil); err != nil {
		return nil, err
	}
	return f.slots(ref)
}

func (f *fakeStore) Data(_ context.Context, ref model.Ref) (model.Data, error) {
	if err := f.ready("Data", f.data != nil); err != nil {
		return model.Data{}, err
	}
	return f.data(ref)
}

func (f *fakeStore) SetData(_ context.Context, ref model.Ref, value json.RawMessage, cond model.Condition) (model.Data, error) {
	if err := f.ready("SetData", f.setData != nil); err != nil {
		return model.Data{}, err
	}
	return f.setData(ref, value, cond)
}

func (f *fakeStore) PutBlueprint(_ context.Context, bp *model.Blueprint, cond model.Condition) (*model.Blueprint, bool, []model.Ref, error) {
	if err := f.ready("PutBlueprint", f.putBlueprint != nil); err != nil {
		return nil, false, nil, err
	}
	return f.putBlueprint(bp, cond)
}

func (f *fakeStore) Blueprint(_ context.Context, namespace, name string) (*model.Blueprint, error) {
	if err := f.ready("Blueprint", f.blueprint != nil); err != nil {
		return nil, err
	}
	return f.blueprint(namespace, name)
}

func (f *fakeStore) Blueprints(_ context.Context, namespace string) ([]*model.Blueprint, error) {
	if err := f.ready("Blueprints", f.blueprints != nil); err != nil {
		return nil, err
	}
	return f.blueprints(namespace)
}

func (f *fakeStore) DeleteBlueprint(_ context.Context, namespace, name string) ([]model.Ref, error) {
	if err := f.ready("DeleteBlueprint", f.deleteBlueprint != nil); err != nil {
		return nil, err
	}
	return nil, f.deleteBlueprint(namespace, name)
}

func (f *fakeStore) Authorize(_ context.Context, a model.Authorization) (*model.Authorization, []model.Ref, error) {
	if err := f.ready("Authorize", f.authorize != nil); err != nil {
		return nil, nil, err
	}
	return f.authorize(a)
}

func (f *fakeStore) Authorizations(
	_ context.Context, namespace string, filter model.AuthorizationFilter,
) (model.Page[*model.Authorization], error) {
	if err := f.ready("Authorizations", f.authorizations != nil); err != nil {
		return model.Page[*model.Authorization]{}, err
	}
	return f.authorizations(namespace, filter)
}

func (f *fakeStore) SaveAnswer(ctx context.Context, namespace, key string, a model.Answer) (model.Answer, error) {
	if err := f.ready("SaveAnswer", f.saveAnswer != nil); err != nil {
		return a, err
	}
	return f.saveAnswer(ctx, namespace, key, a)
}

func (f *fakeStore) Watch(_ context.Context, ref model.Ref) (<-chan struct{}, func()) {
	if f.ready("Watch", f.watch != nil) != nil {
		return nil, func() {}
	}
	return f.watch(ref)
}

func (f *fakeStore) Ping(context.Context) error {
	if err := f.ready("Ping", f.ping != nil); err != nil {
		return err
	}
	return f.ping()
}

// knowingStore is a fakeStore that also knows idempotency keys.
type knowingStore struct {
	*fakeStore

	knowsKey func(namespace, key string) (bool, error)
}

func (k knowingStore) KnowsKey(_ context.Context, namespace, key string) (bool, error) {
	return k.knowsKey(namespace, key)
}

// fakeTasks keeps what was enqueued.
type fakeTasks struct {
	enqueue func(ctx context.Context, refs []model.Ref) error

	mu   sync.Mutex
	refs []model.Ref
}

func (f *fakeTasks) Enqueue(ctx context.Context, refs ...model.Ref) error {
	f.mu.Lock()
	f.refs = append(f.refs, refs...)
	f.mu.Unlock()
	if f.enqueue != nil {
		return f.enqueue(ctx, refs)
	}
	return nil
}

func (f *fakeTasks) enqueued() []model.Ref {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.refs
}

// fakeKinds serves whatever has no attribute "impossible".
type fakeKinds struct {
	check func(bp *model.Blueprint) error
}

func (f fakeKinds) Check(bp *model.Blueprint) error {
	if err := bp.Check(); err != nil || f.check == nil {
		return err
	}
	return f.check(bp)
}

func (fakeKinds) CanServe(_ *model.Blueprint, req model.Request) (bool, string) {
	if why, ok := req.Attributes["impossible"]; ok {
		return false, why
	}
	return true, ""
}

// testAPI is a server on a real listener.
type testAPI struct {
	*httptest.Server

	t     testing.TB
	api   *Server
	store *fakeStore
	tasks *fakeTasks
	log   *syncBuffer
}

// syncBuffer is where the server logs to.
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

// newAPI starts a server whose store does what the fields of f say. Options change its configuration.
func newAPI(t testing.TB, f *fakeStore, options ...func(*Config)) *testAPI {
	t.Helper()
	f.t = t
	a := &testAPI{t: t, store: f, tasks: &fakeTasks{}, log: &syncBuffer{}}
	cfg := Config{
		Store: f,
		Tasks: a.tasks,
		Kinds: fakeKinds{},
		Log:   slog.New(slog.NewJSONHandler(a.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Now:   func() time.Time { return testNow },
	}
	for _, option := range options {
		option(&cfg)
	}
	a.api = New(cfg)
	a.Server = httptest.NewUnstartedServer(nil)
	a.Config = a.api.HTTPServer()
	a.Start()
	t.Cleanup(a.Close)
	return a
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// problem reads the body as a problem and checks what holds for every problem.
func (a answer) problem(t testing.TB) wire.Problem {
	t.Helper()
	var p wire.Problem
	if got := a.header.Get("Content-Type"); got != wire.ProblemContentType {
		t.Fatalf("Content-Type of status %d = %q, want %q; body %s", a.status, got, wire.ProblemContentType, a.body)
	}
	if err := json.Unmarshal(a.body, &p); err != nil {
		t.Fatalf("problem %s: %v", a.body, err)
	}
	if p.Status != a.status || p.Title == "" || p.Type == "" || p.Detail == "" || p.RequestID == "" || p.RequestID != a.header.Get(wire.HeaderRequestID) {
		t.Errorf("problem of status %d is incomplete: %s", a.status, a.body)
	}
	return p
}

// do sends a request. Headers are given as "Name: value".
func (a *testAPI) do(method, path, body string, headers ...string) answer {
	a.t.Helper()
	return a.doReader(method, path, strings.NewReader(body), headers...)
}

func (a *testAPI) doReader(method, path string, body io.Reader, headers ...string) answer {
	a.t.Helper()
	req, err := http.NewRequestWithContext(a.t.Context(), method, a.URL+path, body)
	if err != nil {
		a.t.Fatal(err)
	}
	req.Header.Set(wire.HeaderRequestID, fixedID)
	req.Header.Set("User-Agent", "test/1")
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header[http.CanonicalHeaderKey(name)] = append(req.Header[http.CanonicalHeaderKey(name)], value)
	}
	resp, err := a.Client().Do(req)
	if err != nil {
		a.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		a.t.Fatalf("%s %s: %v", method, path, err)
	}
	return answer{status: resp.StatusCode, header: resp.Header, body: got}
}

// lab is a blueprint of type host.
func lab() *model.Blueprint {
	return &model.Blueprint{
		Namespace: "default", Name: "lab", Kind: "pool", Type: "host", Limit: 3, Enabled: true, On: &model.SubLease{Type: "rack"},
		MinIdle: 1, MaxIdleAge: 90 * time.Minute, Quota: 2, Authorize: model.Authorize{Only: true, Owners: []string{"ada", "<bob>"}},
		Config: json.RawMessage(`{"leases_per_host":1}`), Rev: 2, CreatedAt: testNow, UpdatedAt: testNow.Add(time.Hour),
	}
}

func someBlueprints(string) ([]*model.Blueprint, error) { return []*model.Blueprint{lab()}, nil }

func pendingLease(namespace string) *model.Lease {
	return &model.Lease{
		Ref: model.LeaseRef(namespace, leaseID), Type: "host", Status: model.LeasePending,
		Waiting:   &model.Waiting{Position: 2, Reason: "every host is taken"},
		CreatedAt: testNow, UpdatedAt: testNow,
	}
}

func activeLease(namespace string) *model.Lease {
	return &model.Lease{
		Ref: model.LeaseRef(namespace, leaseID), Type: "host", Status: model.LeaseActive, Releasing: true,
		Resource: resourceID, Blueprint: "lab", Owner: "<ada> & co", Attributes: map[string]string{"os": "linux"},
		Blueprints: []string{"lab"}, Priority: 5, Until: testNow.Add(time.Hour), Fence: 7, Data: json.RawMessage(`{"n": 1}`), DataRev: 4, Work: model.LeaseWork{ForResource: resourceID},
		CreatedAt: testNow, AcquiredAt: testNow.Add(time.Second), ActivatedAt: testNow.Add(2 * time.Second), UpdatedAt: testNow.Add(3 * time.Second),
	}
}

func activeResource(namespace string) *model.Resource {
	return &model.Resource{
		Ref: model.ResourceRef(namespace, resourceID), Name: "h1", Type: "host", Status: model.ResourceActive, Blueprint: "lab",
		Attributes: map[string]string{"os": "linux"}, Capacity: 2, Leases: []string{leaseID}, Fence: 3,
		Work:      model.ResourceWork{SubLease: leaseID},
		CreatedAt: testNow, ActivatedAt: testNow, UpdatedAt: testNow,
	}
}

func waitingCommand(ref model.Ref) *model.Command {
	return &model.Command{
		ID: commandID, Target: ref, Name: model.CommandRelease, Author: "ada", SentAt: testNow,
		Origin: model.Origin{Via: model.ViaAPI, Address: "192.0.2.1"},
	}
}

func consumedCommand(ref model.Ref) *model.Command {
	return &model.Command{
		ID: commandID, Target: ref, Name: model.CommandExtend, Args: json.RawMessage(`{"ttl":"30m"}`), Author: "ada", Reason: "not done yet",
		Origin: model.Origin{Via: model.ViaCLI, Address: "192.0.2.1", UserAgent: "drydock/1", RequestID: "r1"},
		SentAt: testNow, ConsumedAt: testNow.Add(5 * time.Millisecond), Outcome: model.OutcomeApplied, Detail: "until 16:00", Fence: 8, Worker: "w1",
	}
}

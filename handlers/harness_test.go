package handlers

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"drydock/blueprints"
	"drydock/blueprints/pool"
	"drydock/embedded/redistest"
	"drydock/locks"
	"drydock/model"
	"drydock/store"
)

func TestMain(m *testing.M) { redistest.Main(m) }

// harness is a Drydock whose tasks run when the test says so.
type harness struct {
	t       testing.TB
	ctx     context.Context
	ns      string
	rdb     *redis.Client
	store   *store.Store
	locks   *locks.Locker
	updater *Updater
	kind    *scriptedKind
	clock   *fakeClock

	mu    sync.Mutex
	queue []model.Ref
}

// fakeClock is the time of the store: it moves when the test says so.
type fakeClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func newHarness(t testing.TB) *harness {
	t.Helper()
	return newHarnessOn(t, redistest.Client(t, redistest.Shared(t)), Config{ReclaimGrace: DefaultReclaimGrace, DestroyGrace: DefaultDestroyGrace})
}

func newHarnessOn(t testing.TB, rdb *redis.Client, cfg Config) *harness {
	t.Helper()
	h := &harness{
		t: t, ctx: t.Context(), ns: redistest.Namespace(t), rdb: rdb,
		kind:  &scriptedKind{hooks: &blueprints.Hooks{}},
		clock: &fakeClock{now: time.Now().Truncate(time.Millisecond)},
	}
	log := slog.New(slog.DiscardHandler)
	h.store = store.New(rdb, store.Config{Now: h.clock.Now, Logger: log})
	t.Cleanup(h.store.Close)
	lockClient := redis.NewClient(&redis.Options{Addr: rdb.Options().Addr, ContextTimeoutEnabled: true, MaxRetries: -1})
	t.Cleanup(func() { _ = lockClient.Close() })
	var err error
	h.locks, err = locks.New([]redis.UniversalClient{lockClient}, locks.Config{Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Worker, cfg.Logger = "test", log
	h.updater = NewUpdater(h.store, h.locks, h, blueprints.NewRegistry(pool.Kind{}, h.kind), cfg)
	return h
}

// Enqueue implements Enqueuer.
func (h *harness) Enqueue(_ context.Context, refs ...model.Ref) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.queue = append(h.queue, refs...)
	return nil
}

// drain runs the tasks that are queued, and those that they queue, until there are none.
func (h *harness) drain() {
	h.t.Helper()
	for i := 0; ; i++ {
		h.mu.Lock()
		if len(h.queue) == 0 {
			h.mu.Unlock()
			return
		}
		ref := h.queue[0]
		h.queue = h.queue[1:]
		h.mu.Unlock()
		if i > 10_000 {
			h.t.Fatalf("10,000 tasks and no end; the next is %s", ref)
		}
		if err := h.updater.Update(h.ctx, ref); err != nil {
			h.t.Logf("update %s: %v", ref, err)
		}
	}
}

// sweep lets the time pass and queues what is due then.
func (h *harness) sweep(d time.Duration) {
	h.t.Helper()
	h.clock.advance(d)
	if err := NewSweeper(h.store, h, SweeperConfig{}).Sweep(h.ctx, h.ns); err != nil {
		h.t.Fatal(err)
	}
}

func (h *harness) put(name, kind, typ string, limit int, config any) {
	h.t.Helper()
	raw, err := json.Marshal(config)
	if err != nil {
		h.t.Fatal(err)
	}
	h.putBlueprint(&model.Blueprint{Namespace: h.ns, Name: name, Kind: kind, Type: typ, Limit: limit, Enabled: true, Config: raw})
}

func (h *harness) putBlueprint(bp *model.Blueprint) {
	h.t.Helper()
	_, _, wake, err := h.store.PutBlueprint(h.ctx, bp, model.Condition{})
	if err != nil {
		h.t.Fatal(err)
	}
	_ = h.Enqueue(h.ctx, wake...)
}

// pool declares a pool of hosts h1…hn with so many leases each.
func (h *harness) pool(limit, hosts, perHost int) {
	h.t.Helper()
	h.put("lab", "pool", "host", limit, poolConfig(hosts, perHost))
}

type hostConfig struct {
	Name       string            `json:"name"`
	Attributes map[string]string `json:"attributes,omitempty"`
	Disabled   bool              `json:"disabled,omitempty"`
}

func poolConfig(hosts, perHost int) map[string]any {
	list := make([]hostConfig, hosts)
	for i := range list {
		list[i] = hostConfig{Name: fmt.Sprintf("h%d", i+1), Attributes: map[string]string{"os": "linux"}}
	}
	return map[string]any{"leases_per_host": perHost, "hosts": list}
}

// lease queues a lease and its task.
func (h *harness) lease(n model.NewLease) string {
	h.t.Helper()
	if n.Type == "" {
		n.Type = "host"
	}
	created, err := h.store.CreateLease(h.ctx, h.ns, model.NewID(), n, model.Idempotency{})
	if err != nil {
		h.t.Fatal(err)
	}
	_ = h.Enqueue(h.ctx, created.Wake...)
	return created.Lease.ID
}

// send puts a command on an object's queue, and its task on ours.
func (h *harness) send(ref model.Ref, name model.CommandName, args string) model.Sent {
	h.t.Helper()
	sent, err := h.trySend(ref, name, args)
	if err != nil {
		h.t.Fatal(err)
	}
	return sent
}

func (h *harness) trySend(ref model.Ref, name model.CommandName, args string) (model.Sent, error) {
	cmd := model.Command{
		ID: model.NewID(), Target: ref, Name: name, Author: "alice", Origin: model.Origin{Via: model.ViaAPI, Address: "127.0.0.1"},
	}
	if args != "" {
		cmd.Args = json.RawMessage(args)
	}
	sent, err := h.store.Send(h.ctx, cmd, model.Idempotency{})
	_ = h.Enqueue(h.ctx, sent.Wake...)
	return sent, err
}

func (h *harness) releaseLease(id string) model.Sent {
	h.t.Helper()
	return h.send(model.LeaseRef(h.ns, id), model.CommandRelease, "")
}

func (h *harness) releaseResource(id string) model.Sent {
	h.t.Helper()
	return h.send(model.ResourceRef(h.ns, id), model.CommandRelease, "")
}

func (h *harness) readLease(id string) *model.Lease {
	h.t.Helper()
	l, err := h.store.Lease(h.ctx, h.ns, id)
	if err != nil {
		h.t.Fatal(err)
	}
	return l
}

func (h *harness) readResource(id string) *model.Resource {
	h.t.Helper()
	r, err := h.store.Resource(h.ctx, h.ns, id)
	if err != nil {
		h.t.Fatal(err)
	}
	return r
}

func (h *harness) resources(status model.ResourceState) []*model.Resource {
	h.t.Helper()
	page, err := h.store.Resources(h.ctx, h.ns, model.ResourceFilter{Status: status, Limit: model.MaxPageLimit})
	if err != nil {
		h.t.Fatal(err)
	}
	return page.Items
}

func (h *harness) commands(ref model.Ref) []*model.Command {
	h.t.Helper()
	page, err := h.store.Commands(h.ctx, ref, model.MaxPageLimit, "")
	if err != nil {
		h.t.Fatal(err)
	}
	return page.Items
}

// outcomes counts the outcomes of an object's commands; those that wait count under "".
func (h *harness) outcomes(ref model.Ref) map[model.Outcome]int {
	h.t.Helper()
	counts := map[model.Outcome]int{}
	for _, c := range h.commands(ref) {
		counts[c.Outcome]++
	}
	return counts
}

func (h *harness) logText(ref model.Ref) string {
	h.t.Helper()
	page, err := h.store.Log(h.ctx, ref, model.MaxPageLimit, "")
	if err != nil {
		h.t.Fatal(err)
	}
	var text string
	for _, e := range page.Items {
		text += fmt.Sprintf("%s: %s\n", e.Event, e.Text)
	}
	return text
}

func (h *harness) wantLease(id string, want model.LeaseState) *model.Lease {
	h.t.Helper()
	l := h.readLease(id)
	if l.Status != want {
		h.t.Fatalf("lease is %s, want %s; log:\n%s", l.Status, want, h.logText(l.Ref))
	}
	return l
}

func (h *harness) wantResource(id string, want model.ResourceState) *model.Resource {
	h.t.Helper()
	r := h.readResource(id)
	if r.Status != want {
		h.t.Fatalf("resource is %s, want %s; log:\n%s", r.Status, want, h.logText(r.Ref))
	}
	return r
}

// verify checks what must hold at any time.
func (h *harness) verify() {
	h.t.Helper()
	problems, err := h.store.Verify(h.ctx, h.ns)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, p := range problems {
		h.t.Error("invariant: " + p)
	}
}

// scriptedKind is a blueprint kind whose hooks the test writes. Its config has the fields of scriptedConfig.
type scriptedKind struct {
	hooks *blueprints.Hooks
}

type scriptedConfig struct {
	Capacity int      `json:"capacity"`
	Slots    []string `json:"slots"`
	Refuse   bool     `json:"refuse"`
}

func (k *scriptedKind) Name() string { return "scripted" }

func (k *scriptedKind) Open(bp *model.Blueprint) (blueprints.Blueprint, error) {
	var c scriptedConfig
	if err := json.Unmarshal(bp.Config, &c); err != nil {
		return nil, model.Invalid("config", "%s", err)
	}
	return &scripted{kind: k, name: bp.Name, config: c}, nil
}

type scripted struct {
	kind   *scriptedKind
	name   string
	config scriptedConfig
}

func (s *scripted) CanServe(req model.Request) (bool, string) {
	return len(req.Attributes) == 0, "its resources have no attributes"
}

func (s *scripted) Offers(model.Request) iter.Seq[blueprints.Offer] {
	return func(yield func(blueprints.Offer) bool) {
		for i := range 100 {
			name := fmt.Sprintf("%s-%d", s.name, i+1)
			if !yield(blueprints.Offer{Name: name, Capacity: max(1, s.config.Capacity), Slots: []string{"scripted:" + name}}) {
				return
			}
		}
	}
}

func (s *scripted) Fits(res *model.Resource, req model.Request) (bool, string) {
	if s.config.Refuse {
		return false, "refuses everything"
	}
	want := maps.Clone(req.Attributes)
	delete(want, "commit") // says what to do for the lease, not what the resource must be
	return blueprints.MatchReason(want, res.Attributes)
}

func (s *scripted) Slots(*model.Resource, model.Request) []string { return s.config.Slots }

func (s *scripted) Hooks() *blueprints.Hooks { return s.kind.hooks }

package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
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

var simulationsFlag = flag.Int("simulations", 20, "how many random simulations are run")

// TestRandomSimulations runs a namespace through hundreds of random steps each, one at a time: commands of all kinds to objects in all
// states, new leases, declarations, approvals, time. Workers die before or after any call to Redis, lose replies, are suspended while
// another does their work, and go on with an old claim; tasks are lost and doubled; hooks fail, yield and panic; targets refuse older
// fences, as they may. After each step what is stored is compared with what was promised. Then the faults stop, and everybody must get
// what is theirs: first as time passes, then by events alone, faster than any poll.
//
// A failure prints its seed and its last steps: go test ./handlers -run TestRandomSimulations -seed N runs it again.
func TestRandomSimulations(t *testing.T) {
	t.Parallel()
	const lanes = 2
	first, n := rand.Uint64N(1e12)+1, max(lanes, *simulationsFlag/raceSlowdown)
	if *seedFlag != 0 {
		first, n = *seedFlag, 1
	}
	t.Logf("%d simulations from seed %d on", n, first)
	for i := range lanes {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			rdb := redistest.Client(t, redistest.Start(t))
			for seed := first + uint64(i); seed < first+uint64(n); seed += lanes {
				s := newSimulation(t, rdb, seed)
				s.run()
				if s.failure != "" {
					t.Fatalf("%s\n\ngo test ./handlers -run %s -seed %d; the last steps were\n%s",
						s.failure, strings.Split(t.Name(), "/")[0], seed, strings.Join(s.steps, "\n"))
				}
			}
		})
	}
}

const (
	simulatedSteps   = 400
	simulatedLockTTL = 10 * time.Second
	simulatedGrace   = 5 * time.Second
)

// simulation is one namespace, next to what was promised to its users.
type simulation struct {
	t       *testing.T
	ctx     context.Context
	ns      string
	rnd     *rand.Rand
	rdb     *redis.Client
	store   *store.Store // of the users and the sweeper, which have no faults
	clock   *fakeClock
	kind    *scriptedKind
	workers []*simWorker
	queue   []model.Ref
	// faults are on at first. nested says that a step is under way inside another.
	faults, nested bool

	loaded                 map[string]bool // scripts that Redis knows
	names                  map[string]string
	leases                 []string
	resources              []string
	before                 census
	orphans                map[string]time.Time // locks that the dead left behind, and when they expire
	sent                   map[model.Ref][]string
	outcomes               map[string]string
	status                 map[model.Ref]string
	releasedBeforeItsBegin map[string]bool // leases whose release was accepted before they were active
	fences                 map[model.Ref]int64
	effects                map[model.Ref]string // the last step that a target has seen of an object
	failure                string
	steps                  []string
}

// simWorker is a worker process.
type simWorker struct {
	sim     *simulation
	name    string
	updater *Updater
	// dead says that the process has died in the update that it is at. Another takes its place when that is over.
	dead bool
	at   model.Ref
}

func newSimulation(t *testing.T, rdb *redis.Client, seed uint64) *simulation {
	t.Helper()
	if err := rdb.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	s := &simulation{
		t: t, ctx: t.Context(), ns: fmt.Sprintf("s%d", seed), rnd: rand.New(rand.NewPCG(seed, 1)), rdb: rdb, faults: true,
		clock: &fakeClock{now: time.Now().Truncate(time.Millisecond)}, names: map[string]string{}, orphans: map[string]time.Time{},
		sent: map[model.Ref][]string{}, outcomes: map[string]string{}, status: map[model.Ref]string{},
		releasedBeforeItsBegin: map[string]bool{}, loaded: map[string]bool{}, fences: map[model.Ref]int64{}, effects: map[model.Ref]string{},
	}
	log := slog.New(slog.DiscardHandler)
	s.store = store.New(rdb, store.Config{Now: s.clock.Now, Logger: log})
	t.Cleanup(s.store.Close)
	s.kind = &scriptedKind{hooks: s.hooks()}
	registry := blueprints.NewRegistry(pool.Kind{}, s.kind)
	for i := range 2 {
		w := &simWorker{sim: s, name: fmt.Sprintf("w%d", i+1)}
		data := redis.NewClient(&redis.Options{Addr: rdb.Options().Addr})
		data.AddHook(faultHook{worker: w, data: true})
		lock := redis.NewClient(&redis.Options{Addr: rdb.Options().Addr, ContextTimeoutEnabled: true, MaxRetries: -1})
		lock.AddHook(faultHook{worker: w})
		locker, err := locks.New([]redis.UniversalClient{lock}, locks.Config{TTL: time.Minute, NodeTimeout: 20 * time.Second, Logger: log})
		if err != nil {
			t.Fatal(err)
		}
		st := store.New(data, store.Config{Now: s.clock.Now, Logger: log})
		t.Cleanup(func() { st.Close(); _ = data.Close(); _ = lock.Close() })
		w.updater = NewUpdater(st, locker, w, registry, Config{
			Worker: w.name, ReclaimGrace: simulatedGrace, DestroyGrace: DefaultDestroyGrace, Logger: log,
		})
		s.workers = append(s.workers, w)
	}
	return s
}

// chance is true once in so many times, while there are faults.
func (s *simulation) chance(in int) bool { return s.faults && s.rnd.IntN(in) == 0 }

func (s *simulation) sayf(format string, args ...any) {
	s.steps = append(s.steps, fmt.Sprintf(format, args...))
	if len(s.steps) > 2*keptSteps {
		s.steps = s.steps[1:]
	}
}

func (s *simulation) failf(format string, args ...any) {
	if s.failure == "" {
		s.failure = fmt.Sprintf(format, args...)
		s.sayf("FAILED: %s", s.failure)
	}
}

func (s *simulation) must(err error) {
	if err != nil {
		s.failf("%s", err)
	}
}

// name is a short name for an object: ids are of today and differ when a seed is run again.
func (s *simulation) name(ref model.Ref) string {
	if ref.Kind == model.KindBlueprint {
		return ref.Member()
	}
	if s.names[ref.Member()] == "" {
		s.names[ref.Member()] = fmt.Sprintf("%s%d", ref.Kind, len(s.names)+1)
	}
	return s.names[ref.Member()]
}

// faultHook is where a worker dies, is suspended, or loses a reply.
type faultHook struct {
	worker *simWorker
	data   bool
}

func (f faultHook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (f faultHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if greets(cmd) || f.worker.sim.unloaded(cmd) {
			return next(ctx, cmd)
		}
		err := f.call(strings.TrimSuffix(cmd.Name(), "sha"), func() error { return next(ctx, cmd) })
		if err != nil {
			cmd.SetErr(err)
		}
		return err
	}
}

func (f faultHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if greets(cmds[0]) {
			return next(ctx, cmds)
		}
		err := f.call(cmds[0].Name()+"…", func() error { return next(ctx, cmds) })
		if err != nil {
			for _, cmd := range cmds {
				if cmd.Err() == nil {
					cmd.SetErr(err)
				}
			}
		}
		return err
	}
}

func (f faultHook) call(name string, next func() error) error {
	w := f.worker
	s := w.sim
	if w.dead {
		return errCrashed
	}
	if f.data && s.chance(60) {
		s.suspend(w)
	}
	switch {
	case s.chance(150):
		s.sayf("    %s dies before %s", w.name, name)
		w.dead = true
		return errCrashed
	case s.chance(150):
		_ = next()
		s.count()
		s.sayf("    %s dies after %s", w.name, name)
		w.dead = true
		return errCrashed
	case f.data && s.chance(150):
		executed := s.rnd.IntN(2) == 0
		if executed {
			_ = next()
			s.count()
		}
		s.sayf("    %s gets no reply to %s, executed %t", w.name, name, executed)
		// Not one that the client sends again by itself: that is e2e's.
		return errCrashed
	}
	err := next()
	if f.data && strings.HasPrefix(name, "eval") {
		s.count()
	}
	return err
}

// unloaded reports whether a call will only teach us that Redis does not know the script yet; a seed must not depend on that.
func (s *simulation) unloaded(cmd redis.Cmder) bool {
	if cmd.Name() != "evalsha" {
		return false
	}
	sha, _ := cmd.Args()[1].(string)
	if !s.loaded[sha] {
		exists, err := s.rdb.ScriptExists(s.ctx, sha).Result()
		s.must(err)
		s.loaded[sha] = err == nil && exists[0]
	}
	return !s.loaded[sha]
}

// suspend lets the world go on without the worker: the lock of what it is at runs out, and others do the work.
func (s *simulation) suspend(w *simWorker) {
	if s.nested || w.at == (model.Ref{}) {
		return
	}
	s.nested = true
	defer func() { s.nested = false }()
	s.sayf("    %s is suspended", w.name)
	at := w.at
	s.rdb.Del(s.ctx, store.LockKey(at))
	if s.rnd.IntN(3) == 0 {
		s.command(at)
	}
	for _, other := range s.workers {
		if other != w {
			s.update(other, at)
		}
	}
	s.sayf("    %s goes on", w.name)
}

// Enqueue implements Enqueuer.
func (w *simWorker) Enqueue(_ context.Context, refs ...model.Ref) error {
	if w.dead {
		return errCrashed
	}
	w.sim.enqueue(refs)
	return nil
}

func (s *simulation) enqueue(refs []model.Ref) {
	for _, ref := range refs {
		switch {
		case s.chance(15):
			s.sayf("    the task of %s is lost", s.name(ref))
		case s.chance(15):
			s.sayf("    the task of %s is doubled", s.name(ref))
			s.queue = append(s.queue, ref, ref)
		default:
			s.queue = append(s.queue, ref)
		}
	}
}

// sweeping is the sweeper's Enqueuer.
type sweeping struct{ *simulation }

func (s sweeping) Enqueue(_ context.Context, refs ...model.Ref) error {
	s.enqueue(refs)
	return nil
}

func (s *simulation) update(w *simWorker, ref model.Ref) {
	s.sayf("  %s updates %s", w.name, s.name(ref))
	w.at = ref
	err := w.updater.Update(s.ctx, ref)
	w.at = model.Ref{}
	switch {
	case w.dead:
		// Its locks stay until they expire.
		for _, key := range s.rdb.Keys(s.ctx, "drydock:{"+s.ns+"}:lock:*").Val() {
			if _, known := s.orphans[key]; !known && key == store.LockKey(ref) {
				s.orphans[key] = s.clock.Now().Add(simulatedLockTTL)
			}
		}
		w.dead = false
	case err != nil:
		s.sayf("  %s: %s", w.name, err)
		if !errors.Is(err, errCrashed) && !errors.Is(err, locks.ErrLost) && !errors.Is(err, io.EOF) && !s.excusable(err) {
			s.failf("%s: update %s: %s", w.name, s.name(ref), err)
		}
	}
}

// excusable reports whether an error comes from a fault that the simulation made.
func (s *simulation) excusable(err error) bool {
	return s.faults && (model.KindOf(err) == model.ErrorUnavailable || errors.Is(err, locks.ErrUnavailable))
}

// hooks are those of the scripted blueprints. The target remembers the highest fence of each object and refuses older ones.
func (s *simulation) hooks() *blueprints.Hooks {
	onLease := func(step string) func(context.Context, blueprints.Call, *model.Resource, *model.Lease) error {
		return func(_ context.Context, call blueprints.Call, res *model.Resource, _ *model.Lease) error {
			return s.outside(call, step, res)
		}
	}
	onResource := func(step string) func(context.Context, blueprints.Call, *model.Resource) (blueprints.Changes, error) {
		return func(_ context.Context, call blueprints.Call, res *model.Resource) (blueprints.Changes, error) {
			return blueprints.Changes{}, s.outside(call, step, res)
		}
	}
	return &blueprints.Hooks{
		Allocate: func(_ context.Context, call blueprints.Call, _ model.Request, o blueprints.Offer) (blueprints.Offer, error) {
			return o, s.outside(call, "allocate", nil)
		},
		ActivateResource: onResource("activate"),
		UpdateResource:   onResource("update"),
		DestroyResource: func(_ context.Context, call blueprints.Call, res *model.Resource) error {
			return s.outside(call, "destroy", res)
		},
		AcquireLease: func(_ context.Context, call blueprints.Call, res *model.Resource, _ *model.Lease) ([]string, error) {
			return nil, s.outside(call, "acquire", res)
		},
		ActivateLease: onLease("activate"), ReleaseLease: onLease("release"), DestroyLease: onLease("destroy"),
	}
}

// outside is one call of a hook.
func (s *simulation) outside(call blueprints.Call, step string, res *model.Resource) error {
	ref := call.Object
	s.sayf("    hook %s %s under fence %d", step, s.name(ref), call.Fence)
	if call.Fence < s.fences[ref] {
		return fmt.Errorf("fence %d is older than %d", call.Fence, s.fences[ref])
	}
	s.fences[ref] = call.Fence
	s.judge(call, step, res)
	// The world does not stand still meanwhile.
	if s.chance(20) && !s.nested {
		s.nested = true
		s.command(ref)
		s.nested = false
	}
	if s.chance(30) {
		for _, w := range s.workers {
			if w.at == ref && !s.nested {
				s.suspend(w)
			}
		}
	}
	switch {
	case s.chance(8):
		return errors.New("it does not work")
	case s.chance(8):
		return blueprints.Yield(time.Duration(s.rnd.IntN(30))*time.Second, "it takes its time")
	case s.chance(30):
		panic("a bug in the hook")
	}
	return nil
}

// judge checks that a hook comes in its turn.
func (s *simulation) judge(call blueprints.Call, step string, res *model.Resource) {
	ref := call.Object
	last := s.effects[ref]
	rank := map[string]int{"release": 1, "destroy": 2}
	if rank[step] < rank[last] {
		s.failf("hook %s of %s after %s", step, s.name(ref), last)
	}
	s.effects[ref] = step
	if res == nil {
		return
	}
	now, err := s.store.Resource(s.ctx, s.ns, res.ID)
	if err != nil {
		s.must(err)
		return
	}
	grace := !now.Work.EndedAt.IsZero() && s.clock.Now().Sub(now.Work.EndedAt) >= DefaultDestroyGrace
	switch {
	case ref.Kind == model.KindResource && step == "destroy" && len(now.Leases) > 0 && !grace:
		s.failf("%s is cleaned up under %d leases before the grace has passed", s.name(ref), len(now.Leases))
	case ref.Kind == model.KindLease && s.effects[now.Ref] == "destroy" && !grace && (step == "activate" || step == "acquire"):
		s.failf("hook %s of %s on %s, which has been cleaned up", step, s.name(ref), s.name(now.Ref))
	}
}

// count compares what there is with what there was before the write.
func (s *simulation) count() {
	reply, err := censusScript.Run(s.ctx, s.rdb, []string{"drydock:{" + s.ns + "}:"}).Slice()
	if err != nil {
		s.failf("census: %s", err)
		return
	}
	c, err := readCensus(reply)
	s.must(err)
	if breach := c.exceeds(s.before); breach != "" {
		s.failf("%s", breach)
	}
	s.before = c
}

// run is the whole simulation.
func (s *simulation) run() {
	for _, name := range []string{"lab", "vms", "copies"} {
		s.declare(name)
	}
	for range simulatedSteps {
		s.step()
		if s.check(); s.failure != "" {
			return
		}
	}
	s.heal()
	s.eventsAlone()
	s.end()
}

// step does one random thing.
func (s *simulation) step() {
	switch n := s.rnd.IntN(20); {
	case n < 9:
		if len(s.queue) > 0 {
			i := s.rnd.IntN(len(s.queue))
			ref := s.queue[i]
			s.queue = slices.Delete(s.queue, i, i+1)
			s.update(s.workers[s.rnd.IntN(len(s.workers))], ref)
			return
		}
		s.pass(time.Second)
	case n < 12:
		s.lease()
	case n < 15:
		s.command(s.anyObject())
	case n == 15:
		s.declaration()
	case n == 16:
		s.decide()
	case n == 17 && s.chance(3):
		s.sayf("all tasks are lost")
		s.queue = nil
	default:
		s.pass([]time.Duration{0, 100 * time.Millisecond, time.Second, 3 * time.Second, 12 * time.Second, 40 * time.Second,
			6 * time.Minute, 11 * time.Minute}[s.rnd.IntN(8)])
	}
}

// pass lets time pass: locks of the dead expire, and the sweeper looks.
func (s *simulation) pass(d time.Duration) {
	s.sayf("%s pass", d)
	s.clock.advance(d)
	for key, at := range s.orphans {
		if !s.clock.Now().Before(at) {
			s.rdb.Del(s.ctx, key)
			delete(s.orphans, key)
		}
	}
	s.must(NewSweeper(s.store, sweeping{s}, SweeperConfig{}).Sweep(s.ctx, s.ns))
}

func (s *simulation) owner() string { return []string{"", "ada", "bob"}[s.rnd.IntN(3)] }

func (s *simulation) lease() {
	n := model.NewLease{Type: "host", Owner: s.owner(), Priority: s.rnd.IntN(3)}
	if s.rnd.IntN(4) == 0 {
		n.Type = "copy"
	} else if s.rnd.IntN(3) == 0 {
		n.Attributes = map[string]string{"os": []string{"linux", "bsd", "plan9"}[s.rnd.IntN(3)]}
	}
	if s.rnd.IntN(6) == 0 {
		n.Blueprints = []string{[]string{"lab", "vms"}[s.rnd.IntN(2)]}
	}
	if s.rnd.IntN(3) == 0 {
		n.TTL = time.Duration(1+s.rnd.IntN(300)) * time.Second
	}
	created, err := s.store.CreateLease(s.ctx, s.ns, model.NewID(), n, model.Idempotency{})
	s.must(err)
	if err != nil {
		return
	}
	s.enqueue(created.Wake)
	s.leases = append(s.leases, created.Lease.ID)
	s.sayf("%s, a %s for %q, attributes %v of %v, ttl %s", s.name(created.Lease.Ref), n.Type, n.Owner, n.Attributes, n.Blueprints, n.TTL)
}

// anyObject is a lease or a resource, most often one of the last ones.
func (s *simulation) anyObject() model.Ref {
	pick := func(ids []string) string {
		if s.rnd.IntN(4) > 0 {
			ids = ids[max(0, len(ids)-6):]
		}
		return ids[s.rnd.IntN(len(ids))]
	}
	switch {
	case len(s.resources) > 0 && s.rnd.IntN(3) == 0:
		return model.ResourceRef(s.ns, pick(s.resources))
	case len(s.leases) > 0:
		return model.LeaseRef(s.ns, pick(s.leases))
	}
	return model.Ref{}
}

// command sends any command to the object, if the door lets it in.
func (s *simulation) command(ref model.Ref) {
	if ref.Kind != model.KindLease && ref.Kind != model.KindResource {
		return
	}
	name := model.CommandNames()[s.rnd.IntN(len(model.CommandNames()))]
	if s.rnd.IntN(3) == 0 {
		name = model.CommandRelease
	}
	var args json.RawMessage
	if name == model.CommandExtend {
		args = json.RawMessage([]string{`{"ttl":"1m"}`, `{"ttl":"2h"}`, `{"ttl":"-1s"}`, `{}`}[s.rnd.IntN(4)])
	}
	if err := model.CheckCommand(ref.Kind, name, args, ""); err != nil {
		return
	}
	s.send(ref, name, args)
}

func (s *simulation) send(ref model.Ref, name model.CommandName, args json.RawMessage) {
	cmd := model.Command{ID: model.NewID(), Target: ref, Name: name, Args: args, Author: "alice", Origin: model.Origin{Via: model.ViaAPI}}
	var waiting bool
	if ref.Kind == model.KindLease {
		l, err := s.store.Lease(s.ctx, s.ns, ref.ID)
		s.must(err)
		waiting = err == nil && (l.Status == model.LeasePending || l.Status == model.LeaseAcquired)
	}
	sent, err := s.store.Send(s.ctx, cmd, model.Idempotency{})
	s.sayf("%s to %s: %v", name, s.name(ref), err)
	switch {
	case err != nil && model.KindOf(err) != model.ErrorConflict:
		s.failf("send %s: %s", name, err)
	case err == nil && sent.Command != nil:
		s.sent[ref] = append(s.sent[ref], cmd.ID)
		if waiting && name == model.CommandRelease {
			s.releasedBeforeItsBegin[ref.ID] = true
		}
	}
	if s.rnd.IntN(10) == 0 && err == nil {
		_, err = s.store.Send(s.ctx, cmd, model.Idempotency{}) // its reply was lost
		s.must(err)
	}
	s.enqueue(sent.Wake)
}

func (s *simulation) declaration() {
	name := []string{"lab", "vms", "copies"}[s.rnd.IntN(3)]
	if s.rnd.IntN(6) > 0 {
		s.declare(name)
		return
	}
	wake, err := s.store.DeleteBlueprint(s.ctx, s.ns, name)
	s.sayf("%s is deleted: %v", name, err)
	if kind := model.KindOf(err); err != nil && kind != model.ErrorConflict && kind != model.ErrorNotFound {
		s.must(err)
	}
	s.enqueue(wake)
	s.count()
}

func (s *simulation) declare(name string) {
	bp := &model.Blueprint{
		Namespace: s.ns, Name: name, Kind: "scripted", Type: "host", Enabled: s.rnd.IntN(6) > 0 || !s.faults,
		Limit: s.rnd.IntN(5), Quota: max(0, s.rnd.IntN(6)-3), Authorize: model.Authorize{Request: s.rnd.IntN(6) == 0},
	}
	if bp.MinIdle = max(0, s.rnd.IntN(4)-1); bp.Limit > 0 {
		bp.MinIdle = min(bp.MinIdle, bp.Limit)
	}
	if s.rnd.IntN(4) == 0 {
		bp.MaxIdleAge = time.Duration(1+s.rnd.IntN(60)) * time.Second
	}
	var config any = scriptedConfig{Capacity: 1 + s.rnd.IntN(2)}
	switch name {
	case "lab":
		var hosts []hostConfig
		for i := range 1 + s.rnd.IntN(4) {
			hosts = append(hosts, hostConfig{
				Name: fmt.Sprintf("h%d", i+1), Disabled: s.rnd.IntN(6) == 0,
				Attributes: map[string]string{"os": []string{"linux", "bsd"}[s.rnd.IntN(2)]},
			})
		}
		bp.Kind, config = "pool", map[string]any{"leases_per_host": 1 + s.rnd.IntN(2), "hosts": hosts}
	case "copies":
		bp.Type, bp.On = "copy", &model.SubLease{Type: "host"}
		bp.Limit = max(bp.Limit, 1)
		bp.MinIdle = min(bp.MinIdle, 1)
	}
	bp.Config, _ = json.Marshal(config)
	s.sayf("%s is declared, enabled %t, limit %d, quota %d, min_idle %d, max_idle_age %s, by request %t, config %s",
		name, bp.Enabled, bp.Limit, bp.Quota, bp.MinIdle, bp.MaxIdleAge, bp.Authorize.Request, bp.Config)
	_, _, wake, err := s.store.PutBlueprint(s.ctx, bp, model.Condition{})
	s.must(err)
	s.enqueue(wake)
	s.count()
}

func (s *simulation) decide() {
	a := model.Authorization{
		Namespace: s.ns, Blueprint: []string{"lab", "vms", "copies"}[s.rnd.IntN(3)], Owner: s.owner(), Author: "olga",
		Status: model.AuthorizationApproved,
	}
	if s.rnd.IntN(3) == 0 {
		a.Status = model.AuthorizationDeclined
	}
	_, wake, err := s.store.Authorize(s.ctx, a)
	s.sayf("%q for %s is %s: %v", a.Owner, a.Blueprint, a.Status, err)
	s.enqueue(wake)
	s.count()
}

// drain runs the queued tasks, and those that they queue.
func (s *simulation) drain() {
	for i := 0; len(s.queue) > 0 && s.failure == ""; i++ {
		if i > 2000 {
			s.failf("2,000 tasks and no end; what is queued are\n%s", s.logsOf(s.queue))
			return
		}
		ref := s.queue[0]
		s.queue = s.queue[1:]
		s.update(s.workers[i%len(s.workers)], ref)
	}
}

// all reads every lease and every resource.
func (s *simulation) all() (leases []*model.Lease, resources []*model.Resource) {
	for after := ""; ; {
		page, err := s.store.Leases(s.ctx, s.ns, model.LeaseFilter{Limit: model.MaxPageLimit, After: after})
		s.must(err)
		leases = append(leases, page.Items...)
		if after = page.Next; after == "" {
			break
		}
	}
	for after := ""; ; {
		page, err := s.store.Resources(s.ctx, s.ns, model.ResourceFilter{Limit: model.MaxPageLimit, After: after})
		s.must(err)
		resources = append(resources, page.Items...)
		if after = page.Next; after == "" {
			break
		}
	}
	return leases, resources
}

// check compares what is stored with what was promised.
func (s *simulation) check() {
	if s.failure != "" {
		return
	}
	leases, resources := s.all()
	byID := map[string]*model.Resource{}
	s.resources = s.resources[:0]
	for _, r := range slices.Backward(resources) {
		byID[r.ID] = r
		s.resources = append(s.resources, r.ID)
		s.wantMoved(r.Ref, string(r.Status))
	}
	for _, l := range leases {
		s.wantMoved(l.Ref, string(l.Status))
		if s.releasedBeforeItsBegin[l.ID] && !l.ActivatedAt.IsZero() {
			s.failf("%s was released before it was active and became active all the same", s.name(l.Ref))
		}
		if r := byID[l.Resource]; l.Status == model.LeaseActive && r != nil && r.Status == model.ResourceDestroyed && !l.Releasing {
			s.failf("%s is active on %s, which is destroyed, and nobody has told it", s.name(l.Ref), s.name(r.Ref))
		}
	}
	s.wantCommands()
	problems, err := s.store.Verify(s.ctx, s.ns)
	s.must(err)
	for _, p := range problems {
		if !excused(p) {
			s.failf("invariant: %s", p)
		}
	}
}

// excused reports whether Verify says something that may happen here: a capacity is lowered below what is there, which the census tells from
// a place given away twice; or a whole grace passes before a lease gets to read that it is to be released.
func excused(problem string) bool {
	return strings.Contains(problem, " and a capacity of ") || strings.HasSuffix(problem, " on a destroyed resource")
}

// wantMoved checks that an object has not come back from where nobody comes back.
func (s *simulation) wantMoved(ref model.Ref, status string) {
	was := s.status[ref]
	s.status[ref] = status
	back := was == "destroyed" && status != "destroyed" || was == "released" && status != "released" && status != "destroyed" ||
		was == "broken" && status != "broken" && status != "released" && status != "destroyed"
	if back {
		s.failf("%s was %s and is %s", s.name(ref), was, status)
	}
}

// wantCommands checks that every accepted command is there once, in the order of its sending, and keeps its outcome.
func (s *simulation) wantCommands() {
	pipe := s.rdb.Pipeline()
	type lists struct {
		history, waiting *redis.StringSliceCmd
		records          *redis.MapStringStringCmd
	}
	read := map[model.Ref]lists{}
	for ref := range s.sent {
		key := "drydock:{" + s.ns + "}:" + ref.Member()
		read[ref] = lists{pipe.LRange(s.ctx, key+":history", 0, -1), pipe.LRange(s.ctx, key+":commands", 0, -1), pipe.HGetAll(s.ctx, key+":records")}
	}
	if len(read) == 0 {
		return
	}
	if _, err := pipe.Exec(s.ctx); err != nil {
		s.must(err)
		return
	}
	for ref, l := range read {
		ours := slices.DeleteFunc(slices.Concat(l.history.Val(), l.waiting.Val()), func(cid string) bool {
			return !slices.Contains(s.sent[ref], cid)
		})
		if !slices.Equal(ours, s.sent[ref]) {
			s.failf("%s has the commands %v, and %v were sent", s.name(ref), ours, s.sent[ref])
		}
		for _, cid := range s.sent[ref] {
			outcome := l.records.Val()[cid+":outcome"]
			if was := s.outcomes[cid]; was != "" && was != outcome {
				s.failf("command %s of %s had the outcome %s and has %s", cid, s.name(ref), was, outcome)
			}
			s.outcomes[cid] = outcome
		}
	}
}

// heal stops the faults and lets time pass: whatever was begun comes to its end.
func (s *simulation) heal() {
	s.faults = false
	s.sayf("the faults stop")
	for range 25 {
		s.drain()
		s.pass(time.Minute)
	}
	s.settle()
	s.wantSettled()
}

// settle lets a few seconds pass, less than any poll takes.
func (s *simulation) settle() {
	for range 8 {
		s.drain()
		s.pass(time.Second)
	}
	s.drain()
	s.check()
}

// wantSettled checks that no command waits and nothing is half way out.
func (s *simulation) wantSettled() {
	if s.failure != "" {
		return
	}
	for cid, outcome := range s.outcomes {
		if outcome == "" {
			s.failf("command %s was never consumed", cid)
		}
	}
	leases, resources := s.all()
	for _, l := range leases {
		if l.Status != model.LeaseDestroyed && l.Status != model.LeaseActive && l.Status != model.LeasePending {
			s.failf("%s is %s for ever; its log:\n%s", s.name(l.Ref), l.Status, s.logText(l.Ref))
		}
	}
	for _, r := range resources {
		// One that waits for what it is to stand on may wait.
		if r.Status != model.ResourceDestroyed && r.Status != model.ResourceActive && r.Work.SubLease == "" {
			s.failf("%s is %s for ever; its log:\n%s", s.name(r.Ref), r.Status, s.logText(r.Ref))
		}
	}
	s.wantNobodyWaits(leases, resources)
}

func (s *simulation) logText(ref model.Ref) string {
	page, err := s.store.Log(s.ctx, ref, model.MaxPageLimit, "")
	s.must(err)
	var text strings.Builder
	for _, e := range page.Items {
		fmt.Fprintf(&text, "%s: %s\n", e.Event, e.Text)
	}
	return text.String()
}

// logsOf tells of objects that wake each other without end.
func (s *simulation) logsOf(refs []model.Ref) string {
	var text strings.Builder
	for _, ref := range refs[:min(len(refs), 10)] {
		fmt.Fprintf(&text, "%s:\n%s", s.name(ref), s.logText(ref))
		if ref.Kind == model.KindLease {
			l, err := s.store.Lease(s.ctx, s.ns, ref.ID)
			s.must(err)
			fmt.Fprintf(&text, "%+v\n", l)
		}
	}
	return text.String()
}

// wantNobodyWaits checks that no lease waits for what it could have, and that the spares are there.
func (s *simulation) wantNobodyWaits(leases []*model.Lease, resources []*model.Resource) {
	rev, err := s.store.BlueprintsRev(s.ctx, s.ns)
	s.must(err)
	catalog, err := s.workers[0].updater.catalog.at(s.ctx, s.ns, rev)
	s.must(err)
	live, idle, state := map[string]int{}, map[string]int{}, map[string]model.ResourceState{}
	for _, r := range resources {
		state[r.ID] = r.Status
		if r.Status != model.ResourceDestroyed {
			live[r.Blueprint]++
		}
		if (r.Status == model.ResourceActive && len(r.Leases) == 0 && !r.Paused) || (r.Status == model.ResourcePending && r.Work.ForLease == "") {
			idle[r.Blueprint]++
		}
	}
	mayMake := func(bp *opened, req model.Request) bool {
		if bp.Limit > 0 && live[bp.Name] >= bp.Limit {
			return false
		}
		for o := range bp.behaviour.Offers(req) {
			if !model.Matches(req.Attributes, o.Attributes) {
				continue
			}
			free, err := s.store.FreeSlots(s.ctx, s.ns, o.Slots)
			s.must(err)
			if !slices.ContainsFunc(o.Slots, func(k string) bool { return !free[k] }) {
				return true
			}
		}
		return false
	}
	for _, l := range leases {
		if l.Status != model.LeasePending || state[l.Work.Allocation] == model.ResourcePending {
			continue
		}
		req := l.Request()
		req.Barred = nil
		usable, _ := catalog.forRequest(req)
		for _, bp := range usable {
			if !s.admits(bp, l) {
				continue
			}
			for _, r := range resources {
				if r.Blueprint != bp.Name || r.Status != model.ResourceActive || r.Paused || r.Releasing || r.Free() <= 0 {
					continue
				}
				if ok, _ := bp.behaviour.Fits(r, req); ok {
					s.failf("%s waits while %s has room; its log:\n%s", s.name(l.Ref), s.name(r.Ref), s.logText(l.Ref))
				}
			}
			if mayMake(bp, req) {
				s.failf("%s waits while %s could make one; its log:\n%s", s.name(l.Ref), bp.Name, s.logText(l.Ref))
			}
		}
	}
	for name, bp := range catalog.byName {
		if bp.Enabled && idle[name] < bp.MinIdle && !s.holdsBack(name) && mayMake(bp, model.Request{Type: bp.Type}) {
			s.failf("%s has %d idle and could make another, min_idle is %d; its log:\n%s",
				name, idle[name], bp.MinIdle, s.logText(model.BlueprintRef(s.ns, name)))
		}
	}
}

// holdsBack reports whether a blueprint leaves what there is room for to those who wait, and looks again in a moment.
func (s *simulation) holdsBack(blueprint string) bool {
	prefix := "drydock:{" + s.ns + "}:"
	times, err := s.rdb.HGet(s.ctx, prefix+"blueprint:"+blueprint, "failures").Int()
	if errors.Is(err, redis.Nil) {
		return false
	}
	s.must(err)
	at, err := s.rdb.ZScore(s.ctx, prefix+"wake", "blueprint:"+blueprint).Result()
	if errors.Is(err, redis.Nil) {
		return false
	}
	s.must(err)
	return times > 0 && int64(at) <= s.clock.Now().Add(sparesAgain).UnixMilli()
}

// admits reports whether a blueprint admits the lease because of its owner.
func (s *simulation) admits(bp *opened, l *model.Lease) bool {
	admitted, needsApproval := bp.Authorize.Decision(l.Owner)
	if needsApproval {
		page, err := s.store.Authorizations(s.ctx, s.ns, model.AuthorizationFilter{Blueprint: bp.Name, Limit: model.MaxPageLimit})
		s.must(err)
		for _, a := range page.Items {
			admitted = admitted || a.Owner == l.Owner && a.Status == model.AuthorizationApproved
		}
	}
	if !admitted || bp.Quota == 0 {
		return admitted
	}
	key := "drydock:{" + s.ns + "}:blueprint:" + bp.Name + ":held:" + l.Owner
	n := int(s.rdb.SCard(s.ctx, key).Val())
	if s.rdb.SIsMember(s.ctx, key, l.ID).Val() {
		n--
	}
	return n < bp.Quota
}

// eventsAlone proves that events wake whom they concern: all who wait have just looked, so that the next poll is half a minute away, and
// less than that passes.
func (s *simulation) eventsAlone() {
	for round := range 4 {
		if s.failure != "" {
			return
		}
		s.sayf("round %d of events alone", round)
		leases, _ := s.all()
		for _, l := range leases {
			if l.Status == model.LeasePending {
				s.queue = append(s.queue, l.Ref)
			}
		}
		s.drain()
		for range 8 {
			switch s.rnd.IntN(8) {
			case 0, 1:
				s.lease()
			case 2, 3, 4:
				s.send(s.anyObject(), model.CommandRelease, nil)
			case 5:
				s.command(s.anyObject())
			case 6:
				s.declare([]string{"lab", "vms", "copies"}[s.rnd.IntN(3)])
			case 7:
				s.decide()
			}
			if s.rnd.IntN(2) == 0 {
				s.drain()
				s.pass(time.Second)
			}
		}
		s.settle()
		s.wantSettled()
	}
}

// end takes everything back.
func (s *simulation) end() {
	if s.failure != "" {
		return
	}
	s.sayf("everything is released")
	for _, name := range []string{"lab", "vms", "copies"} {
		bp, err := s.store.Blueprint(s.ctx, s.ns, name)
		if errors.Is(err, model.ErrBlueprintNotFound) {
			continue
		}
		s.must(err)
		bp.Enabled, bp.MinIdle = false, 0
		_, _, wake, err := s.store.PutBlueprint(s.ctx, bp, model.Condition{})
		s.must(err)
		s.enqueue(wake)
	}
	leases, resources := s.all()
	for _, l := range leases {
		s.send(l.Ref, model.CommandRelease, nil)
	}
	for _, r := range resources {
		s.send(r.Ref, model.CommandRelease, nil)
	}
	s.settle()
	leases, resources = s.all()
	for _, l := range leases {
		if l.Status != model.LeaseDestroyed {
			s.failf("%s is %s at the end; its log:\n%s", s.name(l.Ref), l.Status, s.logText(l.Ref))
		}
	}
	for _, r := range resources {
		if r.Status != model.ResourceDestroyed {
			s.failf("%s is %s at the end; its log:\n%s", s.name(r.Ref), r.Status, s.logText(r.Ref))
		}
	}
	left := s.rdb.ZRange(s.ctx, "drydock:{"+s.ns+"}:wake", 0, -1).Val()
	if len(left) > 0 {
		s.failf("at the end updates are owed to %v", left)
	}
	for _, pattern := range []string{"slot:*", "waiting:*", "free:*", "blueprint:*:held:*", "blueprint:*:gate:*", "blueprint:*:idle", "blueprint:*:making"} {
		if keys := s.rdb.Keys(s.ctx, "drydock:{"+s.ns+"}:"+pattern).Val(); len(keys) > 0 {
			s.failf("at the end there are %v", slices.Sorted(maps.Keys(map[string]bool{keys[0]: true})))
		}
	}
}

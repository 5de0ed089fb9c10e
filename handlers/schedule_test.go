package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
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

var (
	seedFlag      = flag.Uint64("seed", 0, "the one seed that the random tests run; 0 = fresh ones")
	schedulesFlag = flag.Int("schedules", 1000/raceSlowdown, "how many random schedules are run")
)

// TestRandomSchedulesNeverExceedALimit runs a thousand short lives of a namespace, a tenth of that under the race detector. In each, three
// workers and two users at once do what a seed says, in the interleaving of their calls to Redis that the seed says, while locks vanish,
// hooks fail and declarations change. After every single write it counts what there is: no limit, capacity, quota or number of spares may
// have been exceeded by it.
//
// A failure prints its seed and its last steps: go test ./handlers -run TestRandomSchedules -seed N runs it again.
func TestRandomSchedulesNeverExceedALimit(t *testing.T) {
	t.Parallel()
	const lanes = 2
	first := rand.Uint64N(1e12) + 1
	n := *schedulesFlag
	if *seedFlag != 0 {
		first, n = *seedFlag, 1
	}
	t.Logf("%d schedules from seed %d on", n, first)
	for i := range lanes {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			l := newLane(t, 3, 2)
			for seed := first + uint64(i); seed < first+uint64(n); seed += lanes {
				s := l.schedule(seed)
				s.run()
				if s.failure != "" {
					t.Fatalf("%s\n\ngo test ./handlers -run %s -seed %d; the last steps were\n%s",
						s.failure, strings.Split(t.Name(), "/")[0], seed, strings.Join(s.steps, "\n"))
				}
			}
		})
	}
}

// lane is a Redis of its own and the processes that use it, for one schedule after the other.
type lane struct {
	t       *testing.T
	rdb     *redis.Client
	workers []*actor
	users   []*actor
	now     *schedule
}

// actor is a process: it asks for its turn before each call.
type actor struct {
	lane    *lane
	name    string
	number  int
	store   *store.Store
	locks   *locks.Locker
	updater *Updater
}

func newLane(t *testing.T, workers, users int) *lane {
	t.Helper()
	server := redistest.Start(t)
	l := &lane{t: t, rdb: redistest.Client(t, server)}
	for i := range workers {
		l.workers = append(l.workers, l.newActor(fmt.Sprintf("w%d", i+1), i))
	}
	for i := range users {
		l.users = append(l.users, l.newActor(fmt.Sprintf("u%d", i+1), workers+i))
	}
	return l
}

func (l *lane) newActor(name string, number int) *actor {
	a := &actor{lane: l, name: name, number: number}
	log := slog.New(slog.DiscardHandler)
	data := redis.NewClient(&redis.Options{Addr: l.rdb.Options().Addr})
	data.AddHook(&turnHook{actor: a, census: true})
	a.store = store.New(data, store.Config{Now: func() time.Time { return l.now.clock.Now() }, Logger: log})
	lock := redis.NewClient(&redis.Options{Addr: l.rdb.Options().Addr, ContextTimeoutEnabled: true, MaxRetries: -1})
	lock.AddHook(&turnHook{actor: a})
	var err error
	// On a busy machine the others' turns may take long; nothing in these tests depends on a lock's time.
	a.locks, err = locks.New([]redis.UniversalClient{lock}, locks.Config{TTL: time.Minute, NodeTimeout: 20 * time.Second, Logger: log})
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() {
		a.store.Close()
		_ = data.Close()
		_ = lock.Close()
	})
	return a
}

// turnHook waits for the actor's turn before each call, and counts after each write.
type turnHook struct {
	actor  *actor
	census bool
	// unknown says that the last call only taught us that a script is not loaded; a seed must not depend on that.
	unknown bool
}

func (t *turnHook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (t *turnHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		s := t.actor.lane.now
		if greets(cmd) {
			return next(ctx, cmd)
		}
		if !t.unknown {
			s.turn(t.actor)
		}
		err := next(ctx, cmd)
		if t.unknown = redis.HasErrorPrefix(err, "NOSCRIPT"); t.unknown {
			return err
		}
		if t.census && strings.HasPrefix(cmd.Name(), "eval") {
			s.count()
		}
		return err
	}
}

func (t *turnHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if !greets(cmds[0]) {
			t.actor.lane.now.turn(t.actor)
		}
		return next(ctx, cmds)
	}
}

// greets reports whether a call belongs to a new connection; a seed must not depend on those either.
func greets(cmd redis.Cmder) bool { return cmd.Name() == "hello" || cmd.Name() == "client" }

// schedule is one life of a namespace.
type schedule struct {
	*conductor
	lane    *lane
	ctx     context.Context
	ns      string
	rnd     *rand.Rand
	clock   *fakeClock
	kind    *scriptedKind
	queue   []model.Ref
	playing bool
	// users and busy count the users who are not done, and the workers in an update.
	users, busy int

	before  census
	names   map[string]string
	leases  []string
	failure string
	steps   []string
}

// keptSteps is how many of its last steps a failed schedule prints.
const keptSteps = 150

func (l *lane) schedule(seed uint64) *schedule {
	l.t.Helper()
	rnd := rand.New(rand.NewPCG(seed, 0))
	s := &schedule{
		conductor: newConductor(rnd), lane: l, ctx: l.t.Context(), ns: fmt.Sprintf("s%d", seed), rnd: rnd,
		clock: &fakeClock{now: time.Now().Truncate(time.Millisecond)}, names: map[string]string{},
	}
	s.kind = &scriptedKind{hooks: randomHooks(rnd)}
	if err := l.rdb.FlushAll(s.ctx).Err(); err != nil {
		l.t.Fatal(err)
	}
	l.now = s
	registry := blueprints.NewRegistry(pool.Kind{}, s.kind)
	for _, w := range l.workers {
		w.updater = NewUpdater(w.store, w.locks, s, registry, Config{
			Worker: w.name, ReclaimGrace: 2 * time.Second, DestroyGrace: DefaultDestroyGrace, Logger: slog.New(slog.DiscardHandler),
		})
	}
	return s
}

// randomHooks are outside work that sometimes fails, yields or panics. Some of it is left out: then steps are written together.
func randomHooks(rnd *rand.Rand) *blueprints.Hooks {
	outcome := func() error {
		switch rnd.IntN(12) {
		case 0:
			return errors.New("it does not work")
		case 1:
			return blueprints.Yield(time.Second, "it takes its time")
		case 2:
			panic("a bug in the hook")
		}
		return nil
	}
	there := func() bool { return rnd.IntN(2) == 0 }
	onLease := func(context.Context, blueprints.Call, *model.Resource, *model.Lease) error { return outcome() }
	hooks := &blueprints.Hooks{}
	if there() {
		hooks.Allocate = func(_ context.Context, _ blueprints.Call, _ model.Request, o blueprints.Offer) (blueprints.Offer, error) {
			return o, outcome()
		}
	}
	if there() {
		hooks.ActivateResource = func(context.Context, blueprints.Call, *model.Resource) (blueprints.Changes, error) {
			return blueprints.Changes{}, outcome()
		}
	}
	if there() {
		hooks.UpdateResource = func(context.Context, blueprints.Call, *model.Resource) (blueprints.Changes, error) {
			return blueprints.Changes{Capacity: 1 + rnd.IntN(3)}, outcome()
		}
	}
	if there() {
		hooks.AcquireLease = func(context.Context, blueprints.Call, *model.Resource, *model.Lease) ([]string, error) {
			return nil, outcome()
		}
	}
	if there() {
		hooks.ActivateLease = onLease
	}
	if there() {
		hooks.ReleaseLease = onLease
	}
	if there() {
		hooks.DestroyLease = onLease
	}
	if there() {
		hooks.DestroyResource = func(context.Context, blueprints.Call, *model.Resource) error { return outcome() }
	}
	return hooks
}

// run plays the schedule.
func (s *schedule) run() {
	// The declarations and the scripts come first, by themselves.
	for i := range 1 + s.rnd.IntN(3) {
		s.declare(s.lane.users[0], fmt.Sprintf("b%d", i+1))
	}
	parts := map[int]func(){}
	for _, w := range s.lane.workers {
		parts[w.number] = func() { s.work(w) }
	}
	for _, u := range s.lane.users {
		parts[u.number] = func() { s.use(u, 12) }
	}
	s.playing, s.users = true, len(s.lane.users)
	s.conductor.run(parts)
	s.playing = false
	s.verify(s.lane.users[0])
}

func (s *schedule) turn(a *actor) {
	if s.playing {
		s.conductor.turn(a.number)
	}
}

// Enqueue implements Enqueuer.
func (s *schedule) Enqueue(_ context.Context, refs ...model.Ref) error {
	s.queue = append(s.queue, refs...)
	return nil
}

func (s *schedule) sayf(format string, args ...any) {
	s.steps = append(s.steps, fmt.Sprintf(format, args...))
	if len(s.steps) > keptSteps {
		s.steps = s.steps[1:]
	}
}

// name is a short name for an object: ids are of today and differ when a seed is run again.
func (s *schedule) name(ref model.Ref) string {
	if ref.Kind == model.KindBlueprint {
		return ref.Member()
	}
	if s.names[ref.Member()] == "" {
		s.names[ref.Member()] = fmt.Sprintf("%s%d", ref.Kind, len(s.names)+1)
	}
	return s.names[ref.Member()]
}

func (s *schedule) failf(format string, args ...any) {
	if s.failure == "" {
		s.failure = fmt.Sprintf(format, args...)
		s.sayf("FAILED")
	}
}

// count compares what there is with what there was before the write.
func (s *schedule) count() {
	if s.failure != "" {
		return
	}
	reply, err := censusScript.Run(s.ctx, s.lane.rdb, []string{"drydock:{" + s.ns + "}:"}).Slice()
	if err != nil {
		s.failf("census: %s", err)
		return
	}
	c, err := readCensus(reply)
	if err != nil {
		s.failf("census: %s", err)
		return
	}
	if breach := c.exceeds(s.before); breach != "" {
		s.failf("%s", breach)
	}
	s.before = c
}

// work is the life of a worker: it runs what is queued, in any order, until nothing is and the users are gone.
func (s *schedule) work(w *actor) {
	for s.failure == "" {
		if len(s.queue) == 0 {
			if s.users == 0 && s.busy == 0 {
				return
			}
			s.turn(w)
			continue
		}
		i := s.rnd.IntN(len(s.queue))
		ref := s.queue[i]
		s.queue = slices.Delete(s.queue, i, i+1)
		s.busy++
		s.sayf("%s updates %s", w.name, s.name(ref))
		if err := w.updater.Update(s.ctx, ref); err != nil {
			s.failf("%s: update %s: %s", w.name, s.name(ref), err)
		}
		s.sayf("%s is done with %s", w.name, s.name(ref))
		s.busy--
	}
}

// use is the life of a user.
func (s *schedule) use(u *actor, steps int) {
	defer func() { s.users-- }()
	for range steps {
		if s.failure != "" {
			return
		}
		s.turn(u)
		switch s.rnd.IntN(16) {
		case 0, 1, 2, 3:
			s.lease(u)
		case 4, 5, 6, 7:
			if len(s.leases) > 0 {
				s.send(u, model.LeaseRef(s.ns, s.leases[s.rnd.IntN(len(s.leases))]), model.CommandRelease)
			}
		case 8, 9:
			names := slices.DeleteFunc(model.CommandNames(), func(n model.CommandName) bool { return n == model.CommandExtend })
			page, err := u.store.Resources(s.ctx, s.ns, model.ResourceFilter{Limit: model.MaxPageLimit})
			if err == nil && len(page.Items) > 0 {
				s.send(u, page.Items[s.rnd.IntN(len(page.Items))].Ref, names[s.rnd.IntN(len(names))])
			}
		case 10:
			s.declare(u, fmt.Sprintf("b%d", 1+s.rnd.IntN(3)))
		case 11:
			s.decide(u)
		case 12:
			// Locks lie: their holders go on and others begin.
			s.sayf("%s: all locks vanish", u.name)
			for _, key := range s.lane.rdb.Keys(s.ctx, "drydock:{"+s.ns+"}:lock:*").Val() {
				s.lane.rdb.Del(s.ctx, key)
			}
		case 13:
			if len(s.queue) > 0 {
				s.sayf("%s: a task is doubled", u.name)
				s.queue = append(s.queue, s.queue[s.rnd.IntN(len(s.queue))])
			}
		default:
			d := []time.Duration{100 * time.Millisecond, 3 * time.Second, 12 * time.Second, time.Minute}[s.rnd.IntN(4)]
			s.sayf("%s: %s pass", u.name, d)
			s.clock.advance(d)
			if err := NewSweeper(u.store, s, SweeperConfig{}).Sweep(s.ctx, s.ns); err != nil {
				s.failf("sweep: %s", err)
			}
		}
	}
}

func (s *schedule) owner() string { return []string{"", "ada", "bob"}[s.rnd.IntN(3)] }

func (s *schedule) lease(u *actor) {
	n := model.NewLease{Type: "host", Owner: s.owner(), Priority: s.rnd.IntN(3)}
	if s.rnd.IntN(3) == 0 {
		n.Attributes = map[string]string{"os": []string{"linux", "bsd"}[s.rnd.IntN(2)]}
	}
	if s.rnd.IntN(4) == 0 {
		n.TTL = time.Duration(1+s.rnd.IntN(60)) * time.Second
	}
	// Those who come together race for the last place.
	for range 1 + s.rnd.IntN(3) {
		created, err := u.store.CreateLease(s.ctx, s.ns, model.NewID(), n, model.Idempotency{})
		if err != nil {
			s.failf("create lease: %s", err)
			return
		}
		_ = s.Enqueue(s.ctx, created.Wake...)
		s.leases = append(s.leases, created.Lease.ID)
		s.sayf("%s: %s for %q, attributes %v, ttl %s", u.name, s.name(created.Lease.Ref), n.Owner, n.Attributes, n.TTL)
	}
}

func (s *schedule) send(u *actor, ref model.Ref, name model.CommandName) {
	sent, err := u.store.Send(s.ctx, model.Command{
		ID: model.NewID(), Target: ref, Name: name, Author: "alice", Origin: model.Origin{Via: model.ViaAPI},
	}, model.Idempotency{})
	s.sayf("%s: %s to %s: %v", u.name, name, s.name(ref), err)
	if err != nil && model.KindOf(err) != model.ErrorConflict {
		s.failf("send: %s", err)
	}
	_ = s.Enqueue(s.ctx, sent.Wake...)
}

func (s *schedule) declare(u *actor, name string) {
	bp := &model.Blueprint{
		Namespace: s.ns, Name: name, Kind: "pool", Type: "host", Enabled: s.rnd.IntN(8) > 0,
		Limit: s.rnd.IntN(4), Quota: max(0, s.rnd.IntN(5)-2), Authorize: model.Authorize{Request: s.rnd.IntN(6) == 0},
	}
	if bp.MinIdle = max(0, s.rnd.IntN(4)-1); bp.Limit > 0 {
		bp.MinIdle = min(bp.MinIdle, bp.Limit)
	}
	if s.rnd.IntN(4) == 0 {
		bp.MaxIdleAge = time.Duration(1+s.rnd.IntN(20)) * time.Second
	}
	var config any = scriptedConfig{Capacity: 1 + s.rnd.IntN(3)}
	if name == "b2" {
		bp.Kind = "scripted"
	} else {
		var hosts []hostConfig
		for i := range 1 + s.rnd.IntN(4) {
			hosts = append(hosts, hostConfig{
				Name: fmt.Sprintf("h%d", i+1), Disabled: s.rnd.IntN(6) == 0,
				Attributes: map[string]string{"os": []string{"linux", "bsd"}[s.rnd.IntN(2)]},
			})
		}
		config = map[string]any{"leases_per_host": 1 + s.rnd.IntN(3), "hosts": hosts}
	}
	bp.Config, _ = json.Marshal(config)
	s.sayf("%s: declares %s, enabled %t, limit %d, quota %d, min_idle %d, by request %t, config %s",
		u.name, name, bp.Enabled, bp.Limit, bp.Quota, bp.MinIdle, bp.Authorize.Request, bp.Config)
	_, _, wake, err := u.store.PutBlueprint(s.ctx, bp, model.Condition{})
	if err != nil {
		s.failf("declare: %s", err)
	}
	_ = s.Enqueue(s.ctx, wake...)
}

// decide approves or declines an owner, where a blueprint takes such a word.
func (s *schedule) decide(u *actor) {
	a := model.Authorization{
		Namespace: s.ns, Blueprint: fmt.Sprintf("b%d", 1+s.rnd.IntN(3)), Owner: s.owner(), Status: model.AuthorizationApproved, Author: "olga",
	}
	if s.rnd.IntN(3) == 0 {
		a.Status = model.AuthorizationDeclined
	}
	_, wake, err := u.store.Authorize(s.ctx, a)
	s.sayf("%s: %s for %s is %s: %v", u.name, a.Owner, a.Blueprint, a.Status, err)
	_ = s.Enqueue(s.ctx, wake...)
}

// verify checks what must hold at any time.
func (s *schedule) verify(u *actor) {
	if s.failure != "" {
		return
	}
	problems, err := u.store.Verify(s.ctx, s.ns)
	if err != nil {
		s.failf("verify: %s", err)
	}
	for _, p := range problems {
		if !excused(p) {
			s.failf("invariant: %s", p)
		}
	}
}

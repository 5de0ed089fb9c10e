package store

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

	"drydock/embedded/redistest"
	"drydock/model"
)

func TestMain(m *testing.M) {
	logging.Disable() // tests with a Redis that is away would fill the screen
	redistest.Main(m)
}

// start is where the clock of every test stands at first.
var start = time.UnixMilli(1_700_000_000_000).UTC()

// at returns the instant d after start as it is stored.
func at(d time.Duration) string { return formatMillis(start.Add(d)) }

// visible is when an object that was woken or claimed at start comes back.
var visible = at(DefaultVisibility)

// clock is the time of a store: it moves when the test says so.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// env is a store on a namespace of its own.
type env struct {
	testing.TB
	ctx   context.Context
	ns    string
	rdb   *redis.Client
	clock *clock
	*Store
}

var silent = slog.New(slog.DiscardHandler)

func newEnv(t testing.TB) *env {
	t.Helper()
	return newEnvOn(t, redistest.Client(t, redistest.Shared(t)), Config{})
}

func newEnvOn(t testing.TB, rdb *redis.Client, cfg Config) *env {
	t.Helper()
	e := &env{TB: t, ctx: t.Context(), ns: redistest.Namespace(t), rdb: rdb, clock: &clock{now: start}}
	cfg.Now, cfg.Logger = e.clock.Now, silent
	e.Store = New(rdb, cfg)
	t.Cleanup(e.Store.Close)
	return e
}

func (e *env) must(err error) {
	e.Helper()
	if err != nil {
		e.Fatal(err)
	}
}

func (e *env) leaseRef(id string) model.Ref    { return model.LeaseRef(e.ns, id) }
func (e *env) resourceRef(id string) model.Ref { return model.ResourceRef(e.ns, id) }

// The dump of a namespace.

// dump is all that a namespace holds: every field, member and element by "key what", and the streams entry by entry without
// their ids, which the server's clock makes. Keys that expire say so.
type dump struct {
	Values  map[string]string
	Streams map[string][]string
}

func (e *env) dump() dump {
	e.Helper()
	ctx := context.Background()
	d := dump{Values: map[string]string{}, Streams: map[string][]string{}}
	keys, err := e.rdb.Keys(ctx, prefix(e.ns)+"*").Result()
	e.must(err)
	types, ttls := make([]*redis.StatusCmd, len(keys)), make([]*redis.DurationCmd, len(keys))
	_, err = e.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, key := range keys {
			types[i], ttls[i] = p.Type(ctx, key), p.PTTL(ctx, key)
		}
		return nil
	})
	e.must(err)
	var read []func()
	_, err = e.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, key := range keys {
			name := strings.TrimPrefix(key, prefix(e.ns))
			if ttls[i].Val() > 0 {
				name += " (expires)"
			}
			read = append(read, d.readKey(ctx, p, key, name, types[i].Val()))
		}
		return nil
	})
	e.must(err)
	for _, r := range read {
		r()
	}
	// A mere count, which changes along with slot locks; TestFreedCounts has it.
	delete(d.Values, "freed")
	return d
}

// readKey queues the reading of a key and returns what to do with the reply.
func (d dump) readKey(ctx context.Context, p redis.Pipeliner, key, name, typ string) func() {
	switch typ {
	case "hash":
		fields := p.HGetAll(ctx, key)
		return func() {
			for f, v := range fields.Val() {
				if f == "reply" {
					v = "kept" // TestCreateLeaseWithAnIdempotencyKey and TestSendWithAnIdempotencyKey look at what it says
				}
				if f == "woken" && isWoken(v) {
					v = "1" // words differ
				}
				d.Values[name+" "+f] = v
			}
		}
	case "zset":
		members := p.ZRangeWithScores(ctx, key, 0, -1)
		return func() {
			for _, z := range members.Val() {
				d.Values[name+" "+toString(z.Member)] = strconv.FormatFloat(z.Score, 'f', -1, 64)
			}
		}
	case "set":
		members := p.SMembers(ctx, key)
		return func() {
			for _, m := range members.Val() {
				d.Values[name+" "+m] = "member"
			}
		}
	case "list":
		items := p.LRange(ctx, key, 0, -1)
		return func() { d.Values[name] = strings.Join(items.Val(), " ") }
	case "stream":
		entries := p.XRange(ctx, key, "-", "+")
		return func() {
			d.Streams[name] = []string{}
			for _, x := range entries.Val() {
				if name == "events" { // what else an event tells is the business of event_test.go
					x.Values = map[string]any{"o": x.Values["o"], "e": x.Values["e"], "s": x.Values["s"]}
				}
				d.Streams[name] = append(d.Streams[name], entryText(x.Values))
			}
		}
	case "string":
		v := p.Get(ctx, key)
		return func() { d.Values[name] = v.Val() }
	}
	return func() { d.Values[name] = "a " + typ }
}

// entryText writes a stream's entry as "field=value field=value", without empty fields and zero fences.
func entryText(values map[string]any) string {
	var parts []string
	for _, f := range slices.Sorted(maps.Keys(values)) {
		if v := toString(values[f]); v != "" && (f != "f" || v != "0") {
			parts = append(parts, f+"="+v)
		}
	}
	return strings.Join(parts, " ")
}

// gone stands in changes for what is there no more.
const gone = "(gone)"

// madeUp matches what nobody can foretell: writers, and ids that the store makes.
var madeUp = regexp.MustCompile(`\b([A-Z2-7]{26}|[0-9a-v]{26}(\d{4})?)\b`)

// normal replaces what nobody can foretell.
func normal(s string) string {
	return madeUp.ReplaceAllStringFunc(s, func(m string) string {
		switch {
		case strings.ToUpper(m) == m && strings.ContainsAny(m, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"):
			return "<writer>"
		case len(m) == 30:
			return "<id>" + m[26:]
		}
		return "<id>"
	})
}

// changes maps what became different to its new value. What a stream got is "key +1", "key +2" and so on.
func changes(before, after dump) map[string]string {
	out := map[string]string{}
	for k, v := range after.Values {
		if old, ok := before.Values[k]; !ok || old != v {
			out[normal(k)] = normal(v)
		}
	}
	for k := range before.Values {
		if _, ok := after.Values[k]; !ok {
			out[normal(k)] = gone
		}
	}
	for k, entries := range after.Streams {
		old := before.Streams[k]
		if len(entries) < len(old) || !slices.Equal(entries[:len(old)], old) {
			out[k] = "(rewritten)"
			continue
		}
		for i, x := range entries[len(old):] {
			out[fmt.Sprintf("%s +%d", k, i+1)] = normal(x)
		}
	}
	for k := range before.Streams {
		if _, ok := after.Streams[k]; !ok {
			out[k] = gone
		}
	}
	return out
}

// expect is changes that a call should make.
type expect map[string]string

// wantChanges checks what became different since before: exactly want.
func (e *env) wantChanges(before dump, want ...expect) {
	e.Helper()
	all := map[string]string{}
	for _, w := range want {
		maps.Copy(all, w)
	}
	if diff := cmp.Diff(all, changes(before, e.dump())); diff != "" {
		e.Errorf("changes (-want +got):\n%s", diff)
	}
}

// wantNoChange runs f and checks that it changes nothing at all.
func (e *env) wantNoChange(f func()) {
	e.Helper()
	before := e.dump()
	f()
	if diff := cmp.Diff(before, e.dump()); diff != "" {
		e.Errorf("changed (-before +after):\n%s", diff)
	}
}

// wantVerified checks what must hold at any time.
func (e *env) wantVerified() {
	e.Helper()
	problems, err := e.Verify(e.ctx, e.ns)
	e.must(err)
	for _, p := range problems {
		e.Errorf("verify: %s", p)
	}
}

func (e *env) wantRefs(got []model.Ref, want ...string) {
	e.Helper()
	members := []string{}
	for _, ref := range got {
		if ref.Namespace != e.ns {
			e.Errorf("%s is of another namespace", ref)
		}
		members = append(members, ref.Member())
	}
	if diff := cmp.Diff(want, members, cmp.Transformer("sorted", func(l []string) []string {
		return slices.Sorted(slices.Values(l))
	})); diff != "" {
		e.Errorf("woken (-want +got):\n%s", diff)
	}
}

// Seeds. All of them go through the scripts.

// bp is the blueprint of the seeds: any number of resources of type host.
const bp = "lab"

func (e *env) deleteBlueprint(name string) {
	e.Helper()
	_, err := e.DeleteBlueprint(e.ctx, e.ns, name)
	e.must(err)
}

func (e *env) putBlueprint(name string, limit int) *model.Blueprint {
	e.Helper()
	stored, _, _, err := e.PutBlueprint(e.ctx, &model.Blueprint{
		Namespace: e.ns, Name: name, Kind: "pool", Type: "host", Limit: limit, Enabled: true,
	}, model.Condition{})
	e.must(err)
	return stored
}

func (e *env) blueprint(name string) *model.Blueprint {
	e.Helper()
	b, err := e.Blueprint(e.ctx, e.ns, name)
	if err != nil {
		return e.putBlueprint(name, 0)
	}
	return b
}

func (e *env) createLease(id string, n model.NewLease) model.Created {
	e.Helper()
	if n.Type == "" {
		n.Type = "host"
	}
	created, err := e.CreateLease(e.ctx, e.ns, id, n, model.Idempotency{})
	e.must(err)
	return created
}

func (e *env) claim(ref model.Ref) *Claim {
	e.Helper()
	c, err := e.Claim(e.ctx, ref, "w1")
	e.must(err)
	if c == nil {
		e.Fatalf("claim %s: nothing is owed", ref)
	}
	return c
}

// pen makes a claim out of what is stored, also of an object that nobody can claim any more.
func (e *env) pen(ref model.Ref) *Claim {
	e.Helper()
	f, err := e.rdb.HGetAll(e.ctx, objectKey(ref)).Result()
	e.must(err)
	c := &Claim{Ref: ref, Writer: f["writer"], Worker: "w1", Now: e.clock.Now(), status: f["status"], version: toInt(f["version"]), Fence: toInt(f["fence"])}
	if ref.Kind == model.KindLease {
		c.Lease, err = decodeLease(e.ns, f)
	} else {
		c.Resource, err = decodeResource(e.ns, f, nil)
	}
	e.must(err)
	return c
}

func (e *env) applyLease(c *Claim, st LeaseStep) Applied {
	e.Helper()
	a, err := e.ApplyLease(e.ctx, c, st)
	e.must(err)
	return a
}

func (e *env) applyResource(c *Claim, st ResourceStep) Applied {
	e.Helper()
	a, err := e.ApplyResource(e.ctx, c, st)
	e.must(err)
	return a
}

// settle puts the pen down with nothing that came in left over: quiet, and to be looked at again in an hour.
func (e *env) settle(ref model.Ref) {
	e.Helper()
	c := e.claim(ref)
	again, err := e.Finish(e.ctx, c, start.Add(time.Hour))
	e.must(err)
	if again {
		e.Fatalf("settle %s: something is waiting", ref)
	}
}

// lease seeds a quiet pending lease.
func (e *env) lease(id string, n model.NewLease) model.Ref {
	e.Helper()
	e.createLease(id, n)
	e.settle(e.leaseRef(id))
	return e.leaseRef(id)
}

// spec says how a seeded resource is different from the plain one: active, with room for one.
type spec struct {
	state      model.ResourceState
	blueprint  string
	capacity   int
	attributes map[string]string
	slots      []string
	// forLease is the waiting lease that it is made for; empty = one that has gone.
	forLease string
}

// resource seeds a quiet resource.
func (e *env) resource(id string, sp spec) model.Ref {
	e.Helper()
	maker := e.leaseRef(sp.forLease)
	if sp.forLease == "" {
		maker = e.leaseRef("maker-" + id)
		e.createLease(maker.ID, model.NewLease{Type: "host"})
	}
	b := e.blueprint(cmpOr(sp.blueprint, bp))
	c := e.claim(maker)
	_, err := e.CreateResource(e.ctx, c, NewResource{
		ID: id, Name: "name-" + id, Blueprint: b, Attributes: sp.attributes, Capacity: max(1, sp.capacity), Slots: sp.slots,
	}, LeaseStep{Step: Step{LookAgain: start.Add(time.Hour)}})
	e.must(err)
	if sp.forLease == "" {
		e.applyLease(e.claim(maker), LeaseStep{
			Path: []model.LeaseState{model.LeaseReleased, model.LeaseDestroyed}, Step: Step{Finish: true},
		})
	}
	ref := e.resourceRef(id)
	e.settle(ref)
	if state := cmpOr(sp.state, model.ResourceActive); state != model.ResourcePending {
		path := []model.ResourceState{model.ResourceActive}
		switch state {
		case model.ResourceReleased, model.ResourceBroken:
			path = append(path, state)
		case model.ResourceDestroyed:
			path = append(path, model.ResourceReleased, state)
		}
		e.applyResource(e.claim(ref), ResourceStep{Path: path, Step: Step{Finish: state == model.ResourceDestroyed}})
		if state != model.ResourceDestroyed {
			e.settle(ref)
		}
	}
	return ref
}

func cmpOr[T comparable](a, b T) T {
	var zero T
	if a == zero {
		return b
	}
	return a
}

// leaseIn seeds a quiet lease in a state. From acquired on it has the slot lock "slot-<id>" and a place on the resource
// "r-<id>", which has room for two.
func (e *env) leaseIn(id string, state model.LeaseState) model.Ref {
	e.Helper()
	if state != model.LeasePending {
		e.resource("r-"+id, spec{capacity: 2})
	}
	ref := e.lease(id, model.NewLease{})
	if state == model.LeasePending {
		return ref
	}
	e.acquire(ref, "r-"+id, "slot-"+id)
	path := []model.LeaseState{model.LeaseActive}
	switch state {
	case model.LeaseAcquired:
		path = nil
	case model.LeaseReleased, model.LeaseBroken:
		path = append(path, state)
	case model.LeaseDestroyed:
		path = append(path, model.LeaseReleased, state)
	}
	e.applyLease(e.claim(ref), LeaseStep{Path: path, Step: Step{Finish: state == model.LeaseDestroyed}})
	if state != model.LeaseDestroyed {
		e.settle(ref)
	}
	return ref
}

// acquire puts a waiting lease on a resource.
func (e *env) acquire(ref model.Ref, resource string, slots ...string) {
	e.Helper()
	e.applyLease(e.claim(ref), e.acquireStep(resource, slots...))
	e.settle(ref)
}

func (e *env) acquireStep(resource string, slots ...string) LeaseStep {
	e.Helper()
	name, err := e.rdb.HGet(e.ctx, objectKey(e.resourceRef(resource)), "blueprint").Result()
	e.must(err)
	b, err := e.Blueprint(e.ctx, e.ns, name)
	e.must(err)
	return LeaseStep{
		Path:    []model.LeaseState{model.LeaseAcquired},
		Acquire: &Acquisition{Resource: resource, Blueprint: b.Name, Rev: b.Rev, Slots: slots},
	}
}

func command(ref model.Ref, id string, name model.CommandName) model.Command {
	return model.Command{
		ID: id, Target: ref, Name: name, Author: "ada", Reason: "done",
		Origin: model.Origin{Via: model.ViaAPI, Address: "192.0.2.1"},
	}
}

func (e *env) send(ref model.Ref, id string, name model.CommandName) model.Sent {
	e.Helper()
	sent, err := e.Send(e.ctx, command(ref, id, name), model.Idempotency{})
	e.must(err)
	return sent
}

// consumed makes consumptions of a claim's commands, all with one outcome.
func consumed(c *Claim, outcome model.Outcome) []Consumption {
	var list []Consumption
	for _, cmd := range c.Commands {
		list = append(list, Consumption{Command: cmd, Outcome: outcome})
	}
	return list
}

// plain is the shape of leases that ask for nothing but a type.
var plain = shapeOf(nil, nil)

// kindOf is [model.KindOf] for errors, and "" for none.
func kindOf(err error) model.ErrorKind {
	if err == nil {
		return ""
	}
	return model.KindOf(err)
}

// redisZ is a member of the wake index that is due at start.
func redisZ(member string) redis.Z { return redis.Z{Score: float64(start.UnixMilli()), Member: member} }

// errOf is the error of a call whose result does not matter.
func errOf[T any](_ T, err error) error { return err }

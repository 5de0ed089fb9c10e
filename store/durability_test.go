package store

import (
	"context"
	"errors"
	"net"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"drydock/embedded"
	"drydock/embedded/redistest"
	"drydock/model"
)

func TestParseDurability(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]Durability{
		"": Memory, "memory": Memory, "local": {Local: true}, "replicas:1": {Replicas: 1}, "replicas:10": {Replicas: 10},
	} {
		got, err := ParseDurability(s)
		if err != nil || got != want {
			t.Errorf("ParseDurability(%q) = %+v, %v, want %+v", s, got, err, want)
		}
		if back, err := ParseDurability(got.String()); err != nil || back != want {
			t.Errorf("ParseDurability(%q) = %+v, %v, want %+v", got, back, err, want)
		}
	}
	for _, s := range []string{"Memory", "disk", "replicas", "replicas:", "replicas:0", "replicas:-1", "replicas:11", "replicas:x", "local:1"} {
		if got, err := ParseDurability(s); kindOf(err) != model.ErrorInvalid || got != Memory {
			t.Errorf("ParseDurability(%q) = %+v, %v, want an invalid level", s, got, err)
		}
	}
}

// writes are the calls that a caller is told are safe.
func writes(e *env, id string) map[string]error {
	_, _, _, putErr := e.PutBlueprint(e.ctx, &model.Blueprint{Namespace: e.ns, Name: "b-" + id, Kind: "pool", Type: "host"}, model.Condition{}) //nolint:dogsled // only the error matters here
	_, createErr := e.CreateLease(e.ctx, e.ns, id, model.NewLease{Type: "host"}, model.Idempotency{Key: id, Fingerprint: "f"})
	_, sendErr := e.Send(e.ctx, command(e.leaseRef("l0"), "c-"+id, model.CommandExtend), model.Idempotency{Key: "send-" + id, Fingerprint: "f"})
	_, batchErr := e.SendAll(e.ctx, []model.Command{
		command(e.leaseRef("l0"), "d-"+id, model.CommandExtend), command(e.leaseRef("l0"), "e-"+id, model.CommandExtend),
	})
	return map[string]error{"PutBlueprint": putErr, "CreateLease": createErr, "Send": sendErr, "SendAll": batchErr}
}

func TestDurabilityMemory(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.createLease("l0", model.NewLease{})
	e.must(e.CheckDurability(e.ctx))
	for call, err := range writes(e, "l1") {
		if err != nil {
			t.Errorf("%s: %v", call, err)
		}
	}
	if _, there := e.dump().Values["barrier (expires)"]; there {
		t.Error("a write that waits for nothing makes a barrier")
	}
}

// replicated starts a server with a replica that follows it.
func replicated(t *testing.T) (primary, replica *embedded.Server) {
	t.Helper()
	primary = redistest.Start(t, redistest.Args("--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0"))
	_, port, err := net.SplitHostPort(primary.Addr())
	if err != nil {
		t.Fatal(err)
	}
	replica = redistest.Start(t, redistest.Args("--replicaof", "127.0.0.1", port))
	client := redistest.Client(t, primary)
	for deadline := time.Now().Add(30 * time.Second); ; {
		// One connection: WAIT speaks of its own connection's last write.
		var reached *redis.Cmd
		_, err := client.Pipelined(t.Context(), func(p redis.Pipeliner) error {
			p.Set(t.Context(), "ready", 1, 0)
			reached = p.Do(t.Context(), "WAIT", 1, 500)
			return nil
		})
		if n, _ := reached.Int64(); err == nil && n == 1 {
			return primary, replica
		}
		if time.Now().After(deadline) {
			t.Fatalf("the replica does not follow (%v); its log:\n%s", err, replica.Log())
		}
	}
}

func TestDurabilityReplicas(t *testing.T) {
	t.Parallel()
	primary, replica := replicated(t)
	level := Durability{Replicas: 1, Timeout: 100 * time.Millisecond}
	e := newEnvOn(t, redistest.Client(t, primary), Config{Durability: Durability{Replicas: 1, Timeout: 10 * time.Second}})
	e.must(e.CheckDurability(e.ctx))
	// The server does not know the script yet, and a pipeline does not fall back to sending it.
	e.createLease("l0", model.NewLease{})
	for call, err := range writes(e, "l1") {
		if err != nil {
			t.Errorf("%s with a replica: %v", call, err)
		}
	}
	onReplica := redistest.Client(t, replica)
	if n, err := onReplica.HExists(e.ctx, objectKey(e.leaseRef("l1")), "status").Result(); !n || err != nil {
		t.Errorf("the acknowledged lease is not on the replica: %v", err)
	}

	// With the replica suspended the writes happen, and their outcome is unknown to the caller.
	if err := replica.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	resume := func() { _ = replica.Signal(syscall.SIGCONT) }
	t.Cleanup(resume)
	e.cfg.Durability = level
	for call, err := range writes(e, "l2") {
		if kindOf(err) != model.ErrorUnknown || !strings.Contains(err.Error(), "Idempotency-Key") {
			t.Errorf("%s without the replica: %v, want that its outcome is unknown", call, err)
		}
	}
	// A repetition finds its work done. It must not say so before the replica has it either.
	for call, err := range writes(e, "l2") {
		if kindOf(err) != model.ErrorUnknown {
			t.Errorf("%s again without the replica: %v, want that its outcome is unknown", call, err)
		}
	}
	resume()
	e.cfg.Durability.Timeout = 10 * time.Second
	e.wantNoChangeBut("barrier (expires)", "blueprints b-l2", "blueprints:rev", "blueprints:revs b-l2")
	created, err := e.CreateLease(e.ctx, e.ns, "another", model.NewLease{Type: "host"}, model.Idempotency{Key: "l2", Fingerprint: "f"})
	if err != nil || !created.Repeat || created.Lease.ID != "l2" {
		t.Errorf("again with the replica = %+v, %v, want the lease l2", created, err)
	}
	sent, err := e.Send(e.ctx, command(e.leaseRef("l0"), "another", model.CommandExtend), model.Idempotency{Key: "send-l2", Fingerprint: "f"})
	if err != nil || !sent.Repeat || sent.Command.ID != "c-l2" {
		t.Errorf("again with the replica = %+v, %v, want the command c-l2", sent, err)
	}
}

// wantNoChangeBut repeats the writes of l2 and checks that nothing changes but the keys named.
func (e *env) wantNoChangeBut(keys ...string) {
	e.Helper()
	before := e.dump()
	for call, err := range writes(e, "l2") {
		if err != nil {
			e.Errorf("%s again: %v", call, err)
		}
	}
	got := changes(before, e.dump())
	for _, k := range keys {
		delete(got, k)
	}
	if len(got) > 0 {
		e.Errorf("the repetition changed %v", got)
	}
}

// flusher has the server forget its scripts before each pipeline.
type flusher struct {
	redis.Hook
	client *redis.Client
}

func (flusher) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (flusher) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (f flusher) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if err := f.client.ScriptFlush(ctx).Err(); err != nil {
			return err
		}
		return next(ctx, cmds)
	}
}

// TestDurableWriteOnAServerThatForgetsItsScripts: a script is there when it is loaded, and gone when it is to run, as it is when the primary
// changes in between. That is no error of the write.
func TestDurableWriteOnAServerThatForgetsItsScripts(t *testing.T) {
	t.Parallel()
	primary, _ := replicated(t)
	client := redistest.Client(t, primary)
	client.AddHook(flusher{client: redistest.Client(t, primary)})
	e := newEnvOn(t, client, Config{Durability: Durability{Replicas: 1, Timeout: 10 * time.Second}})
	e.createLease("l0", model.NewLease{})
	for call, err := range writes(e, "l1") {
		if err != nil {
			t.Errorf("%s: %v", call, err)
		}
	}
}

// TestDurabilityReplicasMoreThanThereAre asks for two where there is none.
func TestDurabilityReplicasMoreThanThereAre(t *testing.T) {
	t.Parallel()
	e := newEnvOn(t, redistest.Client(t, redistest.Shared(t)), Config{Durability: Durability{Replicas: 2, Timeout: time.Millisecond}})
	_, err := e.CreateLease(e.ctx, e.ns, "l1", model.NewLease{Type: "host"}, model.Idempotency{})
	if kindOf(err) != model.ErrorUnknown {
		t.Errorf("create: %v, want that its outcome is unknown", err)
	}
}

// TestDurabilityLocal: what a server cannot give is said when a process starts, not with each write. Redis 7.0 does not know WAITAOF, so that with
// it nothing but that is tested; DRYDOCK_REDIS_SERVER names another one.
func TestDurabilityLocal(t *testing.T) {
	t.Parallel()
	local := Config{Durability: Durability{Local: true}}
	refused := func(e *env, want string) {
		t.Helper()
		if err := e.CheckDurability(e.ctx); kindOf(err) != model.ErrorInvalid || !strings.Contains(err.Error(), want) {
			t.Errorf("CheckDurability: %v, want it to speak of %s", err, want)
		}
		if _, err := e.CreateLease(e.ctx, e.ns, "l1", model.NewLease{Type: "host"}, model.Idempotency{}); kindOf(err) != model.ErrorUnknown {
			t.Errorf("create all the same: %v, want that its outcome is unknown", err)
		}
	}
	e := newEnvOn(t, redistest.Client(t, redistest.Shared(t)), local)
	refused(e, "appendonly") // it keeps all in memory
	info, err := e.rdb.Info(e.ctx, "server").Result()
	e.must(err)
	version := regexp.MustCompile(`(?:redis|valkey)_version:\S+`).FindAllString(info, -1)
	if e.rdb.Do(e.ctx, "WAITAOF", 0, 0, 1).Err() != nil {
		t.Logf("%q has no WAITAOF: tested is that local is refused, and not what it does", version)
		return
	}
	t.Logf("%q has WAITAOF: tested is what local does", version)
	for _, fsync := range []string{"always", "everysec", "no"} {
		t.Run(fsync, func(t *testing.T) {
			t.Parallel()
			e := newEnvOn(t, redistest.Client(t, redistest.Start(t, redistest.AppendOnly(fsync))), local)
			if fsync == "no" {
				refused(e, "appendfsync")
				return
			}
			e.must(e.CheckDurability(e.ctx))
			e.createLease("l0", model.NewLease{})
			// Several times, because the next sync is sooner or later; and again, because a repetition finds its work done.
			for _, id := range []string{"l1", "l1", "l2", "l3"} {
				for call, err := range writes(e, id) {
					if err != nil {
						t.Errorf("%s: %v", call, err)
					}
				}
			}
		})
	}
}

// impatient is a client that gives up at once.
func impatient(t *testing.T, addr string) *redis.Client {
	t.Helper()
	client := redis.NewClient(&redis.Options{
		Addr: addr, MaxRetries: -1, DialerRetries: 1, DialTimeout: 300 * time.Millisecond, ReadTimeout: 300 * time.Millisecond,
		WriteTimeout: 300 * time.Millisecond, PoolSize: 100, PoolTimeout: 10 * time.Second,
	})
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// calls are all public methods that talk to Redis.
func calls(e *env, lease, resource *Claim) map[string]func(ctx context.Context) error {
	one := func(_ any, err error) error { return err }
	idem := model.Idempotency{Key: "k", Fingerprint: "f"}
	b := &model.Blueprint{Namespace: e.ns, Name: bp, Kind: "pool", Type: "host"}
	claim := &SubscriptionClaim{Namespace: e.ns, Name: "s", Writer: "w"}
	return map[string]func(ctx context.Context) error{
		"ApplyLease":    func(ctx context.Context) error { return one(e.ApplyLease(ctx, lease, LeaseStep{})) },
		"ApplyResource": func(ctx context.Context) error { return one(e.ApplyResource(ctx, resource, ResourceStep{})) },
		"ApplyBlueprint": func(ctx context.Context) error {
			return one(e.ApplyBlueprint(ctx, &Claim{Ref: model.BlueprintRef(e.ns, bp)}, BlueprintStep{}))
		},
		"CreateSubLease": func(ctx context.Context) error {
			res := &model.Resource{Ref: resource.Ref, Work: model.ResourceWork{SubLease: "l8"}}
			return one(e.CreateSubLease(ctx, res, model.NewLease{Type: "host"}))
		},
		"Stock": func(ctx context.Context) error { _, err := e.Stock(ctx, e.ns, bp); return err },
		"TellResources": func(ctx context.Context) error {
			_, _, err := e.TellResources(ctx, model.BlueprintRef(e.ns, bp), 1, "")
			return err
		},
		"Wanted": func(ctx context.Context) error { return one(e.Wanted(ctx, e.ns, "host")) },
		"Authorize": func(ctx context.Context) error {
			_, _, err := e.Authorize(ctx, model.Authorization{Namespace: e.ns, Blueprint: bp, Owner: "ada", Status: model.AuthorizationApproved})
			return err
		},
		"Authorizations": func(ctx context.Context) error {
			return one(e.Authorizations(ctx, e.ns, model.AuthorizationFilter{Limit: 1}))
		},
		"Begin":           func(ctx context.Context) error { return one(e.Begin(ctx, lease.Ref, "w1")) },
		"Blueprint":       func(ctx context.Context) error { return one(e.Blueprint(ctx, e.ns, bp)) },
		"Blueprints":      func(ctx context.Context) error { return one(e.Blueprints(ctx, e.ns)) },
		"BlueprintsRev":   func(ctx context.Context) error { return one(e.BlueprintsRev(ctx, e.ns)) },
		"Busy":            func(ctx context.Context) error { return one(e.Busy(ctx, lease.Ref, "t", time.Second)) },
		"CheckDurability": func(ctx context.Context) error { return e.CheckDurability(ctx) },
		"Claim":           func(ctx context.Context) error { return one(e.Claim(ctx, lease.Ref, "w1")) },
		"Collect":         func(ctx context.Context) error { _, _, err := e.Collect(ctx, e.ns, time.Hour); return err },
		"Commands":        func(ctx context.Context) error { return one(e.Commands(ctx, lease.Ref, 0, "")) },
		"CreateLease": func(ctx context.Context) error {
			return one(e.CreateLease(ctx, e.ns, "l9", model.NewLease{Type: "host"}, idem))
		},
		"CreateResource": func(ctx context.Context) error {
			return one(e.CreateResource(ctx, lease, NewResource{ID: "r9", Blueprint: b}, LeaseStep{}))
		},
		"Data": func(ctx context.Context) error { return one(e.Data(ctx, lease.Ref)) },
		"SetData": func(ctx context.Context) error {
			return one(e.SetData(ctx, lease.Ref, nil, model.Condition{}))
		},
		"DeleteBlueprint": func(ctx context.Context) error { _, err := e.DeleteBlueprint(ctx, e.ns, bp); return err },
		"HaveDue":         func(ctx context.Context) error { return errOf(e.HaveDue(ctx, []string{e.ns})) },
		"Due":             func(ctx context.Context) error { _, _, err := e.Due(ctx, e.ns, 1); return err },
		"Finish":          func(ctx context.Context) error { return one(e.Finish(ctx, lease, time.Time{})) },
		"FreeSlots":       func(ctx context.Context) error { return one(e.FreeSlots(ctx, e.ns, []string{"s"})) },
		"FollowEvents":    func(ctx context.Context) error { return one(e.FollowEvents(ctx, e.ns, "")) },
		"KnowsKey":        func(ctx context.Context) error { return one(e.KnowsKey(ctx, e.ns, "k")) },
		"Lease":           func(ctx context.Context) error { return one(e.Lease(ctx, e.ns, "l1")) },
		"Leases":          func(ctx context.Context) error { return one(e.Leases(ctx, e.ns, model.LeaseFilter{})) },
		"Log":             func(ctx context.Context) error { return one(e.Store.Log(ctx, lease.Ref, 0, "")) },
		"Namespaces":      func(ctx context.Context) error { return one(e.Namespaces(ctx)) },
		"Owed":            func(ctx context.Context) error { return one(e.Owed(ctx, lease.Ref)) },
		"Ping":            func(ctx context.Context) error { return e.Ping(ctx) },
		"PutBlueprint":    func(ctx context.Context) error { _, _, _, err := e.PutBlueprint(ctx, b, model.Condition{}); return err },
		"Resource":        func(ctx context.Context) error { return one(e.Resource(ctx, e.ns, "r1")) },
		"Resources":       func(ctx context.Context) error { return one(e.Resources(ctx, e.ns, model.ResourceFilter{})) },
		"SaveAnswer":      func(ctx context.Context) error { return errOf(e.SaveAnswer(ctx, e.ns, "k", model.Answer{})) },
		"Send": func(ctx context.Context) error {
			return one(e.Send(ctx, command(lease.Ref, "c9", model.CommandRelease), idem))
		},
		"OldestCommand": func(ctx context.Context) error { return one(e.OldestCommand(ctx, e.ns)) },
		"SampleUsage":   func(ctx context.Context) error { return e.SampleUsage(ctx, e.ns) },
		"Usage":         func(ctx context.Context) error { return one(e.Usage(ctx, e.ns, start)) },
		"Deliveries":    func(ctx context.Context) error { return one(e.Deliveries(ctx, e.ns)) },
		"Sizes":         func(ctx context.Context) error { return one(e.Sizes(ctx, e.ns)) },
		"SendAll": func(ctx context.Context) error {
			return errOf(e.SendAll(ctx, []model.Command{command(lease.Ref, "c8", model.CommandRelease)}))
		},
		"Plan": func(ctx context.Context) error {
			_, _, err := e.Plan(ctx, e.ns, model.Idempotency{Key: "p", Fingerprint: "f"}, []byte("{}"))
			return err
		},
		"LeasesByID": func(ctx context.Context) error { return errOf(e.LeasesByID(ctx, e.ns, []string{"l1"})) },
		"Slots":      func(ctx context.Context) error { return one(e.Slots(ctx, lease.Ref)) },
		"Snapshot":   func(ctx context.Context) error { return one(e.Snapshot(ctx, lease, []*model.Blueprint{b}, 0)) },
		"Glance":     func(ctx context.Context) error { return one(e.Glance(ctx, lease, []*model.Blueprint{b}, 1)) },
		"CountLeases": func(ctx context.Context) error {
			_, err := e.CountLeases(ctx, e.ns, model.LeaseActive)
			return err
		},
		"Touch": func(ctx context.Context) error { return e.Touch(ctx, lease) },
		"PutSubscription": func(ctx context.Context) error {
			_, _, err := e.PutSubscription(ctx, &model.Subscription{Namespace: e.ns, Name: "s", Secret: "s"})
			return err
		},
		"Subscription":       func(ctx context.Context) error { return one(e.Subscription(ctx, e.ns, "s")) },
		"Subscriptions":      func(ctx context.Context) error { return errOf(e.Subscriptions(ctx, e.ns)) },
		"SubscriptionNames":  func(ctx context.Context) error { return errOf(e.SubscriptionNames(ctx, e.ns)) },
		"DeleteSubscription": func(ctx context.Context) error { return e.DeleteSubscription(ctx, e.ns, "s") },
		"DeadLetters":        func(ctx context.Context) error { return errOf(e.DeadLetters(ctx, e.ns, "s", 0, "")) },
		"RetryDeadLetters":   func(ctx context.Context) error { return errOf(e.RetryDeadLetters(ctx, e.ns, "s")) },
		"ClaimSubscription":  func(ctx context.Context) error { return errOf(e.ClaimSubscription(ctx, e.ns, "s")) },
		"ClaimedSubscription": func(ctx context.Context) error {
			_, _, err := e.ClaimedSubscription(ctx, claim)
			return err
		},
		"EventSent":        func(ctx context.Context) error { return e.EventSent(ctx, claim, &model.Event{}) },
		"EventsPassed":     func(ctx context.Context) error { return e.EventsPassed(ctx, claim, "0-0") },
		"EventFailed":      func(ctx context.Context) error { return e.EventFailed(ctx, claim, 1, "", start) },
		"EventDead":        func(ctx context.Context) error { return e.EventDead(ctx, claim, &model.Event{}, 1, "") },
		"DeadLetterSent":   func(ctx context.Context) error { return e.DeadLetterSent(ctx, claim, &model.DeadLetter{}) },
		"DeadLetterFailed": func(ctx context.Context) error { return e.DeadLetterFailed(ctx, claim, &model.DeadLetter{}, "") },
		"Checkup":          func(ctx context.Context) error { return errOf(e.Checkup(ctx, e.ns)) },
		"CheckServers":     func(ctx context.Context) error { return errOf(e.CheckServers(ctx)) },
		"Overdue":          func(ctx context.Context) error { _, _, err := e.Overdue(ctx, e.ns, 0, 1); return err },
		"Rewake":           func(ctx context.Context) error { return errOf(e.Rewake(ctx, lease.Ref)) },
		"Verify":           func(ctx context.Context) error { return one(e.Verify(ctx, e.ns)) },
	}
}

// silentCalls do not fail when Redis is away: they do not ask it, or have their own way.
var silentCalls = []string{"Close", "Sharded", "Visibility", "Watch"}

// TestRedisIsDown: whatever is asked of a server that does not answer is unavailable, never not found and never empty.
func TestRedisIsDown(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		cfg  Config
		stop func(t *testing.T, s *embedded.Server)
	}{
		{"stopped", Config{}, func(_ *testing.T, s *embedded.Server) { s.Stop() }},
		{"stopped, with a durability", Config{Durability: Durability{Local: true}}, func(_ *testing.T, s *embedded.Server) { s.Stop() }},
		{"suspended", Config{}, func(t *testing.T, s *embedded.Server) {
			if err := s.Signal(syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = s.Signal(syscall.SIGCONT) })
		}},
		{"a replica without its primary", Config{}, func(t *testing.T, s *embedded.Server) {
			c := redistest.Client(t, s)
			if err := errors.Join(
				c.ConfigSet(t.Context(), "replica-serve-stale-data", "no").Err(), c.ReplicaOf(t.Context(), "127.0.0.1", "1").Err(),
			); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			e := newEnvOn(t, impatient(t, server.Addr()), Config{})
			e.leaseIn("l1", model.LeaseActive)
			e.resource("r1", spec{})
			lease, resource := e.claim(e.leaseRef("l1")), e.claim(e.resourceRef("r1"))
			e.cfg.Durability = tt.cfg.Durability

			all := calls(e, lease, resource)
			typ := reflect.TypeFor[*Store]()
			for method := range typ.Methods() {
				name := method.Name
				if _, ok := all[name]; !ok && !slices.Contains(silentCalls, name) {
					t.Errorf("%s is not among the calls tried here", name)
				}
			}
			tt.stop(t, server)
			var wg sync.WaitGroup
			for name, call := range all {
				if name == "CheckDurability" && tt.cfg.Durability == Memory {
					continue // nothing is asked
				}
				wg.Go(func() {
					if err := call(context.Background()); kindOf(err) != model.ErrorUnavailable {
						t.Errorf("%s: %v, want it unavailable", name, err)
					}
				})
			}
			wg.Wait()
		})
	}
}

// TestTranslate tells a server that cannot serve from one that was asked wrongly.
func TestTranslate(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	if err := translate("op", nil); err != nil {
		t.Errorf("translate(nil) = %v", err)
	}
	wrong := e.rdb.Do(e.ctx, "NO-SUCH-COMMAND").Err()
	tests := []struct {
		err  error
		want model.ErrorKind
	}{
		{wrong, model.ErrorInternal},
		{replyError("LOADING Redis is loading the dataset in memory"), model.ErrorUnavailable},
		{replyError("READONLY You can't write against a read only replica. script: abc"), model.ErrorUnavailable},
		{replyError("OOM command not allowed when used memory > 'maxmemory'."), model.ErrorUnavailable},
		{replyError("MISCONF Redis is configured to save RDB snapshots"), model.ErrorUnavailable},
		{replyError("NOREPLICAS Not enough good replicas to write."), model.ErrorUnavailable},
		{replyError("CLUSTERDOWN The cluster is down"), model.ErrorUnavailable},
		{replyError("MASTERDOWN Link with MASTER is down"), model.ErrorUnavailable},
		{replyError("EXECABORT Transaction discarded because of previous errors."), model.ErrorUnavailable},
		{replyError("BUSY Redis is busy running a script."), model.ErrorUnavailable},
		{replyError("NOAUTH Authentication required."), model.ErrorUnavailable},
		{replyError("WRONGPASS invalid username-password pair"), model.ErrorUnavailable},
		{replyError("ERR max number of clients reached"), model.ErrorUnavailable},
		{replyError("WRONGTYPE Operation against a key"), model.ErrorInternal},
		{replyError("ERR user_script:1: attempt to index a nil value"), model.ErrorInternal},
		{context.DeadlineExceeded, model.ErrorUnavailable},
		{context.Canceled, model.ErrorUnavailable},
		{&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, model.ErrorUnavailable},
		{redis.ErrClosed, model.ErrorUnavailable},
	}
	for _, tt := range tests {
		err := translate("op", tt.err)
		if kindOf(err) != tt.want || !errors.Is(err, tt.err) || !strings.HasPrefix(err.Error(), "op: ") {
			t.Errorf("translate(%v) = %v (%s), want %s around it", tt.err, err, kindOf(err), tt.want)
		}
	}
}

// replyError is an error that the server answered.
type replyError string

func (e replyError) Error() string { return string(e) }
func (replyError) RedisError()     {}

// TestOutOfMemory: a server that takes no writes is unavailable, and nothing was written by halves.
func TestOutOfMemory(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	e := newEnvOn(t, redistest.Client(t, server), Config{})
	ref := e.leaseIn("l1", model.LeaseActive)
	c := e.claim(ref)
	e.must(e.rdb.ConfigSet(e.ctx, "maxmemory", "1").Err())
	e.wantNoChange(func() {
		_, sendErr := e.Send(e.ctx, command(ref, "c1", model.CommandRelease), model.Idempotency{})
		_, applyErr := e.ApplyLease(e.ctx, c, LeaseStep{Path: []model.LeaseState{model.LeaseReleased}})
		for what, err := range map[string]error{"Send": sendErr, "ApplyLease": applyErr} {
			if kindOf(err) != model.ErrorUnavailable {
				t.Errorf("%s: %v, want it unavailable", what, err)
			}
		}
	})
	e.must(e.rdb.ConfigSet(e.ctx, "maxmemory", "0").Err())
	e.applyLease(c, LeaseStep{Path: []model.LeaseState{model.LeaseReleased}})
}

// TestRestartedServerFindsAllAgain builds a second store on the data of the first.
func TestRestartedServerFindsAllAgain(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.AppendOnly("always"))
	e := newEnvOn(t, redistest.Client(t, server), Config{})
	ref := e.leaseIn("l1", model.LeaseActive)
	e.send(ref, "c1", model.CommandRelease)
	before := e.dump()
	server.Kill()
	e.must(server.Restart(e.ctx))
	second := *e
	second.Store = New(redistest.Client(t, server), e.cfg)
	t.Cleanup(second.Store.Close)
	e.wantChanges(before)
	second.wantVerified()
	c := second.claim(ref)
	if len(c.Commands) != 1 || c.Commands[0].ID != "c1" {
		t.Errorf("commands after the restart: %v, want c1", c.Commands)
	}
}

package store

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"drydock/embedded"
	"drydock/embedded/redistest"
)

// echoScript answers with what it is given; with "error", "later" (once for each key) and "nothing" it does what these say.
var echoScript = redis.NewScript(`
if ARGV[1] == 'error' then return redis.error_reply('ODD this is an error') end
if ARGV[1] == 'later' and redis.call('INCR', KEYS[1]) == 1 then return redis.error_reply('TRYAGAIN in a moment') end
if ARGV[1] == 'nothing' then return false end
return ARGV[1]`)

// runway holds flights back: single calls that may gather, and groups, each until the test lets it go.
type runway struct {
	calls, groups chan struct{} // closed = go

	mu     sync.Mutex
	held   int
	groupN []int
}

func newRunway() *runway {
	r := &runway{calls: make(chan struct{}), groups: make(chan struct{})}
	close(r.groups)
	return r
}

func (r *runway) DialHook(next redis.DialHook) redis.DialHook { return next }

func (r *runway) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if gathers(cmd) {
			r.mu.Lock()
			r.held++
			r.mu.Unlock()
			<-r.calls
		}
		return next(ctx, cmd)
	}
}

func (r *runway) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if gathers(cmds[0]) {
			r.mu.Lock()
			r.groupN = append(r.groupN, len(cmds))
			r.mu.Unlock()
			<-r.groups
		}
		return next(ctx, cmds)
	}
}

func (r *runway) count() (held int, groups []int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.held, slices.Sorted(slices.Values(r.groupN))
}

// gatherEnv is a client that gathers, with two flights held back, so that all further calls wait together.
type gatherEnv struct {
	t      *testing.T
	server *embedded.Server
	client *redis.Client
	g      *gatherer
	*runway
	wg sync.WaitGroup
}

func newGatherEnv(t *testing.T, change func(*redis.Options), patience time.Duration) *gatherEnv {
	t.Helper()
	e := &gatherEnv{t: t, server: redistest.Start(t), runway: newRunway()}
	opts := &redis.Options{Addr: e.server.Addr(), DialTimeout: time.Second, DialerRetries: 1}
	if change != nil {
		change(opts)
	}
	e.client = redis.NewClient(opts)
	t.Cleanup(func() { _ = e.client.Close() })
	if err := echoScript.Load(t.Context(), e.client).Err(); err != nil {
		t.Fatal(err)
	}
	e.g = gather(e.client, true)
	e.g.patience = patience
	e.client.AddHook(e.runway)
	for i := range flights {
		e.wg.Go(func() { _ = e.client.Set(context.Background(), "held", i, 0).Err() })
	}
	e.until("two flights are under way", func() bool { held, _ := e.count(); return held == flights })
	return e
}

func (e *gatherEnv) until(what string, done func() bool) {
	e.t.Helper()
	for late := time.Now().Add(20 * time.Second); !done(); runtime.Gosched() {
		if time.Now().After(late) {
			e.t.Fatalf("it never happened that %s", what)
		}
	}
}

func (e *gatherEnv) untilWaiting(n int) {
	e.t.Helper()
	e.until(fmt.Sprintf("%d calls wait", n), func() bool {
		e.g.mu.Lock()
		defer e.g.mu.Unlock()
		return len(e.g.waiting) == n
	})
}

func (e *gatherEnv) letGo() {
	e.t.Helper()
	close(e.calls)
	e.wg.Wait()
	e.until("all flights have landed", func() bool {
		e.g.mu.Lock()
		defer e.g.mu.Unlock()
		return e.g.flying == 0 && len(e.g.waiting) == 0
	})
}

// TestGatherGivesEachItsOwnReply: a hundred calls of all sorts, in two groups rather than a hundred round trips.
func TestGatherGivesEachItsOwnReply(t *testing.T) {
	t.Parallel()
	e := newGatherEnv(t, nil, time.Hour)
	if err := e.client.Do(t.Context(), "MSET", "taken", 1).Err(); err != nil {
		t.Fatal(err)
	}
	const calls = 100
	for i := range calls {
		e.wg.Go(func() {
			ctx, want := context.Background(), strconv.Itoa(i)
			var got string
			var err error
			switch i % 4 {
			case 0:
				got, err = echoScript.Run(ctx, e.client, nil, want).Text()
			case 1:
				got = want
				if ok, e := e.client.SetNX(ctx, "taken", want, time.Hour).Result(); ok || e != nil {
					err = fmt.Errorf("SETNX of what is there = %v: %w", ok, e)
				}
			case 2:
				var list []any
				list, err = e.client.HMGet(ctx, "none"+want, "a", "b").Result()
				got = want
				if fmt.Sprint(list) != "[<nil> <nil>]" {
					err = fmt.Errorf("HMGET = %v", list)
				}
			case 3:
				got, err = e.client.Set(ctx, "key"+want, want, 0).Result()
				if got == "OK" {
					got = e.client.Get(ctx, "key"+want).Val()
				}
			}
			if got != want || err != nil {
				t.Errorf("call %d got %q, %v", i, got, err)
			}
		})
	}
	e.untilWaiting(calls)
	e.letGo()
	if _, groups := e.count(); len(groups) < 2 || !slices.Contains(groups, maxGroup) || !slices.Contains(groups, calls-maxGroup) {
		t.Errorf("the calls went in groups of %v, want %d and %d among them", groups, calls-maxGroup, maxGroup)
	}
}

// TestGatherPipelines: a short pipeline of small calls goes with others, in its own order, and has its replies and its first error.
func TestGatherPipelines(t *testing.T) {
	t.Parallel()
	e := newGatherEnv(t, nil, time.Hour)
	bg := context.Background()
	if err := errors.Join(e.client.RPush(bg, "list", "a", "b").Err(), e.client.ZAdd(bg, "zset", redis.Z{Score: 7.5, Member: "m"}).Err()); err != nil {
		t.Fatal(err)
	}
	const calls = 30
	for i := range calls {
		e.wg.Go(func() {
			pipe, key := e.client.Pipeline(), fmt.Sprint("key", i)
			set := pipe.Set(bg, key, i, 0)
			get, hash, list := pipe.Get(bg, key), pipe.HGetAll(bg, "none"), pipe.LRange(bg, "list", 0, -1)
			members, score, clock := pipe.ZRange(bg, "zset", 0, -1), pipe.ZScore(bg, "zset", "m"), pipe.Time(bg)
			nothing := pipe.Get(bg, "nothing")
			cmds, err := pipe.Exec(bg)
			got := fmt.Sprint(set.Val(), get.Val(), hash.Val(), list.Val(), members.Val(), score.Val())
			if want := fmt.Sprintf("OK%dmap[] [a b] [m] 7.5", i); got != want || clock.Val().IsZero() || len(cmds) != 8 {
				t.Errorf("pipeline %d got %s at %v, want %s", i, got, clock.Val(), want)
			}
			if !errors.Is(err, redis.Nil) || !errors.Is(nothing.Err(), redis.Nil) || get.Err() != nil {
				t.Errorf("pipeline %d: %v, of what is not there %v, of what is %v", i, err, nothing.Err(), get.Err())
			}
		})
	}
	e.untilWaiting(calls)
	e.letGo()
	if _, groups := e.count(); !slices.Contains(groups, calls*8) {
		t.Errorf("the pipelines went in groups of %v", groups)
	}
}

// TestGatherErrors: what is wrong with one call is no concern of those that went with it, and what a client does about it by itself it
// still does.
func TestGatherErrors(t *testing.T) {
	t.Parallel()
	e := newGatherEnv(t, nil, time.Hour)
	bg := context.Background()
	if err := e.client.LPush(bg, "list", 1).Err(); err != nil {
		t.Fatal(err)
	}
	unknown := redis.NewScript(`return 'loaded ' .. ARGV[1]`)
	for what, try := range map[string]func() error{
		"a reply": func() error { return echoScript.Run(bg, e.client, nil, "x").Err() },
		"an error reply": func() error {
			err := echoScript.Run(bg, e.client, nil, "error").Err()
			if !redis.HasErrorPrefix(err, "ODD") {
				return fmt.Errorf("want ODD: %w", err)
			}
			return nil
		},
		"a wrong type": func() error {
			err := e.client.HMGet(bg, "list", "a").Err()
			if !redis.HasErrorPrefix(err, "WRONGTYPE") {
				return fmt.Errorf("want WRONGTYPE: %w", err)
			}
			return nil
		},
		"no reply": func() error {
			if err := echoScript.Run(bg, e.client, nil, "nothing").Err(); !errors.Is(err, redis.Nil) {
				return fmt.Errorf("want redis.Nil: %w", err)
			}
			return nil
		},
		"a script that is not there yet": func() error {
			got, err := unknown.Run(bg, e.client, nil, "x").Text()
			if got != "loaded x" {
				return fmt.Errorf("got %q: %w", got, err)
			}
			return err
		},
		"a server that wants to be asked again": func() error {
			got, err := echoScript.Run(bg, e.client, []string{"tries"}, "later").Text()
			if got != "later" {
				return fmt.Errorf("got %q: %w", got, err)
			}
			return err
		},
	} {
		e.wg.Go(func() {
			if err := try(); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		})
	}
	e.untilWaiting(6)
	e.letGo()
}

// TestGatherDoesNotTryAgainForClientsThatMustNot: those of the object locks.
func TestGatherDoesNotTryAgainForClientsThatMustNot(t *testing.T) {
	t.Parallel()
	e := newGatherEnv(t, func(o *redis.Options) { o.MaxRetries = -1 }, time.Hour)
	for range 2 {
		e.wg.Go(func() { _ = echoScript.Run(context.Background(), e.client, []string{"tries"}, "later").Err() })
	}
	e.untilWaiting(2)
	e.letGo()
	if n := e.client.Get(t.Context(), "tries").Val(); n != "2" {
		t.Errorf("two calls were sent %s times", n)
	}
}

// TestGatherSurvivesTheServersDeath: all of a group hear of it, and later calls are as ever.
func TestGatherSurvivesTheServersDeath(t *testing.T) {
	t.Parallel()
	e := newGatherEnv(t, func(o *redis.Options) { o.MaxRetries = -1 }, time.Hour)
	e.groups = make(chan struct{})
	const calls = 20
	failed := make(chan error, calls)
	for i := range calls {
		e.wg.Go(func() { failed <- echoScript.Run(context.Background(), e.client, nil, i).Err() })
	}
	e.untilWaiting(calls)
	close(e.calls)
	e.until("the group is under way", func() bool { _, groups := e.count(); return len(groups) == 1 })
	e.server.Kill()
	close(e.groups)
	e.wg.Wait()
	for range calls {
		if err := <-failed; err == nil {
			t.Error("a call to a dead server succeeded")
		}
	}
	if err := e.server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range calls {
		e.wg.Go(func() {
			// One connection of the pool may have to be found dead first.
			var got int
			var err error
			for range calls {
				if got, err = echoScript.Run(context.Background(), e.client, nil, i).Int(); err == nil {
					break
				}
			}
			if got != i || err != nil {
				t.Errorf("after the restart, call %d got %d, %v", i, got, err)
			}
		})
	}
	e.wg.Wait()
}

// TestGatherObeysDeadlines: a caller has its answer by its deadline, wherever its call is, and what nobody waits for any more is not sent
// if it was not yet.
func TestGatherObeysDeadlines(t *testing.T) {
	t.Parallel()
	e := newGatherEnv(t, func(o *redis.Options) { o.ContextTimeoutEnabled = true }, time.Hour)
	e.groups = make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	answers := make(chan error, 2)
	e.wg.Go(func() { answers <- e.client.Set(ctx, "unsent", 1, 0).Err() })
	e.untilWaiting(1)
	cancel()
	if err := <-answers; !errors.Is(err, context.Canceled) {
		t.Errorf("a call that waits for a flight = %v, want canceled", err)
	}
	if err := e.client.Set(ctx, "unsent", 1, 0).Err(); !errors.Is(err, context.Canceled) {
		t.Errorf("a call that is too late = %v, want canceled", err)
	}

	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	e.wg.Go(func() { answers <- e.client.Set(ctx, "sent", 1, 0).Err() })
	e.untilWaiting(2)
	close(e.calls)
	e.until("the group is under way", func() bool { _, groups := e.count(); return len(groups) == 1 })
	cancel()
	if err := <-answers; !errors.Is(err, context.Canceled) {
		t.Errorf("a call in a flight that hangs = %v, want canceled", err)
	}
	close(e.groups)
	e.wg.Wait()
	e.until("the flight has landed", func() bool { return e.client.Exists(t.Context(), "sent").Val() == 1 })
	if e.client.Exists(t.Context(), "unsent").Val() != 0 {
		t.Error("a call was sent that nobody waits for")
	}
}

// TestGatherDoesNotWaitForWhatIsLate: two connections that hang hold up nobody for long.
func TestGatherDoesNotWaitForWhatIsLate(t *testing.T) {
	t.Parallel()
	e := newGatherEnv(t, nil, time.Millisecond)
	// A call that comes before the flights are late waits with others, and one that comes after is held at the runway.
	got := make(chan string, 1)
	e.wg.Go(func() {
		text, _ := echoScript.Run(context.Background(), e.client, nil, "x").Text()
		got <- text
	})
	e.until("the call goes on", func() bool {
		held, groups := e.count()
		return held > flights || len(groups) > 0
	})
	e.letGo()
	if text := <-got; text != "x" {
		t.Errorf("the reply was %q", text)
	}
}

// TestGatherLeavesOthersAlone: what may block, and what is not in the list, goes at once by itself.
func TestGatherLeavesOthersAlone(t *testing.T) {
	t.Parallel()
	e := newGatherEnv(t, nil, time.Hour)
	ctx := t.Context()
	if err := e.client.LPush(ctx, "list", "a").Err(); err != nil {
		t.Error(err)
	}
	if got := e.client.BLMove(ctx, "list", "other", "left", "left", time.Second).Val(); got != "a" {
		t.Errorf("BLMOVE = %q", got)
	}
	if err := e.client.BLPop(ctx, 10*time.Millisecond, "list").Err(); !errors.Is(err, redis.Nil) {
		t.Errorf("BLPOP = %v", err)
	}
	if err := e.client.XRead(ctx, &redis.XReadArgs{Streams: []string{"stream", "0"}, Block: time.Millisecond}).Err(); !errors.Is(err, redis.Nil) {
		t.Errorf("XREAD = %v", err)
	}
	if _, err := e.client.Wait(ctx, 0, time.Millisecond).Result(); err != nil {
		t.Errorf("WAIT = %v", err)
	}
	for what, pipe := range map[string]func(p redis.Pipeliner) error{
		"of what may block": func(p redis.Pipeliner) error {
			return errors.Join(p.HMGet(ctx, "none", "a").Err(), p.LPush(ctx, "list", "b").Err())
		},
		"that is long": func(p redis.Pipeliner) error {
			for range maxPipeline + 1 {
				p.HMGet(ctx, "none", "a")
			}
			return nil
		},
	} {
		if got, err := e.client.Pipelined(ctx, pipe); err != nil || len(got) < 2 {
			t.Errorf("a pipeline %s = %v, %v", what, got, err)
		}
	}
	if got, err := e.client.TxPipelined(ctx, func(p redis.Pipeliner) error { return p.HMGet(ctx, "none", "a").Err() }); err != nil || len(got) != 1 {
		t.Errorf("a transaction = %v, %v", got, err)
	}
	e.letGo()
}

// TestGatheredCallsAreCounted: one trip for each call, whoever it went with.
func TestGatheredCallsAreCounted(t *testing.T) {
	t.Parallel()
	client := redistest.Client(t, redistest.Start(t))
	CountTrips(client)
	Gather(client)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			ctx, trips := WithTrips(context.Background())
			for range 10 {
				_ = client.HMGet(ctx, "none", "a").Err()
			}
			if trips.Count() != 10 {
				t.Errorf("10 calls are %d trips", trips.Count())
			}
		})
	}
	wg.Wait()
}

// TestGatherFollowsRedirections: a slot has moved, and the client does not know; each of those that went together has to go on to the other
// master.
func TestGatherFollowsRedirections(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 3)
	client := cluster.Client(t)
	ctx := t.Context()
	const key = "{moved}:key"
	if err := client.ForEachMaster(ctx, func(ctx context.Context, c *redis.Client) error { return echoScript.Load(ctx, c).Err() }); err != nil {
		t.Fatal(err)
	}
	from := cluster.MasterOf(t, key)
	to := (from + 1) % len(cluster.Masters)

	runway := newRunway()
	var source *gatherer
	var mu sync.Mutex
	client = cluster.Client(t)
	client.OnNewNode(func(node *redis.Client) {
		g := gather(node, false)
		g.patience = time.Hour
		if node.Options().Addr == cluster.Masters[from].Addr() {
			mu.Lock()
			source = g
			mu.Unlock()
			node.AddHook(runway)
		}
	})
	if err := client.StrLen(ctx, key).Err(); err != nil { // it learns where the slot is
		t.Fatal(err)
	}
	id := func(i int) string {
		return redistest.Client(t, cluster.Masters[i]).Do(ctx, "CLUSTER", "MYID").Val().(string)
	}
	slot := client.ClusterKeySlot(ctx, key).Val()
	for _, i := range []int{to, from} {
		if err := redistest.Client(t, cluster.Masters[i]).Do(ctx, "CLUSTER", "SETSLOT", slot, "NODE", id(to)).Err(); err != nil {
			t.Fatal(err)
		}
	}

	const calls = 20
	var wg sync.WaitGroup
	for i := range calls {
		wg.Go(func() {
			got, err := echoScript.Run(context.Background(), client, []string{key}, i).Int()
			if got != i || err != nil {
				t.Errorf("call %d got %d, %v", i, got, err)
			}
		})
	}
	mu.Lock()
	e := &gatherEnv{t: t, g: source}
	mu.Unlock()
	e.untilWaiting(calls - flights)
	close(runway.calls)
	wg.Wait()
	if _, groups := runway.count(); !slices.Contains(groups, calls-flights) {
		t.Errorf("the calls went in groups of %v", groups)
	}
}

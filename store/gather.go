package store

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// flights is how many calls, or groups of calls, of one client are under way before those that follow gather: the server works on one
	// while the other's replies are on their way.
	flights = 2
	// maxGroup bounds a group, so that the first of its replies do not wait for hundreds of scripts.
	maxGroup = 64
	// maxPipeline is the largest pipeline that gathers as a single call does.
	maxPipeline = 8
	// flightPatience is how long those that gather wait for a flight that does not land: one connection that hangs holds up the others no
	// longer than this.
	flightPatience = 100 * time.Millisecond
)

// Gather makes a client send scripts and other small calls that are made at the same time together: while two are under way, those that
// follow wait, and the first to land has all of them sent in one pipeline. A round trip costs both sides more of their processors than a
// small script does, and under load this makes one of many. A call made while nobody else makes any is sent as ever. A short pipeline of
// such calls gathers as a single one does, and calls of one script go as one (merge.go).
//
// Callers notice nothing. Each gets its own reply or its own error, and what ends the connection is the error of all that went with it.
// What a client tries again it tries again, and what it must not send twice is not. A caller of a client that obeys deadlines gets its
// answer by its own; otherwise it waits, as ever, for as long as the client's timeouts let it. Of a Cluster, each node gathers by itself,
// so a master that hangs holds up nobody's calls to the others, and redirections are followed call by call.
//
// Hooks that are to see single calls, such as [CountTrips], are installed before.
func Gather(c redis.UniversalClient) {
	switch c := c.(type) {
	case *redis.ClusterClient:
		c.OnNewNode(func(node *redis.Client) { gather(node, false) })
	case *redis.Client:
		gather(c, true)
	}
}

func gather(c *redis.Client, pipelines bool) *gatherer {
	g := &gatherer{client: c, pipelines: pipelines, patience: flightPatience}
	c.AddHook(g)
	return g
}

// gatherer is the hook of one client.
type gatherer struct {
	client *redis.Client
	// pipelines says that short pipelines gather, too. Those of a Cluster do not: they notice redirections by where their commands went.
	pipelines bool
	patience  time.Duration

	mu sync.Mutex
	// flying counts the flights under way that are not late; as long as there are fewer than flights, nobody waits.
	flying  int
	waiting []*gathered
}

// gathered is a call, or a few in a pipeline, that waits for its flight, and then for its reply. The flight works on copies of the commands,
// because the caller may be gone by the time the reply comes.
type gathered struct {
	ctx  context.Context
	cmds []redis.Cmder
	done chan struct{}
}

// inFlight marks the context of a flight, which is not to wait for another.
type inFlight struct{}

func (g *gathered) fail(err error) {
	for _, cmd := range g.cmds {
		cmd.SetErr(err)
	}
}

func (*gatherer) DialHook(next redis.DialHook) redis.DialHook { return next }

func (g *gatherer) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if !g.pipelines || ctx.Value(inFlight{}) != nil || len(cmds) > maxPipeline || slices.ContainsFunc(cmds, func(cmd redis.Cmder) bool { return !gathers(cmd) }) {
			return next(ctx, cmds)
		}
		return g.call(ctx, cmds, func() error { return next(ctx, cmds) })
	}
}

func (g *gatherer) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if !gathers(cmd) {
			return next(ctx, cmd)
		}
		return g.call(ctx, []redis.Cmder{cmd}, func() error { return next(ctx, cmd) })
	}
}

// call makes a call at once by next, or with those that wait.
func (g *gatherer) call(ctx context.Context, cmds []redis.Cmder, next func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	g.mu.Lock()
	if g.flying < flights {
		g.flying++
		g.mu.Unlock()
		land := g.flight()
		err := next()
		if group := land(); len(group) > 0 {
			go g.fly(group)
		}
		return err
	}
	call := &gathered{ctx: ctx, cmds: make([]redis.Cmder, len(cmds)), done: make(chan struct{})}
	for i, cmd := range cmds {
		call.cmds[i] = cmd.Clone()
	}
	g.waiting = append(g.waiting, call)
	g.mu.Unlock()

	var end <-chan struct{}
	if g.client.Options().ContextTimeoutEnabled {
		end = ctx.Done()
	}
	select {
	case <-call.done:
	case <-end:
		return ctx.Err()
	}
	var first error
	for _, cmd := range call.cmds {
		if err := cmd.Err(); g.triesAgain(err) {
			return next()
		} else if first == nil {
			first = err
		}
	}
	for i, cmd := range cmds {
		cmd.SetErr(call.cmds[i].Err())
		small[cmd.Name()](cmd, call.cmds[i])
	}
	return first
}

// small are the calls that may wait for each other, since they are many and small, each with how its reply is handed to another of its kind.
// None of them blocks, which would hold up the others.
var small = map[string]func(to, from redis.Cmder) bool{
	"evalsha": hand[any],
	"hmget":   hand[[]any],
	"set":     func(to, from redis.Cmder) bool { return hand[string](to, from) || hand[bool](to, from) },
	"hgetall": hand[map[string]string],
	"lrange":  hand[[]string],
	"zrange":  hand[[]string],
	"get":     hand[string],
	"zscore":  hand[float64],
	"time":    hand[time.Time],
}

// hand reports whether both commands have replies of a type, and gives the one that of the other.
func hand[V any](to, from redis.Cmder) bool {
	type valued interface {
		Val() V
		SetVal(v V)
	}
	t, ok1 := to.(valued)
	f, ok2 := from.(valued)
	if ok1 && ok2 {
		t.SetVal(f.Val())
	}
	return ok1 && ok2
}

// gathers reports whether a call may wait for others. A command of such a name may have replies of another type, as ZRANGE with scores has.
func gathers(cmd redis.Cmder) bool {
	handOver := small[cmd.Name()]
	return handOver != nil && handOver(cmd, cmd)
}

// triesAgain reports whether the server has refused a call for now, and the client would have sent a single call again: of a pipeline, it
// looks at the first reply alone.
func (g *gatherer) triesAgain(err error) bool {
	if err == nil || g.client.Options().MaxRetries <= 0 {
		return false
	}
	return redis.IsLoadingError(err) || redis.IsReadOnlyError(err) || redis.IsMasterDownError(err) ||
		redis.IsClusterDownError(err) || redis.IsTryAgainError(err)
}

// flight begins a flight that was counted, and returns what ends it, which returns the calls that go next, if any. One that is late is no
// longer counted, and ends nothing.
func (g *gatherer) flight() (land func() []*gathered) {
	var once sync.Once
	end := func() (next []*gathered) {
		once.Do(func() { next = g.landed() })
		return next
	}
	late := time.AfterFunc(g.patience, func() { g.fly(end()) })
	return func() []*gathered {
		late.Stop()
		return end()
	}
}

// landed returns those that wait, as many as may go together: theirs is the flight that has ended.
func (g *gatherer) landed() []*gathered {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := min(len(g.waiting), maxGroup)
	if n == 0 {
		g.flying--
		return nil
	}
	group := g.waiting[:n:n]
	g.waiting = g.waiting[n:]
	return group
}

// fly sends a group, and those that have gathered meanwhile. Its context is nobody's: no caller's end may be that of the others.
func (g *gatherer) fly(group []*gathered) {
	for len(group) > 0 {
		land := g.flight()
		g.send(group)
		group = land()
	}
}

func (g *gatherer) send(group []*gathered) {
	ctx := context.WithValue(context.Background(), inFlight{}, true)
	pipe := g.client.Pipeline()
	calls := merge(group)
	for _, m := range calls {
		_ = pipe.Process(ctx, m.cmd) // only adds it
	}
	_, _ = pipe.Exec(ctx) // each call has its own error
	for _, m := range calls {
		m.part()
	}
	for _, call := range group {
		close(call.done)
	}
}

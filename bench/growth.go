package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/redis/go-redis/v9"

	"drydock/blueprints"
	"drydock/blueprints/pool"
	"drydock/embedded"
	"drydock/handlers"
	"drydock/locks"
	"drydock/model"
	"drydock/store"
)

// GrowthConfig says how far to grow. The zero value is good.
type GrowthConfig struct {
	// Objects are how many destroyed leases lie about, Pools how many pools there are, Waiters how many leases wait in front of a full pool.
	// Each list is a series of its own, in ascending order. Default 1 k, 10 k and 100 k; 10, 100 and 1,000; 10, 100, 1 k and 10 k.
	Objects, Pools, Waiters []int
	// Live is how many active leases there are besides. Default 1,000.
	Live int
	// Repetitions is how often each operation is measured. Default 300.
	Repetitions int
	// Log is told what goes on. Default nobody.
	Log *slog.Logger
}

// GrowthReport is what operations cost as things grow.
type GrowthReport struct {
	Cores  int            `json:"cores"`
	Redis  string         `json:"redis"`
	Series []GrowthSeries `json:"series"`
}

// GrowthSeries is how the cost of operations grows with one thing.
type GrowthSeries struct {
	// Grows says with what.
	Grows string `json:"grows"`
	Sizes []int  `json:"sizes"`
	// Operations are in the order in which they were measured.
	Operations []GrowthOperation `json:"operations"`
}

// GrowthOperation is what one operation costs at each size.
type GrowthOperation struct {
	Name string `json:"name"`
	// Micros are medians of one caller's time, in microseconds.
	Micros []float64 `json:"micros"`
	// Redis are means of the processor time that Redis took, in microseconds.
	Redis []float64 `json:"redis_cpu_us"`
}

// Ratio is how many times as much Redis works at the largest size as at the first.
func (o GrowthOperation) Ratio() float64 {
	if len(o.Redis) == 0 || o.Redis[0] == 0 {
		return 0
	}
	return o.Redis[len(o.Redis)-1] / o.Redis[0]
}

// Growth measures what operations cost as things grow. Updates run in this process, one at a time.
func Growth(ctx context.Context, cfg GrowthConfig) (*GrowthReport, error) {
	for list, def := range map[*[]int][]int{
		&cfg.Objects: {1000, 10_000, 100_000}, &cfg.Pools: {10, 100, 1000}, &cfg.Waiters: {10, 100, 1000, 10_000},
	} {
		if len(*list) == 0 {
			*list = def
		}
	}
	for n, def := range map[*int]int{&cfg.Live: 1000, &cfg.Repetitions: 300} {
		if *n <= 0 {
			*n = def
		}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	dir, err := os.MkdirTemp("", "drydock-bench-")
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	server, err := embedded.StartServer(ctx, embedded.Config{Dir: dir, AppendOnly: true, Args: noRewrite})
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	defer server.Stop()
	g, err := newGrower(ctx, cfg, server)
	if err != nil {
		return nil, err
	}
	defer g.close()
	report := &GrowthReport{Cores: runtime.NumCPU()}
	if report.Redis, err = g.field.redisVersion(ctx); err != nil {
		return nil, err
	}
	for _, series := range []struct {
		grows string
		sizes []int
		grow  func(from, to int) error
	}{
		{"destroyed leases", cfg.Objects, g.bury},
		{"pools", cfg.Pools, g.addPools},
		{waitingLeases, cfg.Waiters, g.queueUp},
	} {
		out, err := g.series(series.grows, series.sizes, series.grow)
		if err != nil {
			return nil, fmt.Errorf("bench: growth of %s: %w", series.grows, err)
		}
		report.Series = append(report.Series, out)
	}
	return report, nil
}

// grower grows a namespace, and updates it by itself.
type grower struct {
	*field
	ctx     context.Context
	growth  GrowthConfig
	updater *handlers.Updater
	locks   redis.UniversalClient
	locker  *locks.Locker
	// host is the resource that the waiters wait for.
	host string

	mu    sync.Mutex
	woken []model.Ref
}

func newGrower(ctx context.Context, cfg GrowthConfig, server *embedded.Server) (*grower, error) {
	f, err := newField(Config{Clients: 32}, server, "")
	if err != nil {
		return nil, err
	}
	g := &grower{field: f, ctx: ctx, growth: cfg}
	if g.locks, err = store.ConnectForLocks(server.URL()); err != nil {
		return nil, err
	}
	if g.locker, err = locks.New([]redis.UniversalClient{g.locks}, locks.Config{}); err != nil {
		return nil, err
	}
	return g, nil
}

// allFreed reports whether Redis has freed what was deleted.
func (g *grower) allFreed() (bool, error) {
	memory, err := g.info(g.ctx, "memory")
	return memory["lazyfree_pending_objects"] == "0", err
}

// empty empties Redis, and forgets what was in it.
func (g *grower) empty() error {
	// It takes longer than a client waits to free gigabytes, and the time that Redis takes for it is nobody else's.
	if err := g.rdb.FlushAllAsync(g.ctx).Err(); err != nil {
		return err
	}
	if err := g.await(g.ctx, g.allFreed); err != nil {
		return err
	}
	g.renew()
	g.forget()
	g.updater = handlers.NewUpdater(g.store, g.locker, g, blueprints.NewRegistry(pool.Kind{}), handlers.Config{
		Worker: "bench", ReclaimGrace: time.Hour, Logger: slog.New(slog.DiscardHandler),
	})
	return nil
}

func (g *grower) close() {
	_ = g.locks.Close()
	g.field.close()
}

// Enqueue implements [handlers.Enqueuer]: updates run when the bench says so.
func (g *grower) Enqueue(_ context.Context, refs ...model.Ref) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.woken = append(g.woken, refs...)
	return nil
}

// next takes the first update that is due.
func (g *grower) next() (ref model.Ref, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.woken) == 0 {
		return ref, false
	}
	ref, g.woken = g.woken[0], g.woken[1:]
	return ref, true
}

// forget drops the updates that are due: the measured operations are not about them.
func (g *grower) forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.woken = nil
}

// settle runs the updates that are due, and those that follow from them.
func (g *grower) settle() error {
	for {
		ref, ok := g.next()
		if !ok {
			return nil
		}
		if err := g.updater.Update(g.ctx, ref); err != nil {
			return err
		}
	}
}

// newLease queues a lease; its update is due.
func (g *grower) newLease(typ, owner string) (model.Ref, error) {
	made, err := g.store.CreateLease(g.ctx, namespace, model.NewID(), model.NewLease{Type: typ, Owner: owner}, model.Idempotency{})
	if err != nil {
		return model.Ref{}, err
	}
	return made.Lease.Ref, g.Enqueue(g.ctx, made.Wake...)
}

func (g *grower) release(ref model.Ref) error {
	sent, err := g.store.Send(g.ctx, model.Command{
		ID: model.NewID(), Target: ref, Name: model.CommandRelease, Author: "bench", Origin: model.Origin{Via: model.ViaAPI},
	}, model.Idempotency{})
	if err != nil {
		return err
	}
	return g.Enqueue(g.ctx, sent.Wake...)
}

// declarePool declares a pool of so many hosts with so many places each.
func (g *grower) declarePool(name, typ string, hosts, places int) error {
	type host struct {
		Name string `json:"name"`
	}
	list := make([]host, hosts)
	for i := range list {
		list[i].Name = name + "-" + strconv.Itoa(i)
	}
	config, err := json.Marshal(map[string]any{"leases_per_host": places, "hosts": list})
	if err != nil {
		return err
	}
	_, _, wake, err := g.store.PutBlueprint(g.ctx, &model.Blueprint{
		Namespace: namespace, Name: name, Kind: "pool", Type: typ, Enabled: true, Config: config,
	}, model.Condition{})
	if err != nil {
		return err
	}
	return g.Enqueue(g.ctx, wake...)
}

// occupy makes n active leases.
func (g *grower) occupy(typ, owner string, n int) error {
	for range n {
		if _, err := g.newLease(typ, owner); err != nil {
			return err
		}
		if err := g.settle(); err != nil {
			return err
		}
	}
	return nil
}

// bury adds destroyed leases: they are released before anybody looks at them.
func (g *grower) bury(from, to int) error {
	return each(g.ctx, to-from, 16, func(ctx context.Context, _ int) error {
		made, err := g.store.CreateLease(ctx, namespace, model.NewID(), model.NewLease{Type: "main", Owner: "past"}, model.Idempotency{})
		if err != nil {
			return err
		}
		ref := made.Lease.Ref
		if _, err := g.store.Send(ctx, model.Command{
			ID: model.NewID(), Target: ref, Name: model.CommandRelease, Author: "bench", Origin: model.Origin{Via: model.ViaAPI},
		}, model.Idempotency{}); err != nil {
			return err
		}
		return g.updater.Update(ctx, ref)
	})
}

// addPools adds pools of one host each, all of the type that is leased.
func (g *grower) addPools(from, to int) error {
	for i := from; i < to; i++ {
		if err := g.declarePool("pool-"+strconv.Itoa(i), "type-"+strconv.Itoa(i), 1, 1); err != nil {
			return err
		}
	}
	return g.settle()
}

// queueUp adds leases that wait for a place in a full pool.
func (g *grower) queueUp(from, to int) error {
	for range to - from {
		if _, err := g.newLease("full", "waiter"); err != nil {
			return err
		}
		if err := g.settle(); err != nil {
			return err
		}
	}
	return nil
}

// series grows one thing in an empty Redis, and measures at each size.
func (g *grower) series(grows string, sizes []int, grow func(from, to int) error) (out GrowthSeries, err error) {
	out = GrowthSeries{Grows: grows, Sizes: sizes}
	if err := g.empty(); err != nil {
		return out, err
	}
	if err := g.declarePool("main", "main", 100, (g.growth.Live+2*g.growth.Repetitions)/100+10); err != nil {
		return out, err
	}
	if err := g.declarePool("full", "full", 1, 1); err != nil {
		return out, err
	}
	if err := g.settle(); err != nil {
		return out, err
	}
	if err := g.occupy("main", "live", g.growth.Live); err != nil {
		return out, err
	}
	if err := g.occupy("full", "holder", 1); err != nil {
		return out, err
	}
	page, err := g.store.Leases(g.ctx, namespace, model.LeaseFilter{Owner: "holder", Limit: 1})
	if err != nil {
		return out, err
	}
	g.host = page.Items[0].Resource
	size := 0
	for _, to := range sizes {
		if err := grow(size, to); err != nil {
			return out, err
		}
		size = to
		if err := g.measureAll(&out); err != nil {
			return out, err
		}
		g.growth.Log.Info("measured", "grows", grows, "size", size)
	}
	return out, nil
}

// operation is one of those that are measured, for the i-th time.
type operation struct {
	name string
	do   func(i int) error
}

// waitingLeases names the series in which there are waiters for a place to pass to.
const waitingLeases = "waiting leases"

// measureAll measures each operation once more.
func (g *grower) measureAll(out *GrowthSeries) error {
	var refs []model.Ref
	holder, err := g.holder()
	if err != nil {
		return err
	}
	operations := []operation{
		{"create a lease", func(int) error {
			ref, err := g.newLease("main", "live")
			refs = append(refs, ref)
			return err
		}},
		{"update: lease to active", func(i int) error { return g.updateOf(refs[i]) }},
		{"send a release", func(i int) error { return g.release(refs[i]) }},
		{"update: release to destroyed", func(i int) error { return g.updateOf(refs[i]) }},
		{"list leases, first page", func(int) error {
			_, err := g.store.Leases(g.ctx, namespace, model.LeaseFilter{Limit: 50})
			return err
		}},
		{"list leases, by owner and state", func(int) error {
			_, err := g.store.Leases(g.ctx, namespace, model.LeaseFilter{Owner: "live", Status: model.LeaseActive, Limit: 50})
			return err
		}},
		{"read a lease", func(int) error {
			_, err := g.store.Lease(g.ctx, namespace, holder.ID)
			return err
		}},
		{"sweep", func(int) error {
			_, _, err := g.store.Due(g.ctx, namespace, 100)
			return err
		}},
	}
	if out.Grows == waitingLeases {
		operations = append(operations, operation{"a place passes to the first waiter", func(int) error { return g.passOn(&holder) }})
	}
	for n, op := range operations {
		took := make([]time.Duration, g.growth.Repetitions)
		before, err := g.field.read(g.ctx)
		if err != nil {
			return err
		}
		for i := range took {
			began := time.Now()
			if err := op.do(i); err != nil {
				return fmt.Errorf("%s: %w", op.name, err)
			}
			took[i] = time.Since(began)
		}
		after, err := g.field.read(g.ctx)
		if err != nil {
			return err
		}
		g.forget()
		slices.Sort(took)
		if len(out.Operations) == n {
			out.Operations = append(out.Operations, GrowthOperation{Name: op.name})
		}
		o := &out.Operations[n]
		o.Micros = append(o.Micros, float64(percentile(took, 0.5).Nanoseconds())/1000)
		o.Redis = append(o.Redis, float64((after.cpu["redis"]-before.cpu["redis"]).Nanoseconds())/1000/float64(len(took)))
	}
	return nil
}

// updateOf runs one update, and none of those that it wakes.
func (g *grower) updateOf(ref model.Ref) error { return g.updater.Update(g.ctx, ref) }

// holder is the lease that has the one place.
func (g *grower) holder() (model.Ref, error) {
	host, err := g.store.Resource(g.ctx, namespace, g.host)
	if err != nil {
		return model.Ref{}, err
	}
	if len(host.Leases) != 1 {
		return model.Ref{}, fmt.Errorf("%d leases hold the place", len(host.Leases))
	}
	return model.LeaseRef(namespace, host.Leases[0]), nil
}

// passOn releases the lease that holds the one place, and updates whoever is woken until the place has a new holder. A new lease takes the
// place of the first in the queue.
func (g *grower) passOn(holder *model.Ref) error {
	if err := g.release(*holder); err != nil {
		return err
	}
	if err := g.settle(); err != nil {
		return err
	}
	var err error
	if *holder, err = g.holder(); err != nil {
		return err
	}
	if _, err := g.newLease("full", "waiter"); err != nil {
		return err
	}
	return g.settle()
}

// WriteTable writes the report for people.
func (r *GrowthReport) WriteTable(w io.Writer) error {
	for _, s := range r.Series {
		tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
		heads := []string{"µs with so many " + s.Grows}
		for _, n := range s.Sizes {
			heads = append(heads, strconv.Itoa(n))
		}
		fmt.Fprintln(tw, strings.Join(append(heads, "Redis's share of it", "growth of that"), "\t")+"\t")
		for _, o := range s.Operations {
			row := []string{o.Name}
			for _, v := range o.Micros {
				row = append(row, figure(v, 0))
			}
			var redis []string
			for _, v := range o.Redis {
				redis = append(redis, figure(v, 0))
			}
			fmt.Fprintln(tw, strings.Join(append(row, strings.Join(redis, " "), figure(o.Ratio(), 2)), "\t")+"\t")
		}
		if err := tw.Flush(); err != nil {
			return err
		}
		fmt.Fprintln(w)
	}
	return nil
}

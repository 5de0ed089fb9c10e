package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"drydock/embedded"
)

// Config says what to measure. The zero value measures nothing: the fields without a default must be set.
type Config struct {
	// Binary is the drydock to run workers and servers of. Required.
	Binary string
	// Version names it in the report.
	Version string
	// AppendFsync is when Redis syncs its append-only file: "always", "everysec" or "no". Default "everysec".
	AppendFsync string
	// Rungs are the names of the rungs to run, in order of [Rungs]; empty = all but the slow ones, which wait for something to time out.
	Rungs []string
	// Rounds is how often each is run, one after the other. Default 5.
	Rounds int
	// Count is how many operations one run of a rung does. Default 5000.
	Count int
	// Concurrency is how many updates or tasks a worker runs at once, and DispatchInterval how often an idle one of raw asynq looks for
	// tasks, and what Drydock's are told by --dispatch-interval. Default 50 and 10 ms, which are Drydock's own defaults.
	Concurrency      int
	DispatchInterval time.Duration
	// Clients is how many requests the load generator has under way. Default 32.
	Clients int
	// WorkerArgs are further flags of Drydock's workers, for settings that differ from the default.
	WorkerArgs []string
	// Log is told what goes on. Default nobody.
	Log *slog.Logger
}

func (cfg Config) withDefaults() (Config, error) {
	if cfg.Binary == "" {
		return cfg, errors.New("bench: no binary given")
	}
	if cfg.AppendFsync == "" {
		cfg.AppendFsync = "everysec"
	}
	for field, def := range map[*int]int{&cfg.Rounds: 5, &cfg.Count: 5000, &cfg.Concurrency: 50, &cfg.Clients: 32} {
		if *field <= 0 {
			*field = def
		}
	}
	if cfg.DispatchInterval <= 0 {
		cfg.DispatchInterval = 10 * time.Millisecond
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if !slices.Contains([]string{"always", "everysec", "no"}, cfg.AppendFsync) {
		return cfg, fmt.Errorf("bench: appendfsync must be always, everysec or no, not %q", cfg.AppendFsync)
	}
	for _, name := range cfg.Rungs {
		if !slices.ContainsFunc(ladder, func(r rung) bool { return r.name == name }) {
			return cfg, fmt.Errorf("bench: unknown rung %q; known are %s", name, strings.Join(Rungs(), ", "))
		}
	}
	return cfg, nil
}

// Rungs lists the names of all rungs, lowest first.
func Rungs() []string {
	names := make([]string, len(ladder))
	for i, r := range ladder {
		names[i] = r.name
	}
	return names
}

// rung is one thing to measure.
type rung struct {
	name string
	// title says in a few words what it does, unit what one operation is.
	title, unit string
	run         func(context.Context, *field) (Sample, error)
	// slow rungs are run only when they are asked for.
	slow bool
}

// ladder is the order in which the rungs are run and shown. What stands behind another may use what that has measured.
var ladder = []rung{
	{name: "redis", title: "three small scripts, as asynq runs for a task", unit: "task", run: redisCeiling},
	{name: "asynq", title: "raw asynq, a handler that does nothing", unit: "task", run: asynqDrain},
	{name: "naive", title: "lock, LPOP, HSET, unlock in an asynq handler", unit: "release", run: naiveDrain},
	{name: "floor", title: "the same with all that a release of Drydock's writes, and no check", unit: "release", run: floorDrain},
	{name: "release", title: "release of distinct active leases", unit: "release", run: releaseDrain},
	{name: "hot", title: "many commands for one lease", unit: "command", run: hotDrain},
	{name: "lease", title: "new leases to active", unit: "lease", run: leaseDrain},
	{name: "http", title: "release over HTTP, one call each", unit: "release", run: httpSingle},
	{name: "bulk", title: "release over HTTP, 500 in a call", unit: "release", run: httpBulk},
	{name: "paced", title: "release over HTTP at half the rate of http", unit: "release", run: httpPaced},
	{name: "idle", title: "a worker with nothing to do, then single releases", unit: "release", run: idle},
	{name: "recovery", title: "the updates that a killed worker had under way", unit: "release", run: recovery, slow: true},
	{name: "asynq-recovery", title: "the tasks that a killed asynq worker had under way", unit: "task", run: asynqRecovery, slow: true},
}

// noRewrite keeps Redis from rewriting its append-only file: in a run of minutes that begins with an empty file, it would do so whenever what
// the preparation has written doubles the file, in the middle of some rungs and not of others.
var noRewrite = []string{"--auto-aof-rewrite-percentage", "0"}

// Run measures, one round after the other, so that a machine that changes its mood does so for all rungs alike.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "drydock-bench-")
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	redis, err := embedded.StartServer(ctx, embedded.Config{
		Dir: dir + "/redis", AppendOnly: true, AppendFsync: cfg.AppendFsync, Args: noRewrite,
	})
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	defer redis.Stop()
	f, err := newField(cfg, redis, dir)
	if err != nil {
		return nil, err
	}
	defer f.close()
	report := &Report{
		Version: cfg.Version, Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH, Cores: runtime.NumCPU(),
		AppendFsync: cfg.AppendFsync, Rounds: cfg.Rounds, Count: cfg.Count, Concurrency: cfg.Concurrency,
		DispatchMS: float64(cfg.DispatchInterval) / float64(time.Millisecond), Clients: cfg.Clients, WorkerArgs: cfg.WorkerArgs,
	}
	if report.Redis, err = f.redisVersion(ctx); err != nil {
		return nil, err
	}
	for round := 1; round <= cfg.Rounds; round++ {
		for _, r := range ladder {
			if len(cfg.Rungs) == 0 && r.slow || len(cfg.Rungs) > 0 && !slices.Contains(cfg.Rungs, r.name) {
				continue
			}
			sample, err := f.measure(ctx, r)
			if err != nil {
				return nil, fmt.Errorf("bench: round %d of %s: %w", round, r.name, err)
			}
			cfg.Log.Info("measured", "round", round, "rung", r.name, "per_second", int(sample.PerSecond))
			report.add(r, sample)
		}
	}
	report.conclude()
	return report, nil
}

package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"drydock/embedded"
	"drydock/model"
	"drydock/store"
	"drydock/tasks"
)

// namespace is where everything happens.
const namespace = "bench"

// field is where the rungs are measured: one Redis, emptied before each, and the processes that a rung starts.
type field struct {
	cfg   Config
	redis *embedded.Server
	dir   string
	rdb   redis.UniversalClient
	store *store.Store
	tasks *tasks.Client
	asynq *asynq.Client
	queue *asynq.Inspector

	// httpRate is what the rung http has measured last, for those that go by it.
	httpRate float64
	// used is how many leases the preparation of a rung has destroyed.
	used int
	// worker and api are the processes of the rung that is being measured.
	worker, api *process
}

func newField(cfg Config, server *embedded.Server, dir string) (*field, error) {
	rdb, err := store.Connect(server.URL())
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	f := &field{cfg: cfg, redis: server, dir: dir, rdb: rdb, queue: asynq.NewInspectorFromRedisClient(rdb)}
	f.renew()
	return f, nil
}

// renew forgets what the store and asynq's client believe to be in Redis.
func (f *field) renew() {
	if f.store != nil {
		f.store.Close()
	}
	f.store, f.used = store.New(f.rdb, store.Config{}), 0
	f.asynq = asynq.NewClientFromRedisClient(f.rdb)
	f.tasks = tasks.NewClient(f.asynq, taskRetention)
}

// enqueueOne makes a task for one object, whoever does so at the same time, for the rungs that are not Drydock: with them a task is an
// operation.
func (f *field) enqueueOne(ctx context.Context, ref model.Ref) error {
	task, err := tasks.New(ref)
	if err != nil {
		return err
	}
	_, err = f.asynq.EnqueueContext(ctx, task, tasks.Options(taskRetention)...)
	return err
}

// taskRetention is that of `drydock api` and `drydock worker`.
const taskRetention = 10 * time.Minute

func (f *field) close() {
	f.stopProcesses()
	f.store.Close()
	_ = f.rdb.Close()
}

func (f *field) stopProcesses() {
	for _, p := range []**process{&f.worker, &f.api} {
		if *p != nil {
			(*p).stop()
			*p = nil
		}
	}
}

// measure runs a rung in an empty Redis.
func (f *field) measure(ctx context.Context, r rung) (Sample, error) {
	defer f.stopProcesses()
	if err := f.rdb.FlushAll(ctx).Err(); err != nil {
		return Sample{}, err
	}
	f.renew()
	return r.run(ctx, f)
}

func (f *field) redisVersion(ctx context.Context) (string, error) {
	info, err := f.info(ctx, "server")
	return info["redis_version"], err
}

func (f *field) info(ctx context.Context, section string) (map[string]string, error) {
	text, err := f.rdb.Info(ctx, section).Result()
	if err != nil {
		return nil, fmt.Errorf("read INFO %s: %w", section, err)
	}
	fields := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			fields[name] = value
		}
	}
	return fields, nil
}

// pollInterval is how often the end of a rung is looked for: a small share of the load, and of the time.
const pollInterval = 5 * time.Millisecond

// patience bounds the wait for anything.
const patience = 3 * time.Minute

// await asks until the answer is yes.
func (f *field) await(ctx context.Context, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errors.New("nothing more happens"))
	defer cancel()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// hold keeps workers from taking tasks, so that a queue can be filled; letGo lets them.
func (f *field) hold() error {
	err := f.queue.PauseQueue(tasks.Queue)
	if err != nil && !strings.Contains(err.Error(), "already paused") {
		return fmt.Errorf("pause the queue: %w", err)
	}
	return nil
}

func (f *field) letGo() error {
	if err := f.queue.UnpauseQueue(tasks.Queue); err != nil {
		return fmt.Errorf("unpause the queue: %w", err)
	}
	return nil
}

// startWorker starts a worker process, and returns when it takes tasks.
func (f *field) startWorker(ctx context.Context, args ...string) (err error) {
	if f.worker, err = start(f.cfg.Binary, f.dir+"/worker.log", args, secretVariable+"="+secret); err != nil {
		return err
	}
	return f.await(ctx, func() (bool, error) {
		servers, err := f.queue.Servers()
		return len(servers) > 0, errors.Join(err, f.worker.failed())
	})
}

// drydockWorker starts `drydock worker`.
func (f *field) drydockWorker(ctx context.Context, more ...string) error {
	args := append([]string{
		"worker", "--redis", f.redis.URL(), "--concurrency", strconv.Itoa(f.cfg.Concurrency), "--dispatch-interval", f.cfg.DispatchInterval.String(),
	}, f.cfg.WorkerArgs...)
	return f.startWorker(ctx, append(args, more...)...)
}

// Meter

// meter is what has been used up to an instant.
type meter struct {
	at              time.Time
	commands, reads float64
	cpu             map[string]time.Duration
}

func (f *field) read(ctx context.Context) (m meter, err error) {
	stats, err := f.info(ctx, "stats")
	if err != nil {
		return m, err
	}
	cpu, err := f.info(ctx, "cpu")
	if err != nil {
		return m, err
	}
	number := func(s string) float64 {
		v, _ := strconv.ParseFloat(s, 64)
		return v
	}
	m.commands, m.reads = number(stats["total_commands_processed"]), number(stats["total_reads_processed"])
	m.cpu = map[string]time.Duration{
		"redis": time.Duration((number(cpu["used_cpu_sys"]) + number(cpu["used_cpu_user"])) * float64(time.Second)),
	}
	for name, pid := range map[string]int{"worker": f.worker.pid(), "api": f.api.pid(), "load": os.Getpid()} {
		if used, ok := cpuTime(pid); ok && pid != 0 {
			m.cpu[name] = used
		}
	}
	m.at = time.Now()
	return m, nil
}

// since makes a sample of so many operations that began at before.
func (f *field) since(ctx context.Context, before meter, operations int) (Sample, error) {
	now, err := f.read(ctx)
	if err != nil {
		return Sample{}, err
	}
	n, took := float64(operations), now.at.Sub(before.at).Seconds()
	s := Sample{
		Operations: operations, Seconds: took, PerSecond: n / took,
		Commands: (now.commands - before.commands) / n, Reads: (now.reads - before.reads) / n, CPU: map[string]float64{},
	}
	for name, used := range now.cpu {
		if began, ok := before.cpu[name]; ok {
			s.CPU[name] = float64((used - began).Microseconds()) / n
		}
	}
	return s, nil
}

// drain times workers that were held, from the moment they are let go until done.
func (f *field) drain(ctx context.Context, operations int, done func() (bool, error)) (Sample, error) {
	// What Go has left behind while it filled the queue is not part of the drain.
	runtime.GC()
	before, err := f.read(ctx)
	if err != nil {
		return Sample{}, err
	}
	if err := f.letGo(); err != nil {
		return Sample{}, err
	}
	if err := f.await(ctx, func() (bool, error) {
		ok, err := done()
		return ok, errors.Join(err, f.worker.failed())
	}); err != nil {
		return Sample{}, err
	}
	return f.since(ctx, before, operations)
}

// each does something for 0 to n-1 from so many goroutines, and returns the first error.
func each(ctx context.Context, n, goroutines int, do func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(n, goroutines) {
		wg.Go(func() {
			for i := range next {
				if err := do(ctx, i); err != nil {
					cancel(err)
				}
			}
		})
	}
feed:
	for i := range n {
		select {
		case next <- i:
		case <-ctx.Done():
			break feed
		}
	}
	close(next)
	wg.Wait()
	return context.Cause(ctx)
}

// refs makes n leases' names.
func refs(n int) []model.Ref {
	list := make([]model.Ref, n)
	for i := range list {
		list[i] = model.LeaseRef(namespace, model.NewID())
	}
	return list
}

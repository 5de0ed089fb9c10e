package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/urfave/cli/v3"

	"drydock/model"
	"drydock/store"
	"drydock/tasks"
)

func doctorCommand() *cli.Command {
	var o options
	var repair bool
	return &cli.Command{
		Name:  "doctor",
		Usage: "examine what is in Redis, while everything runs; exit 0 when it is sound, 1 when there are problems",
		Description: "It looks at every object, so it takes its time where there are many. What it finds counts only if a second look finds it too.\n" +
			"It changes nothing unless it is told --repair: then it puts objects that owe an update, and that nobody would look at, back into\n" +
			"the wake index.",
		Flags: []cli.Flag{
			o.redisFlag(),
			&cli.StringSliceFlag{
				Name: "namespace", Sources: env("namespace"), Destination: &o.namespaces,
				Usage: "examine only the namespace `NAME` (repeatable); default all",
			},
			&cli.BoolFlag{Name: "repair", Destination: &repair, Usage: "mend what can be mended safely"},
		},
		Action: func(ctx context.Context, _ *cli.Command) error { return runDoctor(ctx, &o, repair) },
	}
}

const (
	// overdueAfter is how long an object may wait for a sweeper before that is a problem. They look several times a second.
	overdueAfter = 10 * time.Second
	// secondLook is how long after the first look the second one follows: an update is over by then, or at another step.
	secondLook = time.Second
	// overdueShown is how many overdue objects are named.
	overdueShown = 10
)

// doctor is one run of `drydock doctor`.
type doctor struct {
	out      printer
	rdb      redis.UniversalClient
	store    *store.Store
	repair   bool
	problems int
}

func runDoctor(ctx context.Context, o *options, repair bool) error {
	for _, ns := range o.namespaces {
		if err := model.CheckName("--namespace", ns); err != nil {
			return err
		}
	}
	rdb, err := store.Connect(o.redis)
	if err != nil {
		return err
	}
	defer rdb.Close()
	log := slog.New(slog.DiscardHandler) // what goes wrong is an error, and the doctor's to tell
	redis.SetLogger(clientLogger{log})
	d := &doctor{out: newPrinter(os.Stdout, false), rdb: rdb, store: store.New(rdb, store.Config{Logger: log}), repair: repair}
	defer d.store.Close()
	if err := d.examine(ctx, o.namespaces); err != nil {
		return err
	}
	if d.problems == 0 {
		return nil
	}
	return fmt.Errorf("the doctor found %s", count(int64(d.problems), "problem"))
}

// say prints one finding.
func (d *doctor) say(kind string, paint colour, format string, args ...any) error {
	text := cell{fmt.Sprintf("%-8s", kind), paint}
	_, err := fmt.Fprintln(d.out.w, d.out.paint(text)+"  "+oneLine(fmt.Sprintf(format, args...)))
	return err
}

func (d *doctor) okf(format string, args ...any) error { return d.say("ok", green, format, args...) }

func (d *doctor) notef(format string, args ...any) error {
	return d.say("note", yellow, format, args...)
}

func (d *doctor) problemf(format string, args ...any) error {
	d.problems++
	return d.say("PROBLEM", red, format, args...)
}

func (d *doctor) examine(ctx context.Context, namespaces []string) error {
	if err := d.servers(ctx); err != nil {
		return err
	}
	if err := d.queue(ctx); err != nil {
		return err
	}
	if len(namespaces) == 0 {
		var err error
		if namespaces, err = d.store.Namespaces(ctx); err != nil {
			return err
		}
		slices.Sort(namespaces)
	}
	for _, ns := range namespaces {
		if err := d.namespace(ctx, ns); err != nil {
			return fmt.Errorf("namespace %s: %w", ns, err)
		}
	}
	if len(namespaces) == 0 {
		return d.notef("there are no namespaces: nothing was ever written here")
	}
	return nil
}

// servers examines the settings of Redis.
func (d *doctor) servers(ctx context.Context) error {
	servers, err := d.store.CheckServers(ctx)
	if err != nil {
		return err
	}
	for _, c := range servers {
		var errs []error
		for _, risk := range c.Risks {
			errs = append(errs, d.problemf("redis %s: %s", c.Addr, risk))
		}
		switch {
		case c.Settings == nil:
			errs = append(errs, d.notef("redis %s (%s) does not show its settings; see that it has appendonly yes and maxmemory-policy noeviction",
				c.Addr, c.Version))
		case len(c.Risks) == 0:
			errs = append(errs, d.okf("redis %s (%s): appendonly %s, appendfsync %s, maxmemory %s, maxmemory-policy %s", c.Addr, c.Version,
				c.Settings["appendonly"], c.Settings["appendfsync"], c.Settings["maxmemory"], c.Settings["maxmemory-policy"]))
		}
		if err := errors.Join(errs...); err != nil {
			return err
		}
	}
	return nil
}

// queue examines asynq. Its tasks are only wake-ups: what is lost there is found again in the wake index.
func (d *doctor) queue(ctx context.Context) error {
	inspector := asynq.NewInspectorFromRedisClient(d.rdb)
	workers, err := inspector.Servers()
	if err != nil {
		return model.Unavailable(err)
	}
	if len(workers) == 0 {
		if err := d.problemf("asynq: no worker is running"); err != nil {
			return err
		}
	}
	q, err := tasks.Info(inspector)
	switch {
	case err != nil:
		if _, away := d.store.CheckServers(ctx); away != nil {
			return away
		}
		// Redis is well, and some of asynq's keys are not.
		return d.problemf("asynq: the queue %s cannot be read; to delete all keys asynq:{%[1]s}:* mends that, and loses nothing: %s", tasks.Queue, err)
	case q == nil:
		return d.notef("asynq: there is no queue %s: no task was ever enqueued, or asynq's keys were lost since", tasks.Queue)
	case q.Paused:
		return d.problemf("asynq: the queue %s is paused, and no worker does anything; unpause it in Asynqmon", q.Queue)
	case q.Latency > overdueAfter:
		return d.problemf("asynq: the oldest of %d waiting tasks has waited for %s: there are too few workers", q.Pending, q.Latency.Round(time.Second))
	}
	return d.okf("asynq: %s; tasks: %d waiting, %d running, %d to retry, %d archived", count(int64(len(workers)), "worker"), q.Pending, q.Active, q.Retry, q.Archived)
}

// namespace examines the objects of one namespace.
func (d *doctor) namespace(ctx context.Context, ns string) error {
	before := d.problems
	found, err := d.look(ctx, ns)
	if err != nil {
		return err
	}
	mended := 0
	if d.repair {
		for _, ref := range found.Unwoken {
			owes, err := d.store.Rewake(ctx, ref)
			if err != nil {
				return err
			}
			if !owes {
				continue
			}
			mended++
			if err := d.say("repaired", yellow, "namespace %s: %s owed an update and was not in wake; it is there again", ns, ref.Member()); err != nil {
				return err
			}
		}
		if mended > 0 {
			if found, err = d.look(ctx, ns); err != nil {
				return err
			}
		}
	}
	for _, breach := range found.Breaches {
		if err := d.problemf("namespace %s: %s", ns, breach); err != nil {
			return err
		}
	}
	for ref, schema := range found.Unknown {
		if err := d.problemf("namespace %s: %s has schema version %s, which this drydock (%s) does not know", ns, ref.Member(),
			model.Quote(schema), version); err != nil {
			return err
		}
	}
	overdue, n, err := d.store.Overdue(ctx, ns, overdueAfter, overdueShown)
	if err != nil {
		return err
	}
	if n > 0 {
		if err := d.problemf("namespace %[1]s: for more than %[3]s no worker has taken what is due: %[2]s, such as %[4]s",
			ns, count(n, "object"), overdueAfter, model.Join(overdue)); err != nil {
			return err
		}
	}
	if d.problems > before {
		return nil
	}
	return d.okf("namespace %s: %s", ns, count(int64(found.Objects), "object"))
}

// look looks at a namespace, twice if the first look found anything, and returns what both have found.
func (d *doctor) look(ctx context.Context, ns string) (store.Checkup, error) {
	first, err := d.store.Checkup(ctx, ns)
	if err != nil || len(first.Breaches) == 0 {
		return first, err
	}
	select {
	case <-time.After(secondLook):
	case <-ctx.Done():
		return first, ctx.Err()
	}
	second, err := d.store.Checkup(ctx, ns)
	second.Breaches = slices.DeleteFunc(second.Breaches, func(b string) bool { return !slices.Contains(first.Breaches, b) })
	second.Unwoken = slices.DeleteFunc(second.Unwoken, func(r model.Ref) bool { return !slices.Contains(first.Unwoken, r) })
	return second, err
}

// count writes a number of things.
func count(n int64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

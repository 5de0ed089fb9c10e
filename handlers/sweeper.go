package handlers

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"drydock/model"
	"drydock/store"
)

// SweeperConfig configures a [Sweeper].
type SweeperConfig struct {
	// Interval between two looks at the wake indexes. Default 100 ms. With so many namespaces that a look takes more than a tenth of it,
	// the pause is ten times what the look took, up to a second.
	Interval time.Duration
	// Namespaces to sweep; empty = all.
	Namespaces []string
	// Logger gets what goes wrong. Default slog.Default().
	Logger *slog.Logger
}

const (
	// sweepBatch bounds what one look at a namespace enqueues, so that after an outage the work spreads over the sweepers.
	sweepBatch = 500
	// namespacesAge is how often the list of namespaces is read again.
	namespacesAge = time.Second
	// lookAtOnce is how many namespaces are looked at in one round trip, where they are on one server.
	lookAtOnce = 500
	// restShare is how many times as long as it looks a sweeper rests, up to mostRest.
	restShare = 10
	mostRest  = time.Second
)

// Sweeper enqueues a task for each object whose time in the wake index has passed: for yields and ends that are due, and for
// tasks that were lost. Every worker process runs one; the store hands each due object to one of them.
type Sweeper struct {
	store *store.Store
	tasks Enqueuer
	cfg   SweeperConfig
}

// NewSweeper returns a Sweeper.
func NewSweeper(s *store.Store, t Enqueuer, cfg SweeperConfig) *Sweeper {
	if cfg.Interval <= 0 {
		cfg.Interval = 100 * time.Millisecond
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	return &Sweeper{store: s, tasks: t, cfg: cfg}
}

// Run sweeps until ctx ends. An outage is logged once when it begins and once when it ends. In a Cluster it may be that of one node: the
// namespaces on the others are swept all the same.
func (s *Sweeper) Run(ctx context.Context) {
	var r sweep
	down := false
	for {
		err := s.round(ctx, &r)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && !down:
			s.cfg.Logger.Error("sweeper cannot reach Redis; it goes on trying", "error", err)
		case err == nil && down:
			s.cfg.Logger.Info("sweeper reaches Redis again")
		}
		down = err != nil
		select {
		case <-ctx.Done():
			return
		case <-time.After(max(s.cfg.Interval, min(restShare*r.look, mostRest)) + rand.N(s.cfg.Interval/4+1)):
		}
	}
}

// sweep is what one round leaves to the next.
type sweep struct {
	// known are the namespaces, readAt is when they were asked for, and listErr is what came of it.
	known   []string
	readAt  time.Time
	listErr error
	// look is how long it took to see which of them have anything due.
	look time.Duration
	// cluster is what a Cluster needs beside.
	cluster clusterSweep
}

// round sweeps each namespace once, up to the first error: on one server, that stands in the way of all.
func (s *Sweeper) round(ctx context.Context, r *sweep) error {
	if s.store.Sharded() {
		return s.roundOfCluster(ctx, r)
	}
	if time.Since(r.readAt) >= namespacesAge {
		r.known, r.listErr = namespaces(ctx, s.store, s.cfg.Namespaces)
		r.readAt = time.Now()
	}
	if r.listErr != nil {
		return r.listErr
	}
	began := time.Now()
	todo, err := s.haveDue(ctx, r.known)
	if err != nil {
		return err
	}
	r.look = time.Since(began)
	for _, ns := range todo {
		err := s.Sweep(ctx, ns)
		if err != nil {
			return err
		}
	}
	return nil
}

// haveDue lists those namespaces that have anything due. On one server they live and die together, so that one error is that of all.
func (s *Sweeper) haveDue(ctx context.Context, all []string) (due []string, err error) {
	for chunk := range slices.Chunk(all, lookAtOnce) {
		part, err := s.store.HaveDue(ctx, chunk)
		if err != nil {
			return nil, err
		}
		due = append(due, part...)
	}
	return due, nil
}

// namespaces lists the namespaces that there are, and of them only those given unless none is.
func namespaces(ctx context.Context, s *store.Store, only []string) ([]string, error) {
	all, err := s.Namespaces(ctx)
	if err != nil || len(only) == 0 {
		return all, err
	}
	return slices.DeleteFunc(all, func(ns string) bool { return !slices.Contains(only, ns) }), nil
}

// Sweep enqueues what is due in one namespace right now.
func (s *Sweeper) Sweep(ctx context.Context, ns string) error {
	var refs []model.Ref
	for {
		batch, left, err := s.store.Due(ctx, ns, sweepBatch)
		if err != nil {
			return err
		}
		refs = batch
		if len(refs) > 0 {
			if err := s.tasks.Enqueue(ctx, refs...); err != nil {
				return err
			}
		}
		if left == 0 || len(batch) == 0 {
			return nil
		}
	}
}

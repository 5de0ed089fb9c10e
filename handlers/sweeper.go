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
	// the pause is ten times what the look took.
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
	// lookAtOnce is how many namespaces are looked at in one round trip.
	lookAtOnce = 500
	// restShare is how many times as long as it looks a sweeper rests at least.
	restShare = 10
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

// Run sweeps until ctx ends. An outage is logged once when it begins and once when it ends.
func (s *Sweeper) Run(ctx context.Context) {
	var known []string
	var readAt time.Time
	down := false
	for {
		var err error
		began := time.Now()
		if time.Since(readAt) >= namespacesAge {
			var all []string
			if all, err = namespaces(ctx, s.store, s.cfg.Namespaces); err == nil {
				known, readAt = all, time.Now()
			}
		}
		if err == nil {
			err = s.sweepAll(ctx, known)
		}
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
		case <-time.After(max(s.cfg.Interval, restShare*time.Since(began)) + rand.N(s.cfg.Interval/4+1)):
		}
	}
}

// sweepAll sweeps those namespaces that have anything due.
func (s *Sweeper) sweepAll(ctx context.Context, all []string) error {
	for chunk := range slices.Chunk(all, lookAtOnce) {
		due, err := s.store.HaveDue(ctx, chunk)
		if err != nil {
			return err
		}
		for _, ns := range due {
			if err := s.Sweep(ctx, ns); err != nil {
				return err
			}
		}
	}
	return nil
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

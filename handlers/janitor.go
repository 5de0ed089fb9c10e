package handlers

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"drydock/store"
)

// DefaultRetention is how long what is left of a destroyed object is kept.
const DefaultRetention = 30 * 24 * time.Hour

// JanitorConfig configures a [Janitor].
type JanitorConfig struct {
	// Retention is how long what is left of an object is kept after it was destroyed. Default [DefaultRetention].
	Retention time.Duration
	// Interval between two rounds. Default 1 minute.
	Interval time.Duration
	// Namespaces to keep clean; empty = all.
	Namespaces []string
	// Logger gets what was collected and what goes wrong. Default slog.Default().
	Logger *slog.Logger
}

// collectPause lets others at Redis between two batches when there is much to collect.
const collectPause = 10 * time.Millisecond

// Janitor deletes what is left of objects that were destroyed long ago: their records, commands, logs and notes. It never touches a
// live object. On its rounds it also notes how much is in use, for the console's chart. Every worker process runs one; the store makes each batch one write, so they share the work.
type Janitor struct {
	store *store.Store
	cfg   JanitorConfig
}

// NewJanitor returns a Janitor.
func NewJanitor(s *store.Store, cfg JanitorConfig) *Janitor {
	if cfg.Retention <= 0 {
		cfg.Retention = DefaultRetention
	}
	if cfg.Interval <= 0 {
		cfg.Interval = time.Minute
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	return &Janitor{store: s, cfg: cfg}
}

// Run collects until ctx ends.
func (j *Janitor) Run(ctx context.Context) {
	for {
		err := j.round(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			j.cfg.Logger.Warn("janitor could not collect; it tries again", "in", j.cfg.Interval, "error", err)
		}
		if !pause(ctx, j.cfg.Interval+rand.N(j.cfg.Interval/4+1)) {
			return
		}
	}
}

func (j *Janitor) round(ctx context.Context) error {
	known, err := namespaces(ctx, j.store, j.cfg.Namespaces)
	if err != nil {
		return err
	}
	var first error
	for _, ns := range known {
		if err := j.tidy(ctx, ns); err != nil && first == nil {
			first = err
		}
		if first != nil && !j.store.Sharded() {
			break
		}
	}
	return first
}

// tidy takes a sample of one namespace and collects what is old there.
func (j *Janitor) tidy(ctx context.Context, ns string) error {
	if err := j.store.SampleUsage(ctx, ns); err != nil {
		return err
	}
	n, err := j.Collect(ctx, ns)
	if n > 0 {
		j.cfg.Logger.Info("collected what was destroyed long ago", "namespace", ns, "objects", n, "retention", j.cfg.Retention)
	}
	return err
}

// Collect deletes, batch by batch, all whose time has come in one namespace, and returns how many objects that were.
func (j *Janitor) Collect(ctx context.Context, ns string) (int, error) {
	for total := 0; ; {
		n, left, err := j.store.Collect(ctx, ns, j.cfg.Retention)
		total += n
		if err != nil || left == 0 {
			return total, err
		}
		if !pause(ctx, collectPause) {
			return total, ctx.Err()
		}
	}
}

// pause waits and reports whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

package deliver

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"drydock/locks"
	"drydock/metrics"
	"drydock/model"
	"drydock/outbound"
	"drydock/store"
)

// Config configures a [Runner].
type Config struct {
	// Addresses says where requests may go. Default public addresses only.
	Addresses outbound.AddressPolicy
	// Namespaces to serve; empty = all.
	Namespaces []string
	// Interval between two looks for subscriptions to serve, and the longest that a change of one goes unnoticed. Default 1 s.
	Interval time.Duration
	// Timeout bounds one request. Default 10 s.
	Timeout time.Duration
	// FirstPause is the pause after the first failed try of an event; it doubles with each, up to MostPause. Default 1 s and 5 min.
	FirstPause, MostPause time.Duration
	// Metrics counts what is sent; nil = nobody does.
	Metrics *metrics.Metrics
	// Logger gets what goes wrong; never a secret, a URL or a body. Default slog.Default().
	Logger *slog.Logger
}

// Runner serves subscriptions.
type Runner struct {
	store  *store.Store
	locks  *locks.Locker
	client *http.Client
	cfg    Config

	// known are the namespaces, as they were told last. Run alone uses it.
	known []string

	wg sync.WaitGroup
	mu sync.Mutex
	// served are the subscriptions that a goroutine of this process serves or is trying to. Guarded by mu.
	served map[subscriptionName]bool
}

type subscriptionName struct{ namespace, name string }

// New returns a Runner.
func New(s *store.Store, l *locks.Locker, cfg Config) *Runner {
	cfg.Interval = cmp.Or(cfg.Interval, time.Second)
	cfg.Timeout = cmp.Or(cfg.Timeout, 10*time.Second)
	cfg.FirstPause = cmp.Or(cfg.FirstPause, time.Second)
	cfg.MostPause = cmp.Or(cfg.MostPause, 5*time.Minute)
	cfg.Logger = cmp.Or(cfg.Logger, slog.Default())
	return &Runner{store: s, locks: l, client: outbound.NewClient(cfg.Addresses), cfg: cfg, served: make(map[subscriptionName]bool)}
}

// Run serves until ctx ends and returns when nothing is under way any more. A request that is cut off then is sent again by the next
// process.
func (r *Runner) Run(ctx context.Context) {
	defer r.wg.Wait()
	down := false
	for {
		err := r.look(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && !down:
			r.cfg.Logger.Error("cannot look for subscriptions; going on trying", "error", err)
		case err == nil && down:
			r.cfg.Logger.Info("subscriptions are read again")
		}
		down = err != nil
		if !sleep(ctx, r.cfg.Interval+rand.N(r.cfg.Interval/4+1)) {
			return
		}
	}
}

// look begins to serve what is served by nobody in this process, and returns the first error.
func (r *Runner) look(ctx context.Context) error {
	namespaces, first := r.store.Namespaces(ctx)
	if first == nil {
		r.known = namespaces
	}
	for _, ns := range r.known {
		if first != nil && !r.store.Sharded() {
			break
		}
		if len(r.cfg.Namespaces) > 0 && !slices.Contains(r.cfg.Namespaces, ns) {
			continue
		}
		names, err := r.store.SubscriptionNames(ctx, ns)
		if err != nil && first == nil {
			first = err
		}
		for _, name := range names {
			r.begin(ctx, subscriptionName{ns, name})
		}
	}
	return first
}

func (r *Runner) begin(ctx context.Context, sub subscriptionName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.served[sub] {
		return
	}
	r.served[sub] = true
	r.wg.Go(func() {
		defer func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			delete(r.served, sub)
		}()
		err := r.serve(ctx, sub)
		switch {
		case err == nil, ctx.Err() != nil, errors.Is(err, locks.ErrBusy), errors.Is(err, model.ErrSubscriptionNotFound):
		case errors.Is(err, model.ErrStaleWriter):
			r.cfg.Logger.Info("another worker serves the subscription now", "namespace", sub.namespace, "subscription", sub.name)
		default:
			r.cfg.Logger.Warn("serving a subscription was interrupted", "namespace", sub.namespace, "subscription", sub.name, "error", err)
		}
	})
}

// sleep reports whether it slept to the end.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

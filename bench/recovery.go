package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync/atomic"
	"time"

	"drydock/model"
	"drydock/tasks"
)

// inFlight is how many updates or tasks are under way when their worker is killed.
const inFlight = 1000

// underWay reports how many tasks asynq has handed out.
func (f *field) underWay(ctx context.Context) (int, error) {
	n, err := f.rdb.LLen(ctx, "asynq:{"+tasks.Queue+"}:active").Result()
	return int(n), err
}

// killWorker kills the worker as soon as so much is under way, and returns how much it was.
func (f *field) killWorker(ctx context.Context, enough int, underWay func(context.Context) (int, error)) (had int, err error) {
	if err := f.await(ctx, func() (bool, error) {
		had, err = underWay(ctx)
		return had >= enough, errors.Join(err, f.worker.failed())
	}); err != nil {
		return 0, err
	}
	f.worker.kill()
	f.worker = nil
	return had, nil
}

// The webhook of the rung recovery is called with this secret.
const (
	secretVariable = "DRYDOCK_WEBHOOK_SECRET_BENCH"
	secret         = "of-no-value-to-anybody"
)

// slowService is a service whose answers take as long as it is told: it makes updates that are under way for as long as they should be.
type slowService struct {
	*httptest.Server
	quick chan struct{}
	// calls are those that wait for their answer.
	calls atomic.Int64
}

// underWay reports how many updates are: each waits for an answer. asynq counts tasks, which may have several.
func (s *slowService) underWay(context.Context) (int, error) { return int(s.calls.Load()), nil }

func newSlowService() *slowService {
	s := &slowService{quick: make(chan struct{})}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Only a body that has been read lets the server see that the caller has died.
		_, _ = io.Copy(io.Discard, r.Body)
		s.calls.Add(1)
		defer s.calls.Add(-1)
		select {
		case <-s.quick:
			w.WriteHeader(http.StatusNoContent)
		case <-r.Context().Done():
		}
	}))
	return s
}

// recovery is the rung recovery: how long it takes from the end of a worker, killed with its hands full, until another has done all that
// it had begun.
func recovery(ctx context.Context, f *field) (Sample, error) {
	service := newSlowService()
	defer service.Close()
	worker := func(concurrency int) error {
		return f.drydockWorker(ctx, "--webhook-private", "--concurrency", strconv.Itoa(concurrency))
	}
	if err := worker(inFlight); err != nil {
		return Sample{}, err
	}
	config := fmt.Appendf(nil, `{"url":%q,"secret_env":%q,"steps":["destroy_lease"],"timeout":"2m","capacity":%d}`,
		service.URL, secretVariable, inFlight/10)
	if err := f.declare(ctx, "webhook", config); err != nil {
		return Sample{}, err
	}
	list, err := f.queueLeases(ctx, inFlight)
	if err != nil {
		return Sample{}, err
	}
	if err := f.await(ctx, f.leasesIn(ctx, model.LeaseActive, len(list))); err != nil {
		return Sample{}, err
	}
	if err := each(ctx, len(list), f.cfg.Clients, func(ctx context.Context, i int) error {
		return f.send(ctx, list[i], model.CommandRelease, nil)
	}); err != nil {
		return Sample{}, err
	}
	if err := f.await(ctx, f.leasesIn(ctx, model.LeaseReleased, len(list))); err != nil {
		return Sample{}, err
	}
	had, err := f.killWorker(ctx, inFlight, service.underWay)
	if err != nil {
		return Sample{}, err
	}
	killed := time.Now()
	close(service.quick)
	if err := worker(f.cfg.Concurrency); err != nil {
		return Sample{}, err
	}
	if err := f.await(ctx, f.leasesIn(ctx, model.LeaseDestroyed, len(list))); err != nil {
		return Sample{}, err
	}
	took := time.Since(killed)
	s, err := f.released(ctx, Sample{Operations: had, Seconds: took.Seconds()}, list)
	s.P50, s.P95, s.P99 = 0, 0, 0
	return s, err
}

// asynqRecovery is the rung asynq-recovery: the same with asynq alone.
func asynqRecovery(ctx context.Context, f *field) (Sample, error) {
	list := refs(inFlight)
	if err := each(ctx, len(list), f.cfg.Clients, func(ctx context.Context, i int) error { return f.enqueueOne(ctx, list[i]) }); err != nil {
		return Sample{}, err
	}
	if err := f.foreignWorker(ctx, "stuck", inFlight); err != nil {
		return Sample{}, err
	}
	had, err := f.killWorker(ctx, inFlight, f.underWay)
	if err != nil {
		return Sample{}, err
	}
	killed := time.Now()
	if err := f.foreignWorker(ctx, "noop", f.cfg.Concurrency); err != nil {
		return Sample{}, err
	}
	// Recovered tasks wait for a retry, in a set of their own.
	if err := f.await(ctx, func() (bool, error) {
		info, err := f.queue.GetQueueInfo(tasks.Queue)
		if err != nil {
			return false, err
		}
		return info.Completed == len(list), nil
	}); err != nil {
		return Sample{}, fmt.Errorf("%d tasks were under way: %w", had, err)
	}
	return Sample{Operations: had, Seconds: time.Since(killed).Seconds()}, nil
}

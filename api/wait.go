package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"drydock/model"
)

// How long a waiting read waits unless it says otherwise, and at most.
const (
	defaultWait = 30 * time.Second
	maxWait     = 5 * time.Minute
)

// waits reports whether a request is a waiting read.
func waits(c echo.Context) bool {
	return c.Request().Method == http.MethodGet && c.QueryParam("wait") != ""
}

// read answers GET for one object of a kind: at once, or with ?wait=state when the object has come that far in its life, or when
// the timeout is over, with the object as it then is. ages orders the states; load reads the object.
//
// "That far" and not "just there": who waits for active must not wait on when the lease broke, and who waits for destroyed is not
// served by released.
func read[S ~string](s *Server, c echo.Context, kind model.Kind, states []S, ages map[S]int,
	load func(context.Context, model.Ref) (S, any, error),
) error {
	q, err := readQuery(c, "wait", "timeout")
	if err != nil {
		return err
	}
	wanted, err := state(q, "wait", states)
	if err != nil {
		return err
	}
	timeout, err := q.duration("timeout", defaultWait, maxWait)
	if err != nil {
		return err
	}
	ref, err := pathRef(c, q.namespace, kind)
	if err != nil {
		return err
	}
	look := func(ctx context.Context) (object any, there bool, err error) {
		ctx, cancel := context.WithTimeout(ctx, s.cfg.RequestTimeout)
		defer cancel()
		status, object, err := load(ctx, ref)
		if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = tookTooLong(http.MethodGet, err)
		}
		return object, wanted == "" || ages[status] >= ages[wanted], err
	}
	// Most waits are over when they begin, and an object that does not exist is not watched.
	object, there, err := look(c.Request().Context())
	if err == nil && !there {
		object, err = s.await(c, ref, timeout, look)
	}
	if err != nil {
		return err
	}
	return respondTagged(c, "", object)
}

// await reads the object until look says that it is there, the timeout is over or the server shuts down, and returns what it read
// last.
func (s *Server) await(c echo.Context, ref model.Ref, timeout time.Duration,
	look func(context.Context) (object any, there bool, err error),
) (any, error) {
	if s.waiters.Add(1) > int64(s.cfg.MaxWaiters) {
		s.waiters.Add(-1)
		return nil, model.Errorf(model.ErrorUnavailable, "too many requests are waiting already")
	}
	defer s.waiters.Add(-1)
	s.metrics.waiting.Inc()
	defer s.metrics.waiting.Dec()
	_ = http.NewResponseController(c.Response()).SetWriteDeadline(time.Now().Add(timeout + s.writeTimeout()))

	ctx := c.Request().Context()
	over := time.NewTimer(timeout)
	defer over.Stop()
	// First subscribe, then look: a change in between is signalled.
	changed, stop := s.cfg.Store.Watch(ctx, ref)
	defer stop()
	for last := false; ; {
		object, there, err := look(ctx)
		if err != nil || there || last {
			return object, err
		}
		select {
		case _, open := <-changed:
			if !open {
				changed = nil // nothing more will come; the timeout ends it
			}
		case <-over.C:
			last = true
		case <-s.waitsEndC:
			last = true
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

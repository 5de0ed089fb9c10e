package api

import (
	"context"
	"net/http"

	"github.com/labstack/echo/v4"

	"drydock/api/wire"
	"drydock/model"
)

// Subscriptions is the part of a [Store] that keeps where events are sent to.
type Subscriptions interface {
	// PutSubscription stores a checked subscription. One without a secret keeps the one it has.
	PutSubscription(ctx context.Context, sub *model.Subscription) (stored *model.Subscription, created bool, err error)
	Subscription(ctx context.Context, namespace, name string) (*model.Subscription, error)
	// Subscriptions lists all, sorted by name.
	Subscriptions(ctx context.Context, namespace string) ([]*model.Subscription, error)
	DeleteSubscription(ctx context.Context, namespace, name string) error
	// DeadLetters lists oldest first.
	DeadLetters(ctx context.Context, namespace, name string, limit int, after string) (model.Page[model.DeadLetter], error)
	// RetryDeadLetters has all dead letters sent again, once each, and returns how many there are.
	RetryDeadLetters(ctx context.Context, namespace, name string) (int64, error)
}

// putSubscription declares a subscription: PUT /v1/subscriptions/{name}.
func (s *Server) putSubscription(c echo.Context) error {
	q, err := readQuery(c)
	if err != nil {
		return err
	}
	name := pathParam(c, "name")
	if err := model.CheckName("name", name); err != nil {
		return err
	}
	body, err := readBody(c)
	if err != nil {
		return err
	}
	var asked wire.NewSubscription
	if err := decode(body, &asked); err != nil {
		return err
	}
	sub := asked.Model(q.namespace, name)
	if err := s.cfg.Addresses.CheckURL("url", sub.URL); err != nil {
		return err
	}
	if err := sub.Check(); err != nil {
		return err
	}
	stored, created, err := s.cfg.Store.PutSubscription(c.Request().Context(), sub)
	if err != nil {
		return err
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
		c.Response().Header().Set(echo.HeaderLocation, "/v1/subscriptions/"+name+q.suffix())
	}
	return respond(c, status, wire.FromSubscription(stored))
}

// listSubscriptions lists subscriptions by name: GET /v1/subscriptions. There are few, so it is one page.
func (s *Server) listSubscriptions(c echo.Context) error {
	q, err := readQuery(c)
	if err != nil {
		return err
	}
	all, err := s.cfg.Store.Subscriptions(c.Request().Context(), q.namespace)
	if err != nil {
		return err
	}
	return respond(c, http.StatusOK, wire.FromPage(model.Page[*model.Subscription]{Items: all}, wire.FromSubscription))
}

// readSubscription reads a subscription: GET /v1/subscriptions/{name}.
func (s *Server) readSubscription(c echo.Context) error {
	q, name, err := readSubscriptionName(c)
	if err != nil {
		return err
	}
	sub, err := s.cfg.Store.Subscription(c.Request().Context(), q.namespace, name)
	if err != nil {
		return err
	}
	return respondTagged(c, "", wire.FromSubscription(sub))
}

// deleteSubscription ends a subscription: DELETE /v1/subscriptions/{name}.
func (s *Server) deleteSubscription(c echo.Context) error {
	q, name, err := readSubscriptionName(c)
	if err != nil {
		return err
	}
	if err := s.cfg.Store.DeleteSubscription(c.Request().Context(), q.namespace, name); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

// listDeadLetters lists what was given up: GET /v1/subscriptions/{name}/dead-letters.
func (s *Server) listDeadLetters(c echo.Context) error {
	q, name, err := readSubscriptionName(c, "limit", "after")
	if err != nil {
		return err
	}
	limit, after, err := q.page()
	if err != nil {
		return err
	}
	page, err := s.cfg.Store.DeadLetters(c.Request().Context(), q.namespace, name, limit, after)
	if err != nil {
		return err
	}
	return respond(c, http.StatusOK, wire.FromPage(page, wire.FromDeadLetter))
}

const retryPath = "/subscriptions/:name/dead-letters/retry"

// retryDeadLetters has dead letters sent again: POST /v1/subscriptions/{name}/dead-letters/retry. Sent twice, it does the same.
func (s *Server) retryDeadLetters(c echo.Context) error {
	q, name, err := readSubscriptionName(c)
	if err != nil {
		return err
	}
	n, err := s.cfg.Store.RetryDeadLetters(c.Request().Context(), q.namespace, name)
	if err != nil {
		return err
	}
	return respond(c, http.StatusAccepted, wire.DeadLettersRetried{Retrying: n})
}

// readSubscriptionName reads a request for one subscription. A malformed name is as unknown as any other.
func readSubscriptionName(c echo.Context, known ...string) (q query, name string, err error) {
	if q, err = readQuery(c, known...); err != nil {
		return q, "", err
	}
	if name = pathParam(c, "name"); model.CheckName("name", name) != nil {
		return q, "", model.ErrSubscriptionNotFound
	}
	return q, name, nil
}

package client

import (
	"context"
	"iter"
	"net/http"

	"drydock/api/wire"
)

// PutSubscription declares a subscription. created says that there was none with this name; one that was there keeps its secret when
// none is given.
func (c *Client) PutSubscription(
	ctx context.Context, name string, n wire.NewSubscription,
) (stored wire.Subscription, created bool, err error) {
	status, err := c.do(ctx, call{method: http.MethodPut, path: []string{"v1", "subscriptions", name}, body: n}, &stored)
	return stored, status == http.StatusCreated, err
}

// GetSubscription reads a subscription; [ErrNotFound] when there is none with this name.
func (c *Client) GetSubscription(ctx context.Context, name string) (sub wire.Subscription, err error) {
	err = c.get(ctx, nil, &sub, "v1", "subscriptions", name)
	return sub, err
}

// Subscriptions lists all subscriptions, by name.
func (c *Client) Subscriptions(ctx context.Context) ([]wire.Subscription, error) {
	page, err := list[wire.Subscription](ctx, c, nil, "v1", "subscriptions")
	return page.Items, err
}

// DeleteSubscription ends a subscription. Its dead letters go with it.
func (c *Client) DeleteSubscription(ctx context.Context, name string) error {
	_, err := c.do(ctx, call{method: http.MethodDelete, path: []string{"v1", "subscriptions", name}}, nil)
	return err
}

// ListDeadLetters reads a page of the events that a subscription has given up, oldest first.
func (c *Client) ListDeadLetters(ctx context.Context, name string, p PageOptions) (wire.Page[wire.DeadLetter], error) {
	return list[wire.DeadLetter](ctx, c, p.params(), "v1", "subscriptions", name, "dead-letters")
}

// DeadLetters goes through the events that a subscription has given up, oldest first, page by page. It ends with the first error.
func (c *Client) DeadLetters(ctx context.Context, name string) iter.Seq2[wire.DeadLetter, error] {
	return all(PageOptions{}, func(p PageOptions) (wire.Page[wire.DeadLetter], error) { return c.ListDeadLetters(ctx, name, p) })
}

// RetryDeadLetters has all dead letters of a subscription sent again, once each, and returns how many there are. Asked again, it does
// the same.
func (c *Client) RetryDeadLetters(ctx context.Context, name string) (int64, error) {
	var answer wire.DeadLettersRetried
	err := c.post(ctx, nil, &answer, nil, "v1", "subscriptions", name, "dead-letters", "retry")
	return answer.Retrying, err
}

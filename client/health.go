package client

import (
	"context"
	"net/http"
)

// Health asks once whether the server lives.
func (c *Client) Health(ctx context.Context) error { return c.plain(ctx, nil, "healthz") }

// Ready asks once whether the server should get work: [ErrUnavailable] when it should not.
func (c *Client) Ready(ctx context.Context) error { return c.plain(ctx, nil, "readyz") }

// Metrics reads the server's metrics in the text format of Prometheus.
func (c *Client) Metrics(ctx context.Context) (text []byte, err error) {
	err = c.plain(ctx, &text, "metrics")
	return text, err
}

// OpenAPI reads the description of the API, in JSON.
func (c *Client) OpenAPI(ctx context.Context) (text []byte, err error) {
	err = c.plain(ctx, &text, "openapi.json")
	return text, err
}

// plain reads what is not below /v1, once: who asks for the state of the server wants to hear of the bad one.
func (c *Client) plain(ctx context.Context, out *[]byte, path string) error {
	var into any
	if out != nil {
		into = out
	}
	_, err := c.do(ctx, call{method: http.MethodGet, path: []string{path}, once: true, plain: true}, into)
	return err
}

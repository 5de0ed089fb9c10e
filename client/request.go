package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	mathrand "math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"drydock/api/wire"
	"drydock/model"
)

// call is one request, however often it is sent.
type call struct {
	method string
	path   []string // behind the server's own, unescaped
	query  url.Values
	body   any // sent as JSON; nil = none
	// key is the Idempotency-Key of a POST.
	key string
	// wait is how long the server may wait before it answers.
	wait time.Duration
	// once sends it once and leaves it to the caller to send it again.
	once bool
	// plain is a path outside /v1, which knows no namespace.
	plain bool
	// header holds headers that only this request has.
	header map[string]string
}

// CallOption changes one request.
type CallOption func(*call)

// IdempotencyKey sets the key of a POST, which is otherwise made at random. Who keeps it can send the same request again after a crash
// and get the first answer: 1 to 200 printable ASCII characters.
func IdempotencyKey(key string) CallOption { return func(c *call) { c.key = key } }

// If makes a write of something that has a rev depend on it. A condition that does not hold is [ErrPrecondition], and nothing was written.
func If(cond model.Condition) CallOption {
	return func(c *call) {
		c.header = maps.Clone(c.header)
		if c.header == nil {
			c.header = map[string]string{}
		}
		switch {
		case cond.Rev != nil:
			c.header[wire.HeaderIfMatch] = wire.ETag(*cond.Rev)
		case cond.Some:
			c.header[wire.HeaderIfMatch] = "*"
		case cond.None:
			c.header[wire.HeaderIfNoneMatch] = "*"
		}
	}
}

// NewIdempotencyKey returns a key that nobody has used.
func NewIdempotencyKey() string { return rand.Text() }

// get reads something into out.
func (c *Client) get(ctx context.Context, query url.Values, out any, path ...string) error {
	_, err := c.do(ctx, call{method: http.MethodGet, path: path, query: query}, out)
	return err
}

// post sends something and reads the answer into out.
func (c *Client) post(ctx context.Context, body, out any, opts []CallOption, path ...string) error {
	req := call{method: http.MethodPost, path: path, body: body, key: NewIdempotencyKey()}
	for _, opt := range opts {
		opt(&req)
	}
	_, err := c.do(ctx, req, out)
	return err
}

// do sends a request, again where that is safe, and decodes the answer into out: a pointer for JSON, a *[]byte for the text
// itself, or nil. It returns the status.
func (c *Client) do(ctx context.Context, req call, out any) (status int, err error) {
	var body []byte
	if req.body != nil {
		if body, err = encode(req.body); err != nil {
			return 0, fmt.Errorf("%s %s: %w", req.method, strings.Join(req.path, "/"), err)
		}
	}
	// sent stays true: an earlier attempt may have been the one that was done.
	var sent atomic.Bool
	for attempt := 1; ; attempt++ {
		status, err = c.attempt(ctx, req, body, out, &sent)
		var failed *Error
		if err == nil || !errors.As(err, &failed) || !failed.unavailable() || req.once || attempt >= c.cfg.Retry.Attempts {
			return status, err
		}
		if safe := req.method == http.MethodGet || req.key != "" || !sent.Load(); !safe {
			return status, err
		}
		delay, again := c.cfg.Retry.delay(attempt, failed.RetryAfter)
		// Waiting for what cannot come in time would turn a telling error into "deadline exceeded".
		if deadline, ok := ctx.Deadline(); !again || ok && time.Until(deadline) <= delay {
			return status, err
		}
		if e := sleep(ctx, delay); e != nil {
			return 0, noAnswer(req, sent.Load(), callerError{e})
		}
	}
}

// attempt sends a request once. sent becomes true when some of it may have left.
func (c *Client) attempt(ctx context.Context, req call, body []byte, out any, sent *atomic.Bool) (status int, err error) {
	bounded, cancel := context.WithTimeout(ctx, c.cfg.AttemptTimeout+req.wait)
	defer cancel()
	trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { sent.Store(true) }}
	r, err := c.request(httptrace.WithClientTrace(bounded, trace), req, body)
	if err != nil {
		return 0, err
	}
	resp, err := c.cfg.HTTP.Do(r)
	if err == nil {
		defer resp.Body.Close()
		status = resp.StatusCode
		if status/100 != 2 {
			return status, answerError(resp)
		}
		err = read(resp, out)
		if _, ok := errors.AsType[*Error](err); ok {
			return status, err
		}
	}
	if err == nil {
		return status, nil
	}
	if e := ctx.Err(); e != nil {
		err = callerError{e}
	}
	return 0, noAnswer(req, sent.Load(), err)
}

// noAnswer is the error of a request that got no whole answer.
func noAnswer(req call, sent bool, cause error) *Error {
	e := &Error{Code: model.ErrorUnavailable, Cause: cause}
	if req.method != http.MethodGet && sent {
		e.Code = model.ErrorUnknown
	}
	if inURL, ok := errors.AsType[*url.Error](cause); ok { // it repeats method and URL, and the URL is long
		cause = inURL.Err
	}
	e.Detail = fmt.Sprintf("%s %s: no answer: %s", req.method, "/"+strings.Join(req.path, "/"), cause)
	return e
}

// request makes the HTTP request.
func (c *Client) request(ctx context.Context, req call, body []byte) (*http.Request, error) {
	u := *c.base
	escaped := make([]string, len(req.path))
	for i, part := range req.path {
		escaped[i] = url.PathEscape(part)
	}
	u.Path = c.base.Path + "/" + strings.Join(req.path, "/")
	u.RawPath = c.base.EscapedPath() + "/" + strings.Join(escaped, "/")
	query := url.Values{}
	maps.Copy(query, req.query)
	if !req.plain && c.cfg.Namespace != wire.DefaultNamespace {
		query.Set("namespace", c.cfg.Namespace)
	}
	u.RawQuery = query.Encode()
	r, err := http.NewRequestWithContext(ctx, req.method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	h := r.Header
	h.Set("User-Agent", c.cfg.UserAgent)
	h.Set("Accept", "application/json")
	for name, value := range map[string]string{
		wire.HeaderAuthor:         c.cfg.Author,
		wire.HeaderVia:            string(c.cfg.Via),
		wire.HeaderIdempotencyKey: req.key,
	} {
		if value != "" {
			h.Set(name, value)
		}
	}
	for name, value := range req.header {
		h.Set(name, value)
	}
	if body != nil {
		h.Set("Content-Type", "application/json")
	}
	if c.cfg.Token != "" {
		h.Set("Authorization", "Bearer "+c.cfg.Token)
	}
	return r, nil
}

// read decodes an answer.
func read(resp *http.Response, out any) error {
	if out == nil || resp.StatusCode == http.StatusNoContent {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return err
	}
	if text, ok := out.(*[]byte); ok {
		*text = body
		return nil
	}
	if err := json.Unmarshal(body, out); err != nil {
		return &Error{
			Status: resp.StatusCode, Detail: fmt.Sprintf("the answer is not what Drydock says: %s", err),
			RequestID: resp.Header.Get(wire.HeaderRequestID), Cause: err,
		}
	}
	return nil
}

// encode is the JSON of a request, without escapes for HTML.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return b.Bytes(), err
}

// delay returns how long to wait after so many attempts. again is false when the server asks for longer than that may be.
func (r Retry) delay(attempts int, asked time.Duration) (d time.Duration, again bool) {
	if asked > r.Max {
		return 0, false
	}
	d = r.Max
	if grown := float64(r.Base) * math.Pow(2, float64(attempts-1)); grown < float64(r.Max) {
		d = time.Duration(grown)
	}
	// Half of it is chance, so that clients that failed together do not come back together.
	d = max(asked, d/2) + mathrand.N(d/2+1)
	return d, true
}

// sleep waits, or returns the context's error when that ends first.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

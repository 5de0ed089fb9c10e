package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"drydock/blueprints"
	"drydock/blueprints/hook"
	"drydock/outbound"
	"drydock/tracing"
)

// Limits on what a service may send.
const (
	// maxBody bounds an answer.
	maxBody = 64 << 10
	// maxComplaint bounds how much of a refusal's body is shown.
	maxComplaint = 1 << 10
)

// HeaderStep is the message's step, a header of each request beside those of package outbound.
const HeaderStep = "Drydock-Step"

// firstPause is the pause before the first retry; it doubles with each.
const firstPause = 100 * time.Millisecond

// sender sends the messages of one blueprint.
type sender struct {
	url        string
	secretName string
	secret     func(name string) (string, bool)
	retries    int
	client     *http.Client
}

// Call implements [hook.Caller].
func (s *sender) Call(ctx context.Context, m *hook.Message, body []byte) ([]byte, error) {
	secret, ok := s.secret(s.secretName)
	switch {
	case !ok || secret == "":
		return nil, fmt.Errorf("the worker's environment has no %s to sign with", s.secretName)
	case len(secret) < outbound.MinSecret:
		return nil, fmt.Errorf("the secret in %s must be at least %d bytes long", s.secretName, outbound.MinSecret)
	}
	for attempt := 0; ; attempt++ {
		answer, err := s.send(ctx, m, body, []byte(secret))
		if err == nil {
			return answer, nil
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("gave up waiting for the service: %w", context.Cause(ctx))
		}
		if t, ok := errors.AsType[*temporaryError](err); !ok || attempt == s.retries {
			if ok && attempt > 0 {
				return nil, fmt.Errorf("%w (tried %d times)", t.err, attempt+1)
			}
			return nil, err
		}
		pause := firstPause << attempt
		pause += rand.N(pause / 2)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// temporaryError is an error that may be gone the next time.
type temporaryError struct{ err error }

func (e *temporaryError) Error() string { return e.err.Error() }

func (e *temporaryError) Unwrap() error { return e.err }

// send makes one request.
func (s *sender) send(ctx context.Context, m *hook.Message, body, secret []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("the URL cannot be used")
	}
	// Without it, the transport would send the request again by itself when a connection breaks.
	req.GetBody = nil
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "drydock")
	req.Header.Set(outbound.HeaderIdempotencyKey, m.IdempotencyKey)
	req.Header.Set(HeaderStep, string(m.Step))
	if trace := tracing.Carry(ctx); trace != "" {
		req.Header.Set(tracing.Header, trace)
	}
	req.Header.Set(outbound.HeaderSignature, outbound.Sign(secret, body, time.Now()))
	resp, err := s.client.Do(req)
	if err != nil {
		err, forbidden := outbound.SendError(err)
		if forbidden {
			return nil, err
		}
		return nil, &temporaryError{err}
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return nil, &temporaryError{fmt.Errorf("read the answer: %w", err)}
	}
	return s.judge(m.Step, resp, raw, string(secret))
}

// judge says what a response means.
func (s *sender) judge(step hook.Step, resp *http.Response, raw []byte, secret string) ([]byte, error) {
	status, retryAfter := resp.StatusCode, resp.Header.Get("Retry-After")
	switch {
	case status == http.StatusAccepted,
		retryAfter != "" && (status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests):
		after := parseRetryAfter(retryAfter, time.Now())
		y, _ := blueprints.AsYield(hook.ParseYield(raw, fmt.Sprintf("the service answered %d", status), secret))
		if after == 0 {
			after = y.After
		}
		return nil, hook.Yield(after, y.Reason)
	case status >= 200 && status < 300:
		if len(raw) > maxBody && hook.TakesAnswer(step) {
			return nil, fmt.Errorf("the service answered with more than %d KiB", maxBody>>10)
		}
		return raw, nil
	case status >= 300 && status < 400:
		return nil, fmt.Errorf("the service answered %d: redirects are not followed; the URL must be the service's own", status)
	}
	err := fmt.Errorf("the service answered %d%s", status, complaint(raw, secret))
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return nil, &temporaryError{err}
	}
	return nil, err
}

// complaint is the beginning of what a service said when it refused.
func complaint(raw []byte, secret string) string {
	text := blueprints.PrintableWithout(secret, string(raw))
	if len(text) > maxComplaint {
		text = strings.ToValidUTF8(text[:maxComplaint], "") + "…"
	}
	if text == "" {
		return ""
	}
	return ": " + text
}

// parseRetryAfter reads the header's two forms: seconds, or a date; 0 when it is neither.
func parseRetryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

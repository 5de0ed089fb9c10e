package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

	"drydock/api/wire"
	"drydock/model"
	"drydock/tracing"
)

// use installs what every request passes, outermost first.
func (s *Server) use() {
	s.echo.Use(
		rememberClient,
		checkRequestID,
		middleware.RequestIDWithConfig(middleware.RequestIDConfig{Generator: model.NewID, TargetHeader: wire.HeaderRequestID}),
		s.trace,
		middleware.RequestLoggerWithConfig(middleware.RequestLoggerConfig{
			HandleError:     true, // the status that is logged is the one that was sent
			LogLatency:      true,
			LogRemoteIP:     true,
			LogMethod:       true,
			LogURIPath:      true,
			LogRoutePath:    true,
			LogUserAgent:    true,
			LogStatus:       true,
			LogError:        true,
			LogResponseSize: true,
			LogValuesFunc:   s.observe,
		}),
		middleware.RecoverWithConfig(middleware.RecoverConfig{
			DisableStackAll:     true,
			DisableErrorHandler: true, // the request logger hands the error on
			LogErrorFunc: func(_ echo.Context, err error, stack []byte) error {
				return &panicError{cause: err, stack: string(stack)}
			},
		}),
		middleware.SecureWithConfig(middleware.SecureConfig{
			ContentTypeNosniff: "nosniff",
			XFrameOptions:      "SAMEORIGIN",
			ReferrerPolicy:     "same-origin",
		}),
		s.setDeadlines,
		s.cors(),
		s.sameOrigin(),
		drainTooLarge,
		middleware.BodyLimitWithConfig(middleware.BodyLimitConfig{Limit: maxBody, Skipper: ignoresBody}),
		noStore,
		compress(),
		s.timeout(),
		s.authorize,
	)
}

// isV1 reports whether a request is for the API itself.
func isV1(c echo.Context) bool { return strings.HasPrefix(c.Request().URL.Path, "/v1/") }

// clientKey is where a request's first context is kept. Those that middleware puts around it end when the handler returns, so that
// afterwards only this one tells whether the client is still there.
const clientKey = "drydock.client"

func rememberClient(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		c.Set(clientKey, c.Request().Context())
		return next(c)
	}
}

// clientGone reports whether nobody waits for the answer any more.
func clientGone(c echo.Context) bool {
	ctx, ok := c.Get(clientKey).(context.Context)
	return ok && ctx.Err() != nil
}

// panicError is a panic in a handler. Its stack goes into the log.
type panicError struct {
	cause error
	stack string
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.cause) }

// maxRequestID bounds a caller's request id: room for a UUID or a trace id, not for a story.
const maxRequestID = 64

// checkRequestID drops a caller's request id that is not short and plain, so that a new one is made.
func checkRequestID(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		h := c.Request().Header
		if ids := h.Values(wire.HeaderRequestID); len(ids) > 1 || (len(ids) == 1 && !plainID(ids[0])) {
			h.Del(wire.HeaderRequestID)
		}
		return next(c)
	}
}

func plainID(s string) bool {
	if s == "" || len(s) > maxRequestID {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z':
		case c == '-', c == '_', c == '.', c == ':', c == '/', c == '+', c == '=':
		default:
			return false
		}
	}
	return true
}

func requestID(c echo.Context) string { return c.Response().Header().Get(wire.HeaderRequestID) }

// observe writes the access log and counts the request. Bodies and query strings are never logged, nor is what is wrong with them,
// which may quote them: the caller has been told.
func (s *Server) observe(c echo.Context, v middleware.RequestLoggerValues) error {
	s.metrics.observe(routeName(v.RoutePath), v.Method, v.Status, v.Latency, waits(c) || streams(c))
	level := slog.LevelInfo
	switch {
	case v.Status == http.StatusInternalServerError:
		level = slog.LevelError
	case v.Status > http.StatusInternalServerError:
		level = slog.LevelWarn
	case v.RoutePath == "/healthz" || v.RoutePath == "/readyz" || v.RoutePath == "/metrics":
		level = slog.LevelDebug
	}
	attrs := []slog.Attr{
		slog.String("request_id", requestID(c)),
		slog.String("method", clip(v.Method)),
		slog.String("path", clip(v.URIPath)),
		slog.String("route", routeName(v.RoutePath)),
		slog.Int("status", v.Status),
		slog.Duration("latency", v.Latency),
		slog.Int64("bytes", v.ResponseSize),
		slog.String("address", v.RemoteIP),
		slog.String("user", userOf(c)),
		slog.String("user_agent", plainText(v.UserAgent, maxUserAgent)),
	}
	if object, ok := c.Get(objectKey).(model.Ref); ok {
		attrs = append(attrs, slog.String("object", object.String()))
	}
	if id := tracing.ID(c.Request().Context()); id != "" {
		attrs = append(attrs, slog.String("trace_id", id))
	}
	switch kind, _, field := explain(v.Error); {
	case v.Error == nil:
	case v.Status >= http.StatusInternalServerError || v.Status == statusClientGone:
		attrs = append(attrs, slog.String("error", v.Error.Error()))
	default:
		attrs = append(attrs, slog.String("code", string(kind)), slog.String("field", field))
	}
	if p, ok := errors.AsType[*panicError](v.Error); ok {
		attrs = append(attrs, slog.String("stack", p.stack))
	}
	s.cfg.Log.LogAttrs(context.WithoutCancel(c.Request().Context()), level, "request", attrs...)
	return nil
}

// userOf names who sent a request, for a log line; "" when nobody was asked or nobody is known.
func userOf(c echo.Context) string {
	who := identity(c)
	if who == nil {
		return ""
	}
	return clip(who.Name + " (" + string(who.Kind) + " " + who.ID + ")")
}

// cors lets pages of other sites call the API, if some are named. They show a token as programs do: what a browser sends by itself,
// such as a password that it remembers, is not let in from there.
func (s *Server) cors() echo.MiddlewareFunc {
	return middleware.CORSWithConfig(middleware.CORSConfig{
		Skipper: func(c echo.Context) bool { return len(s.cfg.CORSOrigins) == 0 || !isV1(c) },
		// As they are written: Echo would take some characters for patterns.
		AllowOriginFunc: func(origin string) (bool, error) { return slices.Contains(s.cfg.CORSOrigins, origin), nil },
		AllowMethods:    []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete},
		AllowHeaders: []string{
			echo.HeaderAuthorization, echo.HeaderContentType, wire.HeaderIdempotencyKey, wire.HeaderAuthor, wire.HeaderVia, wire.HeaderRequestID,
			wire.HeaderIfMatch, wire.HeaderIfNoneMatch, headerLastEventID,
		},
		ExposeHeaders: []string{
			echo.HeaderLocation, echo.HeaderRetryAfter, wire.HeaderETag, wire.HeaderIdempotencyReplayed, wire.HeaderRequestID, headerRateLimit, headerRateLimitPolicy,
		},
		MaxAge: int((10 * time.Minute).Seconds()),
	})
}

// minCompressed is the smallest answer that is compressed. Less would fit into one packet anyway.
const minCompressed = 1400

// compress compresses what is long and is sent at once: not event streams, whose events must not wait for more, and neither metrics,
// which see to it themselves, nor the dashboard.
func compress() echo.MiddlewareFunc {
	return middleware.GzipWithConfig(middleware.GzipConfig{
		Skipper: func(c echo.Context) bool {
			return !isV1(c) && c.Path() != "/openapi.json" || strings.HasSuffix(c.Path(), "/events")
		},
		MinLength: minCompressed,
	})
}

// clip shortens what a caller sent, for a log line.
func clip(text string) string { return plainText(text, 256) }

// noStore keeps caches away from answers that change by the second.
func noStore(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if isV1(c) {
			c.Response().Header().Set(echo.HeaderCacheControl, "no-store")
		}
		return next(c)
	}
}

// timeout bounds the work for a request to the API. Waiting reads and event streams bound themselves.
func (s *Server) timeout() echo.MiddlewareFunc {
	return middleware.ContextTimeoutWithConfig(middleware.ContextTimeoutConfig{
		Skipper: func(c echo.Context) bool { return !isV1(c) || waits(c) || streams(c) },
		Timeout: s.cfg.RequestTimeout,
		ErrorHandler: func(err error, c echo.Context) error {
			if errors.Is(err, context.DeadlineExceeded) {
				return tookTooLong(c.Request().Method, err)
			}
			return err
		},
	})
}

// tookTooLong is the error of a request that ran out of time. Unless it was a read, nobody can say whether it was written.
func tookTooLong(method string, cause error) error {
	if e, ok := errors.AsType[*model.Error](cause); ok && e.Kind != model.ErrorInternal {
		return cause // the store knows better what is known
	}
	if method == http.MethodGet {
		return &model.Error{Kind: model.ErrorUnavailable, Message: "the data store answered too slowly", Cause: cause}
	}
	return &model.Error{
		Kind:    model.ErrorUnknown,
		Message: "the data store answered too slowly; send the request again, a POST with the same Idempotency-Key",
		Cause:   cause,
	}
}

// sameOrigin refuses what a browser sends on behalf of another site's page. Since bodies with the content type of a form are
// read as JSON, any page could otherwise send commands to a Drydock that its visitor can reach. Programs are not affected.
func (s *Server) sameOrigin() echo.MiddlewareFunc {
	protection := http.NewCrossOriginProtection()
	for _, origin := range s.cfg.CORSOrigins {
		if err := protection.AddTrustedOrigin(origin); err != nil {
			panic("api.New: " + err.Error())
		}
	}
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			if err := protection.Check(c.Request()); err != nil {
				return &model.Error{
					Kind:    model.ErrorForbidden,
					Message: "a browser may send this only from a page of this server",
					Cause:   err,
				}
			}
			return next(c)
		}
	}
}

// setDeadlines bounds how slowly a body may come in and an answer may be taken. [Server.readBody] lifts the first when the body
// is complete, a waiting read moves the second.
func (s *Server) setDeadlines(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		rc := http.NewResponseController(c.Response())
		now := time.Now()
		// Errors: a writer without deadlines is one of a test.
		if c.Request().ContentLength != 0 {
			_ = rc.SetReadDeadline(now.Add(s.cfg.RequestTimeout))
		}
		_ = rc.SetWriteDeadline(now.Add(s.writeTimeout()))
		return next(c)
	}
}

// writeTimeout leaves time for the work, then for a slow reader of a large page.
func (s *Server) writeTimeout() time.Duration { return s.cfg.RequestTimeout + 45*time.Second }

// ignoresBody reports whether a request is for something that takes no body. One that comes all the same is not read, however large.
func ignoresBody(c echo.Context) bool {
	switch c.Request().Method {
	case http.MethodGet, http.MethodHead, http.MethodDelete:
		return true
	}
	return c.Path() == "/v1"+retryPath
}

// drainTooLarge reads on for a while when a body was too large, before the answer is written. A client that writes its whole
// body before it looks at the answer would otherwise see a broken connection instead of the 413.
func drainTooLarge(next echo.HandlerFunc) echo.HandlerFunc {
	const most, longest = 64 << 20, 5 * time.Second
	return func(c echo.Context) error {
		req := c.Request()
		body := req.Body // without the limit, which is set further in
		err := next(c)
		if e, ok := errors.AsType[*echo.HTTPError](err); !ok || e.Code != http.StatusRequestEntityTooLarge {
			return err
		}
		c.Response().Header().Set(echo.HeaderConnection, "close")
		if req.Header.Get("Expect") == "" { // else the client waits for a word before it sends
			_ = http.NewResponseController(c.Response()).SetReadDeadline(time.Now().Add(longest))
			_, _ = io.CopyN(io.Discard, body, most)
		}
		return err
	}
}

package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/labstack/echo/v4"

	"drydock/api/wire"
	"drydock/model"
)

// The error kinds that only HTTP knows, beside those of package model.
const (
	errorMethod    model.ErrorKind = "method_not_allowed"
	errorTooLarge  model.ErrorKind = "too_large"
	errorMediaType model.ErrorKind = "unsupported_media_type"
	errorTimeout   model.ErrorKind = "timeout"

	errorRateLimited model.ErrorKind = "rate_limited"
)

// problemClass is how HTTP says an error of one kind.
type problemClass struct {
	status int
	title  string
	// again says that the same request may succeed soon: the answer carries Retry-After.
	again bool
}

// problems is the one table from error kinds to statuses.
var problems = map[model.ErrorKind]problemClass{
	model.ErrorMalformed:       {http.StatusBadRequest, "The request cannot be read", false},
	model.ErrorUnauthenticated: {http.StatusUnauthorized, "Nobody knows who you are", false},
	model.ErrorForbidden:       {http.StatusForbidden, "The request is not allowed", false},
	model.ErrorNotFound:        {http.StatusNotFound, "There is no such thing", false},
	errorMethod:                {http.StatusMethodNotAllowed, "The path does not take this method", false},
	errorTimeout:               {http.StatusRequestTimeout, "The request came too slowly", false},
	model.ErrorConflict:        {http.StatusConflict, "The state does not allow it", false},
	errorTooLarge:              {http.StatusRequestEntityTooLarge, "The request is too large", false},
	errorMediaType:             {http.StatusUnsupportedMediaType, "The content type is not supported", false},
	errorRateLimited:           {http.StatusTooManyRequests, "There are too many requests", false}, // the limit says when to come again
	model.ErrorInvalid:         {http.StatusUnprocessableEntity, "A field breaks a rule", false},
	model.ErrorUnsatisfied:     {http.StatusUnprocessableEntity, "No blueprint can ever satisfy this", false},
	model.ErrorMismatch:        {http.StatusUnprocessableEntity, "The Idempotency-Key was used for another request", false},
	model.ErrorInternal:        {http.StatusInternalServerError, "Something is wrong inside Drydock", false},
	model.ErrorUnavailable:     {http.StatusServiceUnavailable, "Not available right now", true},
	model.ErrorUnknown:         {http.StatusServiceUnavailable, "The outcome is unknown", true},
	model.ErrorPrecondition:    {http.StatusPreconditionFailed, "The condition does not hold", false},
}

// retryAfter is the Retry-After of problems that may pass, in seconds. A Redis restart takes about that long.
const retryAfter = "1"

// statusClientGone is what the access log says when nobody waits for the answer any more; no client ever sees it.
const statusClientGone = 499

// fail is the Echo error handler: it writes every error as a problem. The access log has its text.
func (s *Server) fail(err error, c echo.Context) {
	if c.Response().Committed {
		return
	}
	if errors.Is(err, context.Canceled) && clientGone(c) {
		c.Response().WriteHeader(statusClientGone)
		return
	}
	kind, detail, field := explain(err)
	class := problems[kind]
	if class.again {
		c.Response().Header().Set(echo.HeaderRetryAfter, retryAfter)
	}
	body, err := encode(wire.Problem{
		Type:      "urn:drydock:problem:" + string(kind),
		Title:     class.title,
		Status:    class.status,
		Detail:    detail,
		Code:      string(kind),
		Field:     wire.Text(field),
		RequestID: requestID(c),
	})
	if err == nil {
		err = c.Blob(class.status, wire.ProblemContentType, body)
	}
	if err != nil {
		s.cfg.Log.Warn("could not write a problem", slog.String("request_id", requestID(c)), slog.Any("error", err))
	}
}

// explain returns what a caller may know of an error.
func explain(err error) (kind model.ErrorKind, detail, field string) {
	const internal = "This is a bug, or a broken installation. The server's log tells more under this request id."
	if errors.Is(err, model.ErrSchemaVersion) {
		const newer = "A newer Drydock has written a stored object that this is about, in a form that this one does not know. Ask one of that version."
		return model.ErrorInternal, newer, ""
	}
	if e, ok := errors.AsType[*model.Error](err); ok {
		if _, known := problems[e.Kind]; !known || e.Kind == model.ErrorInternal {
			return model.ErrorInternal, internal, ""
		}
		// Not e.Error(): the cause is for the log only.
		detail = e.Message
		if e.Field != "" {
			detail = e.Field + ": " + detail
		}
		return e.Kind, detail, e.Field
	}
	if e, ok := errors.AsType[*echo.HTTPError](err); ok {
		switch e.Code {
		case http.StatusNotFound:
			return model.ErrorNotFound, "There is nothing at this path; /openapi.json lists what there is.", ""
		case http.StatusMethodNotAllowed:
			return errorMethod, "The Allow header lists the methods that this path takes.", ""
		case http.StatusRequestEntityTooLarge:
			return errorTooLarge, "The body must not be larger than " + maxBody + ".", ""
		}
	}
	return model.ErrorInternal, internal, ""
}

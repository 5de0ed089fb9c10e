package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"time"

	"drydock/api/wire"
	"drydock/model"
)

// Error is a request that failed: the server refused it, or could not be reached.
type Error struct {
	// Status is the HTTP status; 0 when there was no answer.
	Status int
	// Code is the server's word for it. Without an answer it is [model.ErrorUnavailable], or [model.ErrorUnknown] for a write that
	// may have been done. It is empty when something other than Drydock answered.
	Code model.ErrorKind
	// Detail is a sentence for a person.
	Detail string
	// Field names the part of the request that broke a rule; empty if none did.
	Field string
	// RequestID names the request in the server's log; empty if the server did not say.
	RequestID string
	// RetryAfter is how long the server asks to wait; 0 if it does not.
	RetryAfter time.Duration
	// Cause is the error underneath; nil if there was an answer.
	Cause error
}

// What an [Error] may be, for errors.Is.
var (
	// ErrNotFound says that there is no such object.
	ErrNotFound = errors.New("not found")
	// ErrConflict says that the state of the object does not allow it.
	ErrConflict = errors.New("conflict")
	// ErrPrecondition says that the condition of a write does not hold: somebody else was there first, and nothing was written.
	ErrPrecondition = errors.New("precondition failed")
	// ErrInvalid says that the request breaks a rule or cannot be read.
	ErrInvalid = errors.New("invalid")
	// ErrUnsatisfiable says that no blueprint can ever serve the lease.
	ErrUnsatisfiable = errors.New("unsatisfiable")
	// ErrUnauthorized says that the server wants to know who asks: the token is missing or wrong.
	ErrUnauthorized = errors.New("unauthorized")
	// ErrForbidden says that the caller may not do this.
	ErrForbidden = errors.New("forbidden")
	// ErrUnavailable says that the server, or what it needs, cannot be reached. A failed write may be [ErrOutcomeUnknown] as well.
	ErrUnavailable = errors.New("unavailable")
	// ErrOutcomeUnknown says that a write may have been done or not.
	ErrOutcomeUnknown = errors.New("outcome unknown")
)

// Error returns the detail. Where the server is at fault it names the request, for those who look into the server's log.
func (e *Error) Error() string {
	if e.Status >= http.StatusInternalServerError && e.RequestID != "" {
		return fmt.Sprintf("%s (request %s)", e.Detail, e.RequestID)
	}
	return e.Detail
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Is reports whether the error is one of the package's sentinels.
func (e *Error) Is(target error) bool {
	switch target {
	case ErrNotFound:
		return e.Code == model.ErrorNotFound
	case ErrConflict:
		return e.Code == model.ErrorConflict
	case ErrPrecondition:
		return e.Code == model.ErrorPrecondition
	case ErrInvalid:
		return e.Code == model.ErrorInvalid || e.Code == model.ErrorMalformed
	case ErrUnsatisfiable:
		return e.Code == model.ErrorUnsatisfied
	case ErrUnauthorized:
		return e.Status == http.StatusUnauthorized
	case ErrForbidden:
		return e.Status == http.StatusForbidden
	case ErrUnavailable:
		return e.unavailable()
	case ErrOutcomeUnknown:
		return e.Code == model.ErrorUnknown
	}
	return false
}

// IsNotFound reports whether there is no such object.
func IsNotFound(err error) bool { return errors.Is(err, ErrNotFound) }

// IsConflict reports whether the state of the object does not allow it.
func IsConflict(err error) bool { return errors.Is(err, ErrConflict) }

// IsPrecondition reports whether the condition of a write did not hold.
func IsPrecondition(err error) bool { return errors.Is(err, ErrPrecondition) }

// IsUnavailable reports whether the server, or what it needs, cannot be reached.
func IsUnavailable(err error) bool { return errors.Is(err, ErrUnavailable) }

// unavailable reports whether the same request may succeed later.
func (e *Error) unavailable() bool {
	switch e.Status {
	case 0:
		_, callers := errors.AsType[callerError](e.Cause)
		return !callers
	case http.StatusRequestTimeout, http.StatusTooManyRequests,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// callerError is the end of the caller's own context, which is no outage. It tells his deadline from that of an attempt.
type callerError struct{ error }

func (e callerError) Unwrap() error { return e.error }

// maxAnswer bounds what is read of an answer.
const maxAnswer = 64 << 20

// answerError makes an Error of an answer that is not a success.
func answerError(resp *http.Response) *Error {
	e := &Error{
		Status:     resp.StatusCode,
		Detail:     "the server answered " + resp.Status,
		RequestID:  resp.Header.Get(wire.HeaderRequestID),
		RetryAfter: retryAfter(resp.Header.Get("Retry-After")),
	}
	mediaType, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	var p wire.Problem
	if err != nil || mediaType != wire.ProblemContentType || json.Unmarshal(body, &p) != nil {
		return e
	}
	e.Code, e.Field = model.ErrorKind(p.Code), string(p.Field)
	if text := p.Error(); text != "" {
		e.Detail = text
	}
	if p.RequestID != "" {
		e.RequestID = p.RequestID
	}
	return e
}

// retryAfter reads a Retry-After in either of its forms; 0 if there is none.
func retryAfter(value string) time.Duration {
	if seconds, err := strconv.ParseInt(value, 10, 32); err == nil {
		return max(0, time.Duration(seconds)*time.Second)
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}

package model

import (
	"errors"
	"fmt"
)

// ErrorKind is the small set of ways in which a request can fail. Package api maps each to one HTTP status.
type ErrorKind string

// The error kinds.
const (
	ErrorInvalid     ErrorKind = "invalid"         // a field breaks a rule; nothing was written
	ErrorMalformed   ErrorKind = "malformed"       // not even parseable; nothing was written
	ErrorUnsatisfied ErrorKind = "unsatisfiable"   // well formed, but no blueprint can ever satisfy it
	ErrorMismatch    ErrorKind = "key_reused"      // an Idempotency-Key came back with another request
	ErrorNotFound    ErrorKind = "not_found"       // no such object
	ErrorConflict    ErrorKind = "conflict"        // the object's state does not allow it
	ErrorForbidden   ErrorKind = "forbidden"       // the caller may not do this
	ErrorUnavailable ErrorKind = "unavailable"     // a dependency is down; nothing is known to be written
	ErrorUnknown     ErrorKind = "outcome_unknown" // written, but not persisted to the level in use; send again with the same key
	ErrorInternal    ErrorKind = "internal"        // a bug; the text is never shown to a caller

	ErrorUnauthenticated ErrorKind = "unauthenticated" // nobody knows who the caller is
	// ErrorPrecondition says that a condition that the caller set does not hold; nothing was written.
	ErrorPrecondition ErrorKind = "precondition_failed"
)

// Error is an error that a caller can be shown, unless its kind is [ErrorInternal].
type Error struct {
	Kind    ErrorKind
	Message string
	// Field names the request field that broke the rule, as the caller wrote it ("attributes.os"); empty if none did.
	Field string
	// Cause is the error underneath, for logs; nil if there is none.
	Cause error
}

// Error returns the message, prefixed by the field when there is one.
func (e *Error) Error() string {
	msg := e.Message
	if e.Field != "" {
		msg = e.Field + ": " + msg
	}
	if e.Cause != nil {
		msg += ": " + e.Cause.Error()
	}
	return msg
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Errorf makes an error of a kind.
func Errorf(kind ErrorKind, format string, args ...any) error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

// Invalid makes an [ErrorInvalid] that names the field and the rule.
func Invalid(field, format string, args ...any) error {
	return &Error{Kind: ErrorInvalid, Field: field, Message: fmt.Sprintf(format, args...)}
}

// Unavailable makes an [ErrorUnavailable] around the error of a dependency.
func Unavailable(cause error) error {
	return &Error{Kind: ErrorUnavailable, Message: "the data store cannot be reached right now", Cause: cause}
}

// KindOf returns the kind of err; anything that is not an [Error] is [ErrorInternal].
func KindOf(err error) ErrorKind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return ErrorInternal
}

// Sentinels for control flow between store and handlers. They are matched with errors.Is.
var (
	// ErrLeaseNotFound says that no lease has this id.
	ErrLeaseNotFound = Errorf(ErrorNotFound, "no such lease")
	// ErrResourceNotFound says that no resource has this id.
	ErrResourceNotFound = Errorf(ErrorNotFound, "no such resource")
	// ErrBlueprintNotFound says that no blueprint has this name.
	ErrBlueprintNotFound = Errorf(ErrorNotFound, "no such blueprint")
	// ErrStaleWriter says that another claim has taken the pen, or that the object moved on: this run must stop
	// and has written nothing.
	ErrStaleWriter = Errorf(ErrorConflict, "another worker has become the writer of this object")
	// ErrResourceUnusable says that the resource took no lease: not active, releasing, paused or full.
	ErrResourceUnusable = Errorf(ErrorConflict, "the resource takes no lease right now")
	// ErrSlotHeld says that a slot lock belongs to somebody else.
	ErrSlotHeld = Errorf(ErrorConflict, "a slot lock is held")
	// ErrLimitReached says that the blueprint has as many resources as it may.
	ErrLimitReached = Errorf(ErrorConflict, "the blueprint has reached its limit")
	// ErrQuotaReached says that the owner has as many leases on the blueprint's resources as it may.
	ErrQuotaReached = Errorf(ErrorConflict, "the owner has reached the blueprint's quota")
	// ErrBlueprintChanged says that the blueprint was declared anew, disabled or removed since it was read, or that
	// what it says about the owner has changed.
	ErrBlueprintChanged = Errorf(ErrorConflict, "the blueprint has changed")
	// ErrSchemaVersion says that the stored object was written by a newer Drydock.
	ErrSchemaVersion = Errorf(ErrorInternal, "the stored object has a schema version that this binary does not know")
)

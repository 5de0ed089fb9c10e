package model

// Idempotency makes a repeated request harmless: the same key and fingerprint get the first answer again, the same key
// with another fingerprint is [ErrorMismatch]. The zero value asks for nothing.
type Idempotency struct {
	// Key is what the caller sent, unique within a namespace for [IdempotencyWindow].
	Key string
	// Fingerprint stands for the whole request: method, path and body.
	Fingerprint string
}

// Answer is the first answer to a request of several writes with an idempotency key, to be given again word for word.
type Answer struct {
	Status int    `json:"status"`
	Body   []byte `json:"body"`
}

// Created is what came of asking for a lease.
type Created struct {
	// Lease is the new lease; in a repeated request as it was for the first.
	Lease *Lease
	// Repeat says that the request had been stored before and nothing was changed.
	Repeat bool
	// Wake names the objects for which the caller should enqueue a task now.
	Wake []Ref
}

// Sent is what came of sending a command.
type Sent struct {
	// Command is the stored command; nil when a release found its object already released or destroyed.
	Command *Command
	// Lease or Resource is the target as it stands after the send, in a repeated request after the first; the other is nil.
	Lease    *Lease
	Resource *Resource
	// Repeat says that the command had been stored before and nothing was changed.
	Repeat bool
	// Wake names the objects for which the caller should enqueue a task now.
	Wake []Ref
}

// SendResult is what came of one of several commands. It does not show the target.
type SendResult struct {
	Sent

	// Err is why the command was not sent; nil if it was, or if there was nothing to do.
	Err error
}

// Slot is a stored claim on a named key.
type Slot struct {
	Key string
	// Owner is the object that holds it.
	Owner Ref
}

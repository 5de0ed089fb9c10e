package wire

// The headers of requests and responses that are Drydock's own or that it gives a meaning.
const (
	// HeaderIdempotencyKey makes repeating a POST harmless.
	HeaderIdempotencyKey = "Idempotency-Key"
	// HeaderIdempotencyReplayed is "true" on an answer that was given before.
	HeaderIdempotencyReplayed = "Idempotency-Replayed"
	// HeaderAuthor says who sends a command to a server that asks for no token. It is a label: nothing proves it. With a token it must be
	// the token's name, or left out.
	HeaderAuthor = "Drydock-Author"
	// HeaderVia is "cli" or "console" when a command comes through one of them.
	HeaderVia = "Drydock-Via"
	// HeaderETag tells one state of a thing from another: the rev, in quotes, of data and blueprints. HeaderIfNoneMatch makes a read of what
	// has not changed short (304); HeaderIfMatch and HeaderIfNoneMatch make a write of data or of a blueprint depend on the rev.
	HeaderETag        = "ETag"
	HeaderIfMatch     = "If-Match"
	HeaderIfNoneMatch = "If-None-Match"
	// HeaderRequestID names the request in answers, logs and the origin of commands.
	HeaderRequestID = "X-Request-Id"
)

// DefaultNamespace is the namespace of a request that names none.
const DefaultNamespace = "default"

// Package deliver sends the events of a namespace to the services that subscribed to them: signed requests, in order, each at least
// once.
//
// Every worker process runs a [Runner]. Of all of them, one at a time serves a subscription: it holds the subscription's lock and has
// claimed it, and the steps of whoever claimed it before are refused by the store. So a lock that lies can make an event arrive twice,
// never be left out.
//
// The place of a subscription moves behind an event only when the service has accepted it, or when it was tried in vain as often as the
// subscription says and became a dead letter. A worker that dies in between leaves the place where it was, and the next one sends the
// event again; the receiver knows it by its Idempotency-Key. Events that are no longer kept when their turn comes are told as a gap.
package deliver

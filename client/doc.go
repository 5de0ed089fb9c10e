// Package client is the Go client of Drydock's API.
//
// [Client.Acquire] is what most programs want: it queues a lease, waits until it is active, keeps it for as long as it is held and
// gives it back:
//
//	held, err := c.Acquire(ctx, wire.NewLease{Type: "host"}, client.AcquireOptions{})
//	if err != nil {
//		return err
//	}
//	defer held.Close()
//	return work(held.Context(), held.Lease())
//
// [Client.Events] follows what happens, over lost connections and restarts of the server.
//
// The other methods are the routes of the API, one each, and return its own objects from package wire. Errors that the server
// answers, and failures to reach it, are [*Error]; match them with errors.Is and the sentinels beside it.
//
// Requests are sent again only where that is safe: reads, and POSTs, each of which carries an Idempotency-Key, so that a command
// whose reply was lost is not sent twice. PUT and DELETE are sent again only when they cannot have left.
package client

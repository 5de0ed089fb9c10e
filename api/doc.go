// Package api is Drydock's HTTP API: Echo routes over a [Store]. It never writes the state of a saved object. It creates leases,
// stores commands and declares blueprints, and then wakes a worker; everything else is reading.
//
// A request passes, in this order: request id, access log, metrics, recovery, headers, cross-origin checks, body limit, compression,
// under /v1 a timeout (waiting reads have their own), the question who sends it and whether he may (access.go has the table), the rate
// limit, and then its handler, which reads the query and the body strictly, asks the store, and
// answers with a type of package wire. Handlers return errors and never write them: [Server.fail] turns every error, also Echo's
// own, into an application/problem+json by the one table in problem.go.
package api

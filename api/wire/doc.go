// Package wire holds what travels over HTTP: the request and response types of the API with their JSON names, and their
// conversions from and to package model. The server, the Go client and the command line share it, so it knows neither Echo nor
// Redis.
//
// A field without a value is null, never missing, so that a reader need not tell the two apart. [Text], [Number] and [Time] are
// plain values in Go whose zero value is null in JSON.
package wire

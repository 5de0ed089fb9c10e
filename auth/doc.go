// Package auth finds out who sends a request, and holds what each may do in which namespace.
//
// A request shows a credential in its Authorization header ([ParseHeader]). Two kinds are known, each an [Authenticator]: tokens of
// ours, of which a [TokenFile] holds the hashes, and JWTs of an OpenID Connect [Issuer]. Either leads to an [Identity], which has a
// [Role] in some namespaces. A namespace in which it has none does not exist for it.
//
// Which role a route asks for is not said here but beside the routes, in package api.
package auth

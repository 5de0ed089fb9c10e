// Package console is the web console: pages for people, served at / and below /console/.
//
// It stands in front of the API's handler and holds no state. Its pages read and its buttons send through the Go client, which calls
// the API's handler in the same process: authorization, validation and the origin of commands are the API's own, and a command sent here
// comes via "console" from the address of the browser.
//
// A session is the cookie that the login form sets, or the way back from an OpenID Connect issuer ([Redirect]): it holds the caller's token
// or JWT, is kept from scripts (HttpOnly) and from other sites (SameSite=Strict), and is worth exactly what the token is worth at that
// moment. Any API process accepts it. For the event stream and Asynqmon it takes the place of the Authorization header; the API itself knows
// no cookies. Where the API asks nobody who they are, there is no login.
package console

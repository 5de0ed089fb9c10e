package api

import (
	"net/http"
	"net/url"

	"github.com/labstack/echo/v4"

	"drydock/auth"
	"drydock/model"
)

// need is what a route asks of its caller. The zero value asks for nothing.
type need struct {
	// role is the least role that may call the route, in the namespace of the request.
	role auth.Role
	// everywhere asks for the role in all namespaces: the route shows or changes more than one.
	everywhere bool
	// own lets holders in too, if the lease that the path names is theirs.
	own bool
}

// What routes ask for.
var (
	open          = need{}
	viewing       = need{role: auth.RoleViewer}
	viewingAll    = need{role: auth.RoleViewer, everywhere: true}
	leasing       = need{role: auth.RoleHolder}
	editing       = need{role: auth.RoleOperator, own: true}
	operating     = need{role: auth.RoleOperator}
	operatingAll  = need{role: auth.RoleOperator, everywhere: true}
	administering = need{role: auth.RoleAdmin}
	// forgotten is for routes without an entry.
	forgotten = need{role: auth.RoleAdmin, everywhere: true}
)

// access is the one table of who may call what. Every route has an entry; a test fails when one has none. Whoever may not edit an
// object may not release it either, whatever its state: release asks for the same as every other command.
//
// The dashboard is not in it, see [Server.needOf].
var access = map[string]need{
	"GET /healthz":      open,
	"GET /readyz":       open,
	"GET /openapi.json": open,       // says nothing about this installation
	"GET /metrics":      viewingAll, // or open, see [Config.OpenMetrics]

	"GET /v1/leases":               viewing,
	"POST /v1/leases":              leasing, // for others: operators, see [owner]
	`POST /v1/leases\:release`:     leasing, // of others: operators, see [Server.notTheirs]
	"GET /v1/leases/:id":           viewing,
	"POST /v1/leases/:id/release":  editing,
	"POST /v1/leases/:id/commands": editing,
	"GET /v1/leases/:id/commands":  viewing,
	"GET /v1/leases/:id/logs":      viewing,
	"GET /v1/leases/:id/slots":     viewing,
	"GET /v1/leases/:id/data":      viewing,
	"PUT /v1/leases/:id/data":      editing,

	"GET /v1/resources":               viewing,
	"GET /v1/resources/:id":           viewing,
	"POST /v1/resources/:id/release":  operating,
	"POST /v1/resources/:id/commands": operating,
	"GET /v1/resources/:id/commands":  viewing,
	"GET /v1/resources/:id/logs":      viewing,
	"GET /v1/resources/:id/slots":     viewing,
	"GET /v1/resources/:id/data":      viewing,
	"PUT /v1/resources/:id/data":      operating,

	"GET /v1/blueprints":          viewing,
	"PUT /v1/blueprints/:name":    administering,
	"GET /v1/blueprints/:name":    viewing,
	"DELETE /v1/blueprints/:name": administering,

	"GET /v1/authorizations":                   viewing,
	"POST /v1/blueprints/:name/authorizations": operating,

	"GET /v1/events": viewing,

	"GET /v1/subscriptions":                           viewing,
	"PUT /v1/subscriptions/:name":                     administering,
	"GET /v1/subscriptions/:name":                     viewing,
	"DELETE /v1/subscriptions/:name":                  administering,
	"GET /v1/subscriptions/:name/dead-letters":        viewing,
	"POST /v1/subscriptions/:name/dead-letters/retry": operating,
}

// needOf returns what a registered route asks for. A route that has no entry is for those who may do everything.
func (s *Server) needOf(method, path string) need {
	switch {
	case s.isDashboard(path) && (method == http.MethodGet || method == http.MethodHead):
		return viewingAll // it shows tasks of every namespace
	case s.isDashboard(path):
		return operatingAll
	case path == "/metrics" && s.cfg.OpenMetrics:
		return open
	}
	if n, ok := access[method+" "+path]; ok {
		return n
	}
	return forgotten
}

// isDashboard reports whether a route is Asynqmon's.
func (s *Server) isDashboard(path string) bool {
	return s.cfg.Asynqmon != nil && (path == s.cfg.AsynqmonRoot || path == s.cfg.AsynqmonRoot+"/*")
}

// identityKey is where a request's identity is kept.
const identityKey = "drydock.identity"

// identity returns who sent the request; nil when the server asks nobody.
func identity(c echo.Context) *auth.Identity {
	who, _ := c.Get(identityKey).(*auth.Identity)
	return who
}

// authorize lets through whom the route's entry lets through, and not too often. What is at no route is answered by Echo: there is
// nothing to protect.
func (s *Server) authorize(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		n, known := s.needs[c.Request().Method+" "+c.Path()]
		if !known || n == open {
			return next(c)
		}
		if s.cfg.Auth == nil {
			if err := s.limit(c, nil); err != nil {
				return err
			}
			return next(c)
		}
		who, err := s.identify(c)
		if err != nil {
			// Who cannot say who he is counts by his address.
			if err := s.limit(c, nil); err != nil {
				return err
			}
			return err
		}
		c.Set(identityKey, who)
		if err := s.limit(c, who); err != nil {
			return err
		}
		if err := s.allow(c, n, who); err != nil {
			return err
		}
		return next(c)
	}
}

// identify finds out who sends a request. When that fails, the answer says what is wanted.
func (s *Server) identify(c echo.Context) (*auth.Identity, error) {
	challenge := `Bearer realm="drydock"`
	credential, err := auth.ParseHeader(c.Request().Header.Values(echo.HeaderAuthorization))
	switch {
	case err != nil:
	case credential == "":
		err = model.Errorf(model.ErrorUnauthenticated, "this takes a token: Authorization: Bearer TOKEN")
	default:
		var who *auth.Identity
		if who, err = s.cfg.Auth.Authenticate(c.Request().Context(), credential); err == nil {
			return who, nil
		}
		challenge += `, error="invalid_token"`
	}
	if model.KindOf(err) == model.ErrorUnauthenticated {
		c.Response().Header().Add(echo.HeaderWWWAuthenticate, challenge)
		if s.isDashboard(c.Path()) || c.Request().Header.Get("Sec-Fetch-Mode") == "navigate" {
			// For this one a browser knows how to ask: the token is the password.
			c.Response().Header().Add(echo.HeaderWWWAuthenticate, `Basic realm="drydock", charset="UTF-8"`)
		}
	}
	return nil, err
}

// allow checks an identity against what a route asks for.
func (s *Server) allow(c echo.Context, n need, who *auth.Identity) error {
	if len(who.Grants) == 0 {
		return model.Errorf(model.ErrorForbidden, "%s has no role here", model.Quote(who.Name))
	}
	if n.everywhere {
		if who.RoleEverywhere().Includes(n.role) {
			return nil
		}
		return model.Errorf(model.ErrorForbidden, "this takes the role %s in all namespaces", n.role)
	}
	values, err := queryValues(c)
	if err != nil {
		return err
	}
	namespace, err := namespaceOf(values)
	if err != nil {
		return err
	}
	switch role := who.RoleIn(namespace); {
	case role == "":
		// Not 403: that would say that the namespace exists.
		return model.Errorf(model.ErrorNotFound, "there is no namespace %s for %s", namespace, model.Quote(who.Name))
	case role.Includes(n.role):
		return nil
	case n.own && role.Includes(auth.RoleHolder):
		return s.checkOwner(c, namespace, who)
	default:
		return model.Errorf(model.ErrorForbidden, "this takes the role %s in namespace %s; %s is %s", n.role, namespace, model.Quote(who.Name), role)
	}
}

// checkOwner refuses whoever does not own the lease that the path names. The owner of a lease never changes.
func (s *Server) checkOwner(c echo.Context, namespace string, who *auth.Identity) error {
	ref, err := pathRef(c, namespace, model.KindLease)
	if err != nil {
		return err
	}
	lease, err := s.cfg.Store.Lease(c.Request().Context(), ref.Namespace, ref.ID)
	if err != nil {
		return err
	}
	if lease.Owner == who.Name {
		return nil
	}
	return notTheOwner(lease, who)
}

// notTheOwner is the error of a holder who reaches for the lease of another.
func notTheOwner(lease *model.Lease, who *auth.Identity) error {
	owner := "nobody"
	if lease.Owner != "" {
		owner = model.Quote(lease.Owner)
	}
	return model.Errorf(model.ErrorForbidden, "the lease belongs to %s; to others' leases an operator sends commands, and %s is a holder",
		owner, model.Quote(who.Name))
}

// owner returns the owner of a new lease: whom the request names, or else the caller. Who is not an operator names nobody else.
func owner(c echo.Context, namespace, asked string) (string, error) {
	who := identity(c)
	switch {
	case who == nil, asked == who.Name:
		return asked, nil
	case asked == "":
		return who.Name, nil
	case !who.RoleIn(namespace).Includes(auth.RoleOperator):
		return "", &model.Error{
			Kind: model.ErrorForbidden, Field: "owner",
			Message: "must be " + model.Quote(who.Name) + " or left out: only an operator makes leases for others",
		}
	}
	return asked, nil
}

// queryValues reads a query string.
func queryValues(c echo.Context) (url.Values, error) {
	values, err := url.ParseQuery(c.Request().URL.RawQuery)
	if err != nil {
		return nil, malformed("the query string cannot be read: %s", err)
	}
	return values, nil
}

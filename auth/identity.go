package auth

import (
	"context"
	"slices"
	"strings"

	"drydock/model"
)

// Role says what somebody may do in a namespace. Each includes those before it.
type Role string

// The roles.
const (
	RoleViewer   Role = "viewer"   // reads
	RoleHolder   Role = "holder"   // makes leases of its own and sends commands to them
	RoleOperator Role = "operator" // sends any command to any lease and resource, and makes leases for others
	RoleAdmin    Role = "admin"    // declares and removes blueprints
)

// Roles lists every role, least first.
func Roles() []Role { return []Role{RoleViewer, RoleHolder, RoleOperator, RoleAdmin} }

// Includes reports whether r allows all that other does. No role includes an unknown one, and an unknown one includes none.
func (r Role) Includes(other Role) bool {
	mine, asked := slices.Index(Roles(), r), slices.Index(Roles(), other)
	return asked >= 0 && mine >= asked
}

// AllNamespaces stands for every namespace, also those to come, in a list of namespaces.
const AllNamespaces = "*"

// Grant is a role in some namespaces.
type Grant struct {
	Role       Role
	Namespaces []string
}

// check checks a grant. Errors are [model.ErrorInvalid] and name the field.
func (g Grant) check() error {
	if !slices.Contains(Roles(), g.Role) {
		return model.Invalid("role", "must be one of %s, not %s", model.Join(Roles()), model.Quote(string(g.Role)))
	}
	if len(g.Namespaces) == 0 {
		return model.Invalid("namespaces", "must name at least one namespace, or %q for all", AllNamespaces)
	}
	for _, ns := range g.Namespaces {
		if ns == AllNamespaces {
			continue
		}
		if err := model.CheckName("namespaces", ns); err != nil {
			return err
		}
	}
	return nil
}

// Kind says by what an identity was proved.
type Kind string

// The kinds.
const (
	KindToken Kind = "token"
	KindOIDC  Kind = "oidc"
)

// Identity is somebody whose credential was found good.
type Identity struct {
	// Name is what histories show as the author of commands and leases as their owner.
	Name string
	Kind Kind
	// ID tells the credentials of one name apart, and gives nothing of them away: the beginning of a token's hash, or the subject at
	// the issuer.
	ID     string
	Grants []Grant
}

// RoleIn returns the highest role in a namespace; "" when there is none, and then the namespace does not exist for this identity.
func (i *Identity) RoleIn(namespace string) Role {
	return i.highest(func(granted string) bool { return granted == AllNamespaces || granted == namespace })
}

// RoleEverywhere returns the highest role that holds in all namespaces, "" when there is none. What shows or changes more than one
// namespace asks for it.
func (i *Identity) RoleEverywhere() Role {
	return i.highest(func(granted string) bool { return granted == AllNamespaces })
}

func (i *Identity) highest(match func(namespace string) bool) (highest Role) {
	for _, g := range i.Grants {
		if slices.ContainsFunc(g.Namespaces, match) && !highest.Includes(g.Role) {
			highest = g.Role
		}
	}
	return highest
}

// maxName bounds a name: owners and authors are no longer.
const maxName = model.MaxOwnerLength

// checkName checks the name of an identity, which is going to be an author and an owner.
func checkName(name string) error {
	switch {
	case name == "" || strings.TrimSpace(name) != name || strings.ContainsAny(name, "\n\t"):
		return model.Invalid("name", "must be one line of text without space around it")
	case name == model.SystemAuthor || name == model.AnonymousAuthor:
		return model.Invalid("name", "must not be %q, which has a meaning of its own in histories", name)
	}
	return model.CheckText("name", name, maxName)
}

// Authenticator tells whose credential it is shown. Implementations may be called concurrently.
type Authenticator interface {
	// Authenticate returns who shows the credential. A credential that is unknown, expired or forged is
	// [model.ErrorUnauthenticated], one that cannot be judged right now [model.ErrorUnavailable]. Neither error quotes it.
	Authenticate(ctx context.Context, credential string) (*Identity, error)
}

// Authenticators are the ways in; nil is one that is closed.
type Authenticators struct {
	// Tokens takes whatever begins like a token of ours, JWTs the rest.
	Tokens, JWTs Authenticator
}

// Authenticate implements [Authenticator].
func (a Authenticators) Authenticate(ctx context.Context, credential string) (*Identity, error) {
	way := a.JWTs
	if strings.HasPrefix(credential, TokenPrefix) {
		way = a.Tokens
	}
	if way == nil {
		return nil, errUnknown
	}
	return way.Authenticate(ctx, credential)
}

// The ways in which a credential is no good. What exactly is wrong with an unknown one is nobody's business.
var (
	errUnknown = model.Errorf(model.ErrorUnauthenticated, "the token is not known here")
	errExpired = model.Errorf(model.ErrorUnauthenticated, "the token has expired")
)

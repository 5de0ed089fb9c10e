package model

import (
	"fmt"
	"strings"
)

// Kind says which noun an object is.
type Kind string

// The kinds of objects that updates act on.
const (
	KindLease    Kind = "lease"
	KindResource Kind = "resource"
	// KindBlueprint takes no commands: its update keeps what it has made as it is declared.
	KindBlueprint Kind = "blueprint"
)

// Kinds lists the kinds that have a command queue.
func Kinds() []Kind { return []Kind{KindLease, KindResource} }

// Valid reports whether k is a known kind.
func (k Kind) Valid() bool { return k == KindLease || k == KindResource || k == KindBlueprint }

// Ref names one object: all that a task carries.
type Ref struct {
	Namespace string
	Kind      Kind
	// ID is the object's id; a blueprint's is its name.
	ID string
}

// LeaseRef names a lease.
func LeaseRef(namespace, id string) Ref { return Ref{Namespace: namespace, Kind: KindLease, ID: id} }

// ResourceRef names a resource.
func ResourceRef(namespace, id string) Ref {
	return Ref{Namespace: namespace, Kind: KindResource, ID: id}
}

// BlueprintRef names a blueprint.
func BlueprintRef(namespace, name string) Ref {
	return Ref{Namespace: namespace, Kind: KindBlueprint, ID: name}
}

// String returns the form logs show: "ci/lease/01abc".
func (r Ref) String() string { return fmt.Sprintf("%s/%s/%s", r.Namespace, r.Kind, r.ID) }

// Member returns the form the wake index stores, "lease:01abc": unique within a namespace.
func (r Ref) Member() string { return string(r.Kind) + ":" + r.ID }

// ParseMember is the inverse of [Ref.Member]. An unknown kind or a missing id is an [ErrorInternal], since only our own
// scripts write members.
func ParseMember(namespace, member string) (Ref, error) {
	kind, id, ok := strings.Cut(member, ":")
	if !ok || id == "" || !Kind(kind).Valid() {
		return Ref{}, Errorf(ErrorInternal, "malformed object member %q", member)
	}
	return Ref{Namespace: namespace, Kind: Kind(kind), ID: id}, nil
}

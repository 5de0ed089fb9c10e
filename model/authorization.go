package model

import (
	"bytes"
	"encoding/json"
	"slices"
	"time"
)

// Authorize says which owners may use a blueprint. The zero value admits everybody. In JSON it is null, a list of owners, or the word
// "request".
type Authorize struct {
	// Owners are those who may, when Only is set; none of them = nobody may.
	Owners []string
	Only   bool
	// Request admits those whom an operator has approved, and nobody else.
	Request bool
}

// authorizeRequest is what Authorize.Request is in JSON.
const authorizeRequest = "request"

// MaxAuthorized bounds the list of owners.
const MaxAuthorized = 1000

// Decision says what the blueprint's own rule makes of an owner: admitted, turned away, or it takes an operator's approval.
func (a Authorize) Decision(owner string) (admitted, needsApproval bool) {
	switch {
	case a.Request:
		return false, true
	case a.Only:
		return slices.Contains(a.Owners, owner), false
	}
	return true, false
}

func (a Authorize) check(field string) error {
	if len(a.Owners) > MaxAuthorized {
		return Invalid(field, "must have at most %d entries", MaxAuthorized)
	}
	for _, owner := range a.Owners {
		if err := CheckText(field, owner, MaxOwnerLength); err != nil {
			return err
		}
	}
	return nil
}

// MarshalJSON implements [json.Marshaler].
func (a Authorize) MarshalJSON() ([]byte, error) {
	switch {
	case a.Request:
		return json.Marshal(authorizeRequest)
	case a.Only:
		// Not json.Marshal, which would escape what HTML does not take.
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		err := enc.Encode(append([]string{}, a.Owners...))
		return bytes.TrimSpace(b.Bytes()), err
	}
	return []byte("null"), nil
}

// UnmarshalJSON implements [json.Unmarshaler].
func (a *Authorize) UnmarshalJSON(b []byte) error {
	*a = Authorize{}
	var word string
	switch b = bytes.TrimSpace(b); {
	case bytes.Equal(b, []byte("null")):
		return nil
	case json.Unmarshal(b, &word) == nil && word == authorizeRequest:
		a.Request = true
		return nil
	case len(b) > 0 && b[0] == '[' && json.Unmarshal(b, &a.Owners) == nil && !slices.Contains(a.Owners, ""):
		a.Only = true
		return nil
	}
	return Invalid("", `must be null (everybody), a list of owners, or "request" (whoever an operator approves)`)
}

// AuthorizationStatus says how far an owner's wish to use a blueprint has come.
type AuthorizationStatus string

// The statuses of an authorization.
const (
	AuthorizationRequested AuthorizationStatus = "requested" // the owner waits for an operator's word
	AuthorizationApproved  AuthorizationStatus = "approved"  // the owner may use the blueprint
	AuthorizationDeclined  AuthorizationStatus = "declined"  // the owner may not, or may not any more
)

// AuthorizationStatuses lists every status.
func AuthorizationStatuses() []AuthorizationStatus {
	return []AuthorizationStatus{AuthorizationRequested, AuthorizationApproved, AuthorizationDeclined}
}

// Authorization is what is on record about an owner and a blueprint that takes requests. It says who may get new leases: to
// decline one who was approved ends no lease.
type Authorization struct {
	Namespace string
	Blueprint string
	Owner     string
	Status    AuthorizationStatus
	// Author, Origin and Reason are those of the last decision; of the request while there is none.
	Author string
	Origin Origin
	Reason string
	// Leases counts the owner's leases that have a place on the blueprint's resources, or one being made for them.
	Leases int
	// RequestedAt is when the record was made, ChangedAt when its status was set.
	RequestedAt, ChangedAt time.Time
}

// CheckDecision checks an operator's word before it is stored; errors are [ErrorInvalid] and name the field.
func (a *Authorization) CheckDecision() error {
	if err := CheckText("owner", a.Owner, MaxOwnerLength); err != nil {
		return err
	}
	if a.Status != AuthorizationApproved && a.Status != AuthorizationDeclined {
		return Invalid("status", "must be %q or %q", AuthorizationApproved, AuthorizationDeclined)
	}
	return CheckText("reason", a.Reason, MaxReasonLength)
}

// AuthorizationFilter selects authorizations; zero fields select all.
type AuthorizationFilter struct {
	Blueprint string
	Owner     string
	Status    AuthorizationStatus
	Limit     int
	After     string
}

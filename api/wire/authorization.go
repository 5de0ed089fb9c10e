package wire

import (
	"encoding/json"
	"fmt"

	"drydock/model"
)

// Authorization is what is on record about an owner and a blueprint that takes requests.
type Authorization struct {
	Blueprint string `json:"blueprint"`
	Namespace string `json:"namespace"`
	// Owner is null for leases without an owner.
	Owner  Text   `json:"owner"`
	Status string `json:"status"`
	// Author, Origin and Reason are those of the last decision; of the request while there is none.
	Author Text   `json:"author"`
	Origin Origin `json:"origin"`
	Reason Text   `json:"reason"`
	// Leases counts the owner's leases on the blueprint's resources.
	Leases int `json:"leases"`
	// Detail says in words what might surprise: that the leases of a declined owner live on.
	Detail      Text `json:"detail"`
	RequestedAt Time `json:"requested_at"`
	ChangedAt   Time `json:"changed_at"`
}

// FromAuthorization converts an authorization.
func FromAuthorization(a *model.Authorization) Authorization {
	return Authorization{
		Blueprint:   a.Blueprint,
		Namespace:   a.Namespace,
		Owner:       Text(a.Owner),
		Status:      string(a.Status),
		Author:      Text(a.Author),
		Origin:      fromOrigin(a.Origin),
		Reason:      Text(a.Reason),
		Leases:      a.Leases,
		Detail:      Text(authorizationDetail(a)),
		RequestedAt: Time{a.RequestedAt},
		ChangedAt:   Time{a.ChangedAt},
	}
}

func authorizationDetail(a *model.Authorization) string {
	switch {
	case a.Status != model.AuthorizationDeclined || a.Leases == 0:
		return ""
	case a.Leases == 1:
		return "1 lease of this owner lives on; declining ends none"
	}
	return fmt.Sprintf("%d leases of this owner live on; declining ends none", a.Leases)
}

// NewAuthorization is an operator's word on an owner: the body of POST /v1/blueprints/{name}/authorizations.
type NewAuthorization struct {
	Owner  Owner  `json:"owner"`
	Status string `json:"status"`
	Reason string `json:"reason,omitempty"`
}

// Owner names an owner where one has to be named. In JSON leases without an owner are null. The empty text is an error: it is a
// script whose variable is not set.
type Owner struct {
	Name string
	// Given is false when the request does not say whom it means.
	Given bool
}

// MarshalJSON writes null for no owner.
func (o Owner) MarshalJSON() ([]byte, error) { return Text(o.Name).MarshalJSON() }

// UnmarshalJSON reads a text that is not empty, or null.
func (o *Owner) UnmarshalJSON(b []byte) error {
	*o = Owner{Given: true}
	if isNull(b) {
		return nil
	}
	if err := json.Unmarshal(b, &o.Name); err != nil {
		return model.Invalid("", "must be a string, or null for leases without an owner")
	}
	if o.Name == "" {
		return model.Invalid("", "must not be empty; leases without an owner are null")
	}
	return nil
}

// Model converts and checks the word; errors are [model.ErrorInvalid] and name the field. Author and origin are left to the caller.
func (n NewAuthorization) Model(namespace, blueprint string) (model.Authorization, error) {
	a := model.Authorization{
		Namespace: namespace, Blueprint: blueprint, Owner: n.Owner.Name, Status: model.AuthorizationStatus(n.Status), Reason: n.Reason,
	}
	if !n.Owner.Given {
		return a, model.Invalid("owner", "is required; leases without an owner are null")
	}
	return a, a.CheckDecision()
}

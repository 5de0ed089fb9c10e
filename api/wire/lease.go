package wire

import (
	"encoding/json"
	"time"

	"drydock/model"
)

// Lease is a lease as the API shows it.
type Lease struct {
	ID          string          `json:"id"`
	Namespace   string          `json:"namespace"`
	Type        string          `json:"type"`
	Status      string          `json:"status"`
	Releasing   bool            `json:"releasing"`
	Resource    Text            `json:"resource"`
	Blueprint   Text            `json:"blueprint"`
	Owner       Text            `json:"owner"`
	Attributes  Attributes      `json:"attributes"`
	Blueprints  []string        `json:"blueprints"`
	ForResource Text            `json:"for_resource"`
	Priority    int             `json:"priority"`
	Until       Time            `json:"until"`
	Fence       int64           `json:"fence"`
	Waiting     *Waiting        `json:"waiting"`
	Data        json.RawMessage `json:"data"`
	DataRev     int64           `json:"data_rev"`
	CreatedAt   Time            `json:"created_at"`
	AcquiredAt  Time            `json:"acquired_at"`
	ActivatedAt Time            `json:"activated_at"`
	ReleasedAt  Time            `json:"released_at"`
	DestroyedAt Time            `json:"destroyed_at"`
	UpdatedAt   Time            `json:"updated_at"`
}

// Waiting says where a pending lease stands and why; null in every other state.
type Waiting struct {
	Position   int64    `json:"position"`
	Reason     Text     `json:"reason"`
	Blueprints []string `json:"blueprints"`
}

// FromLease converts a lease.
func FromLease(l *model.Lease) Lease {
	out := Lease{
		ID:          l.ID,
		Namespace:   l.Namespace,
		Type:        l.Type,
		Status:      string(l.Status),
		Releasing:   l.Releasing,
		Resource:    Text(l.Resource),
		Blueprint:   Text(l.Blueprint),
		Owner:       Text(l.Owner),
		Attributes:  l.Attributes,
		Blueprints:  list(l.Blueprints),
		ForResource: Text(l.Work.ForResource),
		Priority:    l.Priority,
		Until:       Time{l.Until},
		Fence:       l.Fence,
		Data:        orNil(l.Data),
		DataRev:     l.DataRev,
		CreatedAt:   Time{l.CreatedAt},
		AcquiredAt:  Time{l.AcquiredAt},
		ActivatedAt: Time{l.ActivatedAt},
		ReleasedAt:  Time{l.ReleasedAt},
		DestroyedAt: Time{l.DestroyedAt},
		UpdatedAt:   Time{l.UpdatedAt},
	}
	if w := l.Waiting; w != nil {
		out.Waiting = &Waiting{Position: w.Position, Reason: Text(w.Reason), Blueprints: list(w.Blueprints)}
	}
	return out
}

// NewLease asks for a lease: the body of POST /v1/leases.
type NewLease struct {
	Type       string     `json:"type"`
	Attributes Attributes `json:"attributes,omitempty"`
	Blueprints []string   `json:"blueprints,omitempty"`
	Owner      string     `json:"owner,omitempty"`
	// TTL and Until: at most one; neither means that the lease has no end.
	TTL      *model.Duration `json:"ttl,omitempty"`
	Until    *Time           `json:"until,omitempty"`
	Priority int             `json:"priority,omitempty"`
	// Data is any JSON value that the holder wants to keep with the lease.
	Data json.RawMessage `json:"data,omitempty"`
}

// Model converts the request and checks it; errors are [model.ErrorInvalid] and name the field. An until must lie after now.
func (n NewLease) Model(now time.Time) (model.NewLease, error) {
	out := model.NewLease{
		Type:       n.Type,
		Attributes: n.Attributes,
		Blueprints: n.Blueprints,
		Owner:      n.Owner,
		Priority:   n.Priority,
		Data:       orNil(n.Data),
	}
	// In the model a zero ttl or until means none. One that the caller wrote must not become a lease without an end.
	if n.TTL != nil {
		out.TTL = time.Duration(*n.TTL)
		if err := model.CheckTTL("ttl", out.TTL); err != nil {
			return out, err
		}
	}
	if n.Until != nil {
		out.Until = n.Until.Time
		if err := model.CheckUntil("until", out.Until, now); err != nil {
			return out, err
		}
	}
	return out, out.Check(now)
}

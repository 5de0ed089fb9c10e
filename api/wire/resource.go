package wire

import (
	"encoding/json"

	"drydock/model"
)

// Resource is a resource as the API shows it.
type Resource struct {
	ID         string     `json:"id"`
	Namespace  string     `json:"namespace"`
	Name       string     `json:"name"`
	Type       string     `json:"type"`
	Status     string     `json:"status"`
	Releasing  bool       `json:"releasing"`
	Paused     bool       `json:"paused"`
	Blueprint  Text       `json:"blueprint"`
	Attributes Attributes `json:"attributes"`
	Capacity   int        `json:"capacity"`
	// Leases counts the leases that have a place on it; LeaseIDs names them, oldest first.
	Leases      int             `json:"leases"`
	LeaseIDs    []string        `json:"lease_ids"`
	HostLease   Text            `json:"host_lease"`
	Until       Time            `json:"until"`
	Fence       int64           `json:"fence"`
	Data        json.RawMessage `json:"data"`
	DataRev     int64           `json:"data_rev"`
	CreatedAt   Time            `json:"created_at"`
	ActivatedAt Time            `json:"activated_at"`
	ReleasedAt  Time            `json:"released_at"`
	DestroyedAt Time            `json:"destroyed_at"`
	UpdatedAt   Time            `json:"updated_at"`
}

// FromResource converts a resource.
func FromResource(r *model.Resource) Resource {
	return Resource{
		ID:          r.ID,
		Namespace:   r.Namespace,
		Name:        r.Name,
		Type:        r.Type,
		Status:      string(r.Status),
		Releasing:   r.Releasing,
		Paused:      r.Paused,
		Blueprint:   Text(r.Blueprint),
		Attributes:  r.Attributes,
		Capacity:    r.Capacity,
		Leases:      len(r.Leases),
		LeaseIDs:    list(r.Leases),
		HostLease:   Text(r.Work.SubLease),
		Until:       Time{r.Until},
		Fence:       r.Fence,
		Data:        orNil(r.Data),
		DataRev:     r.DataRev,
		CreatedAt:   Time{r.CreatedAt},
		ActivatedAt: Time{r.ActivatedAt},
		ReleasedAt:  Time{r.ReleasedAt},
		DestroyedAt: Time{r.DestroyedAt},
		UpdatedAt:   Time{r.UpdatedAt},
	}
}

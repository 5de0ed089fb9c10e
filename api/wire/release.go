package wire

import (
	"slices"

	"drydock/model"
)

// MaxReleases is how many leases one call of POST /v1/leases:release releases at most.
const MaxReleases = 1000

// ReleaseLeases is the body of POST /v1/leases:release. It names the leases, or a filter, or asks for all.
type ReleaseLeases struct {
	IDs    []string       `json:"ids,omitempty"`
	Filter *ReleaseFilter `json:"filter,omitempty"`
	// All stands for the filter that selects everything, which nobody should send by mistake.
	All bool `json:"all,omitempty"`
	// After is the Next of the answer before, for a filter that selects more than fit into one call.
	After  string `json:"after,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// ReleaseFilter selects leases that can still be released; an empty field selects all.
type ReleaseFilter struct {
	Status   string `json:"status,omitempty"`
	Type     string `json:"type,omitempty"`
	Owner    string `json:"owner,omitempty"`
	Resource string `json:"resource,omitempty"`
}

// UnmarshalJSON refuses unknown fields, and such as are spelt otherwise. Errors name the field.
func (f *ReleaseFilter) UnmarshalJSON(b []byte) error {
	var out ReleaseFilter
	const rule = "must be a string"
	err := readObject(b, member{"status", &out.Status, rule}, member{"type", &out.Type, rule}, member{"owner", &out.Owner, rule},
		member{"resource", &out.Resource, rule})
	if err == nil {
		*f = out
	}
	return err
}

// Check checks the order; errors are [model.ErrorInvalid] and name the field. Whether the ids are ids is not checked: one that is not is
// as unknown as any other.
func (r ReleaseLeases) Check() error {
	empty := r.Filter == nil || *r.Filter == ReleaseFilter{}
	switch {
	case r.IDs != nil && (r.Filter != nil || r.All):
		return model.Invalid("ids", "do not go with filter or all")
	case r.IDs != nil && r.After != "":
		return model.Invalid("after", "goes with filter or all, not with ids")
	case r.IDs != nil && (len(r.IDs) == 0 || len(r.IDs) > MaxReleases):
		return model.Invalid("ids", "must be 1 to %d ids", MaxReleases)
	case r.IDs == nil && r.Filter == nil && !r.All:
		return model.Invalid("ids", "give them, a filter, or \"all\": true")
	case r.IDs == nil && empty && !r.All:
		return model.Invalid("filter", "is empty and selects every lease; say \"all\": true if that is what you mean")
	case !empty && r.All:
		return model.Invalid("all", "does not go with a filter, which selects some")
	}
	if err := r.filter().check(); err != nil {
		return err
	}
	return model.CheckCommand(model.KindLease, model.CommandRelease, nil, r.Reason)
}

func (r ReleaseLeases) filter() ReleaseFilter {
	if r.Filter == nil {
		return ReleaseFilter{}
	}
	return *r.Filter
}

func (f ReleaseFilter) check() error {
	if f.Status != "" && !slices.Contains(f.states(), model.LeaseState(f.Status)) {
		return model.Invalid("filter.status", "must be one of %s, which can be released", model.Join(ReleaseFilter{}.states()))
	}
	if f.Type != "" {
		if err := model.CheckName("filter.type", f.Type); err != nil {
			return err
		}
	}
	if f.Resource != "" && !model.ValidID(f.Resource) {
		return model.Invalid("filter.resource", "%s is not an id", model.Quote(f.Resource))
	}
	return model.CheckText("filter.owner", f.Owner, model.MaxOwnerLength)
}

// states are those of the leases that can still be released, in the order of a lease's life.
func (ReleaseFilter) states() (states []model.LeaseState) {
	for _, s := range model.LeaseStates() {
		if s.Releasable() {
			states = append(states, s)
		}
	}
	return states
}

// Filters returns what to list to find the leases, one state after another: there are many more leases than can still be released.
func (r ReleaseLeases) Filters() (filters []model.LeaseFilter) {
	f := r.filter()
	for _, s := range f.states() {
		if f.Status == "" || f.Status == string(s) {
			filters = append(filters, model.LeaseFilter{Status: s, Type: f.Type, Owner: f.Owner, Resource: f.Resource})
		}
	}
	return filters
}

// LeaseRelease is what came of the release of one lease.
type LeaseRelease struct {
	ID string `json:"id"`
	// Status is what a release of this lease alone would have been answered with: 202 sent, 200 released already, 403, 404.
	Status int `json:"status"`
	// Command is null unless it was sent.
	Command *Command `json:"command"`
	// Error is null unless it was refused.
	Error *ItemError `json:"error"`
}

// ItemError is what is wrong with one of several things.
type ItemError struct {
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

// Error returns the detail.
func (e *ItemError) Error() string { return e.Detail }

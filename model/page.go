package model

// Page is one page of a listing.
type Page[T any] struct {
	Items []T
	// Next is the cursor of the following page; empty when this is the last.
	Next string
}

// Limits of a page.
const (
	DefaultPageLimit = 50
	MaxPageLimit     = 500
)

// LeaseFilter selects leases; empty fields select all.
type LeaseFilter struct {
	Status   LeaseState
	Type     string
	Resource string
	Owner    string
	Limit    int
	// After is the Next of the page before.
	After string
}

// ResourceFilter selects resources; empty fields select all.
type ResourceFilter struct {
	Status    ResourceState
	Type      string
	Blueprint string
	Limit     int
	// After is the Next of the page before.
	After string
}

package wire

import "drydock/model"

// Page is one page of a listing.
type Page[T any] struct {
	Items []T `json:"items"`
	// Next is the "after" of the following page; null when this is the last.
	Next Text `json:"next"`
}

// FromPage converts a page item by item.
func FromPage[M, T any](p model.Page[M], convert func(M) T) Page[T] {
	items := make([]T, 0, len(p.Items))
	for _, m := range p.Items {
		items = append(items, convert(m))
	}
	return Page[T]{Items: items, Next: Text(p.Next)}
}

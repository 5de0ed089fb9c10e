package client

import (
	"context"
	"iter"
	"net/url"
	"strconv"
	"time"

	"drydock/api/wire"
	"drydock/model"
)

// PageOptions select a page of a list.
type PageOptions struct {
	// Limit is the size of a page, at most [model.MaxPageLimit]; 0 = the server's default.
	Limit int
	// After is the Next of the page before; empty = the first page.
	After string
}

// params makes a query of names and values in turn, without the empty values.
func params(pairs ...string) url.Values {
	q := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	return q
}

func (p PageOptions) params(pairs ...string) url.Values {
	limit := ""
	if p.Limit != 0 {
		limit = strconv.Itoa(p.Limit)
	}
	return params(append(pairs, "limit", limit, "after", p.After)...)
}

// wait makes the query of a waiting read.
func waitParams(state string, timeout time.Duration) url.Values {
	return params("wait", state, "timeout", timeout.String())
}

// all goes through pages from the first asked for to the last. It ends with the first error.
func all[T any](first PageOptions, load func(PageOptions) (wire.Page[T], error)) iter.Seq2[T, error] {
	if first.Limit == 0 {
		first.Limit = model.MaxPageLimit
	}
	return func(yield func(T, error) bool) {
		for at := first; ; {
			page, err := load(at)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, item := range page.Items {
				if !yield(item, nil) {
					return
				}
			}
			if page.Next == "" {
				return
			}
			at.After = string(page.Next)
		}
	}
}

// list reads one page.
func list[T any](ctx context.Context, c *Client, query url.Values, path ...string) (page wire.Page[T], err error) {
	err = c.get(ctx, query, &page, path...)
	return page, err
}

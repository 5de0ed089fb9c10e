package store

import (
	"context"
	"errors"

	"github.com/redis/go-redis/v9"

	"drydock/model"
)

// scanBudget bounds how many objects one page looks at.
const scanBudget = 2000

// list pages through an index from the newest id down. read fetches objects by id; keep returns an object's id and whether
// the filter wants it.
func list[T any](
	ctx context.Context, s *Store, index string, limit int, after string,
	read func(ids []string) ([]T, error), keep func(T) (string, bool),
) (model.Page[T], error) {
	if limit <= 0 {
		limit = model.DefaultPageLimit
	}
	page := model.Page[T]{Items: []T{}}
	for scanned := 0; scanned < scanBudget; {
		top := "+"
		if after != "" {
			top = "(" + after
		}
		// One more than needed tells whether there is a next page. When the first batch did not settle it, the filter is picky.
		batch := int64(limit-len(page.Items)) + 1
		if scanned > 0 {
			batch = max(batch, 100)
		}
		ids, err := s.rdb.ZRangeArgs(ctx, redis.ZRangeArgs{
			Key: index, Start: top, Stop: "-", ByLex: true, Rev: true, Count: batch,
		}).Result()
		if err != nil {
			return page, translate("list", err)
		}
		items, err := read(ids)
		if err != nil {
			return page, err
		}
		for _, item := range items {
			id, wanted := keep(item)
			if !wanted {
				continue
			}
			if len(page.Items) == limit {
				page.Next = after
				return page, nil
			}
			page.Items = append(page.Items, item)
			after = id
		}
		if int64(len(ids)) < batch {
			return page, nil
		}
		scanned += len(ids)
		after = ids[len(ids)-1]
	}
	page.Next = after
	return page, nil
}

// filter is an index that serves a filter, if the filter has a value.
type filter struct{ value, index string }

// narrowest returns the smallest index of the filters that have a value.
func (s *Store) narrowest(ctx context.Context, everything string, filters ...filter) (string, error) {
	var indexes []string
	for _, f := range filters {
		if f.value != "" {
			indexes = append(indexes, f.index)
		}
	}
	return s.smallest(ctx, indexes, everything)
}

// smallest returns the index that holds least, and the one of everything when there is none to choose from.
func (s *Store) smallest(ctx context.Context, indexes []string, everything string) (string, error) {
	switch len(indexes) {
	case 0:
		return everything, nil
	case 1:
		return indexes[0], nil
	}
	pipe := s.rdb.Pipeline()
	sizes := make([]*redis.IntCmd, len(indexes))
	for i, index := range indexes {
		sizes[i] = pipe.ZCard(ctx, index)
	}
	if err := exec(ctx, "list", pipe); err != nil {
		return "", err
	}
	least := 0
	for i := range sizes {
		if sizes[i].Val() < sizes[least].Val() {
			least = i
		}
	}
	return indexes[least], nil
}

// exec runs a pipeline of reads, in which a missing key is no error.
func exec(ctx context.Context, op string, pipe redis.Pipeliner) error {
	cmds, err := pipe.Exec(ctx)
	if err == nil {
		return nil
	}
	for _, c := range cmds {
		if e := c.Err(); e != nil && !errors.Is(e, redis.Nil) {
			return translate(op, e)
		}
	}
	if errors.Is(err, redis.Nil) {
		return nil
	}
	return translate(op, err)
}

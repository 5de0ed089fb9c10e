package store

import (
	"context"

	"github.com/redis/go-redis/v9"

	"drydock/model"
)

// Resource reads a resource. Errors: [model.ErrResourceNotFound], [model.ErrorUnavailable].
func (s *Store) Resource(ctx context.Context, ns, id string) (*model.Resource, error) {
	resources, err := s.readResources(ctx, ns, []string{id})
	if err != nil {
		return nil, err
	}
	if len(resources) == 0 {
		return nil, model.ErrResourceNotFound
	}
	return resources[0], nil
}

// shownResource reads a resource as the scripts' show() returns it.
func shownResource(ns string, shown any) (*model.Resource, error) {
	parts := toSlice(shown)
	if len(parts) < 3 {
		return nil, model.ErrResourceNotFound
	}
	r, err := decodeResource(ns, toMap(parts[0]), toStrings(parts[2]))
	if err != nil {
		return nil, err
	}
	r.Data, r.DataRev = decodeData(toSlice(parts[1]))
	return r, nil
}

// readResources reads resources by id and passes over those that are gone.
func (s *Store) readResources(ctx context.Context, ns string, ids []string) ([]*model.Resource, error) {
	pipe := s.rdb.Pipeline()
	fields := make([]*redis.MapStringStringCmd, len(ids))
	leases := make([]*redis.StringSliceCmd, len(ids))
	data := make([]*redis.SliceCmd, len(ids))
	for i, id := range ids {
		ref := model.ResourceRef(ns, id)
		fields[i] = pipe.HGetAll(ctx, objectKey(ref))
		data[i] = readData(ctx, pipe, ref)
		leases[i] = pipe.ZRange(ctx, resourceLeasesKey(ns, id), 0, -1)
	}
	if err := exec(ctx, "read resources", pipe); err != nil {
		return nil, err
	}
	resources := make([]*model.Resource, 0, len(ids))
	for i := range ids {
		if len(fields[i].Val()) == 0 {
			continue
		}
		r, err := decodeResource(ns, fields[i].Val(), leases[i].Val())
		if err != nil {
			return nil, err
		}
		r.Data, r.DataRev = decodeData(data[i].Val())
		resources = append(resources, r)
	}
	return resources, nil
}

// Resources lists resources, newest first; see [Store.Leases] about short pages.
func (s *Store) Resources(ctx context.Context, ns string, f model.ResourceFilter) (model.Page[*model.Resource], error) {
	index, err := s.narrowest(ctx, pluralKey(ns, model.KindResource),
		filter{f.Blueprint, byKey(ns, model.KindResource, "blueprint", f.Blueprint)},
		filter{string(f.Status), statusKey(ns, model.KindResource, string(f.Status))},
		filter{f.Type, byKey(ns, model.KindResource, "type", f.Type)})
	if err != nil {
		return model.Page[*model.Resource]{}, err
	}
	return list(ctx, s, index, f.Limit, f.After, func(ids []string) ([]*model.Resource, error) {
		return s.readResources(ctx, ns, ids)
	}, func(r *model.Resource) (string, bool) {
		return r.ID, (f.Status == "" || r.Status == f.Status) && (f.Type == "" || r.Type == f.Type) &&
			(f.Blueprint == "" || r.Blueprint == f.Blueprint)
	})
}

package store

import (
	"context"

	"github.com/redis/go-redis/v9"

	"drydock/model"
	"drydock/tracing"
)

// CreateLease queues a lease under an id of [model.NewID] and wakes its update. n has been checked. A repeated idempotency
// key changes nothing and returns what the first call made; a repeated id is the same call, sent again. Errors:
// [model.ErrorMismatch] when the key belongs to another request, [model.ErrorUnavailable], [model.ErrorUnknown].
func (s *Store) CreateLease(ctx context.Context, ns, id string, n model.NewLease, idem model.Idempotency) (model.Created, error) {
	return s.createLease(ctx, ns, id, n, idem, "", 0)
}

// CreateSubLease queues the lease that a pending resource waits to stand on. Its id has been stored with the resource. Errors:
// [model.ErrStaleWriter] when the resource does not wait for it (any more), [model.ErrorUnavailable], [model.ErrorUnknown].
func (s *Store) CreateSubLease(ctx context.Context, res *model.Resource, n model.NewLease) (model.Created, error) {
	return s.createLease(ctx, res.Namespace, res.Work.SubLease, n, model.Idempotency{}, res.ID, res.Work.Depth+1)
}

func (s *Store) createLease(
	ctx context.Context, ns, id string, n model.NewLease, idem model.Idempotency, forResource string, depth int,
) (model.Created, error) {
	if err := s.announce(ctx, ns); err != nil {
		return model.Created{}, err
	}
	ref := model.LeaseRef(ns, id)
	shape := shapeOf(n.Attributes, n.Blueprints)
	args := []any{
		id, n.Type, shape, int64(n.Priority) * headStart.Milliseconds(), n.TTL.Milliseconds(),
		n.Owner, string(n.Data), hashKey(idem.Key), idem.Fingerprint, idempotencyWindow.Milliseconds(), forResource,
		"status", string(model.LeasePending), "writer", "", "version", 0, "woken", "0", "fence", 0, "releases", 0, "type", n.Type, "owner", n.Owner,
		"resource", "", "blueprint", "", "slots", "", "shape", shape, "schema", schemaVersion, "id", id,
		"attributes", encodeMap(n.Attributes), "blueprints", encodeList(n.Blueprints), "priority", n.Priority,
	}
	if !n.Until.IsZero() {
		args = append(args, "until", n.Until.UnixMilli())
	}
	if trace := tracing.Carry(ctx); trace != "" {
		args = append(args, "trace", trace)
	}
	if forResource != "" {
		args = append(args, "for_resource", forResource, "depth", depth)
	}
	reply, err := s.write(ctx, "create lease", createLeaseScript, []string{objectKey(ref)}, args...)
	if err != nil {
		return model.Created{}, err
	}
	code := toInt(reply[0])
	switch code {
	case -1:
		return model.Created{}, errKeyReused
	case -2:
		return model.Created{}, model.ErrStaleWriter
	}
	lease, err := shownLease(ns, reply[1])
	return model.Created{Lease: lease, Repeat: code == 0, Wake: s.toRefs(ns, reply[2:])}, err
}

// shownLease reads a lease as the scripts' show() returns it.
func shownLease(ns string, shown any) (*model.Lease, error) {
	parts := toSlice(shown)
	if len(parts) < 3 {
		return nil, model.ErrLeaseNotFound
	}
	l, err := decodeLease(ns, toMap(parts[0]))
	if err != nil {
		return nil, err
	}
	l.Data, l.DataRev = decodeData(toSlice(parts[1]))
	if l.Waiting != nil {
		l.Waiting.Position = toInt(parts[2])
	}
	return l, nil
}

// Lease reads a lease. Errors: [model.ErrLeaseNotFound], [model.ErrorUnavailable].
func (s *Store) Lease(ctx context.Context, ns, id string) (*model.Lease, error) {
	leases, err := s.readLeases(ctx, ns, []string{id})
	if err != nil {
		return nil, err
	}
	if len(leases) == 0 {
		return nil, model.ErrLeaseNotFound
	}
	return leases[0], nil
}

// readLeases reads leases by id and passes over those that are gone.
func (s *Store) readLeases(ctx context.Context, ns string, ids []string) ([]*model.Lease, error) {
	pipe := s.rdb.Pipeline()
	fields := make([]*redis.MapStringStringCmd, len(ids))
	data := make([]*redis.SliceCmd, len(ids))
	for i, id := range ids {
		ref := model.LeaseRef(ns, id)
		fields[i] = pipe.HGetAll(ctx, objectKey(ref))
		data[i] = readData(ctx, pipe, ref)
	}
	if err := exec(ctx, "read leases", pipe); err != nil {
		return nil, err
	}
	leases := make([]*model.Lease, 0, len(ids))
	for i := range ids {
		if len(fields[i].Val()) == 0 {
			continue
		}
		l, err := decodeLease(ns, fields[i].Val())
		if err != nil {
			return nil, err
		}
		l.Data, l.DataRev = decodeData(data[i].Val())
		leases = append(leases, l)
	}
	return leases, s.fillPositions(ctx, leases)
}

// fillPositions says where the waiting leases stand.
func (s *Store) fillPositions(ctx context.Context, leases []*model.Lease) error {
	pipe := s.rdb.Pipeline()
	ranks := make([]*redis.IntCmd, len(leases))
	waiting := false
	for i, l := range leases {
		if l.Waiting != nil {
			ranks[i] = pipe.ZRank(ctx, waitingKey(l.Namespace, l.Type), l.ID)
			waiting = true
		}
	}
	if !waiting {
		return nil
	}
	if err := exec(ctx, "read positions", pipe); err != nil {
		return err
	}
	for i, l := range leases {
		if l.Waiting != nil {
			l.Waiting.Position = ranks[i].Val() + 1
		}
	}
	return nil
}

// Leases lists leases, newest first. The smallest index serves the page and the other filters are applied to what it
// holds, a bounded number at a time, so a page may be shorter than its limit and still have a next one.
func (s *Store) Leases(ctx context.Context, ns string, f model.LeaseFilter) (model.Page[*model.Lease], error) {
	index, err := s.narrowest(ctx, pluralKey(ns, model.KindLease),
		filter{f.Resource, byKey(ns, model.KindLease, "resource", f.Resource)},
		filter{f.Owner, byKey(ns, model.KindLease, "owner", f.Owner)},
		filter{string(f.Status), statusKey(ns, model.KindLease, string(f.Status))},
		filter{f.Type, byKey(ns, model.KindLease, "type", f.Type)})
	if err != nil {
		return model.Page[*model.Lease]{}, err
	}
	return list(ctx, s, index, f.Limit, f.After, func(ids []string) ([]*model.Lease, error) {
		return s.readLeases(ctx, ns, ids)
	}, func(l *model.Lease) (string, bool) {
		return l.ID, (f.Status == "" || l.Status == f.Status) && (f.Type == "" || l.Type == f.Type) &&
			(f.Resource == "" || l.Resource == f.Resource) && (f.Owner == "" || l.Owner == f.Owner)
	})
}

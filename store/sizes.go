package store

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"drydock/model"
)

// Sizes are how much there is of everything in a namespace, read from the indexes alone.
type Sizes struct {
	Namespace string
	// Owed counts the objects in the wake index.
	Owed int64
	// Overdue is how long the time of the first of them has passed: sweepers see to it within a fraction of a second. 0 = it has not.
	Overdue   time.Duration
	Leases    map[model.LeaseState]int64
	Resources map[model.ResourceState]int64
	// Waiting and Free count the waiting leases, and the resources with room, by type, for the types of declared blueprints.
	Waiting, Free map[string]int64
}

// maxSizedTypes bounds what Sizes reads of one namespace.
const maxSizedTypes = 200

// Sizes reads the sizes of a namespace, in two round trips whatever is in it. Of more types than 200, the first by name are read.
func (s *Store) Sizes(ctx context.Context, ns string) (Sizes, error) {
	out := Sizes{
		Namespace: ns, Leases: map[model.LeaseState]int64{}, Resources: map[model.ResourceState]int64{},
		Waiting: map[string]int64{}, Free: map[string]int64{},
	}
	types, err := s.declaredTypes(ctx, ns)
	if err != nil {
		return out, err
	}
	pipe, err := s.pipelineOn(ctx, ns)
	if err != nil {
		return out, translate("read sizes", err)
	}
	now, owed := pipe.Time(ctx), pipe.ZCard(ctx, wakeKey(ns))
	first := pipe.ZRangeWithScores(ctx, wakeKey(ns), 0, 0)
	leases := cards(ctx, pipe, model.LeaseStates(), func(st model.LeaseState) string { return statusKey(ns, model.KindLease, string(st)) })
	resources := cards(ctx, pipe, model.ResourceStates(), func(st model.ResourceState) string { return statusKey(ns, model.KindResource, string(st)) })
	waiting := cards(ctx, pipe, types, func(typ string) string { return waitingKey(ns, typ) })
	free := cards(ctx, pipe, types, func(typ string) string { return freeKey(ns, typ) })
	if err := exec(ctx, "read sizes", pipe); err != nil {
		return out, err
	}
	out.Owed = owed.Val()
	if due := first.Val(); len(due) > 0 {
		out.Overdue = max(0, now.Val().Sub(millis(int64(due[0].Score))))
	}
	leases(out.Leases)
	resources(out.Resources)
	waiting(out.Waiting)
	free(out.Free)
	return out, nil
}

// CountLeases counts a namespace's leases in a state. Errors: [model.ErrorUnavailable].
func (s *Store) CountLeases(ctx context.Context, ns string, state model.LeaseState) (int64, error) {
	n, err := s.rdb.ZCard(ctx, statusKey(ns, model.KindLease, string(state))).Result()
	return n, translate("count leases", err)
}

// declaredTypes lists the types that a namespace's blueprints make, sorted.
func (s *Store) declaredTypes(ctx context.Context, ns string) ([]string, error) {
	bps, err := s.Blueprints(ctx, ns)
	if err != nil {
		return nil, err
	}
	types := make([]string, len(bps))
	for i, bp := range bps {
		types[i] = bp.Type
	}
	slices.Sort(types)
	types = slices.Compact(types)
	return types[:min(len(types), maxSizedTypes)], nil
}

// cards asks for the size of a sorted set for each name; the function it returns reads the answers.
func cards[K ~string](ctx context.Context, pipe redis.Pipeliner, names []K, key func(K) string) (read func(into map[K]int64)) {
	sizes := make([]*redis.IntCmd, len(names))
	for i, name := range names {
		sizes[i] = pipe.ZCard(ctx, key(name))
	}
	return func(into map[K]int64) {
		for i, name := range names {
			into[name] = sizes[i].Val()
		}
	}
}

// maxOldest bounds the objects whose queues OldestCommand looks at.
const maxOldest = 1000

// OldestCommand returns the command of a namespace that has waited longest, nil = none waits. It looks at the queues of the 1000 objects
// that are owed an update first: whatever has a command waiting is in the wake index, and not late in it.
func (s *Store) OldestCommand(ctx context.Context, ns string) (*model.Command, error) {
	members, err := s.rdb.ZRange(ctx, wakeKey(ns), 0, maxOldest-1).Result()
	if err != nil {
		return nil, translate("read wake index", err)
	}
	heads := map[model.Ref]*redis.StringCmd{}
	pipe := s.rdb.Pipeline()
	for _, member := range members {
		if ref, err := model.ParseMember(ns, member); err == nil && slices.Contains(model.Kinds(), ref.Kind) {
			heads[ref] = pipe.LIndex(ctx, commandsKey(ref), 0)
		}
	}
	if len(heads) == 0 {
		return nil, nil //nolint:nilnil // none waits
	}
	// A queue that is empty answers with an error of its own, which is none.
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return nil, translate("read first commands", err)
	}
	var of model.Ref
	oldest := ""
	for ref, head := range heads {
		if id, err := head.Result(); err == nil && (oldest == "" || id < oldest) { // ids sort by creation
			of, oldest = ref, id
		}
	}
	if oldest == "" {
		return nil, nil //nolint:nilnil // none waits
	}
	commands, err := s.readCommands(ctx, of, []string{oldest})
	if err != nil || len(commands) == 0 || !commands[0].ConsumedAt.IsZero() {
		return nil, err // consumed meanwhile
	}
	return commands[0], nil
}

package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"drydock/model"
	"drydock/tracing"
)

// blueprintRecord is a blueprint as it is stored. The script adds rev, created_ms, updated_ms and the
// tokens of the first and the last call in front.
type blueprintRecord struct {
	Rev       int64           `json:"rev,omitempty"`
	CreatedMS int64           `json:"created_ms,omitempty"`
	UpdatedMS int64           `json:"updated_ms,omitempty"`
	Kind      string          `json:"kind"`
	Type      string          `json:"type"`
	Limit     int             `json:"limit"`
	MinIdle   int             `json:"min_idle,omitempty"`
	MaxIdleMS int64           `json:"max_idle_ms,omitempty"`
	On        *model.SubLease `json:"on,omitempty"`
	Quota     int             `json:"quota,omitempty"`
	Authorize model.Authorize `json:"authorize,omitzero"`
	Enabled   bool            `json:"enabled"`
	Config    json.RawMessage `json:"config"`
}

func decodeBlueprint(ns, name, record string) (*model.Blueprint, error) {
	var r blueprintRecord
	if err := json.Unmarshal([]byte(record), &r); err != nil {
		return nil, &model.Error{Kind: model.ErrorInternal, Message: "unreadable record of blueprint " + name, Cause: err}
	}
	return &model.Blueprint{
		Namespace: ns, Name: name, Kind: r.Kind, Type: r.Type, Limit: r.Limit,
		MinIdle: r.MinIdle, MaxIdleAge: time.Duration(r.MaxIdleMS) * time.Millisecond, On: r.On, Quota: r.Quota, Authorize: r.Authorize,
		Enabled: r.Enabled, Config: r.Config,
		Rev: r.Rev, CreatedAt: millis(r.CreatedMS), UpdatedAt: millis(r.UpdatedMS),
	}, nil
}

// PutBlueprint declares a blueprint, which has been checked, and wakes leases that wait for its type. created reports that
// there was none of this name. Errors: [model.ErrorPrecondition] when the condition does not hold, [model.ErrorConflict] when kind or type
// would change under live resources, [model.ErrorUnavailable], [model.ErrorUnknown].
func (s *Store) PutBlueprint(ctx context.Context, bp *model.Blueprint, cond model.Condition) (stored *model.Blueprint, created bool, wake []model.Ref, err error) {
	if err := s.announce(ctx, bp.Namespace); err != nil {
		return nil, false, nil, err
	}
	config := bp.Config
	if len(config) == 0 {
		config = json.RawMessage("{}")
	}
	record := blueprintRecord{
		Kind: bp.Kind, Type: bp.Type, Limit: bp.Limit, MinIdle: bp.MinIdle, MaxIdleMS: bp.MaxIdleAge.Milliseconds(),
		On: bp.On, Quota: bp.Quota, Authorize: bp.Authorize, Enabled: bp.Enabled, Config: config,
	}
	reply, err := s.write(ctx, "put blueprint", putBlueprintScript, []string{blueprintsKey(bp.Namespace)},
		bp.Name, bp.Kind, bp.Type, model.NewID(), rest(record), schemaVersion, bp.MinIdle, encodeCondition(cond), tracing.Carry(ctx))
	if err != nil {
		return nil, false, nil, err
	}
	switch toInt(reply[0]) {
	case -1:
		return nil, false, nil, model.Errorf(model.ErrorConflict,
			"kind and type cannot change while the blueprint has resources; release them first")
	case -2:
		return nil, false, nil, blueprintConditionError(cond, toInt(reply[1]))
	}
	stored, err = decodeBlueprint(bp.Namespace, bp.Name, toString(reply[1]))
	wake = append(s.toRefs(bp.Namespace, reply[3:]), s.wakeMoreWaiters(ctx, bp.Namespace, bp.Type)...)
	wake = append(wake, s.admitMore(ctx, bp.Namespace, bp.Name, toString(reply[2]))...)
	return stored, toInt(reply[0]) == 1, wake, err
}

func blueprintConditionError(cond model.Condition, rev int64) error {
	switch {
	case cond.None:
		return model.Errorf(model.ErrorPrecondition, "there is a blueprint of this name already; its rev is %d", rev)
	case rev == 0:
		return model.Errorf(model.ErrorPrecondition, "there is no blueprint of this name")
	}
	return model.Errorf(model.ErrorPrecondition, "the blueprint has rev %d, not %d", rev, *cond.Rev)
}

// Waking the waiters of a type: how many shapes one script wakes (MAX_SHAPES in lua/lib.lua), and how many scripts are run at most.
const (
	wakeShapes = 100
	wakePages  = 100
)

// wakeMoreWaiters wakes the waiters of a type behind the first hundred shapes, which a script has woken with its own write. They wait
// for what that write has changed, and nobody passes the word on to them when those before them cannot use it. Should it fail, they
// look again by themselves.
func (s *Store) wakeMoreWaiters(ctx context.Context, ns, typ string) (woken []model.Ref) {
	for page := 1; page <= wakePages; page++ {
		reply, err := s.run(ctx, "wake waiters", wakeWaitersScript, []string{shapesKey(ns, typ)}, typ, page*wakeShapes)
		if err != nil {
			s.log.Warn("could not wake all waiters; they look again by themselves", "namespace", ns, "type", typ, "error", err)
			return woken
		}
		woken = append(woken, s.toRefs(ns, reply[1:])...)
		if toInt(reply[0]) < wakeShapes {
			return woken
		}
	}
	return woken
}

// admitMore wakes the leases at the gates of a blueprint behind the first hundred, which a script has woken with its own write.
func (s *Store) admitMore(ctx context.Context, ns, name, cursor string) (woken []model.Ref) {
	for page := 1; cursor != "" && page <= wakePages; page++ {
		reply, err := s.run(ctx, "admit", admitScript, []string{blueprintsKey(ns)}, name, cursor)
		if err != nil {
			s.log.Warn("could not wake all waiters; they look again by themselves", "object", model.BlueprintRef(ns, name).String(), "error", err)
			return woken
		}
		cursor = toString(reply[0])
		woken = append(woken, s.toRefs(ns, reply[1:])...)
	}
	return woken
}

// Blueprint reads a blueprint. Errors: [model.ErrBlueprintNotFound], [model.ErrorUnavailable].
func (s *Store) Blueprint(ctx context.Context, ns, name string) (*model.Blueprint, error) {
	record, err := s.rdb.HGet(ctx, blueprintsKey(ns), name).Result()
	if errors.Is(err, redis.Nil) {
		return nil, model.ErrBlueprintNotFound
	}
	if err != nil {
		return nil, translate("read blueprint", err)
	}
	return decodeBlueprint(ns, name, record)
}

// Blueprints lists the blueprints of a namespace by name.
func (s *Store) Blueprints(ctx context.Context, ns string) ([]*model.Blueprint, error) {
	records, err := s.rdb.HGetAll(ctx, blueprintsKey(ns)).Result()
	if err != nil {
		return nil, translate("list blueprints", err)
	}
	list := make([]*model.Blueprint, 0, len(records))
	for name, record := range records {
		bp, err := decodeBlueprint(ns, name, record)
		if err != nil {
			return nil, err
		}
		list = append(list, bp)
	}
	slices.SortFunc(list, func(a, b *model.Blueprint) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// BlueprintsRev returns a number that rises with each change of a namespace's blueprints.
func (s *Store) BlueprintsRev(ctx context.Context, ns string) (int64, error) {
	rev, err := s.rdb.Get(ctx, blueprintsRevKey(ns)).Int64()
	if errors.Is(err, redis.Nil) {
		return 0, nil
	}
	return rev, translate("read blueprints revision", err)
}

// DeleteBlueprint removes a blueprint and what is on record about who may use it, and wakes leases that wait for its type. Errors:
// [model.ErrBlueprintNotFound], [model.ErrorConflict] while it has resources, [model.ErrorUnavailable].
func (s *Store) DeleteBlueprint(ctx context.Context, ns, name string) (wake []model.Ref, err error) {
	reply, err := s.run(ctx, "delete blueprint", deleteBlueprintScript, []string{blueprintsKey(ns)}, name, model.NewID())
	if err != nil {
		return nil, err
	}
	switch toInt(reply[0]) {
	case 0:
		return nil, model.ErrBlueprintNotFound
	case -1:
		return nil, fmt.Errorf("delete blueprint %s: %w", name, model.Errorf(model.ErrorConflict,
			"the blueprint still has resources; release them first"))
	}
	wake = append(s.toRefs(ns, reply[3:]), s.wakeMoreWaiters(ctx, ns, toString(reply[1]))...)
	return append(wake, s.admitMore(ctx, ns, name, toString(reply[2]))...), nil
}

// BlueprintStep is one write of a blueprint's own update.
type BlueprintStep struct {
	Step
	WorkChanges
	// Told is the revision that its resources have been told of; nil changes nothing.
	Told *int64
	// Spare is a resource to be made and kept idle; nil = none.
	Spare *NewResource
	// EndTrace says that all was done that the trace of the declaration led to.
	EndTrace bool
}

// ErrEnoughIdle says that the blueprint has as many idle resources as it shall. Nothing was written.
var ErrEnoughIdle = model.Errorf(model.ErrorConflict, "there are enough idle resources")

// ApplyBlueprint writes one step of the claimed blueprint, all or nothing, and raises the claim's version. Errors, after each of which
// nothing was written: [model.ErrStaleWriter], [model.ErrBlueprintChanged], [model.ErrLimitReached], [model.ErrSlotHeld],
// [ErrEnoughIdle], [model.ErrorUnavailable].
func (s *Store) ApplyBlueprint(ctx context.Context, c *Claim, st BlueprintStep) (Applied, error) {
	set := map[string]string{}
	st.fill(set)
	if st.Told != nil {
		set["told"] = strconv.FormatInt(*st.Told, 10)
	}
	if st.EndTrace {
		set["trace"] = ""
	}
	j := c.encode(st.Step, nil, set)
	args := []any{c.Ref.ID, "", ""}
	if n := st.Spare; n != nil {
		j.Blueprint, j.Rev, j.Limit, j.MinIdle, j.Slots = n.Blueprint.Name, n.Blueprint.Rev, &n.Blueprint.Limit, &n.Blueprint.MinIdle, n.Slots
		args[2] = n.ID
		args = append(args, n.fields("")...)
		if trace := tracing.Carry(ctx); trace != "" {
			args = append(args, "trace", trace)
		}
	}
	args[1] = mustJSON(j)
	reply, err := s.run(ctx, "apply blueprint", applyBlueprintScript, []string{objectKey(c.Ref)}, args...)
	if err != nil {
		return Applied{}, err
	}
	return s.applied("apply blueprint", c, j, reply)
}

// TellResources wakes resources of a blueprint that were last read by another revision of it, some at a time. It returns the cursor to
// go on from; empty = that was all.
func (s *Store) TellResources(ctx context.Context, ref model.Ref, rev int64, cursor string) (next string, wake []model.Ref, err error) {
	reply, err := s.run(ctx, "tell resources", tellResourcesScript, []string{blueprintKey(ref.Namespace, ref.ID, "resources")}, rev, cursor)
	if err != nil {
		return "", nil, err
	}
	return toString(reply[0]), s.toRefs(ref.Namespace, reply[1:]), nil
}

// Stock counts the resources of a blueprint.
type Stock struct {
	// Idle are ready and have no lease; Making are being made to be kept so.
	Idle, Making int
	// All is what the blueprint's limit is about: every resource that is not destroyed.
	All int
}

// Stock counts the resources of a blueprint.
func (s *Store) Stock(ctx context.Context, ns, name string) (Stock, error) {
	pipe := s.rdb.Pipeline()
	idle, making := pipe.SCard(ctx, blueprintKey(ns, name, "idle")), pipe.SCard(ctx, blueprintKey(ns, name, "making"))
	all := pipe.ZCard(ctx, blueprintKey(ns, name, "resources"))
	if err := exec(ctx, "count resources", pipe); err != nil {
		return Stock{}, err
	}
	return Stock{Idle: int(idle.Val()), Making: int(making.Val()), All: int(all.Val())}, nil
}

// Wanted lists what the leases that wait for a type ask for, the first of each group of those who ask for the same, a bounded number.
func (s *Store) Wanted(ctx context.Context, ns, typ string) ([]model.Request, error) {
	shapes, err := s.rdb.ZRange(ctx, shapesKey(ns, typ), 0, snapshotShapes-1).Result()
	if err != nil {
		return nil, translate("read what is wanted", err)
	}
	if len(shapes) == 0 {
		return nil, nil
	}
	pipe := s.rdb.Pipeline()
	heads := make([]*redis.StringSliceCmd, len(shapes))
	for i, shape := range shapes {
		heads[i] = pipe.ZRange(ctx, shapeKey(ns, typ, shape), 0, 0)
	}
	if err := exec(ctx, "read what is wanted", pipe); err != nil {
		return nil, err
	}
	var ids []string
	for _, head := range heads {
		ids = append(ids, head.Val()...)
	}
	leases, err := s.readLeases(ctx, ns, ids)
	if err != nil {
		return nil, err
	}
	wanted := make([]model.Request, len(leases))
	for i, l := range leases {
		wanted[i] = l.Request()
	}
	return wanted, nil
}

package store

import (
	"context"
	"errors"
	"strconv"

	"drydock/model"
	"drydock/tracing"
)

// errAllocationPending says that the lease already has an allocation on its way.
var errAllocationPending = model.Errorf(model.ErrorConflict, "the lease has an allocation on its way")

// NewResource is a resource about to be made.
type NewResource struct {
	ID         string
	Name       string
	Blueprint  *model.Blueprint
	Attributes map[string]string
	Capacity   int
	Slots      []string
	UntilMS    int64
	Facts      string
	// Depth counts the resources that will stand above it.
	Depth int
}

// fields are the names and values of the resource as it is stored first.
func (n *NewResource) fields(forLease string) []any {
	fields := []any{
		"schema", schemaVersion, "id", n.ID, "name", n.Name, "type", n.Blueprint.Type, "status", string(model.ResourcePending),
		"blueprint", n.Blueprint.Name, "attributes", encodeMap(n.Attributes), "capacity", n.Capacity, "slots", encodeList(n.Slots),
		"until", n.UntilMS, "facts", n.Facts, "for_lease", forLease, "rev", n.Blueprint.Rev, "version", 0, "fence", 0, "releases", 0,
	}
	if n.Blueprint.MaxIdleAge > 0 {
		fields = append(fields, "retire", n.Blueprint.MaxIdleAge.Milliseconds())
	}
	if n.Depth > 0 {
		fields = append(fields, "depth", n.Depth)
	}
	return fields
}

// CreateResource makes a pending resource for the claimed lease, notes it there and finishes the lease's update, all in one
// write. st's Consume, Log, Pass and LookAgain belong to the lease. Errors, after each of which nothing was written: [model.ErrStaleWriter],
// [model.ErrBlueprintChanged], [model.ErrLimitReached], [model.ErrQuotaReached], [model.ErrSlotHeld], [model.ErrorConflict] (an allocation is on its
// way), [model.ErrorUnavailable].
func (s *Store) CreateResource(ctx context.Context, c *Claim, n NewResource, st LeaseStep) (Applied, error) {
	set := map[string]string{"allocation": n.ID}
	st.fill(set)
	if st.Reason != nil {
		set["reason"] = *st.Reason
	}
	if st.Considered != nil {
		set["considered"] = encodeList(*st.Considered)
	}
	st.Finish = true
	j := c.encode(st.Step, nil, set)
	j.Pass = st.Pass
	j.Quota = n.Blueprint.Quota
	_, j.Approved = n.Blueprint.Authorize.Decision(c.Lease.Owner)
	j.Lease, j.Blueprint, j.Rev, j.Limit, j.Slots = c.Ref.ID, n.Blueprint.Name, n.Blueprint.Rev, &n.Blueprint.Limit, n.Slots
	ref := model.ResourceRef(c.Ref.Namespace, n.ID)
	args := append([]any{n.ID, mustJSON(j)}, n.fields(c.Ref.ID)...)
	if trace := tracing.Carry(ctx); trace != "" {
		args = append(args, "trace", trace)
	}
	reply, err := s.run(ctx, "create resource", createResourceScript, []string{objectKey(ref), objectKey(c.Ref)}, args...)
	if err != nil {
		return Applied{}, err
	}
	return s.applied("create resource", c, j, reply)
}

// Ahead is a group of waiting leases of one shape that stand before a lease.
type Ahead struct {
	Count int64
	// First stands for all of them: they ask for the same.
	First model.Request
}

// Snapshot is what the allocator knows when it decides. It may be outdated by the time of the write, which checks again.
type Snapshot struct {
	Free  []FreeResource
	Ahead []Ahead
	// Allocation is the state of the lease's own allocation; empty if it has none.
	Allocation model.ResourceState
	// Resources counts the live resources of each blueprint that has a limit.
	Resources map[string]int
	// Owner says how each blueprint stands to the lease's owner, as far as the blueprint minds.
	Owner map[string]OwnerView
	// More says that there are more free resources than were read.
	More bool
	// Freed counts how often a slot lock of the namespace was freed: as long as it stands still, what was held is held.
	Freed int64
}

// FreeResource is a resource with room, as far as an allocator looks at it: a pool may have many. Its leases have been counted, not read.
type FreeResource struct {
	*model.Resource

	Load int
}

// OwnerView is how a blueprint stands to the owner of a lease.
type OwnerView struct {
	// Held counts the owner's other leases that have a place on the blueprint's resources, or one being made for them.
	Held int
	// Authorization is what is on record; empty = nothing.
	Authorization model.AuthorizationStatus
}

// freeFields are the fields of a [FreeResource], the first of them for the script, and aheadFields those of [Ahead].
var (
	freeFields = []string{
		"capacity", "schema", "id", "name", "type", "status", "blueprint", "attributes", "until", "facts", "sublease", "depth", "created", "active", "idle",
	}
	freeFieldsJSON = mustJSON(freeFields)

	aheadFields     = []string{"schema", "id", "status", "type", "owner", "attributes", "blueprints", "gates"}
	aheadFieldsJSON = mustJSON(aheadFields)
)

// Limits of a snapshot: how many free resources and how many groups of earlier waiters it looks at.
const (
	snapshotResources = 64
	snapshotShapes    = 100
)

// Snapshot reads what a claimed pending lease could take. page counts from 0 and pages through the free resources.
func (s *Store) Snapshot(ctx context.Context, c *Claim, blueprints []*model.Blueprint, page int) (*Snapshot, error) {
	return s.snapshot(ctx, c, blueprints, page*snapshotResources, 0)
}

// Glance is the first page of [Store.Snapshot], except that it stops at those free resources, best first, that have room for all who stand
// before the lease and for so many more: in a large pool that is all that most leases need.
func (s *Store) Glance(ctx context.Context, c *Claim, blueprints []*model.Blueprint, enough int) (*Snapshot, error) {
	return s.snapshot(ctx, c, blueprints, 0, max(1, enough))
}

func (s *Store) snapshot(ctx context.Context, c *Claim, blueprints []*model.Blueprint, offset, enough int) (*Snapshot, error) {
	l := c.Lease
	args := []any{
		l.Type, strconv.FormatFloat(l.Work.Order, 'f', 0, 64), snapshotResources, snapshotShapes, l.Work.Allocation, offset, enough, freeFieldsJSON,
		aheadFieldsJSON,
	}
	for _, bp := range blueprints {
		args = append(args, bp.Name, wanted(bp, l.Owner))
	}
	reply, err := s.run(ctx, "snapshot", snapshotScript, []string{objectKey(c.Ref)}, args...)
	if err != nil {
		return nil, err
	}
	snap := &Snapshot{
		Allocation: model.ResourceState(toString(reply[2])), Resources: make(map[string]int, len(blueprints)),
		Owner: make(map[string]OwnerView, len(blueprints)),
	}
	for _, item := range toSlice(reply[0]) {
		pair := toSlice(item)
		r, err := decodeResource(l.Namespace, named(freeFields, pair[0]), nil)
		if errors.Is(err, model.ErrSchemaVersion) {
			continue // for those who know it; the lease may find room elsewhere
		}
		if err != nil {
			return nil, err
		}
		snap.Free = append(snap.Free, FreeResource{Resource: r, Load: int(toInt(pair[1]))})
	}
	snap.Freed, snap.More = toInt(reply[4]), toInt(reply[5]) == 1
	for _, item := range toSlice(reply[1]) {
		pair := toSlice(item)
		first, err := decodeLease(l.Namespace, named(aheadFields, pair[1]))
		if err != nil {
			return nil, err
		}
		snap.Ahead = append(snap.Ahead, Ahead{Count: toInt(pair[0]), First: first.Request()})
	}
	counts := toSlice(reply[3])
	for i, bp := range blueprints {
		of := toSlice(counts[i])
		snap.Resources[bp.Name] = int(toInt(of[0]))
		snap.Owner[bp.Name] = OwnerView{Held: int(toInt(of[1])), Authorization: model.AuthorizationStatus(toString(of[2]))}
	}
	return snap, nil
}

// wanted says which of a blueprint's numbers an allocator needs for an owner's lease, in the letters of snapshot.lua: most have no limits.
func wanted(bp *model.Blueprint, owner string) (letters string) {
	if bp.Limit > 0 {
		letters += "l"
	}
	if bp.Quota > 0 {
		letters += "q"
	}
	if _, needsApproval := bp.Authorize.Decision(owner); needsApproval {
		letters += "a"
	}
	return letters
}

// named makes fields of what HMGET has read of them.
func named(names []string, values any) map[string]string {
	list, fields := toSlice(values), make(map[string]string, len(names))
	for i, name := range names {
		fields[name] = toString(list[i])
	}
	return fields
}

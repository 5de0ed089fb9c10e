package store

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"drydock/model"
	"drydock/tracing"
)

// Consumption is how one command was consumed.
type Consumption struct {
	Command *model.Command
	Outcome model.Outcome
	Detail  string
}

// Entry is one line for an object's log.
type Entry struct {
	Event   model.EventType
	Text    string
	Command string
}

// Step is what a write of a lease and one of a resource have in common.
type Step struct {
	// Consume lists the commands handled, in queue order from the head.
	Consume []Consumption
	Log     []Entry
	// Wake names further objects to wake in the same write; those that do not exist are passed over.
	Wake []model.Ref
	// Finish puts the pen down in the same write, unless something came in; LookAgain then is when to look again, zero = when
	// something comes in.
	Finish    bool
	LookAgain time.Time
}

// WorkChanges are new values for an object's work fields; nil changes nothing.
type WorkChanges struct {
	Slots    *[]string
	Hook     *string
	Failures *int
	EndedAt  *time.Time
	Until    *time.Time
}

// Progress records that the update got further: no hook is under way, and failures count from zero.
func (w *WorkChanges) Progress() {
	w.Hook, w.Failures = new(string), new(int)
}

func (w *WorkChanges) fill(set map[string]string) {
	if w.Slots != nil {
		set["slots"] = encodeList(*w.Slots)
	}
	if w.Hook != nil {
		set["hook"] = *w.Hook
	}
	if w.EndedAt != nil {
		set["ended"] = formatMillis(*w.EndedAt)
	}
	if w.Failures != nil {
		set["failures"] = strconv.Itoa(*w.Failures)
	}
	if w.Until != nil {
		set["until"] = formatMillis(*w.Until)
	}
}

// Acquisition puts a pending lease on a resource. Its slot locks are taken in the same write or not at all.
type Acquisition struct {
	Resource  string
	Blueprint string
	// Rev is the blueprint's revision that allowed it.
	Rev   int64
	Slots []string
	// Quota is how many leases the owner may have on the blueprint's resources; 0 = no quota. Approved refuses the step when no
	// operator's approval of the owner is on record.
	Quota    int
	Approved bool
	// Idle refuses the step when the resource has got a lease meanwhile.
	Idle bool
}

// LeaseStep is one write of a lease.
type LeaseStep struct {
	Step
	WorkChanges
	// Path lists the states to go through, in order; empty = the state stays.
	Path []model.LeaseState
	// Acquire is set when Path begins with acquired.
	Acquire *Acquisition
	// Requeue is set when Path is back to pending: the lease leaves its resource.
	Requeue bool
	// Allocation, Reason and Considered are for waiting leases; nil changes nothing.
	Allocation *string
	Reason     *string
	Considered *[]string
	// Reclaiming is the resource that was asked to make room, and the command; a pointer to the zero value forgets it.
	Reclaiming *Reclaiming
	// Gates are where a waiting lease waits for its owner to be admitted; nil changes nothing. The step is refused when one of them is
	// not shut any more.
	Gates *[]Gate
	// Pass wakes the next waiters: this one leaves room for so many leases behind.
	Pass int
	// StandBack takes a waiting lease out of those that would take anything now, so that it does not hold up the others: it
	// was refused for a reason that only its own next try can clear.
	StandBack bool
	// Compete puts a waiting lease (back) among those that would take anything now.
	Compete bool
}

// Gate is a blueprint that does not admit a lease because of its owner.
type Gate struct {
	Blueprint string `json:"blueprint"`
	// Rev is the blueprint's revision that says so.
	Rev int64 `json:"rev"`
	// Quota is the quota that is used up; 0 = that is not the reason.
	Quota int `json:"quota,omitempty"`
	// Authorization is what is on record when an approval is needed; empty = that is not the reason.
	Authorization model.AuthorizationStatus `json:"authorization,omitempty"`
}

// Reclaiming is a resource that was asked to make room for a lease, and the command that asks.
type Reclaiming struct{ Resource, Command string }

// ResourceStep is one write of a resource.
type ResourceStep struct {
	Step
	WorkChanges
	// Path lists the states to go through, in order; empty = the state stays.
	Path []model.ResourceState
	// Cascade, when not empty, sends `release` with this reason to every lease that has a place on the resource.
	Cascade string
	// Unleased refuses the step when a lease has a place on the resource.
	Unleased bool
	// SubLease is the id of the lease that the resource is going to stand on; nil changes nothing.
	SubLease *string
	// KeepIdle refuses the step when the blueprint would have fewer idle resources without this one; 0 = no matter.
	KeepIdle int
	// Rev is the blueprint's revision by which the resource has been read, and RetireAfter how long it may be idle by that; a pointer
	// to a negative duration = for ever. nil changes nothing.
	Rev         *int64
	RetireAfter *time.Duration
	// Refill offers the resource's room to those who wait, although its state stays.
	Refill     bool
	Paused     *bool
	Attributes map[string]string
	Capacity   *int
	Facts      *string
}

// Applied is what came of a write.
type Applied struct {
	// Done says that the pen was put down; Again that something came in and the caller must begin once more. Both are
	// false when the step did not ask to finish.
	Done, Again bool
	// Wake names the objects for which the caller should enqueue a task now.
	Wake []model.Ref
}

// ErrMoreCommands says that too many commands came in unread to be drained in the write that destroys the object: begin
// again and consume them first. Nothing was written.
var ErrMoreCommands = model.Errorf(model.ErrorConflict, "too many unread commands for one write")

// ErrLeased says that a step asked for a resource without leases and there is one. Nothing was written.
var ErrLeased = model.Errorf(model.ErrorConflict, "a lease has a place on the resource")

// ErrReleasing says that a release waits for the lease, which therefore does not become active any more. Nothing was written.
var ErrReleasing = model.Errorf(model.ErrorConflict, "a release waits for the lease")

// ErrNeeded says that the blueprint would have too few idle resources without this one. Nothing was written.
var ErrNeeded = model.Errorf(model.ErrorConflict, "its blueprint keeps it idle")

// stepJSON is a step as the scripts read it.
type stepJSON struct {
	Writer  string `json:"writer"`
	First   *seen  `json:"first,omitempty"`
	Version int64  `json:"version"`
	From    string `json:"from"`
	Fence   int64  `json:"fence,string"`
	Worker  string `json:"worker"`
	// Consume are the ids of the consumed commands, and Outcomes what they came to: CameTo has for each the place of its outcome, from 1,
	// unless it is the first for all. Releases is how many of them take the object back.
	Consume    []string          `json:"consume,omitempty"`
	Outcomes   []string          `json:"outcomes,omitempty"`
	CameTo     []int             `json:"came_to,omitempty"`
	Releases   int               `json:"releases,omitempty"`
	Superseded string            `json:"superseded,omitempty"`
	Path       []string          `json:"path,omitempty"`
	Set        map[string]string `json:"set,omitempty"`
	// Log is what the object's log and the events are told, as fields and values.
	Log    []string `json:"log,omitempty"`
	Wake   []string `json:"wake,omitempty"`
	Finish *int64   `json:"finish,omitempty"`

	Acquire   *acquireJSON `json:"acquire,omitempty"`
	Pass      int          `json:"pass,omitempty"`
	Compete   bool         `json:"compete,omitempty"`
	StandBack bool         `json:"stand_back,omitempty"`
	Gates     *[]Gate      `json:"gates,omitempty"`
	// GatedShape is the shape of a lease that waits at these gates; that of one that waits at none is stored.
	GatedShape string `json:"gated_shape,omitempty"`
	Quota      int    `json:"quota,omitempty"`
	Approved   bool   `json:"approved,omitempty"`

	Cascade    *cascadeJSON `json:"cascade,omitempty"`
	SubRelease *cascadeJSON `json:"sub_release,omitempty"`
	Unleased   bool         `json:"unleased,omitempty"`
	KeepIdle   int          `json:"keep_idle,omitempty"`
	Idle       string       `json:"idle,omitempty"`
	Refill     bool         `json:"refill,omitempty"`

	Lease     string   `json:"lease,omitempty"`
	Blueprint string   `json:"blueprint,omitempty"`
	Rev       int64    `json:"rev,omitempty"`
	Limit     *int     `json:"limit,omitempty"`
	MinIdle   *int     `json:"min_idle,omitempty"`
	Slots     []string `json:"slots,omitempty"`

	// step is what it was made of.
	step Step
}

type acquireJSON struct {
	Resource  string   `json:"resource"`
	Blueprint string   `json:"blueprint"`
	Rev       int64    `json:"rev"`
	Slots     []string `json:"slots,omitempty"`
	Quota     int      `json:"quota,omitempty"`
	Approved  bool     `json:"approved,omitempty"`
	Idle      bool     `json:"idle,omitempty"`
}

type cascadeJSON struct {
	States string `json:"states"`
	ID     string `json:"id"`
	Rest   string `json:"rest"`
	Text   string `json:"text"`
}

// carry stores the trace of the update that consumes commands with the object, so that what it does later, without a command, is part of
// the same trace.
func carry(ctx context.Context, st Step, set map[string]string) {
	if trace := tracing.Carry(ctx); trace != "" && len(st.Consume) > 0 {
		set["trace"] = trace
	}
}

// encode fills in what both kinds of step share.
func (c *Claim) encode(st Step, path []string, set map[string]string) stepJSON {
	j := stepJSON{
		Writer: c.Writer, First: c.seen, Version: c.version, From: c.status, Fence: c.Fence, Worker: c.Worker, Path: path, Set: set, step: st,
	}
	places := map[outcomeRecord]int{}
	for _, k := range st.Consume {
		record := outcomeRecord{Outcome: k.Outcome, Detail: k.Detail, Fence: c.Fence, Worker: c.Worker}
		if places[record] == 0 {
			j.Outcomes = append(j.Outcomes, rest(record))
			places[record] = len(j.Outcomes)
		}
		j.Consume = append(j.Consume, k.Command.ID)
		j.CameTo = append(j.CameTo, places[record])
		if takesBack(k.Command.Name) {
			j.Releases++
		}
	}
	if len(j.Outcomes) == 1 {
		j.CameTo = nil
	}
	if len(st.Log) > 0 {
		j.Log = append(told(st.Log), "f", strconv.FormatInt(c.Fence, 10), "w", c.Worker)
	}
	for _, ref := range st.Wake {
		j.Wake = append(j.Wake, ref.Member())
	}
	if len(path) > 0 && path[len(path)-1] == string(model.LeaseDestroyed) {
		j.Superseded = rest(outcomeRecord{
			Outcome: model.OutcomeSuperseded, Detail: "destroyed before it was looked at", Fence: c.Fence, Worker: c.Worker,
		})
	}
	if st.Finish {
		at := toMillis(st.LookAgain)
		j.Finish = &at
	}
	return j
}

// ApplyLease writes one step of the claimed lease, all or nothing, and raises the claim's version. Errors, after each of
// which nothing was written: [model.ErrStaleWriter], [model.ErrResourceUnusable], [model.ErrBlueprintChanged],
// [model.ErrSlotHeld], [model.ErrQuotaReached], [ErrReleasing], [ErrMoreCommands], [model.ErrorUnavailable] (then it may have been written; only the same claim
// can find out, by the same step).
func (s *Store) ApplyLease(ctx context.Context, c *Claim, st LeaseStep) (Applied, error) {
	set := map[string]string{}
	st.fill(set)
	if st.Allocation != nil {
		set["allocation"] = *st.Allocation
	}
	if st.Reason != nil {
		set["reason"] = *st.Reason
	}
	if st.Considered != nil {
		set["considered"] = encodeList(*st.Considered)
	}
	if st.Reclaiming != nil {
		set["reclaiming"] = strings.TrimSpace(st.Reclaiming.Resource + " " + st.Reclaiming.Command)
	}
	if st.Acquire != nil {
		set["resource"], set["blueprint"], set["slots"] = st.Acquire.Resource, st.Acquire.Blueprint, encodeList(st.Acquire.Slots)
		set["allocation"], set["reason"], set["considered"], set["reclaiming"] = "", "", "", ""
		set["failed"] = ""
	}
	if st.Requeue {
		set["resource"], set["blueprint"], set["slots"], set["acquired"] = "", "", "", ""
	}
	carry(ctx, st.Step, set)
	j := c.encode(st.Step, toStringsOf(st.Path), set)
	j.Pass, j.Compete, j.StandBack = st.Pass, st.Compete, st.StandBack
	if a := st.Acquire; a != nil {
		j.Acquire = &acquireJSON{
			Resource: a.Resource, Blueprint: a.Blueprint, Rev: a.Rev, Slots: a.Slots, Quota: a.Quota, Approved: a.Approved, Idle: a.Idle,
		}
	}
	if st.Gates != nil {
		names := make([]string, len(*st.Gates))
		for i, g := range *st.Gates {
			names[i] = g.Blueprint
		}
		gates := append([]Gate{}, *st.Gates...) // null is not a list
		j.Gates = &gates
		if j.GatedShape = c.Lease.Work.Shape; len(names) > 0 {
			j.GatedShape = gatedShapeOf(c.Lease.Request(), names)
		}
	}
	ends := slices.Contains(st.Path, model.LeaseReleased) || slices.Contains(st.Path, model.LeaseBroken)
	if ends && c.Lease.Work.ForResource != "" {
		j.SubRelease = s.ownRelease(ctx, model.KindResource, "the lease that it stands on has ended")
	}
	return s.apply(ctx, "apply lease", applyLeaseScript, c, j)
}

// ApplyResource writes one step of the claimed resource, all or nothing, and raises the claim's version. Errors as for
// [Store.ApplyLease]; with Unleased also [ErrLeased], with KeepIdle [ErrNeeded].
func (s *Store) ApplyResource(ctx context.Context, c *Claim, st ResourceStep) (Applied, error) {
	set := map[string]string{}
	st.fill(set)
	if st.Paused != nil {
		set["paused"] = flag(*st.Paused)
	}
	if st.Attributes != nil {
		set["attributes"] = encodeMap(st.Attributes)
	}
	if st.Capacity != nil {
		set["capacity"] = strconv.Itoa(*st.Capacity)
	}
	if st.Facts != nil {
		set["facts"] = *st.Facts
	}
	if st.SubLease != nil {
		set["sublease"] = *st.SubLease
	}
	if st.Rev != nil {
		set["rev"] = strconv.FormatInt(*st.Rev, 10)
	}
	if st.RetireAfter != nil {
		set["retire"] = ""
		if *st.RetireAfter >= 0 {
			set["retire"] = strconv.FormatInt(st.RetireAfter.Milliseconds(), 10)
		}
	}
	carry(ctx, st.Step, set)
	j := c.encode(st.Step, toStringsOf(st.Path), set)
	j.Unleased, j.Refill, j.KeepIdle, j.Idle = st.Unleased, st.Refill, st.KeepIdle, c.idle
	if slices.Contains(st.Path, model.ResourceDestroyed) && c.Resource.Work.SubLease != "" {
		j.SubRelease = s.ownRelease(ctx, model.KindLease, "the resource that stands on it is destroyed")
	}
	if st.Cascade != "" {
		j.Cascade = s.ownRelease(ctx, model.KindLease, st.Cascade)
	}
	applied, err := s.apply(ctx, "apply resource", applyResourceScript, c, j)
	if err == nil && c.status == string(model.ResourceDestroyed) {
		applied.Wake = append(applied.Wake, s.wakeMoreWaiters(ctx, c.Ref.Namespace, c.Resource.Type)...)
	}
	return applied, err
}

// ownRelease is a release that a script sends to objects of a kind on Drydock's own account.
func (*Store) ownRelease(ctx context.Context, k model.Kind, reason string) *cascadeJSON {
	cmd := model.Command{
		Name: model.CommandRelease, Author: model.SystemAuthor, Origin: model.Origin{Via: model.ViaWorker}, Reason: reason,
	}
	return &cascadeJSON{
		States: commandable(k), ID: model.NewID(), Text: sentText(cmd),
		Rest: rest(sentRecord{Command: cmd.Name, Author: cmd.Author, Origin: cmd.Origin, Reason: cmd.Reason, Trace: tracing.Carry(ctx)}),
	}
}

func (s *Store) apply(ctx context.Context, op string, script *redis.Script, c *Claim, j stepJSON) (Applied, error) {
	reply, err := s.run(ctx, op, script, []string{objectKey(c.Ref)}, c.Ref.ID, mustJSON(j))
	if err != nil {
		return Applied{}, err
	}
	return s.applied(op, c, j, reply)
}

func (s *Store) applied(op string, c *Claim, j stepJSON, reply []any) (Applied, error) {
	err := stepError(toString(reply[0]))
	s.observeStep(op, c, j.step, reply, err)
	if err != nil {
		return Applied{}, fmt.Errorf("%s %s: %w", op, c.Ref, err)
	}
	c.seen = nil
	c.version++
	if len(j.Path) > 0 {
		c.status = j.Path[len(j.Path)-1]
	}
	end := toString(reply[1])
	return Applied{Done: end == "done", Again: end == "again", Wake: s.toRefs(c.Ref.Namespace, reply[min(3, len(reply)):])}, nil
}

// stepError maps the codes of the apply scripts.
func stepError(code string) error {
	switch code {
	case "ok", "repeat":
		return nil
	case "stale":
		return model.ErrStaleWriter
	case "unusable":
		return model.ErrResourceUnusable
	case "changed":
		return model.ErrBlueprintChanged
	case "held":
		return model.ErrSlotHeld
	case "limit":
		return model.ErrLimitReached
	case "quota":
		return model.ErrQuotaReached
	case "pending":
		return errAllocationPending
	case "enough":
		return ErrEnoughIdle
	case "needed":
		return ErrNeeded
	case "releasing":
		return ErrReleasing
	case "leased":
		return ErrLeased
	case "more":
		return ErrMoreCommands
	}
	return model.Errorf(model.ErrorInternal, "the script answered %q", code)
}

func toStringsOf[S ~string](list []S) []string {
	out := make([]string, len(list))
	for i, x := range list {
		out[i] = string(x)
	}
	return out
}

package store

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"drydock/model"
	"drydock/tracing"
)

// Claim is the pen for one object: as long as nobody else takes it, its holder may write. A claim of [Store.Begin] has yet to be taken, which
// its first write does; until then it is a look at the object.
type Claim struct {
	Ref    model.Ref
	Writer string
	Fence  int64
	// Worker names the process, for the history.
	Worker string
	// Now is the server's time at the claim.
	Now time.Time
	// BlueprintsRev tells whether cached blueprints are fresh.
	BlueprintsRev int64
	// Lease, Resource or Blueprint is the object as of the claim; the others are nil.
	Lease     *model.Lease
	Resource  *model.Resource
	Blueprint *model.BlueprintWork
	// Commands wait on the queue, oldest first: at most [MaxClaimed].
	Commands []*model.Command

	version int64
	status  string
	// idle is when the last lease left a resource, as it is stored.
	idle string

	// seen is what a claim that has not been taken yet rests on; nil = it has.
	seen *seen
}

// Over reports whether the object has been destroyed with the claim.
func (c *Claim) Over() bool { return c.status == string(model.LeaseDestroyed) }

// seen is what a run read when it began.
type seen struct {
	// Writer had the pen.
	Writer string `json:"writer"`
	// Heard is the last word that the object had been given; "0" = an update has heard it.
	Heard string `json:"heard"`

	// wakeAt is the object's time in the wake index; zero = it is not there.
	wakeAt time.Time
	// busy says that its lock has been found busy, which is counted until a write takes the pen.
	busy bool
}

// Taken reports whether the claim has the pen: a write has been made with it.
func (c *Claim) Taken() bool { return c.seen == nil }

// MaxClaimed is how many waiting commands one claim returns.
const MaxClaimed = 500

// Begin looks at an object for an update. The claim it returns takes the pen with its first write, under a fresh random writer, if nobody else
// has taken it meanwhile: otherwise that write finds itself stale. An object whose end has passed is claimed at once, as by [Store.Claim].
// It returns nil when nothing is owed: the object does not exist or is destroyed. Errors: [model.ErrSchemaVersion], [model.ErrorUnavailable].
func (s *Store) Begin(ctx context.Context, ref model.Ref, worker string) (*Claim, error) {
	ctx, end := tracing.Child(ctx, "store begin")
	c, err := s.begin(ctx, ref, worker)
	end(err)
	if err != nil {
		return nil, fmt.Errorf("begin %s: %w", ref, err)
	}
	if c == nil {
		// Gone, over, of a newer version or past its end: what follows from that is a write, and only if it still is so.
		return s.Claim(ctx, ref, worker)
	}
	return c, nil
}

// begin reads what a claim rests on; nil = a claim must be taken before anything can be said.
//
// It is no script: what an object has takes Redis three times as long to hand over through Lua. So others may write between its reads, which
// their order and the first write make harmless. The object is read first. A command that comes in after that may be among those that wait,
// but the word that came with it has not been heard, and calls for another look. Commands that another run has consumed raise the version,
// and who has read the one before is stale. And a lease that leaves a resource in between has moved the instant since which it is idle,
// which the end of the update compares.
func (s *Store) begin(ctx context.Context, ref model.Ref, worker string) (*Claim, error) {
	pipe := s.rdb.Pipeline()
	if s.Sharded() {
		// A slot that moves could have some of these read later than others, in any order.
		pipe = s.rdb.TxPipeline()
	}
	object := pipe.HGetAll(ctx, objectKey(ref))
	queue := pipe.LRange(ctx, commandsKey(ref), 0, MaxClaimed-1)
	leases := new(redis.StringSliceCmd)
	if ref.Kind == model.KindResource {
		leases = pipe.ZRange(ctx, resourceLeasesKey(ref.Namespace, ref.ID), 0, -1)
	}
	rev := pipe.Get(ctx, blueprintsRevKey(ref.Namespace))
	wakeAt := pipe.ZScore(ctx, wakeKey(ref.Namespace), ref.Member())
	clock := pipe.Time(ctx)
	if err := exec(ctx, "read", pipe); err != nil {
		return nil, err
	}
	fields := object.Val()
	live := fields["status"] != "" && fields["status"] != string(model.LeaseDestroyed)
	if known := checkSchema(fields) == nil; !live || !known {
		return nil, nil
	}
	c := &Claim{Ref: ref, Writer: model.NewWriter(), Worker: worker}
	c.Now = millis(clock.Val().UnixMilli())
	if s.cfg.Now != nil {
		c.Now = millis(s.cfg.Now().UnixMilli())
	}
	c.BlueprintsRev, _ = rev.Int64()
	before := &seen{
		Writer: fields["writer"], Heard: fields["woken"], wakeAt: millis(int64(wakeAt.Val())), busy: fields["busy"] != "",
	}
	fence, _ := strconv.ParseInt(fields["fence"], 10, 64)
	fields["writer"], fields["fence"] = c.Writer, strconv.FormatInt(fence+1, 10)
	if err := c.decode(fields, leases.Val()); err != nil {
		return nil, err
	}
	if c.expires(fields) {
		return nil, nil
	}
	// A record is there before its command waits, and never changes.
	if ids := queue.Val(); len(ids) > 0 {
		records, err := s.rdb.HMGet(ctx, recordsKey(ref), ids...).Result()
		if err != nil {
			return nil, translate("read commands", err)
		}
		for i, id := range ids {
			if err := c.decodeCommand(id, toString(records[i])); err != nil {
				return nil, err
			}
		}
	}
	c.seen = before
	return c, nil
}

// expires reports whether the object's end has passed and no release has come of it yet.
func (c *Claim) expires(fields map[string]string) bool {
	end := parseMillis(fields["until"])
	return !end.IsZero() && !end.After(c.Now) && fields["expired"] != fields["until"] && c.commandable()
}

// commandable reports whether the object takes commands.
func (c *Claim) commandable() bool {
	return c.Lease != nil && c.Lease.Status.Commandable() || c.Resource != nil && c.Resource.Status.Commandable()
}

// Claim takes the pen of an object under a fresh random writer, ahead of any other write; [Store.Begin] calls it where an end has passed. Expiry comes first: if the object's end has passed, a
// release command of Drydock's own has joined the queue. It returns nil when nothing is owed: the object does not exist or is
// destroyed. Errors: [model.ErrSchemaVersion], [model.ErrorUnavailable].
func (s *Store) Claim(ctx context.Context, ref model.Ref, worker string) (*Claim, error) {
	c := &Claim{Ref: ref, Writer: model.NewWriter(), Worker: worker}
	expiry := sentRecord{
		Command: model.CommandRelease, Author: model.SystemAuthor, Origin: model.Origin{Via: model.ViaWorker},
		Reason: "its until has passed",
	}
	expiryID := model.NewID()
	reply, err := s.run(ctx, "claim", claimScript, []string{objectKey(ref)},
		ref.Member(), c.Writer, schemaVersion, MaxClaimed, expiryID, rest(expiry), commandable(ref.Kind))
	if err != nil {
		return nil, err
	}
	switch toInt(reply[0]) {
	case -1:
		return nil, fmt.Errorf("claim %s: %w", ref, model.ErrSchemaVersion)
	case 0, 2:
		return nil, nil
	}
	if err := c.read(reply); err != nil {
		return nil, err
	}
	s.observeExpiry(c, expiryID)
	return c, nil
}

// read reads what claim.lua shows.
func (c *Claim) read(reply []any) error {
	c.Now, c.BlueprintsRev = millis(toInt(reply[1])), toInt(reply[2])
	if err := c.decode(toMap(reply[3]), toStrings(reply[5])); err != nil {
		return err
	}
	waiting := toStrings(reply[4])
	for i := 0; i+1 < len(waiting); i += 2 {
		if err := c.decodeCommand(waiting[i], waiting[i+1]); err != nil {
			return err
		}
	}
	return nil
}

// decodeCommand adds a waiting command.
func (c *Claim) decodeCommand(id, record string) error {
	cmd, err := decodeCommand(c.Ref, id, record, "")
	if err == nil {
		c.Commands = append(c.Commands, cmd)
	}
	return err
}

// decode reads the claimed object.
func (c *Claim) decode(fields map[string]string, leases []string) (err error) {
	ns := c.Ref.Namespace
	switch c.Ref.Kind {
	case model.KindLease:
		if c.Lease, err = decodeLease(ns, fields); err == nil {
			c.Fence, c.version, c.status = c.Lease.Fence, c.Lease.Work.Version, string(c.Lease.Status)
		}
	case model.KindResource:
		if c.Resource, err = decodeResource(ns, fields, leases); err == nil {
			c.Fence, c.version, c.status = c.Resource.Fence, c.Resource.Work.Version, string(c.Resource.Status)
			c.idle = fields["idle"]
		}
	case model.KindBlueprint:
		if c.Blueprint, err = decodeBlueprintWork(fields); err == nil {
			c.Fence, _ = strconv.ParseInt(fields["fence"], 10, 64)
			c.version, c.status = c.Blueprint.Version, fields["status"]
		}
	}
	return err
}

// Touch keeps a claimed object out of the sweeper's sight for another visibility. Errors: [model.ErrStaleWriter],
// [model.ErrorUnavailable].
func (s *Store) Touch(ctx context.Context, c *Claim) error {
	args := append(s.head(), c.Ref.Member(), c.Writer)
	moved, err := touchScript.Run(ctx, s.rdb, []string{objectKey(c.Ref)}, args...).Int()
	if err != nil {
		return translate("touch", err)
	}
	if moved == 0 {
		s.cfg.Observer.Stale("touch")
		return model.ErrStaleWriter
	}
	return nil
}

// Busy puts an object off because somebody else holds its lock: by first at the first time in a row, then twice as long
// each time, at most the visibility, and not for longer than the lock lives where that is on the data Redis. It returns the delay. token
// names the attempt, so that a re-sent write counts once.
func (s *Store) Busy(ctx context.Context, ref model.Ref, token string, first time.Duration) (time.Duration, error) {
	args := append(s.head(), ref.Member(), token, first.Milliseconds())
	ms, err := busyScript.Run(ctx, s.rdb, []string{objectKey(ref)}, args...).Int64()
	return time.Duration(ms) * time.Millisecond, translate("busy", err)
}

// Finish puts the pen down. The object leaves the wake index, or stays there until lookAgain when that is not zero. again
// reports that something came in that the run has not heard, or that a resource became idle: the caller begins once more. A claim that has
// not been taken and leaves everything as it is writes nothing. Errors: [model.ErrStaleWriter], [model.ErrorUnavailable].
func (s *Store) Finish(ctx context.Context, c *Claim, lookAgain time.Time) (again bool, err error) {
	args := append(s.head(), c.Ref.Member(), c.Writer, toMillis(lookAgain))
	before := c.seen
	switch {
	case before == nil:
		args = append(args, "", "", "")
	case !isWoken(before.Heard) && !before.busy && len(c.Commands) == 0 && toMillis(before.wakeAt) == toMillis(lookAgain):
		return false, nil
	default:
		args = append(args, before.Writer, c.version, before.Heard)
	}
	args = append(args, c.idle)
	code, err := finishScript.Run(ctx, s.rdb, []string{objectKey(c.Ref)}, args...).Text()
	if err != nil {
		return false, translate("finish", err)
	}
	if code == "stale" {
		s.cfg.Observer.Stale("finish")
		return false, model.ErrStaleWriter
	}
	c.seen = nil
	return code == "again", nil
}

// Owed reports whether something has come in for an object that no update has heard yet.
func (s *Store) Owed(ctx context.Context, ref model.Ref) (bool, error) {
	v, err := s.rdb.HMGet(ctx, objectKey(ref), "woken").Result()
	if err != nil {
		return false, translate("look once more", err)
	}
	return isWoken(toString(v[0])), nil
}

// isWoken reads an object's field of that name: the word that it has been given and that no update has heard.
func isWoken(word string) bool { return word != "" && word != "0" }

// HaveDue lists those of the namespaces that have an object in the wake index whose time has passed. It reads all of them in one round trip.
// Errors: [model.ErrorUnavailable].
func (s *Store) HaveDue(ctx context.Context, namespaces []string) ([]string, error) {
	if len(namespaces) == 0 {
		return nil, nil
	}
	pipe := s.rdb.Pipeline()
	clock := pipe.Time(ctx)
	first := make([]*redis.ZSliceCmd, len(namespaces))
	for i, ns := range namespaces {
		first[i] = pipe.ZRangeWithScores(ctx, wakeKey(ns), 0, 0)
	}
	if err := exec(ctx, "look for what is due", pipe); err != nil {
		return nil, err
	}
	now := clock.Val()
	if s.cfg.Now != nil {
		now = s.cfg.Now()
	}
	var due []string
	for i, ns := range namespaces {
		if members := first[i].Val(); len(members) > 0 && int64(members[0].Score) <= now.UnixMilli() {
			due = append(due, ns)
		}
	}
	return due, nil
}

// Due hands out at most limit objects whose time in the wake index has passed and puts each out of sight for the
// visibility, so that of many sweepers one enqueues it. left is how many more are due.
func (s *Store) Due(ctx context.Context, ns string, limit int) (refs []model.Ref, left int64, err error) {
	reply, err := s.run(ctx, "due", dueScript, []string{wakeKey(ns)}, limit)
	if err != nil {
		return nil, 0, err
	}
	refs = s.toRefs(ns, reply[4:])
	if len(refs) > 0 {
		lost, busy := int(toInt(reply[2])), int(toInt(reply[3]))
		s.cfg.Observer.Swept(Swept{Lost: lost, Busy: busy, Planned: len(refs) - lost - busy})
	}
	return refs, toInt(reply[1]), nil
}

package store

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"drydock/model"
)

// Claim is the pen for one object: as long as no other claim is made, its holder may write.
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
}

// MaxClaimed is how many waiting commands one claim returns.
const MaxClaimed = 500

// Claim takes the pen of an object under a fresh random writer. Expiry comes first: if the object's end has passed, a
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
	c.Now, c.BlueprintsRev = millis(toInt(reply[1])), toInt(reply[2])
	fields := toMap(reply[3])
	if err := c.decode(fields, toStrings(reply[5])); err != nil {
		return nil, err
	}
	waiting := toStrings(reply[4])
	for i := 0; i+1 < len(waiting); i += 2 {
		cmd, err := decodeCommand(ref, waiting[i], waiting[i+1], "")
		if err != nil {
			return nil, err
		}
		c.Commands = append(c.Commands, cmd)
	}
	s.observeExpiry(c, expiryID)
	return c, nil
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
// reports that something came in since the claim: the caller claims and runs once more. Errors: [model.ErrStaleWriter],
// [model.ErrorUnavailable].
func (s *Store) Finish(ctx context.Context, c *Claim, lookAgain time.Time) (again bool, err error) {
	args := append(s.head(), c.Ref.Member(), c.Writer, toMillis(lookAgain))
	code, err := finishScript.Run(ctx, s.rdb, []string{objectKey(c.Ref)}, args...).Text()
	if err != nil {
		return false, translate("finish", err)
	}
	if code == "stale" {
		s.cfg.Observer.Stale("finish")
		return false, model.ErrStaleWriter
	}
	return code == "again", nil
}

// Owed reports whether something has come in for an object that nobody has claimed yet.
func (s *Store) Owed(ctx context.Context, ref model.Ref) (bool, error) {
	v, err := s.rdb.HMGet(ctx, objectKey(ref), "woken").Result()
	if err != nil {
		return false, translate("look once more", err)
	}
	return toString(v[0]) == "1", nil
}

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

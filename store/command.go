package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"drydock/model"
	"drydock/tracing"
)

var errKeyReused = model.Errorf(model.ErrorMismatch, "this Idempotency-Key was used for another request within the last day")

// Send puts a command on its target's queue and wakes the target's update. The command has been checked
// ([model.CheckCommand]); its id is a fresh one of [model.NewID]. A repeated idempotency key changes nothing and returns what
// the first call stored; a repeated id is the same call, sent again.
//
// A release of an object that is already released or destroyed stores nothing and returns no command. Other errors:
// [model.ErrorNotFound], [model.ErrorConflict] when the state takes no commands, [model.ErrorMismatch] when the key belongs to
// another request, [model.ErrSchemaVersion], [model.ErrorUnavailable], [model.ErrorUnknown].
func (s *Store) Send(ctx context.Context, cmd model.Command, idem model.Idempotency) (model.Sent, error) {
	reply, err := s.write(ctx, "send", sendScript, []string{objectKey(cmd.Target)}, sendArgs(ctx, cmd, idem, false)...)
	if err != nil {
		return model.Sent{}, err
	}
	return s.sentOf(cmd, reply)
}

// sendArgs are the script's arguments. brief leaves the object out of the reply.
func sendArgs(ctx context.Context, cmd model.Command, idem model.Idempotency, brief bool) []any {
	record := sentRecord{Command: cmd.Name, Args: cmd.Args, Author: cmd.Author, Origin: cmd.Origin, Reason: cmd.Reason, Trace: tracing.Carry(ctx)}
	return []any{
		cmd.Target.Member(), cmd.ID, rest(record), string(cmd.Name), sentText(cmd), commandable(cmd.Target.Kind), flag(takesBack(cmd.Name)),
		hashKey(idem.Key), idem.Fingerprint, idempotencyWindow.Milliseconds(), schemaVersion,
		flag(brief),
	}
}

// sentOf reads the script's reply.
func (s *Store) sentOf(cmd model.Command, reply []any) (out model.Sent, err error) {
	ref := cmd.Target
	switch toInt(reply[0]) {
	case -1:
		return model.Sent{}, errKeyReused
	case -2:
		return model.Sent{}, notFound(ref.Kind)
	case -3:
		return model.Sent{}, model.Errorf(model.ErrorConflict, "the %s takes no %q in its present state", ref.Kind, cmd.Name)
	case -4:
		return model.Sent{}, fmt.Errorf("send to %s: %w", ref, model.ErrSchemaVersion)
	}
	if toInt(reply[0]) == 1 {
		s.cfg.Observer.Sent(cmd.Target.Kind, cmd.Name, cmd.Origin.Via, 1)
	}
	out = model.Sent{
		Repeat: toInt(reply[0]) == 0, Wake: s.toRefs(ref.Namespace, reply[3:]),
	}
	switch {
	case len(toSlice(reply[1])) == 0: // nobody wanted to see it
	case ref.Kind == model.KindLease:
		out.Lease, err = shownLease(ref.Namespace, reply[1])
	default:
		out.Resource, err = shownResource(ref.Namespace, reply[1])
	}
	if err != nil {
		return out, err
	}
	if command := toStrings(reply[2]); len(command) == 3 {
		out.Command, err = decodeCommand(ref, command[0], command[1], command[2])
	}
	return out, err
}

// sentText is what the log says about an accepted command.
func sentText(cmd model.Command) string {
	text := fmt.Sprintf("%s from %s via %s", cmd.Name, cmd.Author, cmd.Origin.Via)
	if cmd.Reason != "" {
		text += ": " + cmd.Reason
	}
	return text
}

// takesBack reports whether a waiting command makes its target "releasing".
func takesBack(name model.CommandName) bool {
	return name == model.CommandRelease || name == model.CommandReclaim
}

func flag(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

// commandable lists the states that take commands, as the scripts want them: ",pending,active,".
func commandable(k model.Kind) string {
	var states []string
	if k == model.KindLease {
		for _, st := range model.LeaseStates() {
			if st.Commandable() {
				states = append(states, string(st))
			}
		}
	} else {
		for _, st := range model.ResourceStates() {
			if st.Commandable() {
				states = append(states, string(st))
			}
		}
	}
	return "," + strings.Join(states, ",") + ","
}

func notFound(k model.Kind) error {
	if k == model.KindLease {
		return model.ErrLeaseNotFound
	}
	return model.ErrResourceNotFound
}

// hashKey makes a caller's idempotency key fit to stand in one of ours.
func hashKey(key string) string {
	if key == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:16])
}

func decodeAnswer(s string) *model.Answer {
	if s == "" {
		return nil
	}
	var a model.Answer
	if json.Unmarshal([]byte(s), &a) != nil {
		return nil
	}
	return &a
}

// SaveAnswer keeps the first answer to a request with an idempotency key, so that a repeated request gets it word for word. It
// returns the answer to give, which is another one when a repetition was quicker to be answered.
func (s *Store) SaveAnswer(ctx context.Context, ns, key string, a model.Answer) (model.Answer, error) {
	args := append(s.head(), mustJSON(a))
	kept, err := saveAnswerScript.Run(ctx, s.rdb, []string{idemKey(ns, hashKey(key))}, args...).Text()
	if err != nil {
		return a, translate("save answer", err)
	}
	if first := decodeAnswer(kept); first != nil {
		return *first, nil
	}
	return a, nil
}

// KnowsKey reports whether a request with this idempotency key was accepted before.
func (s *Store) KnowsKey(ctx context.Context, ns, key string) (bool, error) {
	n, err := s.rdb.Exists(ctx, idemKey(ns, hashKey(key))).Result()
	return n == 1, translate("look up idempotency key", err)
}

func (s *Store) readCommands(ctx context.Context, ref model.Ref, ids []string) ([]*model.Command, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	fields := make([]string, 0, 2*len(ids))
	for _, id := range ids {
		fields = append(fields, id, id+":outcome")
	}
	values, err := s.rdb.HMGet(ctx, recordsKey(ref), fields...).Result()
	if err != nil {
		return nil, translate("read commands", err)
	}
	commands := make([]*model.Command, 0, len(ids))
	for i, id := range ids {
		sent := toString(values[2*i])
		if sent == "" {
			continue
		}
		c, err := decodeCommand(ref, id, sent, toString(values[2*i+1]))
		if err != nil {
			return nil, err
		}
		commands = append(commands, c)
	}
	return commands, nil
}

// Commands lists an object's commands, oldest first: those consumed, then those that wait. Errors: [model.ErrorNotFound],
// [model.ErrorUnavailable].
func (s *Store) Commands(ctx context.Context, ref model.Ref, limit int, after string) (model.Page[*model.Command], error) {
	page := model.Page[*model.Command]{Items: []*model.Command{}}
	if limit <= 0 {
		limit = model.DefaultPageLimit
	}
	start, err := parseOffset(after)
	if err != nil {
		return page, err
	}
	// One transaction, so that a command that is consumed meanwhile is seen once. Where the page begins in the queue follows from
	// how many were consumed, so it is read again until that number stands still; it only grows, so past only falls.
	var exists, consumed *redis.IntCmd
	var history, waiting *redis.StringSliceCmd
	for past := int64(0); ; {
		_, err = s.rdb.TxPipelined(ctx, func(tx redis.Pipeliner) error {
			exists = tx.Exists(ctx, objectKey(ref))
			consumed = tx.LLen(ctx, historyKey(ref))
			history = tx.LRange(ctx, historyKey(ref), start, start+int64(limit))
			waiting = tx.LRange(ctx, commandsKey(ref), past, past+int64(limit))
			return nil
		})
		if err != nil {
			return page, translate("list commands", err)
		}
		begin := max(0, start-consumed.Val())
		if begin == past {
			break
		}
		past = begin
	}
	if exists.Val() == 0 {
		return page, notFound(ref.Kind)
	}
	ids := history.Val()
	if len(ids) <= limit {
		ids = slices.Concat(ids, waiting.Val())
	}
	if len(ids) > limit {
		ids = ids[:limit]
		page.Next = formatOffset(start + int64(limit))
	}
	page.Items, err = s.readCommands(ctx, ref, ids)
	if page.Items == nil {
		page.Items = []*model.Command{}
	}
	return page, err
}

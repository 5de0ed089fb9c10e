package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"drydock/model"
)

// SendAll puts commands on their targets' queues, as [Store.Send] does with each, in one round trip: it is not one write, and others
// may come in between. All targets are in one namespace. The results stand in the order of the commands, without the targets, each with
// the error that Send would have returned. Any other error is about all of them: what has been sent is not known then. Sent again with the
// same ids, the commands change nothing.
func (s *Store) SendAll(ctx context.Context, cmds []model.Command) ([]model.SendResult, error) {
	if len(cmds) == 0 {
		return nil, nil
	}
	const op = "send"
	node, err := s.nodeFor(ctx, objectKey(cmds[0].Target))
	if err != nil {
		return nil, translate(op, err)
	}
	replies, synced, err := s.sendBatch(ctx, node, sendScript.EvalSha, cmds)
	if err != nil && redis.HasErrorPrefix(err, "NOSCRIPT") {
		replies, synced, err = s.sendBatch(ctx, node, sendScript.Eval, cmds)
	}
	if err != nil {
		return nil, translate(op, err)
	}
	if synced != nil {
		return nil, fmt.Errorf("%s: %w", op, errNotDurable(s.cfg.Durability, synced))
	}
	results := make([]model.SendResult, len(cmds))
	for i, cmd := range cmds {
		results[i].Sent, results[i].Err = s.sentOf(cmd, replies[i])
	}
	return results, nil
}

// sendBatch runs the script for each command in one pipeline, and then waits once for what all have written. synced is why they have
// not reached the durability level.
func (s *Store) sendBatch(
	ctx context.Context, node *redis.Client, script eval, cmds []model.Command,
) (replies [][]any, synced, err error) {
	runs := make([]*redis.Cmd, len(cmds))
	var reached func() error
	_, execErr := node.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, cmd := range cmds {
			runs[i] = script(ctx, p, []string{objectKey(cmd.Target)}, append(s.head(), sendArgs(ctx, cmd, model.Idempotency{}, true)...)...)
		}
		reached = s.cfg.Durability.barrier(ctx, p, objectKey(cmds[0].Target))
		return nil
	})
	replies = make([][]any, len(runs))
	for i, run := range runs {
		if replies[i], err = run.Slice(); err != nil {
			return nil, nil, err
		}
	}
	if err := reached(); err != nil {
		return replies, errors.Join(err, execErr), nil
	}
	return replies, nil, nil
}

// Plan keeps what a request with an idempotency key is about to do in several writes, so that a repetition does the same and nothing
// else: it returns the plan of the first one, and its answer when that is on record. Errors: [model.ErrorMismatch] when the key belongs to
// another request, [model.ErrorUnavailable], [model.ErrorUnknown].
func (s *Store) Plan(ctx context.Context, ns string, idem model.Idempotency, plan []byte) (kept []byte, answer *model.Answer, err error) {
	reply, err := s.write(ctx, "plan", planScript, []string{idemKey(ns, hashKey(idem.Key))},
		idem.Fingerprint, plan, idempotencyWindow.Milliseconds())
	if err != nil {
		return nil, nil, err
	}
	if toInt(reply[0]) == -1 {
		return nil, nil, errKeyReused
	}
	return []byte(toString(reply[1])), decodeAnswer(toString(reply[2])), nil
}

// LeasesByID reads leases and passes over those that do not exist. Errors: [model.ErrorUnavailable].
func (s *Store) LeasesByID(ctx context.Context, ns string, ids []string) ([]*model.Lease, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	return s.readLeases(ctx, ns, ids)
}

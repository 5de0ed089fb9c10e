package store

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"drydock/model"
)

// authorizationRecord is an authorization as it is stored. The script adds the instants, the token of the call and the status in front.
type authorizationRecord struct {
	RequestedMS int64                     `json:"requested_ms,omitempty"`
	ChangedMS   int64                     `json:"changed_ms,omitempty"`
	Status      model.AuthorizationStatus `json:"status,omitempty"`
	Author      string                    `json:"author"`
	Origin      model.Origin              `json:"origin"`
	Reason      string                    `json:"reason,omitempty"`
}

func decodeAuthorization(ns, blueprint, owner, record string, leases int64) (*model.Authorization, error) {
	var r authorizationRecord
	if err := json.Unmarshal([]byte(record), &r); err != nil {
		return nil, &model.Error{Kind: model.ErrorInternal, Message: "unreadable authorization of " + blueprint, Cause: err}
	}
	return &model.Authorization{
		Namespace: ns, Blueprint: blueprint, Owner: owner, Status: r.Status, Author: r.Author, Origin: r.Origin, Reason: r.Reason,
		Leases: int(leases), RequestedAt: millis(r.RequestedMS), ChangedAt: millis(r.ChangedMS),
	}, nil
}

// Authorize puts on record that an owner asks for a blueprint, or what an operator says to it, and wakes the leases that wait for that
// word. a has been checked; its instants and Leases are not read. A request does not undo a decision. Errors:
// [model.ErrBlueprintNotFound], [model.ErrorConflict] when the blueprint takes no requests, [model.ErrorUnavailable],
// [model.ErrorUnknown].
func (s *Store) Authorize(ctx context.Context, a model.Authorization) (stored *model.Authorization, wake []model.Ref, err error) {
	record := authorizationRecord{Author: a.Author, Origin: a.Origin, Reason: a.Reason}
	reply, err := s.write(ctx, "authorize", authorizeScript, []string{blueprintsKey(a.Namespace)},
		a.Blueprint, a.Owner, string(a.Status), model.NewID(), rest(record))
	if err != nil {
		return nil, nil, err
	}
	switch toInt(reply[0]) {
	case -1:
		return nil, nil, model.ErrBlueprintNotFound
	case -2:
		return nil, nil, model.Errorf(model.ErrorConflict, "blueprint %s takes no requests; its own authorize field says who may use it", a.Blueprint)
	}
	stored, err = decodeAuthorization(a.Namespace, a.Blueprint, a.Owner, toString(reply[1]), toInt(reply[2]))
	return stored, s.toRefs(a.Namespace, reply[3:]), err
}

// Authorizations lists authorizations by blueprint and owner. Like [Store.Leases] it looks at a bounded number of them, so a page may be
// shorter than its limit and still have a next one.
func (s *Store) Authorizations(ctx context.Context, ns string, f model.AuthorizationFilter) (model.Page[*model.Authorization], error) {
	page := model.Page[*model.Authorization]{Items: []*model.Authorization{}}
	limit := f.Limit
	if limit <= 0 {
		limit = model.DefaultPageLimit
	}
	from, to, err := authorizationRange(f)
	if err != nil {
		return page, err
	}
	last := ""
	for scanned := 0; scanned < scanBudget; {
		// One more than needed tells whether there is a next page. When the first batch did not settle it, the filter is picky.
		batch := int64(limit-len(page.Items)) + 1
		if scanned > 0 {
			batch = max(batch, 100)
		}
		members, err := s.rdb.ZRangeArgs(ctx, redis.ZRangeArgs{
			Key: authorizationsKey(ns), Start: from, Stop: to, ByLex: true, Count: batch,
		}).Result()
		if err != nil {
			return page, translate("list authorizations", err)
		}
		found, err := s.readAuthorizations(ctx, ns, members)
		if err != nil {
			return page, err
		}
		for _, a := range found {
			if f.Status != "" && a.Status != f.Status || f.Owner != "" && a.Owner != f.Owner {
				continue
			}
			if len(page.Items) == limit {
				page.Next = encodeCursor(last)
				return page, nil
			}
			page.Items = append(page.Items, a)
			last = authorizationMember(a.Blueprint, a.Owner)
		}
		if int64(len(members)) < batch {
			return page, nil
		}
		scanned += len(members)
		last = members[len(members)-1]
		from = "(" + last
	}
	page.Next = encodeCursor(last)
	return page, nil
}

// authorizationRange returns the bounds of what a listing looks at.
func authorizationRange(f model.AuthorizationFilter) (from, to string, err error) {
	from, to = "-", "+"
	if f.Blueprint != "" {
		from, to = "["+authorizationMember(f.Blueprint, ""), "("+f.Blueprint+"!"
	}
	if f.After == "" {
		return from, to, nil
	}
	after, err := decodeCursor(f.After)
	if err != nil {
		return "", "", err
	}
	if f.Blueprint != "" && after < authorizationMember(f.Blueprint, "") {
		return from, to, nil
	}
	return "(" + after, to, nil
}

// authorizationMember is how the index of authorizations names one: a space is before all that may stand in a blueprint's name.
func authorizationMember(blueprint, owner string) string { return blueprint + " " + owner }

// Owners are any text, so the cursor of a listing by owner is written in plain characters.

func encodeCursor(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func decodeCursor(after string) (string, error) {
	b, err := base64.RawURLEncoding.DecodeString(after)
	if err != nil {
		return "", errCursor
	}
	return string(b), nil
}

func (s *Store) readAuthorizations(ctx context.Context, ns string, members []string) ([]*model.Authorization, error) {
	if len(members) == 0 {
		return nil, nil
	}
	pipe := s.rdb.Pipeline()
	records, counts := make([]*redis.StringCmd, len(members)), make([]*redis.IntCmd, len(members))
	for i, m := range members {
		blueprint, owner, _ := strings.Cut(m, " ")
		records[i] = pipe.HGet(ctx, blueprintKey(ns, blueprint, "authorizations"), owner)
		counts[i] = pipe.SCard(ctx, blueprintKey(ns, blueprint, "held:"+owner))
	}
	if err := exec(ctx, "list authorizations", pipe); err != nil {
		return nil, err
	}
	var out []*model.Authorization
	for i, m := range members {
		record, err := records[i].Result()
		if errors.Is(err, redis.Nil) {
			continue // its blueprint was removed meanwhile
		}
		blueprint, owner, _ := strings.Cut(m, " ")
		a, err := decodeAuthorization(ns, blueprint, owner, record, counts[i].Val())
		if err != nil {
			return nil, fmt.Errorf("list authorizations: %w", err)
		}
		out = append(out, a)
	}
	return out, nil
}

package store

import (
	"context"
	"strconv"

	"github.com/redis/go-redis/v9"

	"drydock/model"
)

// Log lists the steps of an object's life, oldest first. Errors: [model.ErrorNotFound], [model.ErrorUnavailable].
func (s *Store) Log(ctx context.Context, ref model.Ref, limit int, after string) (model.Page[model.LogEntry], error) {
	page := model.Page[model.LogEntry]{Items: []model.LogEntry{}}
	if limit <= 0 {
		limit = model.DefaultPageLimit
	}
	from, seen := "-", position{}
	if after != "" {
		var ok bool
		if seen, ok = parsePosition(after); !ok {
			return page, errCursor
		}
		from = seen.from()
	}
	pipe := s.rdb.Pipeline()
	exists := pipe.Exists(ctx, objectKey(ref))
	// Each write has at least one entry of the page, but for the first, which may have been seen.
	writes := pipe.XRangeN(ctx, logKey(ref), from, "+", int64(limit)+2)
	if err := exec(ctx, "read log", pipe); err != nil {
		return page, err
	}
	if exists.Val() == 0 {
		return page, notFound(ref.Kind)
	}
	for _, m := range writes.Val() {
		for _, e := range decodeLog(m, seen) {
			if len(page.Items) == limit {
				page.Next = page.Items[limit-1].ID
				return page, nil
			}
			page.Items = append(page.Items, e)
		}
	}
	return page, nil
}

// decodeLog reads what one write has left in an object's log, but for what was seen.
func decodeLog(m redis.XMessage, seen position) []model.LogEntry {
	id, _ := parseStreamID(m.ID)
	var list []model.LogEntry
	for i, h := range happenings(id, m) {
		if id == seen.entry && i < seen.seen {
			continue
		}
		list = append(list, model.LogEntry{
			ID: h.at.String(), At: id.time(), Event: h.event, Text: h.text, Command: h.command, Fence: toInt(m.Values["f"]), Worker: toString(m.Values["w"]),
		})
	}
	return list
}

// Slots lists the slot locks that an object holds. Errors: [model.ErrorNotFound], [model.ErrorUnavailable].
func (s *Store) Slots(ctx context.Context, ref model.Ref) ([]model.Slot, error) {
	fields, err := s.rdb.HMGet(ctx, objectKey(ref), "id", "slots").Result()
	if err != nil {
		return nil, translate("read slots", err)
	}
	if toString(fields[0]) == "" {
		return nil, notFound(ref.Kind)
	}
	slots := []model.Slot{}
	keys := decodeList(toString(fields[1]))
	if len(keys) == 0 {
		return slots, nil
	}
	owners, err := s.slotOwners(ctx, ref.Namespace, keys)
	if err != nil {
		return nil, err
	}
	for i, key := range keys {
		if owners[i] == ref.Member() {
			slots = append(slots, model.Slot{Key: key, Owner: ref})
		}
	}
	return slots, nil
}

func (s *Store) slotOwners(ctx context.Context, ns string, keys []string) ([]string, error) {
	full := make([]string, len(keys))
	for i, key := range keys {
		full[i] = slotKey(ns, key)
	}
	values, err := s.rdb.MGet(ctx, full...).Result()
	if err != nil {
		return nil, translate("read slots", err)
	}
	owners := make([]string, len(keys))
	for i, v := range values {
		owners[i] = toString(v)
	}
	return owners, nil
}

// FreeSlots reports which of the keys nobody holds, by what is stored right now. The write that takes them checks again.
func (s *Store) FreeSlots(ctx context.Context, ns string, keys []string) (map[string]bool, error) {
	free := make(map[string]bool, len(keys))
	if len(keys) == 0 {
		return free, nil
	}
	owners, err := s.slotOwners(ctx, ns, keys)
	if err != nil {
		return nil, err
	}
	for i, key := range keys {
		free[key] = owners[i] == ""
	}
	return free, nil
}

// Cursors of listings by position are offsets, cursors of streams are stream ids.

var errCursor = model.Invalid("after", "is not a cursor of this listing")

func parseOffset(after string) (int64, error) {
	if after == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(after, 10, 64)
	if err != nil || n < 0 {
		return 0, errCursor
	}
	return n, nil
}

func formatOffset(n int64) string { return strconv.FormatInt(n, 10) }

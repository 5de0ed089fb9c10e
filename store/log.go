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
	from, err := streamFrom(after)
	if err != nil {
		return page, err
	}
	pipe := s.rdb.Pipeline()
	exists := pipe.Exists(ctx, objectKey(ref))
	entries := pipe.XRangeN(ctx, logKey(ref), from, "+", int64(limit)+1)
	if err := exec(ctx, "read log", pipe); err != nil {
		return page, err
	}
	if exists.Val() == 0 {
		return page, notFound(ref.Kind)
	}
	for _, e := range entries.Val() {
		if len(page.Items) == limit {
			page.Next = page.Items[limit-1].ID
			break
		}
		page.Items = append(page.Items, decodeLogEntry(e))
	}
	return page, nil
}

func decodeLogEntry(e redis.XMessage) model.LogEntry {
	id, _ := parseStreamID(e.ID)
	return model.LogEntry{
		ID: e.ID, At: id.time(), Event: model.EventType(toString(e.Values["e"])), Text: toString(e.Values["t"]),
		Command: toString(e.Values["c"]), Fence: toInt(e.Values["f"]), Worker: toString(e.Values["w"]),
	}
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

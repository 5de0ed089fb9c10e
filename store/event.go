package store

import (
	"context"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"drydock/model"
)

// The events of a namespace are one stream. Every script that writes an object appends one entry for it (tell in lua/lib.lua); an entry
// holds what happened in that write, one event or several, so the order of the stream is the order of the writes. The log of an object is
// made in the same way.
//
// A position is "<ms>-<seq>", the id of an entry that was seen as a whole, or "<ms>-<seq>-<n>" when only its first n events were. The
// id of an event is the position of whoever has seen it: the last event of an entry has the entry's own id.

// How many events a namespace keeps.
const (
	DefaultEventsKept = 100_000
	// MinEventsKept makes sure that a reader who is less than a page behind has lost nothing.
	MinEventsKept = eventsPage
	eventsPage    = 1000
)

// eventsBuffer is how many of the newest entries of a followed namespace a process holds for its readers. Whoever is further behind
// reads from Redis.
const eventsBuffer = 4096

// streamID is the id of an entry.
type streamID struct{ ms, seq uint64 }

// lastStreamID is the last id that there can be. No entry ever gets it, and Redis refuses to look behind it.
var lastStreamID = streamID{math.MaxUint64, math.MaxUint64}

func parseStreamID(s string) (streamID, bool) {
	first, second, found := strings.Cut(s, "-")
	ms, err1 := strconv.ParseUint(first, 10, 64)
	seq, err2 := strconv.ParseUint(second, 10, 64)
	id := streamID{ms, seq}
	return id, found && err1 == nil && err2 == nil && id != lastStreamID
}

// streamFrom returns where a page of a stream begins in a listing whose cursors are ids: behind a cursor, or at the first entry. It writes
// the id anew, since Redis takes fewer leading zeros than we do.
func streamFrom(after string) (string, error) {
	if after == "" {
		return "-", nil
	}
	id, ok := parseStreamID(after)
	if !ok {
		return "", errCursor
	}
	return "(" + id.String(), nil
}

func (id streamID) String() string {
	return strconv.FormatUint(id.ms, 10) + "-" + strconv.FormatUint(id.seq, 10)
}

// time is when the entry was added.
func (id streamID) time() time.Time {
	return time.UnixMilli(int64(min(id.ms, math.MaxInt64))).UTC()
}

func (id streamID) before(other streamID) bool {
	return id.ms < other.ms || id.ms == other.ms && id.seq < other.seq
}

// whole says in a position that all events of its entry were seen.
const whole = math.MaxInt32

// position is how far somebody has come.
type position struct {
	entry streamID
	// seen is how many events of the entry were seen.
	seen int
}

func parsePosition(s string) (position, bool) {
	p := position{seen: whole}
	if strings.Count(s, "-") == 2 {
		i := strings.LastIndexByte(s, '-')
		n, err := strconv.ParseUint(s[i+1:], 10, 31)
		if err != nil {
			return p, false
		}
		s, p.seen = s[:i], int(n)
	}
	var ok bool
	p.entry, ok = parseStreamID(s)
	return p, ok
}

func (p position) String() string {
	if p.seen == whole {
		return p.entry.String()
	}
	return p.entry.String() + "-" + strconv.Itoa(p.seen)
}

// from returns where the entries begin, in the words of XRANGE, that have something behind the position.
func (p position) from() string {
	if p.seen == whole {
		return "(" + p.entry.String()
	}
	return p.entry.String()
}

// entry is one entry of the stream.
type entry struct {
	id     streamID
	events []model.Event
}

// stateOf are the events that say which state the object came to. In a write that goes through several, the status of an event is the
// state it came to then.
var stateOf = map[model.EventType]string{
	model.EventAcquired:  string(model.LeaseAcquired),
	model.EventActivated: string(model.LeaseActive),
	model.EventReleased:  string(model.LeaseReleased),
	model.EventBroken:    string(model.LeaseBroken),
	model.EventDestroyed: string(model.LeaseDestroyed),
}

// decodeEntry reads an entry of the events. One that is about no object has no events.
func decodeEntry(ns string, m redis.XMessage) entry {
	id, _ := parseStreamID(m.ID)
	get := func(field string) string { return toString(m.Values[field]) }
	out := entry{id: id}
	ref, err := model.ParseMember(ns, get("o"))
	if err != nil {
		return out
	}
	base := model.Event{
		At: id.time(), Namespace: ns, Object: ref, Status: get("s"), ResourceType: get("y"), Name: get("n"), Owner: get("u"),
		Resource: get("r"), Blueprint: get("b"), Fence: toInt(m.Values["f"]), Worker: get("w"),
	}
	for _, h := range happenings(id, m) {
		e := base
		e.ID, e.Event, e.Text, e.Command = h.at.String(), h.event, h.text, h.command
		if e.Event == "" {
			e.Event = model.EventChanged
		}
		if state, ok := stateOf[e.Event]; ok {
			e.Status = state
		}
		out.events = append(out.events, e)
	}
	return out
}

// happening is one of the things that a write did and an entry tells.
type happening struct {
	// at is the position behind it.
	at            position
	event         model.EventType
	text, command string
}

// told writes what a write did as happenings reads it.
func told(entries []Entry) []string {
	last := len(entries) - 1
	fields := make([]string, 0, 6*len(entries)+4)
	add := func(e Entry, suffix string) {
		fields = append(fields, "e"+suffix, string(e.Event), "t"+suffix, e.Text)
		if e.Command != "" {
			fields = append(fields, "c"+suffix, e.Command)
		}
	}
	for i, e := range entries[:last] {
		add(e, strconv.Itoa(i+1))
	}
	add(entries[last], "")
	return fields
}

// happenings reads of an entry, of the events or of an object's log, what the write did, in order.
func happenings(id streamID, m redis.XMessage) []happening {
	get := func(field string) string { return toString(m.Values[field]) }
	var list []happening
	for n := 1; ; n++ {
		suffix := strconv.Itoa(n)
		if _, ok := m.Values["e"+suffix]; !ok {
			return append(list, happening{position{id, whole}, model.EventType(get("e")), get("t"), get("c")})
		}
		list = append(list, happening{position{id, n}, model.EventType(get("e" + suffix)), get("t" + suffix), get("c" + suffix)})
	}
}

// eventBuffer holds the newest entries of a namespace: all after since, up to last. Guarded by watchers.mu.
type eventBuffer struct {
	since, last streamID
	entries     []entry
	// changedC is closed when entries come in or the buffer is set anew.
	changedC chan struct{}
}

func newEventBuffer(at streamID) *eventBuffer {
	return &eventBuffer{since: at, last: at, changedC: make(chan struct{})}
}

// add appends entries; without keep, nobody reads them and they are only passed over.
func (b *eventBuffer) add(entries []entry, keep bool) {
	b.last = entries[len(entries)-1].id
	if !keep {
		b.since, b.entries = b.last, nil
		return
	}
	b.entries = append(b.entries, entries...)
	if over := len(b.entries) - eventsBuffer; over > eventsBuffer/2 {
		b.since = b.entries[over-1].id
		b.entries = append([]entry(nil), b.entries[over:]...)
	}
	b.signal()
}

// reset empties the buffer: what is in Redis now ends at an earlier entry than what was read from it.
func (b *eventBuffer) reset(at streamID) {
	b.since, b.last, b.entries = at, at, nil
	b.signal()
}

func (b *eventBuffer) signal() {
	close(b.changedC)
	b.changedC = make(chan struct{})
}

// after returns the events after a position, a page at most. covered is false when they are not all here.
func (b *eventBuffer) after(p position) (events []model.Event, next position, covered bool) {
	if p.entry.before(b.since) || b.last.before(p.entry) || p.entry == b.since && p.seen != whole {
		return nil, p, false
	}
	lo, hi := 0, len(b.entries)
	for lo < hi { // the first entry that was not seen as a whole
		mid := (lo + hi) / 2
		if id := b.entries[mid].id; id.before(p.entry) || id == p.entry && p.seen == whole {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	events, next = collect(b.entries[lo:], p)
	return events, next, true
}

// collect returns the events of entries after a position, a page of entries at most, and the position behind them.
func collect(entries []entry, p position) ([]model.Event, position) {
	var events []model.Event
	for _, e := range entries[:min(len(entries), eventsPage)] {
		unseen := e.events
		if e.id == p.entry {
			unseen = unseen[min(p.seen, len(unseen)):]
		}
		events = append(events, unseen...)
		p = position{e.id, whole}
	}
	return events, p
}

// FollowEvents returns a reader of a namespace's events. after is a position: the id of an event, or what [model.EventReader] said;
// "0" begins at the oldest event that is kept, and "" at those that come from now on. Errors: [model.ErrorInvalid],
// [model.ErrorUnavailable].
func (s *Store) FollowEvents(ctx context.Context, ns, after string) (model.EventReader, error) {
	f := &follower{store: s, ns: ns}
	switch after {
	case "":
		last, err := s.lastEventID(ctx, ns)
		if err != nil {
			return nil, err
		}
		f.pos = position{last, whole}
	case "0":
		f.oldest = true
	default:
		pos, ok := parsePosition(after)
		if !ok {
			return nil, model.Invalid("after", "%s is not the id of an event, such as 1767366245678-0", model.Quote(after))
		}
		f.pos = pos
	}
	f.reader = s.watchers.join(ctx, ns)
	return f, nil
}

// lastEventID returns the id of the newest event; 0-0 when there is none.
func (s *Store) lastEventID(ctx context.Context, ns string) (streamID, error) {
	last, err := s.rdb.XRevRangeN(ctx, eventsKey(ns), "+", "-", 1).Result()
	if err != nil {
		return streamID{}, translate("read events", err)
	}
	return idOf(last), nil
}

func idOf(messages []redis.XMessage) streamID {
	if len(messages) == 0 {
		return streamID{}
	}
	id, _ := parseStreamID(messages[0].ID)
	return id
}

// follower implements [model.EventReader].
type follower struct {
	store  *Store
	ns     string
	reader *reader
	pos    position
	// oldest: it has not begun, and begins at the oldest entry, whatever that is.
	oldest bool
	closed bool
}

// Position implements [model.EventReader].
func (f *follower) Position() string {
	if f.oldest {
		return "0"
	}
	return f.pos.String()
}

// Close implements [model.EventReader].
func (f *follower) Close() {
	if !f.closed {
		f.closed = true
		f.store.watchers.leave(f.ns, f.reader)
	}
}

// Next implements [model.EventReader]. The buffer that all readers share has most of it; who is behind reads from Redis.
func (f *follower) Next(ctx context.Context) ([]model.Event, error) {
	for {
		w := &f.store.watchers
		w.mu.Lock()
		events, next, covered := f.reader.buffer.after(f.pos)
		changedC := f.reader.buffer.changedC
		w.mu.Unlock()
		if f.oldest || !covered {
			var err error
			if events, next, err = f.page(ctx); err != nil {
				return nil, err
			}
		}
		// Entries that are about no object move the position and have no events.
		moved := next != f.pos
		if moved {
			f.pos, f.oldest = next, false
		}
		if len(events) > 0 {
			return events, nil
		}
		if moved {
			continue
		}
		select {
		case <-changedC:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// page reads the events after the position from Redis, together with what tells whether any are missing. All of it is read at one
// instant, or events that are trimmed in between would be missed.
func (f *follower) page(ctx context.Context) ([]model.Event, position, error) {
	key, from := eventsKey(f.ns), f.pos.from()
	if f.oldest {
		from = "-"
	}
	var first, last, page *redis.XMessageSliceCmd
	_, err := f.store.rdb.TxPipelined(ctx, func(tx redis.Pipeliner) error {
		first = tx.XRangeN(ctx, key, "-", "+", 1)
		last = tx.XRevRangeN(ctx, key, "+", "-", 1)
		page = tx.XRangeN(ctx, key, from, "+", eventsPage)
		return nil
	})
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		} else {
			err = translate("read events", err)
		}
		return nil, f.pos, err
	}
	begin, end := idOf(first.Val()), idOf(last.Val())
	switch {
	case len(first.Val()) == 0 || f.oldest:
		// Nothing is there to compare with, or whatever is there is wanted.
	case f.pos.entry == streamID{} && f.store.untrimmed(ctx, key):
		// It began before the first event of all, and that is still there.
	case f.pos.entry.before(begin):
		return f.gap(position{begin, 0}, "the events between "+f.pos.String()+" and the next one are no longer kept: read the objects anew")
	case end.before(f.pos.entry):
		// Redis lost what it had not saved, or nobody ever got this id.
		return f.gap(position{end, whole - 1}, "the position "+f.pos.String()+" lies behind the newest event, as if events were lost: read the objects anew")
	}
	entries := make([]entry, 0, len(page.Val()))
	for _, m := range page.Val() {
		entries = append(entries, decodeEntry(f.ns, m))
	}
	events, next := collect(entries, f.pos)
	return events, next, nil
}

// gap is an event that says that events are missing. Its id is another than that of any event that is there.
func (f *follower) gap(at position, text string) ([]model.Event, position, error) {
	return []model.Event{{
		ID: at.String(), At: at.entry.time(), Namespace: f.ns, Event: model.EventGap, Text: text,
	}}, at, nil
}

// untrimmed reports whether a stream still has every entry that was ever added. A server older than 7.0 cannot tell.
func (s *Store) untrimmed(ctx context.Context, key string) bool {
	info, err := s.rdb.XInfoStream(ctx, key).Result()
	return err == nil && info.EntriesAdded == info.Length
}

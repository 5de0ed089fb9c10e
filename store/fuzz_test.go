package store

import (
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"drydock/model"
)

// What is stored was written by this Drydock, an older or a newer one, or by a hand in redis-cli: whatever it is, it is read or it is an
// error of ours, and what was written is read as it was.

func wantInternal(t *testing.T, err error) {
	t.Helper()
	if model.KindOf(err) != model.ErrorInternal && !errors.Is(err, model.ErrSchemaVersion) || err.Error() == "" {
		t.Errorf("%v is of kind %s, want internal", err, model.KindOf(err))
	}
}

// storable are texts that the API lets in: JSON cannot keep what is not UTF-8.
func storable(texts ...string) bool {
	for _, s := range texts {
		if !utf8.ValidString(s) {
			return false
		}
	}
	return true
}

// FuzzDecodeObject: the hash of a lease, a resource or a blueprint's updates, as name and value of each field in turn.
func FuzzDecodeObject(f *testing.F) {
	for _, seed := range []string{
		"schema\x1f1\x1fid\x1fx\x1fstatus\x1fpending\x1fattributes\x1f{\"os\":\"linux\"}\x1fblueprints\x1f[\"lab\"]\x1funtil\x1f1700000000000\x1freleases\x1f1",
		"schema\x1f1\x1fstatus\x1factive\x1fslots\x1f[\"host:lab:h1\"]\x1ffailed\x1f2 1700000000000 lab\x1freclaiming\x1fr1 c1\x1forder\x1f1e300\x1fgates\x1f[]",
		"schema\x1f1\x1fstatus\x1factive\x1fattributes\x1f{\"os\":1}", "schema\x1f1\x1fstatus\x1factive\x1fslots\x1f{}", "schema\x1f1\x1fstatus\x1fgone",
		"schema\x1f2\x1fstatus\x1factive", "schema\x1f", "status\x1factive", "", "schema\x1f1\x1fstatus\x1factive\x1fretire\x1f9223372036854775807",
		"schema\x1f1\x1fstatus\x1factive\x1funtil\x1f-9223372036854775808\x1fcapacity\x1f99999999999999999999", "schema\x1f1\x1fstatus\x1fbroken\x1fattributes\x1fnull",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, fields string) {
		parts := strings.Split(fields, "\x1f")
		hash := map[string]string{}
		for i := 0; i+1 < len(parts); i += 2 {
			hash[parts[i]] = parts[i+1]
		}
		readable := func(w model.Work, attributes map[string]string, err error) {
			if err != nil {
				if len(hash) > 0 {
					wantInternal(t, err)
				}
				return
			}
			if w.Version != toInt(hash["version"]) || encodeList(w.Slots) == "" && len(decodeList(hash["slots"])) > 0 {
				t.Errorf("%v is read as %+v", hash, w)
			}
			var stored map[string]string
			if hash["attributes"] != "" && (json.Unmarshal([]byte(hash["attributes"]), &stored) != nil || !maps.Equal(stored, attributes)) {
				t.Errorf("the attributes %q are read as %q", hash["attributes"], attributes)
			}
		}
		lease, err := decodeLease("ci", hash)
		if lease != nil {
			readable(lease.Work.Work, lease.Attributes, err)
			if !lease.Status.Valid() || (lease.Waiting != nil) != (lease.Status == model.LeasePending) {
				t.Errorf("%v is read as %+v", hash, lease)
			}
		} else {
			readable(model.Work{}, nil, err)
		}
		resource, err := decodeResource("ci", hash, nil)
		if resource != nil {
			readable(resource.Work.Work, resource.Attributes, err)
			if !resource.Status.Valid() {
				t.Errorf("%v is read as %+v", hash, resource)
			}
		} else {
			readable(model.Work{}, nil, err)
		}
		if _, err := decodeBlueprintWork(hash); err != nil {
			wantInternal(t, err)
		}
	})
}

// FuzzEncodeFields: attributes and lists are read as they were written.
func FuzzEncodeFields(f *testing.F) {
	f.Add("os", "linux", "")
	f.Add("", "<&>\u2028", "\x00")
	f.Fuzz(func(t *testing.T, name, value, other string) {
		if !storable(name, value, other) {
			return
		}
		attributes, list := map[string]string{name: value, other: name}, []string{name, value, other}
		r := record{fields: map[string]string{"attributes": encodeMap(attributes), "slots": encodeList(list)}}
		if got := r.attributes(); !maps.Equal(got, attributes) || r.err != nil {
			t.Errorf("%q is read as %q, %v", attributes, got, r.err)
		}
		if diff := cmp.Diff(list, r.list("slots")); diff != "" || r.err != nil {
			t.Errorf("%v (-written +read):\n%s", r.err, diff)
		}
	})
}

// FuzzDecodeCommand: a command's record and outcome.
func FuzzDecodeCommand(f *testing.F) {
	f.Add(`{"sent_ms":1700000000000,"command":"release","author":"ada","origin":{"via":"api","address":"192.0.2.1"},"reason":"done"}`, "")
	f.Add(`{"command":"extend","args":{"ttl":"30m"},"trace":"00-x"}`, `{"consumed_ms":1700000000001,"outcome":"applied","fence":8,"worker":"w1"}`)
	f.Add(`{}`, `{}`)
	f.Add(`{"args":`, `null`)
	f.Add(`null`, `{"fence":"1"}`)
	ref := model.LeaseRef("ci", "l1")
	f.Fuzz(func(t *testing.T, sent, outcome string) {
		c, err := decodeCommand(ref, "c1", sent, outcome)
		if err != nil {
			wantInternal(t, err)
			return
		}
		var s sentRecord
		var o outcomeRecord
		_, _ = json.Unmarshal([]byte(sent), &s), json.Unmarshal([]byte(outcome), &o)
		want := &model.Command{
			ID: "c1", Target: ref, Name: s.Command, Args: s.Args, Author: s.Author, Origin: s.Origin, Reason: s.Reason, SentAt: millis(s.SentMS), Trace: s.Trace,
			ConsumedAt: millis(o.ConsumedMS), Outcome: o.Outcome, Detail: o.Detail, Fence: o.Fence, Worker: o.Worker,
		}
		if diff := cmp.Diff(want, c); diff != "" || !storable(c.Author, c.Reason, c.Detail, string(c.Args)) {
			t.Errorf("%q, %q (-stored +read):\n%s", sent, outcome, diff)
		}
		record := mustJSON(sentRecord{
			SentMS: toMillis(c.SentAt), Command: c.Name, Args: c.Args, Author: c.Author, Origin: c.Origin, Reason: c.Reason, Trace: c.Trace,
		})
		consumed := ""
		if outcome != "" {
			consumed = mustJSON(outcomeRecord{ConsumedMS: toMillis(c.ConsumedAt), Outcome: c.Outcome, Detail: c.Detail, Fence: c.Fence, Worker: c.Worker})
		}
		again, err := decodeCommand(ref, "c1", record, consumed)
		if err != nil {
			t.Fatalf("%s, %s: %v", record, consumed, err)
		}
		c.Args, again.Args = compact(c.Args), compact(again.Args)
		if diff := cmp.Diff(c, again); diff != "" {
			t.Errorf("(-first +again):\n%s", diff)
		}
	})
}

// compact is JSON as json.Marshal writes it.
func compact(raw json.RawMessage) json.RawMessage {
	if raw == nil {
		return nil
	}
	return json.RawMessage(mustJSON(raw))
}

// FuzzDecodeEvents: an entry of the events has an event at least or is about no object; each id is a position behind the one before.
func FuzzDecodeEvents(f *testing.F) {
	f.Add("1767366245678-0", "lease:l1", "released", "done", "3", "sent", "x")
	f.Add("1-1", "resource:r1", "", "", "x", "", "")
	f.Add("18446744073709551614-18446744073709551615", "blueprint:b", "e", "t", "9223372036854775808", "e1", "t1")
	f.Add("x", "lease:", "e", "", "", "", "")
	f.Fuzz(func(t *testing.T, id, object, event, text, fence, first, firstText string) {
		m := redis.XMessage{ID: id, Values: map[string]any{"o": object, "e": event, "t": text, "f": fence, "s": "active"}}
		if first != "" {
			m.Values["e1"], m.Values["t1"] = first, firstText
		}
		got := decodeEntry("ci", m)
		if _, err := model.ParseMember("ci", object); err != nil {
			if len(got.events) > 0 {
				t.Errorf("%q is no object, and has %+v", object, got.events)
			}
			return
		}
		want := 1
		if first != "" {
			want = 2
		}
		if len(got.events) != want || got.events[want-1].Text != text || got.events[0].Object.Member() != object {
			t.Errorf("%v is read as %+v", m, got.events)
		}
		if _, ok := parseStreamID(id); !ok {
			return
		}
		var before position
		for i, e := range got.events {
			p, ok := parsePosition(e.ID)
			if !ok || e.Event == "" || i > 0 && (p.entry != before.entry || p.seen <= before.seen) {
				t.Errorf("event %d of %v is %+v, behind %v", i, m, e, before)
			}
			if rest, _ := collect([]entry{got}, p); len(rest) != want-1-i {
				t.Errorf("whoever has seen %s is told %d more events, want %d", e.ID, len(rest), want-1-i)
			}
			if rest := decodeLog(m, p); len(rest) != want-1-i {
				t.Errorf("whoever has seen %s of a log is shown %d more entries, want %d", e.ID, len(rest), want-1-i)
			}
			before = p
		}
		log := decodeLog(m, position{})
		if last := log[len(log)-1]; len(log) != want || last.Text != text || last.Event != model.EventType(event) || last.Fence != toInt(fence) {
			t.Errorf("%v is read as the log entries %+v", m, log)
		}
	})
}

// FuzzCursors: whatever a caller says that a cursor is, it is refused or is a place that Redis can count to; read again, it is the same.
func FuzzCursors(f *testing.F) {
	for _, seed := range append([]string{"", "0", "1767366245678-0", "1-1-1", "1-1-2147483647", "1-1-2147483648", "bGFiIGFkYQ", "bGFi\n", "=", "007"}, oddCursors...) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, after string) {
		refused := func(err error) bool {
			if err != nil && model.KindOf(err) != model.ErrorInvalid {
				t.Errorf("%v is of kind %s", err, model.KindOf(err))
			}
			return err != nil
		}
		if p, ok := parsePosition(after); ok {
			if again, ok := parsePosition(p.String()); !ok || again != p || p.seen < 0 || p.entry == lastStreamID {
				t.Errorf("%q is the position %v, which is read as %v", after, p, again)
			}
		}
		if from, err := streamFrom(after); !refused(err) && after != "" {
			id, ok := parseStreamID(strings.TrimPrefix(from, "("))
			if !ok || id == lastStreamID || len(from) > len("(18446744073709551615-18446744073709551615") || id.time().Before(time.UnixMilli(0)) {
				t.Errorf("%q begins a page at %q", after, from)
			}
		}
		if n, err := parseOffset(after); !refused(err) {
			if again, err := parseOffset(formatOffset(n)); n < 0 || err != nil || again != n {
				t.Errorf("%q is the offset %d, which is read as %d, %v", after, n, again, err)
			}
		}
		if member, err := decodeCursor(after); !refused(err) {
			if again, err := decodeCursor(encodeCursor(member)); err != nil || again != member {
				t.Errorf("%q is the cursor of %q, which is read as %q, %v", after, member, again, err)
			}
		}
		from, to, err := authorizationRange(model.AuthorizationFilter{Blueprint: "lab", After: after})
		if !refused(err) && (from == "" || to != "(lab!" || !strings.HasPrefix(from, "[") && !strings.HasPrefix(from, "(")) {
			t.Errorf("the page after %q is from %q to %q", after, from, to)
		}
	})
}

// FuzzDeadLetter: an event that was given up is read as it was written, and what cannot be read is an error.
func FuzzDeadLetter(f *testing.F) {
	f.Add(`{"id":"1-1","at_ms":1700000000000,"object":"lease:l1","event":"released","text":"done","fence":3}`, "2", "no answer")
	f.Add(`{"id":"1-0","event":"gap"}`, "", "")
	f.Add(`{"object":"x"}`, "x", "\xff")
	f.Add(``, "", "")
	f.Fuzz(func(t *testing.T, record, tries, reason string) {
		m := redis.XMessage{ID: "1767366245678-0", Values: map[string]any{"d": record, "n": tries, "r": reason}}
		letter, err := decodeDeadLetter("ci", m)
		if err != nil {
			wantInternal(t, err)
			return
		}
		var stored eventRecord
		_ = json.Unmarshal([]byte(record), &stored)
		if e := letter.Event; e.ID != stored.ID || toMillis(e.At) != stored.AtMS || string(e.Event) != stored.Event || e.Text != stored.Text || e.Owner != stored.Owner ||
			e.Fence != stored.Fence || letter.Reason != reason || letter.Tries != int(toInt(tries)) {
			t.Errorf("%s is read as %+v", record, letter)
		}
		m.Values["d"] = encodeEvent(&letter.Event)
		again, err := decodeDeadLetter("ci", m)
		if diff := cmp.Diff(letter, again); err != nil || diff != "" {
			t.Errorf("%v (-first +again):\n%s", err, diff)
		}
	})
}

// FuzzDecodeBlueprint: a declaration is read as it was written.
func FuzzDecodeBlueprint(f *testing.F) {
	f.Add(`{"rev":2,"created_ms":1,"updated_ms":2,"kind":"pool","type":"host","limit":3,"min_idle":1,"max_idle_ms":5400000,"on":{"type":"rack"},"quota":2,"authorize":["ada"],"enabled":true,"config":{}}`)
	f.Add(`{"authorize":"request","config":null}`)
	f.Add(`{"authorize":1}`)
	f.Add(`{"max_idle_ms":9223372036854775807}`)
	f.Fuzz(func(t *testing.T, stored string) {
		bp, err := decodeBlueprint("ci", "lab", stored)
		if err != nil {
			wantInternal(t, err)
			return
		}
		var r blueprintRecord
		_ = json.Unmarshal([]byte(stored), &r)
		if bp.Kind != r.Kind || bp.Type != r.Type || bp.Limit != r.Limit || bp.MinIdle != r.MinIdle || bp.Quota != r.Quota || bp.Enabled != r.Enabled || bp.Rev != r.Rev ||
			bp.Authorize.Only != r.Authorize.Only || (bp.On == nil) != (r.On == nil) || bp.MaxIdleAge != time.Duration(r.MaxIdleMS)*time.Millisecond {
			t.Errorf("%s is read as %+v", stored, bp)
		}
		if len(bp.Config) == 0 {
			bp.Config = json.RawMessage("{}")
		}
		text := mustJSON(blueprintRecord{
			Rev: bp.Rev, CreatedMS: toMillis(bp.CreatedAt), UpdatedMS: toMillis(bp.UpdatedAt), Kind: bp.Kind, Type: bp.Type, Limit: bp.Limit,
			MinIdle: bp.MinIdle, MaxIdleMS: bp.MaxIdleAge.Milliseconds(), On: bp.On, Quota: bp.Quota, Authorize: bp.Authorize, Enabled: bp.Enabled,
			Config: bp.Config,
		})
		again, err := decodeBlueprint("ci", "lab", text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if b := mustJSON(again); b != mustJSON(bp) {
			t.Errorf("%s becomes %s", mustJSON(bp), b)
		}
	})
}

// FuzzDecodeRecords: what is kept about authorizations, subscriptions, answers and data.
func FuzzDecodeRecords(f *testing.F) {
	f.Add(`{"requested_ms":1,"changed_ms":2,"status":"approved","author":"ada","origin":{"via":"api"},"reason":"x"}`)
	f.Add(`["lease"]`)
	f.Add(`{"status":202,"body":"e30K"}`)
	f.Add(`{"body":"!"}`)
	f.Add(``)
	f.Fuzz(func(t *testing.T, text string) {
		if a, err := decodeAuthorization("ci", "lab", "ada", text, 1); err != nil {
			wantInternal(t, err)
		} else {
			var r authorizationRecord
			_ = json.Unmarshal([]byte(text), &r)
			if a.Status != r.Status || a.Author != r.Author || a.Origin != r.Origin || a.Reason != r.Reason || toMillis(a.ChangedAt) != r.ChangedMS {
				t.Errorf("%s is read as %+v", text, a)
			}
			again, err := decodeAuthorization("ci", "lab", "ada", mustJSON(authorizationRecord{
				RequestedMS: toMillis(a.RequestedAt), ChangedMS: toMillis(a.ChangedAt), Status: a.Status, Author: a.Author, Origin: a.Origin, Reason: a.Reason,
			}), 1)
			if diff := cmp.Diff(a, again); err != nil || diff != "" {
				t.Errorf("%v (-first +again):\n%s", err, diff)
			}
		}
		sub, err := decodeSubscription("ci", "s", map[string]string{"types": text, "events": text, "status": text, "tries": text, "try_at": text, "enabled": "1"})
		if err != nil {
			wantInternal(t, err)
		} else if encodeList(sub.Filter.Status) != encodeList(toStringsOf(sub.Filter.Types)) || !sub.Enabled {
			t.Errorf("%q is read as %+v", text, sub.Filter)
		}
		if a := decodeAnswer(text); a != nil {
			if again := decodeAnswer(mustJSON(a)); cmp.Diff(a, again) != "" {
				t.Errorf("the answer %+v becomes %+v", a, again)
			}
		}
		if value, rev := decodeData([]any{text, text}); string(value) != text || rev != toInt(text) {
			t.Errorf("the data %q are read as %q, %d", text, value, rev)
		}
		var n tally
		n.read(text)
		if ref, err := ParseLockKey(text); err != nil {
			wantInternal(t, err)
		} else if LockKey(ref) != text {
			t.Errorf("the key %q is that of %v, whose key is %q", text, ref, LockKey(ref))
		}
		if at := parseMillis(text); formatMillis(at) != text && toMillis(at) != toInt(text) {
			t.Errorf("the instant %q is read as %v", text, at)
		}
	})
}

// FuzzParseURL: a Redis URL is refused without a word of its password, or leads to a client; nothing of it is logged.
func FuzzParseURL(f *testing.F) {
	const secret = "hunter2"
	for _, seed := range []string{
		"redis://127.0.0.1:6379/0", "rediss://ada:hunter2@r.example:6379/1?pool_size=5", "redis://a:1,b:2/0", "redis://:hunter2@a:1,b:2",
		"redis+sentinel://ada:hunter2@a:26379,b/primary/0", "redis-sentinel://a?master=m", "unix:///run/redis.sock?db=1", "redis://ada:hunter2/@h:1",
		"redis://ada:hun%zzter2@h:1", "redis://ada:hunter2#@h", "redis+sentinel://a/m/x", "redis://h:99999", "http://h", "redis+sentinel://[::1]/m",
		"redis://h/0?dial_timeout=hunter2", "redis://ada:hunter2@", "redis+sentinel://u:hunter2%zz@a/m",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		opts, err := parseURL(raw)
		if err != nil {
			if model.KindOf(err) != model.ErrorInvalid || !strings.HasPrefix(err.Error(), "redis: ") {
				t.Errorf("%q: %v of kind %s", raw, err, model.KindOf(err))
			}
			// A query is for settings, and may be quoted.
			if before, _, _ := strings.Cut(raw, "?"); strings.Contains(err.Error(), secret) && strings.Contains(before, ":"+secret+"@") && strings.Count(raw, secret) == 1 {
				t.Errorf("%q: the error shows the password: %v", raw, err)
			}
		} else if kinds := []bool{opts.single != nil, opts.cluster != nil, opts.sentinel != nil}; cmp.Diff(kinds, []bool{true, false, false}) != "" &&
			cmp.Diff(kinds, []bool{false, true, false}) != "" && cmp.Diff(kinds, []bool{false, false, true}) != "" {
			t.Errorf("%q is of the kinds %v", raw, kinds)
		}
		if userinfo, _ := cutUserinfo(raw); strings.Contains(userinfo, ":"+secret+"@") && strings.Contains(Redact(raw), secret) && strings.Count(raw, secret) == 1 {
			t.Errorf("%q is logged as %q", raw, Redact(raw))
		}
	})
}

// FuzzParseDurability: a level is written as it was read.
func FuzzParseDurability(f *testing.F) {
	for _, seed := range []string{"", "memory", "local", "replicas:1", "replicas:0", "replicas:+1", "replicas:01", "replicas:99999999999999999999", "Local"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := ParseDurability(text)
		if err != nil {
			if model.KindOf(err) != model.ErrorInvalid {
				t.Errorf("%q: %v of kind %s", text, err, model.KindOf(err))
			}
			return
		}
		if again, err := ParseDurability(d.String()); err != nil || again != d {
			t.Errorf("%q is %v, which is read as %v, %v", text, d, again, err)
		}
	})
}

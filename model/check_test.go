package model_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"drydock/model"
)

// wantField checks that err is an invalid field, or no error when field is "".
func wantField(t *testing.T, what string, err error, field string) {
	t.Helper()
	if field == "" {
		if err != nil {
			t.Errorf("%s: %v, want no error", what, err)
		}
		return
	}
	var e *model.Error
	if !errors.As(err, &e) || e.Kind != model.ErrorInvalid || e.Field != field || e.Message == "" {
		t.Errorf("%s: %v, want the field %q to be invalid", what, err, field)
	}
}

func TestCheckName(t *testing.T) {
	t.Parallel()
	for _, ok := range []string{"a", "0", "lab", "a.b_c-d", "a--b", strings.Repeat("x", model.MaxNameLength)} {
		wantField(t, ok, model.CheckName("type", ok), "")
	}
	for _, bad := range []string{
		"", "A", "ä", "-a", "a-", ".a", "a.", "_", "a b", "a/b", "a:b", "{a}", "a}", "a\n", "\na", "a\x00", "*",
		strings.Repeat("x", model.MaxNameLength+1),
	} {
		wantField(t, fmt.Sprintf("%q", bad), model.CheckName("type", bad), "type")
	}
}

func TestCheckText(t *testing.T) {
	t.Parallel()
	for _, ok := range []string{"", "done", "zwei\nZeilen\tTab", "naïve ✓ 日本", "12345678901234567890123456789012345678901234567890"} {
		wantField(t, ok, model.CheckText("reason", ok, 50), "")
	}
	for _, bad := range []string{"a\x00", "\x1b[31m", "\x7f", "a\r", "\u0085", "\xff", "a\xc3", "\ufffd", "\xed\xa0\x80", strings.Repeat("x", 51)} {
		wantField(t, fmt.Sprintf("%q", bad), model.CheckText("reason", bad, 50), "reason")
	}
}

func TestCheckAttributes(t *testing.T) {
	t.Parallel()
	many := map[string]string{}
	for i := range model.MaxAttributes {
		many[fmt.Sprintf("a%d", i)] = "x"
	}
	wantField(t, "none", model.CheckAttributes("attributes", nil), "")
	wantField(t, "as many as may be", model.CheckAttributes("attributes", many), "")
	many["one-more"] = "x"
	wantField(t, "one more", model.CheckAttributes("attributes", many), "attributes")
	for _, ok := range []string{"os", "OS", "_x_", "vendor.example/gpu", "0", strings.Repeat("x", model.MaxNameLength)} {
		wantField(t, ok, model.CheckAttributes("attributes", map[string]string{ok: "any value, really: {}"}), "")
	}
	for _, bad := range []string{"", "/a", "a/", "-a", "a b", "a:b", "{a}", "ä", "a\x00", strings.Repeat("x", model.MaxNameLength+1)} {
		wantField(t, fmt.Sprintf("%q", bad), model.CheckAttributes("attributes", map[string]string{bad: "x"}), "attributes")
	}
	for _, bad := range []string{"\x00", "\xff", strings.Repeat("x", model.MaxAttributeLength+1)} {
		wantField(t, fmt.Sprintf("%q", bad), model.CheckAttributes("attributes", map[string]string{"os": bad}), "attributes.os")
	}
}

func TestCheckUntil(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for until, field := range map[time.Time]string{
		{}: "until", now.Add(-time.Second): "until", now: "until", now.Add(time.Nanosecond): "",
		now.Add(model.MaxTTL): "", now.Add(model.MaxTTL + 1): "until", time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC): "until",
	} {
		wantField(t, until.String(), model.CheckUntil("until", until, now), field)
	}
}

func TestCheckTTL(t *testing.T) {
	t.Parallel()
	for ttl, field := range map[time.Duration]string{
		0: "ttl", -time.Hour: "ttl", time.Microsecond: "ttl", time.Millisecond: "", time.Hour: "", model.MaxTTL: "", model.MaxTTL + 1: "ttl",
	} {
		wantField(t, ttl.String(), model.CheckTTL("ttl", ttl), field)
	}
}

func TestNewLeaseCheck(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	names := make([]string, model.MaxBlueprintsListed+1)
	for i := range names {
		names[i] = "b"
	}
	tests := []struct {
		name  string
		with  func(n *model.NewLease)
		field string
	}{
		{"plain", func(*model.NewLease) {}, ""},
		{"no type", func(n *model.NewLease) { n.Type = "" }, "type"},
		{"odd type", func(n *model.NewLease) { n.Type = "Host" }, "type"},
		{"attributes", func(n *model.NewLease) { n.Attributes = map[string]string{"os": "linux"} }, ""},
		{"odd attribute", func(n *model.NewLease) { n.Attributes = map[string]string{"": "x"} }, "attributes"},
		{"odd attribute's value", func(n *model.NewLease) { n.Attributes = map[string]string{"os": "\x00"} }, "attributes.os"},
		{"blueprints", func(n *model.NewLease) { n.Blueprints = names[1:] }, ""},
		{"too many blueprints", func(n *model.NewLease) { n.Blueprints = names }, "blueprints"},
		{"odd blueprint", func(n *model.NewLease) { n.Blueprints = []string{"a", "b}"} }, "blueprints"},
		{"owner", func(n *model.NewLease) { n.Owner = "Ada Lovelace <ada@example.com>" }, ""},
		{"long owner", func(n *model.NewLease) { n.Owner = strings.Repeat("x", model.MaxOwnerLength+1) }, "owner"},
		{"odd owner", func(n *model.NewLease) { n.Owner = "a\x07" }, "owner"},
		{"highest priority", func(n *model.NewLease) { n.Priority = model.MaxPriority }, ""},
		{"lowest priority", func(n *model.NewLease) { n.Priority = model.MinPriority }, ""},
		{"priority too high", func(n *model.NewLease) { n.Priority = model.MaxPriority + 1 }, "priority"},
		{"priority too low", func(n *model.NewLease) { n.Priority = model.MinPriority - 1 }, "priority"},
		{"data", func(n *model.NewLease) { n.Data = make([]byte, model.MaxDataLength) }, ""},
		{"too much data", func(n *model.NewLease) { n.Data = make([]byte, model.MaxDataLength+1) }, "data"},
		{"ttl", func(n *model.NewLease) { n.TTL = time.Hour }, ""},
		{"negative ttl", func(n *model.NewLease) { n.TTL = -time.Hour }, "ttl"},
		{"endless ttl", func(n *model.NewLease) { n.TTL = model.MaxTTL + 1 }, "ttl"},
		{"until", func(n *model.NewLease) { n.Until = now.Add(time.Hour) }, ""},
		{"until now", func(n *model.NewLease) { n.Until = now }, "until"},
		{"until very late", func(n *model.NewLease) { n.Until = now.Add(model.MaxTTL + 1) }, "until"},
		{"ttl and until", func(n *model.NewLease) { n.TTL, n.Until = time.Hour, now.Add(time.Hour) }, "ttl"},
	}
	for _, tt := range tests {
		n := model.NewLease{Type: "host"}
		tt.with(&n)
		wantField(t, tt.name, n.Check(now), tt.field)
	}
}

func TestBlueprintCheck(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		b     model.Blueprint
		field string
	}{
		{model.Blueprint{Name: "lab", Kind: "pool", Type: "host"}, ""},
		{model.Blueprint{Name: "lab", Kind: "pool", Type: "host", Limit: model.MaxLimit}, ""},
		{model.Blueprint{Name: "Lab", Kind: "pool", Type: "host"}, "name"},
		{model.Blueprint{Name: "lab", Kind: "", Type: "host"}, "kind"},
		{model.Blueprint{Name: "lab", Kind: "pool", Type: "{"}, "type"},
		{model.Blueprint{Name: "lab", Kind: "pool", Type: "host", Limit: -1}, "limit"},
		{model.Blueprint{Name: "lab", Kind: "pool", Type: "host", Limit: model.MaxLimit + 1}, "limit"},
	} {
		wantField(t, fmt.Sprintf("%+v", tt.b), tt.b.Check(), tt.field)
	}
}

func TestQuoteAndJoin(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"": `""`, "a": `"a"`, "a\n\x00\"": `"a\n\x00\""`,
		strings.Repeat("x", 40):       `"` + strings.Repeat("x", 40) + `"`,
		strings.Repeat("x", 41):       `"` + strings.Repeat("x", 40) + `…"`,
		strings.Repeat("x", 39) + "é": `"` + strings.Repeat("x", 39) + `…"`,
	} {
		if got := model.Quote(in); got != want {
			t.Errorf("Quote(%q) = %s, want %s", in, got, want)
		}
	}
	for want, words := range map[string][]string{"": nil, "a": {"a"}, "a and b": {"a", "b"}, "a, b and c": {"a", "b", "c"}} {
		if got := model.Join(words); got != want {
			t.Errorf("Join(%q) = %q, want %q", words, got, want)
		}
	}
}

func TestMatches(t *testing.T) {
	t.Parallel()
	has := map[string]string{"os": "linux", "gpu": ""}
	for _, tt := range []struct {
		want map[string]string
		ok   bool
	}{
		{nil, true},
		{map[string]string{"os": "linux"}, true},
		{map[string]string{"os": "linux", "gpu": ""}, true},
		{map[string]string{"os": "windows"}, false},
		{map[string]string{"os": ""}, false},
		{map[string]string{"ram": ""}, false},
		{map[string]string{"os": "linux", "ram": "1"}, false},
	} {
		if got := model.Matches(tt.want, has); got != tt.ok {
			t.Errorf("Matches(%v, %v) = %t, want %t", tt.want, has, got, tt.ok)
		}
	}
}

func TestFree(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		r    model.Resource
		want int
	}{
		{model.Resource{Status: model.ResourceActive, Capacity: 3, Leases: []string{"a"}}, 2},
		{model.Resource{Status: model.ResourceActive, Capacity: 1, Leases: []string{"a"}}, 0},
		{model.Resource{Status: model.ResourceActive, Capacity: 1, Leases: []string{"a", "b"}}, 0},
		{model.Resource{Status: model.ResourceActive, Capacity: 1, Paused: true}, 0},
		{model.Resource{Status: model.ResourceActive, Capacity: 1, Releasing: true}, 0},
		{model.Resource{Status: model.ResourcePending, Capacity: 1}, 0},
		{model.Resource{Status: model.ResourceBroken, Capacity: 1}, 0},
	} {
		if got := tt.r.Free(); got != tt.want {
			t.Errorf("%+v is free for %d, want %d", tt.r, got, tt.want)
		}
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	cause := errors.New("connection refused")
	for _, tt := range []struct {
		err  error
		kind model.ErrorKind
		text string
	}{
		{model.Invalid("ttl", "must be at least %d", 1), model.ErrorInvalid, "ttl: must be at least 1"},
		{model.Errorf(model.ErrorConflict, "no"), model.ErrorConflict, "no"},
		{model.Unavailable(cause), model.ErrorUnavailable, "the data store cannot be reached right now: connection refused"},
		{fmt.Errorf("apply: %w", model.ErrStaleWriter), model.ErrorConflict, "apply: " + model.ErrStaleWriter.Error()},
		{cause, model.ErrorInternal, "connection refused"},
	} {
		if got := model.KindOf(tt.err); got != tt.kind || tt.err.Error() != tt.text {
			t.Errorf("%v is %s, want %s: %s", tt.err, got, tt.kind, tt.text)
		}
	}
	if !errors.Is(model.Unavailable(cause), cause) {
		t.Error("an unavailable error hides its cause")
	}
	if !errors.Is(fmt.Errorf("x: %w", model.ErrSlotHeld), model.ErrSlotHeld) || errors.Is(model.ErrSlotHeld, model.ErrLimitReached) {
		t.Error("sentinels are not told apart")
	}
}

func TestRefs(t *testing.T) {
	t.Parallel()
	ref := model.LeaseRef("ci", "01abc")
	if ref.String() != "ci/lease/01abc" || ref.Member() != "lease:01abc" || model.ResourceRef("ci", "x").Member() != "resource:x" {
		t.Errorf("%s, %s", ref, ref.Member())
	}
	for _, k := range model.Kinds() {
		want := model.Ref{Namespace: "ci", Kind: k, ID: "a:b"}
		if got, err := model.ParseMember("ci", want.Member()); got != want || err != nil || !k.Valid() {
			t.Errorf("ParseMember(%q) = %v, %v, want %v", want.Member(), got, err, want)
		}
	}
	for _, bad := range []string{"", "lease", "lease:", ":x", "pool:x", "Lease:x"} {
		if got, err := model.ParseMember("ci", bad); model.KindOf(err) != model.ErrorInternal || err == nil || got != (model.Ref{}) {
			t.Errorf("ParseMember(%q) = %v, %v, want an internal error", bad, got, err)
		}
	}
}

func TestRequestIsWhatTheLeaseAsksFor(t *testing.T) {
	t.Parallel()
	l := model.Lease{
		Ref: model.LeaseRef("ci", "x"), Type: "host", Owner: "ada", Attributes: map[string]string{"os": "linux"}, Blueprints: []string{"lab"},
		Priority: 3, Data: json.RawMessage("{}"),
	}
	r := l.Request()
	if r.Lease != "x" || r.Type != "host" || r.Owner != "ada" || r.Attributes["os"] != "linux" || r.Blueprints[0] != "lab" {
		t.Errorf("Request() = %+v", r)
	}
}

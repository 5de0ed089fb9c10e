package model_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"drydock/model"
)

func TestCheckCommand(t *testing.T) {
	t.Parallel()
	ttl := `{"ttl":"30m"}`
	tests := []struct {
		kind   model.Kind
		name   model.CommandName
		args   string
		reason string
		field  string
	}{
		{model.KindLease, "release", "", "", ""},
		{model.KindLease, "release", "{}", "done\nwith it", ""},
		{model.KindLease, "release", " null ", "", ""},
		{model.KindLease, "release", " { } ", "", "args"},
		{model.KindLease, "release", `{"force":true}`, "", "args"},
		{model.KindLease, "release", `[]`, "", "args"},
		{model.KindLease, "release", "", strings.Repeat("x", model.MaxReasonLength), ""},
		{model.KindLease, "release", "", strings.Repeat("x", model.MaxReasonLength+1), "reason"},
		{model.KindLease, "release", "", "a\x00", "reason"},
		{model.KindLease, "release", "", "\xff", "reason"},
		{model.KindLease, "extend", ttl, "", ""},
		{model.KindLease, "extend", "", "", "args"},
		{model.KindLease, "extend", `{"ttl":"-1m"}`, "", "args.ttl"},
		{model.KindLease, "extend", `{"ttl":"` + strings.Repeat("0", 4096) + `1s"}`, "", "args"},
		{model.KindLease, "reclaim", "", "", "command"},
		{model.KindLease, "pause", "", "", "command"},
		{model.KindLease, "unpause", "", "", "command"},
		{model.KindLease, "update", "", "", "command"},
		{model.KindResource, "release", "", "", ""},
		{model.KindResource, "reclaim", "", "", ""},
		{model.KindResource, "pause", "", "", ""},
		{model.KindResource, "unpause", "", "", ""},
		{model.KindResource, "update", "", "", ""},
		{model.KindResource, "extend", ttl, "", ""},
		{model.KindResource, "pause", ttl, "", "args"},
		{model.KindResource, "destroy", "", "", "command"},
		{model.KindResource, "", "", "", "command"},
		{model.KindResource, "Release", "", "", "command"},
		{"blueprint", "release", "", "", "command"},
	}
	for _, tt := range tests {
		err := model.CheckCommand(tt.kind, tt.name, json.RawMessage(tt.args), tt.reason)
		wantField(t, fmt.Sprintf("%s to a %s with %.40q, %.40q", tt.name, tt.kind, tt.args, tt.reason), err, tt.field)
	}
	for _, name := range model.CommandNames() {
		if !name.For(model.KindResource) || name.For("blueprint") {
			t.Errorf("%s is for resources %t, for blueprints %t", name, name.For(model.KindResource), name.For("blueprint"))
		}
	}
}

func TestParseExtendArgs(t *testing.T) {
	t.Parallel()
	sent := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for args, want := range map[string]time.Time{
		`{"ttl":"30m"}`:                               sent.Add(30 * time.Minute),
		`{"ttl":"1ms"}`:                               sent.Add(time.Millisecond),
		`{"ttl":"1h30m","until":null}`:                sent.Add(90 * time.Minute),
		` {"until":"2026-02-01T00:00:00+01:00"}`:      time.Date(2026, 1, 31, 23, 0, 0, 0, time.UTC),
		`{"ttl":"0s","until":"2026-02-01T00:00:00Z"}`: time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC),
	} {
		a, err := model.ParseExtendArgs(json.RawMessage(args))
		if err != nil || !a.UntilAt(sent).Equal(want) {
			t.Errorf("ParseExtendArgs(%s) leads to %v, %v, want %v", args, a.UntilAt(sent), err, want)
		}
	}
	for args, field := range map[string]string{
		"": "args", "{}": "args", "null": "args", `{"ttl":"0s"}`: "args", `{"ttl":null}`: "args", `[]`: "args", `"30m"`: "args", `{`: "args",
		`{"ttl":"30m"} {}`: "args", `{"ttl":"30m"},`: "args", `{"ttl":30}`: "args.ttl", `{"ttl":"thirty"}`: "args.ttl", `{"ttl":"30"}`: "args.ttl",
		`{"ttl":"1m","until":"2026-02-01T00:00:00Z"}`: "args", `{"ttl":"1m","extra":1}`: "args", `{"until":"tomorrow"}`: "args.until",
		`{"until":"2026-02-30T00:00:00Z"}`: "args.until", `{"until":1}`: "args.until", `{"ttl":"-1m"}`: "args.ttl", `{"ttl":"1us"}`: "args.ttl",
		`{"TTL":"30m"}`: "args", `{"ttl":"30m","TTL":"2h"}`: "args", `{"ttl":"30m"}}`: "args", `{"ttl":"30m"}]`: "args",
		`{"ttl":"87601h"}`: "args.ttl", `{"ttl":"9999999999h"}`: "args.ttl",
	} {
		_, err := model.ParseExtendArgs(json.RawMessage(args))
		wantField(t, args, err, field)
		if err != nil && strings.Contains(err.Error(), "model.") {
			t.Errorf("%s: the message shows a Go type: %v", args, err)
		}
	}
}

func FuzzParseExtendArgs(f *testing.F) {
	for _, s := range []string{"", "null", "{}", `{"ttl":"30m"}`, `{"until":"2026-02-01T00:00:00Z"}`, `{"ttl":30}`, `{"ttl":"1m","until":"x"}`, `{"TTL":"1s"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, args []byte) {
		a, err := model.ParseExtendArgs(args)
		if err != nil {
			if model.KindOf(err) != model.ErrorInvalid {
				t.Errorf("%q: %v is not an invalid field", args, err)
			}
			return
		}
		if (a.TTL != 0) == !a.Until.IsZero() {
			t.Errorf("%q = %+v: want one of ttl and until", args, a)
		}
		if a.TTL != 0 && model.CheckTTL("ttl", time.Duration(a.TTL)) != nil {
			t.Errorf("%q = %+v: the ttl is out of bounds", args, a)
		}
		if sent := time.Unix(0, 0); a.TTL != 0 && !a.UntilAt(sent).After(sent) {
			t.Errorf("%q leads to %v, not into the future", args, a.UntilAt(sent))
		}
		// What was read is written so that it reads the same.
		out := `{"until":"` + a.Until.Format(time.RFC3339Nano) + `"}`
		if a.TTL != 0 {
			ttl, err := json.Marshal(a.TTL)
			if err != nil {
				t.Fatal(err)
			}
			out = `{"ttl":` + string(ttl) + `}`
		}
		b, err := model.ParseExtendArgs(json.RawMessage(out))
		if err != nil || a.TTL != b.TTL || !a.Until.Equal(b.Until) {
			t.Errorf("%q = %+v, and %s = %+v, %v", args, a, out, b, err)
		}
	})
}

func TestDuration(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]time.Duration{
		`"90s"`: 90 * time.Second, `"2h"`: 2 * time.Hour, `"1h0m0.5s"`: time.Hour + 500*time.Millisecond, `"-1m"`: -time.Minute, `"0"`: 0,
	} {
		var d model.Duration
		if err := json.Unmarshal([]byte(in), &d); err != nil || time.Duration(d) != want {
			t.Errorf("%s = %v, %v, want %v", in, time.Duration(d), err, want)
		}
	}
	for _, bad := range []string{`90`, `"90"`, `""`, `"2 h"`, `"1d"`, `true`, `{}`, `[]`, `"1h\u0000"`, `"99999999999h"`} {
		var d model.Duration
		if err := json.Unmarshal([]byte(bad), &d); err == nil || d != 0 {
			t.Errorf("%s = %v, %v, want an error", bad, time.Duration(d), err)
		}
	}
	for d, want := range map[time.Duration]string{0: `"0s"`, 90 * time.Second: `"1m30s"`, -time.Millisecond: `"-1ms"`} {
		if got, err := json.Marshal(model.Duration(d)); string(got) != want || err != nil {
			t.Errorf("%v is written %s, %v, want %s", d, got, err, want)
		}
	}
}

func FuzzDuration(f *testing.F) {
	for _, s := range []string{`"90s"`, `"2h"`, `90`, `"1d"`, `""`, `null`, `"1h30m5.5s"`, `"-1ns"`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var d model.Duration
		if err := json.Unmarshal(in, &d); err != nil {
			return
		}
		out, err := json.Marshal(d)
		if err != nil {
			t.Fatalf("%s = %v, which cannot be written: %v", in, time.Duration(d), err)
		}
		var again model.Duration
		if err := json.Unmarshal(out, &again); err != nil || again != d {
			t.Errorf("%s = %v, written %s, read %v, %v", in, time.Duration(d), out, time.Duration(again), err)
		}
	})
}

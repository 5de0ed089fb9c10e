package hook_test

import (
	"context"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"drydock/blueprints"
	"drydock/blueprints/hook"
	"drydock/model"
)

// FuzzAnswer: what a program says in answer to a step is refused with the name of the field, or what it changes can be stored and shown.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		``, ` `, `{}`, `null`, `done`, `{"attributes": {"ip": "10.0.0.1", "os": null}}`, `{"capacity": 0}`, `{"capacity": 2, "facts": "x"}`, `{"facts": "\u0000"}`,
		`{"until": "2030-01-02T03:04:05Z"}`, `{"until": "9999-12-31T23:59:59-23:59"}`, `{"until": "0001-01-01T00:00:00Z"}`, `{"until": 5}`,
		`{"slots": ["host:a", "a}:{b"]}`, `{"slots": ["ip:10.0.0.1"]}`, `{"slots": [null]}`, `{"Attributes": {}}`, `{"attributes": {"a b": "x"}}`, `{"x\u001b": 1}`,
	} {
		f.Add([]byte(seed))
	}
	slot := regexp.MustCompile(`^[A-Za-z0-9._:/@+-]{1,200}$`)
	bp := &model.Blueprint{Namespace: "ci", Name: "vm", Kind: "test", Type: "vm", Enabled: true, Config: []byte(`{"parameters": ["branch"]}`)}
	res := &model.Resource{Ref: model.ResourceRef("ci", "r1"), Name: "vm-1", Attributes: map[string]string{"os": "linux"}, Capacity: 1}
	lease := &model.Lease{Ref: model.LeaseRef("ci", "l1")}
	f.Fuzz(func(t *testing.T, raw []byte) {
		answers := map[hook.Step]string{}
		for _, step := range hook.Steps() {
			answers[step] = string(raw)
		}
		opened, err := kind{answers}.Open(bp)
		if err != nil {
			t.Fatal(err)
		}
		h, ctx, call := opened.Hooks(), context.Background(), blueprints.Call{}
		refused := func(err error) bool {
			if err != nil && (model.KindOf(err) != model.ErrorInvalid || !strings.Contains(err.Error(), "answer")) {
				t.Errorf("%v names no field of the answer", err)
			}
			if err != nil && (len(err.Error()) > 1000 || !utf8.ValidString(err.Error()) || strings.ContainsFunc(err.Error(), unicode.IsControl)) {
				t.Errorf("the error %q is not one short line", err)
			}
			return err != nil
		}
		storable := func(attributes map[string]string, capacity int, facts string, until time.Time, slots []string) {
			if err := model.CheckAttributes("attributes", attributes); err != nil {
				t.Error(err)
			}
			if capacity < 0 || capacity > hook.MaxCapacity || model.CheckText("facts", facts, hook.MaxFacts) != nil {
				t.Errorf("the capacity is %d, the facts are %q", capacity, facts)
			}
			var again time.Time
			text, err := json.Marshal(until.UTC())
			if err != nil || json.Unmarshal(text, &again) != nil || !again.Equal(until) || until.UnixMilli() < 0 && !until.IsZero() {
				t.Errorf("until %v is shown as %s, %v", until, text, err)
			}
			if len(slots) > hook.MaxSlots+1 {
				t.Errorf("%d slots", len(slots))
			}
			for _, s := range slots {
				if !slot.MatchString(s) {
					t.Errorf("the slot %q", s)
				}
			}
		}
		offer, err := h.Allocate(ctx, call, model.Request{Lease: "l1"}, blueprints.Offer{Name: "vm-1", Capacity: 1, Slots: []string{"resource:vm:vm-1"}})
		if !refused(err) {
			storable(offer.Attributes, offer.Capacity, offer.Facts, offer.Until, offer.Slots)
		}
		for _, change := range []func(context.Context, blueprints.Call, *model.Resource) (blueprints.Changes, error){h.ActivateResource, h.UpdateResource} {
			if c, err := change(ctx, call, res); !refused(err) {
				storable(c.Attributes, c.Capacity, c.Facts, c.Until, nil)
			}
		}
		if slots, err := h.AcquireLease(ctx, call, res, lease); !refused(err) {
			storable(nil, 1, "", time.Time{}, slots)
		}
		// What is said here is ignored, whatever it is.
		if err := h.DestroyResource(ctx, call, res); err != nil {
			t.Error(err)
		}
		if err := h.ReleaseLease(ctx, call, res, lease); err != nil {
			t.Error(err)
		}
	})
}

// FuzzYield: what a program says when it puts a step off is a delay within bounds and a reason that can be shown.
func FuzzYield(f *testing.F) {
	for _, seed := range []string{
		``, `{}`, `{"retry_after": "10s", "reason": "booting"}`, `{"retry_after": "-1s"}`, `{"retry_after": "9999h", "reason": "\u001b[31m\u0000"}`, `{"retry_after": 5}`, `later`, "\xff",
	} {
		f.Add([]byte(seed), "it said: \x1b[31m")
	}
	f.Fuzz(func(t *testing.T, raw []byte, otherwise string) {
		y, ok := blueprints.AsYield(hook.ParseYield(raw, otherwise))
		if !ok || y.After < 0 || y.After > hook.MaxRetryAfter || y.Reason == "" {
			t.Fatalf("put off by %+v", y)
		}
		if err := model.CheckText("reason", y.Reason, model.MaxReasonLength+len("…")); err != nil {
			t.Errorf("the reason %q: %v", y.Reason, err)
		}
	})
}

// FuzzChoices: the values of an attribute are those that are written there, none of them null.
func FuzzChoices(f *testing.F) {
	for _, seed := range []string{`"a"`, `["a", "b"]`, `[]`, `null`, `["a", null]`, `[1]`, `{}`, ` "a"`, `""`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var c hook.Choices
		if err := json.Unmarshal(raw, &c); err != nil || c == nil {
			return
		}
		var read any
		if err := json.Unmarshal(raw, &read); err != nil {
			t.Fatal(err)
		}
		if list, ok := read.([]any); ok && !slices.Equal(list, anyOf(c)) || !ok && (len(c) != 1 || read != any(c[0])) {
			t.Errorf("%s is read as %q", raw, c)
		}
	})
}

func anyOf(texts []string) (out []any) {
	for _, s := range texts {
		out = append(out, s)
	}
	return out
}

package conformance

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"drydock/blueprints"
	"drydock/model"
)

// badConfigs are seeds for every kind.
var badConfigs = []string{
	``, `{}`, `null`, `[]`, `{`, `{"": 1}`, `{"x": 1}`, `{"x\u001b[31m\n": 1}`, `{"attributes": {"os": 1}}`, `{"attributes": {"os": null}}`, `{"attributes": {"os": ["a", null]}}`,
	`{"timeout": "1h", "timeout": "2h"}`, `{"timeout": "-1s"}`, `{"Timeout": "1s"}`, `{"timeout": 5}`, "{\"attributes\": {\"\xff\": \"x\"}}", `{"attributes": {"a": "\u0000"}}`,
}

// FuzzConfig fuzzes the config of a blueprint: a kind refuses it with the name of a field, or makes of it a blueprint whose resources
// can be stored. Seeds are good configs of the kind.
func FuzzConfig(f *testing.F, kind blueprints.Kind, bp model.Blueprint, seeds ...string) {
	f.Helper()
	for _, seed := range append(seeds, badConfigs...) {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, config []byte) {
		bp.Kind, bp.Config = kind.Name(), config
		opened, err := kind.Open(&bp)
		if err != nil {
			checkRefusal(t, err)
			return
		}
		for _, req := range []model.Request{{Lease: "l1", Type: bp.Type}, {Type: bp.Type, Attributes: map[string]string{"os": "linux", "branch": "main"}}} {
			ok, reason := opened.CanServe(req)
			if !ok && reason == "" {
				t.Error("does not say why it cannot serve")
			}
			for offer := range opened.Offers(req) {
				checkStorable(t, offer)
				break // the others are like it
			}
		}
		if opened.Hooks().Timeout < 0 {
			t.Errorf("the timeout is %s", opened.Hooks().Timeout)
		}
		if _, err := kind.Open(&bp); err != nil {
			t.Errorf("opened again: %v", err)
		}
	})
}

func checkRefusal(t *testing.T, err error) {
	t.Helper()
	e, ok := err.(*model.Error) //nolint:errorlint // a caller is shown this one
	if !ok || e.Kind != model.ErrorInvalid || e.Field != "config" && !strings.HasPrefix(e.Field, "config.") {
		t.Fatalf("%v names no field of the config", err)
	}
	if text := err.Error(); !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) || len(text) > 1000 {
		t.Errorf("the error %q is not one short line", text)
	}
}

func checkStorable(t *testing.T, offer blueprints.Offer) {
	t.Helper()
	if err := model.CheckName("name", offer.Name); err != nil {
		t.Error(err)
	}
	if err := model.CheckAttributes("attributes", offer.Attributes); err != nil {
		t.Error(err)
	}
	for _, slot := range offer.Slots {
		if slot == "" || strings.ContainsFunc(slot, unicode.IsControl) {
			t.Errorf("the slot %q", slot)
		}
	}
	if offer.Capacity < 1 {
		t.Errorf("a capacity of %d", offer.Capacity)
	}
}

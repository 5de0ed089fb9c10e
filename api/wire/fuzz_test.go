package wire

import (
	"bytes"
	"encoding/json"
	"testing"
	"unicode/utf8"

	"drydock/model"
)

// FuzzTime: an instant comes out as it was read, to the millisecond.
func FuzzTime(f *testing.F) {
	for _, seed := range []string{
		`"2030-01-02T03:04:05Z"`, `"2030-01-02T03:04:05.6789+14:00"`, `null`, ` null `, `"2030-01-02"`, `"2030-02-30T00:00:00Z"`, `12`, `""`, `"0001-01-01T00:00:00Z"`,
		`"9999-12-31T23:59:59-23:59"`, `"0000-01-01T00:00:00+23:59"`, `"2030-01-02T24:00:00Z"`, `"2030-01-02t03:04:05z"`, `"2030-01-02T03:04:60Z"`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var at Time
		if err := json.Unmarshal(raw, &at); err != nil {
			if kind := model.KindOf(err); json.Valid(raw) && kind != model.ErrorInvalid {
				t.Errorf("%s: %v of kind %s", raw, err, kind)
			}
			return
		}
		out, err := json.Marshal(at)
		if err != nil {
			t.Fatalf("%s cannot be written: %v", raw, err)
		}
		var again Time
		if err := json.Unmarshal(out, &again); err != nil || again.UnixMilli() != at.UnixMilli() {
			t.Errorf("%s is written as %s, and read as %v, %v", raw, out, again, err)
		}
	})
}

// FuzzValues: attributes, owners and filters come out as they were read, and are refused with the name of the field.
func FuzzValues(f *testing.F) {
	for _, seed := range []string{
		`null`, `{}`, `{"os":"linux"}`, `{"os":null}`, `{"os":1}`, `[]`, `"ada"`, `""`, `{"type":"host"}`, `{"Type":"host"}`, `{"types":["lease"],"events":[],"status":null}`,
		`{"type":"rack","attributes":{"row":"1"},"blueprints":["racks"]}`, `{"type":1}`, `{"":""}`, `{"a":{"b":1}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		fuzzValue[Attributes](t, raw)
		fuzzValue[Owner](t, raw)
		fuzzValue[ReleaseFilter](t, raw)
		fuzzValue[EventFilter](t, raw)
		fuzzValue[SubLease](t, raw)
	})
}

func fuzzValue[T any](t *testing.T, raw []byte) {
	t.Helper()
	var v T
	if err := json.Unmarshal(raw, &v); err != nil {
		if json.Valid(raw) && model.KindOf(err) != model.ErrorInvalid {
			t.Errorf("%T of %s: %v", v, raw, err)
		}
		return
	}
	first, err := json.Marshal(v)
	if err != nil {
		t.Fatalf("%T of %s cannot be written: %v", v, raw, err)
	}
	var again T
	if err := json.Unmarshal(first, &again); err != nil {
		t.Fatalf("%T of %s is written as %s: %v", v, raw, first, err)
	}
	if second, err := json.Marshal(again); err != nil || !bytes.Equal(first, second) {
		t.Errorf("%T of %s is written as %s and then as %s, %v", v, raw, first, second, err)
	}
}

// FuzzShown: whatever text is in an object, what the API shows of it is JSON that a client reads as the same.
func FuzzShown(f *testing.F) {
	f.Add("ada", "linux", "pending", int64(3))
	f.Add("<&>\u2028", "", "active", int64(-1))
	f.Fuzz(func(t *testing.T, owner, value, status string, number int64) {
		if !utf8.ValidString(owner) || !utf8.ValidString(value) || !utf8.ValidString(status) {
			return // nothing of the kind is stored
		}
		lease := FromLease(&model.Lease{
			Ref: model.LeaseRef("ci", "x"), Owner: owner, Attributes: map[string]string{"a": value}, Status: model.LeaseState(status), Fence: number,
		})
		event := FromEvent(&model.Event{ID: "1-1", Owner: owner, Text: value, Status: status, Fence: number})
		command := FromCommand(&model.Command{Author: owner, Reason: value, Outcome: model.Outcome(status), Fence: number})
		if l := shown(t, lease); string(l.Owner) != owner || l.Attributes["a"] != value || l.Status != status || l.Fence != number {
			t.Errorf("the lease is shown as %+v", l)
		}
		if e := shown(t, event); string(e.Owner) != owner || string(e.Text) != value || string(e.Status) != status || int64(e.Fence) != number {
			t.Errorf("the event is shown as %+v", e)
		}
		if c := shown(t, command); string(c.Author) != owner || string(c.Reason) != value || string(c.Outcome) != status || int64(c.Fence) != number {
			t.Errorf("the command is shown as %+v", c)
		}
	})
}

// shown returns what a client reads.
func shown[T any](t *testing.T, v T) (read T) {
	t.Helper()
	body, err := encode(v)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(body, &read); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	if again, err := encode(read); err != nil || !bytes.Equal(again, body) {
		t.Errorf("%s is read and shown again as %s, %v", body, again, err)
	}
	return read
}

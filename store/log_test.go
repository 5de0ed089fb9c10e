package store

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"drydock/model"
)

func TestLogPaging(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	ref := e.leaseIn("l1", model.LeaseActive)
	c := e.claim(ref)
	want := []string{"queued for a host"}
	for i := range 10 {
		st := Step{}
		for j := range 3 { // entries of one write share a millisecond
			text := fmt.Sprintf("%d.%d", i, j)
			want = append(want, text)
			st.Log = append(st.Log, Entry{Event: model.EventExtended, Text: text, Command: "c1"})
		}
		e.applyLease(c, LeaseStep{Step: st})
	}
	for limit := range 40 {
		var got, ids []string
		for after := ""; ; {
			page, err := e.Store.Log(e.ctx, ref, limit, after)
			e.must(err)
			for _, entry := range page.Items {
				got, ids = append(got, entry.Text), append(ids, entry.ID)
			}
			if after = page.Next; after == "" {
				break
			}
			if len(page.Items) != limit || after != page.Items[limit-1].ID {
				t.Errorf("limit %d: a page of %d with the next one after %s", limit, len(page.Items), after)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("limit %d (-want +got):\n%s", limit, diff)
		}
		if len(slices.Compact(ids)) != len(want) {
			t.Errorf("limit %d: ids repeat: %v", limit, ids)
		}
	}
}

func TestLogEntries(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	ref := e.lease("l1", model.NewLease{})
	e.send(ref, "c1", model.CommandExtend)
	c := e.claim(ref)
	e.applyLease(c, LeaseStep{Step: Step{
		Consume: consumed(c, model.OutcomeRefused), Log: []Entry{{Event: model.EventRefused, Text: "no", Command: "c1"}},
	}})
	page, err := e.Store.Log(e.ctx, ref, 0, "")
	e.must(err)
	want := []model.LogEntry{
		{Event: model.EventQueued, Text: "queued for a host"},
		{Event: model.EventSent, Text: "extend from ada via api: done", Command: "c1"},
		{Event: model.EventRefused, Text: "no", Command: "c1", Fence: c.Fence, Worker: "w1"},
	}
	for i, entry := range page.Items {
		// The server's clock makes ids and instants.
		if entry.At.IsZero() || entry.ID == "" {
			t.Errorf("entry %d = %+v, want an id and an instant", i, entry)
		}
		page.Items[i].ID, page.Items[i].At = "", want[0].At
	}
	if diff := cmp.Diff(model.Page[model.LogEntry]{Items: want}, page); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

func TestLogOfNobodyAndBadCursors(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	ref := e.lease("l1", model.NewLease{})
	if _, err := e.Store.Log(e.ctx, e.leaseRef("nobody"), 0, ""); !errors.Is(err, model.ErrLeaseNotFound) {
		t.Errorf("of nobody: %v, want %v", err, model.ErrLeaseNotFound)
	}
	if _, err := e.Store.Log(e.ctx, e.resourceRef("nobody"), 0, ""); !errors.Is(err, model.ErrResourceNotFound) {
		t.Errorf("of nobody: %v, want %v", err, model.ErrResourceNotFound)
	}
	for _, after := range []string{"x", "1", "1-", "-1", "-1-0", "1-+0", "1-x", "1-0-", "1-0-0-0", "(1-0", "$", "99999999999999999999-0", "1-99999999999999999999", "1 -0"} {
		if _, err := e.Store.Log(e.ctx, ref, 0, after); kindOf(err) != model.ErrorInvalid {
			t.Errorf("after %q: %v, want an invalid cursor", after, err)
		}
	}
	for _, after := range []string{"0-0", "1-0-0", "1-0-2147483647", "9223372036854775807-18446744073709551615"} {
		if _, err := e.Store.Log(e.ctx, ref, 0, after); err != nil {
			t.Errorf("after %q: %v", after, err)
		}
	}
}

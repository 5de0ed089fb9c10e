package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"drydock/model"
)

func (e *env) data(ref model.Ref) model.Data {
	e.Helper()
	d, err := e.Data(e.ctx, ref)
	e.must(err)
	return d
}

// shownData reads the data that an object's own JSON shows.
func (e *env) shownData(ref model.Ref) model.Data {
	e.Helper()
	if ref.Kind == model.KindLease {
		l, err := e.Lease(e.ctx, e.ns, ref.ID)
		e.must(err)
		return model.Data{Value: l.Data, Rev: l.DataRev}
	}
	r, err := e.Resource(e.ctx, e.ns, ref.ID)
	e.must(err)
	return model.Data{Value: r.Data, Rev: r.DataRev}
}

// bothKinds are an active lease and its resource.
func (e *env) bothKinds() []model.Ref {
	e.Helper()
	e.leaseIn("l1", model.LeaseActive)
	return []model.Ref{e.leaseRef("l1"), e.resourceRef("r-l1")}
}

func TestSetData(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	for _, ref := range e.bothKinds() {
		if got := e.data(ref); got.Value != nil || got.Rev != 0 {
			t.Errorf("%s begins with %+v", ref, got)
		}
		for rev, value := range []json.RawMessage{json.RawMessage(`{"a": 1}`), json.RawMessage("false"), nil, json.RawMessage(`""`)} {
			before := e.dump()
			want := model.Data{Value: value, Rev: int64(rev + 1)}
			got, err := e.SetData(e.ctx, ref, value, model.Condition{})
			e.must(err)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("SetData (-want +got):\n%s", diff)
			}
			// Nothing of the object itself changes, and nobody is woken.
			e.wantChanges(before, expect{
				ref.Member() + ":data value": string(value), ref.Member() + ":data rev": fmt.Sprint(rev + 1),
				"done:<id> (expires)": fmt.Sprint(rev + 1),
				"events +1":           "e=data-changed o=" + ref.Member() + " s=active",
			})
			for what, got := range map[string]model.Data{"Data": e.data(ref), "the object": e.shownData(ref)} {
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", what, diff)
				}
			}
		}
		// The object as an answer to a command shows them too.
		sent := e.send(ref, "c-"+ref.ID, model.CommandExtend)
		var shown model.Data
		if sent.Lease != nil {
			shown = model.Data{Value: sent.Lease.Data, Rev: sent.Lease.DataRev}
		} else {
			shown = model.Data{Value: sent.Resource.Data, Rev: sent.Resource.DataRev}
		}
		if diff := cmp.Diff(e.data(ref), shown); diff != "" {
			t.Errorf("data in the answer to a command (-want +got):\n%s", diff)
		}
	}
	e.wantVerified()
}

func TestSetDataConditions(t *testing.T) {
	t.Parallel()
	rev := func(n int64) model.Condition { return model.Condition{Rev: &n} }
	some, none := model.Condition{Some: true}, model.Condition{None: true}
	e := newEnv(t)
	ref := e.bothKinds()[0]
	steps := []struct {
		value json.RawMessage
		cond  model.Condition
		fails string
	}{
		{json.RawMessage("1"), some, "the lease has no data; its rev is 0"},
		{json.RawMessage("1"), rev(1), "the data of the lease have rev 0, not 1"},
		{json.RawMessage("1"), rev(0), ""},
		{json.RawMessage("2"), rev(0), "the data of the lease have rev 1, not 0"},
		{json.RawMessage("2"), none, "the lease has data already; its rev is 1"},
		{json.RawMessage("2"), some, ""},
		{nil, rev(2), ""},
		{json.RawMessage("3"), some, "the lease has no data; its rev is 3"},
		{json.RawMessage("3"), none, ""},
		{json.RawMessage("4"), rev(3), "the data of the lease have rev 4, not 3"},
	}
	for i, step := range steps {
		before := e.dump()
		was := e.data(ref)
		_, err := e.SetData(e.ctx, ref, step.value, step.cond)
		if step.fails == "" {
			e.must(err)
			continue
		}
		if kindOf(err) != model.ErrorPrecondition || err.Error() != step.fails {
			t.Errorf("step %d: %v, want %q", i, err, step.fails)
		}
		if diff := cmp.Diff(before, e.dump()); diff != "" {
			t.Errorf("step %d changed (-before +after):\n%s", i, diff)
		}
		if diff := cmp.Diff(was, e.data(ref)); diff != "" {
			t.Errorf("step %d (-before +after):\n%s", i, diff)
		}
	}
	e.wantNoChange(func() {
		if err := errOf(e.SetData(e.ctx, e.leaseRef("nobody"), nil, model.Condition{})); !errors.Is(err, model.ErrLeaseNotFound) {
			t.Errorf("data of nobody: %v", err)
		}
		if err := errOf(e.Data(e.ctx, e.resourceRef("nobody"))); !errors.Is(err, model.ErrResourceNotFound) {
			t.Errorf("data of nobody: %v", err)
		}
	})
}

// TestDataInEveryState: they can be written until the object is destroyed, and read after that.
func TestDataInEveryState(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	var refs []model.Ref
	for _, state := range model.LeaseStates() {
		refs = append(refs, e.leaseIn("l-"+string(state), state))
	}
	for _, state := range model.ResourceStates() {
		refs = append(refs, e.resource("s-"+string(state), spec{state: state}))
	}
	for _, ref := range refs {
		destroyed := strings.HasSuffix(ref.ID, "destroyed")
		err := errOf(e.SetData(e.ctx, ref, json.RawMessage("1"), model.Condition{}))
		if destroyed && kindOf(err) != model.ErrorConflict || !destroyed && err != nil {
			t.Errorf("%s: %v", ref, err)
		}
		if got := e.data(ref); (got.Rev == 1) == destroyed {
			t.Errorf("%s has rev %d", ref, got.Rev)
		}
	}
	ref := e.leaseRef("l-active")
	e.applyLease(e.claim(ref), LeaseStep{Path: []model.LeaseState{model.LeaseReleased, model.LeaseDestroyed}, Step: Step{Finish: true}})
	if got := e.data(ref); string(got.Value) != "1" {
		t.Errorf("data after the end = %+v, want what was there", got)
	}
	e.wantVerified()
}

// TestCompareAndSetLosesNothing: many who count in one value all get their turn.
func TestCompareAndSetLosesNothing(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	ref := e.bothKinds()[1]
	const writers, each = 8, 10
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for done := 0; done < each; {
				d, err := e.Data(e.ctx, ref)
				if err != nil {
					t.Error(err)
					return
				}
				n := 0
				_ = json.Unmarshal(d.Value, &n)
				_, err = e.SetData(e.ctx, ref, json.RawMessage(fmt.Sprint(n+1)), model.Condition{Rev: &d.Rev})
				switch {
				case err == nil:
					done++
				case kindOf(err) != model.ErrorPrecondition:
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if got := e.data(ref); string(got.Value) != fmt.Sprint(writers*each) || got.Rev != writers*each {
		t.Errorf("data = %s with rev %d, want %d", got.Value, got.Rev, writers*each)
	}
}

// TestSetDataSentAgainAfterAnother: the reply was lost, somebody else wrote, and then go-redis sends the call again. It must neither
// overwrite the other nor say that its condition failed.
func TestSetDataSentAgainAfterAnother(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	ref := e.bothKinds()[0]
	for i, condition := range []string{"any", "2"} {
		rev := int64(2*i + 1)
		call := func() []any {
			t.Helper()
			reply, err := e.run(e.ctx, "set data", setDataScript, []string{objectKey(ref)}, ref.Member(), "token-"+condition, "1", condition)
			e.must(err)
			return reply
		}
		first := call()
		if toInt(first[0]) != 1 || toInt(first[1]) != rev {
			t.Fatalf("first run = %v, want written with rev %d", first, rev)
		}
		other, err := e.SetData(e.ctx, ref, json.RawMessage("2"), model.Condition{})
		e.must(err)
		e.wantNoChange(func() {
			if diff := cmp.Diff(first, call()); diff != "" {
				t.Errorf("second run (-first +second):\n%s", diff)
			}
		})
		if diff := cmp.Diff(other, e.data(ref)); diff != "" {
			t.Errorf("data (-other's +stored):\n%s", diff)
		}
	}
}

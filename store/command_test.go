package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"drydock/model"
)

// sentTo is what sending a command to a quiet object at start writes.
func sentTo(member, state string, name model.CommandName, cid string) expect {
	return expect{
		member + ":records " + cid: fmt.Sprintf(
			`{"sent_ms":%s,"command":"%s","author":"ada","origin":{"via":"api","address":"192.0.2.1"},"reason":"done"}`, at(0), name),
		member + ":commands": cid,
		member + ":log +1":   fmt.Sprintf("c=%s e=command-sent t=%s from ada via api: done", cid, name),
		member + " woken":    "1",
		"wake " + member:     visible,
		"events +1":          fmt.Sprintf("e=command-sent o=%s s=%s", member, state),
	}
}

func TestSend(t *testing.T) {
	t.Parallel()
	t.Run("release to a lease", func(t *testing.T) {
		t.Parallel()
		e := newEnv(t)
		ref := e.leaseIn("l1", model.LeaseActive)
		before := e.dump()
		sent := e.send(ref, "c1", model.CommandRelease)
		e.wantChanges(before, sentTo("lease:l1", "active", model.CommandRelease, "c1"), expect{"lease:l1 releases": "1"})
		e.wantRefs(sent.Wake, "lease:l1")
		want := command(ref, "c1", model.CommandRelease)
		want.SentAt = start
		if diff := cmp.Diff(&want, sent.Command); diff != "" {
			t.Errorf("stored command (-want +got):\n%s", diff)
		}
		if sent.Repeat || sent.Resource != nil || !sent.Lease.Releasing {
			t.Errorf("sent = %+v, want a first one, with the releasing lease", sent)
		}
		e.wantVerified()
	})
	t.Run("extend to a lease", func(t *testing.T) {
		t.Parallel()
		e := newEnv(t)
		ref := e.leaseIn("l1", model.LeaseActive)
		before := e.dump()
		cmd := command(ref, "c1", model.CommandExtend)
		cmd.Args, cmd.Reason, cmd.Origin = json.RawMessage(`{"ttl":"30m"}`), "", model.Origin{Via: model.ViaCLI}
		sent, err := e.Send(e.ctx, cmd, model.Idempotency{})
		e.must(err)
		want := sentTo("lease:l1", "active", model.CommandExtend, "c1")
		want["lease:l1:records c1"] = `{"sent_ms":` + at(0) + `,"command":"extend","args":{"ttl":"30m"},"author":"ada","origin":{"via":"cli"}}`
		want["lease:l1:log +1"] = "c=c1 e=command-sent t=extend from ada via cli"
		e.wantChanges(before, want)
		if sent.Lease.Releasing {
			t.Error("an extend makes the lease releasing")
		}
	})
	t.Run("pause to a resource", func(t *testing.T) {
		t.Parallel()
		e := newEnv(t)
		ref := e.resource("r1", spec{})
		before := e.dump()
		sent := e.send(ref, "c1", model.CommandPause)
		e.wantChanges(before, sentTo("resource:r1", "active", model.CommandPause, "c1"))
		if sent.Lease != nil || sent.Resource == nil || sent.Resource.ID != "r1" {
			t.Errorf("sent = %+v, want the resource", sent)
		}
	})
	t.Run("reclaim takes a resource out of the free ones", func(t *testing.T) {
		t.Parallel()
		e := newEnv(t)
		ref := e.resource("r1", spec{})
		before := e.dump()
		sent := e.send(ref, "c1", model.CommandReclaim)
		e.wantChanges(before, sentTo("resource:r1", "active", model.CommandReclaim, "c1"), expect{
			"resource:r1 releases": "1", "free:host r1": gone, "blueprint:lab:idle r1": gone,
		})
		e.wantRefs(sent.Wake, "resource:r1")
		if !sent.Resource.Releasing {
			t.Error("the resource is not releasing")
		}
	})
	t.Run("behind another", func(t *testing.T) {
		t.Parallel()
		e := newEnv(t)
		ref := e.leaseIn("l1", model.LeaseActive)
		e.send(ref, "c1", model.CommandRelease)
		e.clock.advance(time.Second)
		before := e.dump()
		sent := e.send(ref, "c2", model.CommandRelease)
		want := sentTo("lease:l1", "active", model.CommandRelease, "c2")
		want["lease:l1:records c2"] = `{"sent_ms":` + at(time.Second) +
			`,"command":"release","author":"ada","origin":{"via":"api","address":"192.0.2.1"},"reason":"done"}`
		want["lease:l1:commands"], want["lease:l1 releases"] = "c1 c2", "2"
		// It is awake already and must not be put off.
		delete(want, "lease:l1 woken")
		delete(want, "wake lease:l1")
		e.wantChanges(before, want)
		e.wantRefs(sent.Wake)
	})
}

// TestSendNeverPutsOff: an object that is due sooner than a woken one would be stays due then.
func TestSendNeverPutsOff(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	ref := e.leaseIn("l1", model.LeaseActive)
	_, err := e.Finish(e.ctx, e.claim(ref), start.Add(time.Second))
	e.must(err)
	before := e.dump()
	e.send(ref, "c1", model.CommandRelease)
	if got := changes(before, e.dump())["wake lease:l1"]; got != "" {
		t.Errorf("wake moved to %s, want it left at %s", got, at(time.Second))
	}
}

func TestSendRefused(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	released := e.leaseIn("released", model.LeaseReleased)
	destroyed := e.resource("destroyed", spec{state: model.ResourceDestroyed})
	active := e.leaseIn("active", model.LeaseActive)
	_, err := e.Send(e.ctx, command(active, "c0", model.CommandExtend), model.Idempotency{Key: "k", Fingerprint: "f"})
	e.must(err)

	tests := []struct {
		name string
		cmd  model.Command
		idem model.Idempotency
		want error
	}{
		{"no such lease", command(e.leaseRef("nobody"), "c1", model.CommandRelease), model.Idempotency{}, model.ErrLeaseNotFound},
		{"no such resource", command(e.resourceRef("nobody"), "c1", model.CommandRelease), model.Idempotency{}, model.ErrResourceNotFound},
		{"extend of a released lease", command(released, "c1", model.CommandExtend), model.Idempotency{Key: "new", Fingerprint: "f"},
			model.Errorf(model.ErrorConflict, `the lease takes no "extend" in its present state`)},
		{"pause of a destroyed resource", command(destroyed, "c1", model.CommandPause), model.Idempotency{},
			model.Errorf(model.ErrorConflict, `the resource takes no "pause" in its present state`)},
		{"key of another request", command(active, "c1", model.CommandExtend), model.Idempotency{Key: "k", Fingerprint: "other"}, errKeyReused},
	}
	for _, tt := range tests {
		e.wantNoChange(func() {
			sent, err := e.Send(e.ctx, tt.cmd, tt.idem)
			if err == nil || kindOf(err) != kindOf(tt.want) || err.Error() != tt.want.Error() {
				t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
			}
			if diff := cmp.Diff(model.Sent{}, sent); diff != "" {
				t.Errorf("%s: sent (-want +got):\n%s", tt.name, diff)
			}
		})
	}
}

// TestReleaseOfWhatIsReleased: nothing is left to do, and the caller is told so instead of refused.
func TestReleaseOfWhatIsReleased(t *testing.T) {
	t.Parallel()
	for _, state := range []model.LeaseState{model.LeaseReleased, model.LeaseDestroyed} {
		e := newEnv(t)
		ref := e.leaseIn("l1", state)
		e.wantNoChange(func() {
			sent := e.send(ref, "c1", model.CommandRelease)
			if sent.Command != nil || sent.Repeat || len(sent.Wake) > 0 || sent.Lease.Status != state {
				t.Errorf("release of a %s lease = %+v, want no command and the lease", state, sent)
			}
		})
		before := e.dump()
		idem := model.Idempotency{Key: "k", Fingerprint: "f"}
		_, err := e.Send(e.ctx, command(ref, "c1", model.CommandRelease), idem)
		e.must(err)
		key := "idem:" + hashKey("k") + " (expires) "
		e.wantChanges(before, expect{key + "fingerprint": "f", key + "id": "c1", key + "reply": "kept"})
		e.wantNoChange(func() {
			sent, err := e.Send(e.ctx, command(ref, "c2", model.CommandRelease), idem)
			if err != nil || sent.Command != nil || !sent.Repeat || sent.Lease.Status != state {
				t.Errorf("the same request again = %+v, %v, want its first answer", sent, err)
			}
		})
		res := e.resource("r1", spec{state: model.ResourceDestroyed})
		e.wantNoChange(func() {
			sent := e.send(res, "c1", model.CommandRelease)
			if sent.Command != nil || sent.Resource.Status != model.ResourceDestroyed {
				t.Errorf("release of a destroyed resource = %+v, want no command and the resource", sent)
			}
		})
	}
}

func TestSendWithAnIdempotencyKey(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	ref := e.leaseIn("l1", model.LeaseActive)
	idem := model.Idempotency{Key: "k", Fingerprint: "f"}
	before := e.dump()
	first, err := e.Send(e.ctx, command(ref, "c1", model.CommandRelease), idem)
	e.must(err)
	key := "idem:" + hashKey("k") + " (expires) "
	e.wantChanges(before, sentTo("lease:l1", "active", model.CommandRelease, "c1"), expect{
		"lease:l1 releases": "1", key + "fingerprint": "f", key + "id": "c1", key + "reply": "kept",
	})
	e.wantNoChange(func() {
		again, err := e.Send(e.ctx, command(ref, "c2", model.CommandRelease), idem)
		e.must(err)
		if !again.Repeat || len(again.Wake) > 0 {
			t.Errorf("same key = %+v, want a repetition that wakes nobody", again)
		}
	})
	// The lease is long gone when the caller asks again.
	c := e.claim(ref)
	e.applyLease(c, LeaseStep{
		Path: []model.LeaseState{model.LeaseReleased, model.LeaseDestroyed},
		Step: Step{Consume: consumed(c, model.OutcomeApplied), Finish: true},
	})
	e.wantNoChange(func() {
		again, err := e.Send(e.ctx, command(ref, "c3", model.CommandRelease), idem)
		e.must(err)
		first.Repeat, first.Wake = true, []model.Ref{}
		if diff := cmp.Diff(first, again); diff != "" {
			t.Errorf("same key after the end (-first +again):\n%s", diff)
		}
	})
}

// TestSendTwiceWithOneID is a write that was sent again; the second reply has to do what the lost one would have done.
func TestSendTwiceWithOneID(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	ref := e.leaseIn("l1", model.LeaseActive)
	idem := model.Idempotency{Key: "k", Fingerprint: "f"}
	for _, cid := range []string{"c1", "c2"} {
		first, err := e.Send(e.ctx, command(ref, cid, model.CommandRelease), idem)
		e.must(err)
		e.wantNoChange(func() {
			second, err := e.Send(e.ctx, command(ref, cid, model.CommandRelease), idem)
			e.must(err)
			// The first of the two woke the lease; the one that did not may wake it as well.
			second.Wake = first.Wake
			if diff := cmp.Diff(first, second); diff != "" {
				t.Errorf("second answer for %s (-first +second):\n%s", cid, diff)
			}
		})
		idem = model.Idempotency{}
	}
	if second := e.send(ref, "c1", model.CommandRelease); len(second.Wake) != 1 {
		t.Errorf("sent again before anybody claimed it: woken %v, want the lease", second.Wake)
	}
	c := e.claim(ref)
	e.applyLease(c, LeaseStep{
		Path: []model.LeaseState{model.LeaseReleased}, Step: Step{Consume: consumed(c, model.OutcomeApplied)},
	})
	e.wantNoChange(func() {
		late := e.send(ref, "c1", model.CommandRelease)
		if late.Command == nil || late.Command.ID != "c1" || late.Command.ConsumedAt.IsZero() || len(late.Wake) > 0 {
			t.Errorf("sent again after it was consumed = %+v, want the consumed command and nobody woken", late)
		}
	})
}

// TestThousandReleasesCostOneTask sends them at once, from many clients.
func TestThousandReleasesCostOneTask(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	ref := e.leaseIn("l1", model.LeaseActive)
	const n, senders = 1000, 20
	var wg sync.WaitGroup
	var mu sync.Mutex
	woken := 0
	for s := range senders {
		wg.Go(func() {
			for i := range n / senders {
				sent, err := e.Send(e.ctx, command(ref, fmt.Sprintf("c-%d-%d", s, i), model.CommandRelease), model.Idempotency{})
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				woken += len(sent.Wake)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if woken != 1 {
		t.Errorf("%d releases woke %d tasks, want 1", n, woken)
	}
	e.wantVerified()

	// One claim reads some of them; the write that destroys the lease consumes them all.
	c := e.claim(ref)
	if len(c.Commands) != MaxClaimed {
		t.Fatalf("claimed %d commands, want %d", len(c.Commands), MaxClaimed)
	}
	st := LeaseStep{Path: []model.LeaseState{model.LeaseReleased, model.LeaseDestroyed}, Step: Step{Finish: true}}
	st.Consume = consumed(c, model.OutcomeSuperseded)
	st.Consume[0].Outcome = model.OutcomeApplied
	if a := e.applyLease(c, st); !a.Done {
		t.Errorf("applied = %+v, want done", a)
	}
	outcomes := map[model.Outcome]int{}
	for after := ""; ; {
		page, err := e.Commands(e.ctx, ref, 300, after)
		e.must(err)
		for _, cmd := range page.Items {
			outcomes[cmd.Outcome]++
		}
		if after = page.Next; after == "" {
			break
		}
	}
	if diff := cmp.Diff(map[model.Outcome]int{model.OutcomeApplied: 1, model.OutcomeSuperseded: n - 1}, outcomes); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
	e.wantVerified()
}

// TestCommandsPaging walks over the boundary between history and queue with every page size.
func TestCommandsPaging(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	ref := e.leaseIn("l1", model.LeaseActive)
	var want []string
	for i := range 7 {
		e.send(ref, fmt.Sprintf("c%d", i), model.CommandExtend)
		want = append(want, fmt.Sprintf("c%d", i))
	}
	for history := range 8 {
		for limit := 1; limit <= 8; limit++ {
			var got []string
			for after := ""; ; {
				page, err := e.Commands(e.ctx, ref, limit, after)
				e.must(err)
				for i, cmd := range page.Items {
					got = append(got, cmd.ID)
					if pos := len(got) - 1; (pos < history) == cmd.ConsumedAt.IsZero() {
						t.Errorf("history of %d, limit %d: command %d on the page is consumed at %v", history, limit, i, cmd.ConsumedAt)
					}
				}
				if page.Next != "" && len(page.Items) != limit {
					t.Errorf("history of %d, limit %d: a page of %d with a next one", history, limit, len(page.Items))
				}
				if after = page.Next; after == "" {
					break
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("history of %d, limit %d (-want +got):\n%s", history, limit, diff)
			}
		}
		if c := e.claim(ref); history < 7 {
			e.applyLease(c, LeaseStep{Step: Step{Consume: consumed(c, model.OutcomeRefused)[:1]}})
		}
	}
}

// TestCommandsSeesEachOnceWhileTheyAreConsumed consumes between the two reads of a page that begins within the queue.
func TestCommandsSeesEachOnceWhileTheyAreConsumed(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	ref := e.leaseIn("l1", model.LeaseActive)
	for i := range 9 {
		e.send(ref, fmt.Sprintf("c%d", i), model.CommandExtend)
	}
	first, err := e.Commands(e.ctx, ref, 4, "")
	e.must(err)
	left := 3
	e.rdb.AddHook(&afterHook{name: "exec", do: func() {
		if left--; left >= 0 {
			c := e.claim(ref)
			e.applyLease(c, LeaseStep{Step: Step{Consume: consumed(c, model.OutcomeRefused)[:2]}})
		}
	}})
	second, err := e.Commands(e.ctx, ref, 4, first.Next)
	e.must(err)
	var got []string
	for _, cmd := range second.Items {
		got = append(got, cmd.ID)
	}
	if diff := cmp.Diff([]string{"c4", "c5", "c6", "c7"}, got); diff != "" {
		t.Errorf("second page (-want +got):\n%s", diff)
	}
	if left >= 0 {
		t.Fatalf("nothing was consumed meanwhile: %d left", left)
	}
}

func TestCommandsOfNobody(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	ref := e.lease("l1", model.NewLease{})
	if _, err := e.Commands(e.ctx, e.leaseRef("nobody"), 0, ""); !errors.Is(err, model.ErrLeaseNotFound) {
		t.Errorf("of nobody: %v, want %v", err, model.ErrLeaseNotFound)
	}
	if _, err := e.Commands(e.ctx, e.resourceRef("nobody"), 0, ""); !errors.Is(err, model.ErrResourceNotFound) {
		t.Errorf("of nobody: %v, want %v", err, model.ErrResourceNotFound)
	}
	page, err := e.Commands(e.ctx, ref, 0, "")
	if diff := cmp.Diff(model.Page[*model.Command]{Items: []*model.Command{}}, page); diff != "" || err != nil {
		t.Errorf("of a lease without commands: %v (-want +got):\n%s", err, diff)
	}
	for _, after := range []string{"x", "-1", "1.5", "99999999999999999999"} {
		if _, err := e.Commands(e.ctx, ref, 0, after); kindOf(err) != model.ErrorInvalid {
			t.Errorf("after %q: %v, want an invalid cursor", after, err)
		}
	}
	if page, err := e.Commands(e.ctx, ref, 0, "1000"); err != nil || len(page.Items) > 0 || page.Next != "" {
		t.Errorf("far behind the end: %+v, %v, want nothing", page, err)
	}
}

package store

import (
	"fmt"
	"testing"

	"drydock/embedded/redistest"
	"drydock/model"
)

// batchOf makes a release for each lease, under ids c<prefix><n>.
func (e *env) batchOf(prefix string, ids ...string) (cmds []model.Command) {
	for i, id := range ids {
		cmds = append(cmds, command(e.leaseRef(id), fmt.Sprintf("%s%d", prefix, i), model.CommandRelease))
	}
	return cmds
}

func TestSendAllDoesWhatSendDoes(t *testing.T) {
	t.Parallel()
	one, all := newEnv(t), newEnv(t)
	for _, e := range []*env{one, all} {
		e.leaseIn("l1", model.LeaseActive)
		e.lease("l2", model.NewLease{})
		e.leaseIn("l3", model.LeaseDestroyed)
	}
	ids := []string{"l1", "l2", "gone", "l3", "l1"}
	results, err := all.SendAll(all.ctx, all.batchOf("c", ids...))
	all.must(err)
	if len(results) != len(ids) {
		t.Fatalf("%d results, want %d", len(results), len(ids))
	}
	for i, cmd := range one.batchOf("c", ids...) {
		sent, err := one.Send(one.ctx, cmd, model.Idempotency{})
		got := results[i]
		if kindOf(got.Err) != kindOf(err) || (got.Command == nil) != (sent.Command == nil) || len(got.Wake) != len(sent.Wake) {
			t.Errorf("%s: SendAll %+v, Send %+v, %v", ids[i], got, sent, err)
		}
		if sent.Command != nil && got.Command.ID != cmd.ID {
			t.Errorf("%s: SendAll stored command %s, want %s", ids[i], got.Command.ID, cmd.ID)
		}
	}
	if got, want := len(all.dump().Values), len(one.dump().Values); got != want {
		t.Errorf("SendAll left %d keys, Send %d", got, want)
	}
	all.wantVerified()

	// The same ids are the same commands.
	all.wantNoChange(func() {
		again, err := all.SendAll(all.ctx, all.batchOf("c", ids...))
		all.must(err)
		for i, r := range again {
			if (r.Command == nil) != (results[i].Command == nil) || kindOf(r.Err) != kindOf(results[i].Err) {
				t.Errorf("%s again: %+v, want %+v", ids[i], r, results[i])
			}
		}
	})
	if none, err := all.SendAll(all.ctx, nil); none != nil || err != nil {
		t.Errorf("SendAll of nothing = %v, %v", none, err)
	}
}

// TestSendAllOnAFreshServer: the server does not know the script, and a pipeline does not fall back to sending it.
func TestSendAllOnAFreshServer(t *testing.T) {
	t.Parallel()
	e := newEnvOn(t, redistest.Client(t, redistest.Start(t)), Config{})
	e.createLease("l1", model.NewLease{})
	e.createLease("l2", model.NewLease{})
	e.must(e.rdb.ScriptFlush(e.ctx).Err())
	results, err := e.SendAll(e.ctx, e.batchOf("c", "l1", "l2"))
	if err != nil || len(results) != 2 || results[0].Command == nil || results[1].Command == nil {
		t.Errorf("SendAll = %+v, %v, want two commands", results, err)
	}
}

func TestPlanIsThatOfTheFirst(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	idem := model.Idempotency{Key: "k", Fingerprint: "f"}
	plan := func(idem model.Idempotency, text string) (string, *model.Answer, error) {
		kept, answer, err := e.Plan(e.ctx, e.ns, idem, []byte(text))
		return string(kept), answer, err
	}
	if kept, answer, err := plan(idem, "one"); kept != "one" || answer != nil || err != nil {
		t.Errorf("the first plan = %q, %v, %v", kept, answer, err)
	}
	e.wantNoChange(func() {
		if kept, answer, err := plan(idem, "two"); kept != "one" || answer != nil || err != nil {
			t.Errorf("a second plan = %q, %v, %v, want the first", kept, answer, err)
		}
		if _, _, err := plan(model.Idempotency{Key: "k", Fingerprint: "g"}, "two"); kindOf(err) != model.ErrorMismatch {
			t.Errorf("another request with the key = %v, want a mismatch", err)
		}
	})
	e.must(errOf(e.SaveAnswer(e.ctx, e.ns, "k", model.Answer{Status: 202, Body: []byte("{}")})))
	if kept, answer, err := plan(idem, "two"); kept != "one" || answer == nil || answer.Status != 202 || err != nil {
		t.Errorf("a plan that was answered = %q, %v, %v", kept, answer, err)
	}
	e.createLease("l1", model.NewLease{})
	if _, err := e.Send(e.ctx, command(e.leaseRef("l1"), "c1", model.CommandRelease), model.Idempotency{Key: "k", Fingerprint: "h"}); kindOf(err) != model.ErrorMismatch {
		t.Errorf("Send with the key of a plan = %v, want a mismatch", err)
	}
	if ttl := e.rdb.TTL(e.ctx, idemKey(e.ns, hashKey("k"))).Val(); ttl <= 0 || ttl > idempotencyWindow {
		t.Errorf("the plan is kept for %v", ttl)
	}
}

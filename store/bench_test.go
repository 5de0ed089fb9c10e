package store

import (
	"testing"
	"time"

	"drydock/model"
)

// BenchmarkSend sends releases to one object that nobody consumes.
func BenchmarkSend(b *testing.B) {
	e := newEnv(b)
	ref := e.leaseIn("l1", model.LeaseActive)
	for b.Loop() {
		e.send(ref, model.NewID(), model.CommandRelease)
	}
}

// BenchmarkSendParallel sends from many clients to objects of their own.
func BenchmarkSendParallel(b *testing.B) {
	e := newEnv(b)
	b.RunParallel(func(p *testing.PB) {
		ref := e.leaseRef(model.NewID())
		if _, err := e.CreateLease(e.ctx, e.ns, ref.ID, model.NewLease{Type: "host"}, model.Idempotency{}); err != nil {
			b.Error(err)
			return
		}
		for p.Next() {
			if _, err := e.Send(e.ctx, command(ref, model.NewID(), model.CommandRelease), model.Idempotency{}); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkUpdate is one update: a command comes in, a claim, a write that consumes it and finishes.
func BenchmarkUpdate(b *testing.B) {
	e := newEnv(b)
	ref := e.leaseIn("l1", model.LeaseActive)
	for b.Loop() {
		e.send(ref, model.NewID(), model.CommandExtend)
		c := e.claim(ref)
		e.applyLease(c, LeaseStep{Step: Step{
			Consume: consumed(c, model.OutcomeApplied), Finish: true, LookAgain: start.Add(time.Hour),
			Log: []Entry{{Event: model.EventExtended, Text: "until then", Command: c.Commands[0].ID}},
		}})
	}
}

// BenchmarkLeaseLife is a whole life on a resource that is there: queued, acquired and active, released and destroyed.
func BenchmarkLeaseLife(b *testing.B) {
	e := newEnv(b)
	e.resource("r1", spec{})
	for b.Loop() {
		ref := e.createLease(model.NewID(), model.NewLease{}).Lease.Ref
		st := e.acquireStep("r1", "slot")
		st.Path, st.Finish = append(st.Path, model.LeaseActive), true
		e.applyLease(e.claim(ref), st)
		e.send(ref, model.NewID(), model.CommandRelease)
		c := e.claim(ref)
		e.applyLease(c, LeaseStep{
			Path: []model.LeaseState{model.LeaseReleased, model.LeaseDestroyed},
			Step: Step{Consume: consumed(c, model.OutcomeApplied), Finish: true},
		})
	}
}

package store

import (
	"testing"
	"time"

	"drydock/model"
)

// TestWhoLeavesAGateWakesTheNext: the next at the gate stands in no other queue, so that nothing else wakes it.
func TestWhoLeavesAGateWakesTheNext(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.resource("r1", spec{})
	e.acquire(e.lease("holder", model.NewLease{}), "r1")
	gates := []Gate{{Blueprint: bp, Rev: e.blueprint(bp).Rev, Quota: 1}}
	for _, id := range []string{"l1", "l2", "l3"} {
		e.clock.advance(time.Millisecond)
		e.applyLease(e.claim(e.lease(id, model.NewLease{})), LeaseStep{
			Gates: &gates, StandBack: true, Step: Step{Finish: true, LookAgain: start.Add(time.Hour)},
		})
		e.settle(e.leaseRef(id))
	}
	e.wantVerified()
	// The place that is given back wakes the first at the gate, which leaves.
	a := e.applyLease(e.claim(e.leaseRef("holder")), LeaseStep{Path: []model.LeaseState{model.LeaseReleased, model.LeaseDestroyed}})
	e.wantRefs(a.Wake, "lease:l1")
	a = e.applyLease(e.claim(e.leaseRef("l1")), LeaseStep{Path: []model.LeaseState{model.LeaseReleased, model.LeaseDestroyed}})
	e.wantRefs(a.Wake, "lease:l2")
	e.wantVerified()
}

// TestSpareRefused tries what must not be made, whatever its update has seen before.
func TestSpareRefused(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		seed    func(e *env)
		limit   int
		minIdle int
		want    error
	}{
		{"enough idle", func(e *env) { e.resource("r1", spec{}) }, 0, 1, ErrEnoughIdle},
		{"enough being made", func(e *env) { e.spare("r1", 0, 1) }, 0, 1, ErrEnoughIdle},
		{"limit", func(e *env) { e.resource("r1", spec{}) }, 1, 2, model.ErrLimitReached},
		{"slot lock held", func(e *env) { e.resource("r1", spec{slots: []string{"slot-r9"}}) }, 0, 2, model.ErrSlotHeld},
		{"none of these", nil, 1, 1, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t)
			e.blueprint(bp)
			if tt.seed != nil {
				tt.seed(e)
			}
			wantStepError(t, e.spare("r9", tt.limit, tt.minIdle), tt.want)
			e.wantVerified()
		})
	}
}

// spare has the blueprint's own update make a resource to be kept idle.
func (e *env) spare(id string, limit, minIdle int) error {
	e.Helper()
	b := e.blueprint(bp)
	b.Limit, b.MinIdle = limit, minIdle
	_, err := e.ApplyBlueprint(e.ctx, e.claim(model.BlueprintRef(e.ns, bp)), BlueprintStep{
		Spare: &NewResource{ID: id, Name: id, Blueprint: b, Capacity: 1, Slots: []string{"slot-" + id}},
	})
	return err
}

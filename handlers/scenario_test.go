package handlers

import (
	"testing"
	"time"

	"drydock/model"
)

func TestLeaseLifeOnAPool(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.pool(0, 1, 1)
	id := h.lease(model.NewLease{Owner: "alice"})
	h.drain()
	l := h.wantLease(id, model.LeaseActive)
	if l.Resource == "" || l.Blueprint != "lab" || l.Fence == 0 || l.AcquiredAt.IsZero() || l.ActivatedAt.IsZero() || l.Waiting != nil {
		t.Errorf("active lease is incomplete: %+v", l)
	}
	h.verify()
	h.releaseLease(id)
	if !h.readLease(id).Releasing {
		t.Error("releasing is not shown while the release waits")
	}
	h.drain()
	l = h.wantLease(id, model.LeaseDestroyed)
	if l.Releasing || l.ReleasedAt.IsZero() || l.DestroyedAt.IsZero() {
		t.Errorf("destroyed lease is incomplete: %+v", l)
	}
	h.verify()
	_ = time.Second
}

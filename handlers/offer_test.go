package handlers

import (
	"testing"

	"drydock/model"
)

// TestLeaseAsksForWhatOnlyItsBlueprintUnderstands: some attributes say what is to be done for the lease, such as which commit to check
// out. They are not compared with those of what could be made, as they are not with those of what is there.
func TestLeaseAsksForWhatOnlyItsBlueprintUnderstands(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.declareScripted("copies", func(bp *model.Blueprint) { bp.Type = "copy" })
	for _, commit := range []string{"a", "b"} { // the first has a copy made, the second takes it
		id := h.lease(model.NewLease{Type: "copy", Attributes: map[string]string{"commit": commit}})
		h.drain()
		h.wantLease(id, model.LeaseActive)
		h.releaseLease(id)
		h.drain()
	}
	if n := len(h.resources("")); n != 1 {
		t.Errorf("%d copies were made, want 1", n)
	}
	h.verify()
}

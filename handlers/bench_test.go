package handlers

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"drydock/model"
)

// BenchmarkUpdate runs updates of distinct leases, twenty at once as a worker does, without asynq: what Drydock's own part costs.
func BenchmarkUpdate(b *testing.B) {
	b.Run("lease", func(b *testing.B) {
		h, refs := benchLeases(b, b.N)
		b.ResetTimer()
		h.updateAll(refs)
		b.StopTimer()
		h.wantLeases(refs, model.LeaseActive)
	})
	b.Run("release", func(b *testing.B) {
		h, refs := benchLeases(b, b.N)
		h.updateAll(refs)
		for _, ref := range refs {
			cmd := model.Command{ID: model.NewID(), Target: ref, Name: model.CommandRelease, Author: "bench", Origin: model.Origin{Via: model.ViaAPI}}
			if _, err := h.store.Send(h.ctx, cmd, model.Idempotency{}); err != nil {
				b.Fatal(err)
			}
		}
		b.ResetTimer()
		h.updateAll(refs)
		b.StopTimer()
		h.wantLeases(refs, model.LeaseDestroyed)
	})
	b.Run("command", func(b *testing.B) {
		h, refs := benchLeases(b, 1)
		h.updateAll(refs)
		var batch []model.Command
		for i := range b.N {
			batch = append(batch, model.Command{
				ID: model.NewID(), Target: refs[0], Name: model.CommandExtend, Args: []byte(`{"ttl":"1h"}`), Author: "bench",
				Origin: model.Origin{Via: model.ViaAPI},
			})
			if len(batch) == 500 || i == b.N-1 {
				if _, err := h.store.SendAll(h.ctx, batch); err != nil {
					b.Fatal(err)
				}
				batch = batch[:0]
			}
		}
		b.ResetTimer()
		h.updateAll(refs)
		b.StopTimer()
		if history, err := h.store.Commands(h.ctx, refs[0], 1, strconv.Itoa(b.N-1)); err != nil || len(history.Items) == 0 || history.Items[0].Outcome == "" {
			b.Fatalf("the history begins with %+v, %v", *history.Items[0], err)
		}
	})
}

// benchHosts is how many hosts serve the leases of a benchmark.
const benchHosts = 100

// benchLeases queues n leases in a pool whose hosts are active.
func benchLeases(b *testing.B, n int) (*harness, []model.Ref) {
	b.Helper()
	h := newHarness(b)
	var names []string
	for i := range benchHosts {
		names = append(names, fmt.Sprintf(`{"name":"h%d"}`, i))
	}
	h.putBlueprint(&model.Blueprint{
		Namespace: h.ns, Name: "bench", Kind: "pool", Type: "host", Enabled: true,
		Config: fmt.Appendf(nil, `{"leases_per_host":%d,"hosts":[%s]}`, n/benchHosts+2, strings.Join(names, ",")),
	})
	queue := func() model.Ref {
		made, err := h.store.CreateLease(h.ctx, h.ns, model.NewID(), model.NewLease{Type: "host"}, model.Idempotency{})
		if err != nil {
			b.Fatal(err)
		}
		return made.Lease.Ref
	}
	for range benchHosts {
		if err := h.Enqueue(h.ctx, queue()); err != nil {
			b.Fatal(err)
		}
	}
	h.drain()
	refs := make([]model.Ref, n)
	for i := range refs {
		refs[i] = queue()
	}
	return h, refs
}

// updateAll updates objects, twenty at once.
func (h *harness) updateAll(refs []model.Ref) {
	h.t.Helper()
	next := make(chan model.Ref)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for ref := range next {
				if err := h.updater.Update(h.ctx, ref); err != nil {
					h.t.Errorf("update %s: %v", ref, err)
				}
			}
		})
	}
	for _, ref := range refs {
		next <- ref
	}
	close(next)
	wg.Wait()
}

func (h *harness) wantLeases(refs []model.Ref, want model.LeaseState) {
	h.t.Helper()
	for _, ref := range refs {
		if l, err := h.store.Lease(h.ctx, h.ns, ref.ID); err != nil || l.Status != want {
			h.t.Fatalf("lease %s is %+v, %v, want %s", ref.ID, l, err, want)
		}
	}
}

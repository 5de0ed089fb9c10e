package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"drydock/api/wire"
	"drydock/client"
	"drydock/embedded"
	"drydock/model"
)

// A pool of so many hosts has room for all leases of a rung.
const hosts = 100

// newPool declares the pool that leases are taken from, and uses each of its hosts once, so that they are active. A worker must be running.
func (f *field) newPool(ctx context.Context) error {
	type host struct {
		Name string `json:"name"`
	}
	list := make([]host, hosts)
	for i := range list {
		list[i].Name = "host-" + strconv.Itoa(i)
	}
	config, err := json.Marshal(map[string]any{"leases_per_host": (f.cfg.Count + hosts - 1) / hosts, "hosts": list})
	if err != nil {
		return err
	}
	if err := f.declare(ctx, "pool", config); err != nil {
		return err
	}
	leases, err := f.queueLeases(ctx, hosts)
	if err != nil {
		return err
	}
	if err := f.await(ctx, f.leasesIn(ctx, model.LeaseActive, hosts)); err != nil {
		return err
	}
	for _, ref := range leases {
		if err := f.send(ctx, ref, model.CommandRelease, nil); err != nil {
			return err
		}
	}
	if err := f.await(ctx, f.leasesIn(ctx, model.LeaseDestroyed, hosts)); err != nil {
		return err
	}
	f.used = hosts
	return f.await(ctx, f.drained(ctx))
}

// declare declares the one blueprint of a rung.
func (f *field) declare(ctx context.Context, kind string, config []byte) error {
	_, _, wake, err := f.store.PutBlueprint(ctx, &model.Blueprint{
		Namespace: namespace, Name: "bench", Kind: kind, Type: "host", Enabled: true, Config: config,
	}, model.Condition{})
	if err != nil {
		return err
	}
	return f.tasks.Enqueue(ctx, wake...)
}

// leasesIn reports whether so many leases are in a state, not counting those that newPool has used up.
func (f *field) leasesIn(ctx context.Context, state model.LeaseState, n int) func() (bool, error) {
	if state == model.LeaseDestroyed {
		n += f.used
	}
	return func() (bool, error) {
		have, err := f.store.CountLeases(ctx, namespace, state)
		return have == int64(n), err
	}
}

// queueLeases makes n leases and enqueues their updates.
func (f *field) queueLeases(ctx context.Context, n int) ([]model.Ref, error) {
	list := refs(n)
	return list, each(ctx, n, f.cfg.Clients, func(ctx context.Context, i int) error {
		made, err := f.store.CreateLease(ctx, namespace, list[i].ID, model.NewLease{Type: "host", Owner: "bench"}, model.Idempotency{})
		if err != nil {
			return err
		}
		return f.tasks.Enqueue(ctx, made.Wake...)
	})
}

// activeLeases starts a worker and makes n active leases.
func (f *field) activeLeases(ctx context.Context, n int) ([]model.Ref, error) {
	if err := f.drydockWorker(ctx); err != nil {
		return nil, err
	}
	if err := f.newPool(ctx); err != nil {
		return nil, err
	}
	list, err := f.queueLeases(ctx, n)
	if err != nil {
		return nil, err
	}
	if err := f.await(ctx, f.leasesIn(ctx, model.LeaseActive, n)); err != nil {
		return nil, err
	}
	return list, f.await(ctx, f.drained(ctx))
}

// send sends a command and enqueues the update.
func (f *field) send(ctx context.Context, ref model.Ref, name model.CommandName, args json.RawMessage) error {
	sent, err := f.store.Send(ctx, model.Command{
		ID: model.NewID(), Target: ref, Name: name, Args: args, Author: "bench", Origin: model.Origin{Via: model.ViaAPI},
	}, model.Idempotency{})
	if err != nil {
		return err
	}
	return f.tasks.Enqueue(ctx, sent.Wake...)
}

// leaseDrain is the rung lease.
func leaseDrain(ctx context.Context, f *field) (Sample, error) {
	if err := f.drydockWorker(ctx); err != nil {
		return Sample{}, err
	}
	if err := f.newPool(ctx); err != nil {
		return Sample{}, err
	}
	if err := f.hold(); err != nil {
		return Sample{}, err
	}
	list, err := f.queueLeases(ctx, f.cfg.Count)
	if err != nil {
		return Sample{}, err
	}
	s, err := f.drain(ctx, len(list), f.leasesIn(ctx, model.LeaseActive, len(list)))
	if err != nil {
		return s, err
	}
	return s, each(ctx, len(list), f.cfg.Clients, func(ctx context.Context, i int) error {
		lease, err := f.store.Lease(ctx, namespace, list[i].ID)
		if err == nil && (lease.Status != model.LeaseActive || lease.Resource == "") {
			err = fmt.Errorf("lease %s is %s on %q", lease.ID, lease.Status, lease.Resource)
		}
		return err
	})
}

// releaseDrain is the rung release.
func releaseDrain(ctx context.Context, f *field) (Sample, error) {
	list, err := f.activeLeases(ctx, f.cfg.Count)
	if err != nil {
		return Sample{}, err
	}
	if err := f.hold(); err != nil {
		return Sample{}, err
	}
	if err := each(ctx, len(list), f.cfg.Clients, func(ctx context.Context, i int) error {
		return f.send(ctx, list[i], model.CommandRelease, nil)
	}); err != nil {
		return Sample{}, err
	}
	s, err := f.drain(ctx, len(list), f.leasesIn(ctx, model.LeaseDestroyed, len(list)))
	if err != nil {
		return s, err
	}
	if s, err = f.released(ctx, s, list); err != nil {
		return s, err
	}
	s.Bytes, err = f.bytesOf(ctx, list[len(list)/2])
	return s, err
}

// released checks that each lease has been released once, by the one command it got, and adds how long that took.
func (f *field) released(ctx context.Context, s Sample, list []model.Ref) (Sample, error) {
	took := make([]time.Duration, len(list))
	err := each(ctx, len(list), f.cfg.Clients, func(ctx context.Context, i int) error {
		page, err := f.store.Commands(ctx, list[i], 10, "")
		if err != nil {
			return err
		}
		if len(page.Items) != 1 || page.Items[0].Outcome != model.OutcomeApplied {
			return fmt.Errorf("lease %s has %d commands in its history, want one that was applied", list[i].ID, len(page.Items))
		}
		took[i] = page.Items[0].ConsumedAt.Sub(page.Items[0].SentAt)
		return nil
	})
	s.setLatency(took)
	return s, err
}

func (s *Sample) setLatency(took []time.Duration) {
	slices.Sort(took)
	ms := func(share float64) float64 { return float64(percentile(took, share)) / float64(time.Millisecond) }
	s.P50, s.P95, s.P99 = ms(0.50), ms(0.95), ms(0.99)
}

// bytesOf is what Redis keeps for one lease alone: its keys, not its entries in indexes that it shares.
func (f *field) bytesOf(ctx context.Context, ref model.Ref) (float64, error) {
	var bytes int64
	iter := f.rdb.Scan(ctx, 0, "*:"+ref.ID+"*", 1000).Iterator()
	for iter.Next(ctx) {
		used, err := f.rdb.MemoryUsage(ctx, iter.Val(), 0).Result()
		if err != nil {
			return 0, err
		}
		bytes += used
	}
	return float64(bytes), iter.Err()
}

// hotDrain is the rung hot. The last of the commands is a release, whose effect shows the end.
func hotDrain(ctx context.Context, f *field) (Sample, error) {
	list, err := f.activeLeases(ctx, 1)
	if err != nil {
		return Sample{}, err
	}
	if err := f.hold(); err != nil {
		return Sample{}, err
	}
	args := json.RawMessage(`{"ttl":"1h"}`)
	for range f.cfg.Count - 1 {
		if err := f.send(ctx, list[0], model.CommandExtend, args); err != nil {
			return Sample{}, err
		}
	}
	if err := f.send(ctx, list[0], model.CommandRelease, nil); err != nil {
		return Sample{}, err
	}
	s, err := f.drain(ctx, f.cfg.Count, f.leasesIn(ctx, model.LeaseDestroyed, 1))
	if err != nil {
		return s, err
	}
	consumed, after := 0, ""
	for {
		page, err := f.store.Commands(ctx, list[0], 500, after)
		if err != nil {
			return s, err
		}
		for _, cmd := range page.Items {
			if cmd.Outcome == "" {
				return s, fmt.Errorf("command %s has not been consumed", cmd.ID)
			}
			consumed++
		}
		if after = page.Next; after == "" {
			break
		}
	}
	if consumed != f.cfg.Count {
		return s, fmt.Errorf("%d commands were consumed, want %d", consumed, f.cfg.Count)
	}
	return s, nil
}

// startAPI starts `drydock api`, and returns a client of it.
func (f *field) startAPI(ctx context.Context) (*client.Client, error) {
	port, err := embedded.FreePort()
	if err != nil {
		return nil, err
	}
	addr := "127.0.0.1:" + strconv.Itoa(port)
	if f.api, err = start(f.cfg.Binary, f.dir+"/api.log", []string{"api", "--redis", f.redis.URL(), "--listen", addr}); err != nil {
		return nil, err
	}
	c, err := client.New(client.Config{Server: "http://" + addr, Namespace: namespace, HTTP: httpClient(f.cfg.Clients), Retry: client.Retry{Attempts: 1}})
	if err != nil {
		return nil, err
	}
	return c, f.await(ctx, func() (bool, error) { return c.Ready(ctx) == nil, f.api.failed() })
}

// overHTTP makes active leases and times how release releases them all.
func (f *field) overHTTP(ctx context.Context, count int, release func(context.Context, *client.Client, []model.Ref) error) (Sample, error) {
	list, err := f.activeLeases(ctx, count)
	if err != nil {
		return Sample{}, err
	}
	c, err := f.startAPI(ctx)
	if err != nil {
		return Sample{}, err
	}
	before, err := f.read(ctx)
	if err != nil {
		return Sample{}, err
	}
	if err := release(ctx, c, list); err != nil {
		return Sample{}, err
	}
	if err := f.await(ctx, f.leasesIn(ctx, model.LeaseDestroyed, len(list))); err != nil {
		return Sample{}, err
	}
	s, err := f.since(ctx, before, len(list))
	if err != nil {
		return s, err
	}
	return f.released(ctx, s, list)
}

// httpSingle is the rung http.
func httpSingle(ctx context.Context, f *field) (Sample, error) {
	s, err := f.overHTTP(ctx, f.cfg.Count, func(ctx context.Context, c *client.Client, list []model.Ref) error {
		return each(ctx, len(list), f.cfg.Clients, func(ctx context.Context, i int) error {
			_, err := c.ReleaseLease(ctx, list[i].ID, "")
			return err
		})
	})
	f.httpRate = s.PerSecond
	return s, err
}

// bulkSize is how many leases one call of the rung bulk releases.
const bulkSize = 500

// httpBulk is the rung bulk.
func httpBulk(ctx context.Context, f *field) (Sample, error) {
	return f.overHTTP(ctx, f.cfg.Count, func(ctx context.Context, c *client.Client, list []model.Ref) error {
		chunks := slices.Collect(slices.Chunk(list, bulkSize))
		return each(ctx, len(chunks), 2, func(ctx context.Context, i int) error {
			order := wire.ReleaseLeases{}
			for _, ref := range chunks[i] {
				order.IDs = append(order.IDs, ref.ID)
			}
			answer, err := c.ReleaseLeases(ctx, order)
			if err == nil && len(answer.Items) != len(order.IDs) {
				err = fmt.Errorf("%d answers to %d releases", len(answer.Items), len(order.IDs))
			}
			return err
		})
	})
}

// httpPaced is the rung paced: calls come at half the rate of the rung http, whether or not the ones before have been answered.
func httpPaced(ctx context.Context, f *field) (Sample, error) {
	rate := f.httpRate / 2
	if rate == 0 {
		if _, err := httpSingle(ctx, f); err != nil {
			return Sample{}, err
		}
		rate = f.httpRate / 2
		f.stopProcesses()
		if err := f.rdb.FlushAll(ctx).Err(); err != nil {
			return Sample{}, err
		}
	}
	return f.overHTTP(ctx, f.cfg.Count, func(ctx context.Context, c *client.Client, list []model.Ref) error {
		return paced(ctx, len(list), rate, func(ctx context.Context, i int) error {
			_, err := c.ReleaseLease(ctx, list[i].ID, "")
			return err
		})
	})
}

// paced does something for 0 to n-1, so many a second.
func paced(ctx context.Context, n int, rate float64, do func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	began := time.Now()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	var wg sync.WaitGroup
	for begun := 0; begun < n && ctx.Err() == nil; {
		due := min(n, int(rate*time.Since(began).Seconds())+1)
		for i := begun; i < due; i++ {
			wg.Go(func() {
				if err := do(ctx, i); err != nil {
					cancel(err)
				}
			})
		}
		begun = due
		<-tick.C
	}
	wg.Wait()
	return context.Cause(ctx)
}

// Of the rung idle: how long the worker is watched, and how many releases follow, how far apart.
const (
	idleTime     = 5 * time.Second
	idleReleases = 100
	idleRate     = 20
)

// idle is the rung idle.
func idle(ctx context.Context, f *field) (Sample, error) {
	list, err := f.activeLeases(ctx, idleReleases)
	if err != nil {
		return Sample{}, err
	}
	before, err := f.read(ctx)
	if err != nil {
		return Sample{}, err
	}
	rest := time.NewTimer(idleTime)
	defer rest.Stop()
	select {
	case <-rest.C:
	case <-ctx.Done():
		return Sample{}, ctx.Err()
	}
	after, err := f.read(ctx)
	if err != nil {
		return Sample{}, err
	}
	var s Sample
	if used, ok := after.cpu["worker"]; ok {
		s.IdleCPU = (used - before.cpu["worker"]).Seconds() / after.at.Sub(before.at).Seconds()
	}
	// A rate that a multiple of the dispatch interval fits into would meet it always at the same place.
	if err := paced(ctx, len(list), idleRate*1.0137, func(ctx context.Context, i int) error {
		return f.send(ctx, list[i], model.CommandRelease, nil)
	}); err != nil {
		return Sample{}, err
	}
	if err := f.await(ctx, f.leasesIn(ctx, model.LeaseDestroyed, len(list))); err != nil {
		return Sample{}, err
	}
	s.Operations = len(list)
	return f.released(ctx, s, list)
}

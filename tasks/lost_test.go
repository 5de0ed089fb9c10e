package tasks

import (
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"drydock/embedded/redistest"
	"drydock/model"
)

// TestQueueIsSeenAgainAfterItsKeysWereLost: a client of asynq's announces its queue once. When asynq's keys are lost, the queue has
// to be announced anew, or metrics, doctor and dashboard do not see it until every process was started again.
func TestQueueIsSeenAgainAfterItsKeysWereLost(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	rdb := redistest.Client(t, server)
	client := NewRenewingClient(func() *asynq.Client { return asynq.NewClientFromRedisClient(rdb) }, 0)
	inspector := asynq.NewInspectorFromRedisClient(rdb)
	look := func(want int) {
		t.Helper()
		info, err := Info(inspector)
		switch {
		case err != nil:
			t.Fatalf("Info = %v", err)
		case (info == nil) != (want == 0) || info != nil && info.Pending != want:
			t.Fatalf("Info = %+v, want %d tasks", info, want)
		}
		if depth, err := NewInspector(inspector).Depth(); err != nil || depth.Tasks["pending"] != want {
			t.Fatalf("Depth = %v, %v, want %d pending tasks", depth, err, want)
		}
	}
	enqueue := func() {
		t.Helper()
		if err := client.Enqueue(t.Context(), model.LeaseRef("ci", model.NewID())); err != nil {
			t.Fatal(err)
		}
	}
	look(0)
	enqueue()
	look(1)
	lose(t, rdb)
	look(0)
	enqueue()
	client.madeAt = client.madeAt.Add(-clientAge)
	enqueue()
	look(2)
	if time.Since(client.madeAt) > clientAge/2 {
		t.Error("the client is made anew for each task")
	}
}

func lose(t *testing.T, rdb *redis.Client) {
	t.Helper()
	keys, err := rdb.Keys(t.Context(), "asynq:*").Result()
	if err != nil || len(keys) == 0 {
		t.Fatalf("asynq's keys: %q, %v", keys, err)
	}
	if err := rdb.Del(t.Context(), keys...).Err(); err != nil {
		t.Fatal(err)
	}
}

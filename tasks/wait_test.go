package tasks

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"drydock/embedded/redistest"
	"drydock/model"
)

// waitingServer is an asynq server on a connection that waits; done gets each task's object.
type waitingServer struct {
	t    *testing.T
	rdb  *redis.Client
	done chan model.Ref
}

// always is a server that is never busy.
func always(context.Context) {}

func startWaiting(t *testing.T, interval time.Duration, prepare ...any) *waitingServer {
	t.Helper()
	server := redistest.Start(t)
	s := &waitingServer{t: t, rdb: redistest.Client(t, server), done: make(chan model.Ref, 1)}
	if len(prepare) > 0 {
		if err := s.rdb.Do(t.Context(), prepare...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	opt := asynq.RedisClientOpt{Addr: s.rdb.Options().Addr}
	worker := asynq.NewServer(Waiting(ctx, opt, interval, always), asynq.Config{
		Concurrency: 1, Queues: map[string]int{Queue: 1}, TaskCheckInterval: PollInterval, LogLevel: asynq.FatalLevel,
	})
	err := worker.Start(asynq.HandlerFunc(func(_ context.Context, task *asynq.Task) error {
		refs, err := Parse(task.Type(), task.Payload())
		for _, ref := range refs {
			s.done <- ref
		}
		return err
	}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		worker.Shutdown()
	})
	return s
}

func (s *waitingServer) enqueue() {
	s.t.Helper()
	client := NewClient(asynq.NewClientFromRedisClient(s.rdb), 0)
	ref := model.LeaseRef("ci", model.NewID())
	if err := client.Enqueue(s.t.Context(), ref); err != nil {
		s.t.Fatal(err)
	}
	select {
	case got := <-s.done:
		if got != ref {
			s.t.Fatalf("the server did %v, want %v", got, ref)
		}
	case <-time.After(10 * time.Second):
		s.t.Fatal("the task was not done")
	}
}

// info returns one number of INFO, 0 when it is not there.
func (s *waitingServer) info(section, pattern string) int {
	s.t.Helper()
	text, err := s.rdb.Info(s.t.Context(), section).Result()
	if err != nil {
		s.t.Fatal(err)
	}
	found := regexp.MustCompile(pattern + `(\d+)`).FindStringSubmatch(text)
	if found == nil {
		return 0
	}
	n, err := strconv.Atoi(found[1])
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

func (s *waitingServer) untilBlocked() {
	s.t.Helper()
	for late := time.Now().Add(10 * time.Second); s.info("clients", "blocked_clients:") != 1; {
		if time.Now().After(late) {
			s.t.Fatal("the server does not wait")
		}
	}
}

// TestIdleServerWaits: asynq alone asks for tasks at every interval, which is most of what an idle worker costs.
func TestIdleServerWaits(t *testing.T) {
	t.Parallel()
	s := startWaiting(t, time.Hour)
	s.enqueue()
	s.untilBlocked()
	if err := s.rdb.ConfigResetStat(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	const rounds = 5
	for range rounds {
		s.enqueue()
		s.untilBlocked()
	}
	// For each task: it is enqueued, taken and done, and the queue looked at once more.
	if got := s.info("commandstats", "cmdstat_evalsha:calls="); got > 4*rounds+2 {
		t.Errorf("%d tasks took %d scripts, want 4 each", rounds, got)
	}
}

// TestServerThatMayNotWaitAsks: without BLMOVE, all is as it was in asynq itself.
func TestServerThatMayNotWaitAsks(t *testing.T) {
	t.Parallel()
	s := startWaiting(t, time.Millisecond, "ACL", "SETUSER", "default", "-blmove")
	for range 3 {
		s.enqueue()
	}
}

// TestServerThatIsNotReadyLeavesTasks to others.
func TestServerThatIsNotReadyLeavesTasks(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t, redistest.Start(t))
	client := NewClient(asynq.NewClientFromRedisClient(rdb), 0)
	asks, ready := make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{}, 1)
	first := sync.OnceFunc(func() {
		close(asks)
		<-ready
	})
	worker := asynq.NewServer(Waiting(ctx, asynq.RedisClientOpt{Addr: rdb.Options().Addr}, time.Hour, func(context.Context) { first() }), asynq.Config{Concurrency: 2, Queues: map[string]int{Queue: 1}, TaskCheckInterval: PollInterval, LogLevel: asynq.FatalLevel})
	if err := worker.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error { done <- struct{}{}; return nil })); err != nil {
		t.Fatal(err)
	}
	defer worker.Shutdown()
	defer cancel()
	<-asks
	if err := client.Enqueue(t.Context(), model.LeaseRef("ci", model.NewID())); err != nil {
		t.Fatal(err)
	}
	if n := rdb.LLen(t.Context(), Pending).Val(); n != 1 {
		t.Errorf("%d tasks wait, want one", n)
	}
	close(ready)
	<-done
}

// TestPauseGrowsWhileOthersAreFaster: the list is not empty, and still there is no task to be had.
func TestPauseGrowsWhileOthersAreFaster(t *testing.T) {
	t.Parallel()
	rdb := redistest.Client(t, redistest.Start(t))
	if err := rdb.LPush(t.Context(), Pending, "b", "a").Err(); err != nil {
		t.Fatal(err)
	}
	w := &waiter{ctx: t.Context(), client: rdb, interval: 5 * time.Millisecond, ready: always}
	reply := error(redis.Nil)
	look := w.ProcessHook(func(context.Context, redis.Cmder) error { return reply })
	ask := redis.NewCmd(t.Context(), "evalsha", "some-sha", 4, Pending)
	var pauses []time.Duration
	for range 5 {
		if err := look(t.Context(), ask); !errors.Is(err, redis.Nil) {
			t.Fatalf("the answer became %v", err)
		}
		pauses = append(pauses, w.pause)
	}
	if got, want := fmt.Sprint(pauses), "[1ms 2ms 4ms 5ms 5ms]"; got != want {
		t.Errorf("the pauses are %s, want %s", got, want)
	}
	if text := rdb.Info(t.Context(), "commandstats").Val(); !strings.Contains(text, "cmdstat_blmove:calls=1,") {
		t.Errorf("a paused queue is written to more than once:\n%s", text)
	}
	if got := rdb.LRange(t.Context(), Pending, 0, -1).Val(); fmt.Sprint(got) != "[a b]" {
		t.Errorf("the list became %q", got)
	}
	reply = nil
	if err := look(t.Context(), ask); err != nil || w.pause != 0 {
		t.Errorf("after a task (%v) the pause is %v, want none", err, w.pause)
	}
}

// TestWaitingEndsWithItsContext: a worker that shuts down does not wait for a task first.
func TestWaitingEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	w := &waiter{ctx: ctx, client: redistest.Client(t, redistest.Start(t)), interval: time.Hour, pause: time.Hour}
	cancel()
	w.wait()
}

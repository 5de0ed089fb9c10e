package e2e_test

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"drydock/store"
)

// load is clients that take leases and give them back, each several times at once, and keep book of what was accepted.
type load struct {
	c      *client
	cancel context.CancelFunc
	endC   chan struct{}
	wg     sync.WaitGroup

	// retried counts requests that were sent again, because there was no answer or a 503.
	retried atomic.Int64
	taken   atomic.Int64

	mu     sync.Mutex
	leases []*booking
	errs   []error
}

// booking is what a client knows of one lease.
type booking struct {
	id string

	mu       sync.Mutex
	commands []string // the ids of accepted commands
}

// maxLeases keeps a fast machine from making more than can be checked in good time.
const maxLeases = 500

// startLoad begins with some clients at once.
func startLoad(c *client, clients int) *load {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.t.Context()), 2*patience)
	l := &load{c: c, cancel: cancel, endC: make(chan struct{})}
	for i := range clients {
		l.wg.Go(func() { l.client(ctx, i) })
	}
	c.t.Cleanup(func() {
		cancel()
		l.wg.Wait()
	})
	return l
}

func (l *load) client(ctx context.Context, n int) {
	for i := 0; ; i++ {
		select {
		case <-l.endC:
			return
		default:
		}
		if l.taken.Load() >= maxLeases {
			return
		}
		if err := l.turn(ctx, n, i); err != nil {
			l.mu.Lock()
			l.errs = append(l.errs, fmt.Errorf("client %d: %w", n, err))
			l.mu.Unlock()
			return
		}
	}
}

// turn takes a lease and gives it back.
func (l *load) turn(ctx context.Context, n, i int) error {
	who := fmt.Sprintf("client-%d", n)
	made, err := post[lease](ctx, l, "/v1/leases", fmt.Sprintf(`{"type": "host", "owner": %q}`, who), http.StatusAccepted)
	if err != nil {
		return err
	}
	b := &booking{id: made.ID}
	l.mu.Lock()
	l.leases = append(l.leases, b)
	l.mu.Unlock()
	l.taken.Add(1)
	if i%4 != 3 { // now and then nobody waits for it to become active
		_, _ = l.c.tryAwait(ctx, b.id, "active", 2*time.Second)
	}
	var wg sync.WaitGroup
	errs := make([]error, 4)
	for k := range errs {
		wg.Go(func() { errs[k] = l.release(ctx, b, fmt.Sprintf("%s-%d", who, k)) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// release sends a release and books it when it is accepted.
func (l *load) release(ctx context.Context, b *booking, author string) error {
	s, err := post[sent](ctx, l, "/v1/leases/"+b.id+"/release", `{"reason": "done"}`, 0, "Drydock-Author", author)
	if err != nil || s.Command == nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.commands = append(b.commands, s.Command.ID)
	return nil
}

// post sends a request until there is an answer other than 503, under one Idempotency-Key. want 0 takes 200 and 202.
func post[T any](ctx context.Context, l *load, path, body string, want int, header ...string) (v T, err error) {
	header = append(header, "Idempotency-Key", rand.Text())
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		a, err := l.c.do(ctx, http.MethodPost, path, body, header...)
		switch {
		case ctx.Err() != nil:
			return v, errors.Join(ctx.Err(), err)
		case err == nil && a.status != http.StatusServiceUnavailable:
			if a.status != want && (want != 0 || a.status != http.StatusOK && a.status != http.StatusAccepted) {
				return v, fmt.Errorf("POST %s = %d: %s", path, a.status, a.body)
			}
			return decode[T](a)
		}
		l.retried.Add(1)
		<-tick.C
	}
}

// reach waits until so many leases have been taken in all.
func (l *load) reach(n int64) {
	l.c.t.Helper()
	eventually(l.c.t, func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		if got := l.taken.Load(); got < min(n, maxLeases) && len(l.errs) == 0 {
			return fmt.Errorf("only %d leases were taken under load, want %d", got, n)
		}
		return nil
	})
}

// more waits until n more leases have been taken.
func (l *load) more(n int64) {
	l.c.t.Helper()
	l.reach(l.taken.Load() + n)
}

// stop lets the clients finish their turns.
func (l *load) stop() {
	l.c.t.Helper()
	close(l.endC)
	l.wg.Wait()
	l.cancel()
	for _, err := range l.errs {
		l.c.t.Error(err)
	}
}

// check checks, after the load has stopped, that nothing was lost and nothing done twice: by what the clients booked, by what the API
// shows through c, and by what the Redis holds. It returns how many commands each worker consumed.
func (l *load) check(c *client, rdb redis.UniversalClient) map[string]int {
	t := c.t
	t.Helper()
	if len(l.leases) == 0 {
		t.Fatal("the load took no lease")
	}
	ended := make([]lease, len(l.leases))
	workers := map[string]int{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	next := atomic.Int64{}
	// Everybody waits against one clock: what is in limbo does not come for any of them.
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for range 8 {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(l.leases) {
					return
				}
				var problems []string
				var history []command
				var err error
				if ended[i], err = c.tryAwait(ctx, l.leases[i].id, "destroyed", patience/2); err != nil {
					problems = append(problems, err.Error())
				} else if history, err = c.tryHistory(ctx, l.leases[i].id); err != nil {
					problems = append(problems, err.Error())
				} else {
					problems = l.leases[i].check(history)
				}
				mu.Lock()
				for _, p := range problems {
					t.Errorf("lease %s: %s", l.leases[i].id, p)
				}
				for _, cmd := range history {
					workers[deref(cmd.Worker)]++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for _, p := range overlaps(ended) {
		t.Error(p)
	}
	verifyIn(t, rdb, cmp.Or(c.namespace, "default"))
	t.Logf("%d leases; %d requests were sent again; commands by worker: %v", len(l.leases), l.retried.Load(), workers)
	return workers
}

// check compares a lease's history with what its clients were told.
func (b *booking) check(history []command) (problems []string) {
	breach := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	seen := map[string]int{}
	applied := 0
	var last command
	for _, cmd := range history {
		seen[cmd.ID]++
		if !slices.Contains(b.commands, cmd.ID) {
			breach("command %s is in the history and was never accepted", cmd.ID)
		}
		if p := incomplete(cmd); p != "" {
			breach("command %s %s", cmd.ID, p)
		}
		switch deref(cmd.Outcome) {
		case "applied":
			applied++
		case "superseded":
		default:
			breach("release %s is %q (%s)", cmd.ID, deref(cmd.Outcome), deref(cmd.Detail))
		}
		if last.ID != "" && (deref(cmd.SentAt).Before(deref(last.SentAt)) || deref(cmd.Fence) < deref(last.Fence)) {
			breach("command %s was consumed before %s, which was sent later or has a lower fence", last.ID, cmd.ID)
		}
		last = cmd
	}
	for _, id := range b.commands {
		if seen[id] != 1 {
			breach("accepted command %s is in the history %d times, want once", id, seen[id])
		}
	}
	if applied != 1 {
		breach("%d releases were applied, want one", applied)
	}
	return problems
}

// incomplete says what a consumed command of ours lacks.
func incomplete(c command) string {
	switch {
	case c.Author == "":
		return "has no author"
	case c.Origin.Via != "api" || c.Origin.Address == nil || c.Origin.UserAgent == nil || c.Origin.RequestID == nil:
		return fmt.Sprintf("does not say where it came from: %+v", c.Origin)
	case c.SentAt == nil || c.ConsumedAt == nil || c.ConsumedAt.Before(*c.SentAt):
		return fmt.Sprintf("was sent at %v and consumed at %v", c.SentAt, c.ConsumedAt)
	case deref(c.Fence) == 0 || deref(c.Worker) == "":
		return "does not say who consumed it"
	}
	return ""
}

// overlaps finds leases that had the same host at once. All hosts take one lease.
func overlaps(leases []lease) (problems []string) {
	byHost := map[string][]lease{}
	for _, l := range leases {
		if l.Resource != nil && l.AcquiredAt != nil && l.DestroyedAt != nil {
			byHost[*l.Resource] = append(byHost[*l.Resource], l)
		}
	}
	for host, list := range byHost {
		slices.SortFunc(list, func(a, b lease) int { return a.AcquiredAt.Compare(*b.AcquiredAt) })
		for i := 1; i < len(list); i++ {
			if list[i].AcquiredAt.Before(*list[i-1].DestroyedAt) {
				problems = append(problems, fmt.Sprintf("leases %s and %s had %s at once", list[i-1].ID, list[i].ID, host))
			}
		}
	}
	return problems
}

// verify checks the invariants that can be seen in Redis, once nothing moves any more.
func verify(t testing.TB, rdb redis.UniversalClient) {
	t.Helper()
	verifyIn(t, rdb, namespaceOf(t))
}

func verifyIn(t testing.TB, rdb redis.UniversalClient, namespace string) {
	t.Helper()
	if r, ok := rdb.(*testRedis); ok {
		rdb = r.UniversalClient // a store asks what kind of client it has
	}
	s := store.New(rdb, store.Config{})
	defer s.Close()
	eventually(t, func() error {
		problems, err := s.Verify(t.Context(), namespace)
		if err == nil && len(problems) > 0 {
			err = errors.New("broken invariants:\n" + strings.Join(problems, "\n"))
		}
		return err
	})
}

// watchCapacity reads the resources again and again until the test ends and fails it when one has more leases than it takes.
func watchCapacity(c *client) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(c.t.Context()))
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			list, err := try[page[resource]](ctx, c, http.MethodGet, "/v1/resources?limit=500", "", http.StatusOK)
			for _, r := range list.Items {
				if len(r.LeaseIDs) > r.Capacity || r.Leases != len(r.LeaseIDs) {
					c.t.Errorf("%s has %d leases, %q, and a capacity of %d", r.Name, r.Leases, r.LeaseIDs, r.Capacity)
				}
			}
			_ = err // faults are the test's business
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
	c.t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
}

//go:build unix

package torture

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// load is clients that take leases and give them back, and an operator who meddles.
type load struct {
	s      *system
	b      *book
	endC   chan struct{}
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu   sync.Mutex
	errs []error
}

func startLoad(ctx context.Context, s *system, b *book) *load {
	ctx, cancel := context.WithCancel(ctx)
	l := &load{s: s, b: b, endC: make(chan struct{}), cancel: cancel}
	for i := range s.cfg.Clients {
		l.loop(ctx, fmt.Sprintf("client%d", i), uint64(i)+100, l.turn)
	}
	l.loop(ctx, "operator", 99, l.meddle)
	return l
}

// loop lets a user take turns until the end.
func (l *load) loop(ctx context.Context, name string, stream uint64, turn func(context.Context, *user) error) {
	u := newUser(name, "http://"+l.s.toAPI.Addr(), l.b, rand.New(rand.NewPCG(l.s.cfg.Seed, stream)))
	l.wg.Go(func() {
		defer u.close()
		for {
			select {
			case <-l.endC:
				return
			default:
			}
			if err := turn(ctx, u); err != nil && ctx.Err() == nil {
				l.mu.Lock()
				l.errs = append(l.errs, fmt.Errorf("%s: %w", name, err))
				l.mu.Unlock()
			}
			pause(ctx, time.Duration(u.rng.IntN(60))*time.Millisecond)
		}
	})
}

// stop lets everybody finish their turn, within a time.
func (l *load) stop(within time.Duration) {
	close(l.endC)
	timer := time.AfterFunc(within, l.cancel)
	l.wg.Wait()
	timer.Stop()
	l.cancel()
}

// turn takes a lease, uses it, and gives it back or leaves it to expire.
func (l *load) turn(ctx context.Context, u *user) error {
	typ, ttl := "host", time.Hour
	if u.rng.IntN(2) == 0 {
		typ = madeType
	}
	left := u.rng.IntN(8) == 0
	if left {
		ttl = time.Duration(500+u.rng.IntN(2000)) * time.Millisecond
	}
	made, err := u.create(ctx, typ, ttl)
	if err != nil {
		return err
	}
	id := made.Object
	// Half of those whose activation takes time are not waited for: their commands come in while hooks run.
	if hasty := typ == madeType && u.rng.IntN(2) == 0; hasty {
		pause(ctx, time.Duration(u.rng.IntN(600))*time.Millisecond)
	} else if u.rng.IntN(6) > 0 {
		if err := l.await(ctx, u, id, "active", 3*time.Second); err != nil {
			return err
		}
	}
	if u.rng.IntN(4) == 0 {
		if _, err := u.send(ctx, "lease", id, "extend", `{"ttl": "2h"}`); err != nil {
			return err
		}
		if left {
			left = false
		}
	}
	if left {
		return nil
	}
	var wg sync.WaitGroup
	errs := make([]error, 1+u.rng.IntN(3))
	for i := range errs {
		// A generator is nobody else's.
		other := &user{name: u.name, base: u.base, book: u.book, http: u.http, rng: rand.New(rand.NewPCG(u.rng.Uint64(), 0))}
		wg.Go(func() { _, errs[i] = other.release(ctx, id) })
	}
	if u.rng.IntN(2) == 0 {
		_, _ = u.read(ctx, id, "")
	}
	wg.Wait()
	err = errors.Join(errs...)
	if u.rng.IntN(2) == 0 {
		err = errors.Join(err, l.await(ctx, u, id, "destroyed", 2*time.Second))
	}
	return err
}

// await reads a lease until it has come as far as a state, has got beyond it, or the time is over.
func (l *load) await(ctx context.Context, u *user, id, state string, within time.Duration) error {
	over := time.Now().Add(within)
	for ctx.Err() == nil && time.Now().Before(over) {
		lease, err := u.read(ctx, id, fmt.Sprintf("?wait=%s&timeout=%s", state, time.Until(over).Round(time.Millisecond)+time.Millisecond))
		switch {
		case errors.Is(err, errNoAnswer):
			pause(ctx, 50*time.Millisecond)
			continue
		case errors.Is(err, errGone):
			return nil
		case err != nil:
			return err
		case lease.Status != "pending" && lease.Status != "acquired" && (state == "active" || lease.Status == state):
			return nil
		}
	}
	return nil
}

// meddle sends a command to some resource.
func (l *load) meddle(ctx context.Context, u *user) error {
	pause(ctx, time.Duration(u.rng.IntN(400))*time.Millisecond)
	a, err := u.do(ctx, http.MethodGet, "/v1/resources?limit=100&status=active", "")
	if again(a, err) {
		return nil
	}
	resources, err := items[Resource](a)
	if err != nil || len(resources) == 0 {
		return err
	}
	id := resources[u.rng.IntN(len(resources))].ID
	switch u.rng.IntN(4) {
	case 0:
		_, err = u.send(ctx, "resource", id, "reclaim", "")
	case 1:
		_, err = u.send(ctx, "resource", id, "release", "")
	default:
		if _, err = u.send(ctx, "resource", id, "pause", ""); err == nil {
			_, err = u.send(ctx, "resource", id, "unpause", "")
		}
	}
	return err
}

//go:build unix

package torture

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"drydock/proof/torture/target"
)

// chaos lets the faults of a plan happen to a system.
type chaos struct {
	s *system
	// busy are held by whoever stops, kills or starts a process, or Redis.
	busy  map[*process]*sync.Mutex
	redis sync.Mutex

	mu     sync.Mutex
	errs   []error
	counts map[Fault]int
}

func newChaos(s *system) *chaos {
	c := &chaos{s: s, busy: map[*process]*sync.Mutex{}, counts: map[Fault]int{}}
	for _, p := range s.processes() {
		c.busy[p] = &sync.Mutex{}
	}
	return c
}

// run lets the plan happen, and returns when all is well again: all processes run, and all connections pass.
func (c *chaos) run(ctx context.Context, plan []Event) error {
	begin := time.Now()
	var wg sync.WaitGroup
	for _, e := range plan {
		pause(ctx, time.Until(begin.Add(e.At)))
		if ctx.Err() != nil {
			break
		}
		c.mu.Lock()
		c.counts[e.Fault]++
		c.mu.Unlock()
		wg.Go(func() {
			if err := c.happen(ctx, e); err != nil {
				c.mu.Lock()
				defer c.mu.Unlock()
				c.errs = append(c.errs, fmt.Errorf("%v: %w", e, err))
			}
		})
	}
	wg.Wait()
	return c.heal(ctx)
}

func (c *chaos) heal(ctx context.Context) error {
	c.s.toRedis.heal()
	c.s.toAPI.heal()
	for _, p := range c.s.processes() {
		if err := p.alive(); err != nil {
			return err
		}
	}
	if err := c.s.target.SetTrouble(""); err != nil {
		return err
	}
	if err := c.setClock(0); err != nil {
		return err
	}
	if err := c.s.direct.ConfigSet(ctx, "maxmemory", "0").Err(); err != nil {
		return err
	}
	for _, err := range c.errs {
		return err
	}
	return nil
}

func (c *chaos) happen(ctx context.Context, e Event) error {
	rng := rand.New(rand.NewPCG(e.Seed, 0))
	worker := c.s.workers[e.Pick%len(c.s.workers)]
	switch e.Fault {
	case KillWorker:
		return c.killed(ctx, worker, e)
	case KillAPI:
		return c.killed(ctx, c.s.api, e)
	case KillReply:
		return c.killReply(ctx, e)
	case Stop:
		return c.stop(ctx, worker, e)
	case KillRedis:
		return c.killRedis(ctx, e)
	case Slow:
		c.s.toRedis.setDelay(time.Duration(1+e.Pick%60) * time.Millisecond)
		pause(ctx, e.For)
		c.s.toRedis.setDelay(0)
	case Cut:
		c.s.toRedis.cut()
		pause(ctx, e.For)
		c.s.toRedis.cut()
	case Drop:
		p := []*proxy{c.s.toRedis, c.s.toRedis, c.s.toAPI}[e.Pick%3]
		p.setDrop(0.02+0.2*rng.Float64(), e.Seed)
		pause(ctx, e.For)
		p.setDrop(0, 0)
	case FlushScripts:
		return unlessDown(c.s.direct.ScriptFlush(ctx).Err())
	case LoseLocks:
		if err := c.lose(ctx, "drydock:*lock:*", 0.7, rng); err != nil {
			return err
		}
		pause(ctx, e.For)
		return c.lose(ctx, "drydock:*lock:*", 0.7, rng)
	case LoseTasks:
		return c.lose(ctx, "asynq:*", 1, rng)
	case Clock:
		if err := c.setClock(time.Duration((rng.Float64()*2 - 1) * float64(10*time.Second))); err != nil {
			return err
		}
		pause(ctx, e.For)
		return c.setClock(0)
	case Hooks:
		troubles := []target.Trouble{target.HangBefore, target.HangAfter, target.Fail}
		if err := c.s.target.SetTrouble(troubles[e.Pick%len(troubles)]); err != nil {
			return err
		}
		pause(ctx, e.For)
		return c.s.target.SetTrouble("")
	case Full:
		if err := unlessDown(c.s.direct.ConfigSet(ctx, "maxmemory", "1").Err()); err != nil {
			return err
		}
		pause(ctx, e.For)
		return unlessDown(c.s.direct.ConfigSet(ctx, "maxmemory", "0").Err())
	}
	return nil
}

// unlessDown forgives an error of a Redis that may be down: another fault is at work, and a restarted Redis has its first settings again.
func unlessDown(error) error { return nil }

func (c *chaos) killed(ctx context.Context, p *process, e Event) error {
	c.busy[p].Lock()
	defer c.busy[p].Unlock()
	p.kill()
	pause(ctx, e.For)
	return p.start()
}

// killReply drops the next reply of the API, and kills it at that moment.
func (c *chaos) killReply(ctx context.Context, e Event) error {
	c.busy[c.s.api].Lock()
	defer c.busy[c.s.api].Unlock()
	dead := make(chan struct{})
	c.s.toAPI.dropNext(func() {
		c.s.api.kill()
		close(dead)
	})
	select {
	case <-dead:
		pause(ctx, e.For)
		return c.s.api.start()
	case <-time.After(time.Second):
	case <-ctx.Done():
	}
	c.s.toAPI.dropNext(nil)
	return c.s.api.alive()
}

func (c *chaos) stop(ctx context.Context, p *process, e Event) error {
	c.busy[p].Lock()
	defer c.busy[p].Unlock()
	if err := p.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	pause(ctx, e.For)
	return p.signal(syscall.SIGCONT)
}

func (c *chaos) killRedis(ctx context.Context, e Event) error {
	c.redis.Lock()
	defer c.redis.Unlock()
	c.s.redis.Kill()
	pause(ctx, e.For)
	return c.s.redis.Restart(context.WithoutCancel(ctx))
}

// lose deletes each key that matches a pattern, at random.
func (c *chaos) lose(ctx context.Context, pattern string, chance float64, rng *rand.Rand) error {
	scan := c.s.direct.Scan(ctx, 0, pattern, 1000).Iterator()
	for scan.Next(ctx) {
		if rng.Float64() >= chance {
			continue
		}
		if err := unlessDown(c.s.direct.Del(ctx, scan.Val()).Err()); err != nil {
			return err
		}
	}
	return unlessDown(scan.Err())
}

// setClock steps the clock of all workers, at once for each of them.
func (c *chaos) setClock(step time.Duration) error {
	temp := filepath.Join(c.s.dir, fmt.Sprintf("clock-%d", rand.Uint64()))
	if err := os.WriteFile(temp, []byte(step.String()), 0o600); err != nil {
		return err
	}
	return os.Rename(temp, c.s.clockFile)
}

//go:build unix

package torture

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"drydock/proof/torture/target"
)

// chaos lets the faults of a plan happen to a system.
type chaos struct {
	s    *system
	book *book
	// busy are held by whoever stops, kills or starts a process, or Redis.
	busy         map[*process]*sync.Mutex
	redis, locks sync.Mutex
	// epoch is that of the last failover that was ours.
	epoch string

	mu        sync.Mutex
	errs      []error
	counts    map[Fault]int
	failovers []Failover
}

func newChaos(s *system, b *book) *chaos {
	c := &chaos{s: s, book: b, busy: map[*process]*sync.Mutex{}, counts: map[Fault]int{}, epoch: "0"}
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
		if e.Fault == KillLocks && len(c.s.lockNodes) == 0 {
			continue // the data Redis holds the locks, and is killed by another fault
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
	for _, p := range c.s.proxies() {
		p.heal()
	}
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
	for _, err := range c.errs {
		return err
	}
	return c.s.direct.ConfigSet(ctx, "maxmemory", "0").Err()
}

// onlyOurs returns an error when there was a failover of which nobody knows what it has forgotten.
func (c *chaos) onlyOurs(ctx context.Context) error {
	if c.s.watched == nil {
		return nil
	}
	epoch, err := c.s.watched.Epoch(ctx)
	if err == nil && epoch != c.epoch {
		err = fmt.Errorf("%w: the Sentinels have taken a primary for dead that was only slow", errUnjudged)
	}
	return err
}

// errUnjudged says that it is not known what a failover has forgotten. It happens when the machine, or its disk, stands still for longer than
// [sentinelPatience].
var errUnjudged = errors.New("nothing can be said of this run")

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
	case KillLocks:
		return c.killLocks(ctx, e)
	case Slow:
		c.s.toRedis.setDelay(time.Duration(1+e.Pick%60) * time.Millisecond)
		pause(ctx, e.For)
		c.s.toRedis.setDelay(0)
	case Cut:
		c.s.toRedis.Cut()
		pause(ctx, e.For)
		c.s.toRedis.Cut()
	case Drop:
		p := []*proxy{c.s.toRedis, c.s.toRedis, c.s.toAPI}[e.Pick%3]
		p.setDrop(0.02+0.2*rng.Float64(), e.Seed)
		pause(ctx, e.For)
		p.setDrop(0, 0)
	case FlushScripts:
		_ = c.s.direct.ScriptFlush(ctx) // fails when another fault has Redis down
	case LoseLocks:
		c.loseLocks(ctx, rng)
		pause(ctx, e.For)
		c.loseLocks(ctx, rng)
	case LoseTasks:
		_ = c.s.direct.Eval(ctx, loseTasks, nil)
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
		_ = c.s.direct.ConfigSet(ctx, "maxmemory", "1")
		pause(ctx, e.For)
		_ = c.s.direct.ConfigSet(ctx, "maxmemory", "0") // a restarted Redis has it anyway
	case FailOver, FailOverBehind, FailOverSplit:
		return c.failOver(ctx, e)
	}
	return nil
}

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

func (c *chaos) killLocks(ctx context.Context, e Event) error {
	c.locks.Lock()
	defer c.locks.Unlock()
	node := c.s.lockNodes[e.Pick%len(c.s.lockNodes)]
	node.Kill()
	pause(ctx, e.For)
	return node.Restart(context.WithoutCancel(ctx))
}

// loseTasks deletes all that asynq knows, at one moment: what is left when half of it is deleted is not what this is about.
const loseTasks = `for _, key in ipairs(redis.call("KEYS", "asynq:*")) do redis.call("DEL", key) end`

// loseLocks deletes most of the object locks.
func (c *chaos) loseLocks(ctx context.Context, rng *rand.Rand) {
	for _, rdb := range c.s.locksAt {
		lose(ctx, rdb, "drydock:*:lock:*", 0.7, rng)
	}
}

// lose deletes each key that matches a pattern, at random. When another fault has Redis down, there is nothing to lose.
func lose(ctx context.Context, rdb *redis.Client, pattern string, chance float64, rng *rand.Rand) {
	scan := rdb.Scan(ctx, 0, pattern, 1000).Iterator()
	for scan.Next(ctx) {
		if rng.Float64() < chance {
			_ = rdb.Del(ctx, scan.Val())
		}
	}
}

// setClock steps the clock of all workers, at once for each of them.
func (c *chaos) setClock(step time.Duration) error {
	temp := filepath.Join(c.s.dir, fmt.Sprintf("clock-%d", rand.Uint64()))
	if err := os.WriteFile(temp, []byte(step.String()), 0o600); err != nil {
		return err
	}
	return os.Rename(temp, c.s.clockFile)
}

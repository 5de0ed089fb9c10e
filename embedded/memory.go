package embedded

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// memoryTick is how often TTLs advance. Letting each command advance them (miniredis's ClockTTL) is exact but three times slower.
const memoryTick = 100 * time.Millisecond

// Memory is a Redis look-alike inside this process. It keeps nothing, and it lacks CONFIG, FUNCTION and a WAIT that waits.
type Memory struct {
	redis *miniredis.Miniredis
	addr  string
	stopC chan struct{}
	doneC chan struct{}
	stop  sync.Once
}

// StartMemory starts a look-alike on a free port of 127.0.0.1. TTLs run in steps of 100 ms, so a key may expire that much early or
// late. ctx does not bound its life, [Memory.Stop] ends it.
func StartMemory(ctx context.Context) (*Memory, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("start in-memory redis: %w", context.Cause(ctx))
	}
	m := &Memory{redis: miniredis.NewMiniRedis(), stopC: make(chan struct{}), doneC: make(chan struct{})}
	if err := m.redis.StartAddr("127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("start in-memory redis: %w", err)
	}
	m.addr = m.redis.Addr()
	go m.runClock()
	return m, nil
}

func (m *Memory) runClock() {
	defer close(m.doneC)
	ticker := time.NewTicker(memoryTick)
	defer ticker.Stop()
	last := time.Now()
	for {
		select {
		case <-m.stopC:
			return
		case now := <-ticker.C:
			// After a stall all TTLs run late rather than those of the newest keys early.
			m.redis.FastForward(min(now.Sub(last), 2*memoryTick))
			last = now
		}
	}
}

// Addr returns the address, "127.0.0.1:PORT", also after Stop.
func (m *Memory) Addr() string {
	return m.addr
}

// URL returns the address in the form that clients take, "redis://127.0.0.1:PORT/0".
func (m *Memory) URL() string {
	return "redis://" + m.Addr() + "/0"
}

// Stop ends it, with all its data, and closes its connections. Stopping twice does nothing.
func (m *Memory) Stop() {
	m.stop.Do(func() {
		close(m.stopC)
		<-m.doneC
		m.redis.Close()
	})
}

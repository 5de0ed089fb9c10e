package handlers

import (
	"math/rand/v2"
	"slices"
	"sync"
)

// conductor lets one of several goroutines run at a time and decides by its seed which one: each asks for its turn before every call to
// Redis, so that a seed stands for one interleaving of all their calls and not only for what they mean to do.
type conductor struct {
	rnd *rand.Rand

	mu      sync.Mutex
	running int
	// waiting are those who ask for their turn, by number.
	waiting map[int]chan struct{}
}

func newConductor(rnd *rand.Rand) *conductor {
	return &conductor{rnd: rnd, waiting: map[int]chan struct{}{}}
}

// run runs the parts to their end, each under its number.
func (c *conductor) run(parts map[int]func()) {
	var wg sync.WaitGroup
	c.running = len(parts)
	for id, part := range parts {
		wg.Go(func() {
			defer c.leave()
			c.turn(id)
			part()
		})
	}
	wg.Wait()
}

// turn gives the turn back and waits for the next one.
func (c *conductor) turn(id int) {
	ready := make(chan struct{})
	c.mu.Lock()
	c.waiting[id] = ready
	c.running--
	c.nextLocked()
	c.mu.Unlock()
	<-ready
}

func (c *conductor) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running--
	c.nextLocked()
}

func (c *conductor) nextLocked() {
	if c.running > 0 || len(c.waiting) == 0 {
		return
	}
	ids := make([]int, 0, len(c.waiting))
	for id := range c.waiting {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	id := ids[c.rnd.IntN(len(ids))]
	ready := c.waiting[id]
	delete(c.waiting, id)
	c.running++
	close(ready)
}

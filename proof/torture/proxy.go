//go:build unix

package torture

import (
	"math/rand/v2"
	"sync"
	"time"

	"drydock/internal/relay"
)

// proxy stands between clients and a server on TCP, and is as bad as it is told to be.
type proxy struct {
	*relay.Relay

	mu  sync.Mutex
	rng *rand.Rand
	// delay holds back each piece that passes, in both directions.
	delay time.Duration
	// drop is the chance of a piece of a reply to be dropped, and its connection cut.
	drop float64
	// onReply, if set, is asked once, for the next piece of a reply that comes, which is then dropped.
	onReply func()
	dropped int
}

func startProxy(target string) (p *proxy, err error) {
	p = &proxy{rng: rand.New(rand.NewPCG(0, 0))}
	p.Relay, err = relay.Start(target, func([]byte) bool { return p.goesOn(false) }, func([]byte) bool { return p.goesOn(true) })
	return p, err
}

func (p *proxy) setDelay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

func (p *proxy) setDrop(chance float64, seed uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drop, p.rng = chance, rand.New(rand.NewPCG(seed, 0))
}

// dropNext drops the next reply, and does something at that moment. nil calls it off.
func (p *proxy) dropNext(then func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.onReply = then
}

// heal ends all that was set.
func (p *proxy) heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay, p.drop, p.onReply = 0, 0, nil
}

// goesOn delays a piece as it must be, and says whether it is passed on.
func (p *proxy) goesOn(reply bool) bool {
	p.mu.Lock()
	delay, lost := p.delay, reply && p.drop > 0 && p.rng.Float64() < p.drop
	var then func()
	if reply && p.onReply != nil {
		then, lost = p.onReply, true
		p.onReply = nil
	}
	if lost {
		p.dropped++
	}
	p.mu.Unlock()
	if then != nil {
		then()
	}
	if delay > 0 {
		time.Sleep(delay)
	}
	return !lost
}

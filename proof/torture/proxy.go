//go:build unix

package torture

import (
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// proxy stands between clients and a server on TCP, and is as bad as it is told to be.
type proxy struct {
	ln     net.Listener
	target string
	wg     sync.WaitGroup

	mu     sync.Mutex
	closed bool
	conns  map[net.Conn]bool
	rng    *rand.Rand
	// delay holds back each piece that passes, in both directions.
	delay time.Duration
	// drop is the chance of a piece of a reply to be dropped, and its connection cut.
	drop float64
	// onReply, if set, is asked once, for the next piece of a reply that comes, which is then dropped.
	onReply func()
	dropped int
}

func startProxy(target string) (*proxy, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it listens at once or not at all
	if err != nil {
		return nil, err
	}
	p := &proxy{ln: ln, target: target, conns: map[net.Conn]bool{}, rng: rand.New(rand.NewPCG(0, 0))}
	p.wg.Go(p.accept)
	return p, nil
}

func (p *proxy) addr() string { return p.ln.Addr().String() }

func (p *proxy) stop() {
	_ = p.ln.Close()
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.cut()
	p.wg.Wait()
}

// cut cuts all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.conns {
		_ = conn.Close()
	}
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

func (p *proxy) accept() {
	for {
		client, err := p.ln.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		server, err := net.Dial("tcp", p.target) //nolint:noctx // loopback answers at once
		if err != nil {
			_ = client.Close()
			continue
		}
		cut := sync.OnceFunc(func() {
			_ = client.Close()
			_ = server.Close()
			p.mu.Lock()
			defer p.mu.Unlock()
			delete(p.conns, client)
			delete(p.conns, server)
		})
		p.mu.Lock()
		p.conns[client], p.conns[server] = true, true
		closed := p.closed
		p.mu.Unlock()
		if closed {
			cut()
			return
		}
		p.wg.Go(func() { p.pass(server, client, false, cut) })
		p.wg.Go(func() { p.pass(client, server, true, cut) })
	}
}

func (p *proxy) pass(to, from net.Conn, reply bool, cut func()) {
	defer cut()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if !p.goesOn(reply) {
				return
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
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

package e2e_test

import (
	"net"
	"strings"
	"sync"
	"testing"
)

// proxy stands between a client and a server on TCP. The two functions see what passes, in the pieces in which it comes, and say
// whether it goes on; if not, the connection is cut on both sides, and the server has read everything up to then. They are called
// from several goroutines, and set before the first connection.
type proxy struct {
	request, reply func(piece []byte) bool
	// told changes what the server tells; nil = nothing.
	told *strings.Replacer

	ln     net.Listener
	target string
	wg     sync.WaitGroup

	mu     sync.Mutex
	closed bool
	conns  map[net.Conn]bool
}

// startProxy starts a proxy in front of a server.
func startProxy(t testing.TB, target string, request, reply func([]byte) bool) *proxy {
	t.Helper()
	p := newProxy(t, target, request, reply)
	p.start()
	return p
}

// newProxy returns a proxy that has an address and is to be started.
func newProxy(t testing.TB, target string, request, reply func([]byte) bool) *proxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{request: request, reply: reply, ln: ln, target: target, conns: map[net.Conn]bool{}}
	t.Cleanup(p.stop)
	return p
}

func (p *proxy) start() { p.wg.Go(p.accept) }

func (p *proxy) addr() string { return p.ln.Addr().String() }

func (p *proxy) stop() {
	_ = p.ln.Close()
	p.mu.Lock()
	p.closed = true
	for conn := range p.conns {
		_ = conn.Close()
	}
	p.mu.Unlock()
	p.wg.Wait()
}

func (p *proxy) accept() {
	for {
		client, err := p.ln.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		p.conns[client], p.conns[server] = true, true
		if p.closed {
			_ = client.Close()
			_ = server.Close()
		}
		p.mu.Unlock()
		cut := sync.OnceFunc(func() {
			_ = client.Close()
			_ = server.Close()
			p.mu.Lock()
			defer p.mu.Unlock()
			delete(p.conns, client)
			delete(p.conns, server)
		})
		p.wg.Go(func() { pass(server, client, p.request, nil, cut) })
		p.wg.Go(func() { pass(client, server, p.reply, p.told, cut) })
	}
}

func pass(to, from net.Conn, goesOn func([]byte) bool, told *strings.Replacer, cut func()) {
	defer cut()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if goesOn != nil && !goesOn(buf[:n]) {
				return
			}
			piece := buf[:n]
			if told != nil {
				piece = []byte(told.Replace(string(piece)))
			}
			if _, err := to.Write(piece); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// Package relay stands between clients and a server on TCP, for tests that look at what passes, hold it up, or cut it off.
package relay

import (
	"errors"
	"net"
	"strings"
	"sync"
)

// GoesOn sees a piece of what passes, as it came, and says whether it goes on. If not, the connection is cut on both sides; the server
// has read everything up to then. It is called from several goroutines, and may take its time.
type GoesOn func(piece []byte) bool

// Relay passes on what clients and a server say to each other.
type Relay struct {
	// Told changes what the server says; nil = nothing. It is set before Serve.
	Told *strings.Replacer

	ln             net.Listener
	target         string
	request, reply GoesOn
	wg             sync.WaitGroup

	mu     sync.Mutex
	closed bool
	conns  map[net.Conn]bool
}

// Start starts a relay in front of a server: [Listen] and [Relay.Serve].
func Start(target string, request, reply GoesOn) (*Relay, error) {
	r, err := Listen(target, request, reply)
	if err == nil {
		r.Serve()
	}
	return r, err
}

// Listen returns a relay on a free port of 127.0.0.1, which is to serve in front of a server. What passes is shown to request or reply,
// by its direction; nil lets all go on.
func Listen(target string, request, reply GoesOn) (*Relay, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it listens at once or not at all
	if err != nil {
		return nil, err
	}
	return &Relay{ln: ln, target: target, request: request, reply: reply, conns: map[net.Conn]bool{}}, nil
}

// Serve takes connections from now on.
func (r *Relay) Serve() { r.wg.Go(r.accept) }

// Addr returns where clients connect to.
func (r *Relay) Addr() string { return r.ln.Addr().String() }

// Stop cuts all connections, takes no more, and returns when all is over. What holds a piece up must have let it go.
func (r *Relay) Stop() {
	_ = r.ln.Close()
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.Cut()
	r.wg.Wait()
}

// Cut cuts all connections; new ones pass.
func (r *Relay) Cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for conn := range r.conns {
		_ = conn.Close()
	}
}

func (r *Relay) accept() {
	for {
		client, err := r.ln.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		server, err := net.Dial("tcp", r.target) //nolint:noctx // loopback answers at once
		if err != nil {
			_ = client.Close()
			continue
		}
		cut := sync.OnceFunc(func() {
			_ = client.Close()
			_ = server.Close()
			r.mu.Lock()
			defer r.mu.Unlock()
			delete(r.conns, client)
			delete(r.conns, server)
		})
		r.mu.Lock()
		r.conns[client], r.conns[server] = true, true
		closed := r.closed
		r.mu.Unlock()
		if closed {
			cut()
			return
		}
		r.wg.Go(func() { pass(server, client, r.request, nil, cut) })
		r.wg.Go(func() { pass(client, server, r.reply, r.Told, cut) })
	}
}

func pass(to, from net.Conn, goesOn GoesOn, told *strings.Replacer, cut func()) {
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

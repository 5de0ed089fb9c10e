package embedded

import (
	"fmt"
	"math/rand/v2"
	"net"
)

// Ports are drawn from below the ranges that Linux (32768 up) and macOS (49152 up) take outgoing connections from: otherwise a
// connection of any program could take a server's port while the server restarts.
const (
	minPort = 20000
	maxPort = 32767
)

// FreePort returns a TCP port of 127.0.0.1 that nobody listened on a moment ago. Somebody may take it before the caller does.
func FreePort() (int, error) {
	var err error
	for range 100 {
		port := minPort + rand.IntN(maxPort-minPort+1)
		var l net.Listener
		if l, err = net.Listen("tcp", loopback(port)); err == nil {
			return port, l.Close()
		}
	}
	return 0, fmt.Errorf("find a free port: %w", err)
}

func loopback(port int) string {
	return fmt.Sprintf("127.0.0.1:%d", port)
}

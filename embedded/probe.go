package embedded

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

var (
	errLoading = errors.New("the server is loading its data")
	errOther   = errors.New("another server answers on this port")
)

// probe returns nil when the server at addr is process pid and answers PING. The process id matters: when somebody took the port
// first, it is their server that answers. It speaks the protocol itself: a client's pool is too much for two commands.
func probe(ctx context.Context, addr string, pid int) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "INFO server\r\nPING\r\n"); err != nil {
		return err
	}
	r := bufio.NewReader(conn)
	info, err := readReply(r)
	if err != nil {
		return fmt.Errorf("INFO: %w", err)
	}
	if strings.HasPrefix(info, "-") {
		return fmt.Errorf("INFO answers %q", info)
	}
	if !strings.Contains(info, fmt.Sprintf("\nprocess_id:%d\r\n", pid)) {
		return errOther
	}
	pong, err := readReply(r)
	switch {
	case err != nil:
		return fmt.Errorf("PING: %w", err)
	case pong == "+PONG":
		return nil
	case strings.HasPrefix(pong, "-LOADING"):
		return errLoading
	}
	return fmt.Errorf("PING answers %q", pong)
}

// readReply reads a bulk string's content, or any other reply as the line it is.
func readReply(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimRight(line, "\r\n")
	if !strings.HasPrefix(line, "$") {
		return line, nil
	}
	n, err := strconv.Atoi(line[1:])
	if err != nil || n < 0 || n > 1<<20 {
		return "", fmt.Errorf("bad length %q", line)
	}
	content := make([]byte, n+len("\r\n"))
	if _, err := io.ReadFull(r, content); err != nil {
		return "", err
	}
	return string(content), nil
}

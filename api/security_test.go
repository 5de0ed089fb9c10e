package api

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"drydock/api/wire"
	"drydock/embedded/redistest"
	"drydock/model"
)

// dial opens a connection to the server; what is written on it need not be HTTP.
func (a *testAPI) dial() net.Conn {
	a.t.Helper()
	conn, err := net.Dial("tcp", a.Listener.Addr().String())
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// raw sends bytes as they are and returns all that comes back, up to the end of the connection.
func (a *testAPI) raw(text string) string {
	a.t.Helper()
	conn := a.dial()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	// A server that answers before it has read all of it closes the connection; what it said counts.
	_, _ = io.WriteString(conn, text)
	answer, _ := io.ReadAll(conn)
	return string(answer)
}

// TestSlowHeadersAreCutOff: whoever sends headers byte by byte holds no connection for longer than the timeout, however often a byte
// comes, and nobody else waits meanwhile.
func TestSlowHeadersAreCutOff(t *testing.T) {
	t.Parallel()
	const timeout = 500 * time.Millisecond
	a := newAPI(t, &fakeStore{}, func(c *Config) { c.HeaderTimeout = timeout })
	begin := time.Now()
	var slow []net.Conn
	for range 100 {
		conn := a.dial()
		if _, err := io.WriteString(conn, "POST /v1/leases HTTP/1.1\r\nHost: x\r\nX-Slow: "); err != nil {
			t.Fatal(err)
		}
		slow = append(slow, conn)
	}
	if got := a.do(http.MethodGet, "/healthz", ""); got.status != http.StatusOK {
		t.Errorf("somebody else is answered with %d", got.status)
	}
	for i, conn := range slow {
		buf := make([]byte, 1)
		for {
			// Reading waits a little for the end; while there is none, another byte is due.
			_ = conn.SetReadDeadline(time.Now().Add(timeout / 20))
			_, err := conn.Read(buf)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				if time.Since(begin) > 30*time.Second {
					t.Fatalf("connection %d still lives after 30 s", i)
				}
				_, _ = io.WriteString(conn, "x") // fails when the end is on its way
				continue
			}
			if err == nil {
				continue // a word of farewell
			}
			break
		}
		if took := time.Since(begin); took < timeout {
			t.Errorf("connection %d ended after %s, before the timeout: not for being slow", i, took)
		}
	}
}

// TestBoundsOnConnections: the bounds of the server as it is started, unless told otherwise.
func TestBoundsOnConnections(t *testing.T) {
	t.Parallel()
	a := newAPI(t, &fakeStore{})
	if s := a.api.HTTPServer(); s.ReadHeaderTimeout != 5*time.Second || s.IdleTimeout != 2*time.Minute || s.MaxHeaderBytes != 64<<10 {
		t.Errorf("ReadHeaderTimeout %s, IdleTimeout %s, MaxHeaderBytes %d", s.ReadHeaderTimeout, s.IdleTimeout, s.MaxHeaderBytes)
	}
	got := a.raw("GET /v1/leases HTTP/1.1\r\nHost: x\r\nX-Large: " + strings.Repeat("x", 128<<10) + "\r\n\r\n")
	if got != "" && !strings.HasPrefix(got, "HTTP/1.1 431 ") { // "" when the connection was reset under what was still to be sent
		t.Errorf("128 KiB of headers = %.200q", got)
	}
}

// hostile are bytes that end a line, a text or a key somewhere.
var hostile = []string{"\r", "\n", "\r\n", "\x00", "\x1b[2J", "\x7f", "\x85", "\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"}

// TestHeadersCannotBeInjected: nothing that a caller puts into a header or a parameter becomes a header of an answer or a part of what is
// stored that ends a line.
func TestHeadersCannotBeInjected(t *testing.T) {
	t.Parallel()
	c := newConformanceOn(t, redistest.Shared(t))
	c.good("putBlueprint", "lab", "", labPool, http.StatusCreated)
	lease := c.created(`{"type": "host"}`)
	open := newAPI(t, &fakeStore{}, func(cfg *Config) { cfg.Store, cfg.Tasks = c.store, c }) // asks nobody, and believes Drydock-Author
	const planted = "X-Planted: 1"
	for _, h := range hostile {
		for _, name := range []string{
			wire.HeaderIdempotencyKey, wire.HeaderAuthor, wire.HeaderVia, wire.HeaderRequestID, "User-Agent", "Last-Event-ID", wire.HeaderIfMatch, "Origin", "Authorization",
		} {
			got := open.raw("POST /v1/leases/" + lease + "/commands?namespace=" + c.ns + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" +
				name + ": a" + h + planted + "\r\nContent-Length: 43\r\n\r\n" + `{"command": "extend", "args":{"ttl": "1h"}}`)
			checkNotPlanted(t, fmt.Sprintf("%s with %q", name, h), got)
		}
		escaped := url.QueryEscape("a" + h + planted)
		for _, target := range []string{
			"/v1/leases/" + lease + "/release?namespace=" + escaped, "/v1/leases/" + escaped + "/release", "/" + escaped, "/v1/leases/" + lease + "?wait=" + escaped,
		} {
			got := open.raw("POST " + target + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
			checkNotPlanted(t, target, got)
			if strings.HasPrefix(got, "HTTP/1.1 2") {
				t.Errorf("%s = %.100q", target, got)
			}
		}
		// In a body they are text, which may have lines, and never more than text.
		reason, err := json.Marshal("a" + h + planted)
		if err != nil {
			t.Fatal(err)
		}
		got := open.raw(fmt.Sprintf("POST /v1/leases/%s/release?namespace=%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n{\"reason\": %s}",
			lease, c.ns, len(reason)+len(`{"reason": }`), reason))
		checkNotPlanted(t, "reason "+string(reason), got)
	}
	page, err := c.store.Commands(t.Context(), model.LeaseRef(c.ns, lease), model.MaxPageLimit, "")
	if err != nil || len(page.Items) == 0 {
		t.Fatalf("%d commands, %v; want those that were harmless", len(page.Items), err)
	}
	for _, cmd := range page.Items {
		for what, text := range map[string]string{
			"author": cmd.Author, "user agent": cmd.Origin.UserAgent, "request id": cmd.Origin.RequestID, "via": string(cmd.Origin.Via), "address": cmd.Origin.Address,
		} {
			if strings.ContainsFunc(text, isControl) {
				t.Errorf("the %s %q was stored", what, text)
			}
		}
		if strings.ContainsFunc(strings.ReplaceAll(cmd.Reason, "\n", ""), isControl) {
			t.Errorf("the reason %q was stored", cmd.Reason)
		}
	}
	checkLog(t, open.log.String(), planted)
}

func isControl(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 }

// checkNotPlanted reads an answer and looks for what was planted where it does not belong.
func checkNotPlanted(t *testing.T, what, answer string) {
	t.Helper()
	r := bufio.NewReader(strings.NewReader(answer))
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Errorf("%s: no answer: %v in %.200q", what, err, answer)
		return
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	rest, _ := io.ReadAll(r)
	if err != nil || len(rest) > 0 || resp.StatusCode >= http.StatusInternalServerError {
		t.Errorf("%s = %d, %v, and after it %.200q", what, resp.StatusCode, err, rest)
	}
	for name, values := range resp.Header {
		if strings.Contains(name, "Planted") || !printable(strings.Join(values, "")) {
			t.Errorf("%s: header %s: %q", what, name, values)
		}
	}
	if bytes.ContainsFunc(bytes.TrimSuffix(body, []byte("\n")), isControl) {
		t.Errorf("%s: the body is %q", what, body)
	}
}

// checkLog wants each line to be one JSON object whose message is one of ours, and no control characters in it.
func checkLog(t *testing.T, log, planted string) {
	t.Helper()
	found := false
	for line := range strings.Lines(log) {
		var entry struct {
			Msg string `json:"msg"`
		}
		line = strings.TrimSuffix(line, "\n")
		if err := json.Unmarshal([]byte(line), &entry); err != nil || strings.ContainsFunc(line, isControl) || strings.Contains(entry.Msg, planted) {
			t.Errorf("the log has the line %q (%v)", line, err)
		}
		found = found || strings.Contains(line, planted)
	}
	if !found {
		t.Errorf("nothing of what was sent is in the log, so nothing was tried:\n%.1000s", log)
	}
}

// TestKeysCannotBeInjected: whatever stands in a path, a query or a text, no request reaches a key that is not its own.
func TestKeysCannotBeInjected(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	rdb := redistest.Client(t, server)
	victim, c := newConformanceOn(t, server), newConformanceOn(t, server)
	victim.good("putBlueprint", "lab", "", labPool, http.StatusCreated)
	theirs := victim.created(`{"type": "host", "owner": "ada"}`)
	victim.work()
	before := keys(t, rdb)

	// Names and ids that would be parts of keys. Sent by somebody who may do everything, everywhere.
	root := bearer("root.admin.ALL")
	names := []string{
		"}", "{", ":", "*", "?", "[a-z]", "\x00", "a\x00b", " ", "\n", "..", "../x", "a}:{" + victim.ns, "{" + victim.ns + "}:x", victim.ns + "}:lease:" + theirs, "A", "ä",
		"lab:log", "lab:resources", strings.Repeat("a", 64), theirs + ":commands", theirs + ":data", theirs + "\x00", "$", "%", `\`, `"`, "'", "-", ".", "\xff",
	}
	for _, op := range c.sorted() {
		if !strings.HasPrefix(op.path, "/v1/") {
			continue
		}
		for _, name := range names {
			for _, req := range []call{c.to(op.id, url.PathEscape(name), "", op.example(), root), c.to(op.id, somewhere(op), "", op.example(), root)} {
				inPath := strings.Contains(op.path, "{") && strings.Contains(req.path, url.PathEscape(name))
				if !inPath {
					req.query = "namespace=" + url.QueryEscape(name)
				}
				if name == ".." && inPath {
					continue // another path, which clients and proxies would take it for
				}
				got := c.api.do(op.method, req.path+"?"+req.query, req.body, root)
				if got.status != http.StatusNotFound && got.status != http.StatusUnprocessableEntity {
					t.Errorf("%s with %q = %d %.200s, want 404 or 422", op.id, name, got.status, got.body)
				}
			}
		}
	}
	if diff := cmp.Diff(before, keys(t, rdb)); diff != "" {
		t.Errorf("keys have changed (-before +after):\n%s", diff)
	}

	// Free texts are taken, and stay in their namespace.
	c.good("putBlueprint", "lab", "", strings.Replace(labPool, `"config"`, `"quota": 5, "authorize": "request", "config"`, 1), http.StatusCreated)
	for i, text := range []string{"}:{" + victim.ns, "ada:resources", "*", "a b", "{x}", "lab " + theirs, "\n", "gate:ada", `";redis.call('flushall')--`, "\u2028"} {
		quoted, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		body := fmt.Sprintf(`{"type": "host", "owner": %s, "attributes": {"os": "linux"}, "data": {%s: %s}}`, quoted, quoted, quoted)
		lease := c.created(body, fmt.Sprintf("Idempotency-Key: }%d:{%s}:*", i, victim.ns))
		c.work()
		c.good("authorize", "lab", "", fmt.Sprintf(`{"owner": %s, "status": "approved", "reason": %s}`, quoted, quoted), http.StatusOK)
		c.work()
		c.good("listLeases", "", "owner="+url.QueryEscape(text), "", http.StatusOK)
		c.good("listAuthorizations", "", "owner="+url.QueryEscape(text), "", http.StatusOK)
		c.good("sendLeaseCommand", lease, "", fmt.Sprintf(`{"command": "release", "reason": %s}`, quoted), http.StatusAccepted)
		c.work()
	}
	after := keys(t, rdb)
	maps.DeleteFunc(after, func(key, _ string) bool { return strings.HasPrefix(key, "drydock:{"+c.ns+"}:") })
	delete(before, "drydock:namespaces")
	delete(after, "drydock:namespaces")
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("keys of others have changed (-before +after):\n%s", diff)
	}
	if namespaces, err := c.store.Namespaces(t.Context()); err != nil || len(namespaces) != 2 {
		t.Errorf("namespaces %q, %v; want the two", namespaces, err)
	}
	for _, ns := range []string{c.ns, victim.ns} {
		if problems, err := c.store.Verify(t.Context(), ns); err != nil || len(problems) > 0 {
			t.Errorf("invariants of %s: %q, %v", ns, problems, err)
		}
	}
}

// keys returns the keys of a Redis and what is in each, without those that are forgotten after a minute.
func keys(t *testing.T, rdb *redis.Client) map[string]string {
	t.Helper()
	out := map[string]string{}
	it := rdb.Scan(t.Context(), 0, "*", 1000).Iterator()
	for it.Next(t.Context()) {
		if strings.Contains(it.Val(), ":done:") {
			continue
		}
		value, err := rdb.Dump(t.Context(), it.Val()).Result()
		if err != nil {
			t.Fatal(err)
		}
		out[it.Val()] = value
	}
	if err := it.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

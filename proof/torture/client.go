//go:build unix

package torture

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// book is what clients write down.
type book struct {
	begin  time.Time
	serial atomic.Int64
	sent   atomic.Int64
	// unknown counts the answers that left the outcome open.
	unknown atomic.Int64
	// mayBeGone: what was there may be gone, and that is not odd. The checker says whether it may.
	mayBeGone bool

	mu    sync.Mutex
	calls []Call
	// odd are answers that no fault excuses.
	odd []string
}

func (b *book) now() time.Duration { return time.Since(b.begin) }

func (b *book) add(c Call) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls = append(b.calls, c)
}

func (b *book) strangef(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.odd) < 20 {
		b.odd = append(b.odd, fmt.Sprintf(format, args...))
	}
}

// user is one client of the API.
type user struct {
	name string
	base string
	http *http.Client
	book *book
	rng  *rand.Rand
}

func newUser(name, base string, b *book, rng *rand.Rand) *user {
	return &user{
		name: name, base: base, book: b, rng: rng,
		http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}, Timeout: 5 * time.Second},
	}
}

func (u *user) close() { u.http.CloseIdleConnections() }

// nextAuthor is a name that nobody had before.
func (u *user) nextAuthor() string { return fmt.Sprintf("%s-%d", u.name, u.book.serial.Add(1)) }

type answer struct {
	status int
	body   []byte
}

func (u *user) do(ctx context.Context, method, path, body string, header ...string) (answer, error) {
	u.book.sent.Add(1)
	req, err := http.NewRequestWithContext(ctx, method, u.base+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	for pair := range slices.Chunk(header, 2) {
		req.Header.Set(pair[0], pair[1])
	}
	resp, err := u.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if resp.StatusCode == http.StatusInternalServerError {
		u.book.strangef("%s %s = 500: %s", method, path, text)
	}
	if resp.StatusCode == http.StatusServiceUnavailable && bytes.Contains(text, []byte(`"outcome_unknown"`)) {
		u.book.unknown.Add(1)
	}
	return answer{resp.StatusCode, text}, err
}

// again says whether an answer tells a client to try once more.
func again(a answer, err error) bool {
	return err != nil || a.status == http.StatusServiceUnavailable || a.status == http.StatusInternalServerError
}

// pause waits a moment between two tries.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// persist sends a request under one key until there is an answer, or ctx ends, and books it. Now and then it is sent once more when it has
// been answered: the answer must be the first one's.
func (u *user) persist(ctx context.Context, c Call, path, body string, read func(*Call, answer) error) (Call, error) {
	header := []string{"Idempotency-Key", "key-" + c.Author, "Drydock-Author", c.Author}
	c.BeginAt = u.book.now()
	for {
		a, err := u.do(ctx, http.MethodPost, path, body, header...)
		c.Sent++
		c.EndAt = u.book.now()
		if !again(a, err) {
			c.Status = a.status
			err := read(&c, a)
			u.book.add(c)
			if err != nil {
				return c, err
			}
			break
		}
		if ctx.Err() != nil {
			u.book.add(c) // nobody knows what became of it
			return c, errors.Join(ctx.Err(), err)
		}
		pause(ctx, time.Duration(20+u.rng.IntN(80))*time.Millisecond)
	}
	if u.rng.Float64() >= 0.1 {
		return c, nil
	}
	repeated := c
	repeated.BeginAt = u.book.now()
	a, err := u.do(ctx, http.MethodPost, path, body, header...)
	if again(a, err) {
		return c, nil
	}
	repeated.EndAt, repeated.Sent = u.book.now(), 1
	repeated.Status, repeated.Object, repeated.CommandID = a.status, c.Object, ""
	if err := read(&repeated, a); err != nil {
		return c, err
	}
	if repeated.Status != c.Status || repeated.Object != c.Object || repeated.CommandID != c.CommandID {
		if u.book.mayBeGone {
			u.book.add(repeated) // the first one must have been forgotten
			return c, nil
		}
		return c, fmt.Errorf("%v was sent again under its key, and answered by %d with object %s and command %q instead of %s and %q",
			c, repeated.Status, repeated.Object, repeated.CommandID, c.Object, c.CommandID)
	}
	return c, nil
}

// create asks for a lease.
func (u *user) create(ctx context.Context, typ string, ttl time.Duration) (Call, error) {
	c := Call{Op: OpCreate, Author: u.nextAuthor()}
	body := fmt.Sprintf(`{"type": %q, "owner": %q, "ttl": %q}`, typ, c.Author, ttl)
	return u.persist(ctx, c, "/v1/leases", body, func(c *Call, a answer) error {
		if a.status != http.StatusAccepted {
			return fmt.Errorf("POST /v1/leases = %d: %s", a.status, a.body)
		}
		if err := json.Unmarshal(a.body, &c.Lease); err != nil {
			return err
		}
		c.Object = c.Lease.ID
		return nil
	})
}

// release sends a release to a lease.
func (u *user) release(ctx context.Context, id string) (Call, error) {
	c := Call{Op: OpRelease, Author: u.nextAuthor(), Object: id, Command: "release"}
	return u.persist(ctx, c, "/v1/leases/"+id+"/release", `{"reason": "torture"}`, u.readSent)
}

// send sends a command to a lease or a resource.
func (u *user) send(ctx context.Context, kind, id, command, args string) (Call, error) {
	c := Call{Op: OpCommand, Author: u.nextAuthor(), Object: id, Command: command}
	body := fmt.Sprintf(`{"command": %q}`, command)
	if args != "" {
		body = fmt.Sprintf(`{"command": %q, "args": %s}`, command, args)
	}
	return u.persist(ctx, c, "/v1/"+kind+"s/"+id+"/commands", body, u.readSent)
}

func (u *user) readSent(c *Call, a answer) error {
	switch a.status {
	case http.StatusAccepted, http.StatusOK:
	case http.StatusConflict:
		return nil
	case http.StatusNotFound:
		if u.book.mayBeGone {
			return nil
		}
		fallthrough
	default:
		return fmt.Errorf("send %s to %s = %d: %s", c.Command, c.Object, a.status, a.body)
	}
	var sent struct {
		Command *Command `json:"command"`
	}
	if err := json.Unmarshal(a.body, &sent); err != nil {
		return err
	}
	if sent.Command != nil {
		c.CommandID = sent.Command.ID
	}
	if (c.CommandID != "") != (a.status == http.StatusAccepted) {
		return fmt.Errorf("send %s to %s = %d: %s", c.Command, c.Object, a.status, a.body)
	}
	return nil
}

// read reads a lease; query may ask to wait. What a faulty reply hides is not booked: a read changes nothing.
func (u *user) read(ctx context.Context, id, query string) (Lease, error) {
	c := Call{Op: OpRead, Object: id, BeginAt: u.book.now(), Sent: 1}
	a, err := u.do(ctx, http.MethodGet, "/v1/leases/"+id+query, "")
	c.EndAt = u.book.now()
	switch {
	case again(a, err):
		return Lease{}, errNoAnswer
	case a.status == http.StatusNotFound && u.book.mayBeGone:
		c.Status = a.status
		u.book.add(c)
		return Lease{}, errGone
	case a.status != http.StatusOK:
		return Lease{}, fmt.Errorf("GET lease %s = %d: %s", id, a.status, a.body)
	}
	c.Status = a.status
	if err := json.Unmarshal(a.body, &c.Lease); err != nil {
		return Lease{}, err
	}
	u.book.add(c)
	return c.Lease, nil
}

var (
	errNoAnswer = errors.New("no answer")
	errGone     = errors.New("gone")
)

// list reads all pages of a list, oldest last.
func list[T any](ctx context.Context, u *user, path string) ([]T, error) {
	var all []T
	after := ""
	for {
		query := "?limit=500"
		if after != "" {
			query += "&after=" + after
		}
		a, err := u.do(ctx, http.MethodGet, path+query, "")
		if err != nil {
			return nil, err
		}
		var p page
		if err := json.Unmarshal(a.body, &p); err != nil || a.status != http.StatusOK {
			return nil, fmt.Errorf("GET %s = %d: %s", path, a.status, a.body)
		}
		some, err := items[T](a)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
		if p.Next == nil {
			return all, nil
		}
		after = *p.Next
	}
}

// items reads the items of a page.
func items[T any](a answer) ([]T, error) {
	var p struct {
		Items []T `json:"items"`
	}
	if err := json.Unmarshal(a.body, &p); err != nil || a.status != http.StatusOK {
		return nil, fmt.Errorf("a list = %d: %s", a.status, a.body)
	}
	return p.Items, nil
}

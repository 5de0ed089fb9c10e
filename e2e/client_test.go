package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// client is a user of the API. Its methods fail the test, and may be called from the test's goroutine alone, unless they return an
// error.
type client struct {
	t    testing.TB
	base string
	http *http.Client
	// namespace is where its requests go; empty = default.
	namespace string
}

func newClient(t testing.TB, base string) *client {
	c := &client{t: t, base: base}
	if ns := namespaceOf(t); ns != "default" {
		c.namespace = ns
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 100}
	t.Cleanup(transport.CloseIdleConnections)
	c.http = &http.Client{Transport: transport, Timeout: 2 * patience}
	return c
}

// in is a user of the same API in another namespace.
func (c *client) in(namespace string) *client {
	other := *c
	other.namespace = namespace
	return &other
}

// at is the URL of a path in the client's namespace, unless the path names one.
func (c *client) at(path string) string {
	if c.namespace == "" || strings.Contains(path, "namespace=") {
		return c.base + path
	}
	path, fragment, found := strings.Cut(path, "#")
	mark := "?"
	if strings.Contains(path, mark) {
		mark = "&"
	}
	if path += mark + "namespace=" + c.namespace; found {
		path += "#" + fragment
	}
	return c.base + path
}

// answer is what the API says.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// What the API shows, as far as the tests look. The names are those that users see, spelt here once more on purpose.
type (
	lease struct {
		ID          string     `json:"id"`
		Status      string     `json:"status"`
		Releasing   bool       `json:"releasing"`
		Resource    *string    `json:"resource"`
		Owner       *string    `json:"owner"`
		Until       *time.Time `json:"until"`
		Waiting     *waiting   `json:"waiting"`
		AcquiredAt  *time.Time `json:"acquired_at"`
		ActivatedAt *time.Time `json:"activated_at"`
		DestroyedAt *time.Time `json:"destroyed_at"`
	}
	waiting struct {
		Position int     `json:"position"`
		Reason   *string `json:"reason"`
	}
	resource struct {
		ID       string   `json:"id"`
		Name     string   `json:"name"`
		Status   string   `json:"status"`
		Capacity int      `json:"capacity"`
		Leases   int      `json:"leases"`
		LeaseIDs []string `json:"lease_ids"`
	}
	command struct {
		ID         string     `json:"id"`
		Command    string     `json:"command"`
		Author     string     `json:"author"`
		Origin     origin     `json:"origin"`
		Reason     *string    `json:"reason"`
		SentAt     *time.Time `json:"sent_at"`
		ConsumedAt *time.Time `json:"consumed_at"`
		Outcome    *string    `json:"outcome"`
		Detail     *string    `json:"detail"`
		Fence      *int64     `json:"fence"`
		Worker     *string    `json:"worker"`
	}
	origin struct {
		Via       string  `json:"via"`
		Address   *string `json:"address"`
		UserAgent *string `json:"user_agent"`
		RequestID *string `json:"request_id"`
	}
	sent struct {
		Command *command `json:"command"`
		Lease   lease    `json:"lease"`
	}
	page[T any] struct {
		Items []T     `json:"items"`
		Next  *string `json:"next"`
	}
	problem struct {
		Status    int    `json:"status"`
		Code      string `json:"code"`
		Detail    string `json:"detail"`
		RequestID string `json:"request_id"`
	}
)

// do sends a request. header are names and values in turn.
func (c *client) do(ctx context.Context, method, path, body string, header ...string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.at(path), bytes.NewBufferString(body))
	if err != nil {
		return answer{}, err
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return answer{status: resp.StatusCode, header: resp.Header, body: text}, err
}

// try is do for one kind of answer: its status must be want, and it is decoded into a T.
func try[T any](ctx context.Context, c *client, method, path, body string, want int, header ...string) (v T, err error) {
	a, err := c.do(ctx, method, path, body, header...)
	if err != nil {
		return v, err
	}
	if a.status != want {
		return v, fmt.Errorf("%s %s = %d, want %d: %s", method, path, a.status, want, a.body)
	}
	return decode[T](a)
}

func decode[T any](a answer) (v T, err error) {
	if err := json.Unmarshal(a.body, &v); err != nil {
		return v, fmt.Errorf("%w in %s", err, a.body)
	}
	return v, nil
}

// must is try for the test's goroutine.
func must[T any](c *client, method, path, body string, want int, header ...string) T {
	c.t.Helper()
	v, err := try[T](c.t.Context(), c, method, path, body, want, header...)
	if err != nil {
		c.t.Fatal(err)
	}
	return v
}

// pool declares a pool of hosts that take one lease each; limit bounds how many are in use, 0 = all.
func (c *client) pool(hosts, limit int) {
	c.t.Helper()
	type host struct {
		Name string `json:"name"`
	}
	list := make([]host, hosts)
	for i := range list {
		list[i].Name = fmt.Sprintf("h%d", i+1)
	}
	body, _ := json.Marshal(map[string]any{
		"kind": "pool", "type": "host", "limit": limit, "config": map[string]any{"hosts": list},
	})
	must[any](c, http.MethodPut, "/v1/blueprints/lab", string(body), http.StatusCreated)
}

// ask queues a lease; fields are members of the body beside its type.
func (c *client) ask(fields string) lease {
	c.t.Helper()
	return must[lease](c, http.MethodPost, "/v1/leases", `{"type": "host"`+fields+`}`, http.StatusAccepted)
}

func (c *client) lease(id string) lease {
	c.t.Helper()
	return must[lease](c, http.MethodGet, "/v1/leases/"+id, "", http.StatusOK)
}

// await waits until a lease has come as far as a state in its life, and fails when it does not.
func (c *client) await(id, state string) lease {
	c.t.Helper()
	l, err := c.tryAwait(c.t.Context(), id, state, patience)
	if err != nil {
		c.t.Fatal(err)
	}
	return l
}

func (c *client) tryAwait(ctx context.Context, id, state string, timeout time.Duration) (lease, error) {
	l, err := try[lease](ctx, c, http.MethodGet, fmt.Sprintf("/v1/leases/%s?wait=%s&timeout=%s", id, state, timeout), "", http.StatusOK)
	if err == nil && l.Status != state {
		err = fmt.Errorf("lease %s is %s, want %s", id, l.Status, state)
	}
	return l, err
}

// watch looks at a lease for as long as d, or until it has come as far as a state, and returns it.
func (c *client) watch(id, state string, d time.Duration) lease {
	c.t.Helper()
	d = max(d, time.Millisecond)
	return must[lease](c, http.MethodGet, fmt.Sprintf("/v1/leases/%s?wait=%s&timeout=%s", id, state, d), "", http.StatusOK)
}

// release sends one release that must be accepted.
func (c *client) release(id string) sent {
	c.t.Helper()
	return must[sent](c, http.MethodPost, "/v1/leases/"+id+"/release", "", http.StatusAccepted)
}

func (c *client) history(id string) []command {
	c.t.Helper()
	list, err := c.tryHistory(c.t.Context(), id)
	if err != nil {
		c.t.Fatal(err)
	}
	return list
}

func (c *client) tryHistory(ctx context.Context, id string) ([]command, error) {
	p, err := try[page[command]](ctx, c, http.MethodGet, "/v1/leases/"+id+"/commands?limit=500", "", http.StatusOK)
	if err == nil && p.Next != nil {
		err = fmt.Errorf("lease %s has more commands than this test reads", id)
	}
	return p.Items, err
}

// eventually waits until cond holds; cond says what is missing.
func eventually(t testing.TB, cond func() error) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); ; <-tick.C {
		err := cond()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// deref reads a field that may be null.
func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

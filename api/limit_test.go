package api

import (
	"fmt"
	"net/http"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"drydock/model"
)

// clock is a clock that the test moves.
type clock struct{ ms atomic.Int64 }

func (c *clock) now() time.Time          { return testNow.Add(time.Duration(c.ms.Load()) * time.Millisecond) }
func (c *clock) advance(d time.Duration) { c.ms.Add(d.Milliseconds()) }

func TestRateLimitIsPerToken(t *testing.T) {
	t.Parallel()
	var c clock
	a := newAPI(t, &fakeStore{blueprints: someBlueprints, ping: func() error { return nil }}, withPeople, func(cfg *Config) {
		cfg.RateLimit, cfg.RateBurst, cfg.Now = 0.5, 3, c.now
	})
	ask := func(headers ...string) answer { return a.do(http.MethodGet, "/v1/blueprints", "", headers...) }
	ada, eve := bearer("ada.viewer.default"), bearer("eve.viewer.default")
	for i, want := range []string{`"token";r=2;t=2`, `"token";r=1;t=4`, `"token";r=0;t=6`} {
		got := ask(ada)
		if h := got.header; got.status != 200 || h.Get(headerRateLimit) != want || h.Get(headerRateLimitPolicy) != `"token";q=3;w=6` || h.Get("Retry-After") != "" {
			t.Errorf("request %d = %d %v", i+1, got.status, h)
		}
	}
	got := ask(ada)
	if p := got.problem(t); got.status != 429 || p.Code != "rate_limited" || got.header.Get("Retry-After") != "2" || got.header.Get(headerRateLimit) != `"token";r=0;t=6` {
		t.Errorf("the fourth = %d %s %v", got.status, got.body, got.header)
	}
	if got := ask(eve); got.status != 200 {
		t.Errorf("another token = %d", got.status)
	}
	if got := a.do(http.MethodGet, "/healthz", "", ada); got.status != 200 || got.header.Get(headerRateLimit) != "" {
		t.Errorf("/healthz = %d %v", got.status, got.header)
	}
	c.advance(2 * time.Second)
	if got := ask(ada); got.status != 200 {
		t.Errorf("after Retry-After = %d", got.status)
	}
	for range 3 {
		if got := ask(bearer("unknown.x")); got.status != 401 || got.header.Get(headerRateLimitPolicy) != `"address";q=3;w=6` {
			t.Errorf("unknown = %d %v", got.status, got.header)
		}
	}
	if got := ask(); got.status != 429 {
		t.Errorf("one more without a good token = %d", got.status)
	}
	if got := ask(eve); got.status != 200 {
		t.Errorf("a good token from the same address = %d", got.status)
	}
}

func TestRateLimitIsPerAddressWhereNobodyIsAsked(t *testing.T) {
	t.Parallel()
	var c clock
	a := newAPI(t, &fakeStore{blueprints: someBlueprints}, func(cfg *Config) {
		cfg.RateLimit, cfg.Now, cfg.TrustedProxies = 1, c.now, []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	for _, want := range []int{200, 200, 429} {
		if got := a.do(http.MethodGet, "/v1/blueprints", "", "X-Forwarded-For: 2001:db8::1"); got.status != want {
			t.Errorf("= %d, want %d", got.status, want)
		}
	}
	for address, want := range map[string]int{"2001:db8::ffff": 429, "2001:db8:0:1::1": 200, "192.0.2.1": 200} {
		if got := a.do(http.MethodGet, "/v1/blueprints", "", "X-Forwarded-For: "+address); got.status != want {
			t.Errorf("%s = %d, want %d", address, got.status, want)
		}
	}
}

// TestLimiterForgetsTheQuiet: its memory is bounded, and forgetting gives nobody more than waiting would.
func TestLimiterForgetsTheQuiet(t *testing.T) {
	t.Parallel()
	var c clock
	l := newLimiter(10, 5, c.now)
	for i := range maxBuckets {
		l.take(fmt.Sprint(i))
	}
	for range 5 {
		l.take("crowd")
	}
	if q := l.take("another of the crowd"); q.ok || len(l.buckets) > maxBuckets+1 {
		t.Errorf("beyond the most: %+v with %d buckets", q, len(l.buckets))
	}
	c.advance(2 * time.Second)
	if q := l.take("new"); !q.ok || len(l.buckets) != 1 {
		t.Errorf("later: %+v with %d buckets", q, len(l.buckets))
	}
}

// TestForwardedForCountsFromTrustedProxiesOnly: everybody else may write what he likes.
func TestForwardedForCountsFromTrustedProxiesOnly(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, trusted, forwarded, want string
	}{
		{"nobody is trusted", "", "192.0.2.7", "127.0.0.1"},
		{"another is trusted", "10.0.0.0/8", "192.0.2.7", "127.0.0.1"},
		{"the proxy is", "127.0.0.1/32", "192.0.2.7", "192.0.2.7"},
		{"what came before it does not count", "127.0.0.1/32", "198.51.100.1, 192.0.2.7", "192.0.2.7"},
		{"two proxies", "127.0.0.0/8", "198.51.100.1, 192.0.2.7, 127.0.0.9", "192.0.2.7"},
		{"a private address is not trusted by itself", "127.0.0.1/32", "192.0.2.7, 10.0.0.1", "10.0.0.1"},
		{"rubbish", "127.0.0.1/32", "drop table", "127.0.0.1"},
		{"IPv6", "127.0.0.1/32", "2001:db8::1", "2001:db8::1"},
	}
	for _, test := range tests {
		var cmd model.Command
		a := newAPI(t, &fakeStore{send: sending(&cmd)}, func(c *Config) {
			if test.trusted != "" {
				c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix(test.trusted)}
			}
		})
		a.do(http.MethodPost, "/v1/leases/"+leaseID+"/release", "", "X-Forwarded-For: "+test.forwarded, "X-Real-Ip: 203.0.113.1", "Forwarded: for=203.0.113.1")
		if cmd.Origin.Address != test.want {
			t.Errorf("%s: address %q, want %q", test.name, cmd.Origin.Address, test.want)
		}
	}
}

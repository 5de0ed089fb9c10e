package store

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"drydock/model"
)

// target is what a URL comes to.
type target struct {
	Kind, User, Password, Master string
	Addrs                        []string
	DB, PoolSize                 int
	TLS                          bool
	ServerName                   string
}

func targetOf(o clientOptions) target {
	switch {
	case o.cluster != nil:
		c := o.cluster
		t := target{Kind: "cluster", User: c.Username, Password: c.Password, Addrs: c.Addrs, PoolSize: c.PoolSize, TLS: c.TLSConfig != nil}
		if t.TLS {
			t.ServerName = c.TLSConfig.ServerName
		}
		return t
	case o.sentinel != nil:
		s := o.sentinel
		return target{
			Kind: "sentinel", User: s.Username, Password: s.Password, Master: s.MasterName, Addrs: s.SentinelAddrs, DB: s.DB,
			PoolSize: s.PoolSize, TLS: s.TLSConfig != nil,
		}
	}
	s := o.single
	t := target{
		Kind: s.Network, User: s.Username, Password: s.Password, Addrs: []string{s.Addr}, DB: s.DB, PoolSize: s.PoolSize, TLS: s.TLSConfig != nil,
	}
	if t.TLS {
		t.ServerName = s.TLSConfig.ServerName
	}
	return t
}

func TestURLForms(t *testing.T) {
	t.Parallel()
	tests := map[string]target{
		"redis://127.0.0.1:6379/0":                    {Kind: "tcp", Addrs: []string{"127.0.0.1:6379"}},
		"redis://db.example":                          {Kind: "tcp", Addrs: []string{"db.example:6379"}},
		"redis://[::1]:7000/2":                        {Kind: "tcp", Addrs: []string{"[::1]:7000"}, DB: 2},
		"redis://ada:s%40fe@h:1/3?pool_size=50":       {Kind: "tcp", User: "ada", Password: "s@fe", Addrs: []string{"h:1"}, DB: 3, PoolSize: 50},
		"redis://:a,b@h:1":                            {Kind: "tcp", Password: "a,b", Addrs: []string{"h:1"}},
		"redis://h:1?client_name=a,b":                 {Kind: "tcp", Addrs: []string{"h:1"}},
		"rediss://h:1":                                {Kind: "tcp", Addrs: []string{"h:1"}, TLS: true, ServerName: "h"},
		"unix:///run/redis.sock?db=4":                 {Kind: "unix", Addrs: []string{"/run/redis.sock"}, DB: 4},
		"unix://ada:s%40fe@/run/redis.sock":           {Kind: "unix", User: "ada", Password: "s@fe", Addrs: []string{"/run/redis.sock"}},
		"redis://a:1,b:2,c:3":                         {Kind: "cluster", Addrs: []string{"a:1", "b:2", "c:3"}},
		"redis://a:1,b:2/":                            {Kind: "cluster", Addrs: []string{"a:1", "b:2"}},
		"redis://a:1,b:2/0":                           {Kind: "cluster", Addrs: []string{"a:1", "b:2"}},
		"redis://ada:s%40fe,@a:1,b:2?pool_size=9":     {Kind: "cluster", User: "ada", Password: "s@fe,", Addrs: []string{"a:1", "b:2"}, PoolSize: 9},
		"rediss://a:1,b:2":                            {Kind: "cluster", Addrs: []string{"a:1", "b:2"}, TLS: true, ServerName: "a"},
		"redis+sentinel://a:1,b/main":                 {Kind: "sentinel", Master: "main", Addrs: []string{"a:1", "b:26379"}},
		"redis+sentinel://[::1],[::2]:5/main":         {Kind: "sentinel", Master: "main", Addrs: []string{"[::1]:26379", "[::2]:5"}},
		"redis+sentinel://a:1/main/7":                 {Kind: "sentinel", Master: "main", Addrs: []string{"a:1"}, DB: 7},
		"redis+sentinel://ada:s%40f%2Fe@a:1,b:2/m/1/": {Kind: "sentinel", User: "ada", Password: "s@f/e", Master: "m", Addrs: []string{"a:1", "b:2"}, DB: 1},
		"rediss+sentinel://:pw@a:1/main":              {Kind: "sentinel", Password: "pw", Master: "main", Addrs: []string{"a:1"}, TLS: true},
		"redis-sentinel://a:1/2?master=main":          {Kind: "sentinel", Master: "main", Addrs: []string{"a:1"}, DB: 2},
	}
	for raw, want := range tests {
		opts, err := parseURL(raw)
		if err != nil {
			t.Errorf("%s: %v", raw, err)
			continue
		}
		if diff := cmp.Diff(want, targetOf(opts)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", raw, diff)
		}
		client, err := Connect(raw)
		if err != nil {
			t.Errorf("connect to %s: %v", raw, err)
			continue
		}
		if got := map[string]bool{"cluster": true}[want.Kind]; got != isCluster(client) {
			t.Errorf("%s gives a %T", raw, client)
		}
		_ = client.Close()
	}
}

func isCluster(c redis.UniversalClient) bool { _, ok := c.(*redis.ClusterClient); return ok }

// TestBadURLs: refused with a sentence that shows no part of a password, however it was written.
func TestBadURLs(t *testing.T) {
	t.Parallel()
	const secret = "hunter"
	for _, raw := range []string{
		"", "127.0.0.1:6379", "ada:hunter2@h:1", "http://h:1", "redis//h", "redis://h:port", "redis://h:1/x", "redis://h:1/1/2",
		"redis://h:1?no_such_option=1", "redis://h:1?pool_size=x", "redis://a:1,b", "redis://a:1,,b:2", "redis://a:1,b:2/3", "redis://a:1,b:2/x",
		"redis://a:1,b:2?pool_size=x", "redis://a:1,b:2?%zz", "redis+sentinel://a:1", "redis+sentinel://a:1/", "redis+sentinel:///main",
		"redis+sentinel://a:1,/main", "redis+sentinel://a:1/main/x", "redis+sentinel://a:1/main/-1", "redis+sentinel://a:1/main/0/1",
		"redis-sentinel://a:1", "unix://", "unix:",
		// Passwords that ought to have been encoded.
		"redis://:hunter/2@h:1", "redis://:1/hunter2@h:1/0", "redis://:1/a/hunter2@h:1", "redis://:hunter#2@h:1", "redis://:12#hunter@h:1",
		"redis://:hunter?2@h:1", "redis://:12?hunter@h:1", "redis://:hunter%zz@h:1", "redis://:hunter2@h:port", "redis://:hunter 2@h:1",
		"redis://:hunter[2@h:1", "redis://ada:hunter\n2@h:1", "rediss://:hunter/2@a:1,b:2", "redis://:1/hunter2@a:1,b:2", "redis://:hunter%zz@a:1,b:2",
		"redis+sentinel://:hunter/2@a:1/main", "redis+sentinel://:a/b/hunter@a:1/main", "redis+sentinel://:hunter%zz@a:1/main",
		"unix://:hunter%zz@/run/redis.sock", "unix://:hunter/2@/run/redis.sock",
	} {
		for name, connect := range map[string]func(string) (redis.UniversalClient, error){"Connect": Connect, "ConnectForLocks": ConnectForLocks} {
			client, err := connect(raw)
			if client != nil {
				_ = client.Close()
			}
			if kindOf(err) != model.ErrorInvalid {
				t.Errorf("%s(%q): %v, want an invalid URL", name, raw, err)
				continue
			}
			if strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "%zz") {
				t.Errorf("%s(%q) shows the password: %v", name, raw, err)
			}
		}
	}
}

func TestRedact(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"redis://127.0.0.1:6379/0":                  "redis://127.0.0.1:6379/0",
		"redis://ada:hunter2@h:1/0":                 "redis://***@h:1/0",
		"redis://:hunter2@a:1,b:2?pool_size=9":      "redis://***@a:1,b:2",
		"redis+sentinel://:hunter2@a:1,b:2/main/0":  "redis+sentinel://***@a:1,b:2/main/0",
		"unix://ada:hunter2@/run/redis.sock?db=1":   "unix://***@/run/redis.sock",
		"redis://h:1?password=hunter2":              "redis://h:1",
		"hunter2":                                   "(not a URL)",
		"ada:hunter2@h:1":                           "(not a URL)",
		"redis://ada:p@hunter@h:1":                  "redis://***@h:1",
		"redis://:hunter/2@h:1":                     "redis://***@h:1",
		"redis://:hunter?2@h:1":                     "redis://***@h:1",
		"redis://:12#hunter@h:1":                    "redis://***@h:1",
		"redis+sentinel://:hunter/a?b@a:1/main?x=1": "redis+sentinel://***@a:1/main",
	}
	for raw, want := range tests {
		if got := Redact(raw); got != want {
			t.Errorf("Redact(%q) = %q, want %q", raw, got, want)
		}
	}
}

// TestConnectForLocks: package locks demands that deadlines are obeyed and nothing is sent twice.
func TestConnectForLocks(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{"redis://h:1", "redis://a:1,b:2", "redis+sentinel://a:1/main"} {
		client, err := ConnectForLocks(raw)
		if err != nil {
			t.Errorf("%s: %v", raw, err)
			continue
		}
		defer func() { _ = client.Close() }()
		obeys, retries := false, 99
		switch c := client.(type) {
		case *redis.Client:
			obeys, retries = c.Options().ContextTimeoutEnabled, c.Options().MaxRetries
		case *redis.ClusterClient:
			// A Cluster client turns -1 into 0 for redirections; what matters are its nodes' options.
			obeys, retries = c.Options().ContextTimeoutEnabled, c.Options().MaxRetries
		}
		// go-redis turns -1 into 0.
		if !obeys || retries > 0 {
			t.Errorf("%s: obeys deadlines %t, retries %d, want true and none", raw, obeys, retries)
		}
	}
}

// TestSlowWhenDown: the delay doubles up to a second, ends with the caller's patience, and is forgotten after a success.
func TestSlowWhenDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := &outageBackoff{}
		refused := errors.New("refused")
		fail := refused
		dial := h.DialHook(func(context.Context, string, string) (net.Conn, error) { return nil, fail })
		took := func(ctx context.Context) time.Duration {
			began := time.Now()
			if _, err := dial(ctx, "tcp", "h:1"); !errors.Is(err, fail) {
				t.Errorf("dial: %v, want %v", err, fail)
			}
			return time.Since(began)
		}
		var got []time.Duration
		for range 8 {
			got = append(got, took(t.Context()))
		}
		ms := time.Millisecond
		want := []time.Duration{50 * ms, 100 * ms, 200 * ms, 400 * ms, 800 * ms, 1000 * ms, 1000 * ms, 1000 * ms}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("delays (-want +got):\n%s", diff)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*ms)
		defer cancel()
		if d := took(ctx); d != 10*ms {
			t.Errorf("with a patience of 10 ms: %v", d)
		}
		fail = nil
		if d := took(t.Context()); d != 0 {
			t.Errorf("a success took %v", d)
		}
		fail = refused
		if d := took(t.Context()); d != 50*ms {
			t.Errorf("after a success: %v, want the first delay again", d)
		}
	})
}

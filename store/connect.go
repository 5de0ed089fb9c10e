package store

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"drydock/model"
)

// Connect returns a client for a Redis URL. It does not talk to the server yet. The forms are
//
//	redis://[user:password@]host:port[/db]            one server; rediss:// for TLS; unix:///path for a socket
//	redis://[user:password@]host:port,host:port,…     a Cluster, by some of its nodes; rediss:// for TLS
//	redis+sentinel://[user:password@]host:port,…/master[/db]   a primary that Sentinels know; rediss+sentinel:// for TLS
//
// A query such as ?pool_size=50&dial_timeout=2s sets options of go-redis, except for Sentinel.
// Errors are [model.ErrorInvalid]; they never show a password.
func Connect(rawURL string) (redis.UniversalClient, error) {
	opts, err := parseURL(rawURL)
	if err != nil {
		return nil, err
	}
	return opts.client(), nil
}

// ConnectForLocks returns a client for the object locks on the data Redis: deadlines are obeyed and nothing is sent twice, as
// package locks demands.
func ConnectForLocks(rawURL string) (redis.UniversalClient, error) {
	opts, err := parseURL(rawURL)
	if err != nil {
		return nil, err
	}
	switch {
	case opts.cluster != nil:
		opts.cluster.ContextTimeoutEnabled, opts.cluster.MaxRetries = true, -1
	case opts.sentinel != nil:
		opts.sentinel.ContextTimeoutEnabled, opts.sentinel.MaxRetries = true, -1
	default:
		opts.single.ContextTimeoutEnabled, opts.single.MaxRetries = true, -1
	}
	return opts.client(), nil
}

// clientOptions is one of the three kinds of options; the others are nil.
type clientOptions struct {
	single   *redis.Options
	cluster  *redis.ClusterOptions
	sentinel *redis.FailoverOptions
}

func (o clientOptions) client() redis.UniversalClient {
	switch {
	case o.cluster != nil:
		return redis.NewClusterClient(o.cluster)
	case o.sentinel != nil:
		return redis.NewFailoverClient(o.sentinel)
	}
	return redis.NewClient(o.single)
}

func parseURL(raw string) (clientOptions, error) {
	scheme, remainder, ok := strings.Cut(raw, "://")
	if !ok {
		return clientOptions{}, model.Invalid("redis", "must be a URL such as redis://127.0.0.1:6379/0")
	}
	switch scheme {
	case "redis", "rediss":
		hosts, _, _ := strings.Cut(remainder[strings.LastIndex(authority(remainder), "@")+1:], "/")
		if strings.Contains(hosts, ",") {
			return parseCluster(scheme, remainder)
		}
		fallthrough
	case "unix":
		opts, err := redis.ParseURL(raw)
		if err != nil {
			return clientOptions{}, model.Invalid("redis", "cannot be read: %s", redact(err, raw))
		}
		return clientOptions{single: opts}, nil
	case "redis+sentinel", "rediss+sentinel", "redis-sentinel":
		return parseSentinel(scheme, remainder)
	}
	return clientOptions{}, model.Invalid("redis", "unknown scheme %s; known are redis, rediss, unix, redis+sentinel and rediss+sentinel",
		model.Quote(scheme))
}

// authority is the part of a URL before its path.
func authority(remainder string) string {
	a, _, _ := strings.Cut(remainder, "/")
	return a
}

// parseCluster reads "user:password@a:1,b:2?query" by handing go-redis the first address and the others as parameters.
func parseCluster(scheme, remainder string) (clientOptions, error) {
	auth, query, _ := strings.Cut(remainder, "?")
	userinfo := ""
	if at := strings.LastIndex(auth, "@"); at >= 0 {
		userinfo, auth = auth[:at+1], auth[at+1:]
	}
	hosts := strings.Split(strings.TrimSuffix(auth, "/"), ",")
	params, err := url.ParseQuery(query)
	if err != nil {
		return clientOptions{}, model.Invalid("redis", "has an unreadable query")
	}
	for _, h := range hosts[1:] {
		params.Add("addr", h)
	}
	raw := scheme + "://" + userinfo + hosts[0] + "?" + params.Encode()
	opts, err := redis.ParseClusterURL(raw)
	if err != nil {
		return clientOptions{}, model.Invalid("redis", "cannot be read: %s", redact(err, raw))
	}
	return clientOptions{cluster: opts}, nil
}

func parseSentinel(scheme, remainder string) (clientOptions, error) {
	hosts := authority(remainder)
	userinfo := ""
	if at := strings.LastIndex(hosts, "@"); at >= 0 {
		userinfo, hosts = hosts[:at], hosts[at+1:]
	}
	path, query, _ := strings.Cut(strings.TrimPrefix(remainder, authority(remainder)), "?")
	params, _ := url.ParseQuery(query)
	master, db, _ := strings.Cut(strings.Trim(path, "/"), "/")
	if m := params.Get("master"); m != "" && scheme == "redis-sentinel" {
		master, db = m, strings.Trim(path, "/")
	}
	if master == "" {
		return clientOptions{}, model.Invalid("redis", "a Sentinel URL names the primary: redis+sentinel://host:26379/mymaster/0")
	}
	opts := &redis.FailoverOptions{MasterName: master, SentinelAddrs: strings.Split(hosts, ",")}
	for i, addr := range opts.SentinelAddrs {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			opts.SentinelAddrs[i] = net.JoinHostPort(addr, "26379")
		}
	}
	if db != "" {
		n, err := strconv.Atoi(db)
		if err != nil || n < 0 {
			return clientOptions{}, model.Invalid("redis", "the database %s is not a number", model.Quote(db))
		}
		opts.DB = n
	}
	if userinfo != "" {
		user, password, _ := strings.Cut(userinfo, ":")
		var err1, err2 error
		opts.Username, err1 = url.PathUnescape(user)
		opts.Password, err2 = url.PathUnescape(password)
		if err1 != nil || err2 != nil {
			return clientOptions{}, model.Invalid("redis", "user and password must be URL-encoded")
		}
	}
	if scheme == "rediss+sentinel" {
		opts.TLSConfig = tlsConfig()
	}
	return clientOptions{sentinel: opts}, nil
}

// redact keeps the URL, which may hold a password, out of an error message.
func redact(err error, raw string) string {
	return strings.ReplaceAll(err.Error(), strconv.Quote(raw), "the URL")
}

// Redact returns a Redis URL that can be logged.
func Redact(raw string) string {
	scheme, remainder, ok := strings.Cut(raw, "://")
	if !ok {
		return "(not a URL)"
	}
	if at := strings.LastIndex(authority(remainder), "@"); at >= 0 {
		remainder = "***@" + remainder[at+1:]
	}
	remainder, _, _ = strings.Cut(remainder, "?")
	return scheme + "://" + remainder
}

// SlowWhenDown makes a client take its time when the server cannot be reached. An asynq server whose Redis is away asks again
// at once, for ever; this keeps it from spinning.
func SlowWhenDown(c redis.UniversalClient) { c.AddHook(&outageBackoff{}) }

// outageBackoff delays calls that could not be connected: from 50 ms, doubling, to a second.
type outageBackoff struct{ failures atomic.Int32 }

func (h *outageBackoff) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := next(ctx, network, addr)
		if err == nil {
			h.failures.Store(0)
			return conn, nil
		}
		delay := min(time.Second, 50*time.Millisecond<<min(h.failures.Add(1)-1, 5))
		select {
		case <-ctx.Done():
		case <-time.After(delay):
		}
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
}

func (h *outageBackoff) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (h *outageBackoff) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

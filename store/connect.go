package store

import (
	"context"
	"errors"
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
	// One dial for each of the tries that MaxRetries allows: five, as go-redis has it, make a caller wait for seconds to hear that
	// the server is down.
	switch {
	case opts.cluster != nil:
		opts.cluster.DialerRetries = 1
	case opts.sentinel != nil:
		opts.sentinel.DialerRetries = 1
	default:
		opts.single.DialerRetries = 1
	}
	client := opts.client()
	if opts.cluster != nil {
		client.AddHook(&asynqLists{open: map[string]bool{}})
	}
	return client, nil
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
	if !ok || strings.Contains(scheme, "@") { // what stands before an @ may be a password
		return clientOptions{}, model.Invalid("redis", "must be a URL such as redis://127.0.0.1:6379/0")
	}
	// What follows an unencoded / ? or # would be taken for a path or a query, and quoted in an error.
	if behind := remainder[len(authority(remainder)):]; scheme != "unix" && strings.Contains(behind, "@") {
		return clientOptions{}, errUnencoded
	}
	switch scheme {
	case "redis", "rediss":
		_, hosts := cutUserinfo(authority(remainder))
		if strings.Contains(hosts, ",") {
			return parseCluster(scheme, remainder)
		}
		fallthrough
	case "unix":
		opts, err := redis.ParseURL(raw)
		if err != nil {
			return clientOptions{}, unreadable(err)
		}
		return clientOptions{single: opts}, nil
	case "redis+sentinel", "rediss+sentinel", "redis-sentinel":
		return parseSentinel(scheme, remainder)
	}
	return clientOptions{}, model.Invalid("redis", "unknown scheme %s; known are redis, rediss, unix, redis+sentinel and rediss+sentinel",
		model.Quote(scheme))
}

var errUnencoded = model.Invalid("redis", "cannot be read; special characters in user and password must be URL-encoded (@ as %%40, / as %%2F)")

// unreadable turns an error of a URL parser into one that shows no password: net/url quotes the part of the URL that it cannot
// read, which may be one.
func unreadable(err error) error {
	if _, ok := errors.AsType[*url.Error](err); ok {
		return errUnencoded
	}
	return model.Invalid("redis", "cannot be read: %s", err)
}

// authority is the part of a URL before its path, query and fragment.
func authority(remainder string) string {
	if end := strings.IndexAny(remainder, "/?#"); end >= 0 {
		return remainder[:end]
	}
	return remainder
}

// cutUserinfo cuts "user:password@host" behind the @.
func cutUserinfo(authority string) (userinfo, hosts string) {
	at := strings.LastIndex(authority, "@") + 1
	return authority[:at], authority[at:]
}

// parseCluster reads "user:password@a:1,b:2?query" by handing go-redis the first address and the others as parameters.
func parseCluster(scheme, remainder string) (clientOptions, error) {
	userinfo, list := cutUserinfo(authority(remainder))
	path, query, _ := strings.Cut(remainder[len(userinfo)+len(list):], "?")
	if db := strings.Trim(path, "/"); db != "" && db != "0" {
		return clientOptions{}, model.Invalid("redis", "a Cluster has database 0 alone, not %s", model.Quote(db))
	}
	hosts := strings.Split(list, ",")
	params, err := url.ParseQuery(query)
	if err != nil {
		return clientOptions{}, model.Invalid("redis", "has an unreadable query")
	}
	for _, h := range hosts[1:] {
		params.Add("addr", h)
	}
	opts, err := redis.ParseClusterURL(scheme + "://" + userinfo + hosts[0] + "?" + params.Encode())
	if err != nil {
		return clientOptions{}, unreadable(err)
	}
	return clientOptions{cluster: opts}, nil
}

func parseSentinel(scheme, remainder string) (clientOptions, error) {
	userinfo, hosts := cutUserinfo(authority(remainder))
	path, query, _ := strings.Cut(remainder[len(userinfo)+len(hosts):], "?")
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
		if addr == "" {
			return clientOptions{}, model.Invalid("redis", "a Sentinel URL names the Sentinels' hosts: redis+sentinel://host:26379/mymaster/0")
		}
		if _, _, err := net.SplitHostPort(addr); err != nil {
			opts.SentinelAddrs[i] = net.JoinHostPort(strings.Trim(addr, "[]"), "26379")
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
		user, password, _ := strings.Cut(strings.TrimSuffix(userinfo, "@"), ":")
		var err1, err2 error
		opts.Username, err1 = url.PathUnescape(user)
		opts.Password, err2 = url.PathUnescape(password)
		if err1 != nil || err2 != nil {
			return clientOptions{}, errUnencoded
		}
	}
	if scheme == "rediss+sentinel" {
		opts.TLSConfig = tlsConfig()
	}
	return clientOptions{sentinel: opts}, nil
}

// Redact returns a Redis URL that can be logged. It also hides what stands before the last @ of a URL that is no good.
func Redact(raw string) string {
	scheme, remainder, ok := strings.Cut(raw, "://")
	if !ok || strings.Contains(scheme, "@") {
		return "(not a URL)"
	}
	if userinfo, hosts := cutUserinfo(remainder); userinfo != "" {
		remainder = "***@" + hosts
	}
	remainder, _, _ = strings.Cut(remainder, "?")
	return scheme + "://" + remainder
}

// SlowWhenDown makes a client take its time when the server cannot be reached. An asynq server whose Redis is away asks again
// at once, for ever; this keeps it from spinning.
func SlowWhenDown(c redis.UniversalClient) {
	if cluster, ok := c.(*redis.ClusterClient); ok {
		// Its own hooks see no dialling; its nodes' do, and each of those is up or down by itself.
		cluster.OnNewNode(func(node *redis.Client) { node.AddHook(&outageBackoff{}) })
		return
	}
	c.AddHook(&outageBackoff{})
}

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

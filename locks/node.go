package locks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	redsyncredis "github.com/go-redsync/redsync/v4/redis"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

var errUnreadable = errors.New("lock node: the URL cannot be read; " +
	"special characters in user and password must be URL-encoded (@ as %40, / as %2F)")

// NodeOptions returns the client options for a lock node from its URL ("redis://host:6379/0"): deadlines are obeyed, a call is never sent
// again, and a dead node fails fast. Timeouts that the URL states are kept.
func NodeOptions(url string) (*redis.Options, error) {
	opts, err := redis.ParseURL(url)
	switch {
	case err != nil && strings.Contains(url, "@"):
		// The parser quotes what it cannot read, which may be a password.
		return nil, errUnreadable
	case err != nil:
		return nil, fmt.Errorf("lock node: %w", err)
	}
	opts.ContextTimeoutEnabled = true
	// A lock call sent twice finds its own key and calls it taken; and time spent on sending again is trusted time lost.
	opts.MaxRetries = -1
	opts.DialerRetries = 1
	opts.DialTimeout = cmp.Or(opts.DialTimeout, time.Second)
	opts.ReadTimeout = cmp.Or(opts.ReadTimeout, time.Second)
	opts.WriteTimeout = cmp.Or(opts.WriteTimeout, time.Second)
	opts.PoolTimeout = cmp.Or(opts.PoolTimeout, time.Second)
	opts.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return opts, nil
}

// checkNodes refuses what cannot make a quorum, and clients that would hang or repeat calls.
func checkNodes(nodes []redis.UniversalClient) error {
	switch len(nodes) {
	case 1, 3, 5:
	default:
		return fmt.Errorf("--lock-redis wants 1, 3 or 5 independent Redis masters, got %d: "+
			"a majority of an even number survives no more than one of the odd number below", len(nodes))
	}
	seen := make(map[string]bool)
	for i, node := range nodes {
		if node == nil {
			return fmt.Errorf("--lock-redis: node %d is nil", i)
		}
		client, ok := node.(*redis.Client)
		if !ok {
			continue
		}
		opts := client.Options()
		if !opts.ContextTimeoutEnabled || opts.MaxRetries > 0 {
			return fmt.Errorf("lock node %s: the client must have ContextTimeoutEnabled and MaxRetries -1, as NodeOptions sets them", opts.Addr)
		}
		// A client made through Sentinel does not know its address.
		if opts.Addr == "FailoverClient" {
			continue
		}
		if seen[opts.Addr] {
			return fmt.Errorf("--lock-redis: %s is named twice, but the nodes must be independent", opts.Addr)
		}
		seen[opts.Addr] = true
	}
	return nil
}

// node is one Redis as one lock sees it. redsync answers at a majority, cancels the context of the calls to slower nodes, and goes on.
// Left at that, a lock would be on no more nodes than it must, and keys would stay behind on slow nodes until they expire. So each call
// here goes on by itself, ended by a time limit of its own and not by redsync's context or the caller's, and
//   - waits for the one before it, so that a removal does not overtake the lock call;
//   - is dropped if it is a lock call that has been overtaken all the same.
type node struct {
	pool    redsyncredis.Pool
	timeout time.Duration

	turn chan struct{} // holds an element during a call; nil when there is one node, for which redsync always waits
	late bool          // the lock call has been overtaken; guarded by turn
}

// Get returns a connection for one call.
func (n *node) Get(ctx context.Context) (redsyncredis.Conn, error) {
	conn, err := n.pool.Get(ctx)
	return &nodeConn{Conn: conn, node: n, ctx: ctx}, err
}

type nodeConn struct {
	redsyncredis.Conn
	node *node
	ctx  context.Context
}

// SetNX is the lock call.
func (c *nodeConn) SetNX(name, value string, expiry time.Duration) (ok bool, err error) {
	err = c.node.call(c.ctx, func(conn redsyncredis.Conn) (err error) {
		if c.node.late {
			return errOvertaken
		}
		ok, err = conn.SetNX(name, value, expiry)
		return err
	})
	return ok, err
}

// Eval removes or extends the key, if its value is ours.
func (c *nodeConn) Eval(script *redsyncredis.Script, keysAndArgs ...any) (reply any, err error) {
	err = c.node.call(c.ctx, func(conn redsyncredis.Conn) (err error) {
		if c.node.turn != nil {
			c.node.late = true
		}
		reply, err = conn.Eval(script, keysAndArgs...)
		return err
	})
	return reply, err
}

var errOvertaken = errors.New("the lock call came too late")

// call makes one call when it is its turn.
func (n *node) call(ctx context.Context, do func(redsyncredis.Conn) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), n.timeout)
	defer cancel()
	if n.turn != nil {
		select {
		case n.turn <- struct{}{}:
			defer func() { <-n.turn }()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	conn, err := n.pool.Get(ctx)
	if err != nil {
		return err
	}
	return do(conn)
}

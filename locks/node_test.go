package locks

import (
	"context"
	"errors"
	"testing"
	"time"

	redsyncredis "github.com/go-redsync/redsync/v4/redis"
)

// countingConn counts the calls that reach the node.
type countingConn struct {
	redsyncredis.Conn
	setNX, eval int
}

type pool struct{ conn *countingConn }

func (p pool) Get(context.Context) (redsyncredis.Conn, error) { return p.conn, nil }

func (c *countingConn) SetNX(string, string, time.Duration) (bool, error) {
	c.setNX++
	return true, nil
}

func (c *countingConn) Eval(*redsyncredis.Script, ...any) (any, error) {
	c.eval++
	return int64(1), nil
}

func TestLockCallThatWasOvertakenIsDropped(t *testing.T) {
	t.Parallel()
	calls := &countingConn{}
	n := &node{pool: pool{calls}, timeout: time.Minute, turn: make(chan struct{}, 1)}
	conn, err := n.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := conn.SetNX("k", "v", time.Second); !ok || err != nil {
		t.Errorf("SetNX() in time = %v, %v, want true", ok, err)
	}
	if _, err := conn.Eval(nil); err != nil {
		t.Errorf("Eval() = %v", err)
	}
	if ok, err := conn.SetNX("k", "v", time.Second); ok || !errors.Is(err, errOvertaken) {
		t.Errorf("SetNX() after Eval() = %v, %v, want errOvertaken", ok, err)
	}
	if calls.setNX != 1 || calls.eval != 1 {
		t.Errorf("the node got %d lock calls and %d others, want 1 and 1", calls.setNX, calls.eval)
	}
}

func TestCallWaitsForItsTurnNoLongerThanItsTimeout(t *testing.T) {
	t.Parallel()
	calls := &countingConn{}
	n := &node{pool: pool{calls}, timeout: 10 * time.Millisecond, turn: make(chan struct{}, 1)}
	n.turn <- struct{}{}
	conn, _ := n.Get(t.Context())
	if _, err := conn.Eval(nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Eval() = %v, want context.DeadlineExceeded", err)
	}
	if calls.eval != 0 {
		t.Error("a call was made out of turn")
	}
}

package store

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

const (
	// maxMerged is how many calls go as one at most, and maxMergedBytes how large the arguments of each are: a script has the server to
	// itself, and what is large takes long.
	maxMerged      = 16
	maxMergedBytes = 2048
)

// merges has the hashes of the scripts that can do what several calls ask for in one call: those that lua/foot.lua ends. Redis sets up all of
// a script anew with each call (docs/adr/0009).
var merges sync.Map

// mergeKey says which calls may go as one: those of one script of ours, each with one key, on keys of one namespace. ok is false for a call
// that must go alone.
func mergeKey(cmd redis.Cmder) (key string, ok bool) {
	args := cmd.Args()
	if cmd.Name() != "evalsha" || len(args) < 4 {
		return "", false
	}
	sha, _ := args[1].(string)
	if _, known := merges.Load(sha); !known || args[2] != 1 {
		return "", false
	}
	object, _ := args[3].(string)
	tag, _, found := strings.Cut(object, "}")
	if !found {
		return "", false
	}
	size := 0
	for _, arg := range args[4:] {
		if text, ok := arg.(string); ok {
			size += len(text)
		}
	}
	return sha + tag, size <= maxMergedBytes
}

// merged is one call to the server that stands for one or several.
type merged struct {
	calls []redis.Cmder
	cmd   redis.Cmder
}

// merge makes as few calls to the server of a group as may be, without those whose caller is gone. What is in a pipeline goes alone, since it
// was put in order.
func merge(group []*gathered) []*merged {
	var out []*merged
	open := map[string]*merged{}
	for _, call := range group {
		if err := call.ctx.Err(); err != nil {
			call.fail(err)
			continue
		}
		for _, cmd := range call.cmds {
			key, ok := mergeKey(cmd)
			ok = ok && len(call.cmds) == 1
			if m := open[key]; ok && m != nil && len(m.calls) < maxMerged {
				m.calls = append(m.calls, cmd)
				continue
			}
			m := &merged{calls: []redis.Cmder{cmd}, cmd: cmd}
			out = append(out, m)
			if ok {
				open[key] = m
			}
		}
	}
	for _, m := range out {
		m.join()
	}
	return out
}

// join makes the one call of several, as lua/foot.lua reads it.
func (m *merged) join() {
	if len(m.calls) == 1 {
		return
	}
	args := []any{"evalsha", m.cmd.Args()[1], len(m.calls)}
	for _, call := range m.calls {
		args = append(args, call.Args()[3])
	}
	args = append(args, "each")
	for _, call := range m.calls {
		own := call.Args()[4:]
		args = append(append(args, len(own)), own...)
	}
	m.cmd = redis.NewCmd(context.Background(), args...)
}

// part gives each of the calls its own reply.
func (m *merged) part() {
	if len(m.calls) == 1 {
		return
	}
	cmd, _ := m.cmd.(*redis.Cmd)
	replies, err := cmd.Slice()
	if err == nil && len(replies) != len(m.calls) {
		err = fmt.Errorf("%d replies to %d calls that went as one", len(replies), len(m.calls))
	}
	for i, call := range m.calls {
		if err != nil {
			call.SetErr(err)
			continue
		}
		reply, ok := replies[i].([]any)
		switch {
		case !ok:
			call.SetErr(serverError(strings.TrimPrefix(toString(replies[i]), "-")))
		case len(reply) == 0 || reply[0] == nil:
			call.SetErr(redis.Nil)
		default:
			hand[any](call, redis.NewCmdResult(reply[0], nil))
		}
	}
}

// serverError is the error reply to one of the calls. The script hands it over as a text, because go-redis 9.23 loses its place in a reply with
// some of the errors that it knows in it (LOADING, READONLY, OOM and others), and whoever uses the connection next reads the rest.
type serverError string

func (e serverError) Error() string { return string(e) }

// RedisError marks it as a [redis.Error].
func (serverError) RedisError() {}

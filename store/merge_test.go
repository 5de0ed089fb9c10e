package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"drydock/model"
)

// oddScript does what it is told to, and counts in its key how often it has run.
var oddScript = newScript("", `
local n = redis.call('INCR', KEYS[1])
if ARGV[3] == 'error' then return redis.error_reply('ODD this is an error') end
if ARGV[3] == 'full' then return redis.error_reply("OOM command not allowed when used memory > 'maxmemory'.") end
if ARGV[3] == 'refused' then redis.call('LPUSH', KEYS[1], 'x') end
if ARGV[3] == 'bug' then local nothing = nil; return nothing.field end
if ARGV[3] == 'nothing' then return false end
woken[#woken + 1] = ARGV[3]
if ARGV[3] == 'list' then return {ARGV[3], n, {ARGV[4] or 'none'}, #woken, NOW} end
return #ARGV[3]
`)

func (e *gatherEnv) scriptCalls() (n int) {
	e.t.Helper()
	for line := range strings.Lines(e.client.Info(context.Background(), "commandstats").Val()) {
		if _, err := fmt.Sscanf(line, "cmdstat_evalsha:calls=%d", &n); err == nil {
			return n
		}
	}
	return 0
}

// TestMergedCalls: whatever becomes of one of the calls that go as one, each caller gets what its own would have got alone.
func TestMergedCalls(t *testing.T) {
	t.Parallel()
	e := newGatherEnv(t, nil, time.Hour)
	if err := oddScript.Load(t.Context(), e.client).Err(); err != nil {
		t.Fatal(err)
	}
	before := e.scriptCalls()
	const calls = 80
	for i := range calls {
		e.wg.Go(func() {
			do := []string{"error", "refused", "full", "bug", "nothing", "list", "count", "long"}[i%8]
			args := []any{"1700000000123 1000 abc", 11000, do}
			if i == 5 {
				args = append(args, "more")
			}
			if do == "long" {
				args = append(args, strings.Repeat("x", maxMergedBytes))
			}
			key := objectKey(model.LeaseRef([]string{"one", "two"}[i%2], fmt.Sprint(i)))
			got, err := oddScript.Run(context.Background(), e.client, []string{key}, args...).Result()
			var ok bool
			switch do {
			case "error":
				ok = err != nil && strings.HasSuffix(err.Error(), "ODD this is an error")
			case "full":
				ok = err != nil && strings.HasPrefix(err.Error(), "OOM ")
			case "refused":
				ok = err != nil && strings.HasPrefix(err.Error(), "WRONGTYPE ")
			case "bug":
				ok = err != nil && strings.HasPrefix(err.Error(), "ERR user_script:") && strings.Contains(err.Error(), "nil value")
			case "nothing":
				ok = errors.Is(err, redis.Nil)
			case "list":
				more := "none"
				if i == 5 {
					more = "more"
				}
				ok = err == nil && fmt.Sprint(got) == fmt.Sprintf("[list 1 [%s] 1 1700000000123]", more)
			default:
				ok = err == nil && got == int64(len(do))
			}
			if !ok {
				t.Errorf("call %d, which is to have %s, got %v, %v", i, do, got, err)
			}
			if n := e.client.Get(context.Background(), key).Val(); n != "1" {
				t.Errorf("call %d was made %s times", i, n)
			}
		})
	}
	e.untilWaiting(calls)
	e.letGo()
	// Ten that are long go alone; of the others, those of each namespace as a few, in two groups.
	if n := e.scriptCalls() - before; n < calls/8+70/maxMerged || n > calls/8+70/maxMerged+8 {
		t.Errorf("%d calls were %d to the server", calls, n)
	}
}

// TestMergedCallsLoadTheScript: a server that has been started anew has no script.
func TestMergedCallsLoadTheScript(t *testing.T) {
	t.Parallel()
	e := newGatherEnv(t, nil, time.Hour)
	const calls = 10
	for i := range calls {
		e.wg.Go(func() {
			key := objectKey(model.LeaseRef("one", fmt.Sprint(i)))
			if got, err := oddScript.Run(context.Background(), e.client, []string{key}, "0 1000 abc", 11000, "count").Int(); got != 5 || err != nil {
				t.Errorf("call %d got %d, %v", i, got, err)
			}
		})
	}
	e.untilWaiting(calls)
	e.letGo()
}

// TestMergedCallsToAFullServer: a server that is out of memory is unavailable, to each of those that went together.
func TestMergedCallsToAFullServer(t *testing.T) {
	t.Parallel()
	e := newGatherEnv(t, nil, time.Hour)
	if err := errors.Join(oddScript.Load(t.Context(), e.client).Err(), e.client.ConfigSet(t.Context(), "maxmemory", "1").Err()); err != nil {
		t.Fatal(err)
	}
	const calls = 10
	for i := range calls {
		e.wg.Go(func() {
			key := objectKey(model.LeaseRef("one", fmt.Sprint(i)))
			err := oddScript.Run(context.Background(), e.client, []string{key}, "0 1000 abc", 11000, "count").Err()
			if kindOf(translate("try", err)) != model.ErrorUnavailable {
				t.Errorf("call %d: %v", i, err)
			}
		})
	}
	e.untilWaiting(calls)
	e.letGo()
}

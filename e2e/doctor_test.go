package e2e_test

import (
	"context"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"drydock/embedded/redistest"
)

// doctor runs `drydock doctor` on a Redis.
func doctor(t *testing.T, redisURL string, args ...string) ran {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary(t), append([]string{"doctor", "--redis", redisURL}, args...)...)
	cmd.Env = append(environ(), "GORACE=atexit_sleep_ms=0")
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return ran{strings.Join(cmd.Args[1:], " "), stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// TestDoctor breaks one thing after another by hand, in a system that runs.
func TestDoctor(t *testing.T) {
	t.Parallel()
	rdb := startRedis(t, redistest.AppendOnly("everysec"))
	url, ns := rdb.URL(), namespaceOf(t)
	api, worker := startAPI(t, url), startWorker(t, url)
	c := newClient(t, api.url)
	c.pool(1, 0)
	active, queued := c.ask(""), c.ask("")
	c.await(active.ID, "active")
	sound := func() {
		t.Helper()
		doctor(t, url).ends(t, 0, `ok +redis .* appendonly yes, appendfsync everysec`, `ok +asynq: 1 worker;`, `ok +namespace `+ns+`: 3 objects`)
	}
	sound()
	P := "drydock:{" + ns + "}:"

	// An object that owes an update and that nobody would look at: found, mended when asked, sound again.
	member := "lease:" + queued.ID
	if n := rdb.ZRem(t.Context(), P+"wake", member).Val(); n != 1 {
		t.Fatal("the queued lease is not in wake")
	}
	doctor(t, url).ends(t, 1, `PROBLEM +namespace `+ns+`: `+member+` owes an update .* and is not in wake`, `the doctor found 1 problem\n`)
	if rdb.ZScore(t.Context(), P+"wake", member).Err() == nil {
		t.Error("the doctor has repaired what it should only find")
	}
	doctor(t, url, "--repair").ends(t, 0, `repaired +namespace `+ns+`: `+member+` owed an update and was not in wake; it is there again`)
	sound()

	// What cannot be mended safely is only found.
	other := P + "leases:pending"
	rdb.ZAdd(t.Context(), other, redis.Z{Member: active.ID})
	doctor(t, url, "--repair", "--namespace", ns).ends(t, 1, `lease:`+active.ID+` is "active" and stands in the index of "pending"`)
	rdb.ZRem(t.Context(), other, active.ID)
	rdb.HSet(t.Context(), P+"lease:"+active.ID, "schema", 99)
	doctor(t, url).ends(t, 1, `lease:`+active.ID+` has schema version "99"`)
	rdb.HSet(t.Context(), P+"lease:"+active.ID, "schema", 1)
	sound()

	rdb.configure("appendonly", "no")
	doctor(t, url).ends(t, 1, `appendonly is no`)
	rdb.configure("appendonly", "yes")
	rdb.Set(t.Context(), "asynq:{updates}:paused", time.Now().Unix(), 0)
	doctor(t, url).ends(t, 1, `the queue updates is paused`)
	rdb.Del(t.Context(), "asynq:{updates}:paused")
	// A task whose key was lost, and not its place in the list.
	rdb.LPush(t.Context(), "asynq:{updates}:active", "gone")
	doctor(t, url).ends(t, 1, `PROBLEM +asynq: the queue updates cannot be read; to delete all keys asynq:\{updates\}:\* mends that`, `ok +namespace `+ns)
	rdb.deleteAll("asynq:{updates}:*")
	sound()

	// Without workers things stand still.
	worker.end(syscall.SIGTERM)
	now := rdb.Time(t.Context()).Val()
	rdb.ZAdd(t.Context(), P+"wake", redis.Z{Member: member, Score: float64(now.Add(-time.Minute).UnixMilli())})
	doctor(t, url).ends(t, 1, `no worker is running`, `no worker has taken what is due: 1 object, such as .*`+member)
	rdb.stop()
	doctor(t, url).ends(t, 3)
	doctor(t, url, "--namespace", "No").ends(t, 2, `--namespace`)
}

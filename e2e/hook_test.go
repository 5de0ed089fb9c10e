package e2e_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"drydock/model"
	"drydock/store"
)

// hookScript makes a lease ready. It writes down when it begins and ends, and for which fence; the first run of all waits in between
// until the test opens the gate.
const hookScript = `#!/bin/sh
if mkdir "$RECORD/first" 2>/dev/null; then first=yes; else first=no; fi
echo "begin $DRYDOCK_FENCE $DRYDOCK_IDEMPOTENCY_KEY" >>"$RECORD/runs"
if [ $first = yes ]; then read -r word <"$RECORD/gate"; fi
echo "end $DRYDOCK_FENCE $DRYDOCK_IDEMPOTENCY_KEY" >>"$RECORD/runs"
`

// hooked is a system whose one resource is made ready by the script for each lease. It has no worker yet.
type hooked struct {
	*client
	t       *testing.T
	redis   *testRedis
	url     string
	folder  string // of the script
	records string // where it writes
	gate    *os.File
}

func startHooked(t *testing.T) *hooked {
	t.Helper()
	server := startRedis(t)
	records, err := os.MkdirTemp(buildDir, "records") //nolint:usetesting // a script whose worker was killed may write when the test is over
	if err != nil {
		t.Fatal(err)
	}
	h := &hooked{t: t, redis: server, url: server.URL(), folder: t.TempDir(), records: records}
	script := filepath.Join(h.folder, "activate.sh")
	if err := os.WriteFile(script, []byte(hookScript), 0o700); err != nil {
		t.Fatal(err)
	}
	gate := filepath.Join(h.records, "gate")
	if err := syscall.Mkfifo(gate, 0o600); err != nil {
		t.Fatal(err)
	}
	// For reading too, so that nobody has to be at the other end.
	if h.gate, err = os.OpenFile(gate, os.O_RDWR, 0); err != nil {
		t.Fatal(err)
	}
	// Whatever happens, no script is left waiting.
	t.Cleanup(func() {
		h.openGate()
		_ = h.gate.Close()
	})
	h.client = newClient(t, startAPI(t, h.url, "--hook-folder", h.folder).url)
	body, _ := json.Marshal(map[string]any{"kind": "exec", "type": "host", "limit": 1, "config": map[string]any{
		"commands": map[string]any{"activate_lease": []string{script}}, "env": map[string]string{"RECORD": h.records},
	}})
	must[any](h.client, http.MethodPut, "/v1/blueprints/made", string(body), http.StatusCreated)
	return h
}

func (h *hooked) worker(args ...string) *process {
	h.t.Helper()
	return startWorker(h.t, h.url, append([]string{"--hook-folder", h.folder}, args...)...)
}

// openGate lets the first run of the script go on, whether it waits already or will.
func (h *hooked) openGate() {
	if _, err := h.gate.WriteString("go\n"); err != nil {
		h.t.Error(err)
	}
}

// runs returns what the script has written, a line each.
func (h *hooked) runs() []string {
	text, _ := os.ReadFile(filepath.Join(h.records, "runs"))
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

// awaitRuns waits until the script has written so many lines that begin with a word.
func (h *hooked) awaitRuns(word string, n int) []string {
	h.t.Helper()
	var found []string
	eventually(h.t, func() error {
		found = nil
		for _, line := range h.runs() {
			if rest, ok := strings.CutPrefix(line, word+" "); ok {
				found = append(found, rest)
			}
		}
		if len(found) < n {
			return fmt.Errorf("the hook has written %q, want %d that say %q", h.runs(), n, word)
		}
		return nil
	})
	return found
}

// checkAttempts checks that the first two runs of the hook were attempts at the same step, the second with a higher fence.
func (h *hooked) checkAttempts() {
	h.t.Helper()
	var fences [2]int
	var keys [2]string
	for i, run := range h.awaitRuns("begin", 2)[:2] {
		if _, err := fmt.Sscan(run, &fences[i], &keys[i]); err != nil {
			h.t.Fatal(err)
		}
	}
	if fences[1] <= fences[0] || keys[0] != keys[1] || keys[0] == "" {
		h.t.Errorf("the hook ran with the fences %v and the keys %q, want a higher fence and the same key the second time", fences, keys)
	}
}

// TestWorkerStoppedInAHook: a worker is stopped while its hook runs, for longer than its lock lasts. Others finish its work, the host
// goes to the next lease, and the hook has ended well when the worker goes on: it must write nothing. Scenarios 10, 23.
func TestWorkerStoppedInAHook(t *testing.T) {
	t.Parallel()
	h := startHooked(t)
	late := h.worker()
	l := h.ask(`, "owner": "first"`)
	h.awaitRuns("begin", 1)
	late.signal(syscall.SIGSTOP)
	h.worker()
	h.await(l.ID, "active")
	h.checkAttempts()
	h.release(l.ID)
	h.await(l.ID, "destroyed")
	next := h.ask(`, "owner": "next"`)
	before := h.await(next.ID, "active")
	if *h.lease(l.ID).Resource != *before.Resource {
		t.Fatalf("the next lease is on another resource: %+v", before)
	}
	logBefore := h.log(l.ID)

	h.openGate()
	h.awaitRuns("end", 3)
	late.signal(syscall.SIGCONT)
	late.says(`stale update stopped|lock (was |is )?lost|update failed`)
	if after := h.lease(next.ID); after.Status != "active" || *after.Resource != *before.Resource {
		t.Errorf("after the stopped worker went on, the next lease is %+v, want it active on %s", after, *before.Resource)
	}
	if got := h.log(l.ID); got != logBefore {
		t.Errorf("the stopped worker wrote to the lease:\n%s\nwas\n%s", got, logBefore)
	}
	h.release(next.ID)
	h.await(next.ID, "destroyed")
	verify(t, h.redis)
}

// log returns what happened to a lease, a line each.
func (h *hooked) log(id string) string {
	h.t.Helper()
	type entry struct {
		Event  string  `json:"event"`
		Text   string  `json:"text"`
		Worker *string `json:"worker"`
	}
	var b strings.Builder
	for _, e := range must[page[entry]](h.client, http.MethodGet, "/v1/leases/"+id+"/logs?limit=500", "", http.StatusOK).Items {
		fmt.Fprintf(&b, "%s: %s (%s)\n", e.Event, e.Text, deref(e.Worker))
	}
	return b.String()
}

// TestTwoHoldersOfOneLock: the lock's key is lost while a hook runs, so that a second run of the update takes the lock too, and the first
// still believes in it. The first must write nothing.
func TestTwoHoldersOfOneLock(t *testing.T) {
	t.Parallel()
	h := startHooked(t)
	// The first run asks after its lock in a third of this, when the test is over.
	const long = "30m"
	workers := []*process{h.worker("--lock-ttl", long), h.worker("--lock-ttl", long)}
	l := h.ask(`, "ttl": "1h"`)
	h.awaitRuns("begin", 1)
	if n, err := h.redis.Del(t.Context(), store.LockKey(model.LeaseRef(namespaceOf(t), l.ID))).Result(); err != nil || n != 1 {
		t.Fatalf("deleted %d locks (%v), want 1", n, err)
	}
	must[sent](h.client, http.MethodPost, "/v1/leases/"+l.ID+"/commands", `{"command": "extend", "args": {"ttl": "2h"}}`, http.StatusAccepted)
	h.await(l.ID, "active")
	h.checkAttempts()
	before := h.log(l.ID)

	h.openGate()
	h.awaitRuns("end", 2)
	eventually(t, func() error {
		for _, w := range workers {
			if strings.Contains(w.out.String(), "stale update stopped") {
				return nil
			}
		}
		return errors.New("no worker says that it stopped a stale update")
	})
	if got := h.log(l.ID); got != before {
		t.Errorf("the first holder wrote to the lease:\n%s\nwas\n%s", got, before)
	}
	if history := h.history(l.ID); len(history) != 1 || deref(history[0].Outcome) != "applied" {
		t.Errorf("the history is %+v, want the one extension, applied", history)
	}
	h.release(l.ID)
	h.await(l.ID, "destroyed")
	verify(t, h.redis)
}

// TestShutdownDoesNotWaitForAHook: SIGTERM comes while a hook runs that takes longer than the shutdown may. Another worker runs it anew.
func TestShutdownDoesNotWaitForAHook(t *testing.T) {
	t.Parallel()
	h := startHooked(t)
	leaving := h.worker("--shutdown-timeout", "500ms")
	l := h.ask("")
	h.awaitRuns("begin", 1)
	code, took := leaving.end(syscall.SIGTERM)
	if code != 0 || took > 10*time.Second {
		t.Errorf("SIGTERM ended the worker with exit code %d after %v, want 0 within its shutdown timeout of 500ms and a bit", code, took)
	}
	t.Logf("the worker stopped in %v", took)
	h.worker()
	h.await(l.ID, "active")
	h.checkAttempts()
	h.release(l.ID)
	h.await(l.ID, "destroyed")
	verify(t, h.redis)
}

// TestWorkerKilledInAHook: the worker is gone with SIGKILL while its hook runs. Scenario 22.
func TestWorkerKilledInAHook(t *testing.T) {
	t.Parallel()
	h := startHooked(t)
	doomed := h.worker()
	l := h.ask("")
	h.awaitRuns("begin", 1)
	// A release that comes in meanwhile waits for whoever takes the lease over.
	s := h.release(l.ID)
	doomed.kill()
	h.worker()
	h.await(l.ID, "destroyed")
	history := h.history(l.ID)
	if len(history) != 1 || history[0].ID != s.Command.ID || deref(history[0].Outcome) != "applied" {
		t.Errorf("the history is %+v, want the one release, applied", history)
	}
	verify(t, h.redis)
}

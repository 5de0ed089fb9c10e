package e2e_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
)

// TestSparesCarryATrace: those that a declaration leads to hang below the request that declared, all of them; one that is made later, in
// the place of one that was leased, hangs below the update that made it.
func TestSparesCarryATrace(t *testing.T) {
	t.Parallel()
	c, cl, script, record := startTraced(t)

	// told waits for so many runs of the hook and returns the traceparent of each.
	told := func(runs int) (parents []string) {
		t.Helper()
		eventually(t, func() error {
			text, err := os.ReadFile(record)
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
			parents = nil
			for line := range strings.Lines(string(text)) {
				parents = append(parents, strings.TrimSpace(strings.TrimPrefix(line, "activate ")))
			}
			if len(parents) < runs {
				return fmt.Errorf("the hook ran %d times, want %d", len(parents), runs)
			}
			return nil
		})
		return parents
	}
	hangsBelow := func(parent, trace, want, wantTop string) {
		t.Helper()
		parts := strings.Split(parent, "-")
		if len(parts) != 4 || trace != "" && parts[1] != trace {
			t.Errorf("a spare's hook was told %q, want the trace %s", parent, trace)
			return
		}
		eventually(t, func() error {
			if got, top := path(c.of(parts[1]), parts[2]); got != want || top != wantTop {
				return fmt.Errorf("a spare's hook hangs below %q, below %q; want %q, below %q", got, top, want, wantTop)
			}
			return nil
		})
	}

	const declaring, caller = "33333333333333333333333333333333", "00f067aa0ba902b7"
	body, _ := json.Marshal(map[string]any{"kind": "exec", "type": "host", "limit": 5, "min_idle": 2, "config": map[string]any{
		"commands": map[string]any{"activate": []string{script}}, "env": map[string]string{"RECORD": record},
	}})
	must[any](cl, http.MethodPut, "/v1/blueprints/made", string(body), http.StatusCreated, "traceparent", "00-"+declaring+"-"+caller+"-01")
	for _, parent := range told(2) {
		hangsBelow(parent, declaring, "hook activate < update resource < update blueprint < PUT /v1/blueprints/:name", caller)
	}

	l := must[lease](cl, http.MethodPost, "/v1/leases", `{"type": "host"}`, http.StatusAccepted)
	cl.await(l.ID, "active")
	later := told(3)[2]
	if strings.Contains(later, declaring) {
		t.Errorf("a spare that is made later was told %q, the trace of the declaration", later)
	}
	hangsBelow(later, "", "hook activate < update resource < update blueprint", "")
}

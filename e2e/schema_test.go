package e2e_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// TestNewerSchema: an object is stored in a form that only a newer Drydock knows. Nobody touches it, the API says so, all others go on, and once it
// is in a known form again, so does it.
func TestNewerSchema(t *testing.T) {
	t.Parallel()
	c, rdb, worker := system(t, 3)
	key := func(kind, id string) string { return fmt.Sprintf("drydock:{%s}:%s:%s", namespaceOf(t), kind, id) }
	life := func() {
		t.Helper()
		l := c.ask("")
		c.await(l.ID, "active")
		c.release(l.ID)
		c.await(l.ID, "destroyed")
	}
	life()
	newer := c.ask(`, "ttl": "1s"`) // its end makes a worker look at it
	taken := *c.await(newer.ID, "active").Resource

	setSchema(t, rdb, key("lease", newer.ID), 2)
	must[any](c, http.MethodPost, "/v1/leases/"+newer.ID+"/release", "", http.StatusInternalServerError)
	worker.says(`update failed.*object=` + namespaceOf(t) + `/lease/` + newer.ID + `.*schema version`)
	for _, path := range []string{"/v1/leases/" + newer.ID, "/v1/leases"} {
		p := must[problem](c, http.MethodGet, path, "", http.StatusInternalServerError)
		if p.Code != "internal" || !strings.Contains(p.Detail, "A newer Drydock has written") {
			t.Errorf("GET %s = %+v, want that a newer Drydock has written it", path, p)
		}
	}
	life()
	setSchema(t, rdb, key("lease", newer.ID), 1)
	c.await(newer.ID, "destroyed")
	if history := c.history(newer.ID); len(history) != 1 || history[0].Author != "drydock" || deref(history[0].Outcome) != "applied" {
		t.Errorf("the history is %+v, want the release at its end alone: the one that was sent was refused", history)
	}

	// A free resource that nobody can read is one fewer.
	setSchema(t, rdb, key("resource", taken), 2)
	life()
	life()
	setSchema(t, rdb, key("resource", taken), 1)
	var all []lease
	for range 3 {
		all = append(all, c.ask(""))
	}
	for _, l := range all {
		c.await(l.ID, "active")
	}
	verify(t, rdb)
}

func setSchema(t *testing.T, rdb *testRedis, key string, version int) {
	t.Helper()
	if n, err := rdb.HSet(t.Context(), key, "schema", version).Result(); err != nil || n != 0 {
		t.Fatalf("HSET %s schema = %d, %v, want a field that was there", key, n, err)
	}
}

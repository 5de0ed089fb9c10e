package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"drydock/model"
)

func (e *env) record(rev int, created, updated time.Duration, first, rest string) string {
	return fmt.Sprintf(`{"rev":%d,"created_ms":%s,"first":"%s","token":"<id>","updated_ms":%s,%s`, rev, at(created), first, at(updated), rest)
}

func TestPutBlueprint(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.lease("l1", model.NewLease{})
	e.lease("l2", model.NewLease{})
	e.lease("w1", model.NewLease{Attributes: map[string]string{"os": "windows"}})
	e.lease("g1", model.NewLease{Type: "gpu"})
	b := &model.Blueprint{
		Namespace: e.ns, Name: "lab", Kind: "pool", Type: "host", Limit: 3, Enabled: true, Config: json.RawMessage(`{"hosts": [1.0]}`),
	}
	before := e.dump()
	stored, created, wake, err := e.PutBlueprint(e.ctx, b, model.Condition{})
	e.must(err)
	rest := `"kind":"pool","type":"host","limit":3,"enabled":true,"config":{"hosts":[1.0]}}`
	e.wantChanges(before, expect{
		"blueprints lab": e.record(1, 0, 0, "<id>", rest), "blueprints:rev": "1", "blueprints:revs lab": "1",
		// The first of each shape may find what it needs now.
		"lease:l1 woken": "1", "wake lease:l1": visible, "lease:w1 woken": "1", "wake lease:w1": visible,
		// Its own update tells its resources.
		"blueprint:lab schema": "1", "blueprint:lab status": "declared", "blueprint:lab type": "host", "blueprint:lab min_idle": "0",
		"blueprint:lab version": "0", "blueprint:lab fence": "0", "blueprint:lab woken": "1", "wake blueprint:lab": visible,
	})
	e.wantRefs(wake, "blueprint:lab", "lease:l1", "lease:w1")
	want := *b
	want.Rev, want.CreatedAt, want.UpdatedAt = 1, start, start
	want.Config = json.RawMessage(`{"hosts":[1.0]}`)
	if diff := cmp.Diff(&want, stored); diff != "" || !created {
		t.Errorf("created %t, stored (-want +got):\n%s", created, diff)
	}

	// Declared anew, with another kind: nothing speaks against it, there are no resources.
	e.clock.advance(time.Second)
	b.Kind, b.Enabled, b.Config = "other", false, nil
	before = e.dump()
	stored, created, wake, err = e.PutBlueprint(e.ctx, b, model.Condition{})
	e.must(err)
	e.wantChanges(before, expect{
		"blueprints lab": e.record(2, 0, time.Second, "<id>", `"kind":"other","type":"host","limit":3,"enabled":false,"config":{}}`),
		"blueprints:rev": "2", "blueprints:revs lab": "2",
	})
	e.wantRefs(wake)
	if created || stored.Rev != 2 || stored.Kind != "other" || !stored.CreatedAt.Equal(start) || !stored.UpdatedAt.Equal(start.Add(time.Second)) {
		t.Errorf("created %t, stored %+v, want the second revision", created, stored)
	}
	read, err := e.Blueprint(e.ctx, e.ns, "lab")
	if diff := cmp.Diff(stored, read); diff != "" || err != nil {
		t.Errorf("read: %v (-stored +read):\n%s", err, diff)
	}
	if rev, err := e.BlueprintsRev(e.ctx, e.ns); rev != 2 || err != nil {
		t.Errorf("BlueprintsRev = %d, %v, want 2", rev, err)
	}
}

func TestPutBlueprintKeepsKindAndTypeOfItsResources(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.resource("r1", spec{})
	e.lease("l1", model.NewLease{})
	for _, b := range []*model.Blueprint{
		{Namespace: e.ns, Name: bp, Kind: "other", Type: "host"},
		{Namespace: e.ns, Name: bp, Kind: "pool", Type: "gpu"},
	} {
		e.wantNoChange(func() {
			stored, created, wake, err := e.PutBlueprint(e.ctx, b, model.Condition{})
			if kindOf(err) != model.ErrorConflict || stored != nil || created || len(wake) > 0 {
				t.Errorf("put %s/%s: %v, %t, %v, %v, want a conflict", b.Kind, b.Type, stored, created, wake, err)
			}
		})
	}
	if _, created, _, err := e.PutBlueprint(e.ctx, &model.Blueprint{Namespace: e.ns, Name: bp, Kind: "pool", Type: "host", Limit: 9}, model.Condition{}); err != nil || created {
		t.Errorf("another limit: created %t, %v", created, err)
	}
}

func TestDeleteBlueprint(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.putBlueprint("other", 0)
	r := e.resource("r1", spec{state: model.ResourceReleased})
	e.wantNoChange(func() {
		if _, err := e.DeleteBlueprint(e.ctx, e.ns, bp); kindOf(err) != model.ErrorConflict {
			t.Errorf("while it has a resource: %v, want a conflict", err)
		}
	})
	e.wantNoChange(func() {
		if _, err := e.DeleteBlueprint(e.ctx, e.ns, "nobody"); !errors.Is(err, model.ErrBlueprintNotFound) {
			t.Errorf("of nobody: %v, want %v", err, model.ErrBlueprintNotFound)
		}
	})
	e.applyResource(e.claim(r), ResourceStep{Path: []model.ResourceState{model.ResourceDestroyed}})
	before := e.dump()
	e.deleteBlueprint(bp)
	e.wantChanges(before, expect{
		"blueprints lab": gone, "blueprints:revs lab": gone, "blueprints:rev": "3", "done:<id> (expires)": "host",
		"blueprint:lab schema": gone, "blueprint:lab status": gone, "blueprint:lab type": gone, "blueprint:lab min_idle": gone,
		"blueprint:lab version": gone, "blueprint:lab fence": gone, "blueprint:lab woken": gone, "wake blueprint:lab": gone,
	})
	if _, err := e.Blueprint(e.ctx, e.ns, bp); !errors.Is(err, model.ErrBlueprintNotFound) {
		t.Errorf("read after it: %v, want %v", err, model.ErrBlueprintNotFound)
	}
	if _, created, _, err := e.PutBlueprint(e.ctx, &model.Blueprint{Namespace: e.ns, Name: bp, Kind: "pool", Type: "host"}, model.Condition{}); !created || err != nil {
		t.Errorf("declared again: created %t, %v", created, err)
	}
}

func TestBlueprints(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	if list, err := e.Blueprints(e.ctx, e.ns); list == nil || len(list) > 0 || err != nil {
		t.Errorf("Blueprints of nowhere = %v, %v, want none", list, err)
	}
	if rev, err := e.BlueprintsRev(e.ctx, e.ns); rev != 0 || err != nil {
		t.Errorf("BlueprintsRev of nowhere = %d, %v, want 0", rev, err)
	}
	for _, name := range []string{"c", "a", "b.1", "b"} {
		e.putBlueprint(name, 0)
	}
	list, err := e.Blueprints(e.ctx, e.ns)
	e.must(err)
	var names []string
	for _, b := range list {
		names = append(names, b.Name)
	}
	if diff := cmp.Diff([]string{"a", "b", "b.1", "c"}, names); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	e.must(e.rdb.HSet(e.ctx, blueprintsKey(e.ns), "b", "{").Err())
	if _, err := e.Blueprints(e.ctx, e.ns); kindOf(err) != model.ErrorInternal {
		t.Errorf("with an unreadable record: %v, want an internal error", err)
	}
	if _, err := e.Blueprint(e.ctx, e.ns, "b"); kindOf(err) != model.ErrorInternal {
		t.Errorf("an unreadable record: %v, want an internal error", err)
	}
}

func TestNamespaces(t *testing.T) {
	t.Parallel()
	e, other := newEnv(t), newEnv(t)
	e.putBlueprint(bp, 0)
	other.createLease("l1", model.NewLease{})
	names, err := e.Namespaces(e.ctx)
	e.must(err)
	found := 0
	for _, n := range names {
		if n == e.ns || n == other.ns {
			found++
		}
	}
	if found != 2 {
		t.Errorf("%d of the 2 namespaces are known", found)
	}
}

// TestEveryShapeIsWoken: a declaration and the end of a resource may help anybody, so they wake the first of every shape, however many
// shapes there are; of each shape, only the first.
func TestEveryShapeIsWoken(t *testing.T) {
	t.Parallel()
	for name, event := range map[string]func(e *env, c *Claim) []model.Ref{
		"declaration": func(e *env, _ *Claim) []model.Ref {
			_, _, wake, err := e.PutBlueprint(e.ctx, &model.Blueprint{Namespace: e.ns, Name: "other", Kind: "pool", Type: "host", Enabled: true}, model.Condition{})
			e.must(err)
			return wake
		},
		"end of a resource": func(e *env, c *Claim) []model.Ref {
			return e.applyResource(c, ResourceStep{Path: []model.ResourceState{model.ResourceReleased, model.ResourceDestroyed}}).Wake
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t)
			c := e.claim(e.resource("r1", spec{}))
			const n = 2*wakeShapes + 1
			want := make([]string, 0, n)
			for i := range n {
				rack := model.NewLease{Attributes: map[string]string{"rack": fmt.Sprint(i)}}
				first, second := fmt.Sprintf("a%03d", i), fmt.Sprintf("b%03d", i)
				for _, id := range []string{first, second} {
					// A claim takes note that the lease was woken for having come.
					e.claim(e.lease(id, rack))
				}
				want = append(want, "lease:"+first)
			}
			wake := event(e, c)
			var got []string
			for _, ref := range wake {
				if ref.Kind == model.KindLease {
					got = append(got, ref.Member())
				}
			}
			slices.Sort(got)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("woken (-want +got):\n%s", diff)
			}
		})
	}
}

package store

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"drydock/model"
)

// leasesBy reads all pages of a filter and returns the ids.
func (e *env) leasesBy(f model.LeaseFilter) (ids []string, pages int) {
	e.Helper()
	for {
		page, err := e.Leases(e.ctx, e.ns, f)
		e.must(err)
		pages++
		if f.Limit > 0 && len(page.Items) > f.Limit {
			e.Fatalf("a page of %d, the limit is %d", len(page.Items), f.Limit)
		}
		for _, l := range page.Items {
			ids = append(ids, l.ID)
		}
		if page.Next == "" {
			return ids, pages
		}
		f.After = page.Next
	}
}

func (e *env) resourcesBy(f model.ResourceFilter) (ids []string) {
	e.Helper()
	for {
		page, err := e.Resources(e.ctx, e.ns, f)
		e.must(err)
		for _, r := range page.Items {
			ids = append(ids, r.ID)
		}
		if page.Next == "" {
			return ids
		}
		f.After = page.Next
	}
}

func TestLeasesNewestFirst(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	page, err := e.Leases(e.ctx, e.ns, model.LeaseFilter{})
	if diff := cmp.Diff(model.Page[*model.Lease]{Items: []*model.Lease{}}, page); diff != "" || err != nil {
		t.Errorf("of nobody: %v (-want +got):\n%s", err, diff)
	}
	const n = 123
	var want []string
	for range n {
		id := model.NewID()
		want = append(want, id)
		e.createLease(id, model.NewLease{})
	}
	slices.Reverse(want)
	for _, tt := range []struct{ limit, pages int }{{0, 3}, {1, n}, {7, 18}, {n - 1, 2}, {n, 1}, {n + 1, 1}, {500, 1}} {
		got, pages := e.leasesBy(model.LeaseFilter{Limit: tt.limit})
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("limit %d (-want +got):\n%s", tt.limit, diff)
		}
		if pages != tt.pages {
			t.Errorf("limit %d: %d pages, want %d", tt.limit, pages, tt.pages)
		}
	}
	// A cursor stays good when its object has gone from the listing, and when newer ones came.
	first, err := e.Leases(e.ctx, e.ns, model.LeaseFilter{Status: model.LeasePending, Limit: 10})
	e.must(err)
	for _, l := range first.Items {
		e.applyLease(e.claim(l.Ref), LeaseStep{Path: []model.LeaseState{model.LeaseReleased, model.LeaseDestroyed}})
	}
	e.createLease(model.NewID(), model.NewLease{})
	rest, _ := e.leasesBy(model.LeaseFilter{Status: model.LeasePending, Limit: 10, After: first.Next})
	if diff := cmp.Diff(want[10:], rest); diff != "" {
		t.Errorf("the pages after the first (-want +got):\n%s", diff)
	}
	last, err := e.Leases(e.ctx, e.ns, model.LeaseFilter{Limit: 1, After: want[n-1]})
	if len(last.Items) > 0 || last.Next != "" || err != nil {
		t.Errorf("after the last: %+v, %v, want nothing", last, err)
	}
}

// TestLeasesFilters tries every combination of filters against what they say.
func TestLeasesFilters(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	var all []*model.Lease
	for i, res := range []string{"r0", "r1"} {
		e.resource(res, spec{capacity: 100})
		for j := range 12 {
			id := fmt.Sprintf("l%d-%02d", i, j)
			ref := e.lease(id, model.NewLease{Type: []string{"host", "gpu"}[j%2], Owner: []string{"ada", "bob", ""}[j%3]})
			if j < 6 {
				e.acquire(ref, res)
			}
			if j%4 == 0 {
				e.applyLease(e.claim(ref), LeaseStep{Path: []model.LeaseState{model.LeaseReleased, model.LeaseDestroyed}})
			}
			l, err := e.Lease(e.ctx, e.ns, id)
			e.must(err)
			all = append(all, l)
		}
	}
	// Their makers are leases too.
	for _, id := range []string{"maker-r0", "maker-r1"} {
		l, err := e.Lease(e.ctx, e.ns, id)
		e.must(err)
		all = append(all, l)
	}
	slices.Reverse(all)
	slices.SortFunc(all, func(a, b *model.Lease) int { return -cmpStrings(a.ID, b.ID) })

	seen := map[int]bool{}
	for _, status := range append(model.LeaseStates(), "") {
		for _, typ := range []string{"", "host", "gpu", "none"} {
			for _, owner := range []string{"", "ada", "bob", "nobody"} {
				for _, res := range []string{"", "r0", "r1", "r9"} {
					f := model.LeaseFilter{Status: status, Type: typ, Owner: owner, Resource: res, Limit: 3}
					var want []string
					for _, l := range all {
						if (status == "" || l.Status == status) && (typ == "" || l.Type == typ) && (owner == "" || l.Owner == owner) &&
							(res == "" || l.Resource == res) {
							want = append(want, l.ID)
						}
					}
					seen[len(want)] = true
					if got, _ := e.leasesBy(f); !slices.Equal(want, got) {
						t.Errorf("%+v = %v, want %v", f, got, want)
					}
				}
			}
		}
	}
	if len(seen) < 8 {
		t.Errorf("the filters select %d different numbers of leases: too few to tell them apart", len(seen))
	}
}

func cmpStrings(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func TestResourcesFilters(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	for _, b := range []*model.Blueprint{
		{Namespace: e.ns, Name: bp, Kind: "pool", Type: "host"}, {Namespace: e.ns, Name: "gpus", Kind: "pool", Type: "gpu"},
	} {
		_, _, _, err := e.PutBlueprint(e.ctx, b, model.Condition{})
		e.must(err)
	}
	var all []*model.Resource
	for i, state := range slices.Concat(model.ResourceStates(), model.ResourceStates(), model.ResourceStates()) {
		id := fmt.Sprintf("r%02d", i)
		name := []string{bp, "gpus"}[i%2]
		if name == "gpus" {
			e.createLease("for-"+id, model.NewLease{Type: "gpu"})
			e.resource(id, spec{state: state, blueprint: name, forLease: "for-" + id})
		} else {
			e.resource(id, spec{state: state, blueprint: name})
		}
		r, err := e.Resource(e.ctx, e.ns, id)
		e.must(err)
		all = append(all, r)
	}
	slices.Reverse(all)
	for _, status := range append(model.ResourceStates(), "") {
		for _, typ := range []string{"", "host", "gpu", "none"} {
			for _, blueprint := range []string{"", bp, "gpus", "nobody"} {
				var want []string
				for _, r := range all {
					if (status == "" || r.Status == status) && (typ == "" || r.Type == typ) && (blueprint == "" || r.Blueprint == blueprint) {
						want = append(want, r.ID)
					}
				}
				f := model.ResourceFilter{Status: status, Type: typ, Blueprint: blueprint, Limit: 2}
				if got := e.resourcesBy(f); !slices.Equal(want, got) {
					t.Errorf("%+v = %v, want %v", f, got, want)
				}
			}
		}
	}
}

// TestListingIsBounded: a filter that selects little out of much gives short pages rather than long reads, and loses nothing.
func TestListingIsBounded(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	const n = scanBudget + 200
	e.createLease("a0000", model.NewLease{Type: "gpu", Owner: "ada"})
	for i := range n {
		e.createLease(fmt.Sprintf("b%04d", i), model.NewLease{Owner: "ada"})
	}
	// So that neither index is of much help.
	e.must(e.rdb.ZAdd(e.ctx, byKey(e.ns, model.KindLease, "type", "gpu"), manyIDs(n+100)...).Err())
	e.createLease("c0000", model.NewLease{Type: "gpu", Owner: "ada"})
	f := model.LeaseFilter{Type: "gpu", Owner: "ada", Limit: 2}
	first, err := e.Leases(e.ctx, e.ns, f)
	e.must(err)
	if len(first.Items) != 1 || first.Items[0].ID != "c0000" || first.Next == "" {
		t.Fatalf("first page = %d items, next %q, want c0000 alone and a next page", len(first.Items), first.Next)
	}
	f.After = first.Next
	second, err := e.Leases(e.ctx, e.ns, f)
	e.must(err)
	if len(second.Items) != 1 || second.Items[0].ID != "a0000" || second.Next != "" {
		t.Errorf("second page = %+v, want a0000 alone and the end", second)
	}
}

// TestListingPassesOverWhatIsGone: an index may name an object that somebody deleted by hand.
func TestListingPassesOverWhatIsGone(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	for _, id := range []string{"l1", "l2", "l3"} {
		e.createLease(id, model.NewLease{})
	}
	e.must(e.rdb.Del(e.ctx, objectKey(e.leaseRef("l2"))).Err())
	for limit := 1; limit <= 3; limit++ {
		if got, _ := e.leasesBy(model.LeaseFilter{Limit: limit}); !slices.Equal(got, []string{"l3", "l1"}) {
			t.Errorf("limit %d: %v, want l3 and l1", limit, got)
		}
	}
}

func TestPositionsInTheQueue(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	for _, x := range []struct {
		id       string
		typ      string
		priority int
	}{{"l1", "host", 0}, {"l2", "host", 1}, {"g1", "gpu", 0}, {"l0", "host", 0}, {"l3", "host", -1}} {
		e.createLease(x.id, model.NewLease{Type: x.typ, Priority: x.priority})
	}
	e.clock.advance(time.Second)
	e.createLease("l4", model.NewLease{})
	e.leaseIn("active", model.LeaseActive)
	page, err := e.Leases(e.ctx, e.ns, model.LeaseFilter{})
	e.must(err)
	got := map[string]int64{}
	for _, l := range page.Items {
		if l.Waiting != nil {
			got[l.ID] = l.Waiting.Position
			one, err := e.Lease(e.ctx, e.ns, l.ID)
			if err != nil || one.Waiting.Position != l.Waiting.Position {
				t.Errorf("%s read alone = %+v, %v, want position %d", l.ID, one, err, l.Waiting.Position)
			}
		}
	}
	want := map[string]int64{"l2": 1, "l0": 2, "l1": 3, "l4": 4, "l3": 5, "g1": 1}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("positions (-want +got):\n%s", diff)
	}
}

// TestListByTheSmallestIndex: one live lease of an owner with a long past is found on the first page, however many are gone.
func TestListByTheSmallestIndex(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.resource("r1", spec{capacity: 3})
	e.acquire(e.lease("a-live", model.NewLease{Owner: "old hand"}), "r1")
	e.must(e.rdb.ZAdd(e.ctx, byKey(e.ns, model.KindLease, "owner", "old hand"), manyIDs(scanBudget+500)...).Err())
	page, err := e.Leases(e.ctx, e.ns, model.LeaseFilter{Owner: "old hand", Status: model.LeaseAcquired})
	e.must(err)
	if len(page.Items) != 1 || page.Items[0].ID != "a-live" || page.Next != "" {
		t.Errorf("page = %d leases, next %q, want the one and no more", len(page.Items), page.Next)
	}
}

// manyIDs are members of an index, of objects that do not exist.
func manyIDs(n int) []redis.Z {
	list := make([]redis.Z, n)
	for i := range list {
		list[i].Member = fmt.Sprintf("gone-%06d", i)
	}
	return list
}

package model_test

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"drydock/model"
)

func TestIDsSortByCreation(t *testing.T) {
	t.Parallel()
	ids := make([]string, 20_000)
	for i := range ids {
		ids[i] = model.NewID()
		if !model.ValidID(ids[i]) {
			t.Fatalf("NewID() = %q, which is not valid", ids[i])
		}
	}
	if !slices.IsSorted(ids) || len(slices.Compact(slices.Clone(ids))) != len(ids) {
		t.Error("ids of one process do not rise strictly")
	}
}

// TestIDsAreUniqueUnderConcurrency also wants each goroutine's own ids to rise.
func TestIDsAreUniqueUnderConcurrency(t *testing.T) {
	t.Parallel()
	const goroutines, each = 8, 5_000
	lists := make([][]string, goroutines)
	var wg sync.WaitGroup
	for g := range lists {
		wg.Go(func() {
			for range each {
				lists[g] = append(lists[g], model.NewID())
			}
		})
	}
	wg.Wait()
	seen := map[string]bool{}
	for g, ids := range lists {
		if !slices.IsSorted(ids) {
			t.Errorf("ids of goroutine %d do not rise", g)
		}
		for _, id := range ids {
			seen[id] = true
		}
	}
	if len(seen) != goroutines*each {
		t.Errorf("%d different ids, want %d", len(seen), goroutines*each)
	}
}

func TestValidID(t *testing.T) {
	t.Parallel()
	id := model.NewID()
	for _, bad := range []string{
		"", id[1:], id + "0", strings.ToUpper(id), strings.Repeat("w", model.IDLength), id[:25] + ":", id[:25] + "/", id[:25] + "\x00",
		id[:24] + "é", id[:25] + " ", id[:25] + "`", id[:25] + "}",
	} {
		if model.ValidID(bad) && bad != id {
			t.Errorf("ValidID(%q) = true", bad)
		}
	}
	for _, ok := range []string{id, strings.Repeat("0", model.IDLength), strings.Repeat("v", model.IDLength)} {
		if !model.ValidID(ok) {
			t.Errorf("ValidID(%q) = false", ok)
		}
	}
}

func TestWritersAreUnique(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 10_000 {
		w := model.NewWriter()
		if seen[w] || len(w) < 20 || strings.ContainsAny(w, " :{}") {
			t.Fatalf("NewWriter() = %q, seen before: %t", w, seen[w])
		}
		seen[w] = true
	}
}

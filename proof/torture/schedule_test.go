//go:build unix

package torture

import (
	"os"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestSameSeedSameSchedule: the schedule of a seed is the same each time, and that of another seed is another one.
func TestSameSeedSameSchedule(t *testing.T) {
	t.Parallel()
	first := Plan(7, Faults(), 30*time.Second)
	if len(first) < len(Faults()) {
		t.Fatalf("the plan has %d events", len(first))
	}
	if diff := cmp.Diff(first, Plan(7, Faults(), 30*time.Second)); diff != "" {
		t.Errorf("seed 7 gives two schedules:\n%s", diff)
	}
	shuffled := slices.Clone(Faults())
	slices.Reverse(shuffled)
	if diff := cmp.Diff(first, Plan(7, shuffled, 30*time.Second)); diff != "" {
		t.Errorf("the order in which faults are named changes the schedule:\n%s", diff)
	}
	if cmp.Equal(first, Plan(8, Faults(), 30*time.Second)) {
		t.Error("seeds 7 and 8 give the same schedule")
	}
	// A known one, so that another version does not silently run something else for a seed that found something.
	if got, want := first[0].String(), firstOfSeed7; got != want {
		t.Errorf("the schedule of seed 7 begins with %q, want %q", got, want)
	}
}

const firstOfSeed7 = "  0.515s flush-scripts   for 0.000s pick 162"

func TestPlanKeepsWithinTheRun(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		const duration = 5 * time.Second
		for _, fault := range slices.Concat(Faults(), Failovers()) {
			plan := Plan(seed, []Fault{fault}, duration)
			if len(plan) == 0 {
				t.Errorf("seed %d: %s never happens within %v", seed, fault, duration)
			}
			for i, e := range plan {
				if e.Fault != fault || e.At < 0 || e.At+e.For > duration || i > 0 && e.At < plan[i-1].At {
					t.Errorf("seed %d: %v", seed, e)
				}
				if fault == Stop && e.For <= lockTTL {
					t.Errorf("seed %d: a worker is stopped for %v, no longer than its locks last: %v", seed, e.For, lockTTL)
				}
			}
		}
	}
	if plan := Plan(1, nil, time.Minute); len(plan) > 0 {
		t.Errorf("the plan without faults is %v", plan)
	}
}

func TestParseFaults(t *testing.T) {
	t.Parallel()
	for given, want := range map[string][]Fault{
		"": Faults(), "all": Faults(), "none": nil, "stop": {Stop}, "kill-redis,stop": {KillRedis, Stop},
		"failover": {FailOver}, "kill-worker,failover-split": {KillWorker, FailOverSplit},
	} {
		if got, err := ParseFaults(given); err != nil || !slices.Equal(got, want) {
			t.Errorf("ParseFaults(%q) = %q, %v, want %q", given, got, err, want)
		}
	}
	for _, given := range []string{"stopp", "stop,", ",", "Stop", "stop kill-redis", "failover,cut", "kill-redis,failover-split"} {
		if got, err := ParseFaults(given); err == nil {
			t.Errorf("ParseFaults(%q) = %q, want an error", given, got)
		}
	}
}

// TestEveryFaultIsExplained: the page for readers names each fault.
func TestEveryFaultIsExplained(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/correctness.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range slices.Concat(Faults(), Failovers()) {
		if row := regexp.MustCompile("(?m)^\\|.* ?`" + string(fault) + "`.*\\|.+\\|$"); !row.Match(page) {
			t.Errorf("docs/correctness.md has no row for %s", fault)
		}
	}
}

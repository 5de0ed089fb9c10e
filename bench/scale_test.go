package bench

import (
	"math"
	"testing"
	"time"
)

// TestSimulateMatchesTheory: the load, an idle system and an overloaded one are known without a simulation.
func TestSimulateMatchesTheory(t *testing.T) {
	t.Parallel()
	costs := Costs{Redis: 400 * time.Microsecond, Worker: 200 * time.Microsecond}
	site := Site{Primaries: 1, WorkerCores: 100, Namespaces: 1}
	idle := Simulate(site, costs, 1, 1)
	if idle.P50.Round(time.Microsecond) != 300*time.Microsecond {
		t.Errorf("p50 of an idle system is %v, want the two services, 300µs", idle.P50)
	}
	for _, load := range []float64{0.3, 0.6, 0.9} {
		out := Simulate(site, costs, load/costs.Redis.Seconds(), 1)
		if math.Abs(out.Redis-load) > 0.03 {
			t.Errorf("load %.2f at %.2f", out.Redis, load)
		}
		if math.Abs(out.Workers-load*200/400/100) > 0.001 {
			t.Errorf("workers %.4f at %.2f", out.Workers, load)
		}
	}
	if out := Simulate(site, costs, 1.2/costs.Redis.Seconds(), 1); out.P99 < time.Second {
		t.Errorf("p99 %v beyond saturation, want that it grows without bound", out.P99)
	}
	if a, b := Simulate(site, costs, 1000, 7), Simulate(site, costs, 1000, 7); a != b {
		t.Errorf("the same seed gave %+v and %+v", a, b)
	}
}

// TestCapacity: what saturates first decides, and twice as much of it carries twice as much.
func TestCapacity(t *testing.T) {
	t.Parallel()
	costs := Costs{Redis: 400 * time.Microsecond, Worker: 400 * time.Microsecond}
	one, at := Capacity(Site{Primaries: 1, WorkerCores: 4, Namespaces: 1}, costs, 1)
	if one < 2000 || one > 2550 || at.Redis < 0.9 || at.P99 > Bound {
		t.Errorf("one primary carries %.0f/s at %+v, want near its 2500/s", one, at)
	}
	starved, at := Capacity(Site{Primaries: 1, WorkerCores: 1, Namespaces: 1}, Costs{Redis: 400 * time.Microsecond, Worker: 800 * time.Microsecond}, 1)
	if starved < 1000 || starved > 1250 || at.Workers < 0.9 {
		t.Errorf("one core of workers carries %.0f/s at %+v, want near its 1250/s", starved, at)
	}
	many, _ := Capacity(Site{Primaries: 10, WorkerCores: 40, Namespaces: 100_000}, costs, 1)
	if many < 8*one {
		t.Errorf("ten primaries carry %.0f/s, one %.0f/s", many, one)
	}
}

func TestMedianAndPercentile(t *testing.T) {
	t.Parallel()
	if got := median([]float64{3, 1, 2}); got != 2 {
		t.Errorf("median of three = %v", got)
	}
	if got := median([]float64{4, 1, 2, 3}); got != 2.5 {
		t.Errorf("median of four = %v", got)
	}
	sorted := []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	for share, want := range map[float64]int{0: 1, 0.5: 5, 0.95: 10, 0.9: 9, 1: 10} {
		if got := percentile(sorted, share); got != want {
			t.Errorf("percentile %v = %d, want %d", share, got, want)
		}
	}
	if median(nil) != 0 || percentile[int](nil, 0.5) != 0 {
		t.Error("of nothing there is nothing")
	}
}

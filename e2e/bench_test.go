package e2e_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"drydock/bench"
)

// TestBenchDoesWhatItMeasures runs every rung once, small: each checks its effects by itself. The figures are nobody's business here.
func TestBenchDoesWhatItMeasures(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "report.json")
	cmd := exec.CommandContext(t.Context(), binary(t), "bench", "--rounds", "1", "--count", "150", "--json", file)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("drydock bench: %v\n%s", err, out)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var report bench.Report
	if err := json.Unmarshal(text, &report); err != nil {
		t.Fatal(err)
	}
	var measured []string
	for _, r := range report.Rungs {
		measured = append(measured, r.Name)
		if r.Median.Operations == 0 || len(r.Rounds) != 1 {
			t.Errorf("rung %s: %+v, want one round with operations", r.Name, r)
		}
		if !strings.Contains(string(out), r.Name) {
			t.Errorf("the table does not show %s:\n%s", r.Name, out)
		}
	}
	want := slices.DeleteFunc(bench.Rungs(), func(name string) bool { return strings.Contains(name, "recovery") })
	if !slices.Equal(measured, want) || len(report.Ratios) == 0 {
		t.Errorf("measured %v and %d ratios, want %v and some", measured, len(report.Ratios), want)
	}
}

// TestBenchGrowthDoesWhatItMeasures is the same for what grows.
func TestBenchGrowthDoesWhatItMeasures(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "report.json")
	cmd := exec.CommandContext(t.Context(), binary(t), "bench", "--growth", "--objects", "10", "--objects", "20", "--pools", "2",
		"--waiters", "3", "--waiters", "6", "--live", "5", "--repetitions", "3", "--json", file)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("drydock bench --growth: %v\n%s", err, out)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var report bench.GrowthReport
	if err := json.Unmarshal(text, &report); err != nil {
		t.Fatal(err)
	}
	if len(report.Series) != 3 || !slices.Equal(report.Series[0].Sizes, []int{10, 20}) || !slices.Equal(report.Series[2].Sizes, []int{3, 6}) {
		t.Errorf("report %+v, want three series of the sizes asked for", report)
	}
}

// TestBenchRefuses: what makes no sense is refused before anything is started.
func TestBenchRefuses(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"--rung", "sideways"}, {"--rounds", "0"}, {"--count", "-1"}, {"--appendfsync", "sometimes"}, {"surplus"}} {
		out, err := exec.CommandContext(t.Context(), binary(t), append([]string{"bench"}, args...)...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), args[len(args)-1]) {
			t.Errorf("bench %v: %v, %s, want an error that names it", args, err, out)
		}
	}
}

//go:build unix

package torture

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9/logging"
)

var (
	seedFlag   = flag.Uint64("seed", 0, "seed of the faults; 0 takes one from the clock, and prints it")
	forFlag    = flag.Duration("for", 0, "how long TestTorture goes on, in rounds with the seeds seed, seed+1, …; default one short round")
	faultsFlag = flag.String("faults", "all", "faults that TestTorture injects, such as stop,kill-redis; all, or none")
	levelFlag  = flag.String("durability", "memory", "the API's --durability in TestTorture; replicas:1 needs a failover among the faults")
	roundFlag  = flag.Duration("round", 20*time.Second, "how long faults go on in each round before the history is checked")
)

// programs builds drydock and the hook, once for all tests.
var programs = sync.OnceValues(func() (dir string, err error) { return buildDir, build(buildDir) })

// build builds them into a folder. The hook is built without the race detector, whose programs take a second to end.
func build(dir string, flags ...string) error {
	run := func(args ...string) error {
		if text, err := exec.Command("go", append([]string{"build", "-o"}, args...)...).CombinedOutput(); err != nil {
			return fmt.Errorf("go build %q: %w\n%s", args, err, text)
		}
		return nil
	}
	return errors.Join(
		run(slices.Concat([]string{filepath.Join(dir, "drydock")}, buildFlags, flags, []string{"drydock/cmd/drydock"})...),
		run(filepath.Join(dir, "hooks", "hook"), "drydock/proof/torture/hook"),
	)
}

var buildDir string

func TestMain(m *testing.M) {
	logging.Disable() // a Redis that is away would fill the screen
	var err error
	if buildDir, err = os.MkdirTemp("", "drydock-torture"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(buildDir)
	os.Exit(code)
}

func seed() uint64 {
	if *seedFlag != 0 {
		return *seedFlag
	}
	return uint64(time.Now().UnixMilli()) % 1_000_000
}

// try runs one system whose programs are in a folder.
func try(t *testing.T, dir string, seed uint64, faults []Fault, durability string, duration time.Duration) (Report, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), duration+5*time.Minute)
	defer cancel()
	return Run(ctx, Config{
		Seed: seed, Faults: faults, For: duration, Binary: filepath.Join(dir, "drydock"), Hook: filepath.Join(dir, "hooks", "hook"),
		Dir: t.TempDir(), Logf: t.Logf, Durability: durability,
		// With several faults, every other round has lock servers of its own. Where nothing but locks is lost, workers do not notice it.
		LockNodes: slices.Contains(faults, KillLocks) && (len(faults) == 1 || seed%2 == 0),
		LongLocks: slices.Equal(faults, []Fault{LoseLocks}),
	})
}

// round is try for the test's own programs. It fails the test with what the history shows.
func round(t *testing.T, seed uint64, faults []Fault, durability string, duration time.Duration) Report {
	t.Helper()
	dir, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	report, err := try(t, dir, seed, faults, durability, duration)
	for n := uint64(1); errors.Is(err, errUnjudged) && n <= 2; n++ {
		t.Logf("seed %d: %v; again, with seed %d", seed, err, seed+1000*n)
		report, err = try(t, dir, seed+1000*n, faults, durability, duration)
	}
	t.Logf("seed %d: %v", seed, &report)
	for _, v := range report.Violations {
		t.Errorf("seed %d: %v", seed, v)
	}
	if err != nil {
		t.Errorf("seed %d: %v", seed, err)
	}
	if t.Failed() {
		for _, e := range report.Plan {
			t.Log(e)
		}
		t.Log(report.Logs)
	}
	return report
}

// TestTorture runs all faults together, or those of -faults, for as long as -for says.
func TestTorture(t *testing.T) {
	t.Parallel()
	faults, err := ParseFaults(*faultsFlag)
	if err != nil {
		t.Fatal(err)
	}
	first := seed()
	t.Logf("faults %q; run again with: go test ./proof/torture -run TestTorture -seed %d -faults %s -durability %s -round %v", faults, first, *faultsFlag,
		*levelFlag, *roundFlag)
	begin := time.Now()
	for n := uint64(0); n == 0 || time.Since(begin) < *forFlag && !t.Failed(); n++ {
		round(t, first+n, faults, *levelFlag, *roundFlag)
	}
}

// TestTortureWithEachFault runs each fault alone, for a few seconds.
func TestTortureWithEachFault(t *testing.T) {
	t.Parallel()
	for _, fault := range Faults() {
		t.Run(string(fault), func(t *testing.T) {
			t.Parallel()
			r := round(t, seed(), []Fault{fault}, "memory", 6*time.Second)
			if r.Faults[fault] == 0 {
				t.Error("the fault never happened")
			}
		})
	}
}

// TestTortureFailover: the Sentinels promote the replica under load. With replicas:1 nothing that was accepted is lost: while the replica is
// away, the outcome of each order is called unknown. With memory, what the promoted replica had not heard of is lost, and nothing else.
func TestTortureFailover(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		fault      Fault
		durability string
	}{
		{FailOverBehind, "memory"}, {FailOverBehind, "replicas:1"}, {FailOverSplit, "memory"}, {FailOverSplit, "replicas:1"},
	} {
		t.Run(string(tt.fault)+" "+tt.durability, func(t *testing.T) {
			t.Parallel()
			r := round(t, seed(), []Fault{tt.fault}, tt.durability, 5*time.Second)
			if len(r.Failovers) == 0 {
				t.Fatal("there was no failover")
			}
			lost := r.LostLeases + r.LostCommands
			switch tt.durability {
			case "memory":
				if lost == 0 || r.Unknown > 0 {
					t.Errorf("%d accepted leases and commands were lost, and %d answers left the outcome open: want some, and none", lost, r.Unknown)
				}
			default:
				if lost > 0 || r.Unknown == 0 {
					t.Errorf("%d accepted leases and commands were lost, and %d answers left the outcome open: want none, and some", lost, r.Unknown)
				}
			}
		})
	}
}

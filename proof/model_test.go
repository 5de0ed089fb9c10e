package proof

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A search is how spin goes through all states of the model.
type search struct {
	compile, run []string
}

var (
	// Safety looks at every state for a broken assert, and for a standstill with something left to do.
	safety = search{compile: []string{"-DSAFETY", "-DNOCLAIM"}}
	// Liveness looks for a way to run for ever without getting there, each process being let on at some time (weak fairness).
	liveness = search{compile: []string{"-DNFAIR=7"}, run: []string{"-a", "-f"}}
)

var allFaults = []string{"CRASHES", "EXPIRIES", "LOSSES", "DOUBLES", "RESENDS"}

// with are the defines for a search with these faults alone, and some more defines.
func with(faults string, more ...string) []string {
	chosen := strings.Fields(faults)
	var defines []string
	for _, fault := range allFaults {
		if !slices.Contains(chosen, fault) {
			defines = append(defines, "-D"+fault+"=0")
		}
	}
	return append(defines, more...)
}

// oneOfEach is one command and one word without a command, instead of two commands.
var oneOfEach = []string{"-DSENDERS=1", "-DNEIGHBOURS=1"}

// Which faults are let loose together is what a machine of CI can search within minutes.
var holds = []struct {
	name    string
	search  search
	defines []string
}{
	{"no faults", safety, with("", "-DNEIGHBOURS=1")},
	{"crashes", safety, with("CRASHES")},
	{"crashes and locks that expire", safety, with("CRASHES EXPIRIES", oneOfEach...)},
	{"tasks lost and doubled", safety, with("LOSSES DOUBLES", "-DNEIGHBOURS=1")},
	{"locks that expire and replies lost", safety, with("EXPIRIES RESENDS")},
	{"a failover that forgets and locks that expire", safety, with("EXPIRIES", "-DFAILOVERS=1", "-DSENDERS=1")},
	{"a failover that forgets words", safety, with("", "-DFAILOVERS=1", "-DSENDERS=0", "-DNEIGHBOURS=2")},
	{"a failover that forgets and replies lost", safety, with("RESENDS", "-DFAILOVERS=1", "-DSENDERS=1")},
	{"no lock, no faults", safety, with("", "-DNO_LOCK")},
	{"no lock, replies lost", safety, with("RESENDS", "-DNO_LOCK")},
	{"no lock, tasks lost and doubled", safety, with("LOSSES DOUBLES", "-DNO_LOCK")},
	{"no lock, crashes", safety, with("CRASHES", append(oneOfEach, "-DNO_LOCK")...)},
	{"gets there, with crashes and tasks lost", liveness, with("CRASHES LOSSES", "-DSENDERS=1")},
}

var mutations = []struct {
	name    string
	search  search
	defines []string
}{
	{"without the writer check", safety, with("CRASHES EXPIRIES", append(oneOfEach, "-DMUTATE_NO_WRITER")...)},
	{"without the version check", safety, with("RESENDS", "-DMUTATE_NO_VERSION")},
	{"the pen taken without comparing what was read", safety, with("EXPIRIES", append(oneOfEach, "-DMUTATE_NO_READ_CHECK")...)},
	{"the fence compared instead of the writer that was read, with a failover", safety,
		with("EXPIRIES", "-DMUTATE_FENCE_ONLY", "-DFAILOVERS=1", "-DSENDERS=1")},
	{"words forgotten that came in since the object was opened", safety,
		with("", "-DMUTATE_FORGET_WORDS", "-DSENDERS=0", "-DNEIGHBOURS=2")},
	{"words counted instead of told apart, with a failover", safety,
		with("", "-DMUTATE_COUNT_WORDS", "-DFAILOVERS=1", "-DSENDERS=0", "-DNEIGHBOURS=2")},
	{"popped before it is applied", safety, with("", "-DMUTATE_POP_EARLY")},
	{"finished without another look at the queue", safety, with("", "-DMUTATE_NO_LOOK")},
	{"out of the wake index when the pen is taken", safety, with("", "-DMUTATE_LEAVE_WAKE")},
	{"without the sweeper", safety, with("CRASHES LOSSES", "-DMUTATE_NO_SWEEPER", "-DSENDERS=1")},
	{"a dead holder's lock does not expire", liveness, with("CRASHES LOSSES", "-DMUTATE_NO_TTL", "-DSENDERS=1")},
}

func TestProtocolHolds(t *testing.T) {
	t.Parallel()
	for _, c := range holds {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if wrong := check(t, c.search, c.defines); wrong != "" {
				t.Errorf("the model fails:\n%s", wrong)
			}
		})
	}
}

func TestProtocolNeedsEachOfItsParts(t *testing.T) {
	t.Parallel()
	for _, c := range mutations {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			wrong := check(t, c.search, c.defines)
			if wrong == "" {
				t.Fatal("the model still holds")
			}
			t.Log(regexp.MustCompile(`(?m)^pan:\d+: .*`).FindString(wrong))
		})
	}
}

func TestEveryMutationOfTheModelIsTried(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("protocol.pml")
	if err != nil {
		t.Fatal(err)
	}
	for _, found := range regexp.MustCompile(`#ifn?def (MUTATE_\w+)`).FindAllStringSubmatch(string(source), -1) {
		tried := false
		for _, m := range mutations {
			tried = tried || slices.Contains(m.defines, "-D"+found[1])
		}
		if !tried {
			t.Errorf("%s is in the model, and no test tries it", found[1])
		}
	}
}

// check searches all states of the model, and returns what spin found wrong. A search that could not be finished fails the test: it
// says neither.
func check(t *testing.T, s search, defines []string) (wrong string) {
	t.Helper()
	model, err := filepath.Abs("protocol.pml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	run := func(name string, args ...string) string {
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir = dir
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Run(); err != nil {
			t.Fatalf("%s: %v (make setup installs what the tests need)\n%s", name, err, out.String())
		}
		return out.String()
	}
	run("spin", slices.Concat(defines, []string{"-a", model})...)
	run("gcc", slices.Concat([]string{"-O2", "-w", "-DCOLLAPSE", "-DVECTORSZ=1024", "-DMEMLIM=4000", "-o", "pan"}, s.compile, []string{"pan.c"})...)
	out := run("./pan", append(s.run, "-m1000000")...)
	switch {
	case strings.Contains(out, "max search depth too small"), strings.Contains(out, "reached -DMEMLIM"):
		t.Fatalf("the search was cut short:\n%s", out)
	case strings.Contains(out, "errors: 0\n"):
		return ""
	case !strings.Contains(out, "errors: "):
		t.Fatalf("spin gives no verdict:\n%s", out)
	}
	return out
}

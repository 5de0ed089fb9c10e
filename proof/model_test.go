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

func without(faults ...string) []string {
	var defines []string
	for _, fault := range faults {
		defines = append(defines, "-D"+fault+"=0")
	}
	return defines
}

var (
	faultless = without("CRASHES", "EXPIRIES", "LOSSES", "DOUBLES", "RESENDS")
	// Few enough states for liveness.
	small = append(without("EXPIRIES", "DOUBLES", "RESENDS"), "-DSENDERS=1")
)

// Which faults are let loose together is what a machine of CI can search within minutes.
var holds = []struct {
	name    string
	search  search
	defines []string
}{
	{"no faults", safety, faultless},
	{"crashes and locks that expire", safety, without("LOSSES", "DOUBLES", "RESENDS")},
	{"tasks lost and doubled", safety, without("CRASHES", "EXPIRIES", "RESENDS")},
	{"locks that expire and replies lost", safety, without("CRASHES", "LOSSES", "DOUBLES")},
	{"a failover that forgets and locks that expire", safety,
		append(without("CRASHES", "LOSSES", "DOUBLES", "RESENDS"), "-DFAILOVERS=1", "-DSENDERS=1")},
	{"no lock, no faults", safety, append([]string{"-DNO_LOCK"}, faultless...)},
	{"no lock, replies lost", safety, append([]string{"-DNO_LOCK"}, without("CRASHES", "EXPIRIES", "LOSSES", "DOUBLES")...)},
	{"no lock, tasks lost and doubled", safety, append([]string{"-DNO_LOCK"}, without("CRASHES", "EXPIRIES", "RESENDS")...)},
	{"no lock, crashes", safety, append([]string{"-DNO_LOCK", "-DSENDERS=1"}, without("EXPIRIES", "LOSSES", "DOUBLES", "RESENDS")...)},
	{"gets there, with crashes and tasks lost", liveness, small},
}

var mutations = []struct {
	name    string
	search  search
	defines []string
}{
	{"without the writer check", safety, []string{"-DMUTATE_NO_WRITER"}},
	{"without the version check", safety, []string{"-DMUTATE_NO_VERSION"}},
	{"the fence compared instead of the writer, with a failover", safety,
		append(without("CRASHES", "LOSSES", "DOUBLES", "RESENDS"), "-DMUTATE_FENCE_ONLY", "-DFAILOVERS=1")},
	{"popped before it is applied", safety, []string{"-DMUTATE_POP_EARLY"}},
	{"finished without another look at the queue", safety, []string{"-DMUTATE_NO_LOOK"}},
	{"out of the wake index at the claim", safety, []string{"-DMUTATE_LEAVE_WAKE"}},
	{"without the sweeper", safety, append([]string{"-DMUTATE_NO_SWEEPER"}, small...)},
	{"a dead holder's lock does not expire", liveness, append([]string{"-DMUTATE_NO_TTL"}, small...)},
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
			t.Log(strings.SplitN(wrong, "\n", 2)[0])
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

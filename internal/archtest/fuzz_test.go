package archtest

import (
	"path"
	"regexp"
	"strings"
	"testing"
)

var (
	fuzzTarget = regexp.MustCompile(`(?m)^func (Fuzz\w+)\(f \*testing\.F\) \{`)
	fuzzWord   = regexp.MustCompile("`(Fuzz\\w+)`")
)

// TestFuzzTargetsStandInTheirTable: docs/fuzzing.md says what is fuzzed where, and nothing else.
func TestFuzzTargetsStandInTheirTable(t *testing.T) {
	t.Parallel()
	told := map[string]bool{}
	for line := range strings.SplitSeq(string(readFile(t, "docs/fuzzing.md")), "\n") {
		cells := strings.Split(line, "|")
		if len(cells) < 4 {
			continue
		}
		for pkg := range strings.SplitSeq(cells[1], ",") {
			for _, name := range fuzzWord.FindAllStringSubmatch(cells[2], -1) {
				told[strings.TrimSpace(pkg)+" "+name[1]] = true
			}
		}
	}
	there := map[string]bool{}
	for _, name := range projectFiles(t) {
		if !strings.HasSuffix(name, "_test.go") {
			continue
		}
		for _, match := range fuzzTarget.FindAllStringSubmatch(string(readFile(t, name)), -1) {
			target := path.Dir(name) + " " + match[1]
			if there[target] = true; !told[target] {
				t.Errorf("docs/fuzzing.md does not say what %s reads", target)
			}
		}
	}
	for target := range told {
		if !there[target] {
			t.Errorf("docs/fuzzing.md tells of %s, which is not there", target)
		}
	}
	if len(there) == 0 {
		t.Error("there are no fuzz targets")
	}
}

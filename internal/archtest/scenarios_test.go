package archtest

import (
	"fmt"
	"path"
	"regexp"
	"strings"
	"testing"
)

const (
	scenariosFile = "docs/scenarios.md"
	scenarios     = 36
)

var (
	scenarioRow  = regexp.MustCompile(`(?m)^\| (\d+) \| (.+) \| (.+) \|$`)
	scenarioTest = regexp.MustCompile("`([a-z0-9/]+)\\.(Test\\w+)`")
	testFunction = regexp.MustCompile(`(?m)^func (Test\w+)\(\w+ \*testing\.T\)`)
)

// TestEveryScenarioHasItsTests: the table names each scenario once, in order, with tests that exist.
func TestEveryScenarioHasItsTests(t *testing.T) {
	t.Parallel()
	exists := map[string]bool{}
	for _, name := range projectFiles(t) {
		if strings.HasSuffix(name, "_test.go") {
			for _, fn := range testFunction.FindAllSubmatch(readFile(t, name), -1) {
				exists[path.Dir(name)+"."+string(fn[1])] = true
			}
		}
	}
	rows := scenarioRow.FindAllStringSubmatch(string(readFile(t, scenariosFile)), -1)
	if len(rows) != scenarios {
		t.Errorf("%s has %d scenarios, want %d", scenariosFile, len(rows), scenarios)
	}
	for i, row := range rows {
		if want := fmt.Sprint(i + 1); row[1] != want {
			t.Errorf("scenario %s stands where %s should", row[1], want)
		}
		tests := scenarioTest.FindAllStringSubmatch(row[3], -1)
		if len(tests) == 0 {
			t.Errorf("scenario %s names no test", row[1])
		}
		for _, test := range tests {
			if !exists[test[1]+"."+test[2]] {
				t.Errorf("scenario %s names %s.%s, which does not exist", row[1], test[1], test[2])
			}
		}
	}
}

package model_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"drydock/model"
)

// drawing is what one section of docs/state_machine.md says.
type drawing struct {
	// arrows lead from each state to its next ones, without those inside a composite state.
	arrows map[string][]string
	// first are the states that [*] leads to, last those that lead to [*].
	first, last []string
	// rows are the rows of the table: releasable, takes commands.
	rows map[string][2]string
	// order is that of the table's rows.
	order []string
}

var (
	arrow = regexp.MustCompile(`^(\S+) --> (\S+)(?: : .+)?$`)
	row   = regexp.MustCompile("^\\| `(\\w+)` \\| (\\w+) \\| (\\w+) \\|")
)

func readDrawings(t *testing.T) map[string]drawing {
	t.Helper()
	page, err := os.ReadFile("../docs/state_machine.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]drawing{}
	for _, section := range strings.Split(string(page), "\n## ")[1:] {
		title, text, _ := strings.Cut(section, "\n")
		sections[title] = readDrawing(t, title, text)
	}
	return sections
}

func readDrawing(t *testing.T, title, text string) drawing {
	t.Helper()
	d := drawing{arrows: map[string][]string{}, rows: map[string][2]string{}}
	_, diagram, ok := strings.Cut(text, "```mermaid\nstateDiagram-v2\n")
	if !ok {
		t.Fatalf("section %s has no stateDiagram-v2", title)
	}
	diagram, table, ok := strings.Cut(diagram, "```\n")
	if !ok {
		t.Fatalf("the diagram of section %s has no end", title)
	}
	depth, note := 0, false
	for line := range strings.Lines(diagram) {
		line = strings.TrimSpace(line)
		switch {
		case line == "end note":
			note = false
		case strings.HasPrefix(line, "note "):
			note = true
		case note || line == "":
		case strings.HasPrefix(line, "state ") && strings.HasSuffix(line, "{"):
			depth++
		case line == "}":
			depth--
		default:
			m := arrow.FindStringSubmatch(line)
			switch {
			case m == nil:
				t.Errorf("section %s: cannot read %q", title, line)
			case depth > 0:
			case m[1] == "[*]":
				d.first = append(d.first, m[2])
			case m[2] == "[*]":
				d.last = append(d.last, m[1])
			default:
				d.arrows[m[1]] = append(d.arrows[m[1]], m[2])
			}
		}
	}
	if depth != 0 || note {
		t.Errorf("section %s: a composite state or a note has no end", title)
	}
	for line := range strings.Lines(table) {
		if m := row.FindStringSubmatch(line); m != nil {
			d.rows[m[1]] = [2]string{m[2], m[3]}
			d.order = append(d.order, m[1])
		}
	}
	return d
}

// state is what leases and resources have in common.
type state interface {
	~string
	Valid() bool
	Terminal() bool
	Releasable() bool
	Commandable() bool
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// wantDrawn compares a drawing with the tables, in both directions.
func wantDrawn[S state](t *testing.T, d drawing, states []S, next func(S) []S) {
	t.Helper()
	want := drawing{arrows: map[string][]string{}, first: []string{"pending"}, rows: map[string][2]string{}}
	for _, s := range states {
		for _, n := range next(s) {
			want.arrows[string(s)] = append(want.arrows[string(s)], string(n))
		}
		if s.Terminal() {
			want.last = append(want.last, string(s))
		}
		want.rows[string(s)] = [2]string{yesNo(s.Releasable()), yesNo(s.Commandable())}
		want.order = append(want.order, string(s))
	}
	anyOrder := cmp.Transformer("sorted", func(m map[string][]string) map[string][]string {
		out := map[string][]string{}
		for k, v := range m {
			out[k] = slices.Sorted(slices.Values(v))
		}
		return out
	})
	if diff := cmp.Diff(want, d, cmp.AllowUnexported(drawing{}), anyOrder); diff != "" {
		t.Errorf("docs/state_machine.md (-tables +page):\n%s", diff)
	}
}

func TestDiagramsShowTheTables(t *testing.T) {
	t.Parallel()
	drawings := readDrawings(t)
	if len(drawings) != 2 {
		t.Fatalf("the page has %d sections, want Lease and Resource", len(drawings))
	}
	t.Run("lease", func(t *testing.T) {
		t.Parallel()
		wantDrawn(t, drawings["Lease"], model.LeaseStates(), model.LeaseState.Next)
	})
	t.Run("resource", func(t *testing.T) {
		t.Parallel()
		wantDrawn(t, drawings["Resource"], model.ResourceStates(), model.ResourceState.Next)
	})
}

// wantSound checks what every table must keep, whatever it says.
func wantSound[S state](t *testing.T, states []S, next func(S) []S, canBecome func(S, S) bool, first S) {
	t.Helper()
	reached := map[S]bool{first: true}
	for range states {
		for _, s := range states {
			if reached[s] {
				for _, n := range next(s) {
					reached[n] = true
				}
			}
		}
	}
	for _, s := range states {
		if !s.Valid() || !reached[s] {
			t.Errorf("%s: valid %t, reached from %s %t", s, s.Valid(), first, reached[s])
		}
		if s.Terminal() != (len(next(s)) == 0) {
			t.Errorf("%s: terminal %t, followed by %v", s, s.Terminal(), next(s))
		}
		if s.Releasable() != canBecome(s, "released") {
			t.Errorf("%s: releasable %t, can become released %t", s, s.Releasable(), canBecome(s, "released"))
		}
		if s.Releasable() && !s.Commandable() {
			t.Errorf("%s can be released and takes no command that says so", s)
		}
		for _, n := range states {
			if canBecome(s, n) != slices.Contains(next(s), n) {
				t.Errorf("CanBecome(%s, %s) = %t, Next says otherwise: %v", s, n, canBecome(s, n), next(s))
			}
		}
		for _, odd := range []S{"", "unknown", s + " "} {
			if canBecome(s, odd) || canBecome(odd, s) || odd.Valid() || odd.Releasable() || odd.Commandable() || odd.Terminal() {
				t.Errorf("%q counts as a state beside %s", odd, s)
			}
		}
		// What is handed out is a copy.
		if list := next(s); len(list) > 0 {
			list[0] = "scribble"
			if slices.Contains(next(s), "scribble") {
				t.Errorf("Next(%s) hands out the table itself", s)
			}
		}
	}
}

func TestTablesAreSound(t *testing.T) {
	t.Parallel()
	wantSound(t, model.LeaseStates(), model.LeaseState.Next, model.LeaseState.CanBecome, model.LeasePending)
	wantSound(t, model.ResourceStates(), model.ResourceState.Next, model.ResourceState.CanBecome, model.ResourcePending)
	for _, s := range model.LeaseStates() {
		if want := s == model.LeaseAcquired || s == model.LeaseActive; s.OnResource() != want {
			t.Errorf("%s.OnResource() = %t, want %t", s, s.OnResource(), want)
		}
	}
}

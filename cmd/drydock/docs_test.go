package main

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v3"
)

var update = flag.Bool("update", false, "write docs/configuration.md anew")

const reference = "../../docs/configuration.md"

// TestConfigurationReferenceIsTheFlags: docs/configuration.md says what the code says. go test -update writes it anew.
func TestConfigurationReferenceIsTheFlags(t *testing.T) {
	t.Parallel()
	begun := false
	want := configuration(root(&begun))
	if *update {
		if err := os.WriteFile(reference, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		have := strings.Split(string(got), "\n")
		for i, line := range strings.Split(want, "\n") {
			if i >= len(have) || have[i] != line {
				t.Errorf("line %d of %s is not what the flags say:\n%s\nRun: go test ./cmd/drydock -update", i+1, reference, line)
				break
			}
		}
	}
}

// TestEveryFlagIsExplained: a flag has a usage, and a variable with the name that the reference promises.
func TestEveryFlagIsExplained(t *testing.T) {
	t.Parallel()
	begun := false
	for _, c := range servers(root(&begun)) {
		for _, f := range settings(c) {
			if c.Name == "doctor" && f.name == "repair" {
				continue // only whoever types it asks for it
			}
			if f.usage == "" || !slices.ContainsFunc(f.variables, func(v string) bool { return strings.HasPrefix(v, "DRYDOCK_") }) {
				t.Errorf("%s --%s: usage %q, variables %q", c.Name, f.name, f.usage, f.variables)
			}
		}
	}
}

// setting is what a flag sets.
type setting struct {
	name, value, usage, preset string
	variables                  []string
	required                   bool
}

var placeholder = regexp.MustCompile("`([^`]+)`")

// settings reads a command's flags.
func settings(c *cli.Command) []setting {
	var list []setting
	for _, f := range c.Flags {
		about, ok := f.(cli.DocGenerationFlag)
		if !ok {
			continue
		}
		s := setting{name: f.Names()[0], usage: about.GetUsage(), variables: about.GetEnvVars()}
		if required, ok := f.(cli.RequiredFlag); ok {
			s.required = required.IsRequired()
		}
		if about.TakesValue() {
			s.value = strings.ToUpper(about.TypeName())
			if m := placeholder.FindStringSubmatch(s.usage); m != nil {
				s.value = m[1]
			}
			if preset := strings.Trim(about.GetValue(), `"`); preset != "" && preset != "[]" {
				s.preset = cmp.Or(strings.Trim(about.GetDefaultText(), `"`), preset)
			}
		}
		s.usage = placeholder.ReplaceAllString(s.usage, "$1")
		list = append(list, s)
	}
	return list
}

// configuration is the whole of docs/configuration.md.
func configuration(top *cli.Command) string {
	var b strings.Builder
	b.WriteString(`# Configuration

<!-- Written by go test ./cmd/drydock -update from the flags themselves; a test fails when the two differ. -->

Every setting is a flag and a variable; where both are given, the flag counts, and of several variables the first that is set. A flag that
may be repeated takes a list with commas in its variable. Durations are written like ` + "`90s`" + ` or ` + "`2h`" + `. The flags of client commands are in
[cli.md](cli.md). There is no configuration file: blueprints and
tokens, which are data, have one each (--blueprints, --token-file).

What belongs together: ` + "`--lock-ttl`" + ` is the same for all processes; the API and the workers get the same ` + "`--hook-folder`" + `, ` + "`--git-root`" + ` and ` + "`--webhook-…`" + `.
`)
	var commands func(prefix string, list []*cli.Command)
	commands = func(prefix string, list []*cli.Command) {
		for _, c := range list {
			name := prefix + " " + c.Name
			if all := settings(c); len(all) > 0 {
				fmt.Fprintf(&b, "\n## %s\n\n%s.\n\n| flag | variable | default | |\n|---|---|---|---|\n", name, sentence(c.Usage))
				for _, s := range all {
					b.WriteString(s.row())
				}
			}
			commands(name, c.Commands)
		}
	}
	commands(top.Name, servers(top))
	return b.String()
}

// servers are the commands that run a server or look after one; docs/cli.md is about the others.
func servers(top *cli.Command) []*cli.Command {
	return slices.DeleteFunc(slices.Clone(top.Commands), func(c *cli.Command) bool { return c.Category != "Servers" })
}

func (s setting) row() string {
	syntax := "--" + s.name
	if s.value != "" {
		syntax += " " + s.value
	}
	preset := "–"
	switch {
	case s.required:
		preset = "required"
	case s.preset != "":
		preset = "`" + s.preset + "`"
	}
	variables := make([]string, len(s.variables))
	for i, v := range s.variables {
		variables[i] = "`" + v + "`"
	}
	return fmt.Sprintf("| `%s` | %s | %s | %s |\n", syntax, strings.Join(variables, ", "), preset, tableCell(s.usage))
}

// sentence begins a text with a capital.
func sentence(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// tableCell makes a text fit into a table.
func tableCell(s string) string {
	return strings.NewReplacer("|", `\|`, "<", `\<`, "\n", " ").Replace(s)
}

package git

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
	"unicode"

	"drydock/blueprints/conformance"
	"drydock/model"
)

func FuzzConfig(f *testing.F) {
	conformance.FuzzConfig(f, Kind{Root: "/srv/copies"}, model.Blueprint{Namespace: "ci", Name: "src", Type: "copy"},
		`{"url": "https://example.org/r.git", "branch": "main", "attributes": {"team": "a"}, "timeout": "5m"}`, `{"url": "git@example.org:r.git", "root": "/srv/copies/x"}`,
		`{"url": "/srv/r.git", "root": "/srv/other"}`, `{"url": "ext::sh -c x"}`, `{"url": "ssh://-oProxyCommand=x/r"}`, `{"url": "https://u:p@example.org/"}`,
		`{"url": "file:///srv/r.git", "branch": "-x"}`, `{"url": "/srv/r.git", "ssh": {}}`, `{"url": "/srv/r.git", "attributes": {"path": "x"}}`,
	)
}

func FuzzConfigOnHosts(f *testing.F) {
	conformance.FuzzConfig(f, Kind{}, model.Blueprint{Namespace: "ci", Name: "src", Type: "copy", On: &model.SubLease{Type: "host"}},
		`{"url": "https://example.org/r.git", "root": "/srv/copies", "ssh": {"user": "ci", "port": 22, "address_attribute": "ip"}}`,
		`{"url": "/srv/r.git", "root": "/srv", "ssh": {"user": "-x"}}`, `{"url": "/srv/r.git", "root": "/srv", "ssh": {"address_attribute": "a b"}}`,
		`{"url": "/srv/r.git", "root": "/srv", "attributes": {"host": "x"}}`, `{"url": "/srv/r.git", "root": "/srv", "ssh": null}`,
	)
}

// FuzzTarget: what a lease wants checked out, and where a host is, is refused in words, or can be nothing but a name for git and ssh.
func FuzzTarget(f *testing.F) {
	for _, seed := range []string{
		"main", "feature/x", "-x", "HEAD", "@", "a..b", "a.lock", "refs/tags/v1", "refs/heads/../x", "a@{1}", "a b", "a\x7f", "", ".a", "a/", "a//b", "ü",
		"0123456789012345678901234567890123456789", "10.0.0.1", "::1", "fe80::1%eth0", "-oProxyCommand=x", "host.example", "[::1]",
	} {
		f.Add("branch", seed)
		f.Add("commit", seed)
		f.Add("ref", seed)
	}
	f.Fuzz(func(t *testing.T, name, value string) {
		got, reason := targetOf(map[string]string{name: value})
		if strings.ContainsFunc(reason, unicode.IsControl) || len(reason) > 500 {
			t.Errorf("%s %q: the reason %q is not one short line", name, value, reason)
		}
		kind, word := got.words()
		if reason == "" && kind != "" {
			if kind != name || word != value || word == "" || word[0] == '-' || len(word) > model.MaxAttributeLength+len("refs/heads/") {
				t.Errorf("%s %q is %s %q", name, value, kind, word)
			}
			if strings.ContainsAny(word, " ~^:?*[\\\x00\n\t\x7f") || strings.Contains(word, "..") || strings.Contains(word, "@{") || strings.HasSuffix(word, ".lock") {
				t.Errorf("%s %q is more than a name", name, value)
			}
		}
		if validAddress(value) && (value == "" || value[0] == '-' || strings.ContainsAny(value, " @%/\\'\"\n\x00")) {
			t.Errorf("%q passes for an address", value)
		}
		if err := checkURL("url", value, []string{"file", "https", "ssh"}); err == nil {
			if value == "" || value[0] == '-' || strings.Contains(value, "::") || len(value) > maxURLLength ||
				strings.ContainsFunc(value, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) }) {
				t.Errorf("%q passes for a repository", value)
			}
		} else if model.KindOf(err) != model.ErrorInvalid {
			t.Errorf("%q: %v", value, err)
		}
	})
}

// TestTargetsAreGitsOwn compares the rule for branches with git's.
func TestTargetsAreGitsOwn(t *testing.T) {
	t.Parallel()
	git, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"main", "feature/x", "-x", "@", "a..b", "a.lock", "a@{1}", "a b", "a\x7f", ".a", "a/", "a//b", "ü", "a.", "a~", "a/.b", "a/b.lock/c", "a\\b", "{", "a@b"} {
		if validBranch(name) && exec.CommandContext(t.Context(), git, "check-ref-format", "--branch", name).Run() != nil {
			t.Errorf("%q passes for a branch, and git does not take it", name)
		}
	}
}

// FuzzSetArguments: a line of shell sets just the arguments that it was made of.
func FuzzSetArguments(f *testing.F) {
	f.Add("a", "")
	f.Add("it's", "'; rm -rf / #")
	f.Add("a\nb", `\'"$(x)`+"`y`")
	f.Fuzz(func(t *testing.T, one, other string) {
		line, ok := strings.CutPrefix(setArguments(one, other), "set --")
		if got := unquote(line); !ok || len(got) != 2 || got[0] != one || got[1] != other {
			raw, _ := json.Marshal(line)
			t.Errorf("%q and %q are written as %s and read as %q", one, other, raw, got)
		}
	})
}

// unquote reads words as a shell does that are in single quotes; nil when something is outside of them that is not \'.
func unquote(line string) (words []string) {
	line = strings.TrimSuffix(line, "\n")
	for line != "" {
		var word strings.Builder
		rest, ok := strings.CutPrefix(line, " ")
		if !ok {
			return nil
		}
		for rest != "" && rest[0] != ' ' {
			if after, ok := strings.CutPrefix(rest, `\'`); ok {
				word.WriteByte('\'')
				rest = after
				continue
			}
			inside, after, ok := strings.Cut(strings.TrimPrefix(rest, "'"), "'")
			if rest[0] != '\'' || !ok {
				return nil
			}
			word.WriteString(inside)
			rest = after
		}
		words, line = append(words, word.String()), rest
	}
	return words
}

package archtest

import (
	"bytes"
	"regexp"
	"testing"
)

// textRules are things that no file of the project may say, each with what to do about it.
var textRules = []struct {
	name    string
	pattern *regexp.Regexp
	advice  string
}{
	{
		name:    "a path of one machine",
		pattern: regexp.MustCompile(`(^|[^\w.~})])/(work|root|home|Users)/`),
		advice:  "say it relative to the repository, or use a neutral place such as /srv or a temporary folder",
	},
	{
		name:    "the host of a package mirror",
		pattern: regexp.MustCompile(`\b(proxy|registry|mirror|sum|deb)\.[a-z0-9-]+\.(org|com|net|io|dev|internal|local|lan)\b`),
		advice:  "leave it to the settings of whoever builds",
	},
	{
		name:    "a merge conflict",
		pattern: regexp.MustCompile(`(?m)^(<{7}|>{7}) `),
		advice:  "resolve it",
	},
}

func TestFilesKeepTheTextRules(t *testing.T) {
	t.Parallel()
	for _, name := range projectFiles(t) {
		data := readFile(t, name)
		if bytes.IndexByte(data, 0) >= 0 {
			continue // not text
		}
		for _, rule := range textRules {
			if at := rule.pattern.FindIndex(data); at != nil {
				line := 1 + bytes.Count(data[:at[1]], []byte("\n"))
				t.Errorf("%s:%d: %s (%q): %s", name, line, rule.name, data[at[0]:at[1]], rule.advice)
			}
		}
	}
}

// TestTextRulesCatchWhatTheyShould feeds the rules samples, spelled in two halves so that this file passes them itself.
func TestTextRulesCatchWhatTheyShould(t *testing.T) {
	t.Parallel()
	tests := map[string]bool{
		"cd /" + "root/go":                    true,
		"\"/" + "home/me/x\"":                 true,
		"/" + "work/main":                     true,
		"file:///" + "Users/me":               true,
		"https://example.com/work/1":          false,
		"../../root/x and ~/work/x":           false,
		"/srv/work":                           false,
		"GOPROXY=https://pro" + "xy.acme.com": true,
		"mirror" + ".acme.internal/debian":    true,
		"the proxy.example tells":             false,
		"a\n<<<<<<" + "< HEAD\n":              true,
		"a << 7":                              false,
	}
	for text, want := range tests {
		got := false
		for _, rule := range textRules {
			got = got || rule.pattern.MatchString(text)
		}
		if got != want {
			t.Errorf("the rules catch %q = %t, want %t", text, got, want)
		}
	}
}

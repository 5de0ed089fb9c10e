package main

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"drydock/blueprints"
	"drydock/model"
)

// wrongUsage checks an error about a flag: it names the flag, on one line.
func wrongUsage(t *testing.T, err error, flags ...string) {
	t.Helper()
	text := err.Error()
	named := false
	for _, name := range flags {
		named = named || strings.HasPrefix(text, "--"+name+": ")
	}
	if model.KindOf(err) != model.ErrorInvalid || !named || strings.ContainsFunc(text, unicode.IsControl) || len(text) > 500 {
		t.Errorf("the error %q names none of %q, or is more than a line", text, flags)
	}
}

// FuzzWanted: the flags that say what lease is wanted are refused by name, or asked for as they were written.
func FuzzWanted(f *testing.F) {
	f.Add("os=linux", "2030-01-02T15:04:05Z", `{"a":1}`)
	f.Add("os", "tomorrow", "x")
	f.Add("=", "", "")
	f.Add("a=b=c", "2030-01-02T15:04:05+01:00", "null")
	f.Add("\x1b[31m", "9999-12-31T23:59:59-23:59", "\xff")
	f.Fuzz(func(t *testing.T, attribute, until, data string) {
		w := wanted{typ: "host", attributes: []string{attribute}, until: until, data: data}
		n, err := w.request(&clientOptions{author: "ada"})
		if err != nil {
			wrongUsage(t, err, "attribute", "until", "data")
			return
		}
		for name, value := range n.Attributes {
			if name+"="+value != attribute || strings.Contains(name, "=") {
				t.Errorf("--attribute %q is %q=%q", attribute, name, value)
			}
		}
		if len(n.Attributes) != 1 || n.Owner != "ada" || string(n.Data) != data || n.Until == nil != (until == "") {
			t.Errorf("%+v is asked for as %+v", w, n)
		}
		if _, err := json.Marshal(n); err != nil {
			t.Errorf("%+v cannot be sent: %v", w, err)
		}
		w.attributes = append(w.attributes, attribute)
		if _, err := w.request(&clientOptions{}); err == nil {
			t.Errorf("--attribute %q is taken twice", attribute)
		}
	})
}

// FuzzParseNetwork: a trusted network is written as it was read, or is the address that was given.
func FuzzParseNetwork(f *testing.F) {
	for _, seed := range []string{"10.0.0.0/24", "10.0.0.1", "::1", "fe80::1%eth0", "fe80::1%eth0/64", "10.0.0.0/33", "0/0", "", "::ffff:10.0.0.1", "10.0.0.0/08"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parseNetwork(text)
		if err != nil {
			return
		}
		again, err := parseNetwork(p.String())
		if err != nil || again != p || !p.IsValid() || p.Addr().Zone() != "" {
			t.Errorf("%q is %s, which is read as %s, %v", text, p, again, err)
		}
		if addr, err := netip.ParseAddr(text); err == nil && (!p.Contains(addr.WithZone("")) || !p.IsSingleIP()) {
			t.Errorf("%q is %s", text, p)
		}
	})
}

// FuzzPrinting: what somebody else wrote does nothing to a terminal but stand on its line.
func FuzzPrinting(f *testing.F) {
	for _, seed := range []string{"", "plain", "\x1b[31m", "a\nb", "\u009b31m", "\xff", "ü\t"} {
		f.Add(seed, int64(0))
	}
	f.Fuzz(func(t *testing.T, text string, seconds int64) {
		if line := oneLine(text); strings.ContainsFunc(line, unicode.IsControl) || !utf8.ValidString(line) || utf8.RuneCountInString(line) != utf8.RuneCountInString(text) {
			t.Errorf("%q is printed as %q", text, line)
		}
		var out bytes.Buffer
		p := printer{w: &out}
		if err := p.table([]string{"A", "B"}, [][]cell{plain(text, "b"), plain("a", text)}); err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(out.String(), "\n"); got != 3 || strings.ContainsFunc(strings.ReplaceAll(out.String(), "\n", ""), unicode.IsControl) {
			t.Errorf("%q is printed on %d lines: %q", text, got, out.String())
		}
		if d := time.Duration(seconds); short(d) == "" {
			t.Errorf("%s is printed as nothing", d)
		}
	})
}

// FuzzDeclarations: a file that `blueprint apply` takes holds nothing but what every kind can read, and is the same as itself.
func FuzzDeclarations(f *testing.F) {
	for _, seed := range []string{
		"blueprints:\n  - {name: lab, kind: pool, type: host, config: {hosts: [{name: h1}]}}\n", "blueprints:\n  - {name: src, kind: git, type: copy, config: {url: /srv/r.git, root: /srv}}\n",
		"blueprints:\n  - {name: a, kind: exec, type: x, config: {commands: {activate: [/bin/true]}}}\n", "blueprints:\n  - {name: a, kind: git, type: x, config: {root: 1}}\n",
		"blueprints:\n  - {name: w, kind: webhook, type: x, config: {url: 'http://127.0.0.1/', secret_env: DRYDOCK_WEBHOOK_SECRET, steps: [activate]}}\n", "\xff", "",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		declared, err := blueprints.ParseIn("ci", "file", text, everyKind())
		if err != nil {
			if model.KindOf(err) != model.ErrorInvalid {
				t.Errorf("%v of kind %s", err, model.KindOf(err))
			}
			return
		}
		for _, bp := range declared {
			if !sameJSON(bp.Config, bp.Config) {
				t.Errorf("%s is another config than itself", bp.Config)
			}
		}
	})
}

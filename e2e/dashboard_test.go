package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"drydock/embedded/redistest"
)

// expressions are the PromQL expressions of the dashboard and of the alert rules, by where they are.
func expressions(t *testing.T) map[string]string {
	t.Helper()
	read := func(name string) []byte {
		data, err := os.ReadFile(filepath.Join("..", "deploy", name))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	found := map[string]string{}
	var dashboard struct {
		Panels []struct {
			Type    string `json:"type"`
			Title   string `json:"title"`
			Targets []struct {
				RefID string `json:"refId"`
				Expr  string `json:"expr"`
			} `json:"targets"`
		} `json:"panels"`
	}
	if err := json.Unmarshal(read("grafana/drydock.json"), &dashboard); err != nil {
		t.Fatal(err)
	}
	for _, p := range dashboard.Panels {
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("the panel %q shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			found[fmt.Sprintf("panel %q %s", p.Title, target.RefID)] = target.Expr
		}
	}
	var rules struct {
		Groups []struct {
			Rules []struct {
				Alert       string            `json:"alert"`
				Expr        string            `json:"expr"`
				Labels      map[string]string `json:"labels"`
				Annotations map[string]string `json:"annotations"`
			} `json:"rules"`
		} `json:"groups"`
	}
	if err := yaml.Unmarshal(read("prometheus/drydock.rules.yaml"), &rules); err != nil {
		t.Fatal(err)
	}
	production, err := os.ReadFile("../docs/production.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			if r.Alert == "" || r.Annotations["summary"] == "" || !slices.Contains([]string{"page", "ticket"}, r.Labels["severity"]) {
				t.Errorf("the alert %+v lacks a name, a summary or a severity", r)
			}
			if !strings.Contains(string(production), "`"+r.Alert+"`") {
				t.Errorf("docs/production.md does not say what to do about %s", r.Alert)
			}
			found["alert "+r.Alert] = r.Expr
		}
	}
	if len(found) < 30 {
		t.Errorf("only %d expressions are found", len(found))
	}
	return found
}

var (
	seriesLine = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? `)
	labelPair  = regexp.MustCompile(`([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"`)
	// In an expression: a name of ours, or of the process, and the labels that are asked of it.
	selector  = regexp.MustCompile(`\b((?:drydock|process|go)_\w+)(?:\{([^}]*)\})?`)
	matcher   = regexp.MustCompile(`(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"`)
	groupings = regexp.MustCompile(`\b(?:by|on|without|ignoring)\s*\(([^)]*)\)`)
)

// exposed are the series that /metrics shows: the values of each label, by metric.
func exposed(text string) map[string]map[string][]string {
	found := map[string]map[string][]string{}
	for line := range strings.Lines(text) {
		m := seriesLine.FindStringSubmatch(line)
		if m == nil || strings.HasPrefix(line, "#") {
			continue
		}
		if found[m[1]] == nil {
			found[m[1]] = map[string][]string{}
		}
		for _, pair := range labelPair.FindAllStringSubmatch(m[2], -1) {
			found[m[1]][pair[1]] = append(found[m[1]][pair[1]], pair[2])
		}
	}
	return found
}

// TestDashboardAndAlertsSpeakOfRealMetrics: whatever the dashboard and the alert rules ask for, a running process shows: the metric, its
// labels and, where a label must have one value, that value.
func TestDashboardAndAlertsSpeakOfRealMetrics(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	script := filepath.Join(folder, "hook.sh")
	if err := os.WriteFile(script, []byte("#!/bin/sh\nexit 0\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	rdb := startRedis(t)
	c := newClient(t, startAPI(t, rdb.URL(), "--hook-folder", folder).url)
	addr := fmt.Sprintf("127.0.0.1:%d", redistest.FreePort(t))
	startWorker(t, rdb.URL(), "--hook-folder", folder, "--listen", addr)
	probe := newClient(t, "http://"+addr)
	// One of each: a hook that works, and one that does not, which the state of nothing depends on.
	body, _ := json.Marshal(map[string]any{"kind": "exec", "type": "made", "config": map[string]any{"commands": map[string]any{
		"activate": []string{script}, "update": []string{filepath.Join(folder, "no-such-program")},
	}}})
	must[any](c, http.MethodPut, "/v1/blueprints/made", string(body), http.StatusCreated)
	l := must[lease](c, http.MethodPost, "/v1/leases", `{"type": "made"}`, http.StatusAccepted)
	res := deref(c.await(l.ID, "active").Resource)
	must[any](c, http.MethodPost, "/v1/resources/"+res+"/commands", `{"command": "update"}`, http.StatusAccepted)
	c.release(l.ID)
	c.await(l.ID, "destroyed")

	var shown map[string]map[string][]string
	eventually(t, func() error {
		text := ""
		for _, from := range []*client{c, probe} {
			a, err := from.do(t.Context(), http.MethodGet, "/metrics", "")
			if err != nil || a.status != http.StatusOK {
				return fmt.Errorf("/metrics: %d, %w", a.status, err)
			}
			text += string(a.body)
		}
		shown = exposed(text)
		if !slices.Contains(shown["drydock_hook_seconds_count"]["result"], "failed") {
			return fmt.Errorf("no hook has failed yet: %v", shown["drydock_hook_seconds_count"])
		}
		return nil
	})
	scraped := []string{"instance", "job"} // what Prometheus adds
	asked := map[string]bool{}
	for where, expr := range expressions(t) {
		known := slices.Clone(scraped)
		for _, s := range selector.FindAllStringSubmatch(expr, -1) {
			name, labels := s[1], shown[s[1]]
			if labels == nil {
				t.Errorf("%s asks for %s, which no process shows", where, name)
				continue
			}
			asked[name] = true
			for label := range labels {
				known = append(known, label)
			}
			for _, m := range matcher.FindAllStringSubmatch(s[2], -1) {
				if labels[m[1]] == nil && !slices.Contains(scraped, m[1]) {
					t.Errorf("%s asks for the label %s of %s, which has none", where, m[1], name)
				} else if m[2] == "=" && !slices.Contains(labels[m[1]], m[3]) {
					t.Errorf("%s asks for %s{%s=%q}; it takes %q", where, name, m[1], m[3], slices.Compact(slices.Sorted(slices.Values(labels[m[1]]))))
				}
			}
		}
		for _, g := range groupings.FindAllStringSubmatch(expr, -1) {
			for label := range strings.SplitSeq(g[1], ",") {
				if label = strings.TrimSpace(label); !slices.Contains(known, label) {
					t.Errorf("%s groups by %s, which none of its metrics has", where, label)
				}
			}
		}
	}
	// The other way round: what is counted is also looked at.
	for name := range shown {
		base := name
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			base = strings.TrimSuffix(base, suffix)
		}
		if strings.HasPrefix(name, "drydock_") && !asked[name] && !asked[base+"_bucket"] && !asked[base+"_count"] {
			t.Errorf("%s is on no panel and in no alert", name)
		}
		if !regexp.MustCompile(`^[a-z][a-z0-9_]*$`).MatchString(name) {
			t.Errorf("%s is not written like other metrics", name)
		}
	}
}

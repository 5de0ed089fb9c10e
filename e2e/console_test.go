package e2e_test

import (
	"context"
	_ "embed"
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// screenshots is where the pictures of docs go when they are to be made anew: go test ./e2e -run ConsolePages -screenshots ../docs/screenshots.
var screenshots = flag.String("screenshots", "", "write the console's screenshots into this `FOLDER`")

//go:embed testdata/axe/axe.min.js
var axe string

// browser starts a headless Chromium, which scripts/setup.sh installs.
func browser(t *testing.T) context.Context {
	t.Helper()
	program := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			program = path
			break
		}
	}
	if program == "" {
		t.Fatal("there is no chromium on PATH; run make setup")
	}
	opts := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]), chromedp.ExecPath(program), chromedp.WindowSize(1200, 860), chromedp.Flag("disable-dev-shm-usage", true))
	if os.Geteuid() == 0 {
		opts = append(opts, chromedp.NoSandbox)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	t.Cleanup(cancel)
	ctx, stop := chromedp.NewExecAllocator(ctx, opts...)
	t.Cleanup(stop)
	ctx, end := chromedp.NewContext(ctx)
	t.Cleanup(func() {
		_ = chromedp.Cancel(ctx)
		end()
	})
	return ctx
}

// drive does one thing after the other in a browser.
func drive(ctx context.Context, t *testing.T, doing string, actions ...chromedp.Action) {
	t.Helper()
	if err := chromedp.Run(ctx, actions...); err != nil {
		var text string
		_ = chromedp.Run(ctx, chromedp.Text("body", &text))
		t.Fatalf("%s: %v; the page says:\n%s", doing, err, text)
	}
}

// see waits in the page until it shows what a selector names. Not chromedp.WaitVisible, which trips over what is replaced meanwhile.
func see(selector string) chromedp.Action {
	return evaluate(`new Promise((done) => {
		const shown = () => document.querySelector(`+strconv.Quote(selector)+`)?.checkVisibility();
		if (shown()) return done(true);
		new MutationObserver((_, watch) => {
			if (shown()) { watch.disconnect(); done(true); }
		}).observe(document, { subtree: true, childList: true, attributes: true });
	})`, nil)
}

// press clicks what a selector names, once it is there.
func press(selector string) chromedp.Action {
	return chromedp.Tasks{see(selector), evaluate(`document.querySelector(`+strconv.Quote(selector)+`).click()`, nil)}
}

// evaluate runs a script in the page and waits for what it promises.
func evaluate(script string, result any) chromedp.Action {
	return chromedp.Evaluate(script, result, func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) })
}

// leased starts a server and returns a client of it with an active lease.
func leased(t *testing.T) (url string, c *client, id string) {
	t.Helper()
	dev, _ := startDev(t, nil, "127.0.0.1:0", t.TempDir())
	c = newClient(t, dev.url)
	id = c.ask(`, "owner": "ada"`).ID
	c.await(id, "active")
	return dev.url, c, id
}

// TestConsoleRelease goes the whole way without a reload: the button, the command, its task, its end. Then nothing can be pressed any more.
func TestConsoleRelease(t *testing.T) {
	t.Parallel()
	url, c, id := leased(t)
	b := browser(t)
	var disabled, same bool
	drive(b, t, "release it",
		chromedp.Navigate(url+"/console/leases"),
		see(`#list a[title="`+id+`"]`),
		chromedp.Navigate(url+"/console/leases/"+id),
		see("#state .s-active"),
		see(".live.on"),
		chromedp.Evaluate(`window.notReloaded = true`, nil),
		press("#do-release:enabled"),
		see("#dialog-release"),
		evaluate(`document.querySelector("#dialog-release input[name=reason]").value = "seen in a browser"`, nil),
		press("#dialog-release button.danger"),
		see("#sent"),
		see(`#sent[data-outcome=applied]`),
		see("#state .s-destroyed"),
		see(`#commands tr[data-command=release] .o-applied`),
		see("#do-release:disabled"),
		chromedp.Evaluate(`document.getElementById("do-extend").disabled`, &disabled),
		chromedp.Evaluate(`window.notReloaded === true`, &same),
	)
	if !disabled || !same {
		t.Errorf("extend disabled = %v, page kept = %v, want both", disabled, same)
	}
	a, err := c.do(t.Context(), http.MethodGet, "/v1/leases/"+id+"/commands", "")
	if err != nil || !strings.Contains(string(a.body), `"via":"console"`) || !strings.Contains(string(a.body), "seen in a browser") {
		t.Errorf("the history is %s (%v), want a release via console with its reason", a.body, err)
	}
	// The task that woke the worker, in the frame of Asynqmon and in what Asynqmon knows.
	drive(b, t, "look at Asynqmon", chromedp.Navigate(url+"/console/tasks"), see("iframe.asynqmon"))
	a, err = c.do(t.Context(), http.MethodGet, "/asynqmon/api/queues/updates/completed_tasks?size=100", "")
	if err != nil || !strings.Contains(string(a.body), id) {
		t.Errorf("Asynqmon shows %d %s (%v), want a task of lease %s", a.status, a.body, err, id)
	}
}

// TestConsoleTwoBrowsers releases one lease from two browsers that both saw it active: both are answered, and it is released once.
func TestConsoleTwoBrowsers(t *testing.T) {
	t.Parallel()
	url, c, id := leased(t)
	errs := make(chan error, 2)
	both := []context.Context{browser(t), browser(t)}
	for _, b := range both {
		drive(b, t, "open it", chromedp.Navigate(url+"/console/leases/"+id), see("#do-release:enabled"),
			press("#do-release"), see("#dialog-release"))
	}
	for _, b := range both {
		go func() {
			errs <- chromedp.Run(b, press("#dialog-release button.danger"), see("#state .s-destroyed"), see("#do-release:disabled"))
		}()
	}
	for range both {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	applied := 0
	for _, cmd := range c.history(id) {
		if cmd.Outcome != nil && *cmd.Outcome == "applied" {
			applied++
		}
	}
	if applied != 1 {
		t.Errorf("%d commands were applied, want 1", applied)
	}
}

// TestConsolePages looks at the pages, light and dark: nothing keeps people out (axe-core finds nothing serious).
func TestConsolePages(t *testing.T) {
	t.Parallel()
	dev, _ := startDev(t, nil, "127.0.0.1:0", t.TempDir())
	c := newClient(t, dev.url)
	kept := c.ask(`, "owner": "ada", "data": {"job": "build 17"}`)
	c.await(kept.ID, "active")
	gone := c.ask(`, "owner": "grace"`)
	c.await(gone.ID, "active")
	if _, err := c.do(t.Context(), http.MethodPost, "/v1/leases/"+gone.ID+"/release", `{"reason": "tests are done"}`); err != nil {
		t.Fatal(err)
	}
	c.await(gone.ID, "destroyed")
	for range 6 {
		c.ask(`, "owner": "linus"`)
	}
	b := browser(t)
	var resource string
	drive(b, t, "find a resource", chromedp.Navigate(dev.url+"/console/resources"),
		chromedp.AttributeValue("#list tbody a", "href", &resource, nil))
	resource, _, _ = strings.Cut(resource, "?")
	pages := map[string]string{
		"overview": "/", "leases": "/console/leases", "lease": "/console/leases/" + kept.ID, "lease-destroyed": "/console/leases/" + gone.ID + "#panel-Log",
		"resources": "/console/resources", "resource": resource, "blueprints": "/console/blueprints", "authorizations": "/console/authorizations",
	}
	for name, path := range pages {
		for _, scheme := range []string{"light", "dark"} {
			look(b, t, dev.url+path, name, scheme)
		}
	}
}

// look opens a page in a color scheme, lets axe-core judge it, and keeps its picture if that is asked for.
func look(b context.Context, t *testing.T, url, name, scheme string) {
	t.Helper()
	var found []byte
	drive(b, t, "look at "+name,
		emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}),
		chromedp.Navigate("about:blank"), chromedp.Navigate(url), see(".live.on"),
		chromedp.Evaluate(axe, nil),
		evaluate(`axe.run().then((r) => JSON.stringify(r.violations.filter((v) => v.impact === "serious" || v.impact === "critical")
			.map((v) => v.id + ": " + v.nodes.map((n) => n.html + " " + n.failureSummary).join("; "))))`, &found),
	)
	var text string
	var violations []string
	if err := json.Unmarshal(found, &text); err == nil {
		found = []byte(text)
	}
	if err := json.Unmarshal(found, &violations); err != nil {
		t.Fatalf("axe-core said %s: %v", found, err)
	}
	for _, v := range violations {
		t.Errorf("%s, %s: %s", name, scheme, v)
	}
	if *screenshots == "" {
		return
	}
	var picture []byte
	sizes := map[string]int64{name + "-" + scheme: 1200}
	if scheme == "light" {
		sizes[name+"-phone"] = 390
	}
	for file, width := range sizes {
		drive(b, t, "picture of "+name, chromedp.EmulateViewport(width, 844), chromedp.CaptureScreenshot(&picture))
		if err := os.WriteFile(filepath.Join(*screenshots, file+".png"), picture, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	drive(b, t, "back to a desk", chromedp.EmulateViewport(1200, 860))
}

package e2e_test

import (
	"context"
	_ "embed"
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/redis/go-redis/v9"

	"drydock/examples"
)

// screenshots is where the pictures of docs go when they are to be made anew: go test ./e2e -run Console -screenshots ../docs/screenshots.
var screenshots = flag.String("screenshots", "", "write the console's screenshots into this `FOLDER`")

//go:embed testdata/axe/axe.min.js
var axe string

// TestConsolePages looks at the pages, light and dark, at a desk and on a phone.
func TestConsolePages(t *testing.T) {
	t.Parallel()
	d := newDesk(t, ofAsynqmon)
	c, b := d.client, d.b
	c.cliIn(nil, string(examples.Default()), "blueprint", "apply", "-f", "-").ends(t, 0)
	sampleUsage(t, d.redis)
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
	c.declare("phones", map[string]any{"kind": "pool", "type": "phone", "authorize": "request", "config": map[string]any{"hosts": []any{map[string]any{"name": "p1"}}}})
	must[lease](c, http.MethodPost, "/v1/leases", `{"type": "phone", "owner": "ada"}`, http.StatusAccepted)
	var resource string
	drive(b, t, "find a resource", chromedp.Navigate(c.at("/console/resources")),
		see("#list tbody a"), chromedp.Evaluate(`document.querySelector("#list tbody a").getAttribute("href")`, &resource))
	resource, _, _ = strings.Cut(resource, "?")
	pages := map[string]string{
		"overview": "/", "leases": "/console/leases", "lease": "/console/leases/" + kept.ID, "lease-destroyed": "/console/leases/" + gone.ID + "#panel-Log",
		"resources": "/console/resources", "resource": resource, "blueprints": "/console/blueprints", "authorizations": "/console/authorizations",
	}
	for name, path := range pages {
		show(b, t, c.at(path), name, see(".live.on"))
	}
	for name, button := range map[string]string{"lease": "#do-release", "authorizations": "#decline-phones-ada"} {
		drive(b, t, "open a dialog", chromedp.Navigate(c.at(pages[name])), press(button+":enabled"), see("dialog[open]"))
		look(b, t, name+"-dialog")
	}
	show(b, t, c.at("/console/tasks"), "tasks", seeInFrame("updates"))
}

// sampleUsage gives the overview's chart two hours to show, as the janitor would have noted them.
func sampleUsage(t *testing.T, rdb *testRedis) {
	t.Helper()
	key := "drydock:{" + namespaceOf(t) + "}:usage"
	pipe := rdb.Pipeline()
	pipe.Del(t.Context(), key) // what was noted at the start, which is newer
	for i := range 120 {
		pipe.XAdd(t.Context(), &redis.XAddArgs{Stream: key, Values: map[string]any{
			"ms": time.Now().Add(time.Duration(i-120) * time.Minute).UnixMilli(), "u": (i / 12 * 7) % 5, "w": (i / 20 * 5) % 3,
		}})
	}
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestConsolePagesOfTheDoor looks at the pages of those who are not let in, and at what there is to see without a Redis.
func TestConsolePagesOfTheDoor(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "tokens.yaml")
	token := newToken(t, file, "ada", "viewer", "--namespace", "lab")
	server := startRedis(t)
	api := startAPI(t, server.URL(), "--token-file", file)
	b := browser(t, "status of 403", "status of 404", "status of 503")
	show(b, t, api.url+"/console/login", "login", see("input[name=token]"))
	drive(b, t, "sign in", chromedp.Navigate(api.url+"/console/login"), fill("input[name=token]", token))
	leave(b, t, ".login button")
	show(b, t, api.url+"/?namespace=elsewhere", "error-404", see("#problem"))
	// The page has no form for what a viewer may not do.
	drive(b, t, "decide without being an operator", chromedp.Navigate(api.url+"/console/authorizations"), see(".live.on"), chromedp.Evaluate(`
		document.body.insertAdjacentHTML("beforeend", '<form method="post" action="/console/authorizations"><input name="status" value="approved"><button id="forced">x</button></form>')`, nil))
	leave(b, t, "#forced")
	drive(b, t, "read why not", see("#problem"))
	look(b, t, "error-403")
	server.stop()
	show(b, t, api.url+"/", "error-503", see("#problem"))
}

// show opens a page and looks at it.
func show(b context.Context, t *testing.T, url, name string, ready chromedp.Action) {
	t.Helper()
	// What only the part behind the # tells apart would not be loaded anew.
	drive(b, t, "open "+name, chromedp.Navigate("about:blank"), chromedp.Navigate(url), ready)
	look(b, t, name)
}

// look looks at the page that is open in both color schemes, where axe-core must find nothing serious, and on a phone, where it must not
// be wider than the screen. It keeps the pictures if that is asked for.
func look(b context.Context, t *testing.T, name string) {
	t.Helper()
	for _, scheme := range []string{"light", "dark"} {
		drive(b, t, "make "+name+" "+scheme, emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}))
		judge(b, t, name+"-"+scheme)
		picture(b, t, name+"-"+scheme)
		var wide []string
		drive(b, t, "look at it on a phone", chromedp.EmulateViewport(390, 844), chromedp.Evaluate(`
			document.documentElement.scrollWidth <= innerWidth ? [] : [...document.querySelectorAll("body *")]
				.filter((el) => el.getBoundingClientRect().right > innerWidth).slice(0, 5).map((el) => el.outerHTML.slice(0, 200))`, &wide))
		for _, element := range wide {
			t.Errorf("%s, %s: wider than a phone is %s", name, scheme, element)
		}
		if scheme == "light" {
			picture(b, t, name+"-phone")
		}
		drive(b, t, "go back to a desk", chromedp.EmulateViewport(1200, 860))
	}
}

// judge lets axe-core judge a page. What is in the frame of Asynqmon is not ours.
func judge(b context.Context, t *testing.T, name string) {
	t.Helper()
	var text string
	var violations []string
	drive(b, t, "judge "+name, chromedp.Evaluate(axe, nil),
		evaluate(`axe.run({ iframes: false }).then((r) => JSON.stringify(r.violations.filter((v) => v.impact === "serious" || v.impact === "critical")
			.map((v) => v.id + ": " + v.nodes.map((n) => n.html + " " + n.failureSummary).join("; "))))`, &text))
	if err := json.Unmarshal([]byte(text), &violations); err != nil {
		t.Fatalf("axe-core said %s: %v", text, err)
	}
	for _, v := range violations {
		t.Errorf("%s: %s", name, v)
	}
}

func picture(b context.Context, t *testing.T, name string) {
	t.Helper()
	if *screenshots == "" {
		return
	}
	var png []byte
	drive(b, t, "picture of "+name, chromedp.CaptureScreenshot(&png))
	if err := os.WriteFile(filepath.Join(*screenshots, name+".png"), png, 0o600); err != nil {
		t.Fatal(err)
	}
}

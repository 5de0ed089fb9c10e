package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// browser starts a headless Chromium, which scripts/setup.sh installs. The test fails when a page complains: an error on the console, a
// script that throws, something that cannot be loaded or that the content security policy stops. Complaints with one of the expected
// texts are those that the test is about.
func browser(t *testing.T, expected ...string) context.Context {
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
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	t.Cleanup(cancel)
	ctx, stop := chromedp.NewExecAllocator(ctx, opts...)
	t.Cleanup(stop)
	// What chromedp says about events that it does not know is noise.
	ctx, end := chromedp.NewContext(ctx, chromedp.WithErrorf(func(string, ...any) {}))
	t.Cleanup(func() {
		_ = chromedp.Cancel(ctx)
		end()
	})
	chromedp.ListenTarget(ctx, func(event any) {
		complaint := complaintOf(event)
		if complaint != "" && !slices.ContainsFunc(expected, func(text string) bool { return strings.Contains(complaint, text) }) {
			t.Errorf("the page complains: %s", complaint)
		}
	})
	return ctx
}

// ofAsynqmon is what Asynqmon's charts complain about in a frame that is small or not shown yet.
const ofAsynqmon = "A negative value is not valid"

func complaintOf(event any) string {
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.APITypeError || e.Type == runtime.APITypeWarning || e.Type == runtime.APITypeAssert {
			args, _ := json.Marshal(e.Args)
			return fmt.Sprintf("console.%s %s", e.Type, args)
		}
	case *runtime.EventExceptionThrown:
		return e.ExceptionDetails.Error()
	case *log.EventEntryAdded:
		if e.Entry.Level == log.LevelError {
			return fmt.Sprintf("%s: %s %s", e.Entry.Source, e.Entry.Text, e.Entry.URL)
		}
	}
	return ""
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

// focus gives what a selector names the focus. Not chromedp.Focus, which trips over what is replaced meanwhile.
func focus(selector string) chromedp.Action {
	return chromedp.Tasks{see(selector), evaluate(`document.querySelector(`+strconv.Quote(selector)+`).focus()`, nil)}
}

// leave clicks what a selector names and waits for the page that it leads to.
func leave(ctx context.Context, t *testing.T, selector string) {
	t.Helper()
	if _, err := chromedp.RunResponse(ctx, chromedp.Click(selector, chromedp.ByQuery)); err != nil {
		t.Fatalf("leave with %s: %v", selector, err)
	}
}

// evaluate runs a script in the page and waits for what it promises.
func evaluate(script string, result any) chromedp.Action {
	return chromedp.Evaluate(script, result, func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) })
}

// seeInFrame waits until Asynqmon's frame shows a text.
func seeInFrame(text string) chromedp.Action {
	return evaluate(`new Promise((done) => {
		const look = () => document.querySelector("iframe.asynqmon")?.contentDocument?.body?.textContent.includes(`+strconv.Quote(text)+`) ? done(true) : setTimeout(look, 50);
		look();
	})`, nil)
}

// seeFocus waits until the element with an id has the focus, which changes nothing that [see] could observe.
func seeFocus(id string) chromedp.Action {
	return evaluate(`new Promise((done) => {
		const look = () => document.activeElement?.id === `+strconv.Quote(id)+` ? done(true) : setTimeout(look, 20);
		look();
	})`, nil)
}

// textOf waits for what a selector names and returns its text.
func textOf(selector string, text *string) chromedp.Action {
	return chromedp.Tasks{see(selector), chromedp.Evaluate(`document.querySelector(`+strconv.Quote(selector)+`).textContent`, text)}
}

// fill writes into the field that a selector names.
func fill(selector, value string) chromedp.Action {
	return chromedp.Tasks{see(selector), chromedp.Evaluate(`document.querySelector(`+strconv.Quote(selector)+`).value = `+strconv.Quote(value), nil)}
}

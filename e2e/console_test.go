package e2e_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// leased returns a desk with an active lease.
func leased(t *testing.T) (d *desk, id string) {
	t.Helper()
	d = newDesk(t, ofAsynqmon)
	d.pool(1, 0)
	return d, d.await(d.ask(`, "owner": "ada"`).ID, "active").ID
}

// TestConsoleRelease goes the whole way without a reload: the button, the command, its task, its end. Then nothing can be pressed any more.
func TestConsoleRelease(t *testing.T) {
	t.Parallel()
	d, id := leased(t)
	b := d.b
	var disabled, same bool
	drive(b, t, "release it",
		chromedp.Navigate(d.at("/console/leases")),
		see(`#list a[title="`+id+`"]`),
		chromedp.Navigate(d.at("/console/leases/"+id)),
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
	a, err := d.do(t.Context(), http.MethodGet, "/v1/leases/"+id+"/commands", "")
	if err != nil || !strings.Contains(string(a.body), `"via":"console"`) || !strings.Contains(string(a.body), "seen in a browser") {
		t.Errorf("the history is %s (%v), want a release via console with its reason", a.body, err)
	}
	// The task that woke the worker, in Asynqmon, which is below the common header however one comes to it.
	drive(b, t, "look at Asynqmon", chromedp.Navigate(d.base+"/asynqmon/queues/updates?status=completed"),
		see(`.bar nav a[aria-current=page][href^="/console/tasks"]`), seeInFrame(id))
}

// TestConsoleTwoBrowsers releases one lease from two browsers that both saw it active: both are answered, and it is released once.
func TestConsoleTwoBrowsers(t *testing.T) {
	t.Parallel()
	d, id := leased(t)
	errs := make(chan error, 2)
	both := []context.Context{d.b, browser(t)}
	for _, b := range both {
		drive(b, t, "open it", chromedp.Navigate(d.at("/console/leases/"+id)), see("#do-release:enabled"),
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
	for _, cmd := range d.history(id) {
		if cmd.Outcome != nil && *cmd.Outcome == "applied" {
			applied++
		}
	}
	if applied != 1 {
		t.Errorf("%d commands were applied, want 1", applied)
	}
}

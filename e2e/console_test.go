package e2e_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

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
	b := browser(t, ofAsynqmon)
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
	// The task that woke the worker, in Asynqmon, which is below the common header however one comes to it.
	drive(b, t, "look at Asynqmon", chromedp.Navigate(url+"/asynqmon/queues/updates?status=completed"),
		see(`.bar nav a[aria-current=page][href^="/console/tasks"]`), seeInFrame(id))
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

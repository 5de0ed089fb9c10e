package e2e_test

import (
	"context"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// desk is a server whose only worker can be stopped, so that a command can be seen to wait, and a browser in front of it.
type desk struct {
	*client

	t      *testing.T
	redis  *testRedis
	worker *process
	b      context.Context
}

// newDesk takes the complaints of pages that are expected.
func newDesk(t *testing.T, complaints ...string) *desk {
	t.Helper()
	server := startRedis(t)
	api := startAPI(t, server.URL())
	worker := startWorker(t, server.URL(), "--reclaim-grace", "1ms")
	return &desk{t: t, client: newClient(t, api.url), redis: server, worker: worker, b: browser(t, complaints...)}
}

// open shows a page and marks it, so that a reload is noticed.
func (d *desk) open(path, ready string) {
	d.t.Helper()
	drive(d.b, d.t, "open "+path, chromedp.Navigate(d.at(path)), see(ready), see(".live.on"), chromedp.Evaluate(`window.notReloaded = true`, nil))
}

// confirm presses a button, reads in its dialog what will happen, and presses what the dialog is for.
func (d *desk) confirm(button, dialog, says string, more ...chromedp.Action) {
	d.t.Helper()
	text := ""
	drive(d.b, d.t, "press "+button, press(button+":enabled"), textOf(dialog, &text), chromedp.Tasks(more))
	if !strings.Contains(text, says) {
		d.t.Errorf("the dialog of %s says %q, not %q", button, text, says)
	}
	drive(d.b, d.t, "confirm "+button, press(dialog+" .buttons button:not([data-close])"))
}

// kept fails the test if the page was loaded again.
func (d *desk) kept() {
	d.t.Helper()
	var same bool
	drive(d.b, d.t, "look for the mark", chromedp.Evaluate(`window.notReloaded === true`, &same))
	if !same {
		d.t.Error("the page was loaded again")
	}
}

// command sends a command with its button, and sees it wait and then come out, all on the same page.
func (d *desk) command(name, says, then string, more ...chromedp.Action) {
	d.t.Helper()
	d.worker.signal(syscall.SIGSTOP)
	more = append(more, fill("#dialog-"+name+" input[name=reason]", name+" in a browser"))
	d.confirm("#do-"+name, "#dialog-"+name, says, more...)
	drive(d.b, d.t, "see that "+name+" waits", see(`#sent[data-command=`+name+`][data-outcome=""]`), see(`#commands tr[data-command=`+name+`] .s-pending`))
	d.worker.signal(syscall.SIGCONT)
	drive(d.b, d.t, "see what comes of "+name, see(`#sent[data-command=`+name+`][data-outcome=applied]`),
		see(`#commands tr[data-command=`+name+`] .o-applied`), see(then))
}

func TestConsoleCommands(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.pool(1, 0)
	l := d.await(d.ask(`, "owner": "ada", "ttl": "10m"`).ID, "active")
	d.open("/console/leases/"+l.ID, "#state .s-active")
	d.command("extend", "ends this long from now", "#state .s-active", fill("#dialog-extend input[name=ttl]", "2h"))
	d.kept()
	if longer := d.lease(l.ID); !longer.Until.After(*l.Until) {
		t.Errorf("the lease ends %s, as before it was extended (%s)", longer.Until, l.Until)
	}
	d.release(l.ID)
	d.await(l.ID, "destroyed")

	d.open("/console/resources/"+deref(l.Resource), "#do-pause:enabled")
	d.command("pause", "takes no new leases", "#state .s-paused")
	d.command("unpause", "takes leases again", "#do-pause:enabled")
	d.command("update", "blueprint reads it again", "#do-update:enabled")
	drive(d.b, t, "see that what has no end cannot be extended", see("#do-extend:disabled"))
	d.command("reclaim", "If nobody uses it", "#state .s-destroyed")
	drive(d.b, t, "see that nothing can be done", see("#do-release:disabled"))
	d.kept()
}

// TestConsoleReleasesASelection: of three leases, two are selected.
func TestConsoleReleasesASelection(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.pool(3, 0)
	var ids [3]string
	for i := range ids {
		ids[i] = d.await(d.ask(`, "owner": "ada"`).ID, "active").ID
	}
	row := func(id string) string { return `#list tr:has(input[value="` + id + `"])` }
	d.open("/console/leases?status=&owner=ada", row(ids[2]))
	drive(d.b, t, "select two", see("#bulk-open:disabled"), press(row(ids[0])+" input"), press(row(ids[1])+" input"))
	d.confirm("#bulk-open", "#bulk-dialog", "Release 2 leases?", fill("#bulk-dialog input[name=reason]", "both are done"))
	drive(d.b, t, "see them end", see("#results li:nth-child(2)"), see(row(ids[0])+" .s-destroyed"), see(row(ids[1])+" .s-destroyed"), see(row(ids[2])+" .s-active"),
		see("#bulk-open:disabled"))
	d.kept()
	for i, want := range []int{1, 1, 0} {
		if got := d.history(ids[i]); len(got) != want || want == 1 && deref(got[0].Reason) != "both are done" {
			t.Errorf("lease %d was sent %+v, want %d releases because both are done", i, got, want)
		}
	}
}

func TestConsoleDecisions(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.declare("phones", map[string]any{"kind": "pool", "type": "host", "authorize": "request", "config": map[string]any{"hosts": []any{map[string]any{"name": "p1"}}}})
	d.open("/console/authorizations", "#list .empty")
	ada, bob := d.ask(`, "owner": "ada"`), d.ask(`, "owner": "bob"`)
	drive(d.b, t, "see who asks", see("#approve-phones-ada"), see("#decline-phones-bob"))
	d.confirm("#approve-phones-ada", "#decide", "Approve ada for phones?", fill("#decide input[name=reason]", "joined the team"))
	d.await(ada.ID, "active")
	drive(d.b, t, "see that ada is approved", see("#approve-phones-ada:disabled"), see(`#list tr:has(#approve-phones-ada) .s-approved`))
	d.confirm("#decline-phones-bob", "#decide", "so do later ones")
	d.await(bob.ID, "destroyed")
	drive(d.b, t, "see that bob is declined", see("#decline-phones-bob:disabled"), see("#approve-phones-bob:enabled"))
	d.kept()

	d.open("/console/blueprints", "#enable-phones")
	enabled := func(want bool) {
		if got := must[struct{ Enabled bool }](d.client, http.MethodGet, "/v1/blueprints/phones", "", http.StatusOK); got.Enabled != want {
			t.Errorf("the blueprint is enabled: %t, want %t", got.Enabled, want)
		}
	}
	d.confirm("#enable-phones", "#enable", "takes no new leases")
	drive(d.b, t, "see it disabled", see(`#list tr:has(#enable-phones) .s-released`))
	enabled(false)
	d.confirm("#enable-phones", "#enable", "first to those who wait")
	drive(d.b, t, "see it enabled", see(`#list tr:has(#enable-phones) .s-active`))
	enabled(true)
	// What somebody else declares tells no event.
	d.declare("tablets", map[string]any{"kind": "pool", "type": "tablet", "config": map[string]any{"hosts": []any{map[string]any{"name": "t1"}}}})
	drive(d.b, t, "see what somebody else declared", see("#enable-tablets"))
	d.kept()
}

// TestConsoleSession signs in and out: the token is what the API takes, no script can read the session, and it is gone afterwards.
func TestConsoleSession(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "tokens.yaml")
	token := newToken(t, file, "root", "admin", "--namespace", "*")
	api := startAPI(t, startRedis(t).URL(), "--token-file", file)
	b := browser(t, "status of 401", ofAsynqmon)
	var problem, where, who, cookies string
	drive(b, t, "come with a wrong token", chromedp.Navigate(api.url+"/console/leases?owner=ada"), fill(".login input[name=token]", "ddk_"+strings.Repeat("0", 64)))
	leave(b, t, ".login button")
	drive(b, t, "read why not", textOf(".login .notice.bad", &problem))
	if !strings.Contains(problem, "That did not work") {
		t.Errorf("a wrong token is told %q", problem)
	}
	drive(b, t, "come with the right token", fill(".login input[name=token]", token))
	leave(b, t, ".login button")
	drive(b, t, "look around", textOf(".who .muted", &who), chromedp.Location(&where), chromedp.Evaluate(`document.cookie`, &cookies), see(".live.on"))
	if who != "root (admin)" || where != api.url+"/console/leases?owner=ada" || cookies != "" {
		t.Errorf("signed in as %q at %s, and scripts see the cookies %q; want root at the page that was asked for, and none", who, where, cookies)
	}
	drive(b, t, "look at Asynqmon with the session", chromedp.Navigate(api.url+"/asynqmon/"), seeInFrame("Queues"))
	leave(b, t, `form[action="/console/logout"] button`)
	drive(b, t, "come back", see(".login input[name=token]"), chromedp.Navigate(api.url+"/"), see(".login input[name=token]"), chromedp.Location(&where))
	if where != api.url+"/console/login?next=%2F" {
		t.Errorf("signed out, / leads to %s", where)
	}
}

// TestConsoleOldestCommand: while no worker runs, the overview says what has waited longest, of any kind of object.
func TestConsoleOldestCommand(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.pool(1, 0)
	l := d.await(d.ask(`, "owner": "ada"`).ID, "active")
	drive(d.b, t, "see that none waits", chromedp.Navigate(d.at("/")), see("#oldest"), see(".live.on"))
	d.worker.signal(syscall.SIGSTOP)
	must[any](d.client, http.MethodPost, "/v1/resources/"+deref(l.Resource)+"/commands", `{"command": "pause"}`, http.StatusAccepted)
	d.release(l.ID)
	drive(d.b, t, "see that the pause waits", see(`#oldest a[href^="/console/resources/`+deref(l.Resource)+`"]`))
	d.worker.signal(syscall.SIGCONT)
	drive(d.b, t, "see that none waits any more", see("#overview:not(:has(#oldest a))"))
}

// TestConsoleKeyboard releases a lease without a mouse: what has been dismissed gives the focus back.
func TestConsoleKeyboard(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.pool(1, 0)
	l := d.await(d.ask(`, "owner": "ada"`).ID, "active")
	d.open("/console/leases/"+l.ID, "#do-release:enabled")
	drive(d.b, t, "change one's mind", focus("#do-release"), chromedp.KeyEvent(kb.Enter), see("#dialog-release"),
		chromedp.KeyEvent(kb.Escape), see("body:not(:has(dialog[open]))"), seeFocus("do-release"))
	drive(d.b, t, "go to the log", focus("#tab-Properties"), chromedp.KeyEvent(kb.ArrowLeft), chromedp.KeyEvent(kb.ArrowLeft), see("#panel-Log"))
	drive(d.b, t, "release it", focus("#do-release"), chromedp.KeyEvent(kb.Enter), see("#dialog-release"),
		focus("#dialog-release input[name=reason]"), chromedp.KeyEvent("no mouse"), chromedp.KeyEvent(kb.Enter), see("#state .s-destroyed"))
	if got := d.history(l.ID); len(got) != 1 || deref(got[0].Reason) != "no mouse" {
		t.Errorf("the lease was sent %+v", got)
	}
	d.kept()
}

package main

import (
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"drydock/api/wire"
)

// teller tells people what goes on, on stderr: on a terminal one line that changes, elsewhere a line per change.
type teller struct {
	w    io.Writer
	live bool
	// open says that the line on the terminal is not ended yet.
	open bool
	// last is what was told last, without the elapsed time, and at when.
	last string
	at   time.Time
}

// remind is how often an unchanged state is told again where lines stay.
const remind = time.Minute

func newTeller(w io.Writer) *teller { return &teller{w: w, live: isTerminal(w)} }

// progress tells what is waited for.
func (t *teller) progress(text string, elapsed time.Duration) {
	text = oneLine(text)
	now := time.Now()
	full := fmt.Sprintf("%s (%s)", text, short(elapsed))
	switch {
	case t.live:
		// What does not fit would wrap, and a line that wraps cannot be written over.
		const width = 79
		if runes := []rune(full); len(runes) > width {
			full = string(runes[:width-1]) + "…"
		}
		fmt.Fprint(t.w, "\r\x1b[K"+full)
		t.open = utf8.RuneCountInString(full) > 0
	case text != t.last || now.Sub(t.at) >= remind:
		fmt.Fprintln(t.w, full)
		t.at = now
	}
	t.last = text
}

// done ends the line that changes.
func (t *teller) done() {
	if t.open {
		fmt.Fprint(t.w, "\r\x1b[K")
		t.open = false
	}
}

// notef tells something once.
func (t *teller) notef(format string, args ...any) {
	t.done()
	fmt.Fprintln(t.w, oneLine(fmt.Sprintf(format, args...)))
}

// interval is how often to look at what is waited for: a person wants to see the time pass.
func (t *teller) interval() time.Duration {
	if t.live {
		return time.Second
	}
	return 5 * time.Second
}

// leaseProgress tells where a lease stands that is waited for.
func (t *teller) leaseProgress(begin time.Time) func(wire.Lease) {
	return func(l wire.Lease) {
		switch {
		case l.Status == "active":
			return
		case l.Releasing:
			t.progress("lease "+l.ID+" is being released", time.Since(begin))
		case l.Waiting != nil && l.Waiting.Reason != "":
			t.progress(fmt.Sprintf("waiting for a %s, %s in the queue: %s", l.Type, ordinal(l.Waiting.Position), l.Waiting.Reason), time.Since(begin))
		case l.Waiting != nil:
			t.progress(fmt.Sprintf("waiting for a %s, %s in the queue", l.Type, ordinal(l.Waiting.Position)), time.Since(begin))
		default:
			t.progress(fmt.Sprintf("lease %s is %s", l.ID, l.Status), time.Since(begin))
		}
	}
}

// ordinal writes a place in a queue.
func ordinal(n int64) string {
	suffix := "th"
	switch {
	case n%100 >= 11 && n%100 <= 13:
	case n%10 == 1:
		suffix = "st"
	case n%10 == 2:
		suffix = "nd"
	case n%10 == 3:
		suffix = "rd"
	}
	return fmt.Sprintf("%d%s", n, suffix)
}

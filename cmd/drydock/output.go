package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"drydock/api/wire"
)

// printer prints what a command was asked for, on stdout: tables for people or JSON for programs.
type printer struct {
	w      io.Writer
	json   bool
	colour bool
}

func newPrinter(w io.Writer, asJSON bool) printer {
	// https://no-color.org: set and not empty.
	return printer{w: w, json: asJSON, colour: !asJSON && isTerminal(w) && os.Getenv("NO_COLOR") == ""}
}

// object prints one of the API's objects, or a page of them.
func (p printer) object(v any) error {
	enc := json.NewEncoder(p.w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// line prints one object of a stream on a line of its own.
func (p printer) line(v any) error {
	enc := json.NewEncoder(p.w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// whole is a page that holds all there is.
func whole[T any](items []T) wire.Page[T] {
	if items == nil {
		items = []T{}
	}
	return wire.Page[T]{Items: items}
}

// colour is how a terminal is told; empty = plain.
type colour string

const (
	green  colour = "32"
	yellow colour = "33"
	red    colour = "31"
	cyan   colour = "36"
	dim    colour = "2"
	bold   colour = "1"
)

// stateColour is the colour of a state or an outcome.
func stateColour(state string) colour {
	switch state {
	case "active", "applied":
		return green
	case "pending":
		return yellow
	case "acquired":
		return cyan
	case "broken", "refused":
		return red
	case "released", "destroyed", "superseded":
		return dim
	}
	return ""
}

// cell is a piece of a table.
type cell struct {
	text string
	colour
}

// plain makes cells without colour.
func plain(texts ...string) []cell {
	cells := make([]cell, len(texts))
	for i, text := range texts {
		cells[i] = cell{text: text}
	}
	return cells
}

// table prints rows in columns, under a head unless that is nil. What a caller wrote is made safe for a terminal.
func (p printer) table(head []string, rows [][]cell) error {
	if head != nil {
		heads := plain(head...)
		for i := range heads {
			heads[i].colour = bold
		}
		rows = slices.Insert(slices.Clone(rows), 0, heads)
	}
	var widths []int
	for _, row := range rows {
		for i := range row {
			row[i].text = oneLine(row[i].text)
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i].text))
		}
	}
	var b strings.Builder
	for _, row := range rows {
		for i, c := range row {
			b.WriteString(p.paint(c))
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", 2+widths[i]-utf8.RuneCountInString(c.text)))
			}
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(p.w, trimLines(b.String()))
	return err
}

// trimLines removes the blanks before line ends that empty last cells leave.
func trimLines(text string) string {
	lines := strings.SplitAfter(text, "\n")
	for i, line := range lines {
		if body, ok := strings.CutSuffix(line, "\n"); ok {
			lines[i] = strings.TrimRight(body, " ") + "\n"
		}
	}
	return strings.Join(lines, "")
}

func (p printer) paint(c cell) string {
	if !p.colour || c.colour == "" || c.text == "" {
		return c.text
	}
	return "\x1b[" + string(c.colour) + "m" + c.text + "\x1b[0m"
}

// sayf prints a sentence for people.
func (p printer) sayf(format string, args ...any) error {
	_, err := fmt.Fprintln(p.w, oneLine(fmt.Sprintf(format, args...)))
	return err
}

// oneLine makes text that somebody else wrote fit for a line on a terminal.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return ' '
		}
		return r
	}, text)
}

// or returns the text, or a dash for none.
func or[T ~string](text T) string {
	if text == "" {
		return "-"
	}
	return string(text)
}

// pairs writes attributes in the order of their names.
func pairs(attributes map[string]string) string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		list = append(list, name+"="+attributes[name])
	}
	return or(strings.Join(list, " "))
}

// relative says how far an instant is from now: "3m ago", "in 2h"; a dash for none.
func relative(at wire.Time, now time.Time) string {
	if at.IsZero() {
		return "-"
	}
	switch d := at.Sub(now); {
	case d > time.Second:
		return "in " + short(d)
	case d > -time.Second:
		return "now"
	default:
		return short(-d) + " ago"
	}
}

// short writes a duration with one unit, or two where the first is small: "45s", "5m", "1h20m", "3d".
func short(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 10*time.Minute && d%time.Minute >= time.Second:
		return fmt.Sprintf("%dm%ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 10*time.Hour && d%time.Hour >= time.Minute:
		return fmt.Sprintf("%dh%dm", int(d.Hours()), int(d.Minutes())%60)
	case d < 2*day:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d/day))
}

// stamp writes an instant in full, with its distance from now; a dash for none.
func stamp(at wire.Time, now time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return fmt.Sprintf("%s (%s)", at.Local().Format("2006-01-02 15:04:05"), relative(at, now))
}

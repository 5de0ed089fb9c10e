package console

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"time"

	"drydock/api/wire"
	"drydock/client"
	"drydock/model"
)

// view is what every page knows; Data is the page's own.
type view struct {
	Title, Tab string
	Namespace  string
	Who        string
	// Login says that there is somebody to sign out.
	Login   bool
	Now     time.Time
	Problem string
	Next    string
	// Live says that the page follows the event stream.
	Live bool
	Data any
}

// show renders a page for a visitor.
func (c *Console) show(w http.ResponseWriter, r *http.Request, v *visit, page string, out *view) error {
	out.Namespace, out.Now, out.Live = v.namespace, v.now, true
	if v.who != nil {
		out.Who, out.Login = fmt.Sprintf("%s (%s)", v.who.Name, v.role()), true
	}
	c.render(w, r, http.StatusOK, page, out)
	return nil
}

func (c *Console) render(w http.ResponseWriter, r *http.Request, status int, page string, out *view) {
	var b bytes.Buffer
	if err := c.pages[page].ExecuteTemplate(&b, "layout.html", out); err != nil {
		c.cfg.Log.ErrorContext(r.Context(), "could not make a page of the console", "page", page, "error", err)
		http.Error(w, "The page could not be made; the server's log says why.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // a browser that went away needs no answer
}

// fail shows an error as a page that says what happened.
func (c *Console) fail(w http.ResponseWriter, r *http.Request, v *visit, err error) {
	out := &view{Title: "That did not work", Now: c.cfg.Now(), Problem: explain(err)}
	if v != nil {
		out.Namespace = v.namespace
		if v.who != nil {
			out.Who, out.Login = v.who.Name, true
		}
	}
	c.render(w, r, statusOf(err), "error", out)
}

func statusOf(err error) int {
	if e, ok := errors.AsType[*client.Error](err); ok && e.Status != 0 {
		return e.Status
	}
	if status, ok := statuses[model.KindOf(err)]; ok {
		return status
	}
	return http.StatusInternalServerError
}

// statuses are those of the errors that the console makes itself; the rest are the API's.
var statuses = map[model.ErrorKind]int{
	model.ErrorInvalid: http.StatusUnprocessableEntity, model.ErrorForbidden: http.StatusForbidden, model.ErrorUnavailable: http.StatusServiceUnavailable,
	model.ErrorUnauthenticated: http.StatusUnauthorized,
}

// explain says to a person what an error is. What is nobody's business stays in the log.
func explain(err error) string {
	if e, ok := errors.AsType[*client.Error](err); ok {
		return e.Error()
	}
	if e, ok := errors.AsType[*model.Error](err); ok && e.Kind != model.ErrorInternal {
		return e.Error()
	}
	return "an unexpected error; the server's log says more"
}

func escape(s string) string { return url.QueryEscape(s) }

// functions are what templates can call.
var functions = template.FuncMap{
	"ago":      ago,
	"exact":    func(t wire.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
	"iso":      func(t wire.Time) string { return t.UTC().Format(time.RFC3339) },
	"wiretime": func(t time.Time) wire.Time { return wire.Time{Time: t} },
	"short":    short,
	// An EventSource hears only the events that it names.
	"eventTypes": func() string { return strings.Join(words(model.EventTypes()), " ") },
	"length":     length,
	"json": func(raw json.RawMessage) string {
		var b bytes.Buffer
		if len(raw) == 0 || json.Indent(&b, raw, "", "  ") != nil {
			return ""
		}
		return b.String()
	},
	"plural": func(n any, one, many string) string {
		if number := fmt.Sprint(n); number != "1" {
			return number + " " + many
		}
		return "1 " + one
	},
	"dict": func(pairs ...any) map[string]any {
		m := map[string]any{}
		for i := 0; i+1 < len(pairs); i += 2 {
			m[fmt.Sprint(pairs[i])] = pairs[i+1]
		}
		return m
	},
}

// short is the end of an id, which tells newer ids apart better than the beginning, where the time is.
func short(id any) string {
	s := fmt.Sprint(id)
	if len(s) <= 10 {
		return s
	}
	return "…" + s[len(s)-8:]
}

// ago says a time as seen from now.
func ago(now time.Time, t wire.Time) string {
	d := now.Sub(t.Time)
	switch {
	case t.IsZero():
		return "never"
	case d < -time.Second:
		return "in " + length(-d)
	case d < 2*time.Second:
		return "just now"
	}
	return length(d) + " ago"
}

// length says a duration in its largest unit or two.
func length(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return strings.TrimSuffix(fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60), " 0 min")
	}
	return fmt.Sprintf("%d days", int(d.Hours())/24)
}

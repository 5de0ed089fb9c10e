// Package asynqmon mounts Asynqmon, the dashboard of asynq, as an http.Handler. It shows the update tasks and their queues and can
// pause, run and delete them. None of that can lose a command: tasks only wake workers, and the sweeper makes new ones.
//
// Asynqmon has no authentication of its own: whoever reaches the handler may use it, so package api asks before it passes a request on.
// Its page links to web fonts on another site, which this package leaves out: opening a dashboard tells nobody else, and works offline.
package asynqmon

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/hibiken/asynq"
	"github.com/hibiken/asynqmon"
)

// UI is the dashboard.
type UI struct {
	handler *asynqmon.HTTPHandler
	// whole are the beginnings of the paths of what is passed on as it is.
	whole []string
}

// Handler returns the dashboard for the queues in the Redis of opt, to be mounted on rootPath and everything below it, without
// anything stripped from the path. With readOnly it refuses whatever changes something. It panics when rootPath is not absolute or opt
// is nil, which are mistakes in the program.
//
// It opens connections of its own when they are first needed; [UI.Close] closes them.
func Handler(opt asynq.RedisConnOpt, rootPath string, readOnly bool) *UI {
	return &UI{whole: []string{rootPath + "/api/", rootPath + "/static/"}, handler: asynqmon.New(asynqmon.Options{
		RootPath:         rootPath,
		RedisConnOpt:     opt,
		PayloadFormatter: asynqmon.PayloadFormatterFunc(formatPayload),
		ReadOnly:         readOnly,
	})}
}

// ServeHTTP serves the page, its assets and the calls that the page makes.
func (u *UI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if slices.ContainsFunc(u.whole, func(begin string) bool { return strings.HasPrefix(r.URL.Path, begin) }) {
		u.handler.ServeHTTP(w, r)
		return
	}
	page := &page{ResponseWriter: w}
	u.handler.ServeHTTP(page, r)
	_, _ = w.Write(fonts.ReplaceAll(page.body, nil)) // a browser that went away needs no answer
}

// fonts are the links to the fonts of another site.
var fonts = regexp.MustCompile(`<link rel="stylesheet" href="https://[^"]*"/>`)

// page keeps what is written of a page, which is small, until it is whole.
type page struct {
	http.ResponseWriter

	body []byte
}

func (p *page) Write(b []byte) (int, error) {
	p.body = append(p.body, b...)
	return len(b), nil
}

// Close closes the dashboard's connections.
func (u *UI) Close() error { return u.handler.Close() }

// payload is what a task of ours for one object carries: its name and nothing else. See is added for the reader.
type payload struct {
	Namespace string `json:"namespace"`
	ID        string `json:"id"`
	See       string `json:"see"`
}

// batch is the same for several objects.
type batch struct {
	Namespace string   `json:"namespace"`
	Objects   []string `json:"objects"`
	See       []string `json:"see"`
}

// formatPayload shows the payload of a task, and where the API shows its objects. What is not one of our payloads is shown as Asynqmon
// would.
func formatPayload(taskType string, raw []byte) string {
	noun, _, ok := strings.Cut(taskType, ":")
	var shown any
	switch {
	case !ok:
	case noun == "batch":
		shown = formatBatch(raw)
	default:
		var p payload
		if json.Unmarshal(raw, &p) == nil && p.ID != "" && p.Namespace != "" {
			p.See = address(noun, p.ID, p.Namespace)
			shown = p
		}
	}
	out, err := json.Marshal(shown)
	if shown == nil || err != nil {
		return asynqmon.DefaultPayloadFormatter(taskType, raw)
	}
	return string(out)
}

// formatBatch returns nil when it is not a batch of ours.
func formatBatch(raw []byte) any {
	var b batch
	if json.Unmarshal(raw, &b) != nil || b.Namespace == "" || len(b.Objects) == 0 {
		return nil
	}
	b.See = nil
	for _, member := range b.Objects {
		noun, id, _ := strings.Cut(member, ":")
		if noun == "" || id == "" {
			return nil
		}
		b.See = append(b.See, address(noun, id, b.Namespace))
	}
	return b
}

// address is where the API shows an object.
func address(noun, id, namespace string) string {
	return "/v1/" + url.PathEscape(noun) + "s/" + url.PathEscape(id) + "?namespace=" + url.QueryEscape(namespace)
}

package client

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"

	"drydock/api/wire"
	"drydock/model"
)

// EventOptions say which events to follow, from where on, and how patiently. An empty list selects all.
type EventOptions struct {
	Types  []model.Kind
	Object string // the id of a lease or resource
	Events []model.EventType
	Status []string
	// After is the id of the event behind which to begin: "0" is before the oldest that is kept, empty is now.
	After string
	// UntilNow ends with the last event that there is when following begins, instead of waiting for more. Begin behind an id, or "0".
	UntilNow bool
	// Patience is how long the server may be out of reach before following fails; default 1m. A server that was never reached
	// gets as many attempts as any other request.
	Patience time.Duration
	// Silence is how long nothing may come, not even a heartbeat, before the connection is taken for dead; default 45s, three times the
	// server's interval.
	Silence time.Duration
}

func (o EventOptions) withDefaults() EventOptions {
	o.Patience, o.Silence = cmp.Or(o.Patience, time.Minute), cmp.Or(o.Silence, 45*time.Second)
	return o
}

func (o EventOptions) params() []string {
	words := func(list []string) string { return strings.Join(list, ",") }
	var types, events []string
	for _, t := range o.Types {
		types = append(types, string(t))
	}
	for _, e := range o.Events {
		events = append(events, string(e))
	}
	return []string{"type", words(types), "object", o.Object, "event", words(events), "status", words(o.Status)}
}

// Events follows what happens in the namespace, in order. It connects again when the connection is lost, with the last id that it has
// seen, so nothing is told twice and nothing left out: where events are no longer kept by then, it tells a [model.EventGap], which
// passes every filter, and whoever follows must read the objects anew. It ends with the first error, the context's included.
func (c *Client) Events(ctx context.Context, o EventOptions) iter.Seq2[wire.Event, error] {
	o = o.withDefaults()
	return func(yield func(wire.Event, error) bool) {
		f := &follower{client: c, opts: o, after: o.After}
		filter := model.EventFilter{}
		if o.UntilNow {
			// Filtered here, because the server says nothing of how far it has come while nothing passes its filter.
			filter = model.EventFilter{Types: o.Types, Object: o.Object, Events: o.Events, Status: o.Status}
			f.opts.Types, f.opts.Object, f.opts.Events, f.opts.Status = nil, "", nil, nil
			if err := filter.Check("type", "event", "status"); err != nil {
				yield(wire.Event{}, err)
				return
			}
			end, err := c.lastPosition(ctx, o)
			if err != nil {
				yield(wire.Event{}, err)
				return
			}
			f.end = &end
		}
		enough := false
		err := f.run(ctx, func(e wire.Event) bool {
			told := model.Event{Object: model.Ref{Kind: model.Kind(e.Type), ID: string(e.Object)}, Event: model.EventType(e.Event), Status: string(e.Status)}
			if filter.Matches(&told) {
				enough = !yield(e, nil)
			}
			return !enough
		})
		if err != nil && !enough {
			yield(wire.Event{}, err)
		}
	}
}

// lastPosition asks where events from now on begin.
func (c *Client) lastPosition(ctx context.Context, o EventOptions) (position, error) {
	f := &follower{client: c, opts: EventOptions{Patience: o.Patience, Silence: o.Silence}, end: &position{}}
	err := f.run(ctx, func(wire.Event) bool { return true })
	return positionOf(f.after), err
}

// position is where an event stands among all: the parts of its id. An id with a third part is of one of several events of one
// instant, which come before the one without.
type position struct {
	at, number uint64
	inner      bool
}

// positionOf reads an id; one that is none is before all others.
func positionOf(id string) (p position) {
	at, rest, _ := strings.Cut(id, "-")
	number, _, inner := strings.Cut(rest, "-")
	p.inner = inner
	p.at, _ = strconv.ParseUint(at, 10, 64)
	p.number, _ = strconv.ParseUint(number, 10, 64)
	return p
}

// reaches reports whether all events up to another position have been told.
func (p position) reaches(end position) bool {
	switch {
	case p.at != end.at:
		return p.at > end.at
	case p.number != end.number:
		return p.number > end.number
	}
	return !p.inner || end.inner
}

// follower is one run of [Client.Events], over several connections.
type follower struct {
	client *Client
	opts   EventOptions
	// after is the id to go on behind.
	after string
	// heard is when something came last, zero before the first connection.
	heard time.Time
	// end is where to stop; nil = nowhere.
	end *position
	// opened, unless nil, is told of each connection when it is open and when it is lost.
	opened func(open bool)
}

// run follows connection after connection until the caller has enough, which is no error.
func (f *follower) run(ctx context.Context, tell func(wire.Event) bool) error {
	for attempt := 1; ; attempt++ {
		before := f.heard
		err := f.connect(ctx, tell)
		if err == nil {
			return nil
		}
		if f.heard.After(before) {
			attempt = 1
		}
		if err = f.again(ctx, attempt, err); err != nil {
			return err
		}
	}
}

// again waits before the next connection, or returns the error with which to give up.
func (f *follower) again(ctx context.Context, attempt int, err error) error {
	if e := ctx.Err(); e != nil {
		return e
	}
	retry := f.client.cfg.Retry
	var asked time.Duration
	if failed, ok := errors.AsType[*Error](err); ok {
		never := f.heard.IsZero() && attempt >= retry.Attempts
		if !failed.unavailable() || never || !f.heard.IsZero() && time.Since(f.heard) > f.opts.Patience {
			return err
		}
		asked = failed.RetryAfter
	}
	delay, ok := retry.delay(attempt, asked)
	if !ok {
		return err
	}
	return sleep(ctx, delay)
}

// errSilence is why a connection ends on which nothing comes any more.
var errSilence = errors.New("nothing came, not even a heartbeat")

// connect follows one connection to its end and returns why it ended, an [*Error]; nil when the caller has enough.
func (f *follower) connect(ctx context.Context, tell func(wire.Event) bool) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(f.client.cfg.AttemptTimeout, func() { cancel(errSilence) })
	defer silence.Stop()

	header := map[string]string{"Accept": "text/event-stream"}
	if f.after != "" {
		header["Last-Event-ID"] = f.after
	}
	req := call{method: http.MethodGet, path: []string{"v1", "events"}, query: params(f.opts.params()...), header: header}
	r, err := f.client.request(ctx, req, nil)
	if err != nil {
		return err
	}
	resp, err := f.client.cfg.HTTP.Do(r)
	if err != nil {
		return noAnswer(req, false, cmp.Or(context.Cause(ctx), err))
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return answerError(resp)
	}
	if mediaType, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); mediaType != "text/event-stream" {
		return &Error{Status: resp.StatusCode, Detail: "the answer is no stream of events", RequestID: resp.Header.Get(wire.HeaderRequestID)}
	}
	if f.opened != nil {
		defer f.opened(false)
	}
	stream := eventStream{lines: bufio.NewReader(resp.Body)}
	for {
		silence.Reset(f.opts.Silence)
		data, err := stream.next()
		if err != nil {
			// The server ended it, or the network did: either way there is more to come on another connection.
			return noAnswer(req, false, cmp.Or(context.Cause(ctx), err))
		}
		f.heard = time.Now()
		if f.opened != nil { // with its first block, which is when it begins at the latest
			f.opened(true)
		}
		if len(data) > 0 {
			var e wire.Event
			if err := json.Unmarshal(data, &e); err != nil {
				return &Error{Status: resp.StatusCode, Detail: fmt.Sprintf("the event is not what Drydock says: %s", err), Cause: err}
			}
			silence.Stop() // the caller's time is his own
			if !tell(e) {
				return nil
			}
		}
		f.after = cmp.Or(stream.id, f.after)
		if f.end != nil && positionOf(f.after).reaches(*f.end) {
			return nil
		}
	}
}

// maxEvent bounds the lines of one event.
const maxEvent = 1 << 20

// eventStream reads server-sent events (HTML, section 9.2).
type eventStream struct {
	lines *bufio.Reader
	// id is the last id that a complete block named.
	id string
}

// next returns the data of the next block, empty for a block without: a heartbeat, which may move the id all the same.
func (s *eventStream) next() (data []byte, err error) {
	id := s.id
	for size := 0; ; {
		line, err := s.line(maxEvent - size)
		if err != nil {
			return nil, err
		}
		size += len(line) + 1 // its end counts too: empty fields add up
		if len(line) == 0 {
			s.id = id
			return data, nil
		}
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "id":
			// It is going to be sent back in a header.
			if !bytes.ContainsFunc(value, unicode.IsControl) {
				id = string(value)
			}
		case "data":
			if data != nil {
				data = append(data, '\n')
			}
			data = append(data, value...)
		}
	}
}

// line reads a line of at most so many bytes, without its end.
func (s *eventStream) line(most int) ([]byte, error) {
	var line []byte
	for {
		part, err := s.lines.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return nil, cmp.Or(err, io.ErrUnexpectedEOF)
		case len(line) > most:
			return nil, errors.New("the event is too long")
		case err == nil:
			return bytes.TrimRight(line, "\r\n"), nil
		}
	}
}

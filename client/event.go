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
	"strings"
	"time"

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
	// Patience is how long the server may be out of reach before following fails; default 1m. A server that was never reached
	// gets as many attempts as any other request.
	Patience time.Duration
	// Silence is how long nothing may come, not even a heartbeat, before the connection is taken for dead; default 45s, three times the
	// server's interval.
	Silence time.Duration
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
	return func(yield func(wire.Event, error) bool) {
		f := follower{client: c, opts: o, after: o.After}
		f.opts.Patience = cmp.Or(o.Patience, time.Minute)
		f.opts.Silence = cmp.Or(o.Silence, 45*time.Second)
		more := true
		for attempt := 1; more; attempt++ {
			before := f.heard
			err := f.connect(ctx, func(e wire.Event) bool {
				more = yield(e, nil)
				return more
			})
			if !more {
				return
			}
			if f.heard.After(before) {
				attempt = 1
			}
			if err = f.again(ctx, attempt, err); err != nil {
				yield(wire.Event{}, err)
				return
			}
		}
	}
}

// follower is one run of [Client.Events], over several connections.
type follower struct {
	client *Client
	opts   EventOptions
	// after is the id to go on behind.
	after string
	// heard is when something came last, zero before the first connection.
	heard time.Time
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
	stream := eventStream{lines: bufio.NewReader(resp.Body)}
	for {
		silence.Reset(f.opts.Silence)
		data, err := stream.next()
		if err != nil {
			// The server ended it, or the network did: either way there is more to come on another connection.
			return noAnswer(req, false, cmp.Or(context.Cause(ctx), err))
		}
		f.heard = time.Now()
		if len(data) > 0 {
			var e wire.Event
			if err := json.Unmarshal(data, &e); err != nil {
				return &Error{Status: resp.StatusCode, Detail: fmt.Sprintf("the event is not what Drydock says: %s", err), Cause: err}
			}
			// Not told again on the next connection, also when the caller goes on from here by himself.
			f.after = cmp.Or(stream.id, f.after)
			silence.Stop() // the caller's time is his own
			if !tell(e) {
				return nil
			}
			continue
		}
		f.after = cmp.Or(stream.id, f.after)
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
		size += len(line)
		if len(line) == 0 {
			s.id = id
			return data, nil
		}
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "id":
			id = string(value)
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
		case err == nil:
			return bytes.TrimRight(line, "\r\n"), nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, cmp.Or(err, io.ErrUnexpectedEOF)
		case len(line) > most:
			return nil, errors.New("the event is too long")
		}
	}
}

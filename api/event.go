package api

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"drydock/api/wire"
	"drydock/model"
)

// Events is the part of a [Store] that tells what happens.
type Events interface {
	// FollowEvents returns a reader that begins behind a position: the id of an event, "0" for the oldest that is kept, "" for now.
	FollowEvents(ctx context.Context, namespace, after string) (model.EventReader, error)
}

const eventsPath = "/v1/events"

// headerLastEventID is what browsers send when they open a stream again.
const headerLastEventID = "Last-Event-ID"

// How long a stream may be silent, and how long a reader may take for what is written at one time before he is cut off.
const (
	defaultHeartbeat  = 15 * time.Second
	defaultStreamSlow = 10 * time.Second
)

// streamRetry is how long a stream waits when it could not read.
const streamRetry = time.Second

// streams reports whether a request is for an event stream, which has no end of its own.
func streams(c echo.Context) bool { return c.Path() == eventsPath }

// streamEvents tells what happens, as server-sent events: GET /v1/events.
func (s *Server) streamEvents(c echo.Context) error {
	q, err := readQuery(c, "type", "object", "event", "status", "after")
	if err != nil {
		return err
	}
	filter, err := q.eventFilter()
	if err != nil {
		return err
	}
	after, err := q.after()
	if err != nil {
		return err
	}
	// A browser that reconnects asks for the same address as before and adds the header.
	field := "after"
	if id := c.Request().Header.Get(headerLastEventID); id != "" {
		if after, field = id, headerLastEventID; len(id) > maxCursor || !printable(id) {
			return model.Invalid(field, "must be the id of an event")
		}
	}
	if s.streams.Add(1) > int64(s.cfg.MaxStreams) {
		s.streams.Add(-1)
		return model.Errorf(model.ErrorUnavailable, "too many event streams are open already")
	}
	defer s.streams.Add(-1)
	s.metrics.streams.Inc()
	defer s.metrics.streams.Dec()

	ctx, cancel := context.WithCancel(c.Request().Context())
	defer cancel()
	opening, opened := context.WithTimeout(ctx, s.cfg.RequestTimeout)
	reader, err := s.cfg.Store.FollowEvents(opening, q.namespace, after)
	opened()
	if err != nil {
		return ofField(field, err)
	}
	defer reader.Close()

	h := c.Response().Header()
	h.Set(echo.HeaderContentType, "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // a proxy must not collect events before it hands them on
	st := &eventStream{c: c, rc: http.NewResponseController(c.Response().Writer), slow: s.cfg.StreamSlow}
	c.Response().WriteHeader(http.StatusOK)
	// The position, without an event: who reconnects before the first event still misses none.
	st.comment("events of namespace "+q.namespace, reader.Position())
	if err := st.flush(); err != nil {
		return nil // the reader has gone
	}
	stop := context.AfterFunc(s.untilDrain, cancel)
	defer stop()
	if err := s.stream(ctx, st, reader, &filter); err != nil {
		return nil // the reader has gone, or was too slow; he resumes elsewhere
	}
	return nil
}

// ofField names the field of an invalid position as the caller wrote it: the store knows only of an "after".
func ofField(field string, err error) error {
	if e, ok := errors.AsType[*model.Error](err); ok && e.Kind == model.ErrorInvalid {
		return model.Invalid(field, "%s", e.Message)
	}
	return err
}

// stream writes events until ctx ends or the reader has gone, which is an error.
func (s *Server) stream(ctx context.Context, st *eventStream, reader model.EventReader, filter *model.EventFilter) error {
	heartbeatAt := time.Now().Add(s.cfg.Heartbeat)
	for {
		waiting, cancel := context.WithDeadline(ctx, heartbeatAt)
		events, err := reader.Next(waiting)
		cancel()
		switch {
		case ctx.Err() != nil:
			st.comment("this server ends the stream; connect again", "")
			return st.flush()
		case err != nil && !errors.Is(err, context.DeadlineExceeded):
			// Redis is away. A stream that ended now would have the same trouble when it is opened again.
			select {
			case <-ctx.Done():
			case <-time.After(streamRetry):
			}
		}
		for i := range events {
			if filter.Matches(&events[i]) {
				if err := st.event(&events[i]); err != nil {
					return err
				}
			}
		}
		// With a filter, the position moves while nothing is told; it must not fall behind what is kept.
		if !st.empty() || !time.Now().Before(heartbeatAt) {
			if st.empty() {
				st.comment("heartbeat", reader.Position())
			}
			if err := st.flush(); err != nil {
				return err
			}
			heartbeatAt = time.Now().Add(s.cfg.Heartbeat)
		}
	}
}

// eventStream writes server-sent events. What one read brought is written at once, and then waits for nobody longer than slow.
type eventStream struct {
	c    echo.Context
	rc   *http.ResponseController
	slow time.Duration
	buf  bytes.Buffer
}

func (st *eventStream) empty() bool { return st.buf.Len() == 0 }

func (st *eventStream) event(e *model.Event) error {
	data, err := encode(wire.FromEvent(e))
	if err != nil {
		return err
	}
	st.buf.WriteString("id: " + e.ID + "\nevent: " + string(e.Event) + "\ndata: ")
	st.buf.Write(data) // ends with the line
	st.buf.WriteByte('\n')
	return nil
}

// comment writes what no client takes for an event; with an id, the client remembers that.
func (st *eventStream) comment(text, id string) {
	st.buf.WriteString(": " + text + "\n")
	if id != "" {
		st.buf.WriteString("id: " + id + "\n")
	}
	st.buf.WriteByte('\n')
}

func (st *eventStream) flush() error {
	// Errors: a writer without deadlines is one of a test.
	_ = st.rc.SetWriteDeadline(time.Now().Add(st.slow))
	_, err := st.c.Response().Write(st.buf.Bytes())
	st.buf.Reset()
	if err != nil {
		return err
	}
	return st.rc.Flush()
}

// eventFilter returns the filter of a stream. Each parameter takes several words, with commas between.
func (q query) eventFilter() (model.EventFilter, error) {
	var f model.EventFilter
	for _, t := range q.words("type") {
		f.Types = append(f.Types, model.Kind(t))
	}
	for _, e := range q.words("event") {
		f.Events = append(f.Events, model.EventType(e))
	}
	f.Status = q.words("status")
	if err := f.Check("type", "event", "status"); err != nil {
		return f, err
	}
	var err error
	f.Object, err = q.id("object")
	return f, err
}

func (q query) words(param string) []string {
	if !q.values.Has(param) {
		return nil
	}
	return strings.Split(q.values.Get(param), ",")
}

package client

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"drydock/api/wire"
	"drydock/model"
)

// FuzzAnswerError: whatever answers, and however, the error says what can be known: the status, and what a problem says.
func FuzzAnswerError(f *testing.F) {
	const good = `{"type":"urn:drydock:problem:invalid","title":"A field breaks a rule","status":422,"detail":"ttl: is too long","code":"invalid","field":"ttl","request_id":"r1"}`
	f.Add(422, wire.ProblemContentType, "", []byte(good))
	f.Add(503, wire.ProblemContentType+"; charset=utf-8", "3", []byte(`{"code":"unavailable","field":null}`))
	f.Add(429, "application/problem+json", "Wed, 21 Oct 2035 07:28:00 GMT", []byte(`{}`))
	f.Add(502, "text/html", "-5", []byte(`<html>`))
	f.Add(301, "", "99999999999999999999", []byte(`{"detail":`))
	f.Add(0, ";;", "", []byte(`{"code":1}`))
	f.Fuzz(func(t *testing.T, status int, contentType, retryAfter string, body []byte) {
		resp := &http.Response{
			StatusCode: status, Status: "000", Body: io.NopCloser(bytes.NewReader(body)),
			Header: http.Header{"Content-Type": {contentType}, "Retry-After": {retryAfter}, wire.HeaderRequestID: {"h1"}},
		}
		e := answerError(resp)
		if e.Status != status || e.Detail == "" || e.Error() == "" || e.RetryAfter < 0 || e.RequestID == "" {
			t.Errorf("%d %s = %+v", status, body, e)
		}
		var p wire.Problem
		problem := strings.HasPrefix(contentType, wire.ProblemContentType) && json.Unmarshal(body, &p) == nil
		if e.Code != "" && (!problem || string(e.Code) != p.Code) || contentType == wire.ProblemContentType && problem && (string(e.Code) != p.Code || e.Field != string(p.Field)) {
			t.Errorf("%s %s = %+v", contentType, body, e)
		}
		is := 0
		for _, sentinel := range []error{ErrNotFound, ErrConflict, ErrPrecondition, ErrInvalid, ErrUnsatisfiable, ErrOutcomeUnknown} {
			if errors.Is(e, sentinel) {
				is++
			}
		}
		if is > 1 {
			t.Errorf("%s = %+v, which is %d things", body, e, is)
		}
	})
}

// FuzzRead: an answer is an error with its status, or it is read as it can be written again.
func FuzzRead(f *testing.F) {
	for _, seed := range []string{
		`{"items":[{"id":"x","status":"active","attributes":{"os":"linux"},"until":"2030-01-02T03:04:05Z","data":{"a":1},"waiting":{"position":1,"reason":null,"blueprints":[]}}],"next":null}`,
		`{"items":null,"next":"c"}`, `{"items":[{"until":"9999-12-31T23:59:59-12:00"}]}`, `{"items":[{"kind":"pool","max_idle_age":"90m","authorize":["a"],"on":{"type":"rack"},"config":{}}]}`,
		`{"items":[{"command":"release","origin":{"via":"api"},"sent_at":null}]}`, `<html>`, ``, `null`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		readAs[wire.Page[wire.Lease]](t, body)
		readAs[wire.Page[wire.Resource]](t, body)
		readAs[wire.Page[wire.Command]](t, body)
		readAs[wire.Page[wire.Blueprint]](t, body)
		readAs[wire.Page[wire.Subscription]](t, body)
		readAs[wire.Page[wire.Event]](t, body)
	})
}

func readAs[T any](t *testing.T, body []byte) {
	t.Helper()
	var out T
	err := read(&http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(body))}, &out)
	if err != nil {
		var e *Error
		if !errors.As(err, &e) || e.Status != http.StatusOK || e.unavailable() || e.Detail == "" {
			t.Errorf("%s: %v", body, err)
		}
		return
	}
	first, err := encode(out)
	if err != nil {
		t.Fatalf("%s is read as what cannot be written: %v", body, err)
	}
	var again T
	if err := json.Unmarshal(first, &again); err != nil {
		t.Fatalf("%s is read and written as %s: %v", body, first, err)
	}
	if second, err := encode(again); err != nil || !bytes.Equal(first, second) {
		t.Errorf("%s is written as %s and then as %s, %v", body, first, second, err)
	}
}

// counting counts what is read.
type counting struct {
	r io.Reader
	n int
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

// FuzzEventStream: a stream of whatever bytes ends with an error; no event of it, and nothing that is read for one, is larger than is
// allowed, and an id can be sent back.
func FuzzEventStream(f *testing.F) {
	f.Add([]byte(": hello\nid: 1-0\n\nid: 2-0\nevent: queued\ndata: {}\n\n"), []byte(""), uint16(0))
	f.Add([]byte(""), []byte("data: a line that is short, one of very many\n"), uint16(65535))
	f.Add([]byte("id: 1\x00\r\ndata:a\r\ndata: b\r\n\r\n"), []byte("data\n"), uint16(3))
	f.Add([]byte("data: {\"id\":\"1-0\",\ndata:  \"event\":\"gap\"}\nid\n\n\n"), []byte(":\n"), uint16(9))
	f.Fuzz(func(t *testing.T, begin, line []byte, times uint16) {
		const most = 4 << 20
		if len(line)*int(times) > most {
			times = uint16(most / len(line))
		}
		from := &counting{r: io.MultiReader(bytes.NewReader(begin), bytes.NewReader(bytes.Repeat(line, int(times))))}
		lines := bufio.NewReader(from)
		s := eventStream{lines: lines}
		for before := 0; ; {
			data, err := s.next()
			if taken := from.n - lines.Buffered() - before; taken > maxEvent+lines.Size() {
				t.Fatalf("%d bytes were read for one event", taken)
			}
			before = from.n - lines.Buffered()
			if len(data) > maxEvent || strings.ContainsFunc(s.id, unicode.IsControl) {
				t.Errorf("an event of %d bytes with the id %q", len(data), s.id)
			}
			positionOf(s.id)
			if err != nil {
				return
			}
		}
	})
}

// FuzzEvent: an event comes through a stream as it was sent.
func FuzzEvent(f *testing.F) {
	f.Add("1767366245678-0", "released", "done\nwith it", uint64(1), uint64(2))
	f.Add("", "", "\u2028\r", uint64(0), uint64(0))
	f.Fuzz(func(t *testing.T, id, event, text string, at, number uint64) {
		if strings.ContainsFunc(id+event, unicode.IsControl) || !utf8.ValidString(id) || !utf8.ValidString(event) || !utf8.ValidString(text) {
			return // the server sends nothing of the kind
		}
		data, err := encode(wire.FromEvent(&model.Event{ID: id, Event: model.EventType(event), Text: text}))
		if err != nil {
			t.Fatal(err)
		}
		s := eventStream{lines: bufio.NewReader(strings.NewReader("id: " + id + "\nevent: " + event + "\ndata: " + string(data) + "\n"))}
		got, err := s.next()
		var told wire.Event
		if err != nil || json.Unmarshal(got, &told) != nil || told.ID != id || told.Event != event || string(told.Text) != text || s.id != id {
			t.Errorf("%s comes as %s with the id %q, %v", data, got, s.id, err)
		}
		a, b := position{at: at, number: number}, position{at: number, number: at, inner: true}
		if !a.reaches(a) || !b.reaches(b) || a != b && a.reaches(b) == b.reaches(a) {
			t.Errorf("%v and %v reach each other", a, b)
		}
	})
}

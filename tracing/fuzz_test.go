package tracing

import (
	"context"
	"net/http"
	"regexp"
	"testing"
)

// FuzzTraceparent: what a caller says of his trace is taken up as it is, or not at all; what is stored of it is a traceparent.
func FuzzTraceparent(f *testing.F) {
	for _, seed := range []string{
		"", parent, unasked, "rubbish", "01-" + traceID + "-00f067aa0ba902b7-01-more", "ff-" + traceID + "-00f067aa0ba902b7-01", "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
		"00-" + traceID + "-0000000000000000-01", "00-" + traceID + "-00f067aa0ba902b7-ff", parent + "\r\nX: y", " " + parent,
	} {
		f.Add(seed)
	}
	form := regexp.MustCompile(`^00-[0-9a-f]{32}-[0-9a-f]{16}-0[0-3]$`)
	f.Fuzz(func(t *testing.T, text string) {
		stored := Carry(parse(context.Background(), text))
		if stored == "" {
			return
		}
		if !form.MatchString(stored) {
			t.Errorf("of %q, %q is stored", text, stored)
		}
		if again := Carry(parse(context.Background(), stored)); again != stored {
			t.Errorf("%q is taken up as %q", stored, again)
		}
		if len(text) < 55 || stored[3:52] != text[3:52] {
			t.Errorf("%q is taken up as %q", text, stored)
		}
		// Without a tracer, nobody minds what a header says.
		var none *Tracer
		_, end := none.Request(context.Background(), http.Header{Header: {text}}, "GET")
		end(nil)
	})
}

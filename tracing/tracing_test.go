package tracing

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

const (
	traceID = "4bf92f3577b34da6a3ce929d0e0e4736"
	parent  = "00-" + traceID + "-00f067aa0ba902b7-01"
	unasked = "00-" + traceID + "-00f067aa0ba902b7-00"
)

func newTracer(t *testing.T) (*Tracer, *tracetest.InMemoryExporter) {
	t.Helper()
	exporter := tracetest.NewInMemoryExporter()
	p := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
	t.Cleanup(func() { _ = p.Shutdown(context.Background()) })
	return New(p), exporter
}

func TestSpansHangTogetherAcrossWhatIsStored(t *testing.T) {
	t.Parallel()
	tracer, exporter := newTracer(t)
	ctx, end := tracer.Request(t.Context(), http.Header{"Traceparent": {parent}}, "POST", String("k", "v"))
	stored := Carry(ctx)
	if ID(ctx) != traceID {
		t.Errorf("the trace is %q, want the caller's", ID(ctx))
	}
	end(nil, Int("status", 202))

	began := time.Now().Add(-time.Minute)
	ctx, end = tracer.Continue(t.Context(), "update", began, []string{stored, parent, "rubbish"})
	child, endChild := Child(ctx, "hook")
	if Carry(child) == Carry(ctx) {
		t.Error("the child has no span of its own")
	}
	endChild(errors.New("it failed"))
	end(nil)

	spans := exporter.GetSpans()
	if len(spans) != 3 {
		t.Fatalf("%d spans, want 3", len(spans))
	}
	request, hook, update := spans[0], spans[1], spans[2]
	for _, s := range spans {
		if s.SpanContext.TraceID().String() != traceID {
			t.Errorf("%s is of the trace %s", s.Name, s.SpanContext.TraceID())
		}
	}
	if request.Parent.SpanID().String() != "00f067aa0ba902b7" || update.Parent.SpanID() != request.SpanContext.SpanID() ||
		hook.Parent.SpanID() != update.SpanContext.SpanID() {
		t.Errorf("parents are %s, %s, %s", request.Parent.SpanID(), update.Parent.SpanID(), hook.Parent.SpanID())
	}
	if !update.StartTime.Equal(began) || len(update.Links) != 1 {
		t.Errorf("the update began at %s with the links %v, want %s and one (rubbish is none)", update.StartTime, update.Links, began)
	}
	if hook.Status.Code != codes.Error || hook.Status.Description != "it failed" || request.Status.Code == codes.Error {
		t.Errorf("the hook is %+v, the request %+v", hook.Status, request.Status)
	}
}

// TestCallersChoiceNotToSampleIsPassedOn: the decision is made once per trace.
func TestCallersChoiceNotToSampleIsPassedOn(t *testing.T) {
	t.Parallel()
	tracer, exporter := newTracer(t)
	ctx, end := tracer.Request(t.Context(), http.Header{"Traceparent": {unasked}}, "POST")
	ctx2, end2 := tracer.Continue(t.Context(), "update", time.Now(), []string{Carry(ctx)})
	_, end3 := Child(ctx2, "hook")
	end3(nil)
	end2(nil)
	end(nil)
	if n := len(exporter.GetSpans()); n != 0 || ID(ctx2) != traceID {
		t.Errorf("%d spans of trace %q, want none, of the caller's", n, ID(ctx2))
	}
}

func TestNobodyTraces(t *testing.T) {
	t.Parallel()
	var none *Tracer
	ctx, end := none.Request(t.Context(), http.Header{"Traceparent": {parent}}, "POST")
	end(errors.New("no"))
	ctx, end = none.Continue(ctx, "update", time.Now(), []string{parent})
	end(nil)
	ctx, end = Child(ctx, "hook")
	end(nil)
	if Carry(ctx) != "" || ID(ctx) != "" {
		t.Errorf("it carries %q, %q", Carry(ctx), ID(ctx))
	}
}

func TestRubbishIsNoTrace(t *testing.T) {
	t.Parallel()
	tracer, _ := newTracer(t)
	for _, text := range []string{"", "x", "00-0-0-01", parent + "\n", "ff-" + traceID + "-00f067aa0ba902b7-01"} {
		ctx, end := tracer.Request(t.Context(), http.Header{"Traceparent": {text}}, "POST")
		if ID(ctx) == traceID || ID(ctx) == "" {
			t.Errorf("%q was taken for the trace %s", text, ID(ctx))
		}
		end(nil)
	}
}

// TestLinksAreBounded: a thousand releases are consumed by one update.
func TestLinksAreBounded(t *testing.T) {
	t.Parallel()
	tracer, exporter := newTracer(t)
	parents := make([]string, 1000)
	for i := range parents {
		parents[i] = parent
	}
	_, end := tracer.Continue(t.Context(), "update", time.Now(), parents)
	end(nil)
	if n := len(exporter.GetSpans()[0].Links); n != maxLinks {
		t.Errorf("%d links, want %d", n, maxLinks)
	}
}

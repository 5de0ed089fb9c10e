// Package tracing follows one request through Drydock with OpenTelemetry: the HTTP request, the command that it stores, the update that
// consumes it, the writes, and the hooks. In between lies Redis, so the W3C traceparent is stored with the command or the object and
// taken up again by the worker.
//
// Nothing is traced without a [Tracer], which begins traces; all other spans hang below one that is in the context already, so that
// packages in between need to be told nothing.
package tracing

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// scope names this library in spans.
const scope = "drydock"

// maxLinks bounds how many other requests a span names: a thousand releases of one lease are consumed by one update.
const maxLinks = 32

// The one field of W3C trace context that is passed on, and the header that brings it. Vendors' tracestate is not stored.
const (
	field  = "traceparent"
	Header = "Traceparent"
)

// Tracer begins traces. A nil *Tracer begins none.
type Tracer struct{ tracer trace.Tracer }

// New returns a Tracer.
func New(p trace.TracerProvider) *Tracer { return &Tracer{p.Tracer(scope)} }

// Attr is something that a span says about itself: pairs of a name and a string, an int or an int64.
type Attr = attribute.KeyValue

// String, Int and Int64 make attributes.
var (
	String = attribute.String
	Int    = attribute.Int
	Int64  = attribute.Int64
)

// End ends a span. An error marks it as failed.
type End func(err error, more ...Attr)

// Request begins the span of an HTTP request. It continues the caller's trace when the headers tell of one.
func (t *Tracer) Request(ctx context.Context, h http.Header, name string, attrs ...Attr) (context.Context, End) {
	if t == nil {
		return ctx, func(error, ...Attr) {}
	}
	ctx = parse(ctx, h.Get(Header))
	return begun(t.tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(attrs...)))
}

// Continue begins a span that has begun at an instant and goes on with what [Carry] returned elsewhere: below the first of the parents,
// and linked to the others. Without a parent a new trace begins.
func (t *Tracer) Continue(ctx context.Context, name string, began time.Time, parents []string, attrs ...Attr) (context.Context, End) {
	if t == nil {
		return ctx, func(error, ...Attr) {}
	}
	opts := []trace.SpanStartOption{
		trace.WithSpanKind(trace.SpanKindConsumer), trace.WithTimestamp(began), trace.WithAttributes(attrs...),
	}
	if len(parents) > 0 {
		ctx = parse(ctx, parents[0])
		for _, other := range parents[1:min(len(parents), 1+maxLinks)] {
			linked := trace.SpanContextFromContext(parse(context.Background(), other))
			opts = append(opts, trace.WithLinks(trace.Link{SpanContext: linked}))
		}
	}
	return begun(t.tracer.Start(ctx, name, opts...))
}

// Child begins a span below that of the context; without one, nothing is traced.
func Child(ctx context.Context, name string, attrs ...Attr) (context.Context, End) {
	parent := trace.SpanFromContext(ctx)
	if !parent.IsRecording() {
		return ctx, func(error, ...Attr) {}
	}
	return begun(parent.TracerProvider().Tracer(scope).Start(ctx, name, trace.WithAttributes(attrs...)))
}

// Carry returns the traceparent of the context's span, to be stored or sent along; "" when there is none.
func Carry(ctx context.Context) string {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier[field]
}

// ID returns the id of the context's trace, for log lines; "" when there is none.
func ID(ctx context.Context) string {
	if sc := trace.SpanContextFromContext(ctx); sc.HasTraceID() {
		return sc.TraceID().String()
	}
	return ""
}

func parse(ctx context.Context, traceparent string) context.Context {
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{field: traceparent})
}

func begun(ctx context.Context, span trace.Span) (context.Context, End) {
	return ctx, func(err error, more ...Attr) {
		span.SetAttributes(more...)
		if err != nil {
			span.SetStatus(codes.Error, fmt.Sprint(err))
		}
		span.End()
	}
}

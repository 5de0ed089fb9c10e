package tracing

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// ExportConfig says where spans go.
type ExportConfig struct {
	// Endpoint is the base URL of an OTLP/HTTP collector, such as http://127.0.0.1:4318; spans go to /v1/traces below it.
	Endpoint string
	// Version and Instance tell processes apart.
	Version, Instance string
	// Log gets a warning when spans cannot be exported. Default [slog.Default].
	Log *slog.Logger
}

// Export returns a Tracer whose spans go to a collector, in batches, in the background: a collector that is away costs spans and nothing
// else. stop sends what is left. The standard OTEL_ variables say more: OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES,
// OTEL_TRACES_SAMPLER, OTEL_EXPORTER_OTLP_HEADERS.
func Export(ctx context.Context, cfg ExportConfig) (t *Tracer, stop func(context.Context) error, err error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(strings.TrimRight(cfg.Endpoint, "/")+"/v1/traces"))
	if err != nil {
		return nil, nil, fmt.Errorf("trace exporter: %w", err)
	}
	about, err := resource.New(ctx,
		resource.WithTelemetrySDK(),
		resource.WithAttributes(String("service.name", scope), String("service.version", cfg.Version), String("service.instance.id", cfg.Instance)),
		resource.WithFromEnv(), // the environment has the last word
	)
	if err != nil {
		return nil, nil, fmt.Errorf("trace resource: %w", err)
	}
	// Nobody else in this process uses OpenTelemetry.
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { cfg.Log.Warn("cannot export traces", "error", err) }))
	p := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(about))
	return New(p), p.Shutdown, nil
}

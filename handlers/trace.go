package handlers

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"drydock/blueprints"
	"drydock/metrics"
	"drydock/model"
	"drydock/store"
	"drydock/tracing"
)

// trace begins the span of an update that has looked at its object, and takes up the traces of those who asked for it.
func (u *Updater) trace(ctx context.Context, claim *store.Claim, began time.Time) (context.Context, tracing.End) {
	return u.cfg.Tracer.Continue(ctx, "update "+string(claim.Ref.Kind), began, askers(claim),
		tracing.String("drydock.object", claim.Ref.String()), tracing.Int64("drydock.fence", claim.Fence),
		tracing.Int("drydock.commands", len(claim.Commands)))
}

// askers are the traces that an update belongs to: those of its commands or, while the object is on its way to somewhere, the one that sent
// it there; for a blueprint, until it rests, that of its declaration. What happens to an object at rest is nobody's.
func askers(claim *store.Claim) (traces []string) {
	for _, cmd := range claim.Commands {
		if cmd.Trace != "" {
			traces = append(traces, cmd.Trace)
		}
	}
	if len(claim.Commands) > 0 {
		return traces
	}
	var work model.Work
	switch {
	case claim.Lease != nil && claim.Lease.Status != model.LeaseActive:
		work = claim.Lease.Work.Work
	case claim.Resource != nil && claim.Resource.Status != model.ResourceActive:
		work = claim.Resource.Work.Work
	case claim.Blueprint != nil:
		work = claim.Blueprint.Work
	}
	if work.Trace != "" {
		traces = append(traces, work.Trace)
	}
	return traces
}

// logConsumed writes a line for each command that was consumed, with the id of the request that sent it, so that a request's lines in the
// logs of the API and of workers can be found together.
func (r *run) logConsumed(ctx context.Context, consumed []store.Consumption) {
	for _, k := range consumed {
		attrs := []slog.Attr{
			slog.String("object", r.claim.Ref.String()), slog.String("command", string(k.Command.Name)), slog.String("id", k.Command.ID),
			slog.String("outcome", string(k.Outcome)), slog.Int64("fence", r.claim.Fence),
		}
		if k.Detail != "" {
			attrs = append(attrs, slog.String("detail", k.Detail))
		}
		if id := k.Command.Origin.RequestID; id != "" {
			attrs = append(attrs, slog.String("request_id", id))
		}
		if id := tracing.ID(ctx); id != "" {
			attrs = append(attrs, slog.String("trace_id", id))
		}
		r.log.LogAttrs(ctx, slog.LevelInfo, "command consumed", attrs...)
	}
}

// observeHook counts and traces a hook, until the function it returns is called with what came of it.
func (u *Updater) observeHook(ctx context.Context, w work, call blueprints.Call) (_ context.Context, ends func(error)) {
	counted := u.cfg.Metrics.HookBegins(call.Object.Kind, w.step())
	ctx, traced := tracing.Child(ctx, "hook "+w.step(),
		tracing.String("drydock.object", call.Object.String()), tracing.Int("drydock.attempt", call.Attempt))
	return ctx, func(err error) {
		counted(hookResult(err))
		traced(err)
	}
}

// step is the name without what it was begun for: one of few.
func (w work) step() string {
	step, _, _ := strings.Cut(w.name, " ")
	return step
}

// hookResult is how a hook ended, for the metrics.
func hookResult(err error) string {
	_, yields := blueprints.AsYield(err)
	switch {
	case err == nil:
		return metrics.HookOK
	case yields:
		return metrics.HookYield
	case hookFailed(err):
		return metrics.HookFailed
	}
	return metrics.HookAbandoned
}

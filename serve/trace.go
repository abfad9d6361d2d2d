package serve

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// traceContext reads the traceparent and tracestate of W3C.
var traceContext propagation.TraceContext

// startSpan begins the span of a request, under the one that the context has. Without a tracer
// it returns the context as it is, and nil.
func (s *Server) startSpan(ctx context.Context, route string, attributes ...attribute.KeyValue) (context.Context, trace.Span) {
	if s.tracer == nil {
		return ctx, nil
	}
	return s.tracer.Start(ctx, route, trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(attributes...))
}

// startHTTPSpan is startSpan under the span that the request's headers name.
func (s *Server) startHTTPSpan(ctx context.Context, r *http.Request, route string) (context.Context, trace.Span) {
	if s.tracer == nil {
		return ctx, nil
	}
	return s.startSpan(traceContext.Extract(ctx, propagation.HeaderCarrier(r.Header)), route,
		attribute.String("http.request.method", r.Method), attribute.String("http.route", route), attribute.String("url.path", r.URL.Path))
}

// endSpan ends the span of a request, with spans of its parts under it. What waited or was
// computed in several batches is one span of all their time.
func (x *exchange) endSpan(protocol string, status slog.Value, model string, failed *problem) {
	if x.span == nil {
		return
	}
	x.span.SetAttributes(
		attribute.String("skive.protocol", protocol), attribute.String("skive.model", model),
		attribute.Int("skive.inputs", x.admitted), attribute.Int("skive.tokens", x.call.Tokens))
	if status.Kind() == slog.KindInt64 {
		x.span.SetAttributes(attribute.Int64("http.response.status_code", status.Int64()))
	} else {
		x.span.SetAttributes(attribute.String("rpc.response.status_code", status.String()))
	}
	if failed != nil && failed.status >= 500 {
		x.span.SetStatus(codes.Error, failed.text)
	}
	at := x.asked
	for _, part := range []struct {
		name string
		took time.Duration
	}{{"tokenize", x.call.Tokenize}, {"queue", x.call.Queue}, {"compute", x.call.Compute}} {
		if part.took > 0 {
			_, span := x.server.tracer.Start(x.ctx, part.name, trace.WithTimestamp(at))
			at = at.Add(part.took)
			span.End(trace.WithTimestamp(at))
		}
	}
	x.span.End()
}

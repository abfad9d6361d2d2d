package serve

import (
	"net/http"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// traceContext reads the traceparent and tracestate of W3C.
var traceContext propagation.TraceContext

// span begins the span of a request, under the one that the request names. Without a tracer it
// returns the request as it is, and nil.
func (s *Server) span(r *http.Request, route string) (*http.Request, trace.Span) {
	if s.tracer == nil {
		return r, nil
	}
	ctx := traceContext.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	ctx, span := s.tracer.Start(ctx, route, trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
		attribute.String("http.request.method", r.Method), attribute.String("http.route", route), attribute.String("url.path", r.URL.Path)))
	return r.WithContext(ctx), span
}

// endSpan ends the span of a request, with spans of its parts under it. What waited or was
// computed in several batches is one span of all their time.
func (x *exchange) endSpan(protocol, model string, failed *problem) {
	if x.span == nil {
		return
	}
	x.span.SetAttributes(
		attribute.Int("http.response.status_code", x.w.status), attribute.String("skive.protocol", protocol), attribute.String("skive.model", model),
		attribute.Int("skive.inputs", x.admitted), attribute.Int("skive.tokens", x.call.Tokens))
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

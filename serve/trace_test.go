package serve

import (
	"testing"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

// A request is a span under the one that it names, with spans of its parts in order; nothing
// of its text is in them.
func TestSpans(t *testing.T) {
	t.Parallel()
	spans := tracetest.NewInMemoryExporter()
	provider := sdk.NewTracerProvider(sdk.WithSyncer(spans))
	s := newServer(t, Options{Models: models(t)[:1], Tracer: provider})
	const parent = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	if got := ask(s, "POST", "/embed", `{"inputs":"rude"}`, parent); got.status != 200 {
		t.Fatalf("%+v", got)
	}
	if got := ask(s, "POST", "/embed", `{"inputs":3}`); got.status != 422 {
		t.Fatalf("%+v", got)
	}
	got := spans.GetSpans()
	byName := map[string]tracetest.SpanStub{}
	for _, span := range got[:len(got)-1] {
		byName[span.Name] = span
	}
	request := byName["/embed"]
	if request.SpanKind != trace.SpanKindServer || request.SpanContext.TraceID().String() != "0af7651916cd43dd8448eb211c80319c" || request.Parent.SpanID().String() != "b7ad6b7169203331" {
		t.Errorf("%+v", request)
	}
	attributes := map[string]any{}
	for _, a := range request.Attributes {
		attributes[string(a.Key)] = a.Value.AsInterface()
	}
	for name, want := range map[string]any{"http.request.method": "POST", "http.route": "/embed", "http.response.status_code": int64(200), "skive.model": "embedder", "skive.tokens": int64(3)} {
		if attributes[name] != want {
			t.Errorf("%s is %v, want %v", name, attributes[name], want)
		}
	}
	var end time.Time
	for _, name := range []string{"tokenize", "queue", "compute"} {
		part, ok := byName[name]
		if !ok || part.Parent.SpanID() != request.SpanContext.SpanID() || part.StartTime.Before(end) || part.StartTime.Before(request.StartTime) || part.EndTime.Before(part.StartTime) {
			t.Errorf("%s: %+v", name, part)
		}
		end = part.EndTime
	}
	if last := got[len(got)-1]; last.Name != "/embed" || last.Parent.IsValid() {
		t.Errorf("%+v", last)
	}
}

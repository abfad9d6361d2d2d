package grpcserver

import (
	"testing"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc/metadata"

	"github.com/skive-ml/skive/serve"
	"github.com/skive-ml/skive/serve/grpcserver/internal/inference"
	"github.com/skive-ml/skive/serve/grpcserver/internal/tei"
)

// The requests of both protocols are spans under the one that their metadata name.
func TestSpans(t *testing.T) {
	t.Parallel()
	spans := tracetest.NewInMemoryExporter()
	connection := dial(t, loaded(t, serve.Options{Tracer: sdk.NewTracerProvider(sdk.WithSyncer(spans))}))
	ctx := metadata.AppendToOutgoingContext(t.Context(), "model", "mean", "traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	all, err := tei.NewEmbedClient(connection).EmbedAll(ctx, &tei.EmbedAllRequest{Inputs: "w7 w30"})
	if err != nil || len(all.TokenEmbeddings) != 4 {
		t.Fatalf("%v, %v", all, err)
	}
	if text, err := tei.NewTokenizeClient(connection).Decode(ctx, &tei.DecodeRequest{Ids: []uint32{5}, SkipSpecialTokens: true}); err != nil || text.Text == "" {
		t.Fatalf("%v, %v", text, err)
	}
	_, err = inference.NewGRPCInferenceServiceClient(connection).ModelInfer(ctx, &inference.ModelInferRequest{ModelName: "mean", Inputs: []*inference.ModelInferRequest_InferInputTensor{{
		Name: "text", Datatype: "BYTES", Shape: []int64{1}, Contents: &inference.InferTensorContents{BytesContents: [][]byte{[]byte("w7")}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	requests := 0
	for _, span := range spans.GetSpans() {
		if span.SpanContext.TraceID().String() != "0af7651916cd43dd8448eb211c80319c" {
			t.Errorf("%s is in another trace", span.Name)
		}
		if span.Parent.SpanID().String() == "b7ad6b7169203331" {
			requests++
		}
	}
	if requests != 3 {
		t.Errorf("%d requests", requests)
	}
}

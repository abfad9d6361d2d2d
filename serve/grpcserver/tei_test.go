package grpcserver

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/serve"
	"github.com/skive-ml/skive/serve/grpcserver/internal/tei"
)

// Every text of a stream, which are computed several at a time, has the bits of the text alone.
func TestTEI(t *testing.T) {
	s := loaded(t, serve.Options{MaxConcurrent: 4, MaxClientBatch: 4})
	connection := dial(t, s)
	embedder, err := infer.Open(tiny, infer.Options{Threads: 1, Embedding: infer.Mean})
	if err != nil {
		t.Fatal(err)
	}
	defer embedder.Close()
	stream, err := tei.NewEmbedClient(connection).EmbedStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const rounds = 20
	go func() {
		for range rounds {
			for _, text := range someTexts {
				stream.Send(&tei.EmbedRequest{Inputs: text, Normalize: true})
			}
		}
		stream.CloseSend()
	}()
	for i := range rounds * len(someTexts) {
		got, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		want, err := embedder.Embed(t.Context(), []infer.Input{{Text: someTexts[i%len(someTexts)]}})
		if err != nil {
			t.Fatal(err)
		}
		if !sameBits(got.Embeddings, want[0]) || got.Metadata.ComputeTokens == 0 || got.Metadata.TotalTimeNs == 0 {
			t.Fatalf("%d: %v, want %v", i, got, want[0])
		}
	}
	if _, err := stream.Recv(); err != io.EOF {
		t.Error(err)
	}

	info, err := tei.NewInfoClient(connection).Info(metadata.AppendToOutgoingContext(t.Context(), "model", "mean"), &tei.InfoRequest{})
	if err != nil || info.ModelId != "mean" || info.ModelType != tei.ModelType_MODEL_TYPE_EMBEDDING || info.MaxClientBatchSize != 4 {
		t.Errorf("%v, %v", info, err)
	}
	predict := tei.NewPredictClient(connection)
	one, err := predict.Predict(t.Context(), &tei.PredictRequest{Inputs: "w7 w30 w8"})
	if err != nil || len(one.Predictions) != 3 || one.Predictions[0].Label != "blue" {
		t.Errorf("%v, %v", one, err)
	}
	pair, err := predict.PredictPair(t.Context(), &tei.PredictPairRequest{Inputs: []string{"w1", "w2"}, RawScores: true})
	if err != nil || len(pair.Predictions) != 3 {
		t.Errorf("%v, %v", pair, err)
	}
	tokens, err := tei.NewTokenizeClient(connection).Tokenize(t.Context(), &tei.EncodeRequest{Inputs: "w1 w2"})
	if err != nil || len(tokens.Tokens) != 2 || tokens.Tokens[1].GetStart() != 3 || tokens.Tokens[1].Text != "w2" {
		t.Errorf("%v, %v", tokens, err)
	}

	ofNothing := metadata.AppendToOutgoingContext(t.Context(), "model", "nope")
	for _, c := range []struct {
		err  error
		want codes.Code
	}{
		{second(predict.Predict(ofNothing, &tei.PredictRequest{Inputs: "w1"})), codes.NotFound},
		{second(predict.Predict(t.Context(), &tei.PredictRequest{})), codes.InvalidArgument},
		{second(predict.PredictPair(t.Context(), &tei.PredictPairRequest{Inputs: []string{"w1"}})), codes.InvalidArgument},
		{second(tei.NewRerankClient(connection).Rerank(t.Context(), &tei.RerankRequest{Query: "w1", Texts: []string{"w2"}})), codes.FailedPrecondition},
	} {
		if status.Code(c.err) != c.want {
			t.Errorf("%v, want %s", c.err, c.want)
		}
	}
}

func TestTEIRerankStream(t *testing.T) {
	model := ranker(t)
	s := loaded(t, serve.Options{Models: []serve.Model{{Name: "ranker", Path: model}}, MaxConcurrent: 2, MaxClientBatch: 2})
	client := tei.NewRerankClient(dial(t, s))
	stream, err := client.RerankStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range someTexts {
		if err := stream.Send(&tei.RerankStreamRequest{Query: "w1", Text: text, ReturnText: true, RawScores: true}); err != nil {
			t.Fatal(err)
		}
	}
	all, err := stream.CloseAndRecv()
	if err != nil {
		t.Fatal(err)
	}
	if len(all.Ranks) != len(someTexts) || all.Metadata.ComputeTokens == 0 {
		t.Fatalf("%v", all)
	}
	for i, rank := range all.Ranks {
		alone, err := client.Rerank(t.Context(), &tei.RerankRequest{Query: "w1", Texts: []string{someTexts[rank.Index]}, RawScores: true})
		if err != nil {
			t.Fatal(err)
		}
		if rank.GetText() != someTexts[rank.Index] || rank.Score != alone.Ranks[0].Score || i > 0 && rank.Score > all.Ranks[i-1].Score {
			t.Errorf("%v, alone %v", all.Ranks, alone.Ranks)
		}
	}
}

// A stream without a message does not hold its place.
func TestIdleStreams(t *testing.T) {
	s := loaded(t, serve.Options{Models: models()[:1], Log: slog.New(slog.DiscardHandler)})
	interceptor := streaming(s.Options().Log, 20*time.Millisecond)
	of := &texts{server: s, idle: 20 * time.Millisecond}
	for name, c := range map[string]struct {
		info   grpc.StreamServerInfo
		handle grpc.StreamHandler
	}{
		"RerankStream": {grpc.StreamServerInfo{FullMethod: tei.Rerank_RerankStream_FullMethodName, IsClientStream: true}, func(_ any, stream grpc.ServerStream) error {
			return of.RerankStream(&grpc.GenericServerStream[tei.RerankStreamRequest, tei.RerankResponse]{ServerStream: stream})
		}},
		"EmbedStream": {grpc.StreamServerInfo{FullMethod: tei.Embed_EmbedStream_FullMethodName, IsClientStream: true, IsServerStream: true}, func(_ any, stream grpc.ServerStream) error {
			return of.EmbedStream(&grpc.GenericServerStream[tei.EmbedRequest, tei.EmbedResponse]{ServerStream: stream})
		}},
		"reflection": {grpc.StreamServerInfo{FullMethod: "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", IsClientStream: true, IsServerStream: true}, func(_ any, stream grpc.ServerStream) error {
			return stream.RecvMsg(nil)
		}},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		if err := interceptor(nil, silent{ctx: ctx}, &c.info, c.handle); status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
	}
}

// silent is a stream whose client says nothing.
type silent struct {
	grpc.ServerStream
	ctx context.Context
}

func (s silent) Context() context.Context { return s.ctx }

func (s silent) RecvMsg(any) error {
	<-s.ctx.Done()
	return s.ctx.Err()
}

// A panic is an error of its stream, wherever it is.
func TestPanicsOfStreams(t *testing.T) {
	s := loaded(t, serve.Options{Models: models()[:1], Log: slog.New(slog.DiscardHandler)})
	stream := &grpc.GenericServerStream[tei.EmbedRequest, tei.EmbedResponse]{ServerStream: talking{silent{ctx: t.Context()}}}
	err := each(stream, &texts{server: s, idle: time.Minute}, func(context.Context, *tei.EmbedRequest) (*tei.EmbedResponse, error) { panic("one") })
	if status.Code(err) != codes.Internal {
		t.Error(err)
	}
	err = streaming(s.Options().Log, time.Minute)(nil, stream, &grpc.StreamServerInfo{}, func(any, grpc.ServerStream) error { panic("two") })
	if status.Code(err) != codes.Internal {
		t.Error(err)
	}
}

// talking is a stream with any number of messages.
type talking struct{ silent }

func (talking) RecvMsg(any) error { return nil }

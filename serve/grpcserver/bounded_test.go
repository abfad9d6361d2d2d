package grpcserver

import (
	"context"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/skive-ml/skive/serve"
	"github.com/skive-ml/skive/serve/grpcserver/internal/tei"
)

// stuck is a stream whose client neither sends nor reads.
type stuck struct {
	grpc.ServerStream
	ctx context.Context
}

func (s stuck) Context() context.Context { return s.ctx }

func (s stuck) RecvMsg(any) error { <-s.ctx.Done(); return s.ctx.Err() }

func (s stuck) SendMsg(any) error { <-s.ctx.Done(); return s.ctx.Err() }

func TestStreamsGiveUpTheirPlace(t *testing.T) {
	t.Parallel()
	for method, c := range map[string]struct {
		handle grpc.StreamHandler
		want   string
	}{
		"/inference.GRPCInferenceService/Late": {func(_ any, s grpc.ServerStream) error { return s.RecvMsg(nil) }, "no message for 10ms"},
		"/tei.v1.Embed/EmbedStream":            {func(_ any, s grpc.ServerStream) error { return s.SendMsg(nil) }, "no answer was read for 10ms"},
	} {
		stream := stuck{ctx: t.Context()}
		err := streaming(nil, 10*time.Millisecond)(nil, stream, &grpc.StreamServerInfo{FullMethod: method, IsServerStream: true}, c.handle)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", method, err, c.want)
		}
	}
}

// Streams that hold all places of a server are answered: their messages are parts of requests that have been taken.
func TestStreamsThatHoldAllPlaces(t *testing.T) {
	t.Parallel()
	client := tei.NewEmbedClient(dial(t, loaded(t, serve.Options{MaxConcurrent: 1, MaxClientBatch: 1})))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var streams []grpc.BidiStreamingClient[tei.EmbedRequest, tei.EmbedResponse]
	for range 2 {
		stream, err := client.EmbedStream(ctx)
		if err != nil {
			t.Fatal(err)
		}
		streams = append(streams, stream)
	}
	for _, stream := range streams {
		if err := stream.Send(&tei.EmbedRequest{Inputs: "w1"}); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); err != nil {
			t.Error(err)
		}
	}
}

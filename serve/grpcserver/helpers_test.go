package grpcserver

import (
	"context"
	"math"
	"net"
	"path/filepath"
	"slices"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/serve"
)

// tiny is a classifier of three labels.
const tiny = "../../train/testdata/tiny"

func models() []serve.Model {
	return []serve.Model{{Name: "org/colours", Path: tiny}, {Name: "mean", Path: tiny, Embedding: infer.Mean}}
}

// loaded is a server whose models are loaded.
func loaded(t testing.TB, o serve.Options) *serve.Server {
	t.Helper()
	if o.Models == nil {
		o.Models = models()
	}
	o.Threads = 2
	s, err := serve.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := s.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// dial starts a server of gRPC for s, and connects to it.
func dial(t testing.TB, s *serve.Server, options ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	listener := bufconn.Listen(1 << 20)
	server := New(s)
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	return connect(t, "passthrough:buffer", append(options, grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
		return listener.DialContext(ctx)
	}), grpc.WithTransportCredentials(insecure.NewCredentials()))...)
}

func connect(t testing.TB, target string, options ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	c, err := grpc.NewClient(target, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func sameBits(a, b []float32) bool {
	return slices.EqualFunc(a, b, func(x, y float32) bool { return math.Float32bits(x) == math.Float32bits(y) })
}

// ranker is a model with one number for each pair.
func ranker(t testing.TB) string {
	t.Helper()
	m, err := checkpoints.Open(tiny)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	c := m.Config
	c.Head, c.Labels = head.Regression, []string{"LABEL_0"}
	n := checkpoints.InitBERT(c, 3)
	n.Tokenizer = m.Tokenizer
	path := filepath.Join(t.TempDir(), "ranker.skive")
	if err := n.SaveSkive(path); err != nil {
		t.Fatal(err)
	}
	return path
}

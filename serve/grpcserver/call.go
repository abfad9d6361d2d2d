package grpcserver

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"go.opentelemetry.io/otel/propagation"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/skive-ml/skive/serve"
)

// answer is an answer of HTTP that is kept.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(status int)      { a.status = status }
func (a *answer) Write(b []byte) (int, error) { return a.body.Write(b) }

// call asks the server as a client of HTTP does, with the key of the request.
func call(ctx context.Context, s *serve.Server, method, path, body string) (*answer, error) {
	r, err := http.NewRequestWithContext(traced(ctx), method, path, strings.NewReader(body))
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	md, _ := metadata.FromIncomingContext(ctx)
	r.Header.Set("Authorization", first(md, "authorization"))
	r.Header.Set("Content-Type", "application/json")
	w := &answer{header: http.Header{}, status: http.StatusOK}
	s.ServeHTTP(w, r)
	return w, nil
}

// traced is the context with the span that the request names as its parent, if it does.
func traced(ctx context.Context) context.Context {
	md, _ := metadata.FromIncomingContext(ctx)
	return propagation.TraceContext{}.Extract(ctx, carrier(md))
}

// carrier has the trace context of metadata.
type carrier metadata.MD

func (c carrier) Get(key string) string { return first(metadata.MD(c), key) }
func (c carrier) Set(string, string)    {}
func (c carrier) Keys() []string        { return nil }

// problem is the answer as an error.
func (a *answer) problem() error {
	var failed struct {
		Error string `json:"error"`
		Kind  string `json:"error_type"`
	}
	if json.Unmarshal(a.body.Bytes(), &failed) != nil { // the path has no route, such as that of a model without a name
		return status.Error(codes.NotFound, "there is no such model")
	}
	switch failed.Kind {
	case "Backend", "Tokenizer":
		return status.Error(codes.FailedPrecondition, failed.Error)
	}
	return status.Error(codeOf(a.status), failed.Error)
}

// Package grpcserver answers for the models of a serve.Server over gRPC: the service of
// the Open Inference Protocol v2, with Triton's extensions for the statistics and
// configuration of models and for the repository, the services of
// text-embeddings-inference (TEI), the health service of gRPC, and reflection. A server has the bounds, the keys, the metrics and the log of the
// serve.Server, whose HTTP handlers link nothing of gRPC.
package grpcserver

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	_ "google.golang.org/grpc/encoding/gzip" // clients may compress
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"

	"github.com/skive-ml/skive/serve"
	"github.com/skive-ml/skive/serve/grpcserver/internal/inference"
)

//go:generate go run -C _proto . ..

// Server is a server of gRPC for a serve.Server.
type Server struct {
	*grpc.Server
	health *health
}

// New returns a server for s, which serve.Listening.GRPC takes. The options are for
// what a program adds, such as interceptors.
func New(s *serve.Server, options ...grpc.ServerOption) *Server {
	o := s.Options()
	g := &gate{server: s, timeout: time.Duration(o.Timeout) + 10*time.Second}
	server := grpc.NewServer(append([]grpc.ServerOption{
		grpc.InTapHandle(g.enter),
		grpc.MaxConcurrentStreams(uint32(4 * o.MaxConcurrent)), // of a connection; the gate bounds those of all
		grpc.MaxRecvMsgSize(int(o.MaxBody)),
		grpc.ConnectionTimeout(10 * time.Second),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: 5 * time.Minute, Time: time.Minute}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		grpc.ChainUnaryInterceptor(recovering(o.Log)),
		grpc.ChainStreamInterceptor(streaming(o.Log, g.timeout)),
	}, options...)...)
	h := &health{server: s, stopping: make(chan struct{}), known: func(service string) bool {
		_, ok := server.GetServiceInfo()[service]
		return ok
	}}
	inference.RegisterGRPCInferenceServiceServer(server, &v2{server: s})
	(&texts{server: s, idle: g.timeout}).register(server)
	healthgrpc.RegisterHealthServer(server, h)
	reflection.Register(server)
	return &Server{server, h}
}

// GracefulStop waits for requests under way, but not for who watches the health.
func (s *Server) GracefulStop() {
	s.health.stop()
	s.Server.GracefulStop()
}

// gate decides which requests are taken, before their messages are read.
type gate struct {
	server  *serve.Server
	timeout time.Duration
}

// open are the methods that ask for no key, and are never too many.
var open = []string{
	"/grpc.health.v1.Health/", inference.GRPCInferenceService_ServerLive_FullMethodName, inference.GRPCInferenceService_ServerReady_FullMethodName,
}

// single tells whether a request of the method is one message, which may not be late.
func single(method string) bool {
	return strings.HasPrefix(method, "/inference.") || strings.HasPrefix(method, "/tei.v1.") && !strings.HasSuffix(method, "Stream")
}

// protocol is what metrics call the protocol of a request that is refused.
func protocol(method string) string {
	switch {
	case strings.HasPrefix(method, "/inference."):
		return inferring.Protocol
	case strings.HasPrefix(method, "/tei.v1."):
		return "tei"
	}
	return "grpc"
}

func (g *gate) enter(ctx context.Context, info *tap.Info) (context.Context, error) {
	for _, prefix := range open {
		if strings.HasPrefix(info.FullMethodName, prefix) {
			return ctx, nil
		}
	}
	front := &serve.Front{Protocol: protocol(info.FullMethodName), Method: info.FullMethodName, Code: codeName}
	ctx, leave, err := g.server.Enter(ctx, front, first(info.Header, "authorization"))
	if err != nil {
		return ctx, statusOf(err)
	}
	of, cancel := ctx, func() {}
	if single(info.FullMethodName) {
		ctx, cancel = context.WithTimeout(ctx, g.timeout)
	}
	context.AfterFunc(of, func() { // the request has ended
		cancel()
		leave()
	})
	return ctx, nil
}

// recovering lets no panic end the program.
func recovering(log *slog.Logger) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (answer any, err error) {
		defer recovered(ctx, log, &err)
		return handle(ctx, request)
	}
}

// recovered makes a panic an error. It is to be deferred itself.
func recovered(ctx context.Context, log *slog.Logger, err *error) {
	if p := recover(); p != nil {
		method, _ := grpc.Method(ctx)
		log.LogAttrs(ctx, slog.LevelError, "panic", slog.String("method", method), slog.String("panic", fmt.Sprint(p)), slog.String("stack", string(debug.Stack())))
		*err = status.Error(codes.Internal, "internal error")
	}
}

// streaming lets no panic end the program, and no stream hold its place without a message, or with answers that
// nobody reads. TEI's in both directions bound their messages themselves: they wait for them while they compute.
func streaming(log *slog.Logger, idle time.Duration) grpc.StreamServerInterceptor {
	return func(service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) (err error) {
		defer recovered(stream.Context(), log, &err)
		b := &bounded{ServerStream: stream, send: idle}
		if !strings.HasPrefix(info.FullMethod, "/tei.v1.") || !info.IsServerStream {
			b.receive = idle
		}
		return handle(service, b)
	}
}

// bounded is a stream whose messages may not be late, and whose answers may not wait for their reader, for longer than
// these times; 0 is no bound.
type bounded struct {
	grpc.ServerStream
	receive, send time.Duration
}

func (s *bounded) RecvMsg(m any) error {
	if s.receive == 0 {
		return s.ServerStream.RecvMsg(m)
	}
	return within(s.receive, func() error { return s.ServerStream.RecvMsg(m) }, late)
}

func (s *bounded) SendMsg(m any) error {
	return within(s.send, func() error { return s.ServerStream.SendMsg(m) }, unread)
}

// within returns what do does, or an error where it takes longer. It may go on then, and ends with the stream.
func within(limit time.Duration, do func() error, otherwise func(time.Duration) error) error {
	done := make(chan error, 1)
	go func() { done <- do() }()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return otherwise(limit)
	}
}

// late is the error of a stream without a message for so long.
func late(idle time.Duration) error {
	return status.Errorf(codes.DeadlineExceeded, "no message for %s", idle)
}

// unread is the error of a stream whose client read nothing for so long.
func unread(limit time.Duration) error {
	return status.Errorf(codes.DeadlineExceeded, "no answer was read for %s", limit)
}

func first(md metadata.MD, key string) string {
	if values := md.Get(key); len(values) > 0 {
		return values[0]
	}
	return ""
}

// codeOf is the code of an HTTP status.
func codeOf(httpStatus int) codes.Code {
	switch httpStatus {
	case http.StatusOK:
		return codes.OK
	case http.StatusUnauthorized:
		return codes.Unauthenticated
	case http.StatusNotFound:
		return codes.NotFound
	case http.StatusRequestEntityTooLarge, http.StatusTooManyRequests:
		return codes.ResourceExhausted
	case http.StatusServiceUnavailable:
		return codes.Unavailable
	case http.StatusGatewayTimeout:
		return codes.DeadlineExceeded
	case 499: // the client has gone
		return codes.Canceled
	case http.StatusBadRequest, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return codes.InvalidArgument
	}
	return codes.Internal
}

// codeName is the name of an error's code in metrics and the log.
func codeName(err *serve.Error) string {
	if err == nil {
		return nameOf(codes.OK)
	}
	return nameOf(codeOf(err.Status))
}

// nameOf is a code as gRPC's documents write it.
func nameOf(c codes.Code) string {
	switch c {
	case codes.OK:
		return "OK"
	case codes.Canceled:
		return "CANCELLED"
	case codes.InvalidArgument:
		return "INVALID_ARGUMENT"
	case codes.DeadlineExceeded:
		return "DEADLINE_EXCEEDED"
	case codes.NotFound:
		return "NOT_FOUND"
	case codes.ResourceExhausted:
		return "RESOURCE_EXHAUSTED"
	case codes.Unavailable:
		return "UNAVAILABLE"
	case codes.Unauthenticated:
		return "UNAUTHENTICATED"
	}
	return "INTERNAL"
}

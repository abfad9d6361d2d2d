package grpcserver

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/skive-ml/skive/serve"
)

// health tells whether the server is ready, which all of its services are at the same time.
type health struct {
	healthgrpc.UnimplementedHealthServer
	server *serve.Server
	known  func(service string) bool

	once     sync.Once
	stopping chan struct{}
}

// stop ends the streams of who watches.
func (h *health) stop() { h.once.Do(func() { close(h.stopping) }) }

func (h *health) now() healthgrpc.HealthCheckResponse_ServingStatus {
	if h.server.Ready() {
		return healthgrpc.HealthCheckResponse_SERVING
	}
	return healthgrpc.HealthCheckResponse_NOT_SERVING
}

func (h *health) Check(_ context.Context, r *healthgrpc.HealthCheckRequest) (*healthgrpc.HealthCheckResponse, error) {
	if r.Service != "" && !h.known(r.Service) {
		return nil, status.Errorf(codes.NotFound, "there is no service %q", r.Service)
	}
	return &healthgrpc.HealthCheckResponse{Status: h.now()}, nil
}

// Watch tells each change.
func (h *health) Watch(r *healthgrpc.HealthCheckRequest, stream grpc.ServerStreamingServer[healthgrpc.HealthCheckResponse]) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	last := healthgrpc.HealthCheckResponse_UNKNOWN
	for {
		now := h.now()
		if r.Service != "" && !h.known(r.Service) {
			now = healthgrpc.HealthCheckResponse_SERVICE_UNKNOWN
		}
		if now != last {
			if err := stream.Send(&healthgrpc.HealthCheckResponse{Status: now}); err != nil {
				return err
			}
		}
		last = now
		select {
		case <-tick.C:
		case <-h.stopping:
			if last == healthgrpc.HealthCheckResponse_SERVING {
				stream.Send(&healthgrpc.HealthCheckResponse{Status: healthgrpc.HealthCheckResponse_NOT_SERVING})
			}
			return status.Error(codes.Unavailable, "the server is told to stop")
		case <-stream.Context().Done():
			return status.FromContextError(stream.Context().Err()).Err()
		}
	}
}

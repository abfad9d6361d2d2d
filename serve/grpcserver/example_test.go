package grpcserver_test

import (
	"context"
	"fmt"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/skive-ml/skive/serve"
	"github.com/skive-ml/skive/serve/grpcserver"
)

// A program serves models over gRPC, and asks whether they are ready.
func Example() {
	server, err := serve.New(serve.Options{Models: []serve.Model{{Name: "colours", Path: "../../train/testdata/tiny"}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	calls := grpcserver.New(server)
	defer calls.GracefulStop()
	go calls.Serve(listener)
	if err := server.Load(context.Background()); err != nil {
		fmt.Println(err)
		return
	}
	client, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	health, err := healthgrpc.NewHealthClient(client).Check(context.Background(), &healthgrpc.HealthCheckRequest{Service: "inference.GRPCInferenceService"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(health.Status)
	// Output: SERVING
}

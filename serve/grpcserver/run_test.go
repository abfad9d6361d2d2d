package grpcserver

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"
	reflectiongrpc "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"github.com/skive-ml/skive/serve"
	"github.com/skive-ml/skive/serve/grpcserver/internal/inference"
)

// certificate writes one for 127.0.0.1, signed by itself.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// Over TLS and over a socket, requests are answered; the end of the server waits for one
// that is under way, and not for who watches its health.
func TestRun(t *testing.T) {
	cert, key := certificate(t)
	dir, err := os.MkdirTemp("", "s") // whose path is short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "s")
	s, err := serve.New(serve.Options{Models: models()[1:], Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan []net.Addr, 1)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		ended <- s.Run(ctx, serve.Listening{
			Addresses: serve.List{"127.0.0.1:0"}, GRPC: New(s), GRPCAddresses: serve.List{"127.0.0.1:0", "unix:" + socket},
			TLSCert: cert, TLSKey: key, Started: func(a []net.Addr) { started <- a },
		})
	}()
	addresses := <-started
	secure, err := credentials.NewClientTLSFromFile(cert, "")
	if err != nil {
		t.Fatal(err)
	}
	network := connect(t, addresses[1].String(), grpc.WithTransportCredentials(secure))
	local := connect(t, "unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))

	watch, err := healthgrpc.NewHealthClient(local).Watch(t.Context(), &healthgrpc.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	next := func() healthgrpc.HealthCheckResponse_ServingStatus {
		r, err := watch.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return r.Status
	}
	if now := next(); now == healthgrpc.HealthCheckResponse_NOT_SERVING {
		now = next()
		if now != healthgrpc.HealthCheckResponse_SERVING {
			t.Error(now)
		}
	}
	for name, want := range map[string]codes.Code{"": codes.OK, "inference.GRPCInferenceService": codes.OK, "nope": codes.NotFound} {
		if _, err := healthgrpc.NewHealthClient(network).Check(t.Context(), &healthgrpc.HealthCheckRequest{Service: name}); status.Code(err) != want {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, c := range []*grpc.ClientConn{network, local} {
		if _, err := inference.NewGRPCInferenceServiceClient(c).ModelInfer(t.Context(), &request{ModelName: "mean", Inputs: []*input{textInput("w1")}}); err != nil {
			t.Error(err)
		}
	}

	// A stream of the reflection service is under way when the server is told to stop.
	stream, err := reflectiongrpc.NewServerReflectionClient(network).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	list := func() []string {
		if err := stream.Send(&reflectiongrpc.ServerReflectionRequest{MessageRequest: &reflectiongrpc.ServerReflectionRequest_ListServices{}}); err != nil {
			t.Fatal(err)
		}
		r, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, of := range r.GetListServicesResponse().GetService() {
			names = append(names, of.Name)
		}
		return names
	}
	list()
	cancel()
	if now := next(); now != healthgrpc.HealthCheckResponse_NOT_SERVING {
		t.Error(now)
	}
	if _, err := watch.Recv(); status.Code(err) != codes.Unavailable {
		t.Error(err)
	}
	if names := list(); !slices.Contains(names, "inference.GRPCInferenceService") || !slices.Contains(names, "grpc.health.v1.Health") {
		t.Error(names)
	}
	select {
	case err := <-ended:
		t.Fatalf("stopped with a request under way: %v", err)
	default:
	}
	stream.CloseSend()
	if _, err := stream.Recv(); err != io.EOF {
		t.Error(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

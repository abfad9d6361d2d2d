package grpcserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/skive-ml/skive/serve"
	"github.com/skive-ml/skive/serve/grpcserver/internal/inference"
)

// v2 is the service of the Open Inference Protocol. It computes with serve.Server.Infer;
// what it tells of models it reads out of the documents that HTTP has.
type v2 struct {
	inference.UnimplementedGRPCInferenceServiceServer
	server *serve.Server
}

var inferring = &serve.Front{Protocol: "v2-grpc", Method: inference.GRPCInferenceService_ModelInfer_FullMethodName, Code: codeName}

func (v *v2) ModelInfer(ctx context.Context, r *inference.ModelInferRequest) (*inference.ModelInferResponse, error) {
	q := &serve.InferRequest{
		Model: r.ModelName, Version: r.ModelVersion, Raw: r.RawInputContents,
		Inputs: make([]serve.Tensor, len(r.Inputs)), Timeout: timeoutOf(r.Parameters),
	}
	for i, in := range r.Inputs {
		q.Inputs[i] = tensorOf(in)
	}
	for _, o := range r.Outputs {
		_, classification := o.Parameters["classification"]
		q.Outputs = append(q.Outputs, serve.Wanted{Name: o.Name, Classification: classification})
	}
	answer, err := v.server.Infer(traced(ctx), inferring, q)
	if err != nil {
		err = statusOf(err)
		if code := status.Code(err); code == codes.ResourceExhausted || code == codes.Unavailable {
			grpc.SetTrailer(ctx, metadata.Pairs("grpc-retry-pushback-ms", "1000")) // as HTTP has Retry-After
		}
		return nil, err
	}
	response := &inference.ModelInferResponse{ModelName: r.ModelName, ModelVersion: answer.Version, Id: r.Id}
	for i := range answer.Outputs {
		t := &answer.Outputs[i]
		out := &inference.ModelInferResponse_InferOutputTensor{Name: t.Name, Datatype: t.Datatype}
		for _, d := range t.Shape {
			out.Shape = append(out.Shape, int64(d))
		}
		if len(r.RawInputContents) > 0 { // answered in the form of the request
			response.RawOutputContents = append(response.RawOutputContents, t.AppendRaw(nil))
		} else {
			out.Contents = contentsOf(t)
		}
		response.Outputs = append(response.Outputs, out)
	}
	return response, nil
}

// tensorOf is an input with its contents, if it has any.
func tensorOf(in *inference.ModelInferRequest_InferInputTensor) serve.Tensor {
	t := serve.Tensor{Name: in.Name, Datatype: in.Datatype}
	_, t.SharedMemory = in.Parameters["shared_memory_region"]
	for _, d := range in.Shape {
		t.Shape = append(t.Shape, int(d))
	}
	c := in.Contents
	if c == nil {
		return t
	}
	for _, b := range c.BytesContents {
		t.Texts = append(t.Texts, string(b))
	}
	for _, x := range c.BoolContents {
		n := int64(0)
		if x {
			n = 1
		}
		t.Ints = append(t.Ints, n)
	}
	for _, x := range c.IntContents {
		t.Ints = append(t.Ints, int64(x))
	}
	t.Ints = append(t.Ints, c.Int64Contents...)
	for _, x := range c.UintContents {
		t.Ints = append(t.Ints, int64(x))
	}
	for _, x := range c.Uint64Contents {
		t.Ints = append(t.Ints, int64(x))
	}
	t.Floats = append(t.Floats, c.Fp32Contents...)
	for _, x := range c.Fp64Contents {
		t.Floats = append(t.Floats, float32(x))
	}
	return t
}

func contentsOf(t *serve.Tensor) *inference.InferTensorContents {
	c := &inference.InferTensorContents{Int64Contents: t.Ints, Fp32Contents: t.Floats}
	for _, s := range t.Texts {
		c.BytesContents = append(c.BytesContents, []byte(s))
	}
	return c
}

// timeoutOf is the parameter timeout, in microseconds.
func timeoutOf(parameters map[string]*inference.InferParameter) time.Duration {
	p := parameters["timeout"]
	n := p.GetInt64Param()
	if n == 0 {
		n = int64(p.GetUint64Param())
	}
	if n == 0 {
		n, _ = strconv.ParseInt(p.GetStringParam(), 10, 64)
	}
	return time.Duration(n) * time.Microsecond
}

// statusOf is an error of serve as one of gRPC.
func statusOf(err error) error {
	var e *serve.Error
	if !errors.As(err, &e) {
		return err
	}
	return status.Error(codeOf(e.Status), e.Text)
}

func (v *v2) ServerLive(context.Context, *inference.ServerLiveRequest) (*inference.ServerLiveResponse, error) {
	return &inference.ServerLiveResponse{Live: true}, nil
}

func (v *v2) ServerReady(context.Context, *inference.ServerReadyRequest) (*inference.ServerReadyResponse, error) {
	return &inference.ServerReadyResponse{Ready: v.server.Ready()}, nil
}

func (v *v2) ModelReady(ctx context.Context, r *inference.ModelReadyRequest) (*inference.ModelReadyResponse, error) {
	err := v.document(ctx, "GET", pathOf(r.Name, r.Version)+"/ready", "", nil)
	return &inference.ModelReadyResponse{Ready: err == nil}, nil
}

func (v *v2) ServerMetadata(ctx context.Context, _ *inference.ServerMetadataRequest) (*inference.ServerMetadataResponse, error) {
	var m inference.ServerMetadataResponse
	return &m, v.document(ctx, "GET", "", "", &m)
}

func (v *v2) ModelMetadata(ctx context.Context, r *inference.ModelMetadataRequest) (*inference.ModelMetadataResponse, error) {
	var m inference.ModelMetadataResponse
	return &m, v.document(ctx, "GET", pathOf(r.Name, r.Version), "", &m)
}

func (v *v2) ModelConfig(ctx context.Context, r *inference.ModelConfigRequest) (*inference.ModelConfigResponse, error) {
	m := inference.ModelConfigResponse{Config: new(inference.ModelConfig)}
	return &m, v.document(ctx, "GET", pathOf(r.Name, r.Version)+"/config", "", m.Config)
}

func (v *v2) ModelStatistics(ctx context.Context, r *inference.ModelStatisticsRequest) (*inference.ModelStatisticsResponse, error) {
	var m inference.ModelStatisticsResponse
	path := "/models"
	if r.Name != "" {
		path = pathOf(r.Name, r.Version)
	}
	return &m, v.document(ctx, "GET", path+"/stats", "", &m)
}

func (v *v2) RepositoryIndex(ctx context.Context, r *inference.RepositoryIndexRequest) (*inference.RepositoryIndexResponse, error) {
	var m inference.RepositoryIndexResponse
	return &m, v.document(ctx, "POST", "/repository/index", fmt.Sprintf(`{"ready":%t}`, r.Ready), &m)
}

func (v *v2) RepositoryModelLoad(ctx context.Context, r *inference.RepositoryModelLoadRequest) (*inference.RepositoryModelLoadResponse, error) {
	name := modelOf(r.RepositoryName, r.ModelName)
	return &inference.RepositoryModelLoadResponse{ModelName: name, IsLoaded: true}, v.document(ctx, "POST", "/repository/models/"+url.PathEscape(name)+"/load", "", nil)
}

func (v *v2) RepositoryModelUnload(ctx context.Context, r *inference.RepositoryModelUnloadRequest) (*inference.RepositoryModelUnloadResponse, error) {
	name := modelOf(r.RepositoryName, r.ModelName)
	return &inference.RepositoryModelUnloadResponse{ModelName: name, IsUnloaded: true}, v.document(ctx, "POST", "/repository/models/"+url.PathEscape(name)+"/unload", "", nil)
}

// modelOf is the model's name in a request of Triton's clients, who have a repository's
// before it, or KServe's, who have none.
func modelOf(one, two string) string { return cmp.Or(two, one) }

func pathOf(model, version string) string {
	path := "/models/" + url.PathEscape(model)
	if version != "" {
		path += "/versions/" + url.PathEscape(version)
	}
	return path
}

// document asks the server for a document of the protocol as it is over HTTP, and
// reads it into a message, unless that is nil. The two forms have the same names.
func (v *v2) document(ctx context.Context, method, path, body string, into proto.Message) error {
	w, err := call(ctx, v.server, method, "/v2"+path, body)
	if err != nil {
		return err
	}
	if w.status != http.StatusOK {
		return w.problem()
	}
	if into == nil {
		return nil
	}
	b := w.body.Bytes()
	if b[0] == '[' { // a list, which a message is not
		b = append(append([]byte(`{"models":`), b...), '}')
	}
	return protojson.Unmarshal(b, into)
}

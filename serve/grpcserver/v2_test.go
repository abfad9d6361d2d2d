package grpcserver

import (
	"bytes"
	"context"
	"encoding/binary"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/serve"
	"github.com/skive-ml/skive/serve/grpcserver/internal/inference"
)

var someTexts = []string{"w7 w30 w8", "w1", "w2 w3 w4 w5 w6 w7 w8 w9", "w30 w30", "w11 w12"}

type (
	request = inference.ModelInferRequest
	input   = inference.ModelInferRequest_InferInputTensor
	wanted  = inference.ModelInferRequest_InferRequestedOutputTensor
)

func textInput(texts ...string) *input {
	in := &input{Name: "text", Datatype: "BYTES", Shape: []int64{int64(len(texts))}, Contents: &inference.InferTensorContents{}}
	for _, t := range texts {
		in.Contents.BytesContents = append(in.Contents.BytesContents, []byte(t))
	}
	return in
}

// raw makes the contents of a request raw.
func raw(r *request) *request {
	for _, in := range r.Inputs {
		var b []byte
		for _, text := range in.Contents.BytesContents {
			b = binary.LittleEndian.AppendUint32(b, uint32(len(text)))
			b = append(b, text...)
		}
		for _, n := range in.Contents.Int64Contents {
			b = binary.LittleEndian.AppendUint64(b, uint64(n))
		}
		r.RawInputContents = append(r.RawInputContents, b)
		in.Contents = nil
	}
	return r
}

// floats are the numbers of an output, in the form of the answer.
func floats(t *testing.T, a *inference.ModelInferResponse, name string) []float32 {
	t.Helper()
	for i, o := range a.Outputs {
		if o.Name != name {
			continue
		}
		if len(a.RawOutputContents) == 0 {
			return o.Contents.Fp32Contents
		}
		x := make([]float32, len(a.RawOutputContents[i])/4)
		if _, err := binary.Decode(a.RawOutputContents[i], binary.LittleEndian, x); err != nil || o.Contents != nil {
			t.Fatal(err, o)
		}
		return x
	}
	t.Fatalf("no output %s: %v", name, a)
	return nil
}

// Texts and tokens, raw and typed, have the bits of each row alone.
func TestRows(t *testing.T) {
	client := inference.NewGRPCInferenceServiceClient(dial(t, loaded(t, serve.Options{})))
	engine := func(embedding string) *infer.Engine {
		e, err := infer.Open(tiny, infer.Options{Threads: 1, Embedding: embedding})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { e.Close() })
		return e
	}
	classifier, embedder := engine(""), engine(infer.Mean)
	var logits, embeddings []float32
	for _, text := range someTexts {
		p, err := classifier.Predict(t.Context(), []infer.Input{{Text: text}})
		if err != nil {
			t.Fatal(err)
		}
		e, err := embedder.Embed(t.Context(), []infer.Input{{Text: text}})
		if err != nil {
			t.Fatal(err)
		}
		logits, embeddings = append(logits, p[0].Logits...), append(embeddings, e[0]...)
	}
	ids := []int32{2, 7, 9, 3}
	ofTokens, err := classifier.PredictTokens(nil, append(append([]int32{}, ids...), 2, 8, 3), nil, []int32{0, 4, 7})
	if err != nil {
		t.Fatal(err)
	}
	tokens := func() []*input {
		return []*input{
			{Name: "input_ids", Datatype: "INT64", Shape: []int64{2, 4}, Contents: &inference.InferTensorContents{Int64Contents: []int64{2, 7, 9, 3, 2, 8, 3, 0}}},
			{Name: "attention_mask", Datatype: "INT64", Shape: []int64{2, 4}, Contents: &inference.InferTensorContents{Int64Contents: []int64{1, 1, 1, 1, 1, 1, 1, 0}}},
		}
	}
	for _, c := range []struct {
		model, output string
		inputs        func() []*input
		want          []float32
	}{
		{"org/colours", "logits", func() []*input { return []*input{textInput(someTexts...)} }, logits},
		{"mean", "output-0", func() []*input { return []*input{textInput(someTexts...)} }, embeddings},
		{"org/colours", "logits", tokens, ofTokens},
	} {
		typed := &request{ModelName: c.model, Id: "7", Inputs: c.inputs(), Outputs: []*wanted{{Name: c.output}}}
		for _, r := range []*request{typed, raw(&request{ModelName: c.model, Id: "7", Inputs: c.inputs(), Outputs: []*wanted{{Name: c.output}}})} {
			got, err := client.ModelInfer(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			if got.ModelName != c.model || got.ModelVersion != "1" || got.Id != "7" || len(got.Outputs) != 1 || (len(got.RawOutputContents) > 0) != (len(r.RawInputContents) > 0) {
				t.Errorf("%s: %v", c.model, got)
			}
			if x := floats(t, got, c.output); !sameBits(x, c.want) {
				t.Errorf("%s: %v, want %v", c.model, x, c.want)
			}
		}
	}
	all, err := client.ModelInfer(t.Context(), &request{ModelName: "org/colours", ModelVersion: "1", Inputs: []*input{textInput("w1")}})
	if err != nil {
		t.Fatal(err)
	}
	if len(all.Outputs) != 4 || len(all.Outputs[0].Contents.Int64Contents) != 1 || len(all.Outputs[1].Contents.BytesContents) != 1 {
		t.Errorf("%v", all)
	}
}

func TestErrors(t *testing.T) {
	var log bytes.Buffer
	var mu sync.Mutex
	s := loaded(t, serve.Options{MaxBody: 5000, Log: slog.New(slog.NewTextHandler(lockedWriter{&mu, &log}, nil))})
	client := inference.NewGRPCInferenceServiceClient(dial(t, s))
	parameter := map[string]*inference.InferParameter{"timeout": {ParameterChoice: &inference.InferParameter_Int64Param{Int64Param: 1}}}
	long := make([]string, 33)
	for i := range long {
		long[i] = "w1"
	}
	one := []*input{textInput("w1")}
	for _, c := range []struct {
		r    *request
		code codes.Code
		want string
	}{
		{&request{ModelName: "nope", Inputs: one}, codes.NotFound, "Request for unknown model: 'nope' is not found"},
		{&request{Inputs: one}, codes.NotFound, "Request for unknown model: '' is not found"},
		{&request{ModelName: "mean", ModelVersion: "7", Inputs: one}, codes.NotFound, "version 7 is not found"},
		{&request{ModelName: "mean"}, codes.InvalidArgument, "no tensor"},
		{&request{ModelName: "mean", Inputs: []*input{textInput("")}, Outputs: []*wanted{{Name: "logits"}}}, codes.InvalidArgument, "unexpected inference output 'logits'"},
		{&request{ModelName: "mean", Inputs: one, Outputs: []*wanted{{Name: "output-0", Parameters: map[string]*inference.InferParameter{"classification": nil}}}}, codes.InvalidArgument, "classification is not supported"},
		{&request{ModelName: "mean", Inputs: one, Outputs: []*wanted{{Name: "output-0"}, {Name: "output-0"}}}, codes.InvalidArgument, "output 'output-0' is asked for twice"},
		{&request{ModelName: "mean", Inputs: []*input{{Name: "x", Datatype: "FP32", Shape: []int64{1}}}}, codes.InvalidArgument, `datatype "FP32"`},
		{&request{ModelName: "mean", Inputs: []*input{{Name: "x", Datatype: "BYTES", Shape: []int64{1}}}}, codes.InvalidArgument, "0 elements, the shape [1] has 1"},
		{&request{ModelName: "mean", Inputs: []*input{{Name: "x", Datatype: "BYTES", Shape: []int64{-1}}}}, codes.InvalidArgument, "shape [-1]"},
		{&request{ModelName: "mean", Inputs: []*input{{Name: "x", Datatype: "INT64", Shape: []int64{1}, Contents: textInput("w1").Contents}}}, codes.InvalidArgument, "contents of another type"},
		{&request{ModelName: "mean", Inputs: []*input{{Name: "x", Datatype: "BYTES", Shape: []int64{1}, Parameters: map[string]*inference.InferParameter{"shared_memory_region": nil}}}}, codes.InvalidArgument, "shared memory is not supported"},
		{&request{ModelName: "mean", Inputs: one, RawInputContents: [][]byte{{2, 0, 0, 0, 'w', '1'}}}, codes.InvalidArgument, "contents beside raw contents"},
		{&request{ModelName: "mean", Inputs: one, RawInputContents: [][]byte{{}, {}}}, codes.InvalidArgument, "2 raw contents of 1 inputs"},
		{&request{ModelName: "mean", Inputs: []*input{{Name: "x", Datatype: "BYTES", Shape: []int64{1}}}, RawInputContents: [][]byte{{9, 0, 0, 0, 'w'}}}, codes.InvalidArgument, "element 0 has 9 bytes, 1 are left"},
		{&request{ModelName: "mean", Inputs: []*input{textInput(long...)}}, codes.InvalidArgument, "batch size 33 > maximum allowed batch size 32"},
		{&request{ModelName: "mean", Inputs: []*input{textInput(strings.Repeat("w1 ", 2000))}}, codes.ResourceExhausted, "larger than max"},
		{&request{ModelName: "mean", Inputs: one, Parameters: parameter}, codes.DeadlineExceeded, "longer than it may"},
	} {
		_, err := client.ModelInfer(t.Context(), c.r)
		if status.Code(err) != c.code || !strings.Contains(status.Convert(err).Message(), c.want) {
			t.Errorf("%.100v: %v, want %s with %s", c.r, err, c.code, c.want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := client.ModelInfer(ctx, &request{ModelName: "mean", Inputs: one}); status.Code(err) != codes.Canceled {
		t.Error(err)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{
		`skive_requests_total{code="NOT_FOUND",model="",protocol="v2-grpc"} 2`, `skive_requests_total{code="INVALID_ARGUMENT",model="mean",protocol="v2-grpc"} 13`,
	} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("no %s", want)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if want := "method=/inference.GRPCInferenceService/ModelInfer status=DEADLINE_EXCEEDED protocol=v2-grpc model=mean"; !strings.Contains(log.String(), want) {
		t.Errorf("no %s in\n%s", want, &log)
	}
}

type lockedWriter struct {
	mu *sync.Mutex
	b  *bytes.Buffer
}

func (w lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

// What is told of models is what HTTP tells.
func TestDocuments(t *testing.T) {
	client := inference.NewGRPCInferenceServiceClient(dial(t, loaded(t, serve.Options{Repository: true})))
	ctx := t.Context()
	if _, err := client.ModelInfer(ctx, &request{ModelName: "mean", Inputs: []*input{textInput("w1", "w2")}}); err != nil {
		t.Fatal(err)
	}
	server, err := client.ServerMetadata(ctx, &inference.ServerMetadataRequest{})
	if err != nil || server.Name != "skive" || len(server.Extensions) == 0 {
		t.Errorf("%v, %v", server, err)
	}
	model, err := client.ModelMetadata(ctx, &inference.ModelMetadataRequest{Name: "org/colours", Version: "1"})
	if err != nil || model.Name != "org/colours" || model.Inputs[0].Datatype != "BYTES" || model.Outputs[3].Name != "logits" || model.Outputs[3].Shape[1] != 3 {
		t.Errorf("%v, %v", model, err)
	}
	config, err := client.ModelConfig(ctx, &inference.ModelConfigRequest{Name: "mean"})
	if err != nil || config.Config.MaxBatchSize != 32 || config.Config.Output[0].DataType != inference.DataType_TYPE_FP32 {
		t.Errorf("%v, %v", config, err)
	}
	for name, n := range map[string]int{"mean": 1, "": 2} {
		stats, err := client.ModelStatistics(ctx, &inference.ModelStatisticsRequest{Name: name})
		if err != nil || len(stats.ModelStats) != n {
			t.Errorf("%v, %v", stats, err)
			continue
		}
		if of := stats.ModelStats[n-1]; of.InferenceCount != 2 || of.InferenceStats.Success.Count != 1 || of.InferenceStats.ComputeInfer.Ns == 0 {
			t.Errorf("%v", of)
		}
	}
	// KServe's clients have the name in the first field, Triton's in the second.
	if _, err := client.RepositoryModelUnload(ctx, &inference.RepositoryModelUnloadRequest{RepositoryName: "mean"}); err != nil {
		t.Error(err)
	}
	ready := func(name string) bool {
		r, err := client.ModelReady(ctx, &inference.ModelReadyRequest{Name: name})
		if err != nil {
			t.Error(err)
		}
		return r.GetReady()
	}
	if ready("mean") || !ready("org/colours") || ready("nope") {
		t.Error("of three models the second is not the only one that is ready")
	}
	index, err := client.RepositoryIndex(ctx, &inference.RepositoryIndexRequest{})
	if err != nil || len(index.Models) != 2 || index.Models[1].State != "UNAVAILABLE" || index.Models[0].State != "READY" {
		t.Errorf("%v, %v", index, err)
	}
	if _, err := client.ModelInfer(ctx, &request{ModelName: "mean", Inputs: []*input{textInput("w1")}}); status.Code(err) != codes.Unavailable {
		t.Error(err)
	}
	if _, err := client.RepositoryModelLoad(ctx, &inference.RepositoryModelLoadRequest{ModelName: "mean"}); err != nil || !ready("mean") {
		t.Error(err)
	}
	for _, err := range []error{
		second(client.ModelMetadata(ctx, &inference.ModelMetadataRequest{Name: "nope"})),
		second(client.ModelConfig(ctx, &inference.ModelConfigRequest{Name: ""})),
		second(client.RepositoryModelLoad(ctx, &inference.RepositoryModelLoadRequest{ModelName: "nope"})),
	} {
		if status.Code(err) != codes.NotFound {
			t.Error(err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestKeys(t *testing.T) {
	client := inference.NewGRPCInferenceServiceClient(dial(t, loaded(t, serve.Options{APIKeys: serve.List{"first"}})))
	for header, want := range map[string]codes.Code{"Bearer first": codes.OK, "Bearer second": codes.Unauthenticated, "": codes.Unauthenticated} {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", header)
		if _, err := client.ModelInfer(ctx, &request{ModelName: "mean", Inputs: []*input{textInput("w1")}}); status.Code(err) != want {
			t.Errorf("%q: %v", header, err)
		}
		if _, err := client.ModelMetadata(ctx, &inference.ModelMetadataRequest{Name: "mean"}); status.Code(err) != want {
			t.Errorf("%q: %v", header, err)
		}
	}
	if r, err := client.ServerReady(t.Context(), &inference.ServerReadyRequest{}); err != nil || !r.Ready {
		t.Error(r, err)
	}
}

// What is too much is refused at once, and every answer is right.
func TestOverload(t *testing.T) {
	s := loaded(t, serve.Options{MaxConcurrent: 4, MaxClientBatch: 4})
	client := inference.NewGRPCInferenceServiceClient(dial(t, s))
	r := &request{ModelName: "mean", Inputs: []*input{textInput(someTexts[:2]...)}}
	want, err := client.ModelInfer(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var answered, refused int
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			for range 20 {
				var trailer metadata.MD
				got, err := client.ModelInfer(t.Context(), r, grpc.Trailer(&trailer))
				mu.Lock()
				switch {
				case err == nil && sameBits(got.Outputs[0].Contents.Fp32Contents, want.Outputs[0].Contents.Fp32Contents):
					answered++
				case status.Code(err) == codes.ResourceExhausted:
					refused++
				default:
					t.Errorf("%v, %v", got, err)
				}
				mu.Unlock()
			}
		})
	}
	group.Wait()
	if answered == 0 || refused == 0 {
		t.Errorf("%d answered, %d refused", answered, refused)
	}
	// Nothing is under way any more: as much as may be is taken again.
	time.Sleep(10 * time.Millisecond)
	if _, err := client.ModelInfer(t.Context(), &request{ModelName: "mean", Inputs: []*input{textInput(someTexts[:4]...)}}); err != nil {
		t.Error(err)
	}
}

// Requests whose messages do not come take no more memory than a bounded number does.
func TestUnfinishedMessagesAreBounded(t *testing.T) {
	connection := dial(t, loaded(t, serve.Options{MaxConcurrent: 1, MaxClientBatch: 1}))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range 2 {
		if _, err := connection.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true}, inference.GRPCInferenceService_ModelInfer_FullMethodName); err != nil {
			t.Fatal(err)
		}
	}
	client := inference.NewGRPCInferenceServiceClient(connection)
	one := &request{ModelName: "mean", Inputs: []*input{textInput("w1")}}
	if _, err := client.ModelInfer(t.Context(), one); status.Code(err) != codes.ResourceExhausted {
		t.Error(err)
	}
	if r, err := client.ServerReady(t.Context(), &inference.ServerReadyRequest{}); err != nil || !r.Ready {
		t.Error(r, err)
	}
	cancel()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		_, err := client.ModelInfer(t.Context(), one)
		if err == nil {
			return
		}
		if status.Code(err) != codes.ResourceExhausted || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

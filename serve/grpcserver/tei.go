package grpcserver

import (
	"cmp"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/skive-ml/skive/serve"
	"github.com/skive-ml/skive/serve/grpcserver/internal/tei"
)

// texts has the services of text-embeddings-inference. A message is carried out as a
// request of the route that has its name over HTTP, and counts as one.
type texts struct {
	tei.UnimplementedInfoServer
	tei.UnimplementedEmbedServer
	tei.UnimplementedPredictServer
	tei.UnimplementedRerankServer
	tei.UnimplementedTokenizeServer
	server *serve.Server
	idle   time.Duration // that a stream may be without a message
}

func (t *texts) register(s grpc.ServiceRegistrar) {
	tei.RegisterInfoServer(s, t)
	tei.RegisterEmbedServer(s, t)
	tei.RegisterPredictServer(s, t)
	tei.RegisterRerankServer(s, t)
	tei.RegisterTokenizeServer(s, t)
}

// fields are the keys of a request's document.
type fields = map[string]any

func direction(d tei.TruncationDirection) string {
	if d == tei.TruncationDirection_TRUNCATION_DIRECTION_LEFT {
		return "left"
	}
	return "right"
}

func (t *texts) Info(ctx context.Context, r *tei.InfoRequest) (*tei.InfoResponse, error) {
	var info struct {
		tei.InfoResponse
		Type map[string]any `json:"model_type"`
	}
	if _, err := t.ask(ctx, "GET", "/info", r, nil, &info); err != nil {
		return nil, err
	}
	kind := tei.ModelType_MODEL_TYPE_CLASSIFIER
	if _, ok := info.Type["embedding"]; ok {
		kind = tei.ModelType_MODEL_TYPE_EMBEDDING
	} else if _, ok := info.Type["reranker"]; ok {
		kind = tei.ModelType_MODEL_TYPE_RERANKER
	}
	info.ModelType = kind
	return &info.InfoResponse, nil
}

func (t *texts) Embed(ctx context.Context, r *tei.EmbedRequest) (*tei.EmbedResponse, error) {
	var rows [][]float32
	m, err := t.ask(ctx, "POST", "/embed", r, fields{
		"inputs": r.Inputs, "truncate": r.Truncate, "normalize": r.Normalize, "truncation_direction": direction(r.TruncationDirection), "prompt_name": r.GetPromptName(),
	}, &rows)
	if err != nil {
		return nil, err
	}
	return &tei.EmbedResponse{Embeddings: rows[0], Metadata: m}, nil
}

func (t *texts) EmbedAll(ctx context.Context, r *tei.EmbedAllRequest) (*tei.EmbedAllResponse, error) {
	var rows [][][]float32
	m, err := t.ask(ctx, "POST", "/embed_all", r, fields{
		"inputs": r.Inputs, "truncate": r.Truncate, "truncation_direction": direction(r.TruncationDirection), "prompt_name": r.GetPromptName(),
	}, &rows)
	if err != nil {
		return nil, err
	}
	answer := &tei.EmbedAllResponse{Metadata: m}
	for _, token := range rows[0] {
		answer.TokenEmbeddings = append(answer.TokenEmbeddings, &tei.TokenEmbedding{Embeddings: token})
	}
	return answer, nil
}

func (t *texts) EmbedSparse(ctx context.Context, r *tei.EmbedSparseRequest) (*tei.EmbedSparseResponse, error) {
	var rows [][]*tei.SparseValue
	m, err := t.ask(ctx, "POST", "/embed_sparse", r, fields{
		"inputs": r.Inputs, "truncate": r.Truncate, "truncation_direction": direction(r.TruncationDirection), "prompt_name": r.GetPromptName(),
	}, &rows)
	if err != nil {
		return nil, err
	}
	return &tei.EmbedSparseResponse{SparseEmbeddings: rows[0], Metadata: m}, nil
}

func (t *texts) Predict(ctx context.Context, r *tei.PredictRequest) (*tei.PredictResponse, error) {
	return t.predict(ctx, r, []string{r.Inputs}, r.Truncate, r.RawScores, r.TruncationDirection)
}

func (t *texts) PredictPair(ctx context.Context, r *tei.PredictPairRequest) (*tei.PredictResponse, error) {
	if len(r.Inputs) != 2 {
		return nil, status.Errorf(codes.InvalidArgument, "`inputs` has %d texts, expected a pair", len(r.Inputs))
	}
	return t.predict(ctx, r, r.Inputs, r.Truncate, r.RawScores, r.TruncationDirection)
}

func (t *texts) predict(ctx context.Context, r proto.Message, inputs []string, truncate, raw bool, side tei.TruncationDirection) (*tei.PredictResponse, error) {
	var rows [][]struct {
		Score  float32
		Label  string
		Entity *string
	}
	m, err := t.ask(ctx, "POST", "/predict", r, fields{
		"inputs": [][]string{inputs}, "truncate": truncate, "raw_scores": raw, "truncation_direction": direction(side),
	}, &rows)
	if err != nil {
		return nil, err
	}
	answer := &tei.PredictResponse{Metadata: m}
	for _, p := range rows[0] {
		if p.Entity != nil {
			return nil, status.Error(codes.FailedPrecondition, "the model labels words, for which the protocol has no message")
		}
		answer.Predictions = append(answer.Predictions, &tei.Prediction{Score: p.Score, Label: p.Label})
	}
	return answer, nil
}

func (t *texts) Rerank(ctx context.Context, r *tei.RerankRequest) (*tei.RerankResponse, error) {
	var ranks []*tei.Rank
	m, err := t.ask(ctx, "POST", "/rerank", r, fields{
		"query": r.Query, "texts": r.Texts, "truncate": r.Truncate, "raw_scores": r.RawScores, "return_text": r.ReturnText, "truncation_direction": direction(r.TruncationDirection),
	}, &ranks)
	if err != nil {
		return nil, err
	}
	return &tei.RerankResponse{Ranks: ranks, Metadata: m}, nil
}

// RerankStream ranks all texts of a stream, as many at a time as a request may have.
// Together they may be as large as a body.
func (t *texts) RerankStream(stream grpc.ClientStreamingServer[tei.RerankStreamRequest, tei.RerankResponse]) error {
	o := t.server.Options()
	all := &tei.RerankResponse{Metadata: new(tei.Metadata)}
	var next *tei.RerankRequest
	size, done := 0, 0
	flush := func() error {
		part, err := patiently(stream.Context(), next, t.Rerank)
		if err != nil {
			return err
		}
		for _, rank := range part.Ranks {
			rank.Index += uint32(done)
		}
		all.Ranks = append(all.Ranks, part.Ranks...)
		addTo(all.Metadata, part.Metadata)
		done += len(next.Texts)
		next.Texts = nil
		return nil
	}
	for {
		r, err := stream.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if next == nil {
			next = &tei.RerankRequest{RawScores: r.RawScores, ReturnText: r.ReturnText}
		}
		if len(next.Texts) > 0 && (len(next.Texts) == o.MaxClientBatch || r.Query != next.Query || r.Truncate != next.Truncate || r.TruncationDirection != next.TruncationDirection) {
			if err := flush(); err != nil {
				return err
			}
		}
		if size += len(r.Text); size > int(o.MaxBody) {
			return status.Errorf(codes.ResourceExhausted, "the texts of the stream are larger than %d bytes", o.MaxBody)
		}
		next.Query, next.Truncate, next.TruncationDirection = r.Query, r.Truncate, r.TruncationDirection
		next.Texts = append(next.Texts, r.Text)
	}
	if next == nil {
		return status.Error(codes.InvalidArgument, "`texts` cannot be empty")
	}
	if err := flush(); err != nil {
		return err
	}
	slices.SortStableFunc(all.Ranks, func(a, b *tei.Rank) int { return cmp.Compare(b.Score, a.Score) })
	return stream.SendAndClose(all)
}

func addTo(sum, m *tei.Metadata) {
	sum.ComputeChars += m.ComputeChars
	sum.ComputeTokens += m.ComputeTokens
	sum.TotalTimeNs += m.TotalTimeNs
	sum.TokenizationTimeNs += m.TokenizationTimeNs
	sum.QueueTimeNs += m.QueueTimeNs
	sum.InferenceTimeNs += m.InferenceTimeNs
}

func (t *texts) Tokenize(ctx context.Context, r *tei.EncodeRequest) (*tei.EncodeResponse, error) {
	var rows [][]*tei.SimpleToken
	_, err := t.ask(ctx, "POST", "/tokenize", r, fields{"inputs": r.Inputs, "add_special_tokens": r.AddSpecialTokens, "prompt_name": r.GetPromptName()}, &rows)
	if err != nil {
		return nil, err
	}
	return &tei.EncodeResponse{Tokens: rows[0]}, nil
}

func (t *texts) Decode(ctx context.Context, r *tei.DecodeRequest) (*tei.DecodeResponse, error) {
	var rows []string
	ids := r.Ids
	if ids == nil {
		ids = []uint32{}
	}
	if _, err := t.ask(ctx, "POST", "/decode", r, fields{"ids": ids, "skip_special_tokens": r.SkipSpecialTokens}, &rows); err != nil {
		return nil, err
	}
	return &tei.DecodeResponse{Text: rows[0]}, nil
}

func (t *texts) EmbedStream(s grpc.BidiStreamingServer[tei.EmbedRequest, tei.EmbedResponse]) error {
	return each(s, t, t.Embed)
}

func (t *texts) EmbedAllStream(s grpc.BidiStreamingServer[tei.EmbedAllRequest, tei.EmbedAllResponse]) error {
	return each(s, t, t.EmbedAll)
}

func (t *texts) EmbedSparseStream(s grpc.BidiStreamingServer[tei.EmbedSparseRequest, tei.EmbedSparseResponse]) error {
	return each(s, t, t.EmbedSparse)
}

func (t *texts) PredictStream(s grpc.BidiStreamingServer[tei.PredictRequest, tei.PredictResponse]) error {
	return each(s, t, t.Predict)
}

func (t *texts) PredictPairStream(s grpc.BidiStreamingServer[tei.PredictPairRequest, tei.PredictResponse]) error {
	return each(s, t, t.PredictPair)
}

func (t *texts) TokenizeStream(s grpc.BidiStreamingServer[tei.EncodeRequest, tei.EncodeResponse]) error {
	return each(s, t, t.Tokenize)
}

func (t *texts) DecodeStream(s grpc.BidiStreamingServer[tei.DecodeRequest, tei.DecodeResponse]) error {
	return each(s, t, t.Decode)
}

// ahead is how many messages of a stream are computed at a time.
const ahead = 32

// each answers the messages of a stream, in their order and several at a time.
func each[Q, A any](stream grpc.BidiStreamingServer[Q, A], t *texts, one func(context.Context, *Q) (*A, error)) error {
	type result struct {
		answer *A
		err    error
	}
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	log := t.server.Options().Log
	results := make(chan chan result, ahead)
	var failed error // read once results is closed
	go func() {
		defer close(results)
		defer recovered(ctx, log, &failed)
		for {
			q, err := stream.Recv()
			if err != nil {
				if err != io.EOF {
					failed = err
				}
				return
			}
			c := make(chan result, 1)
			select {
			case results <- c:
			case <-ctx.Done():
				return
			}
			go func() {
				var r result
				defer func() { c <- r }()
				defer recovered(ctx, log, &r.err)
				r.answer, r.err = patiently(ctx, q, one)
			}()
		}
	}()
	for {
		select {
		case c, ok := <-results:
			if !ok {
				return failed
			}
			r := <-c
			if r.err != nil {
				return r.err
			}
			if err := stream.Send(r.answer); err != nil {
				return err
			}
		case <-time.After(t.idle):
			return late(t.idle)
		}
	}
}

// overloaded is the error of a server that is full.
var overloaded = status.Error(codes.ResourceExhausted, "Model is overloaded")

// patiently waits where the server is full, as messages of streams do.
func patiently[Q, A any](ctx context.Context, q *Q, one func(context.Context, *Q) (*A, error)) (*A, error) {
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		answer, err := one(ctx, q)
		if err != overloaded {
			return answer, err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, status.FromContextError(ctx.Err()).Err()
		}
	}
}

// ask asks the server as a client of HTTP does, with a document of the fields, if there are
// any, of the model that the metadata model names. It reads the answer, and returns what
// it took.
func (t *texts) ask(ctx context.Context, method, route string, r proto.Message, body fields, into any) (*tei.Metadata, error) {
	if len(r.ProtoReflect().GetUnknown()) > 0 {
		return nil, status.Error(codes.InvalidArgument, "the message has a field that the server does not know")
	}
	began := time.Now()
	md, _ := metadata.FromIncomingContext(ctx)
	if model := first(md, "model"); model != "" {
		route = "/models/" + url.PathEscape(model) + route
	}
	b, err := json.Marshal(body)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	w, err := call(ctx, t.server, method, route, string(b))
	if err != nil {
		return nil, err
	}
	switch w.status {
	case http.StatusOK:
	case http.StatusTooManyRequests:
		return nil, overloaded
	default:
		return nil, w.problem()
	}
	if err := json.Unmarshal(w.body.Bytes(), into); err != nil {
		return nil, status.Errorf(codes.Internal, "%s: %v", route, err)
	}
	number := func(name string) uint64 {
		n, _ := strconv.ParseUint(w.header.Get(name), 10, 64) // of our own server
		return n
	}
	const ms = uint64(time.Millisecond)
	return &tei.Metadata{
		ComputeChars: uint32(number("X-Compute-Characters")), ComputeTokens: uint32(number("X-Compute-Tokens")), TotalTimeNs: uint64(time.Since(began)),
		TokenizationTimeNs: ms * number("X-Tokenization-Time"), QueueTimeNs: ms * number("X-Queue-Time"), InferenceTimeNs: ms * number("X-Inference-Time"),
	}, nil
}

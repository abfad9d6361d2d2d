package serve

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"mime"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/jsonwords"
)

// exchange is a request and what becomes of it.
type exchange struct {
	server *Server
	ctx    context.Context
	began  time.Time
	named  string        // the model that the request itself names, or ""
	told   []slog.Attr   // which request it is, in the log
	whole  *atomic.Int64 // the inputs of the request that this is a part of, or nil

	// Of HTTP alone.
	w *recorder
	r *http.Request

	span       trace.Span // nil without a tracer
	version    *version   // acquired, or nil
	admitted   int        // inputs that count as under way
	characters int        // of the texts
	call       infer.Call
	ownLength  bool      // the request says what becomes of texts that are too long
	asked      time.Time // when the pool was
	lengths    []length  // of what was computed
}

// recorder notes what was answered.
type recorder struct {
	http.ResponseWriter
	status int
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// open handles a route that needs neither a key nor a model.
func (s *Server) open(pattern string, handle http.HandlerFunc) {
	s.patterns = append(s.patterns, pattern)
	s.mux.HandleFunc(pattern, handle)
}

// guarded handles a route that asks for a key.
func (s *Server) guarded(pattern string, handle http.HandlerFunc) {
	s.open(pattern, func(w http.ResponseWriter, r *http.Request) {
		if s.authorized(r.Header.Get("Authorization")) {
			handle(w, r)
			return
		}
		w.Header().Set("WWW-Authenticate", "Bearer")
		w.WriteHeader(http.StatusUnauthorized)
		s.log.LogAttrs(r.Context(), slog.LevelWarn, "request without a key", slog.String("method", r.Method), pathOf(r), slog.Int("status", http.StatusUnauthorized))
	})
}

// pathOf is a request's path in the log, which a client does not fill with it.
func pathOf(r *http.Request) slog.Attr {
	const most = 200
	path := r.URL.Path
	if len(path) > most {
		path = strings.ToValidUTF8(path[:most], "") + "..."
	}
	return slog.String("path", path)
}

// computing handles a route that computes: with a key, a deadline, a bound on the body,
// and an error in the dialect.
func (s *Server) computing(pattern string, d *dialect, handle func(x *exchange) error) {
	s.guarded(pattern, func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), time.Duration(s.options.Timeout))
		defer cancel()
		ctx, span := s.startHTTPSpan(ctx, r, strings.TrimPrefix(pattern, "POST "))
		x := &exchange{
			server: s, ctx: ctx, began: time.Now(), named: r.PathValue("model"),
			told: []slog.Attr{slog.String("method", r.Method), pathOf(r)},
			w:    &recorder{ResponseWriter: w}, r: r.WithContext(ctx), span: span,
		}
		x.r.Body = http.MaxBytesReader(w, r.Body, int64(s.options.MaxBody))
		entered := ctx.Value(enteredKey{}) != nil
		var failed *problem
		defer func() {
			if !entered {
				s.bodies.Add(-1)
			}
			x.end(d.protocol, slog.IntValue(x.w.status), failed)
		}()
		if !entered {
			failed = s.enter()
		}
		if failed == nil {
			failed = x.answer(handle)
		}
		if failed != nil {
			d.write(x.w, failed)
		}
	})
}

// enteredKey is of a context whose request has been counted by Enter.
type enteredKey struct{}

// enter counts a request as under way, which may have sent only a part of its body. One
// that could not be admitted now is refused before its body is read: refusing is to cost
// little, for under overload it takes the processor's time from what was let in.
func (s *Server) enter() *problem {
	most := int64(s.options.MaxConcurrent)
	if s.bodies.Add(1) > 2*most || s.waiting.Load() >= most {
		return errOverloaded
	}
	return nil
}

// answer carries out what the request asks for. A panic is a problem, too.
func (x *exchange) answer(handle func(x *exchange) error) (failed *problem) {
	defer func() {
		if p := recover(); p == http.ErrAbortHandler {
			panic(p)
		} else if p != nil {
			x.server.log.LogAttrs(x.ctx, slog.LevelError, "panic", append(x.told, slog.String("panic", fmt.Sprint(p)), slog.String("stack", string(debug.Stack())))...)
			failed = &problem{http.StatusInternalServerError, backend, "internal error"}
		}
	}()
	if err := handle(x); err != nil {
		return problemOf(err)
	}
	return nil
}

// end lets go of what the exchange holds, and tells what became of it. status is what
// the protocol calls that.
func (x *exchange) end(protocol string, status slog.Value, failed *problem) {
	s := x.server
	s.waiting.Add(-int64(x.admitted))
	level, name := slog.LevelInfo, ""
	if x.version != nil {
		name = x.version.model.options.Name
		x.version.note(x, failed)
		x.version.release()
	}
	s.metrics.note(x, protocol, status.String(), name, failed)
	x.endSpan(protocol, status, name, failed)
	attrs := append(x.told, slog.Attr{Key: "status", Value: status},
		slog.String("protocol", protocol), slog.String("model", name), slog.Int("inputs", x.admitted), slog.Int("tokens", x.call.Tokens),
		slog.Duration("took", time.Since(x.began)), slog.Duration("queue", x.call.Queue), slog.Duration("compute", x.call.Compute))
	if failed != nil {
		attrs = append(attrs, slog.String("error", failed.text))
		if failed.status >= 500 || failed.kind == backend {
			level = slog.LevelError
		}
	}
	s.log.LogAttrs(context.WithoutCancel(x.ctx), level, requestLine, attrs...)
}

// pick acquires the model that a request goes to: the one that its path or it itself
// names, else the first that can do what is asked for. what says that in an error.
func (x *exchange) pick(name string, asked task, what string) (*version, error) {
	s := x.server
	if !s.loaded.Load() {
		return nil, unavailable("the models are being loaded")
	}
	strict := false
	if x.named != "" {
		name, strict = x.named, true
	}
	m := s.named(name)
	switch {
	case m != nil:
	case strict || name != "" && len(s.models) > 1:
		return nil, s.unknown(name)
	default:
		m = s.first(asked)
	}
	v, ok := m.acquire()
	if !ok {
		return nil, unavailable(fmt.Sprintf("model %q is not loaded", m.options.Name))
	}
	x.version = v
	if !v.task.can(asked) {
		return nil, notA(what)
	}
	return v, nil
}

func (s *Server) unknown(name string) error {
	return &problem{http.StatusNotFound, validation, fmt.Sprintf("model %q is not served, expected one of %q", short(name), s.names())}
}

// first is the first model that can do what is asked for, or the first of all.
func (s *Server) first(asked task) *model {
	for _, m := range s.models {
		if t, ok := m.task(); ok && t.can(asked) {
			return m
		}
	}
	return s.models[0]
}

func (s *Server) named(name string) *model {
	i := slices.IndexFunc(s.models, func(m *model) bool { return m.options.Name == name })
	if i < 0 {
		return nil
	}
	return s.models[i]
}

func (s *Server) names() []string {
	names := make([]string, len(s.models))
	for i, m := range s.models {
		names[i] = m.options.Name
	}
	return names
}

// admit counts the inputs as under way, unless they are too many.
func (x *exchange) admit(inputs int) error {
	s, total := x.server, inputs
	if x.whole != nil {
		total = int(x.whole.Add(int64(inputs)))
	}
	if total > s.options.MaxClientBatch {
		return s.tooMany(total)
	}
	if s.waiting.Add(int64(inputs)) > int64(s.options.MaxConcurrent) {
		s.waiting.Add(-int64(inputs))
		return errOverloaded
	}
	x.admitted += inputs
	return nil
}

// tooMany is the problem of a request with so many inputs.
func (s *Server) tooMany(inputs int) error {
	return &problem{http.StatusUnprocessableEntity, validation, fmt.Sprintf("batch size %d > maximum allowed batch size %d", inputs, s.options.MaxClientBatch)}
}

// embed computes embeddings, which are not to be changed.
func (x *exchange) embed(inputs []infer.Input) ([][]float32, error) {
	if err := x.take(inputs); err != nil {
		return nil, err
	}
	embeddings, err := x.version.pool.EmbedCall(x.ctx, &x.call, inputs)
	if err == nil {
		x.version.recent.note(x.lengths, nil)
		x.mirrorEmbeddings(inputs, embeddings)
	}
	return embeddings, err
}

// predict computes answers.
func (x *exchange) predict(inputs []infer.Input) ([]infer.Prediction, error) {
	if err := x.take(inputs); err != nil {
		return nil, err
	}
	if x.version.task == masks {
		var err error
		if inputs, _, err = x.masked(inputs); err != nil {
			return nil, err
		}
	}
	return x.predictTaken(inputs)
}

// predictTaken computes answers for inputs that were taken, those of masks as tokens.
func (x *exchange) predictTaken(inputs []infer.Input) ([]infer.Prediction, error) {
	predictions, err := x.version.pool.PredictCall(x.ctx, &x.call, inputs)
	if err == nil {
		x.version.recent.note(x.lengths, predictions)
		x.mirrorPredictions(inputs, predictions)
	}
	return predictions, err
}

// take admits and counts the inputs of a request, before they are computed.
func (x *exchange) take(inputs []infer.Input) error {
	if stride := x.version.model.options.Stride; stride > 0 && !x.ownLength {
		x.call.Windows, x.call.Stride, x.call.Whole = true, stride, false
	}
	x.call.Each = func(tokens, unknown int) { x.lengths = append(x.lengths, length{tokens, unknown}) }
	x.asked = time.Now()
	for i := range inputs {
		x.characters += len([]rune(inputs[i].Text)) + len([]rune(inputs[i].Pair))
	}
	return x.admit(len(inputs))
}

// peek reads the body, and leaves it to be read again.
func (x *exchange) peek() ([]byte, error) {
	b, err := io.ReadAll(x.r.Body)
	if err != nil {
		return nil, readError(err)
	}
	x.r.Body = io.NopCloser(bytes.NewReader(b))
	return b, nil
}

// decode reads the body, a document of JSON.
func (x *exchange) decode(to any) error {
	if media, _, err := mime.ParseMediaType(x.r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return &problem{http.StatusUnsupportedMediaType, validation, "expected a body with `Content-Type: application/json`"}
	}
	b, err := x.peek()
	if err != nil {
		return err
	}
	return unmarshal(b, to)
}

// readError is the problem of a body that cannot be read.
func readError(err error) error {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return err
	}
	return &problem{http.StatusBadRequest, validation, fmt.Sprintf("the body cannot be read: %v", err)}
}

// unmarshal reads JSON. Its errors name the field and what was expected.
func unmarshal(b []byte, to any) error {
	err := json.Unmarshal(b, to)
	var wrong *json.UnmarshalTypeError
	var p *problem
	switch {
	case err == nil:
		return nil
	case errors.As(err, &p):
		return p
	case errors.As(err, &wrong) && wrong.Field == "":
		return &problem{http.StatusUnprocessableEntity, validation, fmt.Sprintf("the body is a %s, expected an object", short(wrong.Value))}
	case errors.As(err, &wrong):
		expected := jsonwords.Of(wrong.Type)
		if expected == "a whole number" {
			expected += " in its range"
		}
		return &problem{http.StatusUnprocessableEntity, validation, fmt.Sprintf("`%s` is a %s, expected %s", fieldOf(wrong), short(wrong.Value), expected)}
	}
	return &problem{http.StatusBadRequest, validation, fmt.Sprintf("the body is not JSON: %v", err)}
}

// fieldOf is the path of a field in the document: without the structs that the Go type is
// composed of.
func fieldOf(wrong *json.UnmarshalTypeError) string {
	return strings.TrimPrefix(strings.TrimPrefix(wrong.Field, "reading."), "shape.")
}

// texts are the inputs of a request: a string, a list of token ids, or a list of both.
type texts struct {
	list   []infer.Input
	single bool
}

// parseTexts reads texts from the field of that name.
func parseTexts(name string, b json.RawMessage) (texts, error) {
	wrong := invalid("`%s` is neither a text, nor a list of token ids, nor a list of these", name)
	b = bytes.TrimSpace(b)
	if len(b) == 0 {
		return texts{}, invalid("missing field `%s`", name)
	}
	switch b[0] {
	case '"':
		in, err := parseText(name, b)
		return texts{[]infer.Input{in}, true}, err
	case '[':
	default:
		return texts{}, wrong
	}
	var list []json.RawMessage
	if err := json.Unmarshal(b, &list); err != nil {
		return texts{}, wrong
	}
	if len(list) == 0 {
		return texts{}, emptyInputs(name)
	}
	if first := list[0][0]; first != '"' && first != '[' {
		in, err := parseIDs(name, b)
		return texts{[]infer.Input{in}, true}, err
	}
	t := texts{list: make([]infer.Input, len(list))}
	for i, element := range list {
		var err error
		switch element[0] {
		case '"':
			t.list[i], err = parseText(name, element)
		case '[':
			t.list[i], err = parseIDs(name, element)
		default:
			err = wrong
		}
		if err != nil {
			return texts{}, err
		}
	}
	return t, nil
}

func parseText(name string, b []byte) (infer.Input, error) {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return infer.Input{}, invalid("`%s`: %v", name, err)
	}
	if s == "" {
		return infer.Input{}, emptyInputs(name)
	}
	return infer.Input{Text: s}, nil
}

func parseIDs(name string, b []byte) (infer.Input, error) {
	var ids []int32
	if err := json.Unmarshal(b, &ids); err != nil {
		return infer.Input{}, invalid("`%s`: a list of token ids holds something else", name)
	}
	if len(ids) == 0 {
		return infer.Input{}, emptyInputs(name)
	}
	return infer.Input{IDs: ids}, nil
}

// appendFloat appends a finite number as package encoding/json writes it.
func appendFloat(b []byte, x float32) []byte {
	format := byte('f')
	if a := math.Abs(float64(x)); a != 0 && (float32(a) < 1e-6 || float32(a) >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(b, float64(x), format, -1, 32)
}

func appendFloats(b []byte, x []float32) []byte {
	b = append(b, '[')
	for i, v := range x {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendFloat(b, v)
	}
	return append(b, ']')
}

// key is the hash of an API key: hashes are of one length, which a comparison in constant
// time asks for.
type key = [sha256.Size]byte

func keysOf(list List) []key {
	keys := make([]key, len(list))
	for i, k := range list {
		keys[i] = sha256.Sum256([]byte(k))
	}
	return keys
}

// authorized tells whether a request with that header or metadata named Authorization,
// "Bearer KEY", is to be answered.
func (s *Server) authorized(authorization string) bool {
	if len(s.keys) == 0 {
		return true
	}
	scheme, token, _ := strings.Cut(authorization, " ")
	sum := sha256.Sum256([]byte(strings.TrimSpace(token)))
	found := 0
	for i := range s.keys {
		found |= subtle.ConstantTimeCompare(sum[:], s.keys[i][:])
	}
	return found == 1 && strings.EqualFold(scheme, "Bearer")
}

// cors answers for pages of other origins. It reports true for a preflight, which is
// answered then.
func (s *Server) cors(w http.ResponseWriter, r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if len(s.options.CORS) == 0 || origin == "" {
		return false
	}
	h := w.Header()
	h.Add("Vary", "Origin")
	if !slices.Contains(s.options.CORS, "*") && !slices.Contains(s.options.CORS, origin) {
		return false
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Expose-Headers", "*")
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	h.Set("Access-Control-Allow-Methods", "GET, POST, OPTIONS")
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Inference-Header-Content-Length")
	h.Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
	return true
}

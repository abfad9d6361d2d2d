package serve

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/infer"
)

// v2 is the Open Inference Protocol's form of problems.
var v2 = &dialect{"v2", func(p *problem) any {
	return struct {
		Error string `json:"error"`
	}{p.text}
}, func(p *problem) int {
	switch p.status {
	case http.StatusUnprocessableEntity, http.StatusUnsupportedMediaType:
		return http.StatusBadRequest
	case http.StatusFailedDependency:
		return http.StatusInternalServerError
	}
	return p.status
}}

const (
	binaryHeader = "Inference-Header-Content-Length"
	// firstOutput is the name that clients of other servers of text models ask for.
	firstOutput = "output-0"
)

func (s *Server) routesV2() {
	s.open("GET /v2/health/live", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, http.StatusOK, map[string]bool{"live": true})
	})
	s.open("GET /v2/health/ready", func(w http.ResponseWriter, r *http.Request) {
		status := http.StatusOK
		if !s.Ready() {
			status = http.StatusServiceUnavailable
		}
		writeJSON(w, status, map[string]bool{"ready": s.Ready()})
	})
	s.guarded("GET /v2", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, http.StatusOK, map[string]any{
			"name": "skive", "version": checkpoints.Version, "extensions": []string{"binary_tensor_data", "model_configuration", "model_repository", "statistics"},
		})
	})
	s.guarded("GET /v2/models", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, http.StatusOK, map[string]any{"models": s.names()})
	})
	s.guarded("GET /v2/models/stats", func(w http.ResponseWriter, r *http.Request) {
		stats := []any{}
		for _, m := range s.models {
			if v, ok := m.acquire(); ok {
				stats = append(stats, v.statistics())
				v.release()
			}
		}
		writeJSON(w, http.StatusOK, map[string]any{"model_stats": stats})
	})
	for _, path := range []string{"/v2/models/{model}", "/v2/models/{model}/versions/{version}"} {
		s.about("GET "+path, http.StatusNotFound, func(v *version) any { return v.metadata() })
		s.about("GET "+path+"/config", http.StatusNotFound, func(v *version) any { return v.modelConfig() })
		s.about("GET "+path+"/stats", http.StatusNotFound, func(v *version) any {
			return map[string]any{"model_stats": []any{v.statistics()}}
		})
		s.about("GET "+path+"/ready", http.StatusBadRequest, func(v *version) any {
			return map[string]any{"name": v.model.options.Name, "ready": true}
		})
		s.computing("POST "+path+"/infer", v2, (*exchange).inferRoute)
	}
}

// about handles a route that says something about a model. missing is the status where
// there is no such model.
func (s *Server) about(pattern string, missing int, say func(v *version) any) {
	s.guarded(pattern, func(w http.ResponseWriter, r *http.Request) {
		m := s.named(r.PathValue("model"))
		if m == nil {
			v2.write(w, &problem{missing, validation, unknownModel(r.PathValue("model"))})
			return
		}
		v, ok := m.acquire()
		if !ok {
			v2.write(w, problemOf(unavailable(fmt.Sprintf("model %q is not ready", m.options.Name))))
			return
		}
		defer v.release()
		if number := r.PathValue("version"); number != "" && number != v.number {
			v2.write(w, &problem{missing, validation, v.unknownVersion(number)})
			return
		}
		writeJSON(w, http.StatusOK, say(v))
	})
}

func unknownModel(name string) string {
	return fmt.Sprintf("Request for unknown model: '%s' is not found", short(name))
}

func (v *version) unknownVersion(number string) string {
	return fmt.Sprintf("Request for unknown model version: '%s' version %s is not found, expected %s", v.model.options.Name, short(number), v.number)
}

// described is a tensor of a model.
type described struct {
	Name     string `json:"name"`
	Datatype string `json:"datatype"`
	Shape    []int  `json:"shape"`
}

// tokenInputs are the inputs of exported ONNX graphs.
var tokenInputs = []described{{"input_ids", typeInt64, []int{-1, -1}}, {"attention_mask", typeInt64, []int{-1, -1}}, {"token_type_ids", typeInt64, []int{-1, -1}}}

func (v *version) inputs() []described {
	return append([]described{{"text", typeBytes, []int{-1}}}, tokenInputs...)
}

func (v *version) outputs() []described {
	k := len(v.config.Labels)
	switch v.task {
	case embeds:
		return []described{{firstOutput, typeFP32, []int{-1, v.width}}, {"sentence_embedding", typeFP32, []int{-1, v.width}}}
	case scores:
		return []described{{firstOutput, typeFP32, []int{-1, 1}}, {"logits", typeFP32, []int{-1, 1}}, {"score", typeFP32, []int{-1}}}
	case words:
		return []described{{firstOutput, typeBytes, []int{-1}}, {"logits", typeFP32, []int{-1, -1, k}}}
	case masks:
		return []described{{firstOutput, typeBytes, []int{-1}}}
	case chooses:
		return []described{{"logits", typeFP32, []int{-1, 1}}}
	}
	return []described{{firstOutput, typeInt64, []int{-1}}, {"label", typeBytes, []int{-1}}, {"probabilities", typeFP32, []int{-1, k}}, {"logits", typeFP32, []int{-1, k}}}
}

func (v *version) metadata() any {
	return map[string]any{
		"name": v.model.options.Name, "versions": []string{v.number}, "platform": "skive", "inputs": v.inputs(), "outputs": v.outputs(),
	}
}

// modelConfig is what load generators of the protocol ask for.
func (v *version) modelConfig() any {
	type entry struct {
		Name     string `json:"name"`
		DataType string `json:"data_type"`
		Dims     []int  `json:"dims"`
		Optional bool   `json:"optional,omitempty"`
	}
	entries := func(list []described, optional bool) []entry {
		var all []entry
		for i, d := range list {
			datatype := "TYPE_" + d.Datatype
			if d.Datatype == typeBytes {
				datatype = "TYPE_STRING"
			}
			dims := d.Shape[1:] // of one row
			if len(dims) == 0 {
				dims = []int{1}
			}
			all = append(all, entry{d.Name, datatype, dims, optional && i > 0})
		}
		return all
	}
	return map[string]any{
		"name": v.model.options.Name, "platform": "skive", "backend": "skive", "max_batch_size": v.model.server.options.MaxClientBatch,
		"input": entries(v.inputs(), true), "output": entries(v.outputs(), false),
	}
}

// requestedOutput is an output that a request asks for.
type requestedOutput struct {
	Name       string `json:"name"`
	Parameters struct {
		Binary         *bool `json:"binary_data"`
		Classification *int  `json:"classification"`
	} `json:"parameters"`
}

type inferRequest struct {
	ID         string `json:"id"`
	Parameters struct {
		Binary  bool  `json:"binary_data_output"`
		Timeout int64 `json:"timeout"` // microseconds
	} `json:"parameters"`
	Inputs  []inputTensor     `json:"inputs"`
	Outputs []requestedOutput `json:"outputs"`
}

func (x *exchange) inferRoute() error {
	if err := x.pickVersion(x.r.PathValue("version")); err != nil {
		return err
	}
	q, inputs, err := x.readInfer()
	if err != nil {
		return err
	}
	asked := InferRequest{Inputs: inputs, Timeout: time.Duration(q.Parameters.Timeout) * time.Microsecond}
	for _, o := range q.Outputs {
		asked.Outputs = append(asked.Outputs, Wanted{o.Name, o.Parameters.Classification != nil})
	}
	outputs, err := x.infer(&asked)
	if err != nil {
		return err
	}
	binary := make([]bool, len(outputs))
	for i := range binary {
		binary[i] = q.Parameters.Binary
		if i < len(q.Outputs) && q.Outputs[i].Parameters.Binary != nil {
			binary[i] = *q.Outputs[i].Parameters.Binary
		}
	}
	return x.replyInfer(q.ID, outputs, binary)
}

// pickVersion acquires the model that the request names. A version that it names must be
// the one that is served.
func (x *exchange) pickVersion(number string) error {
	if x.server.named(x.named) == nil {
		return &problem{http.StatusNotFound, validation, unknownModel(x.named)}
	}
	v, err := x.pick("", anything, "")
	if err == nil && number != "" && number != v.number {
		err = &problem{http.StatusNotFound, validation, v.unknownVersion(number)}
	}
	return err
}

// infer answers a request of any transport.
func (x *exchange) infer(q *InferRequest) ([]Tensor, error) {
	if err := q.check(); err != nil {
		return nil, err
	}
	if q.Timeout > 0 {
		ctx, cancel := context.WithTimeout(x.ctx, q.Timeout)
		defer cancel()
		x.ctx = ctx
	}
	names, err := x.version.wanted(q)
	if err != nil {
		return nil, err
	}
	if err := new(reading).apply(x); err != nil {
		return nil, err
	}
	computed, err := x.compute(q.Inputs)
	if err != nil {
		return nil, err
	}
	if deadline, ok := x.ctx.Deadline(); ok && time.Now().After(deadline) {
		return nil, context.DeadlineExceeded // of which ctx hears late where cores are busy
	}
	outputs := make([]Tensor, len(names))
	for i, name := range names {
		outputs[i] = computed[slices.IndexFunc(computed, func(t Tensor) bool { return t.Name == name })]
	}
	return outputs, nil
}

// check reads raw contents, and asks that every input is whole.
func (q *InferRequest) check() error {
	switch {
	case len(q.Inputs) == 0:
		return invalid("`inputs` has no tensor")
	case len(q.Raw) > 0 && len(q.Raw) != len(q.Inputs):
		return invalid("%d raw contents of %d inputs, expected one of each", len(q.Raw), len(q.Inputs))
	}
	for i := range q.Inputs {
		t := &q.Inputs[i]
		if err := t.readable(); err != nil {
			return err
		}
		if len(q.Raw) > 0 {
			if len(t.Texts)+len(t.Ints)+len(t.Floats) > 0 {
				return badTensor(t.Name, "contents beside raw contents, expected one of them")
			}
			if err := t.readBinary(q.Raw[i]); err != nil {
				return err
			}
		}
		if err := t.check(); err != nil {
			return err
		}
	}
	return nil
}

// readInfer reads the body: JSON, or JSON with tensors in binary form behind it.
func (x *exchange) readInfer() (q inferRequest, inputs []Tensor, err error) {
	if err := x.decompress(); err != nil {
		return q, nil, err
	}
	body, err := x.peek()
	if err != nil {
		return q, nil, err
	}
	var rest []byte
	if h := x.r.Header.Get(binaryHeader); h != "" {
		n, err := strconv.Atoi(h)
		if err != nil || n < 0 || n > len(body) {
			return q, nil, invalid("%s: %q, expected the length of the JSON in a body of %d bytes", binaryHeader, short(h), len(body))
		}
		if n == 0 {
			return q, []Tensor{{Name: "text", Datatype: typeBytes, Shape: []int{1}, Texts: []string{string(body)}}}, nil
		}
		body, rest = body[:n], body[n:]
	}
	if err := unmarshal(body, &q); err != nil {
		return q, nil, err
	}
	for i := range q.Inputs {
		var t Tensor
		if t, rest, err = q.Inputs[i].read(rest); err != nil {
			return q, nil, err
		}
		inputs = append(inputs, t)
	}
	if len(rest) > 0 {
		return q, nil, invalid("%d bytes follow the last tensor", len(rest))
	}
	return q, inputs, nil
}

// decompress reads bodies that are compressed. The bound on the body is one on what
// comes out, too.
func (x *exchange) decompress() error {
	var r io.ReadCloser
	var err error
	switch encoding := x.r.Header.Get("Content-Encoding"); encoding {
	case "", "identity":
		return nil
	case "gzip":
		r, err = gzip.NewReader(x.r.Body)
	case "deflate":
		r, err = zlib.NewReader(x.r.Body)
	default:
		return &problem{http.StatusUnsupportedMediaType, validation, fmt.Sprintf("Content-Encoding: %q, expected gzip or deflate", short(encoding))}
	}
	if err != nil {
		return readError(err)
	}
	x.r.Body = http.MaxBytesReader(x.w, r, int64(x.server.options.MaxBody))
	return nil
}

// wanted are the names of the outputs of an answer: those that were asked for, or all that
// the inputs have.
func (v *version) wanted(q *InferRequest) ([]string, error) {
	tokens := slices.ContainsFunc(q.Inputs, func(t Tensor) bool { return t.Name == tokenInputs[0].Name })
	var names []string
	for _, o := range v.outputs() {
		if v.task != words || (o.Name == "logits") == tokens {
			names = append(names, o.Name)
		}
	}
	if len(q.Outputs) == 0 {
		if v.task == embeds {
			names = names[:1] // the second is the first by another name
		}
		return names, nil
	}
	var wanted []string
	for _, o := range q.Outputs {
		if !slices.Contains(names, o.Name) {
			return nil, invalid("unexpected inference output '%s' for model '%s', expected some of %q", short(o.Name), v.model.options.Name, names)
		}
		if o.Classification {
			return nil, invalid("output '%s': classification is not supported, expected the outputs label and probabilities", o.Name)
		}
		if slices.Contains(wanted, o.Name) {
			return nil, invalid("output '%s' is asked for twice", o.Name)
		}
		wanted = append(wanted, o.Name)
	}
	return wanted, nil
}

// compute computes the outputs of tensors of texts or tokens.
func (x *exchange) compute(inputs []Tensor) ([]Tensor, error) {
	v := x.version
	list, longest, err := v.rows(inputs)
	if err != nil {
		return nil, err
	}
	n := len(list)
	switch {
	case v.task == embeds:
		embeddings, err := x.embed(list)
		if err != nil {
			return nil, err
		}
		all := Tensor{Name: firstOutput, Datatype: typeFP32, Shape: []int{n, v.width}, Floats: slices.Concat(embeddings...)}
		same := all
		same.Name = "sentence_embedding"
		return []Tensor{all, same}, nil
	case longest > 0 && (v.task == words || v.task == chooses):
		return x.inferTokens(list, longest)
	case v.task == chooses:
		return nil, invalid("the model decides between choices, expected tensors of token ids, one row for each choice")
	}
	predictions, err := x.predict(list)
	if err != nil {
		return nil, err
	}
	k := len(v.config.Labels)
	logits := Tensor{Name: "logits", Datatype: typeFP32, Shape: []int{n, k}}
	probabilities := Tensor{Name: "probabilities", Datatype: typeFP32, Shape: []int{n, k}}
	score := Tensor{Name: "score", Datatype: typeFP32, Shape: []int{n}}
	label := Tensor{Name: "label", Datatype: typeBytes, Shape: []int{n}}
	first := Tensor{Name: firstOutput, Shape: []int{n}}
	for i := range predictions {
		p := &predictions[i]
		if v.task == words || v.task == masks {
			b, err := marshal(v.answer(p, false))
			if err != nil {
				return nil, err
			}
			first.Texts = append(first.Texts, string(b))
			continue
		}
		logits.Floats = append(logits.Floats, p.Logits...)
		probabilities.Floats = append(probabilities.Floats, p.Probabilities...)
		score.Floats = append(score.Floats, sigmoid(p.Logits[0]))
		label.Texts = append(label.Texts, p.Label)
		first.Ints = append(first.Ints, int64(p.Index))
	}
	switch v.task {
	case words, masks:
		first.Datatype = typeBytes
		return []Tensor{first}, nil
	case scores:
		first = logits
		first.Name = firstOutput
		return []Tensor{first, logits, score}, nil
	}
	first.Datatype = typeInt64
	return []Tensor{first, label, probabilities, logits}, nil
}

// inferTokens computes the logits of a head whose answers are not of texts. Rows that
// are shorter than the longest have zeros behind them.
func (x *exchange) inferTokens(list []infer.Input, longest int) ([]Tensor, error) {
	if err := x.take(list); err != nil {
		return nil, err
	}
	var ids, typeIDs []int32
	offsets := []int32{0}
	for _, in := range list {
		ids = append(ids, in.IDs...)
		typeIDs = append(typeIDs, in.TypeIDs...)
		if in.TypeIDs == nil {
			typeIDs = append(typeIDs, make([]int32, len(in.IDs))...)
		}
		offsets = append(offsets, int32(len(ids)))
	}
	x.call.Tokens = len(ids)
	got, err := x.version.pool.PredictTokensCall(x.ctx, &x.call, nil, ids, typeIDs, offsets)
	if err != nil {
		return nil, err
	}
	if x.version.task == chooses {
		return []Tensor{{Name: "logits", Datatype: typeFP32, Shape: []int{len(list), 1}, Floats: got}}, nil
	}
	k := len(x.version.config.Labels)
	t := Tensor{Name: "logits", Datatype: typeFP32, Shape: []int{len(list), longest, k}, Floats: make([]float32, len(list)*longest*k)}
	for i := range list {
		copy(t.Floats[i*longest*k:], got[int(offsets[i])*k:int(offsets[i+1])*k])
	}
	return []Tensor{t}, nil
}

// rows makes inputs of tensors: one of texts, or of pairs of texts, [n], [n, 1] or [n, 2];
// two of texts and their second texts; or token ids [n, s] with a mask and types. For
// token ids it returns s, too.
func (v *version) rows(inputs []Tensor) (list []infer.Input, longest int, err error) {
	if inputs[0].Datatype != typeBytes {
		return v.tokenRows(inputs)
	}
	t := inputs[0]
	n, columns := t.Shape[0], 1
	if len(t.Shape) == 2 {
		columns = t.Shape[1]
	}
	second := len(inputs) == 2 && inputs[1].Datatype == typeBytes && columns == 1
	switch {
	case len(inputs) > 1 && !second:
		return nil, 0, badTensor(inputs[1].Name, "unexpected beside %q, expected the second texts of pairs", short(t.Name))
	case len(t.Shape) > 2 || columns < 1 || columns > 2:
		return nil, 0, badTensor(t.Name, "shape %v, expected [n], [n, 1] or, of pairs, [n, 2]", t.Shape)
	case n == 0:
		return nil, 0, badTensor(t.Name, "it is empty")
	case second && len(inputs[1].Texts) != n:
		return nil, 0, badTensor(inputs[1].Name, "%d second texts of %d pairs", len(inputs[1].Texts), n)
	}
	for i := range n {
		in := infer.Input{Text: t.Texts[i*columns]}
		switch {
		case columns == 2:
			in.Pair, in.HasPair = t.Texts[2*i+1], true
		case second:
			in.Pair, in.HasPair = inputs[1].Texts[i], true
		}
		list = append(list, in)
	}
	return list, 0, nil
}

// tokenRows cuts the padding off.
func (v *version) tokenRows(inputs []Tensor) (list []infer.Input, longest int, err error) {
	var ids, mask, types *Tensor
	for i := range inputs {
		t := &inputs[i]
		switch t.Name {
		case tokenInputs[0].Name:
			ids = t
		case tokenInputs[1].Name:
			mask = t
		case tokenInputs[2].Name:
			types = t
		default:
			return nil, 0, badTensor(t.Name, "unexpected inference input for model '%s', expected texts in one of BYTES, or input_ids, attention_mask and token_type_ids", v.model.options.Name)
		}
		if t.Datatype == typeBytes || len(t.Shape) != 2 {
			return nil, 0, badTensor(t.Name, "%s of shape %v, expected INT64 of shape [n, s]", t.Datatype, t.Shape)
		}
		if !slices.Equal(t.Shape, inputs[0].Shape) {
			return nil, 0, badTensor(t.Name, "shape %v, %q has %v", t.Shape, short(inputs[0].Name), inputs[0].Shape)
		}
	}
	if ids == nil {
		return nil, 0, invalid("input_ids are missing")
	}
	n, longest := ids.Shape[0], ids.Shape[1]
	if n == 0 || longest == 0 {
		return nil, 0, badTensor(ids.Name, "it is empty")
	}
	for i := range n {
		lo, length := i*longest, longest
		if mask != nil {
			row := mask.Ints[lo : lo+longest]
			if length = slices.Index(row, 0); length < 0 {
				length = longest
			}
			if slices.ContainsFunc(row[length:], func(m int64) bool { return m != 0 }) {
				return nil, 0, badTensor(mask.Name, "row %d has padding before tokens, expected it behind them", i)
			}
		}
		if length == 0 {
			return nil, 0, badTensor(mask.Name, "row %d has no token", i)
		}
		in := infer.Input{}
		if in.IDs, err = narrow(ids, lo, length); err != nil {
			return nil, 0, err
		}
		if types != nil {
			if in.TypeIDs, err = narrow(types, lo, length); err != nil {
				return nil, 0, err
			}
		}
		list = append(list, in)
	}
	return list, longest, nil
}

func narrow(t *Tensor, lo, n int) ([]int32, error) {
	out := make([]int32, n)
	for i, id := range t.Ints[lo : lo+n] {
		if out[i] = int32(id); int64(out[i]) != id {
			return nil, badTensor(t.Name, "%d is no token id", id)
		}
	}
	return out, nil
}

// replyInfer answers with tensors, some of them in binary form behind the JSON.
func (x *exchange) replyInfer(id string, outputs []Tensor, inBinary []bool) error {
	v := x.version
	name, err := marshal(v.model.options.Name)
	if err != nil {
		return err
	}
	b := append(append([]byte(`{"model_name":`), name...), `,"model_version":"`+v.number+`"`...)
	if id != "" {
		quoted, err := marshal(id)
		if err != nil {
			return err
		}
		b = append(append(b, `,"id":`...), quoted...)
	}
	b = append(b, `,"outputs":[`...)
	var rest []byte
	for i := range outputs {
		t := &outputs[i]
		if i > 0 {
			b = append(b, ',')
		}
		shape, err := json.Marshal(t.Shape)
		if err != nil {
			return err
		}
		b = fmt.Appendf(b, `{"name":%q,"datatype":%q,"shape":%s,`, t.Name, t.Datatype, shape)
		if inBinary[i] {
			size := len(rest)
			rest = t.AppendRaw(rest)
			b = fmt.Appendf(b, `"parameters":{"binary_data_size":%d}}`, len(rest)-size)
			continue
		}
		if b, err = t.appendJSON(append(b, `"data":`...)); err != nil {
			return err
		}
		b = append(b, '}')
	}
	b = append(b, "]}"...)
	h := x.w.Header()
	media := "application/json"
	if slices.Contains(inBinary, true) {
		media = "application/octet-stream"
		h.Set(binaryHeader, strconv.Itoa(len(b)))
		b = append(b, rest...)
	}
	if b, err = x.compress(b); err != nil {
		return err
	}
	h.Set("Content-Type", media)
	h.Set("Content-Length", strconv.Itoa(len(b)))
	x.w.WriteHeader(http.StatusOK)
	x.w.Write(b)
	return nil
}

// compressor is a writer that can be used again.
type compressor interface {
	io.WriteCloser
	Reset(io.Writer)
}

// compressors by the name in Accept-Encoding. A writer has tables of a megabyte.
var compressors = []struct {
	encoding string
	writers  *sync.Pool
}{
	{"gzip", &sync.Pool{New: func() any { w, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed); return w }}},
	{"deflate", &sync.Pool{New: func() any { w, _ := zlib.NewWriterLevel(nil, zlib.BestSpeed); return w }}},
}

// compress makes a large answer smaller where the client asks for that. Many clients always
// ask, and a small answer takes longer to compress than to send: that of a single text would
// take a tenth of the time of a small model.
func (x *exchange) compress(b []byte) ([]byte, error) {
	const large = 64 << 10
	if len(b) < large {
		return b, nil
	}
	accepted := x.r.Header.Get("Accept-Encoding")
	for _, c := range compressors {
		if !strings.Contains(accepted, c.encoding) {
			continue
		}
		w := c.writers.Get().(compressor)
		defer c.writers.Put(w)
		var buffer bytes.Buffer
		w.Reset(&buffer)
		if _, err := w.Write(b); err != nil {
			return nil, err
		}
		if err := w.Close(); err != nil {
			return nil, err
		}
		x.w.Header().Set("Content-Encoding", c.encoding)
		return buffer.Bytes(), nil
	}
	return b, nil
}

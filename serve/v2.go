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
		if !s.ready() {
			status = http.StatusServiceUnavailable
		}
		writeJSON(w, status, map[string]bool{"ready": s.ready()})
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
	return fmt.Sprintf("Request for unknown model: '%s' is not found", name)
}

func (v *version) unknownVersion(number string) string {
	return fmt.Sprintf("Request for unknown model version: '%s' version %s is not found, expected %s", v.model.options.Name, number, v.number)
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
	name := x.r.PathValue("model")
	if x.server.named(name) == nil {
		return &problem{http.StatusNotFound, validation, unknownModel(name)}
	}
	v, err := x.pick(name, anything, "")
	if err != nil {
		return err
	}
	if number := x.r.PathValue("version"); number != "" && number != v.number {
		return &problem{http.StatusNotFound, validation, v.unknownVersion(number)}
	}
	q, inputs, err := x.readInfer()
	if err != nil {
		return err
	}
	if q.Parameters.Timeout > 0 {
		ctx, cancel := context.WithTimeout(x.r.Context(), time.Duration(q.Parameters.Timeout)*time.Microsecond)
		defer cancel()
		x.r = x.r.WithContext(ctx)
	}
	wanted, err := v.wanted(q.Outputs, inputs)
	if err != nil {
		return err
	}
	if err := new(reading).apply(x); err != nil {
		return err
	}
	computed, err := x.infer(inputs)
	if err != nil {
		return err
	}
	var outputs []tensor
	var binary []bool
	for _, w := range wanted {
		i := slices.IndexFunc(computed, func(t tensor) bool { return t.name == w.Name })
		outputs = append(outputs, computed[i])
		binary = append(binary, q.Parameters.Binary)
		if w.Parameters.Binary != nil {
			binary[len(binary)-1] = *w.Parameters.Binary
		}
	}
	return x.replyInfer(q.ID, outputs, binary)
}

// readInfer reads the body: JSON, or JSON with tensors in binary form behind it.
func (x *exchange) readInfer() (q inferRequest, inputs []tensor, err error) {
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
			return q, nil, invalid("%s: %q, expected the length of the JSON in a body of %d bytes", binaryHeader, h, len(body))
		}
		if n == 0 {
			return q, []tensor{{name: "text", datatype: typeBytes, shape: []int{1}, texts: []string{string(body)}}}, nil
		}
		body, rest = body[:n], body[n:]
	}
	if err := unmarshal(body, &q); err != nil {
		return q, nil, err
	}
	if len(q.Inputs) == 0 {
		return q, nil, invalid("`inputs` has no tensor")
	}
	for i := range q.Inputs {
		var t tensor
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
		return &problem{http.StatusUnsupportedMediaType, validation, fmt.Sprintf("Content-Encoding: %q, expected gzip or deflate", encoding)}
	}
	if err != nil {
		return readError(err)
	}
	x.r.Body = http.MaxBytesReader(x.w, r, int64(x.server.options.MaxBody))
	return nil
}

// wanted are the outputs of an answer: those that were asked for, or all that
// the inputs have.
func (v *version) wanted(requested []requestedOutput, inputs []tensor) ([]requestedOutput, error) {
	tokens := len(inputs) > 0 && slices.ContainsFunc(inputs, func(t tensor) bool { return t.name == tokenInputs[0].Name })
	var names []string
	for _, o := range v.outputs() {
		if v.task != words || (o.Name == "logits") == tokens {
			names = append(names, o.Name)
		}
	}
	if len(requested) == 0 {
		all := make([]requestedOutput, len(names))
		for i, name := range names {
			all[i].Name = name
		}
		if v.task == embeds {
			all = all[:1] // the second is the first by another name
		}
		return all, nil
	}
	for _, o := range requested {
		if !slices.Contains(names, o.Name) {
			return nil, invalid("unexpected inference output '%s' for model '%s', expected some of %q", o.Name, v.model.options.Name, names)
		}
		if o.Parameters.Classification != nil {
			return nil, invalid("output '%s': classification is not supported, expected the outputs label and probabilities", o.Name)
		}
	}
	return requested, nil
}

// infer computes the outputs of tensors of texts or tokens.
func (x *exchange) infer(inputs []tensor) ([]tensor, error) {
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
		all := tensor{name: firstOutput, datatype: typeFP32, shape: []int{n, v.width}, floats: slices.Concat(embeddings...)}
		same := all
		same.name = "sentence_embedding"
		return []tensor{all, same}, nil
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
	logits := tensor{name: "logits", datatype: typeFP32, shape: []int{n, k}}
	probabilities := tensor{name: "probabilities", datatype: typeFP32, shape: []int{n, k}}
	score := tensor{name: "score", datatype: typeFP32, shape: []int{n}}
	label := tensor{name: "label", datatype: typeBytes, shape: []int{n}}
	first := tensor{name: firstOutput, shape: []int{n}}
	for i := range predictions {
		p := &predictions[i]
		if v.task == words {
			b, err := marshal(v.answer(p, false))
			if err != nil {
				return nil, err
			}
			first.texts = append(first.texts, string(b))
			continue
		}
		logits.floats = append(logits.floats, p.Logits...)
		probabilities.floats = append(probabilities.floats, p.Probabilities...)
		score.floats = append(score.floats, sigmoid(p.Logits[0]))
		label.texts = append(label.texts, p.Label)
		first.ints = append(first.ints, int64(p.Index))
	}
	switch v.task {
	case words:
		first.datatype = typeBytes
		return []tensor{first}, nil
	case scores:
		first = logits
		first.name = firstOutput
		return []tensor{first, logits, score}, nil
	}
	first.datatype = typeInt64
	return []tensor{first, label, probabilities, logits}, nil
}

// inferTokens computes the logits of a head whose answers are not of texts. Rows that
// are shorter than the longest have zeros behind them.
func (x *exchange) inferTokens(list []infer.Input, longest int) ([]tensor, error) {
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
	got, err := x.version.pool.PredictTokensCall(x.r.Context(), &x.call, nil, ids, typeIDs, offsets)
	if err != nil {
		return nil, err
	}
	if x.version.task == chooses {
		return []tensor{{name: "logits", datatype: typeFP32, shape: []int{len(list), 1}, floats: got}}, nil
	}
	k := len(x.version.config.Labels)
	t := tensor{name: "logits", datatype: typeFP32, shape: []int{len(list), longest, k}, floats: make([]float32, len(list)*longest*k)}
	for i := range list {
		copy(t.floats[i*longest*k:], got[int(offsets[i])*k:int(offsets[i+1])*k])
	}
	return []tensor{t}, nil
}

// rows makes inputs of tensors: one of texts, or of pairs of texts, [n], [n, 1] or [n, 2];
// two of texts and their second texts; or token ids [n, s] with a mask and types. For
// token ids it returns s, too.
func (v *version) rows(inputs []tensor) (list []infer.Input, longest int, err error) {
	if inputs[0].datatype != typeBytes {
		return v.tokenRows(inputs)
	}
	t := inputs[0]
	n, columns := t.shape[0], 1
	if len(t.shape) == 2 {
		columns = t.shape[1]
	}
	second := len(inputs) == 2 && inputs[1].datatype == typeBytes && columns == 1
	switch {
	case len(inputs) > 1 && !second:
		return nil, 0, badTensor(inputs[1].name, "unexpected beside %q, expected the second texts of pairs", t.name)
	case len(t.shape) > 2 || columns < 1 || columns > 2:
		return nil, 0, badTensor(t.name, "shape %v, expected [n], [n, 1] or, of pairs, [n, 2]", t.shape)
	case n == 0:
		return nil, 0, badTensor(t.name, "it is empty")
	case second && len(inputs[1].texts) != n:
		return nil, 0, badTensor(inputs[1].name, "%d second texts of %d pairs", len(inputs[1].texts), n)
	}
	for i := range n {
		in := infer.Input{Text: t.texts[i*columns]}
		switch {
		case columns == 2:
			in.Pair, in.HasPair = t.texts[2*i+1], true
		case second:
			in.Pair, in.HasPair = inputs[1].texts[i], true
		}
		list = append(list, in)
	}
	return list, 0, nil
}

// tokenRows cuts the padding off.
func (v *version) tokenRows(inputs []tensor) (list []infer.Input, longest int, err error) {
	var ids, mask, types *tensor
	for i := range inputs {
		t := &inputs[i]
		switch t.name {
		case tokenInputs[0].Name:
			ids = t
		case tokenInputs[1].Name:
			mask = t
		case tokenInputs[2].Name:
			types = t
		default:
			return nil, 0, badTensor(t.name, "unexpected inference input for model '%s', expected texts in one of BYTES, or input_ids, attention_mask and token_type_ids", v.model.options.Name)
		}
		if t.datatype == typeBytes || len(t.shape) != 2 {
			return nil, 0, badTensor(t.name, "%s of shape %v, expected INT64 of shape [n, s]", t.datatype, t.shape)
		}
		if !slices.Equal(t.shape, inputs[0].shape) {
			return nil, 0, badTensor(t.name, "shape %v, %q has %v", t.shape, inputs[0].name, inputs[0].shape)
		}
	}
	if ids == nil {
		return nil, 0, invalid("input_ids are missing")
	}
	n, longest := ids.shape[0], ids.shape[1]
	if n == 0 || longest == 0 {
		return nil, 0, badTensor(ids.name, "it is empty")
	}
	for i := range n {
		lo, length := i*longest, longest
		if mask != nil {
			row := mask.ints[lo : lo+longest]
			if length = slices.Index(row, 0); length < 0 {
				length = longest
			}
			if slices.ContainsFunc(row[length:], func(m int64) bool { return m != 0 }) {
				return nil, 0, badTensor(mask.name, "row %d has padding before tokens, expected it behind them", i)
			}
		}
		if length == 0 {
			return nil, 0, badTensor(mask.name, "row %d has no token", i)
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

func narrow(t *tensor, lo, n int) ([]int32, error) {
	out := make([]int32, n)
	for i, id := range t.ints[lo : lo+n] {
		if out[i] = int32(id); int64(out[i]) != id {
			return nil, badTensor(t.name, "%d is no token id", id)
		}
	}
	return out, nil
}

// replyInfer answers with tensors, some of them in binary form behind the JSON.
func (x *exchange) replyInfer(id string, outputs []tensor, inBinary []bool) error {
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
		shape, err := json.Marshal(t.shape)
		if err != nil {
			return err
		}
		b = fmt.Appendf(b, `{"name":%q,"datatype":%q,"shape":%s,`, t.name, t.datatype, shape)
		if inBinary[i] {
			size := len(rest)
			rest = t.appendBinary(rest)
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

// compress makes an answer smaller where the client asks for that.
func (x *exchange) compress(b []byte) ([]byte, error) {
	accepted := x.r.Header.Get("Accept-Encoding")
	var buffer bytes.Buffer
	var w io.WriteCloser
	var encoding string
	switch {
	case strings.Contains(accepted, "gzip"):
		encoding = "gzip"
		w, _ = gzip.NewWriterLevel(&buffer, gzip.BestSpeed)
	case strings.Contains(accepted, "deflate"):
		encoding = "deflate"
		w, _ = zlib.NewWriterLevel(&buffer, zlib.BestSpeed)
	default:
		return b, nil
	}
	if _, err := w.Write(b); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	x.w.Header().Set("Content-Encoding", encoding)
	return buffer.Bytes(), nil
}

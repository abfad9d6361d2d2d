// Package infer runs Transformer encoders on CPUs: classification, labels for words,
// masked words and embeddings.
//
// An Engine is a model compiled for this machine. Weights are packed for the
// processor's vector units, and queries, keys and values are one product. Bias,
// activation, residual and LayerNorm are applied while a row is in cache. Where the
// head reads only the first token, the last layer computes only keys and values for the
// others. Sequences are computed back to back, without padding.
//
// There are four number formats:
//
//   - F32.
//   - FP16 stores the weights in 16 bits and computes in F32.
//   - BF16 multiplies weights and activations rounded to bfloat16 and adds up in F32,
//     as VDPBF16PS or the tiles of AMX do where the processor has them.
//   - Int8 quantizes weights per output channel. Activations are quantized per token,
//     or per tensor where the model holds calibrated scales (quantize.Calibration).
//
// All arithmetic is defined, floats included, so that every processor gives the same
// bits. The one exception is BF16 with AMX, which adds up in another order. The logits
// of a sequence depend neither on the number of threads nor on the other sequences of
// the call.
package infer

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/internal/machine"
	"github.com/skive-ml/skive/internal/team"
)

// Names of number formats for Options.DType.
const (
	F32  = "f32"
	FP16 = "fp16"
	BF16 = "bf16"
	Int8 = "int8"
)

// Kinds of embeddings for Options.Embedding. Mean averages the last hidden states of
// all tokens, and CLS takes the first token's; both are scaled to unit length, as in
// the sentence-transformers library. OfModel does what the model's own files say, see
// checkpoints.Config.Sentence.
const (
	Mean     = "mean"
	CLS      = "cls"
	OfModel  = "model"
	NoPrompt = "none" // for Options.Prompt
)

// Options configure an Engine. The zero value uses every core and computes in the
// number format in which the model is stored.
type Options struct {
	// Threads is how many cores one call uses; 0 means all.
	Threads int
	// DType is the number format of the encoder's linear layers: F32, FP16, BF16 or
	// Int8. "" computes each layer in the format in which it is stored, so that a model
	// of mixed precision stays as it was made. Weights stored in another format are
	// converted while loading; conversion to int8 gives what quantize.Int8 gives.
	//
	// FP16 and BF16 take half the memory of F32. FP16 rounds only the weights, and the
	// arithmetic is F32's. BF16 also rounds the inputs of the layers and of attention's
	// products; processors with AVX512_BF16 multiply up to twice as fast, and those
	// with AMX up to ten times.
	DType string
	// AttentionDType is the number format of attention's two products: BF16 or F32. ""
	// means BF16 in layers whose queries, keys and values are computed in BF16, and F32
	// in others. With long texts BF16 is much faster on processors that have it, but
	// the outputs of an int8 model are then not the same bits on all processors. BF16
	// cannot be combined with PadTo, whose attention is F32.
	AttentionDType string
	// PadTo, when positive, pads every sequence to this length and computes the padding
	// under an attention mask, as runtimes do that only know rectangular batches. The
	// logits stay the same up to rounding. Use it to compare with such runtimes.
	PadTo int
	// MaxLength truncates texts to this many tokens in Predict and Embed. 0 means the
	// model's number of positions; for embeddings, the length that the model's files
	// name (max_seq_length).
	MaxLength int
	// Embedding makes the engine compute embeddings instead of logits: Mean, CLS or
	// OfModel. The model then needs no classifier. Notes tells where Mean or CLS
	// differs from what the model's files say.
	Embedding string
	// Prompt is the name of a prompt in the model's files, which Embed puts before each
	// text. "" means their default prompt, if they name one, and NoPrompt none.
	Prompt string
	// NoMap copies the embeddings of the vocabulary into memory. Without it, large ones
	// stay in the model's file, which is mapped (not on Windows), and several processes
	// share them. Do not write to that file before the engine is closed, see
	// ModelFileError.
	NoMap bool
	// Profile makes the engine measure the time of each stage.
	Profile bool
	// Observe, if not nil, is called with the input of each linear layer of the encoder
	// before it is multiplied: the name of the layer's weight, and the rows one after
	// the other. Several goroutines may call it at the same time. It must not keep x.
	// Calibration uses it.
	Observe func(weight string, x []float32)
}

// Engine computes the logits of a model. It is safe for concurrent use, but computes
// one call at a time; a Pool computes several. Close releases its threads.
type Engine struct {
	weights *weights
	options Options
	maximum int // tokens of a sequence

	mu     sync.Mutex
	closed bool
	model  *checkpoints.Model // closed with the engine that opened it
	team   *team.Team
	run
	text textBuffers
}

// Open compiles the model at path, in any format that checkpoints.Open reads.
//
// To replace the file of a running engine, rename a new one into its place, as all of
// Skive's commands do: the engine goes on with the old file. If the file is overwritten
// or cut off in place, the next call returns a *ModelFileError and never an answer from
// changed weights. With Options.NoMap such a change has no effect.
func Open(path string, o Options) (*Engine, error) {
	m, e, err := open(path, func(m *checkpoints.Model) (*Engine, error) { return compile(m, o, true) })
	if err != nil {
		return nil, err
	}
	e.model = m
	return e, nil
}

// OpenFS compiles the named .skive file of a file system, such as an embedded one: the
// program then contains its model. The model is read into memory.
func OpenFS(fsys fs.FS, name string, o Options) (*Engine, error) {
	m, err := checkpoints.OpenFS(fsys, name)
	if err != nil {
		return nil, err
	}
	e, err := compile(m, o, true)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return e, nil
}

// open reads the model at path and compiles it while its checksums are being verified.
func open[T interface{ Close() error }](path string, compile func(*checkpoints.Model) (T, error)) (*checkpoints.Model, T, error) {
	var none T
	m, err := checkpoints.OpenUnverified(path)
	if err != nil {
		return nil, none, ofFile(err)
	}
	verified := make(chan error, 1)
	go func() { verified <- m.Verify() }()
	c, err := compile(m)
	damaged := ofFile(<-verified)
	switch {
	case damaged == nil && err == nil:
		return m, c, nil
	case err == nil:
		err = errors.Join(damaged, c.Close())
	case damaged != nil: // which explains the other error
		err = damaged
	default:
		if file := (*ModelFileError)(nil); !errors.As(err, &file) {
			err = fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil, none, errors.Join(err, m.Close())
}

// New compiles a model. The engine reads the model's embeddings in place: the
// model must not be closed or changed before the engine is closed.
func New(m *checkpoints.Model, o Options) (*Engine, error) { return compile(m, o, false) }

func compile(m *checkpoints.Model, o Options, opened bool) (*Engine, error) {
	if err := o.check(m.Config); err != nil {
		return nil, err
	}
	w, err := load(m, o, opened)
	if err != nil {
		return nil, err
	}
	return w.engine(o, nil), nil
}

// engine makes an engine. If there are cores, its threads are tied to them; the first
// core is for the caller of the engine's methods.
func (w *weights) engine(o Options, cores []int) *Engine {
	if o.Threads == 0 {
		o.Threads = machine.CPUs()
	}
	if o.MaxLength == 0 {
		o.MaxLength = w.longest()
	}
	e := &Engine{weights: w, options: o, maximum: w.config.MaxTokens()}
	if o.PadTo > 0 {
		e.maximum = o.PadTo
		e.options.MaxLength = min(o.MaxLength, o.PadTo)
	}
	e.options.DType = w.dtype
	e.team = team.New(o.Threads, cores...)
	e.run.init(w, e.team, o)
	return e
}

// Notes says what was ignored or assumed when the model was read; see
// checkpoints.Model.
func (e *Engine) Notes() []string { return e.weights.notes }

// Config returns the model's architecture.
func (e *Engine) Config() checkpoints.Config { return e.weights.config.Clone() }

// Options returns the options in effect, with defaults filled in.
func (e *Engine) Options() Options { return e.options }

// Close ends the engine's threads, after the call under way. Later calls return
// ErrClosed.
func (e *Engine) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil
	}
	e.closed = true
	e.team.Close()
	if e.model != nil {
		return e.model.Close()
	}
	return nil
}

// PredictTokens computes the logits of S sequences of token ids, which stand back to
// back without padding: sequence s is ids[offsets[s]:offsets[s+1]], special tokens
// included. So offsets has S+1 elements; the first is 0 and the last len(ids). typeIDs
// has one element for each token, or is nil for all zeros; a model without token types
// ignores it.
//
// The logits, S rows of one value per label, are written to dst, which is grown if
// needed, and returned. With Options.Embedding the rows are embeddings. A model that
// labels tokens has len(ids) rows instead of S. So has a masked language model, whose
// rows hold one value for each entry of the vocabulary; see PredictMasked. Once the
// largest batch has been computed, calls allocate no memory.
//
// The error is an *InputError for input that cannot be computed, a *NotFiniteError for
// outputs that are NaN or infinite, and a *ModelFileError for a file that has changed.
func (e *Engine) PredictTokens(dst []float32, ids, typeIDs, offsets []int32) ([]float32, error) {
	if err := e.check(ids, typeIDs, offsets); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.predict(dst, ids, typeIDs, offsets)
}

// predict computes checked input, with the engine locked.
func (e *Engine) predict(dst []float32, ids, typeIDs, offsets []int32) ([]float32, error) {
	return e.predictRows(dst, ids, typeIDs, offsets, nil)
}

// predictRows computes checked input for the selected tokens (nil for all), with the
// engine locked.
func (e *Engine) predictRows(dst []float32, ids, typeIDs, offsets, selected []int32) ([]float32, error) {
	dst, err := e.compute(dst, ids, typeIDs, offsets, selected, ownOutputs)
	if err == nil {
		err = e.weights.checkFinite(dst, offsets, selected, ownOutputs)
	}
	return dst, err
}

// compute computes the wanted outputs of checked input, with the engine locked.
func (e *Engine) compute(dst []float32, ids, typeIDs, offsets, selected []int32, want want) ([]float32, error) {
	if e.closed {
		return nil, ErrClosed
	}
	if err := e.weights.usable(); err != nil {
		return nil, err
	}
	rows, width := e.weights.size(want, len(offsets)-1, len(ids), selected)
	n := rows * width
	dst = slices.Grow(dst[:0], n)[:n]
	if n == 0 {
		return dst, nil
	}
	e.run.want = want
	err := e.forward(dst, ids, typeIDs, offsets, selected)
	if err == nil {
		err = e.weights.file.Check()
	}
	if err != nil {
		return nil, e.weights.lose(err)
	}
	return dst, nil
}

// lose closes all engines that share the weights, because of an error of their file.
func (w *weights) lose(err error) error {
	var file *ModelFileError
	if err = ofFile(err); errors.As(err, &file) {
		w.lost.CompareAndSwap(nil, file)
	}
	return err
}

// usable returns an error once the weights are lost.
func (w *weights) usable() error {
	if lost := w.lost.Load(); lost != nil {
		return fmt.Errorf("%w: %w", ErrClosed, lost)
	}
	return nil
}

// checkFinite looks for NaN and infinity in the outputs of sequences, or of the
// selected tokens.
func (w *weights) checkFinite(outputs []float32, offsets, selected []int32, want want) error {
	_, width := w.size(want, 0, 0, nil)
	for i, v := range outputs {
		if v-v == 0 {
			continue
		}
		at := i / width
		if w.ofTokens(want) {
			token := int32(at)
			if selected != nil {
				token = selected[at]
			}
			at = 0
			for offsets[at+1] <= token {
				at++
			}
		}
		return &NotFiniteError{w.path, at, v}
	}
	return nil
}

func (e *Engine) check(ids, typeIDs, offsets []int32) error {
	c := &e.weights.config
	if len(offsets) == 0 || offsets[0] != 0 || int(offsets[len(offsets)-1]) != len(ids) {
		return inputError(0, -1, ErrOffsets, "expected a list from 0 to the number of tokens, %d", len(ids))
	}
	if typeIDs != nil && len(typeIDs) != len(ids) {
		return inputError(0, -1, ErrTypeID, "%d type ids for %d tokens", len(typeIDs), len(ids))
	}
	for s := range len(offsets) - 1 {
		lo, hi := int(offsets[s]), int(offsets[s+1])
		switch {
		case hi < lo || hi > len(ids):
			return inputError(s, -1, ErrOffsets, "it ends at %d and begins at %d", hi, lo)
		case hi == lo:
			return inputError(s, -1, ErrEmptySequence, "expected at least one token")
		case hi-lo > e.maximum:
			return inputError(s, -1, ErrTooLong, "%d tokens, at most %d", hi-lo, e.maximum)
		}
		for i := lo; i < hi; i++ {
			if id := ids[i]; id < 0 || int(id) >= c.VocabSize {
				return inputError(s, i-lo, ErrTokenID, "%d, the vocabulary has %d", id, c.VocabSize)
			}
			if typeIDs == nil || c.TypeVocabSize == 0 {
				continue
			}
			if id := typeIDs[i]; id < 0 || int(id) >= c.TypeVocabSize {
				return inputError(s, i-lo, ErrTypeID, "%d, the model has %d", id, c.TypeVocabSize)
			}
		}
	}
	return nil
}

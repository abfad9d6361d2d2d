// Package infer runs Transformer encoders with a classification head on CPUs.
//
// A model is compiled into an Engine: weights packed for the processor's
// vector units, queries, keys and values in one product, bias, activation,
// residual and LayerNorm applied while a row is in cache, and in the last
// layer everything but keys and values for the first token alone, the only one
// that the head reads. Sequences are computed back to back without padding.
//
// The number formats are F32; FP16, which stores the weights in 16 bits and
// computes in F32; BF16, which multiplies weights and activations rounded to
// bfloat16 and adds up in F32, as VDPBF16PS or the tiles of AMX do it where the
// processor has them; and Int8, with weights quantized per output channel and
// activations per token, or per tensor where the model holds calibrated scales
// (quantize.Calibration). All arithmetic is defined, floats included: the logits
// are the same bits on every processor, but for BF16 on those with AMX, whose
// sums have another order. In every format the logits
// of a sequence depend neither on the number of threads nor on the other
// sequences of the call.
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

// Kinds of embeddings for Options.Embedding: the mean of the last hidden states
// of all tokens, or that of the first token, scaled to unit length, as the
// sentence-transformers library computes them; or what the model's own files say,
// see checkpoints.Config.Sentence.
const (
	Mean     = "mean"
	CLS      = "cls"
	OfModel  = "model"
	NoPrompt = "none" // for Options.Prompt
)

// Options configure an Engine. The zero value uses every core and computes in
// the number format in which the model is stored.
type Options struct {
	// Threads is how many cores one call uses; 0 stands for all.
	Threads int
	// DType is the number format of the encoder's linear layers: F32, FP16, BF16
	// or Int8; "" stands for that in which each of them is stored, so that a
	// model of mixed precision is computed as it was made. Weights stored in
	// another format are converted while loading, to int8 with the result of
	// quantize.Int8. FP16 and BF16 take half the memory of F32. FP16 is a format
	// of the weights, and the arithmetic is F32's on the rounded weights; under
	// BF16 the inputs of the layers and of attention's products are rounded too, and
	// processors that have AVX512_BF16 or AMX multiply at up to twice or ten times
	// the speed.
	DType string
	// AttentionDType is the number format of attention's two products: BF16, or F32;
	// "" stands for BF16 in layers whose queries, keys and values are computed in
	// BF16, and F32 in others. With long texts BF16 is much faster on processors
	// that have it, and the outputs of an int8 model are then not the same bits on
	// all processors. It does not go with PadTo, whose attention is F32.
	AttentionDType string
	// PadTo, when positive, makes the engine work as runtimes do that know only
	// rectangular batches: every sequence is filled up to this length and the
	// filling is computed like the rest, under an attention mask. The logits
	// stay the same up to rounding. It is there to be compared against.
	PadTo int
	// MaxLength truncates texts to so many tokens; 0 stands for the model's
	// number of positions, and for embeddings for the length that the model's
	// files name (max_seq_length). It concerns Predict and Embed alone.
	MaxLength int
	// Embedding makes the engine compute embeddings in place of logits: Mean, CLS or
	// OfModel. The model then needs no classifier. Where Mean or CLS is not what
	// the model's files say, Notes says so.
	Embedding string
	// Prompt is the name of a prompt of the model's files, which Embed puts before
	// each text; "" stands for their default prompt, if they name one, and NoPrompt
	// for none.
	Prompt string
	// NoMap copies the embeddings of the vocabulary into memory. Without it they stay,
	// if they are large, in the model's file, which is mapped where the system can do that (not on
	// Windows), and several processes share them; the file must then not be written
	// to before the engine is closed, see ModelFileError.
	NoMap bool
	// Profile makes the engine measure the time of each stage.
	Profile bool
	// Observe, if not nil, is called with the input of each linear layer of the
	// encoder before it is multiplied: the name of the layer's weight and the
	// rows, one after the other. Several goroutines may call it at the same time,
	// and x is not to be kept. It serves calibration.
	Observe func(weight string, x []float32)
}

// Engine computes the logits of a model. It is safe for concurrent use, but
// computes one call at a time: a Pool computes several. Close it to release its
// threads.
type Engine struct {
	weights *weights
	options Options
	maximum int // tokens of a sequence

	mu     sync.Mutex
	closed bool
	model  *checkpoints.Model // closed with the engine, if it opened it
	team   *team.Team
	run
	text textBuffers
}

// Open compiles the model at path, which may have any format that
// checkpoints.Open reads. A new version of the model is to be put in its place by
// renaming, as all that Skive writes is: the engine goes on with the old one. If
// the file is overwritten or cut off in place, a call gives a *ModelFileError, and
// never an answer from changed weights; with Options.NoMap nothing happens.
func Open(path string, o Options) (*Engine, error) {
	m, e, err := open(path, func(m *checkpoints.Model) (*Engine, error) { return compile(m, o, true) })
	if err != nil {
		return nil, err
	}
	e.model = m
	return e, nil
}

// OpenFS compiles the .skive file of that name in a file system: an embedded one makes a
// program that brings its model along. The model is read into memory.
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

// open reads the model at path and compiles it, while its checksums are verified.
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
	case damaged != nil: // which explains the rest
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

// engine makes an engine, whose threads are tied to cores if there are any; the
// first is for the caller of its methods.
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

// Notes says what reading the model left out or made up; see
// checkpoints.Model.
func (e *Engine) Notes() []string { return e.weights.notes }

// Config returns the architecture of the model.
func (e *Engine) Config() checkpoints.Config { return e.weights.config.Clone() }

// Options returns the options in effect, with defaults filled in.
func (e *Engine) Options() Options { return e.options }

// Close ends the engine's threads. Calls after it return ErrClosed; a call
// under way is waited for.
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

// PredictTokens computes the logits of S sequences of tokens, given back to
// back without padding: sequence s is ids[offsets[s]:offsets[s+1]], special
// tokens included, so offsets has S+1 elements, the first 0 and the last
// len(ids). TypeIDs has one element for each token, or is nil for all zeros; a
// model without token types does not read it.
//
// The logits, S rows of one value per label, are written to dst, which is
// grown if it is too small, and returned; with Options.Embedding it is S rows of
// the hidden size, the embeddings. A model that labels tokens has len(ids) rows
// in the place of S, and so has a masked language model, with one value for each
// entry of the vocabulary: see PredictMasked. After the first calls with the
// largest batch no memory is allocated.
//
// Input that cannot be computed gives an *InputError, outputs that are NaN or
// infinite a *NotFiniteError, and a file that has changed a *ModelFileError.
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

// predictRows computes checked input for chosen tokens, nil for all, with the engine locked.
func (e *Engine) predictRows(dst []float32, ids, typeIDs, offsets, selected []int32) ([]float32, error) {
	dst, err := e.compute(dst, ids, typeIDs, offsets, selected, ownOutputs)
	if err == nil {
		err = e.weights.checkFinite(dst, offsets, selected, ownOutputs)
	}
	return dst, err
}

// compute finds what is wanted of checked input, with the engine locked.
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

// lose closes all engines that share the weights, for an error of their file.
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

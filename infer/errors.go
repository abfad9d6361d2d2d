package infer

import (
	"errors"
	"fmt"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/internal/mapped"
)

var (
	// ErrClosed is returned by an engine or a pool after Close.
	ErrClosed = errors.New("infer: closed")
	// ErrOverloaded is returned by a pool whose queue is full.
	ErrOverloaded = errors.New("infer: overloaded: too many requests are waiting")
	// ErrNoHead is returned for a model without a classifier.
	ErrNoHead = errors.New("infer: the model has no classifier")
	// ErrNoTokenizer is returned by Predict for a model without tokenizer files.
	ErrNoTokenizer = errors.New("infer: the model has no tokenizer")
	// ErrOption is returned for invalid options, together with a *settings.Error that
	// names the field.
	ErrOption = errors.New("infer: invalid option")
	// ErrEmbedding and ErrPrompt are returned, together with ErrOption, for an
	// Options.Embedding or Options.Prompt that the model does not have.
	ErrEmbedding = errors.New("no such embedding")
	ErrPrompt    = errors.New("no such prompt")

	// The reasons in an InputError.

	// ErrOffsets says that the offsets do not divide the tokens into sequences.
	ErrOffsets = errors.New("bad offsets")
	// ErrEmptySequence says that a sequence has no tokens.
	ErrEmptySequence = errors.New("empty sequence")
	// ErrTooLong says that a sequence has more tokens than the model has
	// positions, or than Options.PadTo.
	ErrTooLong = errors.New("sequence too long")
	// ErrTokenID says that a token id is outside the vocabulary.
	ErrTokenID = errors.New("token id out of range")
	// ErrTypeID says that a token type id is out of range, or that there is not
	// one for each token.
	ErrTypeID = errors.New("token type id out of range")
)

// InputError says which input cannot be computed, and why. It unwraps to one of the
// reasons above.
type InputError struct {
	// Sequence is the number of the sequence in the call.
	Sequence int
	// Token is the position in the sequence, -1 when it is not one token's fault.
	Token int
	// Err is the reason.
	Err    error
	detail string
}

func (e *InputError) Error() string {
	where := fmt.Sprintf("infer: sequence %d", e.Sequence)
	if e.Token >= 0 {
		where += fmt.Sprintf(", token %d", e.Token)
	}
	return where + ": " + e.Err.Error() + ": " + e.detail
}

func (e *InputError) Unwrap() error { return e.Err }

func inputError(sequence, token int, err error, format string, args ...any) error {
	return &InputError{sequence, token, err, fmt.Sprintf(format, args...)}
}

// ModelFileError reports that a mapped model file was overwritten, cut off or became
// unreadable while an engine or pool used it. The call that finds it gets no answers,
// and the engine or pool is closed: later calls return an error that is both ErrClosed
// and this one.
type ModelFileError struct {
	// Path is the file.
	Path string
	// Err is the reason.
	Err error
}

func (e *ModelFileError) Error() string { return "infer: " + e.Path + ": " + e.Err.Error() }

func (e *ModelFileError) Unwrap() error { return e.Err }

// ofFile turns an error of a mapped file into a ModelFileError, and returns others as
// they are.
func ofFile(err error) error {
	var file *mapped.Error
	if errors.As(err, &file) {
		return &ModelFileError{file.Path, file.Err}
	}
	return err
}

// NotFiniteError reports that a model gives NaN or infinity for an input, because its
// weights are too large for its arithmetic. The engine goes on, and a pool still
// answers its other callers.
type NotFiniteError struct {
	// Model is the model's path, "" if it was not opened from one.
	Model string
	// Input is the number of the input in the call of Predict or Embed, or of the
	// sequence in the call of PredictTokens.
	Input int
	// Value is NaN or an infinity.
	Value float32
}

func (e *NotFiniteError) Error() string {
	model := e.Model
	if model != "" {
		model += ": "
	}
	return fmt.Sprintf("infer: %sinput %d: the model's outputs are not finite (%v): its weights are too large to compute with", model, e.Input, e.Value)
}

// noHead is ErrNoHead, with what the model's files say about embeddings.
func noHead(m *checkpoints.Model) error {
	s := m.Config.Sentence
	if s == nil {
		return ErrNoHead
	}
	return fmt.Errorf("%w; its files name %v pooling for embeddings", ErrNoHead, s.Pooling)
}

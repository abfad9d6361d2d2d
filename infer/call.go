package infer

import (
	"fmt"
	"time"

	"github.com/skive-ml/skive/tokenize"
)

// Call says how one call of a pool reads its texts, and is told what it took. The
// zero value reads them as the pool's options say. A Call serves one call at a time.
type Call struct {
	// Cut is the end at which texts that are too long lose tokens.
	Cut tokenize.Side
	// Whole refuses texts that are too long with a *LengthError.
	Whole bool
	// Prompt is the name of a prompt, in place of Options.Prompt; "" stands for that.
	Prompt string
	// Unscaled leaves embeddings the length that pooling and dense layers give them,
	// where they would be scaled to unit length.
	Unscaled bool
	// Windows computes a text that is too long in windows of the maximum length, and
	// Stride is how many of its tokens two that follow each other share. See
	// Pool.PredictCall and Pool.EmbedCall for what becomes of their answers.
	Windows bool
	Stride  int
	// Fills is how many tokens a masked language model names for each mask; 0 stands for 5.
	// Targets are the tokens that it chooses from, nil for all.
	Fills   int
	Targets []int32
	// Each, if not nil, is called for each sequence of tokens: how many they are, special
	// tokens included, and how many of them stand for what the vocabulary lacks.
	Each func(tokens, unknown int)

	// Tokens is the number of tokens that were computed, special tokens included, and
	// the times are those of tokenization, of waiting for an instance, and of the
	// batches that the call was computed in. They add up over calls.
	Tokens                   int
	Tokenize, Queue, Compute time.Duration
}

// LengthError tells that an input has more tokens than it may have, special tokens
// included. It is an ErrTooLong.
type LengthError struct{ Tokens, Most int }

func (e *LengthError) Error() string {
	return fmt.Sprintf("%v: %d tokens, at most %d", ErrTooLong, e.Tokens, e.Most)
}

func (e *LengthError) Unwrap() error { return ErrTooLong }

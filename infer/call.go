package infer

import (
	"fmt"
	"time"

	"github.com/skive-ml/skive/tokenize"
)

// Call holds the settings of one call of a pool, and receives its counts and times. The
// zero value uses the pool's options. Use a Call for one call at a time.
type Call struct {
	// Cut is the end from which texts that are too long lose tokens.
	Cut tokenize.Side
	// Whole refuses texts that are too long with a *LengthError.
	Whole bool
	// Prompt is the name of a prompt; "" means the pool's Options.Prompt.
	Prompt string
	// Unscaled leaves embeddings at the length that pooling and dense layers give them.
	// Without it they may be scaled to unit length.
	Unscaled bool
	// Windows divides a text that is too long into windows of the maximum length.
	// Neighbouring windows share Stride tokens. Pool.PredictCall and Pool.EmbedCall say
	// how the answers of the windows become one.
	Windows bool
	Stride  int
	// Fills is how many tokens a masked language model proposes for each mask; 0 means
	// 5. Targets restricts the choice to these token ids; nil means all.
	Fills   int
	Targets []int32
	// Each, if not nil, is called once for each sequence of tokens. tokens counts all
	// of them, special tokens included; unknown counts those that the vocabulary lacks.
	Each func(tokens, unknown int)

	// Tokens counts the computed tokens, special tokens included. The times are spent
	// on tokenization, on waiting for an instance, and on the batches that held the
	// call. All of them add up over several calls.
	Tokens                   int
	Tokenize, Queue, Compute time.Duration
}

// LengthError reports an input with more tokens than allowed, special tokens included.
// It is an ErrTooLong.
type LengthError struct{ Tokens, Most int }

func (e *LengthError) Error() string {
	return fmt.Sprintf("%v: %d tokens, at most %d", ErrTooLong, e.Tokens, e.Most)
}

func (e *LengthError) Unwrap() error { return ErrTooLong }

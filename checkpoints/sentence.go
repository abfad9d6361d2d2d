package checkpoints

import (
	"fmt"
	"maps"
	"slices"
)

// Pooling says how the hidden states of a text's tokens become one vector. The names
// are sentence-transformers' own.
type Pooling string

// Kinds of pooling.
const (
	MeanPooling Pooling = "mean"
	CLSPooling  Pooling = "cls"
	MaxPooling  Pooling = "max"
	// MeanSqrtPooling divides the sum by the square root of the number of tokens.
	MeanSqrtPooling Pooling = "mean_sqrt_len_tokens"
	// LastPooling takes the last token, in most models a special one.
	LastPooling Pooling = "lasttoken"
)

var poolings = []Pooling{MeanPooling, CLSPooling, MaxPooling, MeanSqrtPooling, LastPooling}

// Sentence says how a model makes the embedding of a text, as the modules of a
// sentence-transformers directory do.
type Sentence struct {
	// Pooling makes one vector from the last hidden states. Then come the Dense layers,
	// whose weights are tensors of the model, and with Normalize scaling to unit
	// length.
	Pooling   Pooling `json:"pooling"`
	Dense     []Dense `json:"dense,omitempty"`
	Normalize bool    `json:"normalize"`
	// MaxLength is the number of tokens to which a text is cut, special tokens
	// included; 0 means the model's number of positions.
	MaxLength int `json:"max_seq_length,omitempty"`
	// LowerCase lower-cases texts, whatever the tokenizer does.
	LowerCase bool `json:"do_lower_case,omitempty"`
	// Prompts are texts that are put before an input, by name. DefaultPrompt is the
	// name of the one used when none is asked for, or "".
	Prompts       map[string]string `json:"prompts,omitempty"`
	DefaultPrompt string            `json:"default_prompt_name,omitempty"`
	// Similarity names the function that compares embeddings ("cosine"), or is "".
	Similarity string `json:"similarity_fn_name,omitempty"`
}

// Dense is a linear layer after pooling. Its tensors are "sentence.dense.N.weight" of
// shape [Out, in] and, with Bias, "sentence.dense.N.bias".
type Dense struct {
	Out  int  `json:"out_features"`
	Bias bool `json:"bias"`
	// Activation is "identity", "tanh", "relu" or "gelu".
	Activation string `json:"activation"`
}

const densePrefix = "sentence.dense."

// denseActivations maps the activations of Dense to their names in torch.nn.
var denseActivations = map[string]string{"identity": "Identity", "tanh": "Tanh", "relu": "ReLU", "gelu": "GELU"}

// Width is the width of the embeddings, if the model has this hidden size.
func (s *Sentence) Width(hidden int) int {
	if n := len(s.Dense); n > 0 {
		return s.Dense[n-1].Out
	}
	return hidden
}

// Clone returns a copy that shares nothing with s, nil for nil.
func (s *Sentence) Clone() *Sentence {
	if s == nil {
		return nil
	}
	c := *s
	c.Dense, c.Prompts = slices.Clone(s.Dense), maps.Clone(s.Prompts)
	return &c
}

// Prompt returns the text of the named prompt. "" stands for the default prompt, and
// gives "" if there is none.
func (s *Sentence) Prompt(name string) (string, error) {
	if name == "" {
		if name = s.DefaultPrompt; name == "" { // a prompt may be called that
			return "", nil
		}
	}
	prompt, ok := s.Prompts[name]
	if !ok {
		return "", fmt.Errorf("%q, expected one of the model's prompts: %q", name, sortedNames(s.Prompts))
	}
	return prompt, nil
}

// validate reports errors by the keys of config_sentence_transformers.json and of the
// modules' configurations.
func (s *Sentence) validate() error {
	if !slices.Contains(poolings, s.Pooling) {
		return unsupported("pooling_mode %q", s.Pooling)
	}
	for i, d := range s.Dense {
		if d.Out < 1 || d.Out > maxDimension {
			return fmt.Errorf("out_features of Dense %d is %d, expected 1 to %d", i, d.Out, maxDimension)
		}
		if denseActivations[d.Activation] == "" {
			return unsupported("activation_function %q of Dense %d", d.Activation, i)
		}
	}
	if s.MaxLength < 0 || s.MaxLength > maxDimension {
		return fmt.Errorf("max_seq_length is %d, expected 1 to %d", s.MaxLength, maxDimension)
	}
	if _, ok := s.Prompts[s.DefaultPrompt]; !ok && s.DefaultPrompt != "" {
		return fmt.Errorf("default_prompt_name is %q, expected one of prompts: %q", s.DefaultPrompt, sortedNames(s.Prompts))
	}
	return nil
}

// dropSentence removes what the model needs for embeddings.
func (m *Model) dropSentence() {
	for s := range m.Config.Tensors() {
		if s.Role == SentenceDense {
			delete(m.Tensors, s.Name)
		}
	}
	m.Config.Sentence = nil
}

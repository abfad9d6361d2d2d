package checkpoints

import (
	"fmt"
	"maps"
	"slices"
)

// Pooling is how the hidden states of a text's tokens become one vector. The
// names are those of the sentence-transformers library.
type Pooling string

// Kinds of pooling.
const (
	MeanPooling Pooling = "mean"
	CLSPooling  Pooling = "cls"
	MaxPooling  Pooling = "max"
	// MeanSqrtPooling divides the sum by the square root of the number of tokens.
	MeanSqrtPooling Pooling = "mean_sqrt_len_tokens"
	// LastPooling takes the last token, which is a special one in most models.
	LastPooling Pooling = "lasttoken"
)

var poolings = []Pooling{MeanPooling, CLSPooling, MaxPooling, MeanSqrtPooling, LastPooling}

// Sentence says how a model makes the embedding of a text: what the modules of a
// sentence-transformers directory say.
type Sentence struct {
	// Pooling makes a vector of the last hidden states. Dense layers follow it,
	// whose weights are tensors of the model, then Normalize, which scales to unit
	// length.
	Pooling   Pooling `json:"pooling"`
	Dense     []Dense `json:"dense,omitempty"`
	Normalize bool    `json:"normalize"`
	// MaxLength is the number of tokens at which a text is cut, special tokens
	// included; 0 stands for the model's number of positions.
	MaxLength int `json:"max_seq_length,omitempty"`
	// LowerCase asks for lower-cased texts whatever the tokenizer does.
	LowerCase bool `json:"do_lower_case,omitempty"`
	// Prompts are what stands before a text, by name, and DefaultPrompt is the name
	// of the one that is used where none is asked for, or "".
	Prompts       map[string]string `json:"prompts,omitempty"`
	DefaultPrompt string            `json:"default_prompt_name,omitempty"`
	// Similarity is the function that compares embeddings ("cosine"), or "".
	Similarity string `json:"similarity_fn_name,omitempty"`
}

// Dense is a linear layer after the pooling, with "sentence.dense.N.weight" of
// shape [Out, in] and, with Bias, "sentence.dense.N.bias".
type Dense struct {
	Out  int  `json:"out_features"`
	Bias bool `json:"bias"`
	// Activation is "identity", "tanh", "relu" or "gelu".
	Activation string `json:"activation"`
}

const densePrefix = "sentence.dense."

// denseActivations are the activations of Dense by their names in torch.nn.
var denseActivations = map[string]string{"identity": "Identity", "tanh": "Tanh", "relu": "ReLU", "gelu": "GELU"}

// Width is the width of the embeddings of a model of that hidden size.
func (s *Sentence) Width(hidden int) int {
	if n := len(s.Dense); n > 0 {
		return s.Dense[n-1].Out
	}
	return hidden
}

// Clone returns a copy that shares nothing with s; nil of nil.
func (s *Sentence) Clone() *Sentence {
	if s == nil {
		return nil
	}
	c := *s
	c.Dense, c.Prompts = slices.Clone(s.Dense), maps.Clone(s.Prompts)
	return &c
}

// Prompt returns what stands before a text under a prompt's name, that of the
// default prompt for "", which is none where there is no default.
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

// validate names what is wrong by its key in config_sentence_transformers.json and
// the configurations of modules.
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

// dropSentence removes what makes embeddings.
func (m *Model) dropSentence() {
	for s := range m.Config.Tensors() {
		if s.Role == SentenceDense {
			delete(m.Tensors, s.Name)
		}
	}
	m.Config.Sentence = nil
}

// Package head describes the kinds of heads that an encoder can have, and what follows from each
// kind. What another package does for a head (answers, losses, metrics, documents, ...) is in one
// table of that package, with a row for each kind in All.
package head

// Kind says what a head does, and so what a model answers and a task asks for. Its values are
// those of Hugging Face's problem_type, where that has one.
type Kind string

// Kinds of heads.
const (
	// SingleLabel gives each text one class, with one logit for each label. A model of this kind
	// without labels is just an encoder.
	SingleLabel Kind = ""
	// MultiLabel gives each text any number of the labels. The logits are those of independent
	// yes-or-no questions.
	MultiLabel Kind = "multi_label_classification"
	// Regression gives each text one number.
	Regression Kind = "regression"
	// MultipleChoice gives each pair of a text and one of its choices a score.
	MultipleChoice Kind = "multiple_choice"
	// TokenClassification gives each token one of the labels. A word has the label of its first
	// token.
	TokenClassification Kind = "token_classification"
	// MaskedLM gives each token one logit for each entry of the vocabulary that could be in its
	// place. Its last product is with the word embeddings.
	MaskedLM Kind = "masked_lm"
)

// Subject says what an answer is about.
type Subject uint8

// The subjects of answers.
const (
	Texts   Subject = iota // a text, or a pair of texts
	Choices                // a text and its choices
	Words                  // a word of a text
	Masks                  // a mask in a text
)

// Outputs says what the numbers of an answer mean.
type Outputs uint8

// The outputs of heads.
const (
	Classes Outputs = iota // one logit for each class, of which one is right
	Labels                 // one logit for each label, of which any number hold
	Score                  // one number
	Tokens                 // one logit for each entry of the vocabulary
)

// facts describes a kind of head.
type facts struct {
	name    string
	subject Subject
	outputs Outputs
	metrics []string
}

var accuracy = []string{"accuracy"}

var table = map[Kind]facts{
	SingleLabel:         {"single_label_classification", Texts, Classes, accuracy},
	MultiLabel:          {string(MultiLabel), Texts, Labels, []string{"f1_micro", "f1_macro", "accuracy"}},
	Regression:          {string(Regression), Texts, Score, []string{"pearson", "spearman"}},
	MultipleChoice:      {string(MultipleChoice), Choices, Score, accuracy},
	TokenClassification: {string(TokenClassification), Words, Classes, accuracy},
	MaskedLM:            {string(MaskedLM), Masks, Tokens, []string{"perplexity", "accuracy"}},
}

// All returns the kinds of heads, SingleLabel first.
func All() []Kind {
	return []Kind{SingleLabel, MultiLabel, Regression, MultipleChoice, TokenClassification, MaskedLM}
}

// Known tells whether this kind of head exists.
func (k Kind) Known() bool {
	_, ok := table[k]
	return ok
}

// String returns the name of the kind for people.
func (k Kind) String() string {
	if f, ok := table[k]; ok {
		return f.name
	}
	return string(k)
}

// Subject returns what an answer is about.
func (k Kind) Subject() Subject { return table[k].subject }

// Outputs returns what the numbers of an answer mean.
func (k Kind) Outputs() Outputs { return table[k].outputs }

// Metrics returns the names of the metrics for the answers, the main one first, if a task names
// none.
func (k Kind) Metrics() []string { return table[k].metrics }

// PerToken tells whether the head reads every token and has outputs for each. Other heads read
// the first token of a sequence, through the pooler.
func (k Kind) PerToken() bool { return k.Subject() == Words || k.Subject() == Masks }

// Named tells whether the outputs are named by labels.
func (k Kind) Named() bool { return k.Outputs() == Classes || k.Outputs() == Labels }

// OneClass tells whether an answer is one class of a text.
func (k Kind) OneClass() bool { return k.Subject() == Texts && k.Outputs() == Classes }

// OneNumber tells whether an answer is one number for a text.
func (k Kind) OneNumber() bool { return k.Subject() == Texts && k.Outputs() == Score }

// Width returns the number of outputs of an answer, for a model with so many labels and tokens in
// its vocabulary.
func (k Kind) Width(labels, vocabulary int) int {
	switch k.Outputs() {
	case Score:
		return 1
	case Tokens:
		return vocabulary
	}
	return labels
}

// Package head says what can stand on an encoder: the kinds of heads and what
// follows from each. What a package does for a head (answers, losses, metrics,
// documents, ...) stands in one table of that package, with a row for each of
// All.
package head

// Kind is what a head does, and so what a model answers and a task asks for. The
// values are those of Hugging Face's problem_type where it has one.
type Kind string

// Kinds of heads.
const (
	// SingleLabel gives each text one of the classes: one logit for each of
	// the labels. A model of this kind without labels is an encoder alone.
	SingleLabel Kind = ""
	// MultiLabel gives each text any number of the labels: the logits are
	// those of independent yes-or-no questions.
	MultiLabel Kind = "multi_label_classification"
	// Regression gives each text one number.
	Regression Kind = "regression"
	// MultipleChoice gives each pair of a text and one of its choices a score.
	MultipleChoice Kind = "multiple_choice"
	// TokenClassification gives each token one of the labels. The label of a
	// word is that of its first token.
	TokenClassification Kind = "token_classification"
	// MaskedLM gives each token the logits of what could stand in its place,
	// one for each entry of the vocabulary. Its last product is with the word
	// embeddings.
	MaskedLM Kind = "masked_lm"
)

// Subject is what one answer is about.
type Subject uint8

// The subjects of answers.
const (
	Texts   Subject = iota // a text, or a pair of texts
	Choices                // a text and the choices that come with it
	Words                  // a word of a text
	Masks                  // a mask in a text
)

// Outputs is what the numbers of an answer stand for.
type Outputs uint8

// The outputs of heads.
const (
	Classes Outputs = iota // the logit of each class, of which one is right
	Labels                 // the logit of each label, of which any number hold
	Score                  // one number
	Tokens                 // the logit of each entry of the vocabulary
)

// facts are what is known of a kind of head.
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

// Known tells whether there is such a head.
func (k Kind) Known() bool {
	_, ok := table[k]
	return ok
}

// String names the kind for people.
func (k Kind) String() string {
	if f, ok := table[k]; ok {
		return f.name
	}
	return string(k)
}

// Subject is what one answer is about.
func (k Kind) Subject() Subject { return table[k].subject }

// Outputs is what the numbers of an answer stand for.
func (k Kind) Outputs() Outputs { return table[k].outputs }

// Metrics names the metrics that the answers are measured by where a task names
// none, the main one first.
func (k Kind) Metrics() []string { return table[k].metrics }

// PerToken tells whether the head reads every token and has outputs for each.
// Others read the first token of a sequence, through the pooler.
func (k Kind) PerToken() bool { return k.Subject() == Words || k.Subject() == Masks }

// Named tells whether the outputs have the names of labels.
func (k Kind) Named() bool { return k.Outputs() == Classes || k.Outputs() == Labels }

// OneClass tells whether an answer is one class of a text.
func (k Kind) OneClass() bool { return k.Subject() == Texts && k.Outputs() == Classes }

// OneNumber tells whether an answer is one number for a text.
func (k Kind) OneNumber() bool { return k.Subject() == Texts && k.Outputs() == Score }

// Width is the number of outputs of an answer, of a model with so many labels and
// so many tokens in its vocabulary.
func (k Kind) Width(labels, vocabulary int) int {
	switch k.Outputs() {
	case Score:
		return 1
	case Tokens:
		return vocabulary
	}
	return labels
}

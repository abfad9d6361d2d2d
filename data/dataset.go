// Package data reads tasks, encodes texts into token ids, makes batches without padding, and
// measures answers.
package data

import "iter"

// Example is a text or a pair of texts, with the answer to the question that the task asks about
// it.
type Example struct {
	// Text is the only text, or the first of a pair. If words are labelled, it is the words
	// joined by spaces.
	Text string
	// Pair is the second text of a pair. HasPair is true if there is one, which may be empty.
	Pair    string `json:",omitempty"`
	HasPair bool
	// Choices are the second texts of a multiple choice, one of which is right.
	Choices []string `json:",omitempty"`
	// Words are the words that are labelled.
	Words []string `json:",omitempty"`
	// Label is the index of the class among the task's labels, or of the right choice. It is -1
	// if the example has no label, as in the test files of benchmarks. For other kinds of tasks
	// it is 0 if the truth is known.
	Label int
	// Labels holds the indices of the labels that hold, in a task with several, or the index of
	// each word's label, -1 for none.
	Labels []int32 `json:",omitempty"`
	// Value is the number that a regression asks for. In ReCoRD it is the score for choosing this
	// entity: the F1 of its words against the best of the answers.
	Value float32 `json:",omitempty"`
	// Group numbers examples that are measured together: the answers to a question (MultiRC), the
	// entities for a query (ReCoRD), or the two forms of a pair (AX-g).
	Group int `json:",omitempty"`
}

// Dataset is a list of examples of one task.
type Dataset struct {
	Task     Task
	Examples []Example
	// Skipped is the number of records left out because the benchmark's own file says so: those
	// without a gold label (MNLI, SNLI) and broken lines (QQP).
	Skipped int
	// Numbered says that labels were given as class numbers of a model. The task's labels are
	// then that model's, in its order. For a model with another order these labels mean nothing.
	Numbered bool

	encoded *encodings // nil unless Remember was called
	tokens  *Encoded   // set by FromTokens
}

// Texts returns the texts of all examples, including second texts and choices.
func (ds *Dataset) Texts() iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range ds.Examples {
			e := &ds.Examples[i]
			if !yield(e.Text) || e.HasPair && !yield(e.Pair) {
				return
			}
			for _, choice := range e.Choices {
				if !yield(choice) {
					return
				}
			}
		}
	}
}

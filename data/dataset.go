// Package data reads tasks, encodes them into token ids, makes token-packed
// batches of them and measures answers.
package data

import "iter"

// Example is one text, or one pair of texts, with a question about it that the
// task's kind asks.
type Example struct {
	// Text is the only text, or the first of a pair. Where words are labelled it
	// is the words with a space between them.
	Text string
	// Pair is the second text of a pair, and HasPair tells an empty one from none.
	Pair    string `json:",omitempty"`
	HasPair bool
	// Choices are the second texts between which a multiple choice decides.
	Choices []string `json:",omitempty"`
	// Words are the words that are labelled.
	Words []string `json:",omitempty"`
	// Label is the index of the class among the task's labels, or of the right
	// choice. It is -1 where the example carries no label (the test files of the
	// benchmarks). In the other kinds it is 0 where the truth is known.
	Label int
	// Labels are the indices of the labels that hold, in a task of several; or
	// the index of each word's label, -1 for none.
	Labels []int32 `json:",omitempty"`
	// Value is the number that a regression asks for. In ReCoRD it is what
	// the choice of this entity earns: the F1 of its words against the best of
	// the answers.
	Value float32 `json:",omitempty"`
	// Group numbers what is measured together: the question of an answer
	// (MultiRC), the query of an entity (ReCoRD), the pair of an example (AX-g).
	Group int `json:",omitempty"`
}

// Dataset is a list of examples of one task.
type Dataset struct {
	Task     Task
	Examples []Example
	// Skipped counts the records that were left out because the benchmark's own
	// file says so: no gold label (MNLI, SNLI), broken lines (QQP).
	Skipped int
	// Numbered says that labels are numbers of a model's classes, in the order of the
	// task's labels, which are that model's. Another model may count its classes in
	// another order, and then the labels say nothing of them.
	Numbered bool

	encoded *encodings // nil where none is remembered
	tokens  *Encoded   // of FromTokens
}

// Texts are the texts of all examples, second ones and choices included.
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

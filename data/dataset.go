// Package data reads classification tasks, encodes them into token ids and
// makes token-packed batches of them.
package data

// Example is one text, or one pair of texts, to classify.
type Example struct {
	// Text is the only text, or the first of a pair.
	Text string
	// Pair is the second text of a pair, and HasPair tells an empty one from none.
	Pair    string
	HasPair bool
	// Label is the index of the class among the task's labels, or -1 where the
	// example carries none (the test files of the benchmarks).
	Label int
	// Value is the target of a regression task. No task reads it yet.
	Value float32
}

// Dataset is a list of examples of one task.
type Dataset struct {
	Task     Task
	Examples []Example
}

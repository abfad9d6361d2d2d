package data

import "fmt"

// FromTokens makes a data set of examples that are already tokens. ids and types are those of all
// sequences, one after another. offsets are the boundaries of the sequences [sequences+1],
// starting with 0, and first is the first sequence of each example [examples+1]. The examples
// have neither texts nor labels, and Encoded returns the tokens for every key.
func FromTokens(task Task, ids, types, offsets, first []int32) (*Dataset, error) {
	kind, err := task.kindOf()
	if err != nil {
		return nil, err
	}
	rising := func(ends []int32, last int) bool {
		for i := range ends {
			if i > 0 && ends[i] < ends[i-1] {
				return false
			}
		}
		return len(ends) > 0 && ends[0] == 0 && int(ends[len(ends)-1]) == last
	}
	if len(types) != len(ids) || !rising(offsets, len(ids)) || !rising(first, len(offsets)-1) {
		return nil, fmt.Errorf("the tokens are not divided into sequences and examples")
	}
	ds := &Dataset{Task: task, Examples: make([]Example, len(first)-1)}
	for i := range ds.Examples {
		ds.Examples[i].Label = -1
	}
	ds.tokens = &Encoded{Task: task, ids: ids, types: types, offsets: offsets, first: first, labels: make([]int32, len(ds.Examples)), wordEnds: make([]int32, 1)}
	ds.tokens.truth(ds, kind)
	return ds, nil
}

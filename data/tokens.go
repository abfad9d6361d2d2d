package data

import "fmt"

// FromTokens makes a data set of examples that are tokens already: token ids and types laid end to
// end, where each sequence and the last one end (offsets [sequences+1], the first 0), and which is the
// first sequence of each example (first [examples+1]). The examples have neither texts nor labels, and
// Encoded returns the tokens under every key.
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

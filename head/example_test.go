package head_test

import (
	"fmt"

	"github.com/skive-ml/skive/head"
)

// What follows from a head is asked of it.
func Example() {
	for _, kind := range head.All() {
		fmt.Println(kind, kind.PerToken(), kind.Named(), kind.Metrics()[0])
	}
	// Output:
	// single_label_classification false true accuracy
	// multi_label_classification false true f1_micro
	// regression false false pearson
	// multiple_choice false false accuracy
	// token_classification true true accuracy
	// masked_lm true false perplexity
}

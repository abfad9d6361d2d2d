package compress_test

import (
	"fmt"

	"github.com/skive-ml/skive/compress"
)

// A recipe is checked before it is run by Run.
func ExampleForModel() {
	recipe := compress.ForModel("all-MiniLM-L6-v2", "sst2", "train.tsv.gz", "dev.tsv")
	fmt.Println(recipe.Validate(), recipe.Task)
	recipe.Train = ""
	fmt.Println(recipe.Validate())
	// Output:
	// <nil> sst2
	// Train: "", expected a training file
}

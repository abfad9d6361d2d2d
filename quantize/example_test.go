package quantize_test

import (
	"fmt"
	"log"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/quantize"
)

// The linear layers of the encoder become int8, a quarter of their size.
func ExampleInt8() {
	model, err := checkpoints.Open("../train/testdata/tiny")
	if err != nil {
		log.Fatal(err)
	}
	defer model.Close()
	small, err := quantize.Int8(model)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(quantize.LinearWeights(model.Config)), "weights:", model.Bytes(), "bytes,", small.Bytes(), "in int8")
	// Output: 12 weights: 94476 bytes, 47116 in int8
}

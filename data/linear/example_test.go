package linear_test

import (
	"fmt"
	"log"

	"github.com/skive-ml/skive/data/linear"
	"github.com/skive-ml/skive/data/reviews"
)

// What counting words alone comes to.
func ExampleAccuracy() {
	train, dev := reviews.Generate(reviews.Options{Train: 500, Dev: 100, Seed: 1})
	accuracy, err := linear.Accuracy(train, dev, linear.Words)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%.2f\n", accuracy)
	// Output: 0.55
}

package reviews_test

import (
	"fmt"

	"github.com/skive-ml/skive/data/reviews"
)

// The same seed gives the same reviews.
func ExampleGenerate() {
	train, dev := reviews.Generate(reviews.Options{Train: 3, Dev: 1, Seed: 1})
	for _, e := range append(train.Examples, dev.Examples...) {
		fmt.Println(train.Task.Labels[e.Label], e.Text)
	}
	// Output:
	// negative nobody could say the wine was not awful , still nobody could say the terrace was not rude
	// positive i would not say that the pool was never dreadful , still it would be wrong to claim that nobody found the food tasty
	// positive i would not say that the wine was never kind although nobody could say the terrace was clean
	// negative while i would not say that the wine was never spacious , everyone called the food noisy
}

package infer_test

import (
	"context"
	"fmt"
	"time"

	"github.com/skive-ml/skive/infer"
)

func ExampleOpen() {
	engine, err := infer.Open("../train/testdata/tiny", infer.Options{Threads: 1, DType: infer.Int8})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer engine.Close()
	predictions, err := engine.Predict(context.Background(), []infer.Input{{Text: "w7 w30 w8"}, {Text: "w9", Pair: "w40 w41"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, p := range predictions {
		fmt.Printf("%s %.2f\n", p.Label, p.Probabilities[p.Index])
	}
	// Output:
	// blue 0.42
	// blue 0.39
}

// A server shares one pool among its handlers.
func ExampleOpenPool() {
	pool, err := infer.OpenPool("../train/testdata/tiny", infer.PoolOptions{MaxDelay: time.Millisecond, MaxQueue: 100})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer pool.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	predictions, err := pool.Predict(ctx, []infer.Input{{Text: "w7 w30 w8"}})
	if err != nil { // infer.ErrOverloaded when 100 requests are waiting already
		fmt.Println(err)
		return
	}
	fmt.Println(predictions[0].Label)
	// Output: blue
}

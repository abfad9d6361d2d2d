package onnx_test

import (
	"fmt"
	"log"
	"os"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/onnx"
)

// The graph is compared with the engine before it is written.
func ExampleExport() {
	model, err := checkpoints.Open("../train/testdata/tiny")
	if err != nil {
		log.Fatal(err)
	}
	defer model.Close()
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	report, err := onnx.Export(model, onnx.Options{}, dir)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(report.DType, report.Opset, report.Difference < 1e-4)
	// Output: f32 17 true
}

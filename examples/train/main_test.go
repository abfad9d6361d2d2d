package main

import (
	"context"
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/train"
)

// The label of an example follows from its first word.
func TestFineTuning(t *testing.T) {
	t.Parallel()
	labels := []string{"red", "green", "blue"}
	file := filepath.Join(t.TempDir(), "examples.csv")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	w := csv.NewWriter(f)
	w.Write([]string{"text", "label"})
	for i := range 200 {
		w.Write([]string{fmt.Sprintf("w%d w%d", 5+i*7%9, 20+i*11%30), labels[(5+i*7%9)%3]})
	}
	if w.Flush(); w.Error() != nil || f.Close() != nil {
		t.Fatal(w.Error())
	}
	o := train.Defaults()
	o.Output, o.Resume = filepath.Join(t.TempDir(), "out"), true
	o.Epochs, o.BatchSize, o.LearningRate = 15, 16, 3e-3
	result, err := fineTune(context.Background(), "../../train/testdata/tiny", file, o)
	if err != nil {
		t.Fatal(err)
	}
	if accuracy := result.Best.Metrics["accuracy"]; accuracy < 0.9 {
		t.Errorf("accuracy %.2f, want at least 0.9", accuracy)
	}
	m, err := checkpoints.Open(o.Output)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	engine, err := infer.New(m, infer.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	answers, err := engine.Predict(context.Background(), []infer.Input{{Text: "w9 w31"}})
	if err != nil || answers[0].Label != "red" {
		t.Errorf("answer %+v, error %v; want red", answers, err)
	}
}

package compress

import (
	"context"
	"path/filepath"
	"slices"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/distill"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/golden"
	"github.com/skive-ml/skive/pruning"
	"github.com/skive-ml/skive/quantize"
	"github.com/skive-ml/skive/train"
)

// Every stage takes a model of every family: it is trained, distilled, pruned,
// padded, quantized, saved and run, and stays of its family.
func TestEveryStageTakesEveryFamily(t *testing.T) {
	ctx := context.Background()
	all := golden.Data(t)
	trainSet := &data.Dataset{Task: all.Task, Examples: all.Examples[:24]}
	devSet := &data.Dataset{Task: all.Task, Examples: all.Examples[24:32]}
	for _, family := range []string{"tiny", "roberta", "distilbert", "electra"} {
		t.Run(family, func(t *testing.T) {
			start, err := checkpoints.Open(filepath.Join("..", "train", "testdata", family))
			if err != nil {
				t.Fatal(err)
			}
			defer start.Close()
			o := train.Defaults()
			o.Steps, o.BatchSize, o.Threads, o.Dropout, o.Output = 3, 8, 2, 0.1, filepath.Join(t.TempDir(), "teacher")
			if _, _, err := train.Run(ctx, start, trainSet, devSet, o); err != nil {
				t.Fatal(err)
			}
			// The output directory is Hugging Face's.
			teacher, err := checkpoints.Open(o.Output)
			if err != nil {
				t.Fatal(err)
			}
			defer teacher.Close()

			d := distill.Defaults()
			d.Steps, d.BatchSize, d.Threads, d.Hidden, d.Relations = 2, 8, 2, 0.1, 0.1
			student, err := distill.StudentFromLayers(teacher, []int{1})
			if err != nil {
				t.Fatal(err)
			}
			if student, _, err = distill.Run(ctx, teacher, student, trainSet, devSet, d); err != nil {
				t.Fatal(err)
			}
			fresh, err := distill.NewStudent(teacher, distill.Size{Layers: 1, Hidden: 12, Heads: 2}, 1)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err = distill.Run(ctx, teacher, fresh, trainSet, nil, d); err != nil {
				t.Fatal(err)
			}

			scores, err := pruning.Importance(ctx, student, trainSet, pruning.ImportanceOptions{Threads: 2})
			if err != nil {
				t.Fatal(err)
			}
			masks, err := pruning.Select(scores, student.Config, 1, 20)
			if err != nil {
				t.Fatal(err)
			}
			pruned, err := pruning.Rewire(student, masks)
			if err != nil {
				t.Fatal(err)
			}
			logits := func(m *checkpoints.Model) []float32 {
				t.Helper()
				enc, err := train.Encode(m, devSet, 0)
				if err != nil {
					t.Fatal(err)
				}
				v, err := train.Logits(ctx, m, enc, infer.Options{Threads: 1})
				if err != nil {
					t.Fatal(err)
				}
				return v
			}
			want := logits(pruned)
			padded, err := pruned.Pad()
			if err != nil {
				t.Fatal(err)
			}
			if !padded.Config.Stock() || !slices.Equal(logits(padded), want) {
				t.Error("padding changes the logits")
			}
			hf := filepath.Join(t.TempDir(), "pruned")
			if err := pruned.SaveHF(hf); err != nil {
				t.Fatal(err)
			}
			again, err := checkpoints.Open(hf)
			if err != nil {
				t.Fatal(err)
			}
			defer again.Close()
			if again.Config.ModelType != start.Config.ModelType || !slices.Equal(logits(again), want) {
				t.Errorf("%s saved and opened is %s with other logits", start.Config.ModelType, again.Config.ModelType)
			}

			int8, err := quantize.Int8Weights(pruned, append(quantize.LinearWeights(pruned.Config), quantize.Embeddings()...))
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "m"+checkpoints.Extension)
			if err := int8.SaveSkive(file); err != nil {
				t.Fatal(err)
			}
			e, err := infer.Open(file, infer.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			p, err := e.Predict(ctx, []infer.Input{{Text: "w5 w7", Pair: "w9"}})
			if err != nil || len(p) != 1 || !slices.Contains([]string{"red", "green", "blue"}, p[0].Label) {
				t.Errorf("%+v: %v", p, err)
			}
		})
	}
}

// Fresh weights of every family are a model that can be saved and run.
func TestFreshModelsOfEveryFamily(t *testing.T) {
	for _, family := range []string{"tiny", "roberta", "distilbert", "electra"} {
		like, err := checkpoints.Open(filepath.Join("..", "train", "testdata", family))
		if err != nil {
			t.Fatal(err)
		}
		for _, labels := range [][]string{nil, {"a", "b"}} {
			cfg := like.Config.Clone()
			cfg.Labels = labels
			m := checkpoints.InitBERT(cfg, 1)
			dir := t.TempDir()
			if err := m.SaveHF(dir); err != nil {
				t.Fatal(err)
			}
			again, err := checkpoints.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(again.Names(), m.Names()) || len(again.Notes) > 0 || len(again.Config.Labels) != len(labels) {
				t.Errorf("%s with labels %q: %v, notes %q", family, labels, again.Names(), again.Notes)
			}
			again.Close()
		}
		like.Close()
	}
}

package compress

import (
	"context"
	"path/filepath"
	"slices"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/distill"
	"github.com/skive-ml/skive/evaluate"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/golden"
	"github.com/skive-ml/skive/onnx"
	"github.com/skive-ml/skive/pruning"
	"github.com/skive-ml/skive/quantize"
	"github.com/skive-ml/skive/train"
)

// Every stage takes a model of every family: it is trained, distilled, pruned,
// padded, quantized, saved and run, and stays of its family.
func TestEveryStageTakesEveryFamily(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	all := golden.Data(t)
	trainSet := &data.Dataset{Task: all.Task, Examples: all.Examples[:24]}
	devSet := &data.Dataset{Task: all.Task, Examples: all.Examples[24:32]}
	for _, family := range []string{"tiny", "roberta", "mpnet", "distilbert", "electra", "albert", "modernbert", "nomic_bert", "gte", "deberta-v2"} {
		t.Run(family, func(t *testing.T) {
			start, err := checkpoints.Open(filepath.Join("..", "train", "testdata", family))
			if err != nil {
				t.Fatal(err)
			}
			defer start.Close()
			o := train.Defaults()
			o.Steps, o.BatchSize, o.Threads, o.Dropout, o.Output = 3, 8, 2, new(0.1), filepath.Join(t.TempDir(), "teacher")
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
				enc, err := evaluate.Encode(m, devSet, 0)
				if err != nil {
					t.Fatal(err)
				}
				v, err := evaluate.Logits(ctx, m, enc, infer.Options{Threads: 1})
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

// Layers of different sizes, as a search leaves them, are trained, distilled from
// and into, quantized and exported.
func TestEveryStageTakesUnevenLayers(t *testing.T) {
	t.Parallel()
	ctx, whole, all := context.Background(), golden.Model(t), golden.Data(t)
	trainSet := &data.Dataset{Task: all.Task, Examples: all.Examples[:24]}
	devSet := &data.Dataset{Task: all.Task, Examples: all.Examples[24:32]}
	uneven, err := pruning.Rewire(whole, pruning.Masks{Heads: [][]int{{1}, {0, 2, 3}}, FFN: [][]int{{0, 7, 9, 30, 41}, {2, 3}}})
	if err != nil {
		t.Fatal(err)
	}
	sizes := []checkpoints.LayerSize{{Heads: 1, Intermediate: 5}, {Heads: 3, Intermediate: 2}}
	d := distill.Defaults()
	d.Steps, d.BatchSize, d.Threads = 2, 8, 2
	d.Hidden, d.Embeddings, d.Relations, d.RelationHeads, d.Attention, d.HeadMeans = 0.1, 0.1, 0.1, 8, 0.1, true
	for name, learn := range map[string]func() (*checkpoints.Model, *train.Result, error){
		"fine-tuned": func() (*checkpoints.Model, *train.Result, error) {
			o := train.Defaults()
			o.Steps, o.BatchSize, o.Threads, o.Dropout, o.Recompute = 2, 8, 2, new(0.1), true
			return train.Run(ctx, uneven, trainSet, devSet, o)
		},
		"distilled into": func() (*checkpoints.Model, *train.Result, error) {
			return distill.Run(ctx, whole, uneven, trainSet, devSet, d)
		},
		"distilled from": func() (*checkpoints.Model, *train.Result, error) {
			return distill.Run(ctx, uneven, whole, trainSet, devSet, d)
		},
		"its own layers": func() (*checkpoints.Model, *train.Result, error) {
			own := d
			own.Relations, own.Attention = 0, 0
			student, err := distill.StudentFromLayers(uneven, []int{1, 0})
			if err != nil {
				return nil, nil, err
			}
			return distill.Run(ctx, uneven, student, trainSet, devSet, own)
		},
	} {
		m, r, err := learn()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want := slices.Clone(sizes)
		switch name {
		case "distilled from":
			want = whole.Config.Layers
		case "its own layers":
			slices.Reverse(want)
		}
		if !slices.Equal(m.Config.Layers, want) || r.Steps != 2 || train.Checksum(m) == train.Checksum(uneven) {
			t.Errorf("%s: layers %v after %d steps", name, m.Config.Layers, r.Steps)
		}
		file := filepath.Join(t.TempDir(), "m"+checkpoints.Extension)
		int8, err := quantize.Int8Weights(m, quantize.LinearWeights(m.Config))
		if err == nil {
			err = int8.SaveSkive(file)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, dtype := range []string{infer.F32, infer.Int8} {
			// The export compares the graph with the engine.
			if _, err := onnx.Export(m, onnx.Options{DType: dtype}, filepath.Join(t.TempDir(), "onnx")); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := infer.Open(file, infer.Options{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Fresh weights of every family are a model that can be saved and run.
func TestFreshModelsOfEveryFamily(t *testing.T) {
	t.Parallel()
	for _, family := range []string{"tiny", "roberta", "mpnet", "distilbert", "electra", "albert", "modernbert", "nomic_bert", "gte", "deberta-v2"} {
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

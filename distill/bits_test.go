package distill

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"maps"
	"math"
	"slices"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/golden"
	"github.com/skive-ml/skive/internal/kernels"
	"github.com/skive-ml/skive/pruning"
	"github.com/skive-ml/skive/quantize"
	"github.com/skive-ml/skive/train"
)

// The bits of a run are those of every other machine: the hashes were made on amd64,
// and CI asks them of arm64 too.
func TestBitsAreTheSameOnEveryMachine(t *testing.T) {
	if kernels.Current() == kernels.AMX {
		defer kernels.Use(kernels.AVX512BF16)() // bfloat16 has another definition there
	}
	var got []string
	pin := func(name string, hash uint64) { got = append(got, fmt.Sprintf("%s %016x", name, hash)) }
	ctx, ds := context.Background(), golden.Data(t)
	start := checkpoints.InitBERT(checkpoints.Config{
		ModelType: "bert", VocabSize: golden.Model(t).Config.VocabSize, MaxPositions: 64, TypeVocabSize: 2, HiddenSize: 40, HeadDim: 10,
		Layers:     []checkpoints.LayerSize{{Heads: 4, Intermediate: 88}, {Heads: 4, Intermediate: 88}},
		Activation: "gelu", LayerNormEps: 1e-12, InitializerRange: 0.1, Labels: ds.Task.Labels,
	}, 1)
	start.Tokenizer = golden.Model(t).Tokenizer
	pin("initial", bitsOf(start))

	o := train.Defaults()
	o.Steps, o.BatchSize, o.LearningRate, o.Schedule, o.Dropout, o.LabelSmoothing = 3, 16, 1e-3, train.Cosine, new(0.1), 0.1
	teacher, _, err := train.Run(ctx, start, ds, ds, o)
	if err != nil {
		t.Fatal(err)
	}
	pin("trained", bitsOf(teacher))
	rounded := o
	rounded.Precision = infer.BF16
	in16, _, err := train.Run(ctx, start, ds, ds, rounded)
	if err != nil {
		t.Fatal(err)
	}
	pin("trained in bf16", bitsOf(in16))

	d := everything()
	d.Options = o
	limit := pruning.ImportanceOptions{Limit: 40}
	student, err := Narrow(ctx, teacher, []int{1}, Size{Hidden: 28}, ds, limit)
	if err != nil {
		t.Fatal(err)
	}
	pin("narrow", bitsOf(student))
	if student, _, err = Run(ctx, teacher, student, ds, ds, d); err != nil {
		t.Fatal(err)
	}
	pin("distilled", bitsOf(student))

	scores, err := pruning.Importance(ctx, teacher, ds, limit)
	if err != nil {
		t.Fatal(err)
	}
	masks, err := pruning.Select(scores, teacher.Config, 2, 48)
	if err != nil {
		t.Fatal(err)
	}
	pruned, err := pruning.Rewire(teacher, masks)
	if err != nil {
		t.Fatal(err)
	}
	pin("pruned", bitsOf(pruned))
	tuned, err := pruning.Tune(ctx, teacher, pruned, ds, pruning.TuneOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pin("tuned", bitsOf(tuned))

	for _, format := range []string{"f32", "fp16", "bf16", "int8"} {
		m, err := quantize.Format(pruned, format)
		if err != nil {
			t.Fatal(err)
		}
		e, err := infer.New(m, infer.Options{Threads: 1})
		if err != nil {
			t.Fatal(err)
		}
		var inputs []infer.Input
		for _, x := range ds.Examples[:20] {
			inputs = append(inputs, infer.Input{Text: x.Text, Pair: x.Pair, HasPair: x.HasPair})
		}
		answers, err := e.Predict(ctx, inputs)
		if err != nil {
			t.Fatal(err)
		}
		h := fnv.New64a()
		for _, a := range answers {
			for _, p := range append(a.Logits, a.Probabilities...) {
				binary.Write(h, binary.LittleEndian, math.Float32bits(p))
			}
		}
		pin(format, h.Sum64())
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{
		"initial dfbd8ac11129d995",
		"trained c8fc777930d8cd3d",
		"trained in bf16 49281df6144a08a5",
		"narrow e41dc6d9f1aa512d",
		"distilled 6e7c6cdf89fe9f12",
		"pruned f4640b5319451971",
		"tuned 7d1bb5d915f3fa35",
		"f32 86b977ddebbe4ef6",
		"fp16 82ad5941a3c436cc",
		"bf16 98afc9df5e2fec26",
		"int8 0ba9836a8305da76",
	}; !slices.Equal(got, want) {
		for _, line := range got {
			t.Logf("%q,", line)
		}
		t.Error("bits differ")
	}
}

// bitsOf is a hash of a model's tensors.
func bitsOf(m *checkpoints.Model) uint64 {
	h := fnv.New64a()
	for _, name := range slices.Sorted(maps.Keys(m.Tensors)) {
		h.Write([]byte(name))
		h.Write(m.Tensors[name].Data)
	}
	return h.Sum64()
}

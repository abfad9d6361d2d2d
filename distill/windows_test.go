package distill

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/golden"
	"github.com/skive-ml/skive/pruning"
	"github.com/skive-ml/skive/train"
)

// windowedTeacher is a model of six layers, of which every third sees all tokens.
func windowedTeacher(t *testing.T) *checkpoints.Model {
	t.Helper()
	small, err := checkpoints.Open(filepath.Join("..", "train", "testdata", "modernbert"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { small.Close() })
	c := small.Config.Clone()
	c.Local = []bool{false, true, true, false, true, true}
	c.Layers = slices.Repeat(c.Layers[:1], 6)
	c.InitializerRange = 0.2
	m := checkpoints.InitBERT(c, 1)
	m.Tokenizer = small.Tokenizer
	return m
}

// A student of some of a teacher's layers has their windows, and so has one of random
// weights, so that the default maps pair layers of one kind.
func TestStudentsKeepWindows(t *testing.T) {
	t.Parallel()
	teacher := windowedTeacher(t)
	kept, err := StudentFromLayers(teacher, []int{0, 2, 3})
	if err != nil {
		t.Fatal(err)
	}
	if want := []bool{false, true, false}; !slices.Equal(kept.Config.Local, want) {
		t.Errorf("layers 0, 2 and 3 have windows %v, want %v", kept.Config.Local, want)
	}
	// The first layer's norm before its attention goes, whichever layer that was.
	inner, err := StudentFromLayers(teacher, []int{2, 3})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := inner.Tensors[checkpoints.AttentionNorm.In(0).Weight()]; ok {
		t.Error("the first layer has a norm before its attention")
	}
	if _, err := StudentFromLayers(teacher, []int{1, 0}); err == nil || !strings.Contains(err.Error(), "layer 0") {
		t.Errorf("the first layer as the second: error %v", err)
	}
	for n, want := range map[int][]bool{2: {true, true}, 3: {true, false, true}, 6: teacher.Config.Local, 8: {false, true, true, true, false, true, true, true}} {
		fresh, err := NewStudent(teacher, Size{Layers: n}, 1)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(fresh.Config.Local, want) {
			t.Errorf("%d random layers have windows %v, want %v", n, fresh.Config.Local, want)
		}
	}
	narrow, err := Narrow(t.Context(), teacher, []int{1, 3, 5}, Size{Hidden: 12, Heads: 1, Intermediate: 8}, nil, pruning.ImportanceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if want := []bool{true, false, true}; !slices.Equal(narrow.Config.Local, want) {
		t.Errorf("a narrow student has windows %v, want %v", narrow.Config.Local, want)
	}
	if _, err := Narrow(t.Context(), teacher, []int{1, 3, 5}, Size{Hidden: 12, Heads: 1, Intermediate: 8}, golden.Data(t), pruning.ImportanceOptions{Limit: 8, Method: pruning.FastFormers}); err != nil {
		t.Error(err)
	}
}

// Every loss on what is inside the encoder works on layers with windows, with each
// precision, and where values are recomputed; those on attention want windows that are equal.
func TestLossesOfLayersWithWindows(t *testing.T) {
	t.Parallel()
	teacher, all := windowedTeacher(t), golden.Data(t)
	set := &data.Dataset{Task: all.Task, Examples: all.Examples[:16]}
	base := Defaults()
	base.Steps, base.BatchSize, base.Threads, base.Dropout = 2, 8, 2, new(0.1)
	student, err := StudentFromLayers(teacher, []int{1, 3, 5})
	if err != nil {
		t.Fatal(err)
	}
	every := base
	every.Hidden, every.Embeddings, every.Attention, every.MiniLM, every.Relations, every.HiddenDistance = 1, 1, 1, 1, 1, Cosine
	want, _, err := Run(t.Context(), teacher, student, set, nil, every)
	if err != nil {
		t.Fatal(err)
	}
	recompute := every
	recompute.Recompute, recompute.Threads = true, 1
	if got, _, err := Run(t.Context(), teacher, student, set, nil, recompute); err != nil || train.Checksum(got) != train.Checksum(want) {
		t.Errorf("recomputed on one thread: another student, or error %v", err)
	}
	bf16 := every
	bf16.Precision = infer.BF16
	if _, _, err := Run(t.Context(), teacher, student, set, nil, bf16); err != nil {
		t.Error(err)
	}
	for what, o := range map[string]func(o *Options){
		"Attention": func(o *Options) { o.Attention, o.AttentionMap = 1, Explicit([2]int{0, 3}) },
		"MiniLM":    func(o *Options) { o.MiniLM = 1 },
	} {
		bad := base
		o(&bad)
		other, err := StudentFromLayers(teacher, []int{1, 3})
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = Run(t.Context(), teacher, other, set, nil, bad)
		if err == nil || !strings.Contains(err.Error(), what) || !strings.Contains(err.Error(), "2 tokens to either side") || !strings.Contains(err.Error(), "all tokens") {
			t.Errorf("%s of layers with other windows: error %v", what, err)
		}
	}
	// Relations and hidden states are those of any layers.
	free := base
	free.Relations, free.Hidden, free.RelationMap, free.HiddenMap = 1, 1, Explicit([2]int{0, 3}), Explicit([2]int{1, 0})
	if _, _, err := Run(t.Context(), teacher, student, set, nil, free); err != nil {
		t.Error(err)
	}
}

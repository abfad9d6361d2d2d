package distill

import (
	"fmt"
	"strings"

	"github.com/skive-ml/skive/checkpoints"
)

// StudentFromLayers makes a student of the given layers of the teacher, in the
// given order: it copies their weights, the embeddings, the pooler, the
// classifier and the tokenizer. This is how DistilBERT starts (Sanh et al.,
// arXiv 1910.01108). The teacher may be pruned and its layers uneven.
func StudentFromLayers(teacher *checkpoints.Model, layers []int) (*checkpoints.Model, error) {
	n := teacher.Config.NumLayers()
	if len(layers) == 0 {
		return nil, fmt.Errorf("student: no layers, want some of the teacher's %d", n)
	}
	seen := make(map[int]bool)
	for _, l := range layers {
		if l < 0 || l >= n {
			return nil, fmt.Errorf("student: layer %d, the teacher's are 0 to %d", l, n-1)
		}
		if seen[l] {
			return nil, fmt.Errorf("student: layer %d is taken twice", l)
		}
		seen[l] = true
	}
	if err := notQuantized(teacher); err != nil {
		return nil, fmt.Errorf("student: %w", err)
	}
	// The clone of a model that shares the teacher's tensors copies only what
	// the student keeps.
	s := *teacher
	s.Config = teacher.Config.Clone()
	s.Config.Layers = nil
	s.Tensors = make(map[string]checkpoints.Tensor)
	for name, t := range teacher.Tensors {
		if !strings.HasPrefix(name, layersPrefix) {
			s.Tensors[name] = t
		}
	}
	for i, l := range layers {
		s.Config.Layers = append(s.Config.Layers, teacher.Config.Layers[l])
		from, to := fmt.Sprintf("%s%d.", layersPrefix, l), fmt.Sprintf("%s%d.", layersPrefix, i)
		for name, t := range teacher.Tensors {
			if rest, ok := strings.CutPrefix(name, from); ok {
				s.Tensors[to+rest] = t
			}
		}
	}
	s.DeleteInputScales()
	student := s.Clone()
	if err := student.Validate(); err != nil {
		return nil, fmt.Errorf("student: %w", err)
	}
	return student, nil
}

// notQuantized reports a teacher with int8 weights: they are no longer what was
// learned, they cannot be trained, and scales of inputs that were calibrated with
// them hold for the whole model alone.
func notQuantized(teacher *checkpoints.Model) error {
	for _, name := range teacher.Names() {
		if teacher.Tensors[name].DType == checkpoints.I8 {
			return fmt.Errorf("teacher: tensor %s is int8: distill from the model before it was quantized", name)
		}
	}
	return nil
}

const layersPrefix = "bert.encoder.layer."

// UniformLayers picks n of a teacher's layers at even distances, the last one
// included, the choice of TinyBERT and FastFormers: layer ⌈(i+1)·total/n⌉ - 1
// for i = 0 .. n-1. It returns nil where n is not 1 to total.
func UniformLayers(n, total int) []int {
	if n < 1 || n > total {
		return nil
	}
	layers := make([]int, n)
	for i := range layers {
		layers[i] = ((i+1)*total+n-1)/n - 1
	}
	return layers
}

// Size is the size of a student that starts from random weights.
type Size struct {
	// Layers, Hidden, Heads and Intermediate are the sizes of the encoder; 0
	// takes the teacher's (of its first layer).
	Layers, Hidden, Heads, Intermediate int
}

// NewStudent makes a student of the given size with random weights, the
// teacher's vocabulary, tokenizer and labels. Heads must divide Hidden.
func NewStudent(teacher *checkpoints.Model, size Size, seed uint64) (*checkpoints.Model, error) {
	cfg := teacher.Config.Clone()
	first := cfg.Layers[0]
	pick := func(given, own int) int {
		if given == 0 {
			return own
		}
		return given
	}
	layers, hidden := pick(size.Layers, len(cfg.Layers)), pick(size.Hidden, cfg.HiddenSize)
	heads, ffn := pick(size.Heads, first.Heads), pick(size.Intermediate, first.Intermediate)
	switch {
	case layers < 0 || hidden < 0 || heads < 0 || ffn < 0:
		return nil, fmt.Errorf("student: %d layers, hidden size %d, %d heads, %d units: want positive sizes", layers, hidden, heads, ffn)
	case hidden%heads != 0:
		return nil, fmt.Errorf("student: hidden size %d is not a multiple of %d heads", hidden, heads)
	}
	cfg.HiddenSize, cfg.HeadDim, cfg.Layers = hidden, hidden/heads, nil
	for range layers {
		cfg.Layers = append(cfg.Layers, checkpoints.LayerSize{Heads: heads, Intermediate: ffn})
	}
	student := checkpoints.InitBERT(cfg, seed)
	if err := student.Validate(); err != nil {
		return nil, fmt.Errorf("student: %w", err)
	}
	for name, file := range teacher.Tokenizer {
		student.Tokenizer[name] = append([]byte(nil), file...)
	}
	return student, nil
}

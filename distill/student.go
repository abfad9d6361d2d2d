package distill

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/pruning"
	"github.com/skive-ml/skive/settings"
)

// StudentFromLayers makes a student from the given layers of the teacher, in the given order. It
// copies their weights, the embeddings, the pooler, the classifier and the tokenizer, as
// DistilBERT does (Sanh et al., arXiv 1910.01108). The teacher may be pruned, with layers of
// different sizes.
func StudentFromLayers(teacher *checkpoints.Model, layers []int) (*checkpoints.Model, error) {
	if err := checkLayers(teacher.Config, layers); err != nil {
		return nil, fmt.Errorf("student: %w", err)
	}
	if err := notQuantized(teacher); err != nil {
		return nil, fmt.Errorf("student: %w", err)
	}
	s, err := teacher.KeepLayers(layers)
	if err != nil {
		return nil, fmt.Errorf("student: %w", err)
	}
	student := s.Clone()
	if err := student.Validate(); err != nil {
		return nil, fmt.Errorf("student: %w", err)
	}
	return student, nil
}

// notQuantized reports a teacher with int8 weights. They differ from the learned weights and
// cannot be trained, and calibrated scales of inputs are only valid for the whole model.
func notQuantized(teacher *checkpoints.Model) error {
	for _, name := range teacher.Names() {
		if teacher.Tensors[name].DType == checkpoints.I8 {
			return fmt.Errorf("teacher: tensor %s is int8: distill from the model before it was quantized", name)
		}
	}
	return nil
}

// UniformLayers picks n of a teacher's layers at even distances, including the last, as TinyBERT
// and FastFormers do: layer ⌈(i+1)·total/n⌉ - 1 for i = 0 .. n-1. It returns nil unless n is
// between 1 and total.
func UniformLayers(n, total int) []int {
	if n < 1 || n > total {
		return nil
	}
	layers := make([]int, n)
	for i := range layers {
		layers[i] = evenly(i, n, total)
	}
	return layers
}

// evenly returns which of total layers layer i of n corresponds to.
func evenly(i, n, total int) int { return ((i+1)*total+n-1)/n - 1 }

// Size is the size of a student.
type Size struct {
	// Layers, Hidden, Heads and Intermediate are the sizes of the encoder; 0 means the teacher's.
	Layers, Hidden, Heads, Intermediate int
}

// Check reports a size that no student can have. If layers is nil, the student has random weights
// (NewStudent). Otherwise it is made from these layers of the teacher (Narrow). An error about a
// single number is a *settings.Error.
func (s Size) Check(teacher checkpoints.Config, layers []int) error {
	refuse := func(field string, value int, want string, args ...any) error {
		return settings.Wrong("size."+field, value, want, args...)
	}
	if err := settings.In("size", s.Settings().Check()); err != nil {
		return err
	}
	if layers == nil {
		if s.Layers > checkpoints.MaxLayers {
			return refuse("Layers", s.Layers, "at most %d", checkpoints.MaxLayers)
		}
		cfg := s.Config(teacher, nil)
		switch heads := cfg.Layers[0].Heads; {
		case cfg.HiddenSize%heads == 0:
			return cfg.ValidateFresh()
		case s.Heads == 0 && s.Hidden > 0:
			return refuse("Hidden", s.Hidden, "a multiple of the teacher's %d heads, or another number of heads beside it", heads)
		default:
			return refuse("Heads", heads, "a divisor of the hidden size %d", cfg.HiddenSize)
		}
	}
	if err := checkLayers(teacher, layers); err != nil {
		return err
	}
	if s.Hidden > teacher.HiddenSize {
		return refuse("Hidden", s.Hidden, "at most the teacher's %d", teacher.HiddenSize)
	}
	if s.Hidden > 0 && s.Hidden < teacher.HiddenSize && teacher.ProjectsEmbeddings() {
		return refuse("Hidden", s.Hidden, "the teacher's %d, which stays where embeddings are projected (ELECTRA)", teacher.HiddenSize)
	}
	for _, l := range layers {
		have := teacher.Layers[l]
		if s.Heads > have.Heads {
			return refuse("Heads", s.Heads, "at most the %d of the teacher's layer %d", have.Heads, l)
		}
		if s.Intermediate > have.Intermediate {
			return refuse("Intermediate", s.Intermediate, "at most the %d of the teacher's layer %d", have.Intermediate, l)
		}
	}
	return nil
}

// Student says how to make a student. A size of 0 means the teacher's, except that Layers of 0
// means half of the teacher's layers.
type Student struct {
	// Size is the student's size. Its layers are copies of the teacher's layers, spread evenly or
	// given by TeacherLayers. A narrower student keeps the most important dimensions, heads and
	// units.
	Size
	TeacherLayers []int
	// Random makes a student with random weights.
	Random bool
}

// Resolve returns the size of a student and the teacher's layers from which it is made, nil for
// random weights. If the student cannot be made and this is due to one setting, the error is a
// *settings.Error.
func (s Student) Resolve(teacher checkpoints.Config) (Size, []int, error) {
	size, layers, total := s.Size, s.TeacherLayers, len(teacher.Layers)
	if err := s.Settings().Check(); err != nil {
		return size, nil, err
	}
	switch size.Layers = cmp.Or(size.Layers, max(1, total/2)); {
	case s.Random:
		layers = nil
	case len(layers) == 0:
		if layers = UniformLayers(size.Layers, total); layers == nil {
			return size, nil, settings.Errorf("Layers", "%d, but the teacher has %d; random weights make deeper ones", size.Layers, total)
		}
	default:
		size.Layers = len(layers)
	}
	err := size.Check(teacher, layers)
	var wrong *settings.Error
	if errors.As(err, &wrong) {
		field := strings.TrimPrefix(wrong.Field, "size.")
		if field == "layers" {
			field = "TeacherLayers"
		}
		err = &settings.Error{Field: field, Err: wrong.Err}
	}
	return size, layers, err
}

// Copies tells whether the student consists of whole layers of the teacher. Otherwise it has
// random weights, or Narrow makes it.
func (s Student) Copies() bool {
	return !s.Random && s.Hidden == 0 && s.Heads == 0 && s.Intermediate == 0
}

// Make makes the student. One that is narrower than the teacher keeps what matters most on ds,
// see Narrow. For a masked language model, importance is computed from the weights.
func (s Student) Make(ctx context.Context, teacher *checkpoints.Model, ds *data.Dataset, o pruning.ImportanceOptions, seed uint64) (*checkpoints.Model, error) {
	size, layers, err := s.Resolve(teacher.Config)
	switch {
	case err != nil:
		return nil, err
	case s.Random:
		return NewStudent(teacher, size, seed)
	case s.Copies():
		return StudentFromLayers(teacher, layers)
	case teacher.Config.Head.Outputs() == head.Tokens:
		ds = nil
	}
	return Narrow(ctx, teacher, layers, size, ds, o)
}

// Config returns the architecture of a student whose size has passed Check. If layers is nil, the
// student has random weights, and all its layers are as large as the teacher's first. Their
// windows are those of layers of the teacher that are spread evenly. Otherwise the student is
// made from these layers of the teacher.
func (s Size) Config(teacher checkpoints.Config, layers []int) checkpoints.Config {
	cfg := teacher.Clone()
	cfg.HiddenSize = cmp.Or(s.Hidden, cfg.HiddenSize)
	random := layers == nil
	if random {
		if s := cfg.Sentence; s != nil && len(s.Dense) > 0 {
			cfg.Sentence = nil // nothing would train its dense layers
		}
		cfg.HeadDim = cfg.HiddenSize / cmp.Or(s.Heads, teacher.Layers[0].Heads)
		layers = make([]int, cmp.Or(s.Layers, len(teacher.Layers)))
	}
	if teacher.Local != nil {
		cfg.Local = nil
		for i, l := range layers {
			if random {
				l = evenly(i, len(layers), len(teacher.Layers))
			}
			cfg.Local = append(cfg.Local, teacher.Local[l])
		}
	}
	cfg.Layers, cfg.BiasColumns = nil, nil
	for _, l := range layers {
		own := teacher.Layers[l]
		cfg.Layers = append(cfg.Layers, checkpoints.LayerSize{Heads: cmp.Or(s.Heads, own.Heads), Intermediate: cmp.Or(s.Intermediate, own.Intermediate)})
	}
	return cfg
}

// checkLayers reports layers that the teacher does not have, and repeated ones.
func checkLayers(teacher checkpoints.Config, layers []int) error {
	refuse := func(value any, want string) error {
		return settings.Errorf("layers", "%v, expected %s", value, want)
	}
	n := teacher.NumLayers()
	if len(layers) == 0 {
		return refuse("none", fmt.Sprintf("some of the teacher's %d", n))
	}
	for i, l := range layers {
		if l < 0 || l >= n {
			return refuse(l, fmt.Sprintf("layers from 0 to %d, which the teacher has", n-1))
		}
		if slices.Contains(layers[:i], l) {
			return refuse(layers, fmt.Sprintf("layer %d once", l))
		}
	}
	return nil
}

// NewStudent makes a student of the given size with random weights and the teacher's vocabulary,
// tokenizer and labels. Heads must divide Hidden.
func NewStudent(teacher *checkpoints.Model, size Size, seed uint64) (*checkpoints.Model, error) {
	if err := size.Check(teacher.Config, nil); err != nil {
		return nil, fmt.Errorf("student: %w", err)
	}
	student := checkpoints.InitBERT(size.Config(teacher.Config, nil), seed)
	if err := student.Validate(); err != nil {
		return nil, fmt.Errorf("student: %w", err)
	}
	for name, file := range teacher.Tokenizer {
		student.Tokenizer[name] = slices.Clone(file)
	}
	return student, nil
}

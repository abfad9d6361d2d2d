// Package compress chains the stages of Skive into a recipe, from a teacher to
// an int8 engine, and measures every step: FastFormers (arXiv 2010.13382) in
// one process.
package compress

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"time"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/internal/exact"
	"github.com/skive-ml/skive/internal/machine"
	"github.com/skive-ml/skive/progress"
	"github.com/skive-ml/skive/settings"
	"github.com/skive-ml/skive/tokenize"
)

// Options say how a recipe is carried out; they do not change its outcome.
type Options struct {
	// Output is the directory that receives the models and the report: an empty
	// or absent one, or that of an earlier run of the same model and task. Of
	// that, stages that are finished and whose inputs and settings have not
	// changed are kept, and one that was interrupted goes on where it was saved.
	// What a changed one replaces is kept beside it (NAME.previous), and taken up
	// again when the change is taken back.
	Output string
	// Threads is the number of threads; 0 is one for each processor.
	Threads int
	// Progress hears how long work comes along; nil does not.
	Progress progress.Reporter
	// Force goes on with a teacher that has not learned its task, see UnlearnedError.
	Force bool
}

// run is a recipe being carried out.
type run struct {
	Recipe
	Options
	train, dev *data.Dataset
	test       *data.Dataset // nil where the recipe has none
	unlabeled  []data.Example
	heldOut    *HeldOut                 // nil where the development set is a file or generated
	notes      []string                 // what follows from data and model, for people
	examplesOf map[string]*data.Dataset // the distillations' by how they are augmented
	teacher    *checkpoints.Model
	inputs     string // see Report.Inputs
	made       bool   // the output directory was not there before
	continued  bool   // an earlier run was
	steps      []step
	dropped    *Dropped
	target     *Target
	anew       bool // the last stage was carried out, and not kept
	trials     []Trial
	floors     []Floor
	outcome    *data.Outcome             // the teacher's on the development set
	outcomes   map[variant]*data.Outcome // of what else was measured on all of it
	trained    float64                   // seconds that the trainings took, in earlier calls, too
	measured   time.Duration             // what measuring took so far
	started    time.Time
}

// Run carries out a recipe: it trains the teacher, or takes one as it is, distills the student, prunes
// and distills again, quantizes, and measures every saved model. The report is
// written to the output directory together with the models and the recipe
// (RecipeFile).
//
// The error is an *OtherRunError where the output directory holds a run of
// another model or task, an *UnlearnedError where the teacher is no better than a
// floor, and wraps pruning.ErrTarget where no student meets the
// recipe's target, which is found out before anything is trained. It wraps
// ErrMaxDrop where no model is within the recipe's max_drop, and within the target
// if there is one; the report is then written and returned all the same.
//
// A run that is finished is not done again where nothing has changed: neither
// settings and data nor the models, the machine and the program. While it goes, no
// other run may write to the output directory: the error is a
// *checkpoints.BusyError then.
func Run(ctx context.Context, r Recipe, o Options) (*Report, error) {
	if err := r.Validate(); err != nil {
		return nil, err
	}
	if o.Threads == 0 {
		o.Threads = machine.CPUs()
	}
	ctx, release, err := checkpoints.Claim(ctx, o.Output)
	if err != nil {
		return nil, err
	}
	defer release()
	c := &run{Recipe: r, Options: o, examplesOf: map[string]*data.Dataset{}, started: time.Now()}
	if c.Instances == 0 {
		c.Instances = o.Threads
	}
	if err := c.load(); err != nil {
		return nil, err
	}
	// Before anything is trained.
	if _, _, err := c.Student.Resolve(c.teacher.Config); err != nil {
		return nil, settings.In("Student", err)
	}
	if err := c.fit(); err != nil {
		return nil, err
	}
	if err := c.checkOutput(); err != nil {
		return nil, err
	}
	if report := c.finished(); report != nil {
		progress.Logger(o.Progress).Info(o.Output + ": the run is finished, and nothing has changed since")
		return report, report.verdict()
	}
	if err := c.reachable(ctx); err != nil {
		return nil, err
	}
	if err := c.claimOutput(); err != nil {
		return nil, err
	}
	for _, stage := range []func(context.Context) error{c.makeTeacher, c.checkTeacher, c.makeStudents} {
		if err := stage(ctx); err != nil {
			c.leaveOutput()
			return nil, err
		}
	}
	report, err := c.report(ctx)
	if err != nil {
		return nil, err
	}
	report.Seconds = time.Since(c.started).Seconds()
	if err := report.Write(o.Output); err != nil {
		return nil, err
	}
	return report, report.verdict()
}

// ErrMaxDrop is returned where no compressed model is within the recipe's
// max_drop, or none that meets its target.
var ErrMaxDrop = errors.New("no model loses as little as max_drop allows")

// verdict is the error of a run whose report says that none of its models is what
// the recipe asks for.
func (r *Report) verdict() error {
	switch {
	case r.Dropped != nil && r.Target != nil:
		return fmt.Errorf("%w and meets the target of %s: %s", ErrMaxDrop, r.Target, r.Dropped)
	case r.Dropped != nil && r.Dropped.None:
		return fmt.Errorf("%w: %s", ErrMaxDrop, r.Dropped)
	}
	return nil
}

// random is a model with fresh weights and a head for the task.
func (c *run) random(cfg checkpoints.Config) (*checkpoints.Model, error) {
	cfg.Labels, cfg.Head, cfg.Sentence = nil, head.SingleLabel, nil
	m := checkpoints.InitBERT(cfg, c.Seed)
	return m, m.SetHead(c.train.Task.Kind, c.train.Task.Labels, c.Seed)
}

func (c *run) path(name string) string { return filepath.Join(c.Output, name) }

// longest is the number of tokens that inputs are cut to, and padded to by the
// baseline.
func (c *run) longest() int {
	if c.MaxLength > 0 {
		return c.MaxLength
	}
	return c.teacher.Config.MaxTokens()
}

// freshTeacher makes a model of the recipe's architecture, with a vocabulary of
// the training texts.
func (c *run) freshTeacher() (*checkpoints.Model, error) {
	a := c.Architecture
	if a.AttentionHeads < 1 || a.HiddenSize%a.AttentionHeads != 0 {
		return nil, settings.Errorf("Architecture", "hidden_size %d is no multiple of attention_heads %d", a.HiddenSize, a.AttentionHeads)
	}
	vocab := tokenize.BuildVocab(c.train.Texts(), a.VocabSize)
	tokenizer, err := tokenize.NewWordPiece(vocab, true)
	if err != nil {
		return nil, err
	}
	cfg := checkpoints.Config{
		ModelType: "bert", VocabSize: tokenizer.VocabSize(), MaxPositions: max(c.MaxLength, 64), TypeVocabSize: 2,
		HiddenSize: a.HiddenSize, HeadDim: a.HiddenSize / a.AttentionHeads,
		Activation: "gelu", LayerNormEps: 1e-12, InitializerRange: float32(a.InitializerRange),
		Task: c.Task,
	}
	for range min(a.Layers, checkpoints.MaxLayers+1) {
		cfg.Layers = append(cfg.Layers, checkpoints.LayerSize{Heads: a.AttentionHeads, Intermediate: a.IntermediateSize})
	}
	if err := cfg.ValidateFresh(); err != nil {
		return nil, settings.Errorf("Architecture", "%w", err)
	}
	m := checkpoints.InitBERT(cfg, c.Seed)
	setEmbeddings(m, a.EmbeddingRange)
	m.Tokenizer = tokenizer.Files()
	return m, m.SetHead(c.train.Task.Kind, c.train.Task.Labels, c.Seed)
}

// setEmbeddings gives fresh embeddings the standard deviation sd. Positions
// begin as the sinusoids of Vaswani et al. (arXiv 1706.03762, section 3.5), and
// are trained from there: with near positions alike, a small model learns what
// comes before what some ten times sooner than from random ones.
func setEmbeddings(m *checkpoints.Model, sd float64) {
	words, positions := checkpoints.WordEmbeddings.Part().Weight(), checkpoints.PositionEmbeddings.Part().Weight()
	w := m.Tensors[words]
	values := slices.Clone(w.Float32s())
	for i := range values {
		values[i] *= float32(sd) / m.Config.InitializerRange
	}
	m.Tensors[words] = checkpoints.NewTensor(w.Shape, values)

	p := m.Tensors[positions]
	width := m.Config.HiddenSize
	values = make([]float32, len(p.Float32s()))
	for i := range values {
		position, column := i/width, i%width
		angle := float64(position) * exact.Pow(10000, -float64(column&^1)/float64(width))
		wave := exact.Sin(angle)
		if column%2 == 1 {
			wave = exact.Cos(angle)
		}
		values[i] = float32(sd * math.Sqrt2 * wave)
	}
	m.Tensors[positions] = checkpoints.NewTensor(p.Shape, values)
}

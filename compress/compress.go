// Package compress chains the stages of Skive into a recipe, from a teacher to an int8 engine,
// and measures every step: FastFormers (arXiv 2010.13382) in one process.
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

// Options say how a recipe is run. They do not change the models that it makes.
type Options struct {
	// Output is the directory for the models and the report. It must be empty, missing, or that
	// of an earlier run with the same model and task. A finished stage of that run is kept if its
	// inputs and settings have not changed, and an interrupted one continues from its last saved
	// state. A stage that has changed replaces the old one, which stays beside it (NAME.previous)
	// and is used again if the change is undone.
	Output string
	// Threads is the number of threads; 0 means one for each processor.
	Threads int
	// Progress, if not nil, is told how the work comes along.
	Progress progress.Reporter
	// Force continues with a teacher that has not learned its task, see UnlearnedError.
	Force bool
}

// run is a recipe while it runs.
type run struct {
	Recipe
	Options
	train, dev *data.Dataset
	test       *data.Dataset // nil if the recipe has none
	unlabeled  []data.Example
	heldOut    *HeldOut                 // nil if the development set is a file or generated
	notes      []string                 // what was chosen because of data and model, for people
	examplesOf map[string]*data.Dataset // data sets of distillations, by their augmentation
	teacher    *checkpoints.Model
	inputs     string // see Report.Inputs
	made       bool   // the output directory did not exist before
	continued  bool   // there was an earlier run
	steps      []step
	dropped    *Dropped
	target     *Target
	anew       bool // the last stage was run, not kept from before
	trials     []Trial
	floors     []Floor
	outcome    *data.Outcome             // of the teacher on the development set
	outcomes   map[variant]*data.Outcome // of everything else that was measured on all of it
	trained    float64                   // seconds for training, including earlier calls
	measured   time.Duration             // time for measuring so far
	started    time.Time
}

// Run runs a recipe. It trains the teacher, or takes one as it is, distills the student, prunes
// and distills again, quantizes, and measures every saved model. It writes the report to the
// output directory, with the models and the recipe (RecipeFile).
//
// Run returns an *OtherRunError if the output directory holds a run of another model or task. It
// returns an *UnlearnedError if the teacher is no better than a floor. The error wraps
// pruning.ErrTarget if no student can meet the recipe's target, which Run checks before it trains
// anything. It wraps ErrMaxDrop if no model loses as little as the recipe's max_drop allows, or
// none that also meets the target. In this case Run still writes and returns the report.
//
// A finished run is not repeated as long as nothing has changed: settings, data, models, machine
// and program. While a run is in progress, no other run may write to its output directory; the
// error is then a *checkpoints.BusyError.
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
	// This is checked before anything is trained.
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

// ErrMaxDrop is returned if no compressed model loses as little as the recipe's max_drop allows,
// or none that also meets its target.
var ErrMaxDrop = errors.New("no model loses as little as max_drop allows")

// verdict returns the error of a run whose report says that no model is what the recipe asks for.
func (r *Report) verdict() error {
	switch {
	case r.Dropped != nil && r.Target != nil:
		return fmt.Errorf("%w and meets the target of %s: %s", ErrMaxDrop, r.Target, r.Dropped)
	case r.Dropped != nil && r.Dropped.None:
		return fmt.Errorf("%w: %s", ErrMaxDrop, r.Dropped)
	}
	return nil
}

// random returns a model with random weights and a head for the task.
func (c *run) random(cfg checkpoints.Config) (*checkpoints.Model, error) {
	cfg.Labels, cfg.Head, cfg.Sentence = nil, head.SingleLabel, nil
	m := checkpoints.InitBERT(cfg, c.Seed)
	return m, m.SetHead(c.train.Task.Kind, c.train.Task.Labels, c.Seed)
}

func (c *run) path(name string) string { return filepath.Join(c.Output, name) }

// longest returns the number of tokens to which inputs are cut, and to which the baseline pads
// them.
func (c *run) longest() int {
	if c.MaxLength > 0 {
		return c.MaxLength
	}
	return c.teacher.Config.MaxTokens()
}

// freshTeacher makes a model with the recipe's architecture and a vocabulary from the training
// texts.
func (c *run) freshTeacher() (*checkpoints.Model, error) {
	a := c.Architecture
	if a.AttentionHeads < 1 || a.HiddenSize%a.AttentionHeads != 0 {
		return nil, settings.Errorf("Architecture", "hidden_size %d is not a multiple of attention_heads %d", a.HiddenSize, a.AttentionHeads)
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

// setEmbeddings draws new embeddings with the standard deviation sd. Positions start as the
// sinusoids of Vaswani et al. (arXiv 1706.03762, section 3.5) and are then trained. Near
// positions are alike there, so a small model learns which word comes before another about ten
// times sooner than from random positions.
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

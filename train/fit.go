package train

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/skive-ml/skive/autograd"
	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/evaluate"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/interrupt"
	"github.com/skive-ml/skive/internal/machine"
	"github.com/skive-ml/skive/internal/progress"
	"github.com/skive-ml/skive/quantize"
	"github.com/skive-ml/skive/settings"
)

// Objective is what a run minimizes: a function of trainable tensors that
// computes its losses and their gradients for a batch. Compile makes one of a graph.
//
// The run writes to Parameter.Weights, and evaluates and saves Setup.Model: the two must be
// the same memory. A graph copies the weights that it is built from; layers.Store, which
// Compile calls, makes the model's tensors those of the graph.
type Objective interface {
	// Parameters lists the trainable tensors in a fixed order. Those of the
	// model are views of its tensors (see above), under their names; others (projections
	// of distillation, say) are saved in the training state but not in the
	// model.
	Parameters() []Parameter
	// Step computes the losses of a batch and fills the gradients of all
	// parameters. number, from 1, keys the dropout masks, so that a step can be
	// repeated exactly. The loss is the weighted sum that is minimized; parts
	// are its terms by name, before weighting.
	Step(number int, b *data.Batch) (loss float64, parts map[string]float64, err error)
	// Weights returns what each of the batches that are accumulated into one
	// step counts for: what the mean in its loss divides by, its sequences,
	// labels or tokens, which makes them equal to one large batch. It is called
	// before the batches' own steps, of which number is the first.
	Weights(number int, batches []data.Batch) []float64
	// Close releases what the objective holds.
	Close() error
}

// Parameter is a trainable tensor. Weights and Gradient have equal lengths and
// stay at the same place for the whole run. Weights and biases are told apart
// by name, see Options.WeightDecay.
type Parameter struct {
	Name              string
	Weights, Gradient []float32
}

// Setup is what an objective is built from.
type Setup struct {
	// Model is the model under training: f32 weights, which the run changes in
	// place. Dropout probabilities are those of the run.
	Model *checkpoints.Model
	// Train is the training set in tokens, cut to the run's maximum length.
	Train *data.Encoded
	// Workers do the work of the run's threads.
	Workers *autograd.Workers
	// Options of the run, and the number of its steps.
	Options Options
	Steps   int
}

// StepOf returns the optimizer step, from 1, to which Step of an objective
// belongs by its number: batches that are accumulated have numbers of their own.
func (s Setup) StepOf(number int) int { return (number-1)/max(1, s.Options.Accumulate) + 1 }

// Problem describes a run to Fit.
type Problem struct {
	// Build makes the objective.
	Build func(Setup) (Objective, error)
	// Settings are further settings that decide the result: they are written
	// to the provenance, and resuming under other ones is an error.
	Settings map[string]string
	// Unlabeled says that the objective does not read labels, so that training
	// examples may lack them.
	Unlabeled bool
	// Headless trains the encoder alone: the model is not given a classifier.
	Headless bool
	// Weighted says that the objective honours Options.ClassWeights and
	// Options.LabelSmoothing. Without it, setting them is an error.
	Weighted bool
	// Rescaled says that the scale of the losses changes from step to step, so that
	// the last ones are not to be compared with the first, see Result.Diverged.
	Rescaled bool

	supervised bool // the objective is Run's
}

// Evaluation is a measurement on the development set.
type Evaluation struct {
	// Step is the number of optimizer steps done, Epoch the passes over the
	// training set.
	Step  int     `json:"step" msgpack:"step"`
	Epoch float64 `json:"epoch" msgpack:"epoch"`
	// Metrics holds the task's metrics and "loss", as Evaluate gives them.
	Metrics map[string]float64 `json:"metrics" msgpack:"metrics"`
}

// Result tells how a run went.
type Result struct {
	// Metric is the name of the task's main metric, by which Best is chosen.
	Metric string
	// Assumed is what evaluate.Assumed says of the model and the training set.
	Assumed string
	// Best is the evaluation of the returned model. It has no metrics where
	// there is no development set.
	Best Evaluation
	// Evaluations and History are all evaluations and steps, those before a
	// resumption included.
	Evaluations []Evaluation
	History     []Record
	// Steps is the number of steps of the whole run, Resumed how many of them
	// were done by earlier processes, Tokens how many tokens were trained on.
	Steps, Resumed int
	Tokens         int64
	// Early says that the run ended for want of improvement, see
	// Options.Patience.
	Early bool
	// Diverged says that the losses, though finite, ended far above what they began
	// with, and in Run also above those of a model that guesses: the learning rate
	// was too high. Best is then what came before, or nothing good.
	Diverged bool
	// Seconds is the time spent, earlier processes included.
	Seconds float64
}

// fit is a run under way.
type fit struct {
	o         Options
	problem   Problem
	model     *checkpoints.Model // under training
	config    checkpoints.Config // the model's, without the run's dropout
	task      data.Task
	train     *data.Encoded
	dev       *data.Encoded
	settings  map[string]string
	batches   data.BatchOptions
	total     int
	objective Objective
	optimizer *optimizer
	log       *stepLog
	events    *eventLog
	profiler  *profiler
	bar       *progress.Bar
	result    *Result
	best      map[string][]float32 // weights of the best model, without an output directory
	before    float64              // seconds spent by earlier processes
	started   time.Time
	saved     int    // step of the state on disk, -1 for none
	checksum  string // of the best model, at the end
	guess     float64
}

// Fit trains a copy of model by the problem's objective and returns the best
// model on the development set (the last one where devSet is nil). See Run for
// the files that it writes.
//
// A cancelled context stops the run after the step under way, with its state
// saved where there is an output directory; the error wraps ctx.Err().
func Fit(ctx context.Context, model *checkpoints.Model, trainSet, devSet *data.Dataset, o Options, p Problem) (*checkpoints.Model, *Result, error) {
	f := &fit{o: o, problem: p, saved: -1, started: time.Now()}
	best, err := f.run(ctx, model, trainSet, devSet)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", o.stage(), err)
	}
	return best, f.result, nil
}

func (f *fit) run(ctx context.Context, model *checkpoints.Model, trainSet, devSet *data.Dataset) (best *checkpoints.Model, err error) {
	ctx, release, err := f.o.Claim(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	if err := f.o.CheckOutputs(); err != nil {
		return nil, err
	}
	if trainSet, devSet, err = f.prepare(model, trainSet, devSet); err != nil {
		return nil, err
	}
	var state *savedState
	if f.o.Resume {
		if state, err = f.readState(); err != nil {
			return nil, err
		}
		if state == nil {
			err = checkpoints.CheckFree(f.o.Output)
		} else if state.header.Finished || len(state.header.Evaluations) > 0 {
			best, err = f.earlier(state)
		}
		if err != nil || best != nil {
			return best, err
		}
	}
	if err := f.encode(trainSet, devSet); err != nil {
		return nil, err
	}
	if err := f.calibrate(ctx); err != nil {
		return nil, err
	}
	threads := f.o.Threads
	if threads == 0 {
		threads = machine.CPUs()
	}
	workers := autograd.NewWorkers(threads)
	defer workers.Close()
	f.objective, err = f.problem.Build(Setup{Model: f.model, Train: f.train, Workers: workers, Options: f.o, Steps: f.total})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.objective.Close()) }()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	parameters := parametersOf(f.objective)
	done := 0
	if state != nil {
		done = state.header.Step
	}
	f.bar = progress.New(f.o.Progress, f.o.stage(), done, f.total)
	defer f.bar.Finish("stopped")
	if err := f.fits(parameters); err != nil {
		return nil, err
	}
	f.optimizer = newOptimizer(workers, parameters, &f.o)
	if state != nil {
		if err := f.restore(state); err != nil {
			return nil, err
		}
	} else if err := f.removeState(); err != nil {
		return nil, err
	}
	f.result.Resumed = done
	if f.log, err = openLog(f.o.Log, done); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.log.close()) }()
	if f.events, err = openEvents(f.o.TensorBoard, done); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.events.close()) }()
	f.profiler = newProfiler(f.o.OnProfile)
	defer interrupt.Hold(ctx)()
	if done, err = f.loop(ctx, done); err != nil {
		return nil, err
	}
	return f.conclude(done)
}

func parametersOf(o Objective) []*parameter {
	var all []*parameter
	for _, p := range o.Parameters() {
		all = append(all, &parameter{name: p.Name, weights: p.Weights, computed: p.Gradient})
	}
	return all
}

// checkArguments reports options that the model, the objective or the sets do not
// go with.
func (f *fit) checkArguments(model *checkpoints.Model, trainSet, devSet *data.Dataset) error {
	o := &f.o
	if err := o.Validate(); err != nil {
		return err
	}
	switch most := model.Config.MaxTokens(); {
	case o.MaxLength > most:
		return settings.Wrong("MaxLength", o.MaxLength, "at most the model's %d positions", most)
	case !f.problem.Weighted && len(o.ClassWeights) > 0:
		return settings.Wrong("ClassWeights", o.ClassWeights, "none: this objective has no cross-entropy with labels of its own")
	case !f.problem.Weighted && o.LabelSmoothing > 0:
		return settings.Wrong("LabelSmoothing", o.LabelSmoothing, "0: this objective has no cross-entropy with labels of its own")
	case o.Patience > 0 && devSet == nil:
		return settings.Wrong("Patience", o.Patience, "a development set to stop by")
	case trainSet == nil || len(trainSet.Examples) == 0:
		return fmt.Errorf("training set: %w", data.ErrEmpty)
	case devSet != nil && len(devSet.Examples) == 0:
		return fmt.Errorf("development set: %w", data.ErrEmpty)
	}
	return nil
}

// prepare checks the arguments and makes the model that is trained. It returns the
// sets with the labels of that model.
func (f *fit) prepare(model *checkpoints.Model, trainSet, devSet *data.Dataset) (_, _ *data.Dataset, err error) {
	o := &f.o
	if err := f.checkArguments(model, trainSet, devSet); err != nil {
		return nil, nil, err
	}
	if o.BatchSize == 0 && o.BatchTokens == 0 {
		o.BatchSize = DefaultBatchSize
	}
	assumed := evaluate.Assumed(model.Config, trainSet)
	work, err := trainable(model, trainSet.Task, o.Seed, f.problem.Headless)
	if err != nil {
		return nil, nil, err
	}
	if o.QuantizeEmbeddings && work.Config.Head.Outputs() == head.Tokens && !f.problem.Headless {
		return nil, nil, settings.Wrong("QuantizeEmbeddings", true, "false: they are the weights of a masked language model's head, which is not quantized")
	}
	if o.QuantizeAware != quantize.Static {
		work.DeleteInputScales()
	}
	pairs := work.Config.Pairs
	work.Config.Pairs = false // as long as the training set has not said
	if trainSet, err = evaluate.Relabel("training", trainSet, work.Config, !f.problem.Unlabeled); err != nil {
		return nil, nil, err
	}
	if work.Config.Pairs = pairs; !f.problem.Headless {
		work.Config.Pairs = evaluate.ReadsPairs(work.Config, trainSet)
	}
	if !f.problem.Unlabeled {
		if err := twoClasses(trainSet); err != nil {
			return nil, nil, err
		}
	}
	if devSet != nil {
		if devSet, err = evaluate.Relabel("development", devSet, work.Config, true); err != nil {
			return nil, nil, err
		}
	}
	if n := len(o.ClassWeights); n > 0 && n != len(work.Config.Labels) {
		return nil, nil, settings.Wrong("ClassWeights", o.ClassWeights, "one for each of the %d labels (%s)", len(work.Config.Labels), data.ListLabels(work.Config.Labels))
	}
	if err := evaluate.CheckVocabulary(work); err != nil {
		return nil, nil, err
	}
	f.settings = o.Settings().Record()
	maps.Copy(f.settings, f.problem.Settings)
	f.settings["task"] = trainSet.Task.Name
	f.settings["model-checksum"] = Checksum(work)
	f.settings["train-checksum"] = DataChecksum(trainSet)
	if devSet != nil {
		f.settings["dev-checksum"] = DataChecksum(devSet)
	}
	f.config = work.Config.Clone()
	f.config.Task = trainSet.Task.Name
	if o.Dropout != nil {
		p := float32(*o.Dropout)
		work.Config.HiddenDropout, work.Config.AttentionDropout, work.Config.ClassifierDropout = p, p, p
	}
	f.model, f.task = work, trainSet.Task
	f.result = &Result{Metric: evaluate.MainMetric(f.task), Assumed: assumed}
	if guess := losses[f.task.Kind].guess; f.problem.supervised && guess != nil {
		f.guess = guess(trainSet, f.config)
	}
	return trainSet, devSet, nil
}

func (f *fit) encode(trainSet, devSet *data.Dataset) (err error) {
	if f.train, err = evaluate.Encode(f.model, trainSet, f.o.MaxLength); err != nil {
		return fmt.Errorf("training set: %w", err)
	}
	if devSet != nil {
		if f.dev, err = evaluate.Encode(f.model, devSet, f.o.MaxLength); err != nil {
			return fmt.Errorf("development set: %w", err)
		}
	}
	f.batches = data.BatchOptions{
		Examples: f.o.BatchSize, Tokens: f.o.BatchTokens, Shuffle: !f.o.NoShuffle, Seed: f.o.Seed,
	}
	if f.total = f.o.Steps; f.total == 0 {
		for epoch := range f.o.Epochs {
			f.total += steps(len(data.Batches(f.train, f.batches, epoch)), f.o.Accumulate)
		}
	}
	return nil
}

// loop runs the steps after done and returns the number of those done in all.
// Whatever is due after a step is done at the head of the next round, so that a
// resumed run catches up with what its predecessor was stopped before.
func (f *fit) loop(ctx context.Context, done int) (int, error) {
	warmup := warmupSteps(f.o.Warmup, f.total)
	cursor := newCursor(f.train, f.batches, f.o.Accumulate, done)
	batches := make([]data.Batch, max(1, f.o.Accumulate))
	var smooth meter
	smooth.start(time.Now())
	for {
		epochEnd := cursor.atEpochEnd()
		evaluation := f.dev != nil && done > 0 && f.lastEvaluated() != done &&
			(due(done, f.o.EvalEvery, epochEnd) || done == f.total)
		saving := done > 0 && f.saved != done && done < f.total &&
			(due(done, f.o.SaveEvery, epochEnd) || ctx.Err() != nil)
		if evaluation || saving || done == f.total {
			if v := f.optimizer.weightNorm(); math.IsNaN(v) || math.IsInf(v, 0) {
				return done, &DivergedError{done, "weight norm", v}
			}
		}
		if evaluation {
			err := f.evaluate(ctx, done, cursor.epochs())
			if err != nil && ctx.Err() == nil {
				return done, err
			}
			smooth.pause(time.Now())
		}
		stopped := ctx.Err()
		if stopped == nil && f.exhausted() {
			f.result.Early = true
			return done, nil
		}
		if saving || stopped != nil && done > 0 && f.saved != done && done < f.total {
			if err := f.save(done, false); err != nil {
				return done, errors.Join(stopped, err)
			}
			smooth.pause(time.Now())
		}
		if stopped != nil {
			if f.o.Output != "" && done > 0 {
				return done, fmt.Errorf("stopped after step %d of %d, state saved in %s: %w", done, f.total, f.statePath(), stopped)
			}
			return done, fmt.Errorf("stopped after step %d of %d: %w", done, f.total, stopped)
		}
		if done == f.total {
			return done, nil
		}
		done++
		f.profiler.begin(done, f.objective)
		examples := cursor.next()
		for i, some := range examples {
			f.train.Fill(&batches[i], some)
		}
		record, err := f.step(done, f.o.LearningRate*f.o.Schedule.Rate(done-1, warmup, f.total), batches[:len(examples)])
		if err != nil {
			return done, err
		}
		f.bar.Set(done, smooth.note(time.Now(), record))
	}
}

// step does one optimizer step.
func (f *fit) step(number int, rate float64, batches []data.Batch) (Record, error) {
	loss, parts, err := f.gradients(number, batches)
	if err != nil {
		return Record{}, fmt.Errorf("step %d: %w", number, err)
	}
	if math.IsNaN(loss) || math.IsInf(loss, 0) {
		return Record{}, &DivergedError{number, "loss", loss}
	}
	started := time.Now()
	norm := f.optimizer.gradNorm()
	if math.IsNaN(norm) || math.IsInf(norm, 0) {
		return Record{}, &DivergedError{number, "gradient norm", norm}
	}
	f.optimizer.step(number, rate, norm)
	f.profiler.optimizer(started)
	r := Record{Step: number, Loss: loss, Losses: parts, LR: rate, GradNorm: norm}
	sequences := 0
	for i := range batches {
		sequences += batches[i].Sequences()
		r.Tokens += batches[i].Tokens()
	}
	f.profiler.end(sequences, r.Tokens)
	f.result.History = append(f.result.History, r)
	f.result.Tokens += int64(r.Tokens)
	if err := f.log.write(r); err != nil {
		return Record{}, err
	}
	if err := f.events.step(r); err != nil {
		return Record{}, err
	}
	if f.o.OnStep != nil {
		f.o.OnStep(r)
	}
	return r, nil
}

// gradients computes the losses of a step and their gradients: those of one
// batch, or the weighted mean of those of several.
func (f *fit) gradients(number int, batches []data.Batch) (float64, map[string]float64, error) {
	if f.o.Accumulate <= 1 {
		return f.objective.Step(number, &batches[0])
	}
	// Each batch has dropout masks of its own.
	first := (number-1)*f.o.Accumulate + 1
	weights := f.objective.Weights(first, batches)
	var all, loss float64
	for _, w := range weights {
		all += w
	}
	parts := make(map[string]float64)
	for i := range batches {
		share := 0.0
		if all > 0 {
			share = weights[i] / all
		}
		l, p, err := f.objective.Step(first+i, &batches[i])
		if err != nil {
			return 0, nil, err
		}
		loss += share * l
		for name, v := range p {
			parts[name] += share * v
		}
		f.optimizer.accumulate(float32(share), i == 0)
	}
	return loss, parts, nil
}

// exhausted tells whether the last evaluations, as many as the run's patience,
// brought no better model.
func (f *fit) exhausted() bool {
	since := 0
	for _, e := range f.result.Evaluations {
		if e.Step > f.result.Best.Step {
			since++
		}
	}
	return f.o.Patience > 0 && since >= f.o.Patience
}

func (f *fit) lastEvaluated() int {
	if n := len(f.result.Evaluations); n > 0 {
		return f.result.Evaluations[n-1].Step
	}
	return 0
}

// evaluate measures the model on the development set and keeps it if it is the
// best so far. Of equals, the earlier stays.
func (f *fit) evaluate(ctx context.Context, step int, epoch float64) error {
	if err := f.begin(step); err != nil {
		return err
	}
	if err := errors.Join(f.log.flush(), f.events.flush()); err != nil {
		return err
	}
	served, err := f.served()
	if err != nil {
		return fmt.Errorf("evaluation after step %d: %w", step, err)
	}
	var metrics map[string]float64
	outcome, err := evaluate.Encoded(ctx, served, f.dev, infer.Options{Threads: f.o.Threads})
	if err == nil {
		metrics, err = evaluate.Metrics(outcome)
	}
	var number *infer.NotFiniteError
	if errors.As(err, &number) {
		return &DivergedError{step, "development loss", math.NaN()}
	}
	if err != nil {
		return fmt.Errorf("evaluation after step %d: %w", step, err)
	}
	if loss := metrics["loss"]; math.IsNaN(loss) || math.IsInf(loss, 0) {
		return &DivergedError{step, "development loss", loss}
	}
	e := Evaluation{Step: step, Epoch: epoch, Metrics: metrics}
	f.result.Evaluations = append(f.result.Evaluations, e)
	if err := f.events.evaluation(e); err != nil {
		return err
	}
	name := f.result.Metric
	f.bar.Print(fmt.Sprintf("%s: step %d: dev %s %.4f, loss %.4f", f.o.stage(), step, name, metrics[name], metrics["loss"]))
	if f.result.Best.Metrics == nil || evaluate.Better(name, metrics[name], f.result.Best.Metrics[name]) {
		f.result.Best = e
		if err := f.keepBest(); err != nil {
			return err
		}
	}
	if f.o.OnEvaluation != nil {
		f.o.OnEvaluation(e)
	}
	return nil
}

// keepBest saves the model as it is now: to the output directory, or in memory
// where there is none.
func (f *fit) keepBest() error {
	if f.o.Output != "" {
		return f.publish().SaveHF(f.o.Output)
	}
	if f.best == nil {
		f.best = make(map[string][]float32)
	}
	for name, t := range f.model.Tensors {
		f.best[name] = append(f.best[name][:0], t.Float32s()...)
	}
	return nil
}

// publish is the model with the record of this run, sharing the weights.
func (f *fit) publish() *checkpoints.Model {
	m := *f.model
	m.Config = f.config.Clone()
	measured := map[string]float64{
		"steps":   float64(len(f.result.History)),
		"tokens":  float64(f.result.Tokens),
		"seconds": f.seconds(),
	}
	for name, v := range f.result.Best.Metrics {
		measured["dev_"+name] = v
	}
	m.Provenance = append(m.Provenance[:len(m.Provenance):len(m.Provenance)], checkpoints.Stage{
		Name: f.o.stage(), Version: checkpoints.Version, Time: time.Now().UTC(), Settings: f.settings, Measured: measured,
	})
	return &m
}

func (f *fit) seconds() float64 { return f.before + time.Since(f.started).Seconds() }

// conclude makes the result of a run that is complete after done steps.
func (f *fit) conclude(done int) (*checkpoints.Model, error) {
	f.result.Steps = done
	f.result.Seconds = f.seconds()
	if f.result.Best.Metrics == nil {
		f.result.Best = Evaluation{Step: done}
		if f.o.Output != "" {
			if err := errors.Join(f.begin(done), f.keepBest()); err != nil {
				return nil, err
			}
		}
	}
	note := ""
	if n := len(f.result.History); n > 0 {
		note = fmt.Sprintf("loss %.4f", f.result.History[n-1].Loss)
	}
	if v, ok := f.result.Best.Metrics[f.result.Metric]; ok {
		note += fmt.Sprintf(", best dev %s %.4f", f.result.Metric, v)
	}
	if f.result.Early {
		note += fmt.Sprintf(", stopped early after step %d", done)
	}
	if first, last, yes := f.diverged(); yes {
		f.result.Diverged = true
		f.bar.Print(fmt.Sprintf("%s: the run has diverged: its loss ended at %.4g and began at %.4g: lower the learning rate (lr)", f.o.stage(), last, first))
	}
	f.bar.Finish(note)
	if f.o.Output != "" {
		if f.o.KeepLast {
			if err := f.publish().SaveHF(filepath.Join(f.o.Output, LastDir)); err != nil {
				return nil, err
			}
		}
		best, err := checkpoints.Open(f.o.Output)
		if err != nil {
			return nil, err
		}
		f.checksum = Checksum(best)
		if err := f.save(done, true); err != nil {
			return nil, errors.Join(err, best.Close())
		}
		return best, nil
	}
	m := f.publish()
	for name, weights := range f.best {
		copy(f.model.Tensors[name].Float32s(), weights)
	}
	return m, nil
}

// earlier looks at the model that an earlier process has left. It is returned, and
// the result with it, where the run is finished.
func (f *fit) earlier(s *savedState) (*checkpoints.Model, error) {
	m, err := checkpoints.Open(f.o.Output)
	if err != nil {
		return nil, err
	}
	if err := f.checkModel(m, s); err != nil || !s.header.Finished {
		return nil, errors.Join(err, m.Close())
	}
	f.takeHistory(s)
	f.result.Early = f.exhausted()
	_, _, f.result.Diverged = f.diverged()
	f.result.Steps, f.result.Resumed, f.result.Seconds = s.header.Step, s.header.Step, s.header.Seconds
	return m, nil
}

// begin saves a state before the first model, so that there is no model without
// one: it could not be told from another run's.
func (f *fit) begin(step int) error {
	if f.saved >= 0 {
		return nil
	}
	return f.save(step, false)
}

func (f *fit) statePath() string { return filepath.Join(f.o.Output, StateDir, stateFile) }

func (f *fit) removeState() error {
	if f.o.Output == "" {
		return nil
	}
	if err := os.Remove(f.statePath()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// due tells whether something that happens each every steps, or at the end of
// each epoch, happens after step done.
func due(done, every int, epochEnd bool) bool {
	if every > 0 {
		return done%every == 0
	}
	return epochEnd
}

package train

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"time"

	"github.com/skive-ml/skive/autograd"
	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/evaluate"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/internal/interrupt"
	"github.com/skive-ml/skive/internal/machine"
	"github.com/skive-ml/skive/progress"
	"github.com/skive-ml/skive/quantize"
	"github.com/skive-ml/skive/settings"
)

// fit is a run in progress.
type fit struct {
	o         Options
	problem   Problem
	model     *checkpoints.Model // the model that is trained
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
	bar       progress.Task
	result    *Result
	best      map[string][]float32 // weights of the best model, without an output directory
	before    float64              // seconds that earlier processes spent
	started   time.Time
	saved     int    // step of the state on disk, or -1 without one
	checksum  string // checksum of the best model, known at the end
	guess     float64
}

// say reports an event of the run.
func (f *fit) say(level slog.Level, format string, args ...any) {
	progress.Logger(f.o.Progress).Log(context.Background(), level, f.o.stage()+": "+fmt.Sprintf(format, args...))
}

// Fit trains a copy of model with the problem's objective. It returns the model that was best on
// the development set, or the last one if devSet is nil. See Run for the files that it writes.
//
// When ctx is cancelled, the run stops after the current step, and saves its state if there is an
// output directory. The error wraps ctx.Err().
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
	name := f.o.stage()
	if f.o.Patience > 0 {
		name += " (may stop early)"
	}
	f.bar = progress.Begin(f.o.Progress, name, done, f.total)
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

// checkArguments reports options that do not fit the model, the objective or the sets.
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

// prepare checks the arguments and makes the model to be trained. It returns the sets with the
// labels of that model.
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
	work.Config.Pairs = false // overridden if the training set says otherwise
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
		work.Config.SetDropout(float32(*o.Dropout))
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

// loop runs the steps after the first done ones and returns how many are done in total. It does
// what is due after a step at the start of the next round. So a resumed run catches up on what
// the stopped run did not get to.
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

// step performs one optimizer step.
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

// gradients computes the losses of a step and their gradients: those of its only batch, or the
// weighted mean over its batches.
func (f *fit) gradients(number int, batches []data.Batch) (float64, map[string]float64, error) {
	if f.o.Accumulate <= 1 {
		return f.objective.Step(number, &batches[0])
	}
	// Each batch has its own dropout masks.
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
		loss += float64(share * l)
		for name, v := range p {
			parts[name] += float64(share * v)
		}
		f.optimizer.accumulate(float32(share), i == 0)
	}
	return loss, parts, nil
}

// due tells whether something that happens every so many steps (0: at the end of each epoch)
// happens after step done.
func due(done, every int, epochEnd bool) bool {
	if every > 0 {
		return done%every == 0
	}
	return epochEnd
}

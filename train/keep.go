package train

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/evaluate"
	"github.com/skive-ml/skive/infer"
)

// exhausted tells whether no evaluation within the run's patience brought a better model, or none
// can. A run without patience is never exhausted.
func (f *fit) exhausted() bool {
	if best := f.result.Best.Metrics; f.o.Patience > 0 && best != nil && evaluate.Perfect(f.result.Metric, best[f.result.Metric]) {
		return true
	}
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

// evaluate measures the model on the development set and keeps it if it is the best so far. Of
// equally good models, the earlier one stays.
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
	f.say(slog.LevelInfo, "step %d: dev %s %.4f, loss %.4f", step, name, metrics[name], metrics["loss"])
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

// keepBest saves the current model to the output directory, or in memory without one.
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

// publish returns the model with the record of this run. It shares the weights.
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

// conclude returns the result of a run that is complete after done steps.
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
		f.say(slog.LevelWarn, "the run has diverged: its loss went from %.4g to %.4g: lower the learning rate (lr)", first, last)
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

// earlier examines the model that an earlier process left. If the run is finished, earlier
// returns that model and the result.
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

// begin saves a state before the first model. A model without a state could not be told from the
// model of another run.
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

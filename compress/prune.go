package compress

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/distill"
	"github.com/skive-ml/skive/evaluate"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/progress"
	"github.com/skive-ml/skive/pruning"
	"github.com/skive-ml/skive/quantize"
	"github.com/skive-ml/skive/settings"
	"github.com/skive-ml/skive/train"
)

// Plan says what Prune removes from a model, and how it recovers a part of what that did. Start
// from PlanDefaults.
type Plan struct {
	// Train and Dev are the data. Each may be nil if nothing reads it.
	Train, Dev *data.Dataset
	// Vocabulary removes the sub-words that do not occur in Train and Dev.
	Vocabulary bool
	// Layers is how many whole layers are kept; 0 means all.
	Layers int
	// Heads and FFN are what each layer keeps, or with Global the mean over the layers; 0 means
	// all. Normalize belongs to Global, see pruning.SelectGlobal.
	Heads, FFN        int
	Global, Normalize bool
	// Instead of Heads and FFN, one of these decides. TargetMS is a latency in milliseconds.
	// TargetSpeedup, above 1, is how many times as fast as the model the result has to be. Family
	// lists several such factors, and each result gets a directory of its own. FLOPs is a share
	// of the operations of the model's layers, between 0 and 1.
	TargetMS, TargetSpeedup float64
	Family                  Speedups
	FLOPs                   float64
	// DType, Tokens and Activation say how latency is measured. Tokens of 0 means the mean length
	// of the data. Costs returns the directory for measured costs, see pruning.CachedCosts; it is
	// only called if that is needed.
	DType  string
	Tokens int
	Costs  func() string
	// Activation is the new feed-forward activation; "" keeps the old one.
	Activation string
	// ImportanceData is "dev" to measure importance on Dev, and "train" or "" to measure it on
	// Train. The Set of the Cut replaces both.
	ImportanceData string
	Cut
	// Scores is a file for the importance as JSON; "" writes none.
	Scores string
	// Rounds is the number of cuts on the way to Heads and FFN; 0 means one. With several,
	// Recover follows each, and nothing is rearranged or tuned.
	Rounds int
	// Recover is a distillation of the whole model into what is left; nil leaves it out. Of its
	// settings for files, only Log and TensorBoard count.
	Recover *distill.Options

	// Output is the directory for the model. It also keeps results that took long, so with Resume
	// a stopped plan continues where it was. Without Resume and Overwrite, the output must be
	// free, see CheckPruned.
	Output            string
	Resume, Overwrite bool
	// Threads is the number of threads; 0 means one for each processor.
	Threads int
	// Progress, if not nil, is told how the work comes along.
	Progress progress.Reporter
}

// Pruned is a model that Prune wrote.
type Pruned struct {
	Output     string  `json:"output"`
	Parameters int64   `json:"parameters"`
	Bytes      int64   `json:"bytes"`
	Before     int64   `json:"parameters_before"`
	MS         float64 `json:"latency_ms,omitempty"`
	MSBefore   float64 `json:"latency_ms_before,omitempty"`
	// Clock is the clock of these times.
	Clock string `json:"latency_clock,omitempty"`
	// What was asked for. If the latency is measured, one of these is not 0.
	TargetMS      float64 `json:"target_ms,omitempty"`
	TargetSpeedup float64 `json:"target_speedup,omitempty"`
}

// Target returns what was asked for in one phrase.
func (p Pruned) Target() string {
	return pruning.Target{Milliseconds: p.TargetMS, Speedup: p.TargetSpeedup}.String()
}

// WritePruned writes for people how large the models are, one per line.
func WritePruned(w io.Writer, models ...Pruned) error {
	for _, p := range models {
		latency := ""
		if p.MS > 0 {
			latency = fmt.Sprintf("; target %s, measured %.3g ms of the %s, %.2f times as fast", p.Target(), p.MS, p.Clock, p.MSBefore/p.MS)
		}
		before := fmt.Sprintf(" of %d", p.Before)
		if p.Parameters > p.Before {
			before = fmt.Sprintf(", %d before it was filled up with zeros", p.Before)
		}
		if _, err := fmt.Fprintf(w, "%d parameters%s, %d bytes%s; written: %s\n", p.Parameters, before, p.Bytes, latency, p.Output); err != nil {
			return err
		}
	}
	return nil
}

// Files of a plan in progress, in the directory train.StateDir of an output.
const (
	layersFile  = "layers" + checkpoints.Extension // the model after layers were dropped
	rankingFile = "ranking"                        // the importance of heads and units
	cutFile     = "cut" + checkpoints.Extension    // the model before its recovery
)

// pruner is a plan in progress.
type pruner struct {
	Plan
	whole    *checkpoints.Model // the model that Tune and Recover compare with
	before   int64              // parameters of the original model
	targets  []pruning.Target   // one for each model; none if latency does not decide
	settings map[string]string  // everything that affects the result

	// The following fields are shared by the members of a family. The first member that needs
	// them makes them.
	start     *checkpoints.Model
	ranked    *ranking
	costs     *pruning.Costs
	measuring pruning.MeasureOptions
}

// CheckPruned reports what an earlier plan left in the output directory, as a
// *checkpoints.ExistsError. members are the names in a family, if it is one.
func CheckPruned(dir string, members ...string) error {
	begun := ""
	for _, name := range []string{layersFile, rankingFile, cutFile} {
		if exists(filepath.Join(dir, train.StateDir, name)) {
			begun = "an unfinished pruning is there"
		}
	}
	if exists(filepath.Join(dir, roundDir(1), train.StateDir, cutFile)) {
		begun = "an unfinished pruning in rounds is there"
	}
	var first error
	free := 0
	for _, name := range members {
		err := CheckPruned(filepath.Join(dir, name))
		var there *checkpoints.ExistsError
		switch {
		case err == nil:
			free++
		case !errors.As(err, &there):
			return err
		case there.Resumable:
			begun = "an unfinished family is there"
		}
		first = cmp.Or(first, err)
	}
	if first != nil && free > 0 {
		begun = "a part of a family is there"
	}
	err := first
	if len(members) == 0 {
		err = distill.CheckOutput(dir)
	}
	var there *checkpoints.ExistsError
	if begun == "" || errors.As(err, &there) && len(members) == 0 {
		return err
	}
	return &checkpoints.ExistsError{Path: dir, What: begun, Resumable: true}
}

// Members returns the names of the models of a family in the output directory, and nil for a plan
// with one model.
func (p *Plan) Members() []string {
	var names []string
	for _, factor := range p.Family {
		names = append(names, fmt.Sprintf("%gx", factor))
	}
	return names
}

// Prune runs a plan and returns the models that it wrote: one for each target, or just one. It
// writes a model as soon as it is made, since the next one may take hours. If a target cannot be
// reached, the error wraps pruning.ErrTarget; Prune finds this out before it measures importance.
// First of all it checks that the model does not give NaN or infinity.
func Prune(ctx context.Context, m *checkpoints.Model, p Plan) ([]Pruned, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	if err := notQuantized(m); err != nil {
		return nil, settings.Errorf("Model", "%w", err)
	}
	if err := pruning.CheckSizes(m.Config, p.Heads, p.FFN); err != nil {
		return nil, err
	}
	if err := p.chooseSet(); err != nil {
		return nil, err
	}
	ctx, release, err := checkpoints.Claim(ctx, p.Output)
	if err != nil {
		return nil, err
	}
	defer release()
	if !p.Resume && !p.Overwrite {
		if err := CheckPruned(p.Output, p.Members()...); err != nil {
			return nil, err
		}
	}
	if err := p.tryScores(); err != nil {
		return nil, err
	}
	if err := try(m, p.Threads); err != nil {
		return nil, err
	}
	r := &pruner{Plan: p, whole: m, before: m.Parameters()}
	r.Importance.Threads, r.Importance.Progress = p.Threads, p.Progress
	r.decide(m)
	if p.Vocabulary {
		if r.whole, err = pruning.Vocabulary(m, r.texts); err != nil {
			return nil, err
		}
	}
	if p.Rounds > 1 {
		return r.iterate(ctx)
	}
	switch {
	case p.TargetMS != 0:
		r.targets = []pruning.Target{{Milliseconds: p.TargetMS}}
	case p.TargetSpeedup != 0:
		r.targets = []pruning.Target{{Speedup: p.TargetSpeedup}}
	}
	for _, factor := range p.Family {
		r.targets = append(r.targets, pruning.Target{Speedup: factor})
	}
	return r.each(ctx)
}

// chooseSet chooses the data on which importance is measured, and reports what is missing.
func (p *Plan) chooseSet() error {
	if p.Set == nil {
		if p.Set = p.Train; p.ImportanceData == "dev" {
			p.Set = p.Dev
		}
	}
	switch {
	case p.Set == nil && p.readsExamples():
		return settings.Errorf("Set", "none, expected the examples on which importance is measured")
	case p.Train == nil && p.Recover != nil:
		return settings.Errorf("Train", "none, expected the examples for the recovery")
	}
	return nil
}

// tryScores reports a file of scores that cannot be written or that would be replaced.
func (p *Plan) tryScores() error {
	if p.Scores == "" {
		return nil
	}
	err := checkpoints.TryFile(p.Scores)
	if err == nil && !p.Resume && !p.Overwrite {
		err = checkpoints.CheckFree(p.Scores)
	}
	if err != nil {
		return settings.Errorf("Scores", "%w", err)
	}
	return nil
}

// notQuantized reports an int8 model.
func notQuantized(m *checkpoints.Model) error {
	if !m.Quantized() {
		return nil
	}
	return fmt.Errorf("%s is int8, expected the f32, f16 or bf16 model that it was quantized from", cmp.Or(m.Path(), "the model"))
}

// decide notes everything that affects the result.
func (r *pruner) decide(m *checkpoints.Model) {
	r.settings = r.Settings().Record()
	r.settings["model-checksum"] = train.Checksum(m)
	for name, ds := range map[string]*data.Dataset{"importance-data": r.Set, "train": r.Train, "dev": r.Dev} {
		if ds != nil {
			r.settings[name+"-checksum"] = train.DataChecksum(ds)
		}
	}
}

// of returns the settings of one of the models: that of a target, or of a round.
func (r *pruner) of(name, value string) map[string]string {
	all := maps.Clone(r.settings)
	if value != "" {
		all[name] = value
	}
	return all
}

// texts yields the texts of the data.
func (r *pruner) texts(yield func(string) bool) {
	for _, set := range []*data.Dataset{r.Train, r.Dev} {
		if set == nil {
			continue
		}
		for text := range set.Texts() {
			if !yield(text) {
				return
			}
		}
	}
}

// state returns the path of a file in the state of a model in progress.
func (r *pruner) state(model, name string) string {
	return filepath.Join(r.Output, model, train.StateDir, name)
}

// earlier returns the model that an earlier run of the same plan left at path, or nil. A model of
// another plan is a *train.SettingsError.
func (r *pruner) earlier(path string, settings map[string]string) (*checkpoints.Model, checkpoints.Stage, error) {
	if !r.Resume || checkpoints.CheckFree(path) == nil {
		return nil, checkpoints.Stage{}, nil
	}
	m, made, err := earlierCut(path, settings)
	if m != nil || err != nil {
		return m, made, err
	}
	names := maps.Clone(made.Settings)
	if names == nil {
		names = map[string]string{}
	}
	maps.Copy(names, settings)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if was, is := made.Settings[name], settings[name]; was != is {
			return nil, made, &train.SettingsError{Path: path, Setting: name, Saved: was, Given: is}
		}
	}
	return nil, made, nil
}

// each makes and saves the models.
func (r *pruner) each(ctx context.Context) ([]Pruned, error) {
	models := r.Members()
	if len(models) == 0 {
		models = []string{""}
	}
	all := make([]Pruned, len(models))
	for i, name := range models {
		var err error
		if all[i], err = r.cut(ctx, i, name); err != nil {
			return nil, err
		}
	}
	if r.Recover != nil {
		for i, name := range models {
			cut, err := checkpoints.Open(r.state(name, cutFile))
			if err != nil {
				return nil, err
			}
			o := r.recovery(name)
			o.Output = all[i].Output
			m, _, err := distill.Run(ctx, r.whole, cut, r.Train, r.Dev, o)
			cut.Close()
			if err != nil {
				return nil, err
			}
			all[i].Parameters, all[i].Bytes = m.Parameters(), m.Bytes()
			m.Close()
		}
	}
	for _, name := range append(models, "") {
		if err := r.clean(name); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// clean removes the intermediate files of a finished model, except for the cut before its
// recovery. That file tells a later call whether it is the same plan.
func (r *pruner) clean(model string) error {
	for _, name := range []string{layersFile, rankingFile} {
		if err := os.Remove(r.state(model, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	os.Remove(filepath.Join(r.Output, model, train.StateDir)) // has no effect if the directory is not empty
	return nil
}

// recovery returns the options of the distillation for a part of the plan. Log and events have
// the part's name.
func (r *pruner) recovery(name string) distill.Options {
	o := *r.Recover
	o.Output = ""
	if name != "" {
		o.Options = o.Part(name)
	}
	o.Resume, o.Overwrite = r.Resume, r.Overwrite
	return o
}

// cut makes the model of a target, unless an earlier run has done so. It saves the model, or
// keeps it for its recovery.
func (r *pruner) cut(ctx context.Context, i int, name string) (Pruned, error) {
	p := Pruned{Output: filepath.Join(r.Output, name), Before: r.before}
	asked := ""
	if len(r.targets) > 0 {
		target := r.targets[i]
		p.Clock = (&pruning.MeasureOptions{Threads: r.Threads}).Clock()
		p.TargetMS, p.TargetSpeedup, asked = target.Milliseconds, target.Speedup, target.String()
	}
	settings := r.of("target", asked)
	path, save := p.Output, (*checkpoints.Model).SaveHF
	if r.Recover != nil {
		path, save = r.state(name, cutFile), (*checkpoints.Model).SaveSkive
	}
	m, made, err := r.earlier(path, settings)
	if err != nil {
		return p, err
	}
	if m == nil {
		if r.Recover != nil && r.Resume { // reports now a model that the recovery would refuse
			if err := checkpoints.CheckFree(p.Output); err != nil {
				return p, err
			}
		}
		var fit *pruning.Fit
		if m, fit, err = r.make(ctx, i); err != nil {
			return p, err
		}
		if len(r.targets) > 0 {
			made.Measured = map[string]float64{"latency_ms": fit.After, "latency_ms_before": fit.Before}
		}
		if err = os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			return p, err
		}
		if err = save(noted(m, settings, made.Measured), path); err != nil {
			return p, err
		}
	}
	defer m.Close()
	p.MS, p.MSBefore = made.Measured["latency_ms"], made.Measured["latency_ms_before"]
	p.Parameters, p.Bytes = m.Parameters(), m.Bytes()
	return p, nil
}

// make cuts the model of a target and sets the activation.
func (r *pruner) make(ctx context.Context, i int) (*checkpoints.Model, *pruning.Fit, error) {
	if err := r.prepare(ctx); err != nil {
		return nil, nil, err
	}
	m, fit := r.start, &pruning.Fit{}
	if r.cuts() {
		var err error
		if fit, err = r.choose(ctx, i); err != nil {
			if ctx.Err() == nil { // it would fail again
				err = errors.Join(err, r.clean(""))
			}
			return nil, nil, err
		}
		if m, err = r.ranked.remove(ctx, fit.Masks); err != nil {
			return nil, nil, err
		}
	}
	m, err := r.activated(m)
	return m, fit, err
}

// activated returns a model with the plan's activation.
func (r *pruner) activated(m *checkpoints.Model) (*checkpoints.Model, error) {
	if r.Activation == "" || m.Config.Activation == r.Activation {
		return m, nil
	}
	return pruning.SetActivation(m, r.Activation)
}

// prepare makes the model from which all others are cut, and what is known about it. It does so
// once.
func (r *pruner) prepare(ctx context.Context) error {
	if r.start != nil {
		return nil
	}
	start, err := r.fewerLayers(ctx)
	if err != nil {
		return err
	}
	// A target that cannot be reached is reported before the importance is measured.
	if len(r.targets) > 0 || r.FLOPs > 0 {
		if err := r.price(ctx, start); err != nil {
			return err
		}
	}
	if r.cuts() || r.Scores != "" {
		if r.ranked, err = r.rankOnce(ctx, start); err != nil {
			return err
		}
	}
	if r.Scores != "" {
		if err := checkpoints.WriteFile(r.Scores, r.ranked.scores.WriteJSON); err != nil {
			return err
		}
	}
	r.start = start
	return nil
}

// fewerLayers returns the model with the layers that are kept.
func (r *pruner) fewerLayers(ctx context.Context) (*checkpoints.Model, error) {
	if r.Layers == 0 {
		return r.whole, nil
	}
	// The speedup is relative to the original model.
	reference := r.whole
	if len(r.targets) > 0 && (reference.DType() != checkpoints.F32 || r.DType != infer.F32) {
		var err error
		if reference, err = quantize.Format(reference, r.DType); err != nil {
			return nil, err
		}
	}
	for i := range r.targets {
		r.targets[i].Reference = reference
	}
	path := r.state("", layersFile)
	m, _, err := r.earlier(path, r.settings)
	if m != nil || err != nil {
		return m, err
	}
	if m, _, err = pruning.DropLayers(ctx, r.whole, r.Set, r.Layers, r.Importance); err != nil {
		return nil, err
	}
	return m, r.keep(path, func() error { return noted(m, r.settings, nil).SaveSkive(path) })
}

// keep writes a file of the state.
func (r *pruner) keep(path string, write func() error) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	return write()
}

// rankingHeader is the first section of a file with a ranking. The other sections are the
// gradients of the heads and units of each layer, if there are any.
type rankingHeader struct {
	Settings map[string]string
	Examples int
	Scores   []byte // JSON
}

// rankOnce is rank, but it takes what an earlier run measured, and keeps its result for a later
// one.
func (r *pruner) rankOnce(ctx context.Context, m *checkpoints.Model) (*ranking, error) {
	path, costs := r.state("", rankingFile), r.costs != nil
	var h rankingHeader
	if r.Resume {
		sections, err := checkpoints.ReadState(path, &h)
		if err == nil && maps.Equal(h.Settings, r.settings) {
			ranked := &ranking{Cut: r.Cut, model: m}
			if n := len(sections) / 2; n > 0 {
				ranked.gradients = &pruning.Gradients{Examples: h.Examples}
				for l := range n {
					ranked.gradients.Heads = append(ranked.gradients.Heads, sections[2*l].Data)
					ranked.gradients.FFN = append(ranked.gradients.FFN, sections[2*l+1].Data)
				}
			}
			return ranked, json.Unmarshal(h.Scores, &ranked.scores)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	ranked, err := r.rank(ctx, m, costs)
	if err != nil || r.Importance.Method == pruning.Magnitude && ranked.gradients == nil {
		return ranked, err
	}
	h = rankingHeader{Settings: r.settings}
	if h.Scores, err = json.Marshal(ranked.scores); err != nil {
		return nil, err
	}
	var sections []checkpoints.Section
	if g := ranked.gradients; g != nil {
		h.Examples = g.Examples
		for l := range g.Heads {
			sections = append(sections,
				checkpoints.Section{Name: "heads/" + strconv.Itoa(l), Data: g.Heads[l]},
				checkpoints.Section{Name: "ffn/" + strconv.Itoa(l), Data: g.FFN[l]})
		}
	}
	return ranked, r.keep(path, func() error { return checkpoints.WriteState(path, checkpoints.State{Header: h, Sections: sections}) })
}

// price computes what heads and units cost, in operations or in milliseconds on this machine, and
// the options with which that is measured.
func (r *pruner) price(ctx context.Context, m *checkpoints.Model) error {
	o := pruning.MeasureOptions{
		DType: r.DType, Threads: r.Threads, Tokens: r.Tokens, Activation: r.Activation, Progress: r.Progress,
	}
	if o.Tokens == 0 {
		enc, err := evaluate.Encode(m, r.Set.First(pruning.CostExamples), r.Importance.MaxLength)
		if err != nil {
			return err
		}
		o.Tokens = enc.MeanLength()
	}
	r.measuring = o
	if r.FLOPs > 0 {
		r.costs = pruning.FLOPs(m.Config, o.Tokens)
		return nil
	}
	if err := pruning.Reachable(ctx, m, o, r.targets...); err != nil {
		return err
	}
	cfg := m.Config.Clone()
	cfg.Activation = cmp.Or(r.Activation, cfg.Activation)
	var err error
	r.costs, err = pruning.CachedCosts(ctx, cfg, o, r.Costs())
	return err
}

// choose selects what stays. It returns the times that were measured.
func (r *pruner) choose(ctx context.Context, i int) (*pruning.Fit, error) {
	scores, cfg := r.ranked.scores, r.start.Config
	if len(r.targets) > 0 {
		return pruning.SearchLatency(ctx, r.start, scores, r.costs, r.targets[i], r.measuring)
	}
	var masks pruning.Masks
	var err error
	switch {
	case r.costs != nil:
		whole := r.whole.Config
		masks, err = pruning.Search(scores, cfg, r.costs, r.FLOPs*pruning.FLOPs(whole, r.measuring.Tokens).Of(whole.Layers))
		if errors.Is(err, pruning.ErrBudget) {
			err = settings.Errorf("FLOPs", "%w", err)
		}
	case r.Global:
		masks, err = pruning.SelectGlobal(scores, cfg, r.Heads, r.FFN, r.Normalize)
	default:
		masks, err = pruning.Select(scores, cfg, r.Heads, r.FFN)
	}
	return &pruning.Fit{Masks: masks}, err
}

// roundDir returns the directory of a round before the last, relative to the output directory.
func roundDir(round int) string {
	return filepath.Join(distill.StagesDir, fmt.Sprintf("round-%d", round))
}

// iterate prunes in rounds. The models of the rounds before the last are in directories of
// distill.StagesDir.
func (r *pruner) iterate(ctx context.Context) ([]Pruned, error) {
	start, err := r.fewerLayers(ctx)
	if err != nil {
		return nil, err
	}
	if r.Scores != "" {
		scores, err := pruning.Importance(ctx, start, r.Set, r.Importance)
		if err != nil {
			return nil, err
		}
		if err := checkpoints.WriteFile(r.Scores, scores.WriteJSON); err != nil {
			return nil, err
		}
	}
	folder := func(round int) string {
		if round == r.Rounds {
			return ""
		}
		return roundDir(round)
	}
	var last *checkpoints.Model // from which the next cut is made
	m, err := pruning.Iterate(ctx, start, r.Set, pruning.IterateOptions{
		ImportanceOptions: r.Importance, Rounds: r.Rounds,
		Heads: r.Heads, FFN: r.FFN, Global: r.Global, Normalize: r.Normalize,
		Keep: func(round int, cut func() (*checkpoints.Model, error)) (*checkpoints.Model, error) {
			path, settings := r.state(folder(round), cutFile), r.of("round", strconv.Itoa(round))
			m, _, err := r.earlier(path, settings)
			if m != nil || err != nil {
				return m, err
			}
			if m, err = cut(); err != nil {
				return nil, err
			}
			if m, err = r.activated(m); err != nil {
				return nil, err
			}
			if last != nil {
				last.Close()
			}
			m = noted(m, settings, nil)
			return m, r.keep(path, func() error { return m.SaveSkive(path) })
		},
		Recover: func(ctx context.Context, m *checkpoints.Model, round int) (*checkpoints.Model, error) {
			o := r.recovery(fmt.Sprintf("round-%d", round))
			o.Output = filepath.Join(r.Output, folder(round))
			defer m.Close()
			var err error
			last, _, err = distill.Run(ctx, r.whole, m, r.Train, r.Dev, o)
			return last, err
		},
	})
	if err != nil {
		return nil, err
	}
	defer m.Close()
	return []Pruned{{Output: r.Output, Before: r.before, Parameters: m.Parameters(), Bytes: m.Bytes()}}, r.clean("")
}

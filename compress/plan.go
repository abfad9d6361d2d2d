package compress

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/pruning"
	"github.com/skive-ml/skive/settings"
)

// Speedups are different factors above 1. Commas separate them in text.
type Speedups []float64

// UnmarshalText reads the factors.
func (s *Speedups) UnmarshalText(text []byte) error {
	*s = nil
	if len(text) == 0 {
		return nil
	}
	for part := range strings.SplitSeq(string(text), ",") {
		factor, err := strconv.ParseFloat(strings.TrimSpace(part), 64)
		if err != nil || !(factor > 1) {
			return fmt.Errorf("%q, expected speed-ups above 1 like 2,4,8", part)
		}
		if slices.Contains(*s, factor) {
			return fmt.Errorf("%q twice, expected speed-ups that differ", part)
		}
		*s = append(*s, factor)
	}
	return nil
}

// MarshalText writes the factors.
func (s Speedups) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

func (s Speedups) String() string {
	parts := make([]string, len(s))
	for i, factor := range s {
		parts[i] = strconv.FormatFloat(factor, 'g', -1, 64)
	}
	return strings.Join(parts, ",")
}

// PlanDefaults returns the plan from which the command line starts. It prunes nothing.
func PlanDefaults() Plan { return Plan{DType: infer.F32, Rounds: 1, ImportanceData: "train"} }

// Names of settings to which others belong: those that select heads and units, and those that
// read their importance.
var (
	ofTargets = []string{"target-ms", "target-speedup", "family"}
	ofCosts   = append([]string{"target-flops"}, ofTargets...)
	ofCuts    = append([]string{"heads", "ffn"}, ofCosts...)
	ofRanking = append([]string{"importance-out"}, ofCuts...)
	ofData    = append([]string{"layers"}, ofRanking...)
)

// Settings returns the fields as a table of settings. A plan can only continue if those that
// affect the result are the same as before.
func (p *Plan) Settings() settings.Table {
	return slices.Concat(p.ofSizes(), p.ofCost(), p.ofImportance())
}

// ofSizes returns the settings of what is removed.
func (p *Plan) ofSizes() settings.Table {
	kept := func(name, field string, n *int, doc string) settings.Setting {
		return settings.Setting{Name: name, Field: field, Value: n, NotZero: true, Decides: *n != 0, Doc: doc,
			Want: settings.Unless(*n >= 0, "the number that is kept, 1 or more")}
	}
	return settings.Table{
		{Name: "prune-vocab", Field: "Vocabulary", Value: &p.Vocabulary, Decides: p.Vocabulary,
			Doc: "keep only the sub-words of the task's texts, and single characters"},
		kept("layers", "Layers", &p.Layers, "whole layers kept"),
		kept("heads", "Heads", &p.Heads, "attention heads kept in each layer (default all)"),
		kept("ffn", "FFN", &p.FFN, "feed-forward units kept in each layer (default all)"),
		{Name: "global", Field: "Global", Value: &p.Global, With: []string{"heads", "ffn"}, Decides: p.Global,
			Doc: "rank all layers together: {heads} and {ffn} are means; each layer keeps at least a head and 16 units"},
		{Name: "normalize", Field: "Normalize", Value: &p.Normalize, With: []string{"global"}, Decides: p.Normalize,
			Doc: "with {global}, divide the scores of each layer by their norm"},
		{Name: "activation", Field: "Activation", Value: &p.Activation, Decides: p.Activation != "",
			Doc: "change the feed-forward activation to relu", Want: settings.Unless(p.Activation == "" || p.Activation == "relu", "relu")},
		{Name: "rounds", Field: "Rounds", Value: &p.Rounds, NotZero: true, Decides: p.Rounds > 1,
			Doc: "number of cuts, each followed by {recover}", Want: settings.Unless(p.Rounds >= 0, "1 or more")},
	}
}

// ofCost returns the settings of a cost to prune to.
func (p *Plan) ofCost() settings.Table {
	measured := p.measured()
	return settings.Table{
		{Name: "target-ms", Field: "TargetMS", Value: &p.TargetMS, NotZero: true,
			Doc: "prune to this latency, in milliseconds", Want: settings.Unless(settings.NotNegative(p.TargetMS), "a time above 0")},
		{Name: "target-speedup", Field: "TargetSpeedup", Value: &p.TargetSpeedup, NotZero: true,
			Doc:  "prune to this many times the model's speed",
			Want: settings.Unless(p.TargetSpeedup == 0 || p.TargetSpeedup > 1 && settings.NotNegative(p.TargetSpeedup), "a factor above 1")},
		{Name: "target-flops", Field: "FLOPs", Value: &p.FLOPs, NotZero: true, Decides: p.FLOPs != 0,
			Doc:  "prune to this share of the operations of the model's layers",
			Want: settings.Unless(p.FLOPs == 0 || p.FLOPs > 0 && p.FLOPs < 1, "a share between 0 and 1")},
		{Name: "family", Field: "Family", Value: &p.Family, Doc: "several values of {target-speedup}, such as 2,4,8"},
		{Name: "dtype", Field: "DType", Value: &p.DType, With: ofCosts, Decides: measured && p.DType != "",
			Doc:  "number format in which latency is measured: f32, fp16, bf16 or int8",
			Want: settings.Unless(slices.Contains([]string{"", infer.F32, infer.FP16, infer.BF16, infer.Int8}, p.DType), "f32, fp16, bf16 or int8")},
		{Name: "seq", Field: "Tokens", Value: &p.Tokens, NotZero: true, With: ofCosts, Decides: measured && p.Tokens != 0,
			Doc:  "number of tokens with which latency is measured (default the mean of the importance data)",
			Want: settings.Unless(p.Tokens >= 0, "a number of tokens, 1 or more")},
		{Name: "threads", Field: "Threads", Value: &p.Threads, Decides: measured && p.Threads != 0,
			Want: settings.Unless(p.Threads >= 0, "a positive number, or 0 for one for each CPU")},
	}
}

// ofImportance returns the settings of how heads and units are ranked.
func (p *Plan) ofImportance() settings.Table {
	o := &p.Importance
	_, err := pruning.ParseMethod(string(o.Method))
	return settings.Table{
		{Name: "importance", Field: "Importance.Method", Value: (*string)(&o.Method), With: ofRanking, Decides: o.Method != "",
			Doc:  "exact, fastformers, fisher or magnitude (default exact; fisher for a cost)",
			Want: settings.Unless(o.Method == "" || err == nil, "exact, fastformers, fisher or magnitude")},
		{Name: "importance-data", Field: "ImportanceData", Value: &p.ImportanceData, With: ofData,
			Doc:  "train or dev: the file on which importance is measured",
			Want: settings.Unless(slices.Contains([]string{"", "train", "dev"}, p.ImportanceData), "train or dev")},
		{Name: "importance-out", Field: "Scores", Value: &p.Scores, Doc: "write the scores to `FILE` as JSON"},
		{Name: "importance-examples", Field: "Importance.Limit", Value: &o.Limit, NotZero: true, With: ofData, Decides: o.Limit != 0,
			Doc:  "number of examples on which importance is measured (default all; 2048 for a cost or {tune})",
			Want: settings.Unless(o.Limit >= 0, "a number of examples or 0")},
		{Name: "predictions", Field: "Importance.Predictions", Value: &o.Predictions, With: ofData, Decides: o.Predictions,
			Doc: "use the model's predictions as labels"},
		{Name: "batch-size", Field: "Importance.BatchSize", Value: &o.BatchSize, Decides: o.BatchSize != 0,
			Want: settings.Unless(o.BatchSize >= 0, "a number of examples")},
		{Name: "max-length", Field: "Importance.MaxLength", Value: &o.MaxLength, Decides: o.MaxLength != 0,
			Want: settings.Unless(o.MaxLength >= 0, "a positive number of tokens, or 0 for the model's maximum")},
		{Name: "rearrange", Field: "Rearrange", Value: &p.Rearrange, With: ofCuts, Decides: p.Rearrange,
			Doc: "judge heads and units by their joint effect: exchange them within each layer, and for a cost choose how many to keep"},
		{Name: "tune", Field: "Tune", Value: &p.Tune, With: ofCuts, Decides: p.Tune, Doc: "rescale what is left by least squares"},
	}
}

// measured tells whether the plan is for a latency.
func (p *Plan) measured() bool { return p.TargetMS != 0 || p.TargetSpeedup != 0 || len(p.Family) > 0 }

// ToCost tells whether a cost decides how many heads and units are kept.
func (p *Plan) ToCost() bool { return p.measured() || p.FLOPs != 0 }

// sized tells whether numbers of heads or units are given.
func (p *Plan) sized() bool { return p.Heads != 0 || p.FFN != 0 }

// cuts tells whether heads or units are removed.
func (p *Plan) cuts() bool { return p.ToCost() || p.sized() }

// readsExamples tells whether Set is read. It is not if nothing is ranked, or if only the weights
// count.
func (p *Plan) readsExamples() bool {
	measured := p.Importance.Method != pruning.Magnitude
	return p.ToCost() || p.Layers != 0 || p.sized() && (measured || p.Tune || p.Rearrange) || p.Scores != "" && measured
}

// Reads tells which data the plan needs: those for importance, Train's texts for its vocabulary,
// and both sets for a recovery.
func (p *Plan) Reads() (train, dev bool) {
	train, dev = p.Vocabulary || p.Recover != nil, p.Recover != nil
	if p.readsExamples() {
		onDev := p.ImportanceData == "dev"
		train, dev = train || !onDev, dev || onDev
	}
	return train, dev
}

// Complete chooses what was not given, by the names of settings. With a cost, these are Fisher's
// scores, Rearrange and Tune, and as many examples as these need.
func (p *Plan) Complete(given func(setting string) bool) {
	o, method := &p.Importance, pruning.Exact
	if p.ToCost() {
		method = pruning.Fisher
		p.Tune, p.Rearrange = p.Tune || !given("tune"), p.Rearrange || !given("rearrange")
	}
	o.Method = cmp.Or(o.Method, method)
	if p.Rearrange || p.Tune {
		o.Limit = cmp.Or(o.Limit, pruning.CostExamples)
	}
}

// Validate reports the first setting that is not usable, as a *settings.Error.
func (p *Plan) Validate() error {
	if err := p.Settings().Check(); err != nil {
		return err
	}
	costs := 0
	for _, s := range p.Settings().Only(ofCosts...) {
		if !s.IsZero() {
			costs++
		}
	}
	sizes := "Heads"
	if p.Heads == 0 {
		sizes = "FFN"
	}
	method := p.Importance.Method
	switch {
	case costs > 1:
		return settings.Errorf("TargetMS", "only one of it, a speed-up, a share of the operations and a family can be given")
	case costs == 1 && p.sized():
		return settings.Errorf(sizes, "it cannot be combined with a target, which chooses heads and units")
	case costs == 0 && !p.sized() && p.Layers == 0 && !p.Vocabulary && p.Activation == "":
		return settings.Errorf("Heads", "nothing is pruned: expected numbers of heads or units, a target, a number of layers, the vocabulary or an activation")
	case costs == 1 && method != "" && method != pruning.Fisher:
		return settings.Errorf("Importance.Method", "%s, expected fisher for a cost, which weighs heads against units", method)
	case p.Rounds > 1 && (p.Recover == nil || !p.sized()):
		return settings.Wrong("Rounds", p.Rounds, "1, or more with a recovery and numbers of heads or units")
	case p.Rounds > 1 && (p.Tune || p.Rearrange):
		return settings.Wrong("Rounds", p.Rounds, "1 with tuning or rearranging")
	}
	return nil
}

package compress

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/distill"
	"github.com/skive-ml/skive/evaluate"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/golden"
	"github.com/skive-ml/skive/pruning"
	"github.com/skive-ml/skive/quantize"
	"github.com/skive-ml/skive/settings"
)

// A plan that cannot be carried out is refused by the field that is wrong.
func TestPlansThatAreRefused(t *testing.T) {
	t.Parallel()
	recovery := distill.Defaults()
	for _, c := range []struct {
		field  string // "" for a plan that is fine
		change func(p *Plan)
	}{
		{"", func(p *Plan) { p.Heads = 2 }},
		{"", func(p *Plan) { p.Vocabulary = true }},
		{"", func(p *Plan) { p.TargetSpeedup, p.Importance.Method = 2, pruning.Fisher }},
		{"", func(p *Plan) { p.FFN, p.Rounds, p.Recover = 32, 2, &recovery }},
		{"Heads", func(*Plan) {}},
		{"Heads", func(p *Plan) { p.Heads = -1 }},
		{"Heads", func(p *Plan) { p.Heads, p.TargetMS = 2, 1 }},
		{"FFN", func(p *Plan) { p.FFN, p.FLOPs = 2, 0.5 }},
		{"TargetMS", func(p *Plan) { p.TargetMS, p.TargetSpeedup = 1, 2 }},
		{"TargetMS", func(p *Plan) { p.Family, p.FLOPs = Speedups{2}, 0.5 }},
		{"TargetSpeedup", func(p *Plan) { p.TargetSpeedup = 1 }},
		{"FLOPs", func(p *Plan) { p.FLOPs = 1 }},
		{"Importance.Method", func(p *Plan) { p.TargetMS, p.Importance.Method = 1, pruning.Exact }},
		{"Importance.Method", func(p *Plan) { p.Heads, p.Importance.Method = 2, "random" }},
		{"Activation", func(p *Plan) { p.Activation = "tanh" }},
		{"DType", func(p *Plan) { p.TargetMS, p.DType = 1, "int4" }},
		{"Rounds", func(p *Plan) { p.Heads, p.Rounds = 2, 2 }},
		{"Rounds", func(p *Plan) { p.Layers, p.Rounds, p.Recover = 1, 2, &recovery }},
		{"Rounds", func(p *Plan) { p.Heads, p.Rounds, p.Recover, p.Tune = 2, 2, &recovery, true }},
	} {
		p := PlanDefaults()
		c.change(&p)
		err := p.Validate()
		var wrong *settings.Error
		if c.field == "" && err != nil || c.field != "" && (!errors.As(err, &wrong) || wrong.Field != c.field) {
			t.Errorf("error %v, want one about %q", err, c.field)
		}
	}
}

// The records of prunings under way keep their names and texts.
func TestRecordOfAPlan(t *testing.T) {
	t.Parallel()
	p := Plan{Heads: 2, Global: true, Rounds: 1, DType: "int8", Tokens: 9, Threads: 4, Cut: Cut{Tune: true}}
	p.Importance = pruning.ImportanceOptions{Method: pruning.Exact, Limit: 2048, BatchSize: 32}
	want := map[string]string{"heads": "2", "global": "true", "importance": "exact", "importance-examples": "2048", "batch-size": "32", "tune": "true"}
	sameRecord(t, p, want)
	p = Plan{FLOPs: 0.5, Vocabulary: true, Layers: 3, Rounds: 2, Activation: "relu", Cut: Cut{Rearrange: true}}
	p.Importance.Predictions, p.Importance.MaxLength = true, 64
	sameRecord(t, p, map[string]string{"target-flops": "0.5", "prune-vocab": "true", "layers": "3", "rounds": "2", "activation": "relu", "rearrange": "true", "predictions": "true", "max-length": "64"})
	sameRecord(t, Plan{Family: Speedups{2, 4}, DType: "int8", Tokens: 9, Threads: 4}, map[string]string{"dtype": "int8", "seq": "9", "threads": "4"})
}

func sameRecord(t *testing.T, p Plan, want map[string]string) {
	t.Helper()
	got := p.Settings().Record()
	if len(got) != len(want) {
		t.Errorf("%v, want %v", got, want)
	}
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s: %q, want %q", name, got[name], value)
		}
	}
}

func TestSpeedupsAsText(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"2, 4,8.5": "2,4,8.5", "": "", "2,x": `"x", expected speed-ups above 1 like 2,4,8`, "2,2.0": `"2.0" twice, expected speed-ups that differ`, "1": `"1", expected speed-ups above 1 like 2,4,8`} {
		var s Speedups
		got := ""
		if err := s.UnmarshalText([]byte(text)); err != nil {
			got = err.Error()
		} else {
			got = s.String()
		}
		if got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

// What a plan leaves open follows from what it prunes to, and so does which data it reads.
func TestWhatFollowsFromAPlan(t *testing.T) {
	t.Parallel()
	recovery := distill.Defaults()
	for _, c := range []struct {
		plan            Plan
		given           string
		rearrange, tune bool
		method          pruning.Method
		limit           int
		train, dev      bool
	}{
		{Plan{Heads: 2}, "", false, false, pruning.Exact, 0, true, false},
		{Plan{Heads: 2, ImportanceData: "dev", Cut: Cut{Tune: true}}, "tune", false, true, pruning.Exact, pruning.CostExamples, false, true},
		{Plan{FLOPs: 0.5}, "", true, true, pruning.Fisher, pruning.CostExamples, true, false},
		{Plan{TargetMS: 1, Cut: Cut{Importance: pruning.ImportanceOptions{Limit: 9}}}, "tune", true, false, pruning.Fisher, 9, true, false},
		{Plan{Heads: 2, Cut: Cut{Importance: pruning.ImportanceOptions{Method: pruning.Magnitude}}}, "", false, false, pruning.Magnitude, 0, false, false},
		{Plan{Vocabulary: true}, "", false, false, pruning.Exact, 0, true, false},
		{Plan{Activation: "relu", Recover: &recovery}, "", false, false, pruning.Exact, 0, true, true},
	} {
		p := c.plan
		p.Complete(func(setting string) bool { return setting == c.given })
		o := p.Importance
		if train, dev := p.Reads(); p.Rearrange != c.rearrange || p.Tune != c.tune || o.Method != c.method || o.Limit != c.limit || train != c.train || dev != c.dev {
			t.Errorf("%+v: %v, %v, %+v, reads %v and %v", c.plan, p.Rearrange, p.Tune, o, train, dev)
		}
	}
}

// What a plan lacks, or cannot write, is found before any work.
func TestPruneRefusesByField(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	m := golden.Model(t)
	int8, err := quantize.Int8Weights(m, quantize.LinearWeights(m.Config))
	if err != nil {
		t.Fatal(err)
	}
	recovery := distill.Defaults()
	magnitude := Cut{Importance: pruning.ImportanceOptions{Method: pruning.Magnitude}}
	for _, c := range []struct {
		field string
		model *checkpoints.Model
		plan  Plan
	}{
		{"Model", int8, Plan{Heads: 2, Cut: magnitude}},
		{"Set", m, Plan{Heads: 2, Train: golden.Data(t), ImportanceData: "dev"}},
		{"Train", m, Plan{Heads: 2, Cut: magnitude, Recover: &recovery}},
		{"Scores", m, Plan{Heads: 2, Cut: magnitude, Scores: dir}},
		{"ImportanceData", m, Plan{Heads: 2, ImportanceData: "test"}},
	} {
		c.plan.Output = filepath.Join(dir, "out")
		_, err := Prune(t.Context(), c.model, c.plan)
		var wrong *settings.Error
		if !errors.As(err, &wrong) || wrong.Field != c.field {
			t.Errorf("error %v, want one about %q", err, c.field)
		}
	}
}

// Static scales and sensitivities are int8's.
func TestQuantizationsThatAreRefused(t *testing.T) {
	t.Parallel()
	for field, change := range map[string]func(o *QuantizeOptions){
		"Inputs":     func(o *QuantizeOptions) { o.DType, o.Inputs = infer.FP16, make([]evaluate.Inputs, 1) },
		"Examples":   func(o *QuantizeOptions) { o.DType, o.Examples = infer.FP16, new(data.Dataset) },
		"Embeddings": func(o *QuantizeOptions) { o.DType, o.Embeddings = infer.F32, true },
		"MaxDrop":    func(o *QuantizeOptions) { o.MaxDrop = 101 },
	} {
		o := QuantizeDefaults()
		change(&o)
		var wrong *settings.Error
		if err := o.Validate(); !errors.As(err, &wrong) || wrong.Field != field {
			t.Errorf("error %v, want one about %q", err, field)
		}
	}
}

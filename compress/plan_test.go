package compress

import (
	"errors"
	"testing"

	"github.com/skive-ml/skive/distill"
	"github.com/skive-ml/skive/pruning"
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

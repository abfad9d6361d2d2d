package train

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/skive-ml/skive/settings"
)

func TestOptionsNameWhatIsWrong(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		change func(*Options)
		want   string
	}{
		{func(o *Options) { o.LearningRate = -1e-5 }, "LearningRate: -1e-05, expected a finite rate that is not negative"},
		{func(o *Options) { o.LearningRate = math.NaN() }, "LearningRate: NaN"},
		{func(o *Options) { o.BatchSize, o.BatchTokens = 32, 4096 }, "BatchTokens: 4096, expected none beside a batch size, which is 32"},
		{func(o *Options) { o.BatchSize = -1 }, "BatchSize: -1"},
		{func(o *Options) { o.BatchSize = 1e9 }, "BatchSize: 1000000000, expected a positive number of examples, 65536 at most"},
		{func(o *Options) { o.BatchTokens = 1e9 }, "BatchTokens: 1000000000"},
		{func(o *Options) { o.Accumulate = 1e9 }, "Accumulate: 1000000000"},
		{func(o *Options) { o.Epochs = 0 }, "Epochs: 0, expected a positive number"},
		{func(o *Options) { o.Steps = -5 }, "Steps: -5"},
		{func(o *Options) { o.Warmup = 1.5 }, "Warmup: 1.5, expected a share of the steps, 0 to 1"},
		{func(o *Options) { o.WeightDecay = math.Inf(1) }, "WeightDecay: +Inf"},
		{func(o *Options) { o.MaxGradNorm = -1 }, "MaxGradNorm: -1"},
		{func(o *Options) { o.Dropout = new(1.0) }, "Dropout: 1, expected a probability in [0, 1)"},
		{func(o *Options) { o.Schedule = "square" }, `Schedule: "square", expected linear, cosine or constant`},
		{func(o *Options) { o.Threads = -1 }, "Threads: -1"},
		{func(o *Options) { o.MaxLength = -1 }, "MaxLength: -1"},
		{func(o *Options) { o.Precision = "fp16" }, `Precision: "fp16", expected f32 or bf16`},
		{func(o *Options) { o.SaveEvery = -1 }, "SaveEvery: -1"},
		{func(o *Options) { o.EvalEvery = -1 }, "EvalEvery: -1"},
		{func(o *Options) { o.Resume = true }, "Resume: true, expected an output directory"},
		{func(o *Options) { o.Accumulate = -1 }, "Accumulate: -1, expected a positive number of batches"},
		{func(o *Options) { o.LayerDecay = 1.1 }, "LayerDecay: 1.1, expected a factor in (0, 1]"},
		{func(o *Options) { o.LabelSmoothing = 1 }, "LabelSmoothing: 1"},
		{func(o *Options) { o.ClassWeights = []float64{1, -1} }, "ClassWeights: [1 -1]"},
		{func(o *Options) { o.ClassWeights = []float64{0, 0} }, "ClassWeights: [0 0], expected a positive weight"},
		{func(o *Options) { o.Patience = -1 }, "Patience: -1"},
		{func(o *Options) { o.KeepLast = true }, "KeepLast: true, expected an output directory"},
		{func(o *Options) { o.Beta1 = 1 }, "Beta1: 1"},
		{func(o *Options) { o.Epsilon = 0 }, "Epsilon: 0"},
		{func(o *Options) { o.QuantizeAware = "int8" }, `QuantizeAware: "int8", expected dynamic or static`},
		{func(o *Options) { o.QuantizeAware, o.Precision = "dynamic", "bf16" }, `Precision: "bf16", expected f32 in quantization-aware training`},
		{func(o *Options) { o.QuantizeEmbeddings = true }, "QuantizeEmbeddings: true, expected false without"},
	} {
		o := Defaults()
		c.change(&o)
		err := o.Validate()
		var wrong *settings.Error
		if !errors.As(err, &wrong) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want a settings.Error with %q", err, c.want)
		}
	}
	o := Defaults()
	if err := o.Validate(); err != nil {
		t.Errorf("defaults: %v", err)
	}
}

// The values are those of transformers.get_scheduler's multipliers.
func TestScheduleFollowsTransformers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		s    Schedule
		want []float64
	}{
		{Linear, []float64{0, 0.5, 1, 0.75, 0.5, 0.25}},
		{Cosine, []float64{0, 0.5, 1, 0.8535533905932737, 0.5, 0.14644660940672627}},
		{Constant, []float64{0, 0.5, 1, 1, 1, 1}},
	} {
		for done, want := range c.want {
			if got := c.s.Rate(done, 2, 6); math.Abs(got-want) > 1e-12 {
				t.Errorf("%s after %d steps: %v, want %v", c.s, done, got, want)
			}
		}
	}
	if n := warmupSteps(0.06, 101); n != 7 {
		t.Errorf("6%% of 101 steps are %d of warm-up, want 7", n)
	}
}

func TestLogKeepsWhatAResumedRunHasBehindIt(t *testing.T) {
	t.Parallel()
	log := "{\"step\":1}\n{\"step\":2}\n{\"step\":3}\n{\"ste"
	for step, want := range []string{"", log[:11], log[:22], log[:33], log[:33]} {
		if got := string(keepLines([]byte(log), step)); got != want {
			t.Errorf("up to step %d: %q, want %q", step, got, want)
		}
	}
}

func TestDecayLeavesOutBiasAndLayerNorm(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"bert.embeddings.word_embeddings.weight":           true,
		"bert.encoder.layer.0.output.dense.weight":         true,
		"bert.encoder.layer.0.output.dense.bias":           false,
		"bert.encoder.layer.0.output.LayerNorm.weight":     false,
		"bert.embeddings.LayerNorm.bias":                   false,
		"classifier.weight":                                true,
		"bert.encoder.layer.0.attention.output.dense.bias": false,
		"bert.encoder.layer.0.output.dense.input_scale":    false,
	} {
		if got := decayed(name); got != want {
			t.Errorf("%s: decayed %v, want %v", name, got, want)
		}
	}
}

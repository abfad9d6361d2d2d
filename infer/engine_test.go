package infer

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/internal/kernels"
	"github.com/skive-ml/skive/quantize"
)

func TestLogitsEqualTheReference(t *testing.T) {
	t.Parallel()
	for name, c := range configs {
		t.Run(name, func(t *testing.T) {
			m := randomModel(c, 3)
			r := rand.New(rand.NewPCG(1, 2))
			b := randomBatch(c, r, 1, 40, 2, 13)
			for _, o := range []Options{{Threads: 1}, {Threads: 2}, {Threads: 1, PadTo: 40}, {Threads: 2, PadTo: 41}} {
				got := predict(t, newEngine(t, m, o), b)
				for s := range b.sequences() {
					one := b.sequence(s)
					for i, want := range reference(t, m, one.ids, one.typeIDs) {
						if d := math.Abs(float64(got[s*3+i]) - want); !(d < 5e-5) {
							t.Errorf("%+v, sequence %d: logit %g, want %g", o, s, got[s*3+i], want)
						}
					}
				}
			}
		})
	}
}

// Neither the threads, nor the way in which products are divided, nor the
// company of other sequences may change a bit.
func TestLogitsDependOnTheSequenceAlone(t *testing.T) {
	t.Parallel()
	for name, c := range configs {
		for _, dtype := range []string{F32, BF16, Int8} {
			t.Run(name+" "+dtype, func(t *testing.T) {
				m := randomModel(c, 4)
				b := randomBatch(c, rand.New(rand.NewPCG(5, 6)), 3, 1, 60, 9, 150, 17, 2, 90)
				want := predict(t, newEngine(t, m, Options{Threads: 1, DType: dtype}), b)
				for _, threads := range []int{1, 2, 3, 5} {
					e := newEngine(t, m, Options{Threads: threads, DType: dtype})
					if !sameBits(predict(t, e, b), want) {
						t.Errorf("%d threads: other logits", threads)
					}
					for s := range b.sequences() {
						if !sameBits(predict(t, e, b.sequence(s)), want[s*3:s*3+3]) {
							t.Errorf("%d threads: sequence %d alone has other logits", threads, s)
						}
					}
				}
			})
		}
	}
}

func TestInt8IsTheSameBitsAtEveryLevel(t *testing.T) {
	for name, c := range configs {
		t.Run(name, func(t *testing.T) {
			m := randomModel(c, 7)
			q, err := quantize.Int8(m)
			if err != nil {
				t.Fatal(err)
			}
			b := randomBatch(c, rand.New(rand.NewPCG(8, 9)), 1, 30, 97, 5)
			var want []float32
			for _, level := range kernels.Available() {
				restore := kernels.Use(level)
				for _, threads := range []int{1, 2} {
					stored := predict(t, newEngine(t, q, Options{Threads: threads}), b)
					if want == nil {
						want = stored
					}
					if !sameBits(stored, want) {
						t.Errorf("%v, %d threads: other logits", level, threads)
					}
					if !sameBits(predict(t, newEngine(t, m, Options{Threads: threads, DType: Int8}), b), want) {
						t.Errorf("%v, %d threads: quantized while loading, other logits", level, threads)
					}
				}
				restore()
			}
		})
	}
}

// TestWholeModelsAreTheSameBits takes minutes, most of them at the generic level: SKIVE_WHOLE_MODELS=1 go test -run WholeModels ./infer.
func TestWholeModelsAreTheSameBits(t *testing.T) {
	if os.Getenv("SKIVE_WHOLE_MODELS") == "" {
		t.Skip("SKIVE_WHOLE_MODELS is not set")
	}
	base := make([]checkpoints.LayerSize, 12)
	for i := range base {
		base[i] = size(12, 3072)
	}
	for name, c := range map[string]checkpoints.Config{
		"12L-768":          config(768, 64, "gelu", base...),
		"4L-312, pruned":   config(312, 26, "gelu", size(9, 900), size(8, 600), size(12, 1200), size(8, 600)),
		"6L-384, gelu_new": config(384, 32, "gelu_new", slices.Repeat([]checkpoints.LayerSize{size(12, 1536)}, 6)...),
	} {
		t.Run(name, func(t *testing.T) {
			c.MaxPositions = 512
			m := randomModel(c, 17)
			b := randomBatch(c, rand.New(rand.NewPCG(18, 19)), 512, 1, 26)
			var want []float32
			for _, level := range slices.Backward(kernels.Available()) {
				restore := kernels.Use(level)
				got := predict(t, newEngine(t, m, Options{DType: Int8}), b)
				restore()
				if want == nil {
					want = got
				}
				if !sameBits(got, want) {
					t.Errorf("%v: logits %v, the highest level gives %v", level, got, want)
				}
			}
		})
	}
}

// FuzzInt8Levels draws architectures, weights and inputs.
func FuzzInt8Levels(f *testing.F) {
	for seed := range uint64(12) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 1))
		layers := make([]checkpoints.LayerSize, 1+r.IntN(3))
		for i := range layers {
			layers[i] = size(1+r.IntN(4), 1+r.IntN(80))
		}
		activations := []string{"gelu", "gelu_new", "relu", "silu"}
		c := config(1+r.IntN(90), 1+r.IntN(40), activations[r.IntN(len(activations))], layers...)
		c.InitializerRange *= []float32{1e-3, 1, 30}[r.IntN(3)]
		switch r.IntN(6) {
		case 4:
			c.ModelType, c.TypeVocabSize, c.PadTokenID = "mpnet", 0, 1
		case 1:
			c.ModelType, c.PadTokenID = "roberta", 1
		case 2:
			c.ModelType, c.TypeVocabSize, c.LayerNormEps = "distilbert", 0, 1e-12
		case 3:
			c.ModelType, c.EmbeddingSize = "electra", 1+r.IntN(90)
		case 5:
			c.ModelType, c.EmbeddingSize = "albert", r.IntN(90)
		}
		m := randomModel(c, seed)
		lengths := make([]int, 1+r.IntN(5))
		for i := range lengths {
			lengths[i] = 1 + r.IntN(50)
		}
		b := randomBatch(c, r, lengths...)
		models := map[string]*checkpoints.Model{F32: m, BF16: m, Int8: m, "": staticModel(t, m, b)}
		for _, dtype := range []string{F32, BF16, Int8, ""} {
			var want []float32
			for _, level := range kernels.Available() {
				logits := func() []float32 {
					return predict(t, newEngine(t, models[dtype], Options{Threads: 1 + r.IntN(3), DType: dtype}), b)
				}
				restore := kernels.Use(level)
				got := logits()
				restore()
				if want == nil || dtype == BF16 && level == kernels.AMX {
					restore := kernels.UseDefinition(level)
					want = logits()
					restore()
				}
				if !sameBits(got, want) {
					t.Errorf("%q at %v: other logits", dtype, level)
				}
			}
		}
	})
}

func TestInt8IsCloseToFloat(t *testing.T) {
	t.Parallel()
	c := configs["width 312"]
	m := randomModel(c, 10)
	q, err := quantize.Int8(m)
	if err != nil {
		t.Fatal(err)
	}
	widened, err := quantize.Floats(q, checkpoints.F32)
	if err != nil {
		t.Fatal(err)
	}
	b := randomBatch(c, rand.New(rand.NewPCG(11, 12)), 20, 64, 128, 7, 33)
	f32 := predict(t, newEngine(t, m, Options{}), b)
	spread := 0.0
	for _, v := range f32 {
		spread = max(spread, math.Abs(float64(v)))
	}
	if d := largestDifference(f32, predict(t, newEngine(t, q, Options{}), b)); !(d < 0.06*spread) {
		t.Errorf("int8 logits are up to %g off, the largest is %g", d, spread)
	}
	if !sameBits(predict(t, newEngine(t, q, Options{DType: F32}), b), predict(t, newEngine(t, widened, Options{}), b)) {
		t.Error("an int8 model computed in f32 is not its widened copy")
	}
}

func TestHalfPrecisionWeights(t *testing.T) {
	t.Parallel()
	c := configs["head 26 uneven"]
	m := randomModel(c, 10)
	b := randomBatch(c, rand.New(rand.NewPCG(11, 12)), 20, 64)
	for dtype, tolerance := range map[checkpoints.DType]float64{checkpoints.F16: 0.02, checkpoints.BF16: 0.15} {
		h, err := quantize.Floats(m, dtype)
		if err != nil {
			t.Fatal(err)
		}
		widened, err := quantize.Floats(h, checkpoints.F32)
		if err != nil {
			t.Fatal(err)
		}
		e := newEngine(t, h, Options{})
		if formats[e.Options().DType] != dtype {
			t.Errorf("%v: the engine computes in %q", dtype, e.Options().DType)
		}
		got := predict(t, e, b)
		// bf16 rounds the layers' inputs, too.
		if d := largestDifference(got, predict(t, newEngine(t, widened, Options{}), b)); !(d < tolerance) || (d == 0) != (dtype == checkpoints.F16) {
			t.Errorf("%v: logits are %g off those of the widened weights", dtype, d)
		}
		// DType concerns the encoder: the rest is as it is stored.
		for _, name := range h.Names() {
			if !slices.Contains(quantize.LinearWeights(c), name) {
				h.Tensors[name] = m.Tensors[name]
			}
		}
		if !sameBits(predict(t, newEngine(t, m, Options{DType: e.Options().DType}), b), predict(t, newEngine(t, h, Options{}), b)) {
			t.Errorf("%v: weights converted while loading differ from stored ones", dtype)
		}
		if d := largestDifference(got, predict(t, newEngine(t, m, Options{}), b)); !(d < tolerance) {
			t.Errorf("%v: logits are %g off", dtype, d)
		}
	}
}

func TestMixedPrecision(t *testing.T) {
	t.Parallel()
	c := configs["head 26 uneven"]
	m := randomModel(c, 10)
	b := randomBatch(c, rand.New(rand.NewPCG(11, 12)), 20, 64)
	weights := quantize.LinearWeights(c)
	// The first layer in float, of the second one value without its query.
	q, err := quantize.Int8Weights(m, append(slices.Clone(weights[7:]), quantize.Embeddings()...))
	if err != nil {
		t.Fatal(err)
	}
	widened, err := quantize.Floats(q, checkpoints.F32)
	if err != nil {
		t.Fatal(err)
	}
	for _, threads := range []int{1, 2} {
		e := newEngine(t, q, Options{Threads: threads})
		for l, want := range []checkpoints.DType{checkpoints.F32, checkpoints.F32, checkpoints.I8} {
			if got := e.weights.layers[l].project.dtype; got != want {
				t.Errorf("layer %d computes queries, keys and values in %v, want %v", l, got, want)
			}
		}
		got := predict(t, e, b)
		if d := largestDifference(got, predict(t, newEngine(t, widened, Options{}), b)); !(d < 0.1 && d > 0) {
			t.Errorf("logits are %g off", d)
		}
		if !sameBits(predict(t, newEngine(t, q, Options{DType: F32}), b), predict(t, newEngine(t, widened, Options{}), b)) {
			t.Error("a model of mixed precision computed in f32 is not its widened copy")
		}
	}
}

func TestPaddingKeepsTheLogits(t *testing.T) {
	t.Parallel()
	for name, c := range configs {
		m := randomModel(c, 13)
		b := randomBatch(c, rand.New(rand.NewPCG(14, 15)), 1, 100, 64, 12)
		for _, dtype := range []string{F32, Int8} {
			want := predict(t, newEngine(t, m, Options{DType: dtype}), b)
			for _, threads := range []int{1, 2} {
				e := newEngine(t, m, Options{DType: dtype, Threads: threads, PadTo: 100})
				if d := largestDifference(predict(t, e, b), want); !(d < 1e-5) {
					t.Errorf("%s, %s, %d threads: logits are %g off", name, dtype, threads, d)
				}
			}
		}
	}
}

func TestInputErrors(t *testing.T) {
	t.Parallel()
	c := configs["head 16"]
	plain := newEngine(t, randomModel(c, 1), Options{Threads: 1})
	padded := newEngine(t, randomModel(c, 1), Options{Threads: 1, PadTo: 4})
	long := make([]int32, 161)
	for _, test := range []struct {
		name                  string
		engine                *Engine
		ids, typeIDs, offsets []int32
		want                  error
		sequence, token       int
	}{
		{"id too large", plain, []int32{1, 2, 70}, nil, []int32{0, 1, 3}, ErrTokenID, 1, 1},
		{"negative id", plain, []int32{-1}, nil, []int32{0, 1}, ErrTokenID, 0, 0},
		{"type too large", plain, []int32{1, 2}, []int32{0, 2}, []int32{0, 2}, ErrTypeID, 0, 1},
		{"negative type", plain, []int32{1, 2}, []int32{-1, 0}, []int32{0, 2}, ErrTypeID, 0, 0},
		{"types missing", plain, []int32{1, 2}, []int32{0}, []int32{0, 2}, ErrTypeID, 0, -1},
		{"empty sequence", plain, []int32{1}, nil, []int32{0, 1, 1}, ErrEmptySequence, 1, -1},
		{"too long", plain, long, nil, []int32{0, 161}, ErrTooLong, 0, -1},
		{"longer than the padding", padded, long, nil, []int32{0, 4, 161}, ErrTooLong, 1, -1},
		{"no offsets", plain, nil, nil, nil, ErrOffsets, 0, -1},
		{"offsets begin late", plain, []int32{1, 2}, nil, []int32{1, 2}, ErrOffsets, 0, -1},
		{"offsets end early", plain, []int32{1, 2}, nil, []int32{0, 1}, ErrOffsets, 0, -1},
		{"offsets fall", plain, []int32{1, 2}, nil, []int32{0, 2, 1, 2}, ErrOffsets, 1, -1},
		{"offsets run over", plain, []int32{1, 2}, nil, []int32{0, 7, 2}, ErrOffsets, 0, -1},
		{"offsets negative", plain, []int32{1, 2}, nil, []int32{0, -5, 2}, ErrOffsets, 0, -1},
	} {
		_, err := test.engine.PredictTokens(nil, test.ids, test.typeIDs, test.offsets)
		var input *InputError
		if !errors.Is(err, test.want) || !errors.As(err, &input) {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if input.Sequence != test.sequence || input.Token != test.token {
			t.Errorf("%s: %v; sequence %d, token %d", test.name, err, input.Sequence, input.Token)
		}
	}
	if logits, err := plain.PredictTokens(nil, nil, nil, []int32{0}); err != nil || len(logits) != 0 {
		t.Errorf("no sequences: %v, %v", logits, err)
	}
}

// Attention in bf16 has the bits of its definition at every level and on any
// number of threads, and its logits are close to those of attention in f32.
func TestAttentionDType(t *testing.T) {
	c := configs["width 312"]
	m := randomModel(c, 31)
	b := randomBatch(c, rand.New(rand.NewPCG(32, 33)), 1, 30, 97, 5)
	for _, dtype := range []string{F32, BF16, Int8} {
		float := predict(t, newEngine(t, m, Options{DType: dtype, AttentionDType: F32}), b)
		spread := 0.0
		for _, v := range float {
			spread = max(spread, math.Abs(float64(v)))
		}
		rounded := predict(t, newEngine(t, m, Options{DType: dtype, AttentionDType: BF16}), b)
		if d := largestDifference(float, rounded); !(d > 0 && d < 0.06*spread) {
			t.Errorf("%s: bf16 attention changes logits by %g, the largest is %g", dtype, d, spread)
		}
		standard := map[bool][]float32{true: rounded, false: float}[dtype == BF16]
		if !sameBits(predict(t, newEngine(t, m, Options{DType: dtype}), b), standard) {
			t.Errorf("%s: another attention by default", dtype)
		}
		var want []float32
		for _, level := range kernels.Available()[1:] {
			if want == nil || level == kernels.AMX { // the definition of bf16 changes there
				restore := kernels.UseDefinition(level)
				want = predict(t, newEngine(t, m, Options{DType: dtype, AttentionDType: BF16}), b)
				restore()
			}
			restore := kernels.Use(level)
			if !sameBits(predict(t, newEngine(t, m, Options{DType: dtype, AttentionDType: BF16, Threads: 3}), b), want) {
				t.Errorf("%s at %v: other bits than defined", dtype, level)
			}
			restore()
		}
	}
}

func TestModelAndOptionErrors(t *testing.T) {
	t.Parallel()
	m := randomModel(configs["head 16"], 1)
	for _, o := range []Options{{DType: "f64"}, {Threads: -1}, {PadTo: -1}, {PadTo: 161}, {MaxLength: -2}, {MaxLength: 1000}, {AttentionDType: Int8}, {AttentionDType: BF16, PadTo: 100}} {
		if _, err := New(m, o); !errors.Is(err, ErrOption) {
			t.Errorf("%+v: %v", o, err)
		}
		if _, err := NewPool(m, PoolOptions{Options: o}); !errors.Is(err, ErrOption) {
			t.Errorf("pool, %+v: %v", o, err)
		}
	}
	if _, err := NewPool(m, PoolOptions{Instances: -1}); !errors.Is(err, ErrOption) {
		t.Errorf("pool of none: %v", err)
	}
	headless := configs["head 16"]
	headless.Labels = nil
	if _, err := New(randomModel(headless, 1), Options{}); !errors.Is(err, ErrNoHead) {
		t.Errorf("no head: %v", err)
	}
	delete(m.Tensors, "bert.encoder.layer.0.output.dense.bias")
	if _, err := New(m, Options{}); err == nil {
		t.Error("a missing tensor was not noticed")
	}
	if _, err := Open(t.TempDir(), Options{}); err == nil {
		t.Error("an empty directory was opened")
	}
	wide := config(16, 16, "gelu", size(1, kernels.MaxKI8+1))
	if _, err := New(randomModel(wide, 1), Options{DType: Int8}); !errors.Is(err, checkpoints.ErrUnsupported) {
		t.Errorf("a layer too wide for int8 sums: %v", err)
	}
}

func TestOptionsInEffect(t *testing.T) {
	t.Parallel()
	m := randomModel(configs["head 16"], 1)
	e := newEngine(t, m, Options{})
	if o := e.Options(); o.DType != F32 || o.Threads < 1 || o.MaxLength != 160 {
		t.Errorf("%+v", o)
	}
	q, err := quantize.Int8(m)
	if err != nil {
		t.Fatal(err)
	}
	if o := newEngine(t, q, Options{PadTo: 50}).Options(); o.DType != Int8 || o.MaxLength != 50 {
		t.Errorf("%+v", o)
	}
}

func TestPredictTokensDoesNotAllocate(t *testing.T) {
	c := configs["width 312"]
	m := randomModel(c, 1)
	r := rand.New(rand.NewPCG(1, 2))
	for _, dtype := range []string{F32, BF16, Int8} {
		for _, threads := range []int{1, 2} {
			for _, padTo := range []int{0, 48} {
				e := newEngine(t, m, Options{Threads: threads, DType: dtype, PadTo: padTo, Profile: true})
				batches := []batch{randomBatch(c, r, 40, 20, 48, 48, 17, 3), randomBatch(c, r, 5), randomBatch(c, r, 33)}
				logits := make([]float32, 18)
				call := func() {
					for _, b := range batches {
						if _, err := e.PredictTokens(logits, b.ids, b.typeIDs, b.offsets); err != nil {
							t.Fatal(err)
						}
					}
				}
				// A worker's buffers grow with the largest part that it has been
				// given, and on a busy machine one worker may do all the work of the
				// first calls.
				n := 1.0
				for attempt := 0; n > 0 && attempt < 50; attempt++ {
					n = testing.AllocsPerRun(5, call)
				}
				if n > 0 {
					t.Errorf("%s, %d threads, padded to %d: %v allocations a call", dtype, threads, padTo, n)
				}
			}
		}
	}
}

func TestEngineFromManyGoroutines(t *testing.T) {
	t.Parallel()
	c := configs["head 26 uneven"]
	e := newEngine(t, randomModel(c, 1), Options{Threads: 2, DType: Int8})
	r := rand.New(rand.NewPCG(1, 2))
	var group sync.WaitGroup
	for range 8 {
		b := randomBatch(c, r, 1+r.IntN(50), 1+r.IntN(50))
		want := predict(t, e, b)
		group.Go(func() {
			for range 5 {
				got, err := e.PredictTokens(nil, b.ids, b.typeIDs, b.offsets)
				if err != nil || !sameBits(got, want) {
					t.Errorf("%v, %v", got, err)
				}
			}
		})
	}
	group.Wait()
	for range 2 {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := e.PredictTokens(nil, []int32{1}, nil, []int32{0, 1}); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestProfile(t *testing.T) {
	c := configs["width 312"]
	b := randomBatch(c, rand.New(rand.NewPCG(1, 2)), 100)
	m := randomModel(c, 1)
	e := newEngine(t, m, Options{Threads: 1, DType: Int8, Profile: true})
	// A thread that is taken off its core between two stages loses time that no
	// stage has: one undisturbed call in ten is enough.
	var sum, total time.Duration
	for range 10 {
		start := time.Now()
		predict(t, e, b)
		total, sum = time.Since(start), 0
		for _, s := range e.Profile() {
			if s.Time <= 0 {
				t.Errorf("stage %s: %v", s.Stage, s.Time)
			}
			sum += s.Time
		}
		if sum > total {
			t.Errorf("the stages add up to %v of %v", sum, total)
		}
		if sum >= total/2 {
			break
		}
	}
	if sum < total/2 {
		t.Errorf("the stages add up to %v of %v", sum, total)
	}
	for _, s := range e.Profile() {
		if s.Time != 0 {
			t.Errorf("stage %s: %v after a reset", s.Stage, s.Time)
		}
	}
	silent := newEngine(t, m, Options{Threads: 1})
	predict(t, silent, b)
	for _, s := range silent.Profile() {
		if s.Time != 0 {
			t.Errorf("stage %s measured without being asked", s.Stage)
		}
	}
}

// BenchmarkEngine is the latency of one sequence of the student shape, 4 layers
// of width 312 with 12 heads and 1200 units, with random weights.
func BenchmarkEngine(b *testing.B) {
	c := config(312, 26, "gelu", size(12, 1200), size(12, 1200), size(12, 1200), size(12, 1200))
	c.VocabSize, c.MaxPositions = 30522, 512
	m := checkpoints.InitBERT(c, 1)
	for _, dtype := range []string{F32, Int8} {
		for _, threads := range []int{1, 2} {
			b.Run(fmt.Sprintf("%s/%dthreads", dtype, threads), func(b *testing.B) {
				e := newEngine(b, m, Options{Threads: threads, DType: dtype, Profile: true})
				for _, n := range []int{16, 32, 64, 128, 256, 512} {
					x := randomBatch(c, rand.New(rand.NewPCG(1, 2)), n)
					b.Run(fmt.Sprintf("%dtokens", n), func(b *testing.B) {
						logits := make([]float32, 3)
						e.Profile()
						for b.Loop() {
							if _, err := e.PredictTokens(logits, x.ids, x.typeIDs, x.offsets); err != nil {
								b.Fatal(err)
							}
						}
						b.ReportMetric(operations(c, n)*float64(b.N)/b.Elapsed().Seconds()/1e9, "Gop/s")
						for _, s := range e.Profile() {
							b.ReportMetric(float64(s.Time.Microseconds())/float64(b.N), s.Stage+"-µs")
						}
					})
				}
			})
		}
	}
}

// operations counts the multiplications and additions of the products.
func operations(c checkpoints.Config, n int) float64 {
	h, sum := float64(c.HiddenSize), 0.0
	for i, l := range c.Layers {
		a, rows := float64(l.Heads*c.HeadDim), float64(n)
		keys := 2 * h * a * rows
		if i == len(c.Layers)-1 {
			rows = 1
		}
		sum += keys + rows*(2*h*a+2*h*float64(l.Intermediate)+2*a*float64(n))
	}
	return 2 * sum
}

// staticModel is an int8 model whose input scales were calibrated on a batch.
func staticModel(t testing.TB, m *checkpoints.Model, b batch) *checkpoints.Model {
	t.Helper()
	var c quantize.Calibration
	predict(t, newEngine(t, m, Options{Observe: c.Observe}), b)
	q, err := quantize.Int8(m)
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Static(q, quantize.MinMax)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Neither the level, nor the threads, nor the company of other sequences
// changes a bit of static int8, and it is as close to float as dynamic int8.
func TestStaticInt8(t *testing.T) {
	for name, c := range configs {
		t.Run(name, func(t *testing.T) {
			m := randomModel(c, 21)
			b := randomBatch(c, rand.New(rand.NewPCG(22, 23)), 1, 30, 97, 5)
			s := staticModel(t, m, b)
			var want []float32
			for _, level := range kernels.Available() {
				restore := kernels.Use(level)
				for _, threads := range []int{1, 2, 3} {
					if level == kernels.Generic && threads != 2 {
						continue // slow
					}
					e := newEngine(t, s, Options{Threads: threads})
					got := predict(t, e, b)
					if want == nil {
						want = got
					}
					if !sameBits(got, want) {
						t.Errorf("%v, %d threads: other logits", level, threads)
					}
					for i := range b.sequences() {
						if level > kernels.Generic && !sameBits(predict(t, e, b.sequence(i)), want[i*3:i*3+3]) {
							t.Errorf("%v, %d threads: sequence %d alone has other logits", level, threads, i)
						}
					}
				}
				restore()
			}
			// Observing takes the steps one by one.
			if !sameBits(predict(t, newEngine(t, s, Options{Observe: func(string, []float32) {}}), b), want) {
				t.Error("an observed engine gives other logits")
			}
			float := predict(t, newEngine(t, m, Options{}), b)
			dynamic := largestDifference(predict(t, newEngine(t, m, Options{DType: Int8}), b), float)
			if d := largestDifference(want, float); !(d < 4*dynamic) || sameBits(want, predict(t, newEngine(t, m, Options{DType: Int8}), b)) {
				t.Errorf("static differs by %g from float, dynamic by %g", d, dynamic)
			}
			e := newEngine(t, s, Options{Threads: 1})
			logits := predict(t, e, b)
			if allocs := testing.AllocsPerRun(3, func() { e.PredictTokens(logits, b.ids, b.typeIDs, b.offsets) }); allocs != 0 {
				t.Errorf("%v allocations", allocs)
			}
		})
	}
}

func TestInputScalesOfOneInputAgree(t *testing.T) {
	t.Parallel()
	c := configs["head 32"]
	m := randomModel(c, 24)
	s := staticModel(t, m, randomBatch(c, rand.New(rand.NewPCG(1, 2)), 9))
	name := layerName(0) + "attention.self.value.input_scale"
	s.Tensors[name] = checkpoints.NewTensor([]int{1}, []float32{1})
	if _, err := New(s, Options{}); err == nil || !strings.Contains(err.Error(), name) {
		t.Errorf("%v", err)
	}
	// In float nothing is quantized.
	newEngine(t, s, Options{DType: F32})
}

// Every layer's input is shown, of the last one what the first tokens need.
func TestObserve(t *testing.T) {
	t.Parallel()
	c := configs["head 26 uneven"]
	m := randomModel(c, 25)
	b := randomBatch(c, rand.New(rand.NewPCG(1, 2)), 30, 7, 40)
	for _, threads := range []int{1, 2} {
		var mu sync.Mutex
		rows := map[string]int{}
		e := newEngine(t, m, Options{Threads: threads, Observe: func(weight string, x []float32) {
			mu.Lock()
			rows[weight] += len(x) / m.Tensors[weight].Shape[1]
			mu.Unlock()
		}})
		predict(t, e, b)
		for _, name := range quantize.LinearWeights(c) {
			want := 77
			if strings.Contains(name, "layer.2.") && !strings.Contains(name, "self.key") && !strings.Contains(name, "self.value") {
				want = 3
			}
			if rows[name] != want {
				t.Errorf("%d threads: %d rows of %s, want %d", threads, rows[name], name, want)
			}
		}
	}
}

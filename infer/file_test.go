package infer

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/quantize"
)

// fileModels writes a model in each form that an engine opens, and returns the
// file with the weights and the path to open. A vocabulary that is copied is not read
// in the file.
var fileModels = []struct {
	name   string
	copied bool
	save   func(t *testing.T, m *checkpoints.Model, dir string) (weights, path string, err error)
}{
	{"safetensors", false, func(t *testing.T, m *checkpoints.Model, dir string) (string, string, error) {
		return filepath.Join(dir, "model.safetensors"), dir, m.SaveHF(dir)
	}},
	{"f32", false, func(t *testing.T, m *checkpoints.Model, dir string) (string, string, error) {
		return saveAs(m, dir)
	}},
	{"fp16", true, func(t *testing.T, m *checkpoints.Model, dir string) (string, string, error) {
		return saveAs(must(quantize.Floats(m, checkpoints.F16))(t), dir)
	}},
	{"bf16", true, func(t *testing.T, m *checkpoints.Model, dir string) (string, string, error) {
		return saveAs(must(quantize.Floats(m, checkpoints.BF16))(t), dir)
	}},
	{"int8", false, func(t *testing.T, m *checkpoints.Model, dir string) (string, string, error) {
		return saveAs(must(quantize.Int8(m))(t), dir)
	}},
	{"int8 embeddings", false, func(t *testing.T, m *checkpoints.Model, dir string) (string, string, error) {
		return saveAs(must(quantize.Int8Weights(m, append(quantize.LinearWeights(m.Config), quantize.Embeddings()...)))(t), dir)
	}},
	{"small", true, func(t *testing.T, m *checkpoints.Model, dir string) (string, string, error) {
		few := make([]int, fewTokens)
		for i := range few {
			few[i] = i
		}
		return saveAs(must(m.Take(checkpoints.Cut{Axis: checkpoints.Vocabulary, Keep: few}))(t), dir)
	}},
}

func saveAs(m *checkpoints.Model, dir string) (weights, path string, err error) {
	path = filepath.Join(dir, "model.skive")
	return path, path, m.SaveSkive(path)
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// fileChanges are what may happen to the file of a model in use. After those that
// do not write to it, answers go on.
var fileChanges = []struct {
	name   string
	change func(weights string) error
	goesOn bool
}{
	{"cut to nothing", func(w string) error { return os.Truncate(w, 0) }, false},
	{"cut within a page", func(w string) error { return os.Truncate(w, 5000) }, false},
	{"cut to a half", func(w string) error { return os.Truncate(w, size64(w)/2) }, false},
	{"overwritten by zeros", func(w string) error { return os.WriteFile(w, make([]byte, size64(w)), 0o666) }, false},
	{"overwritten by a short text", func(w string) error { return os.WriteFile(w, []byte("oops\n"), 0o666) }, false},
	{"overwritten by more", func(w string) error { return os.WriteFile(w, make([]byte, 2*size64(w)), 0o666) }, false},
	{"overwritten in place, its time kept", func(w string) error {
		info, err := os.Stat(w)
		if err != nil {
			return err
		}
		before := info.ModTime().Add(-time.Hour) // as cp -p or rsync set that of the source
		return errors.Join(os.WriteFile(w, make([]byte, info.Size()), 0o666), os.Chtimes(w, before, before))
	}, false},
	{"replaced by renaming", func(w string) error {
		return errors.Join(os.WriteFile(w+".new", []byte("another"), 0o666), os.Rename(w+".new", w))
	}, true},
	{"removed", os.Remove, true},
	{"touched", func(w string) error { return os.Chtimes(w, time.Now(), time.Now()) }, false},
	{"a byte of it changed", func(w string) error {
		f, err := os.OpenFile(w, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteAt([]byte{1}, size64(w)/3)
		return errors.Join(err, f.Close())
	}, false},
	{"given other rights", func(w string) error { return os.Chmod(w, 0o400) }, true},
	{"extended", func(w string) error {
		f, err := os.OpenFile(w, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteString("more")
		return errors.Join(err, f.Close())
	}, false},
}

func size64(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// fewTokens are those of a vocabulary that is small enough to be copied.
const fewTokens = smallTable / (4 * 64)

// fileModel has a vocabulary of many pages.
func fileModel(t *testing.T) *checkpoints.Model {
	c := config(64, 32, "gelu", size(2, 64))
	c.VocabSize = 4200 // more than smallTable, in int8 too
	m := randomModel(c, 4)
	m.Tokenizer = textModel(t).Tokenizer
	return m
}

// An engine or pool whose file changes gives the answers that it gave before, or
// an error that names the file; then it is closed.
func TestFileChanges(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("files are read whole, and cannot be changed while they are open")
	}
	m := fileModel(t)
	r := rand.New(rand.NewPCG(1, 2))
	small := m.Config
	small.VocabSize = fewTokens
	few, many := randomBatch(small, r, 7), randomBatch(small, r, 150, 120, 99, 160)
	for _, form := range fileModels {
		copied := form.copied
		for i, c := range fileChanges {
			if copied && i > 0 {
				continue
			}
			for _, noMap := range []bool{false, true} {
				if noMap && form.name != "f32" && form.name != "int8 embeddings" {
					continue
				}
				t.Run(form.name+"/"+c.name+map[bool]string{true: "/no map"}[noMap], func(t *testing.T) {
					weights, path, err := form.save(t, m, t.TempDir())
					if err != nil {
						t.Fatal(err)
					}
					o := Options{Threads: 2, NoMap: noMap}
					engine := must(Open(path, o))(t)
					defer engine.Close()
					pool := must(OpenPool(path, PoolOptions{Options: o, Instances: 2}))(t)
					defer pool.Close()
					ctx := context.Background()
					calls := map[string]func() ([]float32, error){
						"few":  func() ([]float32, error) { return engine.PredictTokens(nil, few.ids, few.typeIDs, few.offsets) },
						"many": func() ([]float32, error) { return engine.PredictTokens(nil, many.ids, many.typeIDs, many.offsets) },
						"pool": func() ([]float32, error) {
							return pool.PredictTokens(ctx, nil, many.ids, many.typeIDs, many.offsets)
						},
						"text": func() ([]float32, error) {
							p, err := pool.Predict(ctx, []Input{{Text: "the room was clean"}})
							if err != nil {
								return nil, err
							}
							return p[0].Logits, nil
						},
					}
					want := map[string][]float32{}
					for name, call := range calls {
						want[name] = must(call())(t)
					}
					if err := c.change(weights); err != nil {
						t.Fatal(err)
					}
					goesOn := c.goesOn || noMap || copied
					for range 2 {
						for name, call := range calls {
							got, err := call()
							if err == nil && sameBits(got, want[name]) && goesOn {
								continue
							}
							var file *ModelFileError
							if goesOn || !errors.As(err, &file) || file.Path != weights || !strings.Contains(err.Error(), weights) {
								t.Fatalf("%s: %v, %v; expected the same answer: %v", name, got, err, goesOn)
							}
						}
					}
					if _, err := calls["many"](); !goesOn && !errors.Is(err, ErrClosed) {
						t.Errorf("%v, expected ErrClosed", err)
					}
				})
			}
		}
	}
}

// A file that is cut off while many goroutines ask a pool ends each call in an
// answer or an error.
func TestFileCutUnderLoad(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("files are read whole")
	}
	m := fileModel(t)
	small := m.Config
	small.VocabSize = fewTokens
	for _, form := range fileModels {
		t.Run(form.name, func(t *testing.T) {
			weights, path, err := form.save(t, m, t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			pool := must(OpenPool(path, PoolOptions{Options: Options{Threads: 2}, Instances: 3}))(t)
			r := rand.New(rand.NewPCG(1, 2))
			var group sync.WaitGroup
			var answered, failed atomic.Int64
			copied := form.copied
			begun := make(chan struct{}, 8)
			var cut atomic.Bool
			for range 8 {
				b := randomBatch(small, r, 40, 3, 160)
				want, err := pool.PredictTokens(context.Background(), nil, b.ids, b.typeIDs, b.offsets)
				if err != nil {
					t.Fatal(err)
				}
				group.Go(func() {
					for i, after := 0, 0; after < 5; i++ {
						late := cut.Load()
						if late {
							after++
						}
						got, err := pool.PredictTokens(context.Background(), nil, b.ids, b.typeIDs, b.offsets)
						var file *ModelFileError
						switch {
						case err == nil && sameBits(got, want) && (copied || !late):
							answered.Add(1)
						case errors.As(err, &file):
							failed.Add(1)
						default:
							t.Errorf("%v, %v", got, err)
						}
						if i == 3 {
							begun <- struct{}{}
						}
					}
				})
			}
			for range 8 {
				<-begun
			}
			if err := os.Truncate(weights, 0); err != nil {
				t.Fatal(err)
			}
			cut.Store(true)
			group.Wait()
			if err := pool.Close(); err != nil {
				t.Error(err)
			}
			if answered.Load() == 0 || (failed.Load() == 0) != copied {
				t.Errorf("%d answered, %d failed", answered.Load(), failed.Load())
			}
		})
	}
}

// Files that change while they are read end in an error of Open, or in none.
func TestFileCutWhileOpening(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("files are read whole")
	}
	m := fileModel(t)
	for _, form := range fileModels {
		for i := range 4 {
			weights, path, err := form.save(t, m, t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				time.Sleep(time.Duration(i) * 400 * time.Microsecond)
				os.Truncate(weights, 0)
			}()
			e, err := Open(path, Options{Threads: 2})
			<-done
			if err == nil {
				e.Close()
			} else if !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: %v", form.name, err)
			}
		}
	}
}

// Outputs that are no numbers are an error that names the input. The engine goes
// on, and who asks a pool for something else is answered.
func TestNotFinite(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	good, bad := Input{Text: "the"}, Input{Text: "room"}
	heads := map[string]struct {
		head      head.Kind
		embedding string
	}{
		"label": {}, "labels": {head: head.MultiLabel}, "number": {head: head.Regression},
		"choice": {head: head.MultipleChoice}, "words": {head: head.TokenClassification},
		"mean": {embedding: Mean}, "cls": {embedding: CLS},
	}
	for name, h := range heads {
		for _, dtype := range []string{F32, FP16, BF16, Int8} {
			t.Run(name+"/"+dtype, func(t *testing.T) {
				m := textModel(t)
				m.Config.Head = h.head
				if h.head == head.TokenClassification {
					delete(m.Tensors, "bert.pooler.dense.weight")
					delete(m.Tensors, "bert.pooler.dense.bias")
				}
				if h.head == head.Regression || h.head == head.MultipleChoice {
					m.Config.Labels = m.Config.Labels[:1]
					for _, w := range []string{"classifier.weight", "classifier.bias"} {
						tensor := m.Tensors[w]
						tensor.Shape = append([]int{1}, tensor.Shape[1:]...)
						tensor.Data = tensor.Data[:4*tensor.Elements()]
						m.Tensors[w] = tensor
					}
				}
				// The sum of the embedding overflows in LayerNorm.
				id, hidden := slices.Index(vocabulary, "room"), m.Config.HiddenSize
				for i := range hidden {
					m.Tensors["bert.embeddings.word_embeddings.weight"].Float32s()[id*hidden+i] = 3e38
				}
				o := Options{Threads: 2, DType: dtype, Embedding: h.embedding}
				engine := newEngine(t, m, o)
				pool := must(NewPool(m, PoolOptions{Options: o, Instances: 1, MaxDelay: 20 * time.Millisecond}))(t)
				defer pool.Close()
				type model interface {
					Predict(context.Context, []Input) ([]Prediction, error)
					Embed(context.Context, []Input) ([][]float32, error)
				}
				ask := func(on model, inputs ...Input) error {
					if h.head == head.MultipleChoice {
						for i := range inputs {
							inputs[i] = Input{Text: "clean", Choices: []string{"the", inputs[i].Text}}
						}
					}
					var err error
					if h.embedding != "" {
						_, err = on.Embed(ctx, inputs)
					} else {
						_, err = on.Predict(ctx, inputs)
					}
					return err
				}
				var number *NotFiniteError
				for _, on := range []model{engine, pool} {
					if err := ask(on, good, good, bad, good); !errors.As(err, &number) || number.Input != 2 {
						t.Errorf("%v, expected a *NotFiniteError of input 2", err)
					}
					if err := ask(on, good, good); err != nil {
						t.Error(err)
					}
				}
				var group sync.WaitGroup
				for i := range 6 {
					group.Go(func() {
						input := []Input{good, bad}[i%2]
						if err := ask(pool, input); errors.As(err, new(*NotFiniteError)) != (input.Text == bad.Text) {
							t.Errorf("%s: %v", input.Text, err)
						}
					})
				}
				group.Wait()
			})
		}
	}
}

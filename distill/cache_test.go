package distill

import (
	"bytes"
	"context"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/skive-ml/skive/autograd"
	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/evaluate"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/golden"
	"github.com/skive-ml/skive/progress"
)

func sameTensors(a, b *checkpoints.Model) bool {
	return maps.EqualFunc(a.Tensors, b.Tensors, func(a, b checkpoints.Tensor) bool { return bytes.Equal(a.Data, b.Data) })
}

// Every test has several shards of a set.
func init() { shardExamples = 10 }

// stores lists the files of a cache with their contents.
func stores(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	found := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			found[path], err = os.ReadFile(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestTheCacheChangesNoBit(t *testing.T) {
	t.Parallel()
	teacher, ds := golden.Model(t), golden.Data(t)
	student := narrowStudent(t, teacher)
	run := func(cache string, limit int64) *checkpoints.Model {
		o := everything()
		o.Epochs, o.Cache, o.CacheMax = 2, cache, limit
		m, _, err := Run(context.Background(), teacher, student, ds, nil, o)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	want := run("", 0)
	dir := t.TempDir()
	for _, c := range []struct {
		name  string
		limit int64
	}{{"an empty cache", 1 << 20}, {"a full cache", 1 << 20}, {"a cache used under a smaller limit", 10000}} {
		if !sameTensors(run(dir, c.limit), want) {
			t.Errorf("%s: other weights than without", c.name)
		}
	}
	var names []string
	for path := range stores(t, dir) {
		names = append(names, filepath.Base(path))
	}
	slices.Sort(names)
	if names = slices.Compact(names); !slices.Equal(names, []string{"embeddings", "hidden.1", "logits", "qkv.1"}) {
		t.Errorf("the cache holds %v", names)
	}
	dir = t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if !sameTensors(run(filepath.Join(file, "cache"), 1<<20), want) {
		t.Error("a cache that cannot be made: other weights than without")
	}
	dir = t.TempDir()
	if !sameTensors(run(dir, 20000), want) {
		t.Error("a cache that holds some examples: other weights than without")
	}
	used := 0
	for path, b := range stores(t, dir) {
		if filepath.Base(path) != "logits" {
			states := b[layoutIn(t, b).sumsAt:]
			used += len(states) - bytes.Count(states, []byte{0})
		}
	}
	if used == 0 || used > 22000 {
		t.Errorf("under a limit of 20000 bytes the states take %d", used)
	}
}

// provider is a teacher of the tiny model's with the given outputs, or with all
// kinds of them.
func provider(t *testing.T, dir string, workers *autograd.Workers, outputs ...*output) *teacher {
	t.Helper()
	m := golden.Model(t)
	set, err := evaluate.Encode(m, golden.Data(t), 0)
	if err != nil {
		t.Fatal(err)
	}
	if outputs == nil {
		outputs = []*output{
			{part: Logits, columns: 3}, {tokens: true, part: Embeddings, columns: 32}, {tokens: true, part: Hidden, layer: 0, columns: 32},
			{part: First, layer: 1, columns: 32}, {tokens: true, part: QKV, layer: 1, columns: 96},
		}
	}
	p := &teacher{model: m, set: set, share: 1, workers: workers, threads: 1, outputs: outputs}
	if err := p.remember(dir, 1<<20, true); err != nil {
		t.Fatal(err)
	}
	return p
}

// layoutIn is the layout of a shard's bytes.
func layoutIn(t *testing.T, b []byte) *layout {
	t.Helper()
	path := filepath.Join(t.TempDir(), "shard")
	if err := os.WriteFile(path, b, 0o666); err != nil {
		t.Fatal(err)
	}
	s, err := openShard(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	return &s.layout
}

func outputsOf(t *testing.T, p *teacher, examples []int32) [][]float32 {
	t.Helper()
	if err := p.of(examples); err != nil {
		t.Fatal(err)
	}
	var all [][]float32
	for _, o := range p.outputs {
		all = append(all, slices.Clone(o.values))
	}
	return all
}

func equalOutputs(a, b [][]float32) bool {
	return slices.EqualFunc(a, b, func(a, b []float32) bool { return slices.Equal(a, b) })
}

func TestTheTeacherIsAskedOnce(t *testing.T) {
	t.Parallel()
	workers := autograd.NewWorkers(1)
	defer workers.Close()
	dir := t.TempDir()
	first := provider(t, dir, workers)
	want := outputsOf(t, first, []int32{3, 0, 7})
	if len(first.missing) != 3 {
		t.Errorf("%d examples computed, want 3", len(first.missing))
	}
	for _, c := range []struct {
		name    string
		damage  func(file string, b []byte)
		missing int
	}{
		{"complete", func(string, []byte) {}, 0},
		{"a flipped bit in an output", func(file string, b []byte) {
			if file == "hidden.0" {
				b[len(b)-1] ^= 1 // the last example's: not asked for
				from := layoutIn(t, b).at[0][0]
				at := bytes.IndexFunc(b[from:], func(r rune) bool { return r != 0 })
				b[int(from)+at] ^= 0x10
			}
		}, 1},
		{"a lost checksum", func(file string, b []byte) {
			if file == "qkv.1" {
				copy(b[layoutIn(t, b).sumsAt+4*7:], make([]byte, 4))
			}
		}, 1},
		{"a checksum without its output", func(file string, b []byte) {
			if file == "logits" {
				clear(b[layoutIn(t, b).at[0][0]:])
			}
		}, 3},
		{"another header", func(file string, b []byte) {
			if file == "embeddings" {
				b[20] ^= 1
			}
		}, 3},
		{"a truncated file", func(file string, b []byte) {}, 3},
	} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			c.damage(d.Name(), b)
			if c.name == "a truncated file" && d.Name() == "cls.1" {
				b = b[:len(b)/2]
			}
			return os.WriteFile(path, b, 0o666)
		})
		if err != nil {
			t.Fatal(err)
		}
		p := provider(t, dir, workers)
		got := outputsOf(t, p, []int32{3, 0, 7})
		if len(p.missing) != c.missing {
			t.Errorf("%s: %d examples computed again, want %d", c.name, len(p.missing), c.missing)
		}
		if (p.session == nil) != (c.missing == 0) {
			t.Errorf("%s: the teacher's graph is made: %v", c.name, p.session != nil)
		}
		if !equalOutputs(got, want) {
			t.Errorf("%s: other outputs", c.name)
		}
		if alone := outputsOf(t, p, []int32{0}); !slices.Equal(alone[0], want[0][3:6]) {
			t.Errorf("%s: the logits of an example depend on the others of its batch", c.name)
		}
		p.Close()
	}
	first.Close()
}

// TestLogitsAreTheSameFromEngineAndGraph: which of the two computes a teacher's
// logits depends on what else the losses read.
func TestLogitsAreTheSameFromEngineAndGraph(t *testing.T) {
	t.Parallel()
	workers := autograd.NewWorkers(1)
	defer workers.Close()
	for i := range 4 {
		layer, precision := i%2, []string{infer.F32, infer.BF16}[i/2]
		var logits [][]float32
		for _, outputs := range [][]*output{
			{{part: Logits, columns: 3}},
			{{part: Logits, columns: 3}, {tokens: true, part: Hidden, layer: layer, columns: 32}},
		} {
			p := provider(t, t.TempDir(), workers, outputs...)
			p.precision = precision
			logits = append(logits, outputsOf(t, p, []int32{3, 0, 7})[0])
			if (p.engine != nil) != (len(outputs) == 1) || (p.session != nil) != (len(outputs) == 2) {
				t.Errorf("%d outputs: engine %v, graph %v", len(outputs), p.engine != nil, p.session != nil)
			}
			p.Close()
		}
		if !slices.Equal(logits[0], logits[1]) {
			t.Errorf("%s, beside layer %d: %v and %v", precision, layer, logits[0], logits[1])
		}
	}
}

func TestTheCacheIsKeyedByTeacherTokenizerAndData(t *testing.T) {
	t.Parallel()
	m, ds := golden.Model(t), golden.Data(t)
	precision := infer.F32
	key := func(m *checkpoints.Model, ds *data.Dataset, length int) [32]byte {
		set, err := evaluate.Encode(m, ds, length)
		if err != nil {
			t.Fatal(err)
		}
		k, err := cacheKey(m, precision)
		if err != nil {
			t.Fatal(err)
		}
		l, err := layoutOf(k, set, 0, []*output{{part: Logits, columns: 3}})
		if err != nil {
			t.Fatal(err)
		}
		return l.key
	}
	want := key(m, ds, 0)
	if key(m.Clone(), ds, 0) != want {
		t.Error("equal inputs, other keys")
	}
	weights, files := m.Clone(), m.Clone()
	weights.Tensors["classifier.bias"].Data[0] ^= 1
	files.Tokenizer["more"] = []byte("x")
	other := golden.Data(t)
	other.Examples[2].Text += " w5"
	for name, got := range map[string][32]byte{
		"weights": key(weights, ds, 0), "tokenizer": key(files, ds, 0), "data": key(m, other, 0), "length": key(m, ds, 6),
	} {
		if got == want {
			t.Errorf("other %s, the same key", name)
		}
	}
	precision = infer.BF16
	if key(m, ds, 0) == want {
		t.Error("other precision, the same key")
	}
}

// What an earlier version kept is made anew, and said to be.
func TestCachesOfAnEarlierVersion(t *testing.T) {
	t.Parallel()
	workers := autograd.NewWorkers(1)
	defer workers.Close()
	dir := t.TempDir()
	old := filepath.Join(dir, "0123456789abcdef", "logits")
	if err := os.MkdirAll(filepath.Dir(old), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(old, append([]byte(earlierMagic), make([]byte, 100)...), 0o666); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	p := provider(t, "", workers)
	p.progress = progress.Log(slog.New(slog.NewTextHandler(&said, nil)))
	if err := p.remember(dir, 1<<20, true); err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if n := strings.Count(said.String(), "\n"); n != 1 || !strings.Contains(said.String(), "format of an earlier version") {
		t.Errorf("%s", said.String())
	}
}

package checkpoints

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// TestPythonReader has benchmarks/read_skive.py, which was written from
// docs/format.md alone, read what this package writes.
func TestPythonReader(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("there is no python3")
	}
	read := func(path string) ([]byte, string, error) {
		var stderr bytes.Buffer
		c := exec.Command(python, filepath.Join("..", "benchmarks", "read_skive.py"), path)
		c.Stderr = &stderr
		out, err := c.Output()
		return out, stderr.String(), err
	}
	half, err := tinyModel().Convert(F16)
	check(t, err)
	brain, err := tinyModel().Convert(BF16)
	check(t, err)
	dir := t.TempDir()
	for name, m := range map[string]*Model{"f32": tinyModel(), "uneven": uneven(), "f16": half, "bf16": brain, "int8": int8Model()} {
		path := filepath.Join(dir, name)
		check(t, m.SaveSkive(path))
		out, stderr, err := read(path)
		if err != nil {
			t.Fatalf("%s: %v: %s", name, err, stderr)
		}
		var got struct {
			Kind       string `json:"kind"`
			Config     json.RawMessage
			Provenance []struct {
				Name     string
				Time     float64
				Settings map[string]string
				Measured map[string]float64
			}
			Sections []struct {
				Name, Type, SHA256 string
				Shape              []int
				CRC32C             uint32
				First, Last, Sum   float64
			}
		}
		check(t, json.Unmarshal(out, &got))
		cfg, err := ParseConfig(got.Config)
		check(t, err)
		if !reflect.DeepEqual(cfg, m.Config) || got.Kind != kindModel {
			t.Errorf("%s: configuration %+v of %s", name, cfg, got.Kind)
		}
		for i, s := range m.Provenance {
			if g := got.Provenance[i]; g.Name != s.Name || int64(g.Time) != s.Time.Unix() || !reflect.DeepEqual(g.Settings, s.Settings) || !reflect.DeepEqual(g.Measured, s.Measured) {
				t.Errorf("%s: provenance %+v", name, g)
			}
		}
		b, err := os.ReadFile(path)
		check(t, err)
		_, sections, err := readContainer(b, kindModel, &verification{})
		check(t, err)
		if len(got.Sections) != len(sections) {
			t.Fatalf("%s: %d sections, want %d", name, len(got.Sections), len(sections))
		}
		sums := b[len(b)-trailerFixed-4*len(sections):]
		for i, s := range sections {
			g, sum := got.Sections[i], sha256.Sum256(s.data)
			if g.Name != s.name || g.Type != s.dtype || !slices.Equal(g.Shape, s.shape) || g.SHA256 != hex.EncodeToString(sum[:]) || g.CRC32C != binary.LittleEndian.Uint32(sums[4*i:]) {
				t.Errorf("%s: section %+v, want %s %s %v", name, g, s.name, s.dtype, s.shape)
			}
			if s.dtype == rawBytes {
				continue
			}
			values, err := m.Float32s(s.name)
			check(t, err)
			want := 0.0
			for _, v := range values {
				want += float64(v)
			}
			near := func(a, b float64) bool { return math.Abs(a-b) <= 1e-6*(1+math.Abs(b)) }
			if !near(g.First, float64(values[0])) || !near(g.Last, float64(values[len(values)-1])) || !near(g.Sum, want) {
				t.Errorf("%s: tensor %s is %g ... %g, sum %g; want sum %g", name, s.name, g.First, g.Last, g.Sum, want)
			}
		}
	}
	state := filepath.Join(dir, "state")
	check(t, WriteState(state, State{map[string]any{"step": 3}, []Section{{"w", []float32{1, 2}}}}))
	if out, stderr, err := read(state); err != nil || !strings.Contains(string(out), `"sum": 3.0`) {
		t.Errorf("training state: %v, %s", err, stderr)
	}
	b, err := os.ReadFile(filepath.Join(dir, "int8"))
	check(t, err)
	for what, i := range map[string]int{"preamble": 20, "header": 70, "section": len(b) / 2, "trailer": len(b) - 30, "version 7": 12} {
		damaged := bytes.Clone(b)
		damaged[i] ^= 6
		path := filepath.Join(dir, "damaged")
		check(t, os.WriteFile(path, damaged, 0o666))
		if _, stderr, err := read(path); err == nil || !strings.Contains(stderr, what) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("damaged %s: %v: %s", what, err, stderr)
		}
	}
}

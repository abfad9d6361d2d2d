package serve

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/infer"
)

func TestDistance(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b map[string]float64
		want float64
	}{
		{map[string]float64{"a": 1}, map[string]float64{"a": 1}, 0},
		{map[string]float64{"a": 1}, map[string]float64{"b": 1}, 1},
		// scipy.spatial.distance.jensenshannon([0.1, 0.4, 0.5, 0], [0.25, 0.25, 0.25, 0.25], base=2)
		{map[string]float64{"a": 0.1, "b": 0.4, "c": 0.5}, map[string]float64{"a": 0.25, "b": 0.25, "c": 0.25, "d": 0.25}, 0.4383960},
	} {
		for _, got := range []float64{distance(c.a, c.b), distance(c.b, c.a)} {
			if math.Abs(got-c.want) > 1e-6 {
				t.Errorf("%v and %v: %v, want %v", c.a, c.b, got, c.want)
			}
		}
	}
}

// gauge reads a value of the metrics.
func gauge(t *testing.T, s *Server, name string) string {
	t.Helper()
	_, rest, ok := strings.Cut(ask(s, "GET", "/metrics", "").body, "\n"+name+" ")
	if !ok {
		return ""
	}
	value, _, _ := strings.Cut(rest, "\n")
	return value
}

// Requests like those of the reference are at no distance from it, others are far away; and
// the numbers tell no text.
func TestDrift(t *testing.T) {
	t.Parallel()
	m := newModel(t, head.SingleLabel, []string{"bad", "good"}, 2)
	p, err := infer.NewPool(m, infer.PoolOptions{Instances: 1})
	if err != nil {
		t.Fatal(err)
	}
	var inputs []infer.Input
	for _, text := range someTexts {
		inputs = append(inputs, infer.Input{Text: text})
	}
	stage, err := Reference(t.Context(), p, inputs)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"label/bad", "label/good", "score/0.9", "length/8", "unknown/no"} {
		if _, ok := stage.Measured[want]; !ok {
			t.Errorf("no %s in %v", want, stage.Measured)
		}
	}
	m.Provenance = append(m.Provenance, stage)
	path := save(t, m, filepath.Join(t.TempDir(), "m.skive"))
	s := newServer(t, Options{Models: []Model{{Name: "m", Path: path}}})
	for i := range 60 {
		if got := gauge(t, s, `skive_drift{kind="label",model="m"}`); i < 51 && got != "" {
			t.Fatalf("a distance of %d texts: %s", 5*i, got)
		}
		var batch [][]string
		for _, text := range someTexts {
			batch = append(batch, []string{text})
		}
		post[any](t, s, "/predict", object{"inputs": batch})
	}
	for _, kind := range []string{"label", "score", "length", "unknown"} {
		if got := gauge(t, s, `skive_drift{kind="`+kind+`",model="m"}`); got != "0" {
			t.Errorf("%s: %q", kind, got)
		}
	}
	if got := gauge(t, s, `skive_recent_texts{model="m"}`); got != "300" {
		t.Errorf("texts: %q", got)
	}
	strange := strings.Repeat("zebra ", 30)
	for range 2 * recentBlocks * blockTexts / 32 {
		batch := make([][]string, 32)
		for i := range batch {
			batch[i] = []string{strange}
		}
		post[any](t, s, "/predict", object{"inputs": batch})
	}
	if got := gauge(t, s, `skive_drift{kind="length",model="m"}`); got != "1" {
		t.Errorf("lengths: %q", got)
	}
	if got := gauge(t, s, `skive_drift{kind="unknown",model="m"}`); !strings.HasPrefix(got, "0.9") {
		t.Errorf("unknown: %q", got)
	}
	b, err := os.ReadFile(path)
	if err != nil || strings.Contains(string(b), someTexts[2]) || strings.Contains(ask(s, "GET", "/metrics", "").body, "zebra") {
		t.Errorf("a text was kept: %v", err)
	}
	// What was done to the model later voids the reference.
	if referenceOf(append(m.Provenance, checkpoints.Stage{Name: "train"})) != nil {
		t.Error("a reference of another model")
	}
}

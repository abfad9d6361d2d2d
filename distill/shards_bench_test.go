package distill

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/internal/golden"
	"github.com/skive-ml/skive/settings"
)

// BenchmarkReadShards holds the rate at which a teacher's outputs are read from shards against that
// at which a student of 4 layers of 312 is trained by them: relations and hidden states of a
// teacher of 12 layers of 768.
func BenchmarkReadShards(b *testing.B) {
	model := golden.Model(b)
	random := func(layers, hidden int) *checkpoints.Model {
		c := model.Config
		c.HiddenSize, c.HeadDim, c.Layers = hidden, hidden/12, nil
		for range layers {
			c.Layers = append(c.Layers, checkpoints.LayerSize{Heads: 12, Intermediate: 4 * hidden})
		}
		m := checkpoints.InitBERT(c, 1)
		m.Tokenizer = model.Tokenizer
		return m
	}
	teacher, student := random(12, 768), random(4, 312)
	text := &data.Dataset{Task: data.Task{Name: "text", Metric: "accuracy"}}
	for len(text.Examples) < 64 {
		for _, e := range golden.Data(b).Examples {
			text.Examples = append(text.Examples, data.Example{Text: e.Text, Label: -1})
		}
	}
	ctx, dir, o := context.Background(), b.TempDir(), Defaults()
	o.Soft, o.Relations, o.Hidden, o.RelationHeads, o.Steps, o.BatchSize = 0, 1, 1, 12, 8, 32
	if _, err := MakeShards(ctx, teacher, student, text, dir, settings.Shard{}, o); err != nil {
		b.Fatal(err)
	}
	var ratios []float64
	for b.Loop() {
		began := time.Now()
		_, result, err := GeneralFromShards(ctx, teacher, student, dir, o)
		if err != nil {
			b.Fatal(err)
		}
		trained := float64(result.Tokens) / time.Since(began).Seconds()
		set, err := openShards(dir)
		if err != nil {
			b.Fatal(err)
		}
		read, began := 0, time.Now()
		for range o.Steps {
			for i, description := range set.Outputs {
				to := &output{part: Hidden, columns: description.Columns}
				for example := range text.Examples {
					to.values = to.values[:0]
					to.add((&kept{set, i}).get(example))
					if i == 0 {
						read += len(to.values) / description.Columns
					}
				}
			}
		}
		ratios = append(ratios, float64(read)/time.Since(began).Seconds()/trained)
		if err := set.close(); err != nil {
			b.Fatal(err)
		}
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], "read/trained")
}

package train

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
)

// BenchmarkStep measures whole training steps, dropout included.
func BenchmarkStep(b *testing.B) {
	for _, c := range []struct {
		name                              string
		layers, hidden, heads, ffn, vocab int
		batch, words                      int
	}{
		{"2L-128/batch32/len16", 2, 128, 4, 512, 250, 32, 14},
		{"4L-312/batch16/len128", 4, 312, 12, 1200, 30522, 16, 126},
		{"6L-384/batch32/len26", 6, 384, 12, 1536, 30522, 32, 24},
	} {
		b.Run(c.name, func(b *testing.B) {
			cfg := checkpoints.Config{
				ModelType: "bert", VocabSize: c.vocab, MaxPositions: 128, TypeVocabSize: 2,
				HiddenSize: c.hidden, HeadDim: c.hidden / c.heads, Activation: "gelu", LayerNormEps: 1e-12,
				HiddenDropout: 0.1, AttentionDropout: 0.1, ClassifierDropout: 0.1,
				InitializerRange: 0.02, Labels: []string{"no", "yes"},
			}
			for range c.layers {
				cfg.Layers = append(cfg.Layers, checkpoints.LayerSize{Heads: c.heads, Intermediate: c.ffn})
			}
			m := checkpoints.InitBERT(cfg, 1)
			vocab := []string{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
			for i := len(vocab); i < c.vocab; i++ {
				vocab = append(vocab, fmt.Sprintf("w%d", i))
			}
			m.Tokenizer["vocab.txt"] = []byte(strings.Join(vocab, "\n") + "\n")
			ds := &data.Dataset{Task: data.Task{Name: "text", Labels: cfg.Labels, Metric: "accuracy"}}
			for i := range 10 * c.batch {
				text := make([]string, c.words)
				for j := range text {
					text[j] = vocab[5+(i*31+j*17)%(c.vocab-5)]
				}
				ds.Examples = append(ds.Examples, data.Example{Text: strings.Join(text, " "), Label: i % 2})
			}
			o := Defaults()
			const warm = 3
			o.Steps, o.BatchSize = b.N+warm, c.batch
			o.OnStep = func(r Record) {
				if r.Step == warm {
					b.ResetTimer()
				}
			}
			b.ReportAllocs()
			_, r, err := Run(context.Background(), m, ds, nil, o)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(r.History[0].Tokens)*float64(b.N)/b.Elapsed().Seconds(), "tokens/s")
		})
	}
}

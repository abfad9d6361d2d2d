package score

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/measure"
	"github.com/skive-ml/skive/quantize"
	"github.com/skive-ml/skive/settings"
	"github.com/skive-ml/skive/tokenize"
)

// benchmarked makes an int8 model of MiniLM's shape (6L-384) with random weights and a WordPiece
// vocabulary of random words, and rows of those words, a third of which are several pieces.
func benchmarked(b *testing.B, rows int) (model string, all []string) {
	b.Helper()
	r := rand.New(rand.NewPCG(3, 4))
	vocabulary := []string{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
	seen := map[string]bool{}
	for len(vocabulary) < 30522 {
		word := make([]byte, 2+r.IntN(7))
		for i := range word {
			word[i] = byte('a' + r.IntN(26))
		}
		piece := string(word)
		if len(vocabulary)%4 == 0 {
			piece = "##" + piece
		}
		if !seen[piece] {
			seen[piece] = true
			vocabulary = append(vocabulary, piece)
		}
	}
	for i := range rows {
		var words []string
		for range 5 + (i*7)%30 {
			word := vocabulary[5+r.IntN(len(vocabulary)-5)]
			if word[0] == '#' {
				word = vocabulary[5] + word[2:]
			}
			words = append(words, strings.TrimPrefix(word, "##"))
		}
		all = append(all, strings.Join(words, " "))
	}
	cfg, err := checkpoints.ParseConfig([]byte(`{"model_type":"bert","vocab_size":30522,"hidden_size":384,"num_hidden_layers":6,
		"num_attention_heads":12,"intermediate_size":1536,"max_position_embeddings":512,"id2label":{"0":"negative","1":"positive"}}`))
	if err != nil {
		b.Fatal(err)
	}
	m := checkpoints.InitBERT(cfg, 1)
	m.Tokenizer["vocab.txt"] = []byte(strings.Join(vocabulary, "\n") + "\n")
	m.Tokenizer["tokenizer_config.json"] = []byte(`{"tokenizer_class":"BertTokenizer"}`)
	q, err := quantize.Int8(m)
	if err != nil {
		b.Fatal(err)
	}
	model = filepath.Join(b.TempDir(), "model.skive")
	if err := q.SaveSkive(model); err != nil {
		b.Fatal(err)
	}
	return model, all
}

// BenchmarkScore holds a run over JSONL against the pool alone, which is given tokens, in turns.
// What is reported is rows a second of both, and the ratio.
func BenchmarkScore(b *testing.B) {
	const rows = 2000
	model, all := benchmarked(b, rows)
	dir := b.TempDir()
	in := makeInput(b, filepath.Join(dir, "in.jsonl"), all)
	pool, err := infer.OpenPool(model, infer.PoolOptions{MaxQueue: 1 << 16})
	if err != nil {
		b.Fatal(err)
	}
	defer pool.Close()
	tokenizer, err := pool.Tokenizer()
	if err != nil {
		b.Fatal(err)
	}
	type tokens struct{ ids, types []int32 }
	encoded := make([]tokens, rows)
	var e tokenize.Encoding
	for i, text := range all {
		if err := tokenizer.Encode(&e, text, tokenize.Options{MaxLength: 512}); err != nil {
			b.Fatal(err)
		}
		encoded[i] = tokens{append([]int32(nil), e.IDs...), append([]int32(nil), e.TypeIDs...)}
	}
	var alone, scored time.Duration
	for i := range b.N {
		began := time.Now()
		places := make(chan bool, 64*pool.Options().Instances)
		for _, t := range encoded {
			places <- true
			go func() {
				if _, err := pool.PredictTokens(context.Background(), nil, t.ids, t.types, []int32{0, int32(len(t.ids))}); err != nil {
					b.Error(err)
				}
				<-places
			}()
		}
		for range cap(places) {
			places <- true
		}
		alone += time.Since(began)
		o := Defaults()
		o.Models, o.Inputs, o.Output = []Model{{Path: model}}, []string{in}, filepath.Join(dir, fmt.Sprint("out", i))
		s, err := Open(o)
		if err != nil {
			b.Fatal(err)
		}
		p, err := NewPlan(context.Background(), o)
		if err != nil {
			b.Fatal(err)
		}
		began = time.Now()
		if err := s.run(context.Background(), p.share(&done{}).tasks, &collector{}, &meter{plan: p, task: unwatched{}, began: began}); err != nil {
			b.Fatal(err)
		}
		scored += time.Since(began)
		s.Close()
	}
	n := float64(rows * b.N)
	b.ReportMetric(n/alone.Seconds(), "pool-rows/s")
	b.ReportMetric(n/scored.Seconds(), "score-rows/s")
	b.ReportMetric(alone.Seconds()/scored.Seconds(), "score/pool")
}

type unwatched struct{}

func (unwatched) Set(int, string) {}
func (unwatched) Finish(string)   {}

// BenchmarkShards holds the processor time of four shards, of which each opens the model, against
// one call over everything.
func BenchmarkShards(b *testing.B) {
	model, all := benchmarked(b, 16000)
	dir := b.TempDir()
	in := makeInput(b, filepath.Join(dir, "in.jsonl.zst"), all)
	var whole, shared time.Duration
	for i := range b.N {
		o := Defaults()
		o.Models, o.Inputs, o.Block = []Model{{Path: model}}, []string{in}, 64<<10
		o.Output = filepath.Join(dir, fmt.Sprint("whole", i))
		began := measure.ProcessorTime()
		run(b, o)
		whole += measure.ProcessorTime() - began
		o.Output = filepath.Join(dir, fmt.Sprint("shared", i))
		began = measure.ProcessorTime()
		for k := range 4 {
			o.Shard = settings.Shard{Index: k, Of: 4}
			run(b, o)
		}
		shared += measure.ProcessorTime() - began
	}
	b.ReportMetric(shared.Seconds()/whole.Seconds(), "shards/whole")
}

package infer

import (
	"math"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
)

// reference computes the logits of one sequence in float64, by the book and
// without any of the engine's short cuts.
func reference(t testing.TB, m *checkpoints.Model, ids, typeIDs []int32) []float64 {
	t.Helper()
	c := m.Config
	h, d, n := c.HiddenSize, c.HeadDim, len(ids)
	get := func(name string) []float32 {
		v, err := m.Float32s(name)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	dense := func(name string, x []float64, rows int) []float64 {
		w, b := get(name+".weight"), get(name+".bias")
		in := len(w) / len(b)
		y := make([]float64, rows*len(b))
		for r := range rows {
			for o := range b {
				sum := float64(b[o])
				for i := range in {
					sum += x[r*in+i] * float64(w[o*in+i])
				}
				y[r*len(b)+o] = sum
			}
		}
		return y
	}
	norm := func(name string, x []float64) {
		g, b := get(name+".weight"), get(name+".bias")
		for r := 0; r < len(x); r += h {
			row := x[r : r+h]
			var mean, variance float64
			for _, v := range row {
				mean += v / float64(h)
			}
			for _, v := range row {
				variance += (v - mean) * (v - mean) / float64(h)
			}
			for i, v := range row {
				row[i] = (v-mean)/math.Sqrt(variance+float64(c.LayerNormEps))*float64(g[i]) + float64(b[i])
			}
		}
	}
	activate := func(x []float64) {
		for i, v := range x {
			switch c.Activation {
			case "gelu":
				x[i] = v / 2 * (1 + math.Erf(v/math.Sqrt2))
			case "gelu_new":
				x[i] = v / 2 * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(v+0.044715*v*v*v)))
			case "relu":
				x[i] = max(v, 0)
			case "silu":
				x[i] = v / (1 + math.Exp(-v))
			}
		}
	}

	word, position, kind := get("bert.embeddings.word_embeddings.weight"), get("bert.embeddings.position_embeddings.weight"), get("bert.embeddings.token_type_embeddings.weight")
	x := make([]float64, n*h)
	for i := range n {
		typ := 0
		if typeIDs != nil {
			typ = int(typeIDs[i])
		}
		for j := range h {
			x[i*h+j] = float64(word[int(ids[i])*h+j]) + float64(position[i*h+j]) + float64(kind[typ*h+j])
		}
	}
	norm("bert.embeddings.LayerNorm", x)
	for l, size := range c.Layers {
		p := layerName(l)
		q, k, v := dense(p+"attention.self.query", x, n), dense(p+"attention.self.key", x, n), dense(p+"attention.self.value", x, n)
		a := size.Heads * d
		ctx := make([]float64, n*a)
		for head := 0; head < a; head += d {
			for i := range n {
				p := make([]float64, n)
				largest := math.Inf(-1)
				for j := range n {
					for e := head; e < head+d; e++ {
						p[j] += q[i*a+e] * k[j*a+e] / math.Sqrt(float64(d))
					}
					largest = max(largest, p[j])
				}
				var sum float64
				for j := range p {
					p[j] = math.Exp(p[j] - largest)
					sum += p[j]
				}
				for j := range p {
					for e := head; e < head+d; e++ {
						ctx[i*a+e] += p[j] / sum * v[j*a+e]
					}
				}
			}
		}
		residual := func(name string, y []float64) {
			for i := range x {
				x[i] += y[i]
			}
			norm(name, x)
		}
		residual(p+"attention.output.LayerNorm", dense(p+"attention.output.dense", ctx, n))
		inner := dense(p+"intermediate.dense", x, n)
		activate(inner)
		residual(p+"output.LayerNorm", dense(p+"output.dense", inner, n))
	}
	pooled := dense("bert.pooler.dense", x[:h], 1)
	for i, v := range pooled {
		pooled[i] = math.Tanh(v)
	}
	return dense("classifier", pooled, 1)
}

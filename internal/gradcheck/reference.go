package gradcheck

import (
	"math"
	"slices"
)

// Linear returns act(x·wᵀ + b) of x [rows, in] and w [out, in]; b may be nil.
func Linear(x, w, b []float64, in int, act func(float64) float64) []float64 {
	rows, out := len(x)/in, len(w)/in
	y := make([]float64, rows*out)
	for i := range rows {
		for o := range out {
			s := 0.0
			for k := range in {
				s += x[i*in+k] * w[o*in+k]
			}
			if b != nil {
				s += b[o]
			}
			y[i*out+o] = act(s)
		}
	}
	return y
}

// Activation returns an activation by its name in Hugging Face's configurations or "tanh", and
// the identity for any other name.
func Activation(name string) func(float64) float64 {
	switch name {
	case "gelu":
		return func(x float64) float64 { return 0.5 * x * (1 + math.Erf(x/math.Sqrt2)) }
	case "gelu_new":
		return func(x float64) float64 {
			return 0.5 * x * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x)))
		}
	case "relu":
		return func(x float64) float64 { return math.Max(x, 0) }
	case "silu":
		return func(x float64) float64 { return x / (1 + math.Exp(-x)) }
	case "tanh":
		return math.Tanh
	}
	return func(x float64) float64 { return x }
}

// LayerNorm normalizes the rows of x + residual; residual may be nil.
func LayerNorm(x, residual, gamma, beta []float64, eps float64) []float64 {
	h := len(gamma)
	y := make([]float64, len(x))
	copy(y, x)
	for i := range residual {
		y[i] += residual[i]
	}
	for lo := 0; lo < len(y); lo += h {
		row := y[lo : lo+h]
		mean, variance := 0.0, 0.0
		for _, v := range row {
			mean += v / float64(h)
		}
		for _, v := range row {
			variance += (v - mean) * (v - mean) / float64(h)
		}
		for j, v := range row {
			row[j] = (v-mean)/math.Sqrt(variance+eps)*gamma[j] + beta[j]
		}
	}
	return y
}

// Embedding adds up one row from each of three matrices with h columns.
func Embedding(words, positions, types []float64, ids, positionIDs, typeIDs []int32, h int) []float64 {
	y := make([]float64, len(ids)*h)
	for t := range ids {
		for j := range h {
			y[t*h+j] = words[int(ids[t])*h+j] + positions[int(positionIDs[t])*h+j] + types[int(typeIDs[t])*h+j]
		}
	}
	return y
}

// SelfAttention returns multi-head attention within each sequence for packed queries, keys and
// values [tokens, 3*heads*dim]. mask is [sequences, heads] or nil.
func SelfAttention(qkv, mask []float64, offsets []int32, heads, dim int) []float64 {
	return BiasedAttention(qkv, mask, nil, offsets, heads, dim, 0)
}

// BiasedAttention is SelfAttention with bias, [heads, distances] or nil, added to the scores. The
// middle bias is for a key and query of the same token, the next one for a key one token later.
// If window is not 0, a query only sees keys up to this distance.
func BiasedAttention(qkv, mask, bias []float64, offsets []int32, heads, dim, window int) []float64 {
	width := heads * dim
	y := make([]float64, len(qkv)/3)
	for s := 0; s+1 < len(offsets); s++ {
		lo, hi := int(offsets[s]), int(offsets[s+1])
		for h := range heads {
			m := 1.0
			if mask != nil {
				m = mask[s*heads+h]
			}
			at := func(t, which, j int) float64 { return qkv[t*3*width+which*width+h*dim+j] }
			score := func(i, t int) (sum float64) {
				for j := range dim {
					sum += at(i, 0, j) * at(t, 1, j) / math.Sqrt(float64(dim))
				}
				if distances := len(bias) / heads; bias != nil {
					sum += bias[h*distances+distances/2+t-i]
				}
				return sum
			}
			add := func(y []float64, p float64, t int) {
				for j := range y {
					y[j] += p * at(t, 2, j)
				}
			}
			for i := lo; i < hi; i++ {
				scores := make([]float64, hi-lo)
				for t := range scores {
					scores[t] = score(i, lo+t)
					if beyond(window, i, lo+t) {
						scores[t] = math.Inf(-1)
					}
				}
				for t, l := range LogSoftmax(scores) {
					add(y[i*width+h*dim:][:dim], m*math.Exp(l), lo+t)
				}
			}
		}
	}
	return y
}

// RelativeScores returns the scores of a head's queries and keys in a sequence of n
// tokens from number lo on, as DeBERTa's attention has them before the softmax: those
// of x, [tokens, queries, keys and values], and the terms of distances, which are
// [rows, queries, keys and values] of the same heads. rows is the row for each distance
// of a key from a query; the middle one is for the same token.
func RelativeScores(x, distances []float64, rows []int32, lo, n, heads, dim, head int) [][]float64 {
	width := heads * dim
	of := func(m []float64, row, part int) []float64 { return m[row*3*width+part*width+head*dim:][:dim] }
	dot := func(a, b []float64) (sum float64) {
		for i, v := range a {
			sum += v * b[i]
		}
		return sum
	}
	scores := make([][]float64, n)
	for i := range scores {
		scores[i] = make([]float64, n)
		for j := range scores[i] {
			q, k, r := of(x, lo+i, 0), of(x, lo+j, 1), int(rows[len(rows)/2+j-i])
			scores[i][j] = (dot(q, k) + dot(q, of(distances, r, 1)) + dot(k, of(distances, r, 0))) / math.Sqrt(float64(3*dim))
		}
	}
	return scores
}

// RelativeAttention is SelfAttention with RelativeScores.
func RelativeAttention(qkv, mask, distances []float64, rows, offsets []int32, heads, dim int) []float64 {
	width := heads * dim
	y := make([]float64, len(qkv)/3)
	eachSequence(offsets, func(lo, n int) {
		for h := range heads {
			m := 1.0
			if mask != nil {
				m = mask[slices.Index(offsets, int32(lo))*heads+h]
			}
			for i, scores := range RelativeScores(qkv, distances, rows, lo, n, heads, dim, h) {
				for t, l := range LogSoftmax(scores) {
					for j := range dim {
						y[(lo+i)*width+h*dim+j] += m * math.Exp(l) * qkv[(lo+t)*3*width+2*width+h*dim+j]
					}
				}
			}
		}
	})
	return y
}

// RelativeAttentionLoss is AttentionLoss with RelativeScores, of models with equally many
// heads, for the distances "mse" and "kl".
func RelativeAttentionLoss(x, target, distances, targetDistances []float64, rows, offsets []int32, heads, dim, targetDim int, distance string) float64 {
	sum, count := 0.0, 0.0
	eachSequence(offsets, func(lo, n int) {
		for h := range heads {
			a, b := RelativeScores(x, distances, rows, lo, n, heads, dim, h), RelativeScores(target, targetDistances, rows, lo, n, heads, targetDim, h)
			for i := range n {
				count++
				if distance == "mse" {
					sum += MSE(a[i], b[i])
					continue
				}
				p, q := LogSoftmax(b[i]), LogSoftmax(a[i])
				for j := range p {
					sum += math.Exp(p[j]) * (p[j] - q[j])
				}
			}
		}
	})
	return sum / count
}

// beyond tells whether a key is outside of a query's window.
func beyond(window, query, key int) bool {
	return window > 0 && max(query-key, key-query) > window
}

// Rotary turns the first columns of x [tokens, width] like rotary positions of base θ, with heads
// of the given width.
func Rotary(x []float64, positions []int32, width, columns, head int, base float64) []float64 {
	y := slices.Clone(x)
	for t, p := range positions {
		for at := 0; at < columns; at += head {
			for k := range head / 2 {
				angle := float64(p) * math.Pow(base, -2*float64(k)/float64(head))
				a, b := t*width+at+k, t*width+at+k+head/2
				y[a] = x[a]*math.Cos(angle) - x[b]*math.Sin(angle)
				y[b] = x[b]*math.Cos(angle) + x[a]*math.Sin(angle)
			}
		}
	}
	return y
}

// Gated returns act(a)*b for the halves a and b of each row of 2*units numbers.
func Gated(x []float64, units int, act func(float64) float64) []float64 {
	var y []float64
	for row := range slices.Chunk(x, 2*units) {
		for j := range units {
			y = append(y, act(row[j])*row[units+j])
		}
	}
	return y
}

// SequenceMeans returns the mean over the rows, of h columns, for each sequence.
func SequenceMeans(x []float64, offsets []int32, h int) []float64 {
	y := make([]float64, (len(offsets)-1)*h)
	for s := range len(offsets) - 1 {
		for t := offsets[s]; t < offsets[s+1]; t++ {
			for j := range h {
				y[s*h+j] += x[int(t)*h+j] / float64(offsets[s+1]-offsets[s])
			}
		}
	}
	return y
}

// LogSoftmax returns x - log Σ exp(x).
func LogSoftmax(x []float64) []float64 {
	top := math.Inf(-1)
	for _, v := range x {
		top = math.Max(top, v)
	}
	sum := 0.0
	for _, v := range x {
		sum += math.Exp(v - top)
	}
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = v - top - math.Log(sum)
	}
	return y
}

// First returns the first row of each sequence in x, which has h columns.
func First(x []float64, offsets []int32, h int) []float64 {
	var y []float64
	for _, o := range offsets[:len(offsets)-1] {
		y = append(y, x[int(o)*h:int(o+1)*h]...)
	}
	return y
}

// SequenceMask multiplies each row of x by its sequence's row of mask.
func SequenceMask(x, mask []float64, offsets []int32) []float64 {
	y := make([]float64, len(x))
	n := len(offsets) - 1
	h := len(mask) / n
	for s := range n {
		for i := int(offsets[s]) * h; i < int(offsets[s+1])*h; i++ {
			y[i] = x[i] * mask[s*h+i%h]
		}
	}
	return y
}

// CrossEntropy returns the mean of -log softmax over the rows with a label.
func CrossEntropy(logits []float64, labels []int32) float64 {
	classes := len(logits) / len(labels)
	sum, n := 0.0, 0.0
	for i, l := range labels {
		if l >= 0 {
			sum -= LogSoftmax(logits[i*classes : (i+1)*classes])[l]
			n++
		}
	}
	return sum / n
}

// BinaryCrossEntropy returns the mean of -t*log σ(x) - (1-t)*log(1-σ(x)) over all elements.
func BinaryCrossEntropy(logits, target []float64) float64 {
	sum := 0.0
	for i, x := range logits {
		p := 1 / (1 + math.Exp(-x))
		sum -= target[i]*math.Log(p) + (1-target[i])*math.Log(1-p)
	}
	return sum / float64(len(logits))
}

// WeightedCrossEntropy is CrossEntropy with class weights and label smoothing.
func WeightedCrossEntropy(logits []float64, labels []int32, weights []float64, smoothing float64) float64 {
	classes := len(weights)
	sum, n := 0.0, 0.0
	for i, l := range labels {
		if l < 0 {
			continue
		}
		logQ := LogSoftmax(logits[i*classes : (i+1)*classes])
		n += weights[l]
		sum -= (1 - smoothing) * weights[l] * logQ[l]
		for c, w := range weights {
			sum -= smoothing / float64(classes) * w * logQ[c]
		}
	}
	return sum / n
}

// SoftCrossEntropy returns T² times the mean over the rows of the cross-entropy of
// softmax(logits/T) relative to softmax(target/T).
func SoftCrossEntropy(logits, target []float64, classes int, temperature float64) float64 {
	sum := 0.0
	for i := 0; i < len(logits); i += classes {
		x, t := make([]float64, classes), make([]float64, classes)
		for c := range classes {
			x[c], t[c] = logits[i+c]/temperature, target[i+c]/temperature
		}
		x, t = LogSoftmax(x), LogSoftmax(t)
		for c := range classes {
			sum -= math.Exp(t[c]) * x[c]
		}
	}
	return sum * temperature * temperature / float64(len(logits)/classes)
}

// MSE is the mean squared difference.
func MSE(x, target []float64) float64 {
	sum := 0.0
	for i, v := range x {
		sum += (v - target[i]) * (v - target[i])
	}
	return sum / float64(len(x))
}

// CosineLoss returns the mean of 1 - cosine over the rows of h columns.
func CosineLoss(x, target []float64, h int) float64 {
	sum := 0.0
	for i := 0; i < len(x); i += h {
		var dot, xx, tt float64
		for j := i; j < i+h; j++ {
			dot += x[j] * target[j]
			xx += x[j] * x[j]
			tt += target[j] * target[j]
		}
		sum += 1 - dot/math.Sqrt(xx*tt)
	}
	return sum / float64(len(x)/h)
}

// RelationKL returns the sum over parts (0 queries, 1 keys, 2 values) of the mean over tokens and
// relation heads of KL(softmax(TTᵀ/√d) || softmax(XXᵀ/√d)).
func RelationKL(x, target []float64, offsets []int32, heads int, parts ...int) float64 {
	sum := 0.0
	eachSequence(offsets, func(lo, n int) {
		for _, which := range parts {
			for part := which * heads; part < (which+1)*heads; part++ {
				for i := range n {
					p := LogSoftmax(products(target, offsets, 3*heads, part, part, lo, n, i))
					q := LogSoftmax(products(x, offsets, 3*heads, part, part, lo, n, i))
					for t := range p {
						sum += math.Exp(p[t]) * (p[t] - q[t])
					}
				}
			}
		}
	})
	return sum / float64(int(offsets[len(offsets)-1])*heads)
}

func eachSequence(offsets []int32, f func(lo, n int)) {
	for s := 0; s+1 < len(offsets); s++ {
		f(int(offsets[s]), int(offsets[s+1]-offsets[s]))
	}
}

// products returns the products of part a of row lo+i of x with part b of the n rows from lo on,
// divided by √d. Rows are divided into so many parts, of width d.
func products(x []float64, offsets []int32, parts, a, b, lo, n, i int) []float64 {
	ld := len(x) / int(offsets[len(offsets)-1])
	d := ld / parts
	out := make([]float64, n)
	for t := range out {
		for j := range d {
			out[t] += x[(lo+i)*ld+a*d+j] * x[(lo+t)*ld+b*d+j] / math.Sqrt(float64(d))
		}
	}
	return out
}

// AttentionLoss returns the mean over tokens and heads of the distance between rows of the
// attention: "mse" for scores; "cosine", "ce" or "kl" for maps. With means it compares the means
// over the heads.
func AttentionLoss(x, target []float64, offsets []int32, heads, targetHeads int, distance string, means bool) float64 {
	return BiasedAttentionLoss(x, target, nil, nil, offsets, heads, targetHeads, distance, means, 0)
}

// BiasedAttentionLoss is AttentionLoss with biases added to the scores of both, as in
// BiasedAttention. If window is not 0, rows only have the keys inside it.
func BiasedAttentionLoss(x, target, bias, targetBias []float64, offsets []int32, heads, targetHeads int, distance string, means bool, window int) float64 {
	rows := func(x, bias []float64, heads, lo, n, i int) [][]float64 {
		var out [][]float64
		for h := range heads {
			row := products(x, offsets, 3*heads, h, heads+h, lo, n, i)
			if distances := len(bias) / heads; bias != nil {
				for j := range row {
					row[j] += bias[h*distances+distances/2+j-i]
				}
			}
			if window > 0 {
				row = row[max(0, i-window):min(n, i+window+1)]
			}
			if distance != "mse" {
				row = LogSoftmax(row)
				for j := range row {
					row[j] = math.Exp(row[j])
				}
			}
			out = append(out, row)
		}
		if means {
			mean := make([]float64, len(out[0]))
			for _, row := range out {
				for j, v := range row {
					mean[j] += v / float64(heads)
				}
			}
			out = [][]float64{mean}
		}
		return out
	}
	sum, count := 0.0, 0.0
	eachSequence(offsets, func(lo, n int) {
		for i := range n {
			a, b := rows(x, bias, heads, lo, n, i), rows(target, targetBias, targetHeads, lo, n, i)
			for h := range a {
				count++
				sum += rowDistance(a[h], b[h], distance)
			}
		}
	})
	return sum / count
}

// rowDistance returns the distance between a row of an attention matrix and its target.
func rowDistance(row, target []float64, distance string) float64 {
	switch distance {
	case "mse":
		return MSE(row, target)
	case "cosine":
		return CosineLoss(row, target, len(row))
	}
	sum := 0.0
	for j, p := range target {
		sum -= p * math.Log(row[j])
		if distance == "kl" {
			sum += p * math.Log(p)
		}
	}
	return sum
}

package pruning

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/skive-ml/skive/internal/kernels"
)

// Rearrange exchanges kept and dropped heads and units within each layer to lower the estimated
// loss. The numbers kept stay the same. The estimate treats the heads, and the units, of a layer
// as one block of the empirical Fisher information; Search and SelectGlobal see only its diagonal
// (Kwon et al., arXiv 2204.09656, section 4.2). With g an example's gradients, the estimate is
// the sum over the examples of (the sum of g over everything dropped)².
//
// The search is the one of that paper's program. At first, those with the lowest diagonal are
// dropped. Then each of the others, in ascending order, is added to the dropped ones, and the one
// whose return leaves the lowest loss is kept instead.
func Rearrange(masks Masks, g *Gradients) (Masks, error) {
	if len(g.Heads) != len(masks.Heads) || g.Examples == 0 {
		return Masks{}, fmt.Errorf("mask gradients: %d examples of %d layers, the masks have %d", g.Examples, len(g.Heads), len(masks.Heads))
	}
	out := newMasks(len(masks.Heads))
	for l := range masks.Heads {
		out.Heads[l] = exchange(joint(g.Heads[l], g.Examples), len(masks.Heads[l]))
		out.FFN[l] = exchange(joint(g.FFN[l], g.Examples), len(masks.FFN[l]))
	}
	return out, nil
}

// Joint returns scores for Search. Of all scores from these gradients they predict best what a
// cut loses. The heads and units of a layer are dropped one by one: each time the one that raises
// the estimated loss of all dropped ones least. The score of each is what it adds. The estimate
// is that of Rearrange, which knows that the effects of several on the loss add up or cancel; the
// sum of Fisher's scores does not.
func (g *Gradients) Joint() *Scores {
	s := &Scores{Examples: g.Examples}
	for l := range g.Heads {
		s.Heads = append(s.Heads, added(joint(g.Heads[l], g.Examples)))
		s.FFN = append(s.FFN, added(joint(g.FFN[l], g.Examples)))
	}
	return s
}

// added returns what each head or unit adds to the loss when they are dropped one by one. If one
// adds less than those before it, they share what they add, so the order of the scores is that of
// the steps.
func added(fisher []float64) []float64 {
	n := int(math.Sqrt(float64(len(fisher))))
	left := firsts(n)
	sum := make([]float64, n) // for each one, the sum of its row over what is dropped
	var steps []int
	var pools []pool
	for len(left) > 0 {
		best := 0
		for k, i := range left {
			if b := left[best]; 2*sum[i]+fisher[i*n+i] < 2*sum[b]+fisher[b*n+b] {
				best = k
			}
		}
		i := left[best]
		left = slices.Delete(left, best, best+1)
		steps, pools = append(steps, i), pooled(pools, 2*sum[i]+fisher[i*n+i])
		for j, v := range fisher[i*n : (i+1)*n] {
			sum[j] += v
		}
	}
	scores := make([]float64, n)
	for _, p := range pools {
		for range p.n {
			scores[steps[0]], steps = p.mean, steps[1:]
		}
	}
	return scores
}

// joint returns the empirical Fisher information [n × n] of a layer's heads or units from their
// gradients [examples × n].
func joint(gradients []float32, examples int) []float64 {
	n := len(gradients) / examples
	fisher := make([]float64, n*n)
	gram(fisher, gradients, examples, n)
	return fisher
}

// exchange returns the heads or units to keep, in ascending order.
func exchange(fisher []float64, kept int) []int {
	n := int(math.Sqrt(float64(len(fisher))))
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(fisher[a*n+a], fisher[b*n+b]) })
	dropped := slices.Clone(order[:max(0, n-kept)])
	if len(dropped) > 0 {
		// sum[i] is the sum of row i of the matrix over what is dropped. Keeping i instead of
		// dropping it lowers the total by 2·sum[i] - fisher[i,i].
		sum := make([]float64, n)
		change := func(i int, sign float64) {
			for j, v := range fisher[i*n : (i+1)*n] {
				sum[j] += sign * v
			}
		}
		for _, i := range dropped {
			change(i, 1)
		}
		for _, i := range order[len(dropped):] {
			dropped = append(dropped, i)
			change(i, 1)
			best := 0
			for k, j := range dropped {
				b := dropped[best]
				if 2*sum[j]-fisher[j*n+j] > 2*sum[b]-fisher[b*n+b] {
					best = k
				}
			}
			change(dropped[best], -1)
			dropped = slices.Delete(dropped, best, best+1)
		}
	}
	keep := make([]int, 0, kept)
	slices.Sort(order)
	for _, i := range order {
		if !slices.Contains(dropped, i) {
			keep = append(keep, i)
		}
	}
	return keep
}

// gramRows is the number of rows whose products are summed in float32 before the sum is added to
// a float64.
const gramRows = 4096

// gram adds xᵀ·x to sum [n × n], where x is [rows × n].
func gram(sum []float64, x []float32, rows, n int) {
	var s kernels.Scratch
	var right kernels.PanelsF32
	product := make([]float32, n*n)
	for part := range slices.Chunk(x[:rows*n], gramRows*n) {
		right.Pack(kernels.RowMajor(part, n), len(part)/n, n)
		kernels.GemmF32(n, kernels.Transposed(part, n), &right, 0, right.Panels(), product, n, kernels.Epilogue{}, &s)
		for i, v := range product {
			sum[i] += float64(v)
		}
	}
}

// multiply sets dst to the product of x [rows × k] and y [k × n]. It grows dst if needed.
func multiply(dst, x, y []float32, rows, n int) []float32 {
	k := len(y) / n
	dst = slices.Grow(dst[:0], rows*n)[:rows*n]
	var s kernels.Scratch
	var right kernels.PanelsF32
	right.Pack(kernels.RowMajor(y, n), k, n)
	kernels.GemmF32(rows, kernels.RowMajor(x, k), &right, 0, right.Panels(), dst, n, kernels.Epilogue{}, &s)
	return dst
}

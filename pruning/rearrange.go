package pruning

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/skive-ml/skive/internal/kernels"
)

// Rearrange exchanges kept and dropped heads and units within each layer, whose
// numbers stay, so as to lower the estimated loss of dropping them together: the
// empirical Fisher information as a block for each layer's heads and units, where
// Search and SelectGlobal see its diagonal (Kwon et al., arXiv 2204.09656,
// section 4.2). With g an example's gradients, it is the sum over the examples of
// the square of the sum of g over what is dropped.
//
// The search is that paper's program's: what is dropped begins as those of least
// diagonal; then each of the others, in ascending order, is added, and the one
// removed that leaves the least.
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

// Joint are the scores for Search, of all that can be made of the gradients those
// that foresee best what a cut loses: heads and units of a layer are dropped one by
// one, at each step the one without which the estimated loss of all that is dropped
// is least, and each scores what it adds. The estimate is Rearrange's, which knows
// that what several of them do to the loss adds up or cancels; the sum of Fisher's
// scores does not.
func (g *Gradients) Joint() *Scores {
	s := &Scores{Examples: g.Examples}
	for l := range g.Heads {
		s.Heads = append(s.Heads, added(joint(g.Heads[l], g.Examples)))
		s.FFN = append(s.FFN, added(joint(g.FFN[l], g.Examples)))
	}
	return s
}

// added is what each head or unit adds to the loss as they are dropped one by one.
// Where one adds less than those before it, they share what they add, so that the
// order of the scores is that of the steps.
func added(fisher []float64) []float64 {
	n := int(math.Sqrt(float64(len(fisher))))
	left := firsts(n)
	sum := make([]float64, n) // of each one's row over what is dropped
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

// joint is the empirical Fisher information of a layer's heads or units [n × n], of
// their gradients [examples × n].
func joint(gradients []float32, examples int) []float64 {
	n := len(gradients) / examples
	fisher := make([]float64, n*n)
	gram(fisher, gradients, examples, n)
	return fisher
}

// exchange returns which heads or units are to be kept, ascending.
func exchange(fisher []float64, kept int) []int {
	n := int(math.Sqrt(float64(len(fisher))))
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(fisher[a*n+a], fisher[b*n+b]) })
	dropped := slices.Clone(order[:max(0, n-kept)])
	if len(dropped) > 0 {
		// sum has, for each column, the sum of its row of the matrix over what is
		// dropped: leaving column i out lowers the total by 2·sum[i] - fisher[i,i].
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

// gramRows is the number of rows whose products are summed in float32 before
// they are added in float64.
const gramRows = 4096

// gram adds xᵀ·x to sum, [n × n], for x [rows × n].
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

// multiply makes dst, which is grown, the product of x [rows × k] and y [k × n].
func multiply(dst, x, y []float32, rows, n int) []float32 {
	k := len(y) / n
	dst = slices.Grow(dst[:0], rows*n)[:rows*n]
	var s kernels.Scratch
	var right kernels.PanelsF32
	right.Pack(kernels.RowMajor(y, n), k, n)
	kernels.GemmF32(rows, kernels.RowMajor(x, k), &right, 0, right.Panels(), dst, n, kernels.Epilogue{}, &s)
	return dst
}

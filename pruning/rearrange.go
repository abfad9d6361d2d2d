package pruning

import (
	"cmp"
	"fmt"
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
		out.Heads[l] = exchange(g.Heads[l], g.Examples, len(masks.Heads[l]))
		out.FFN[l] = exchange(g.FFN[l], g.Examples, len(masks.FFN[l]))
	}
	return out, nil
}

// exchange returns which of the columns of gradients [examples × n] are to be
// kept, ascending.
func exchange(gradients []float32, examples, kept int) []int {
	n := len(gradients) / examples
	fisher := make([]float64, n*n)
	gram(fisher, gradients, examples, n)
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

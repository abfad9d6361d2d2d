package onnx

import (
	"fmt"
	"slices"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/infer"
)

// relativeScores appends what the distances of tokens add to the scores y of a layer,
// before the scaling; see checkpoints.RelativeScores. q and k are [batch, heads,
// tokens, width]. Half precision holds the products of queries only where one factor is
// scaled already, as q is then; so are the queries of distances.
func (b *builder) relativeScores(l int, block checkpoints.Block, y, q, k, root string) string {
	if block.Relative == nil {
		return y
	}
	self := around(checkpoints.Query.In(l))
	byQuery, byKey := b.distanceRows(block)
	queries, keys := b.projected(checkpoints.Query.In(l), block), b.projected(checkpoints.Key.In(l), block)
	if b.float == float16Type {
		queries = b.op("Div", self+"distances/scale", queries, root)
	}
	gather := func(name, x, factor, rows string) string {
		x = b.op("MatMul", self+name+"/MatMul", x, factor)
		return b.nodes(1, "GatherElements", self+name, []string{x, rows}, attribute{"axis", 3})[0]
	}
	ofQueries := gather("of_queries", q, keys, byQuery)
	ofKeys := gather("of_keys", k, queries, byKey)
	ofKeys = b.nodes(1, "Transpose", self+"of_keys/Transpose", []string{ofKeys}, attribute{"perm", []int64{0, 1, 3, 2}})[0]
	return b.op("Add", self+"relative", b.op("Add", self+"relative/of_queries", y, ofQueries), ofKeys)
}

// distanceRows returns the rows of distances for each query and key, [batch, heads,
// queries, keys] and [batch, heads, keys, queries]. Layers with as many heads share them.
func (b *builder) distanceRows(block checkpoints.Block) (byQuery, byKey string) {
	if rows, ok := b.rows[block.Heads]; ok {
		return rows[0], rows[1]
	}
	var of []int64
	for _, row := range block.Relative.Rows() {
		of = append(of, int64(row))
	}
	// Zeros that have the dimensions of batch and heads.
	zeros := b.batchZeros()
	zeros = b.op("Add", fmt.Sprintf("distances/zeros_%d", block.Heads), zeros, b.ints(fmt.Sprintf("zeros_of_heads_%d", block.Heads), []int{block.Heads, 1, 1}, make([]int64, block.Heads)...))
	rows := func(name string) string {
		table := b.ints(name+"/table", []int{len(of)}, of...)
		between := b.between(block.Relative.Reach)
		if b.gathered[name] == "" {
			b.gathered[name] = b.nodes(1, "Gather", name+"/Gather", []string{table, between}, attribute{"axis", 0})[0]
		}
		return b.op("Add", fmt.Sprintf("%s_%d", name, block.Heads), b.gathered[name], zeros)
	}
	byQuery = rows("distances/by_query")
	slices.Reverse(of)
	byKey = rows("distances/by_key")
	b.rows[block.Heads] = [2]string{byQuery, byKey}
	return byQuery, byKey
}

// batchZeros appends integer zeros [batch, 1, 1, sequence], once.
func (b *builder) batchZeros() string {
	if b.zeros == "" {
		one := b.ints("one_list", []int{1}, 1)
		zeros := b.op("Mul", "distances/Mul", "input_ids", b.ints("zero", nil, 0))
		b.zeros = b.op("Unsqueeze", "distances/zeros", b.op("Unsqueeze", "distances/heads", zeros, one), one)
	}
	return b.zeros
}

// projected appends what a projection makes of the embeddings of distances, [heads,
// width, distances]. It does not depend on the input: runtimes compute it when they load
// the graph, with weights that are in it already. Both factors are transposed, and not
// the product: ONNX Runtime 1.32 crashes where it fuses a transpose that moves heads to
// the front with a product in half precision.
func (b *builder) projected(p checkpoints.Part, block checkpoints.Block) string {
	if b.embedded == "" {
		x := b.norm(block.Relative.Norm(), b.tensor(block.Relative.Table().Weight()))
		b.embedded = b.transposed("distances/Transpose", x)
	}
	name, w := p.String()+"/distances", p.Weight()
	if t := b.m.Tensors[w]; t.DType == checkpoints.I8 && b.o.DType == infer.Int8 {
		w = b.widened(p)
	}
	y := b.op("MatMul", name+"/MatMul", b.transposed(name+"/Transpose", w), b.embedded)
	bias := b.op("Unsqueeze", name+"/bias", b.tensor(p.Bias()), b.ints("one_list", []int{1}, 1))
	split := []int64{int64(block.Heads), int64(block.HeadDim), int64(2 * block.Relative.Buckets)}
	return b.op("Reshape", name, b.op("Add", name+"/Add", y, bias), b.ints(fmt.Sprintf("distances_%d", block.Heads), []int{3}, split...))
}

func (b *builder) transposed(name, x string) string {
	return b.nodes(1, "Transpose", name, []string{x}, attribute{"perm", []int64{1, 0}})[0]
}

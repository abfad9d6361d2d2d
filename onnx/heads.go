package onnx

import (
	"encoding/binary"
	"math"
	"strings"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/infer"
)

// beforeHead appends what lies between the encoder and the last product of a head.
func (b *builder) beforeHead(x string) string {
	pooler := checkpoints.Pooler.Part()
	x = b.activation(b.m.Config.HeadActivation(), strings.TrimSuffix(around(pooler), "."), b.dense(pooler, x))
	if b.m.Config.HeadNorm() {
		x = b.norm(checkpoints.HeadNorm.Part(), x)
	}
	return x
}

// mean appends the mean of the hidden states of a text's tokens. Its sums are float32, because
// half precision could not hold them.
func (b *builder) mean(x string) string {
	if b.float != float32Type {
		x = b.cast("classifier_pooling/wide", x, float32Type)
	}
	mask := b.tokenMask("classifier_pooling")
	total := b.sumTokens("classifier_pooling/sum", b.op("Mul", "classifier_pooling/Mul", x, mask))
	x = b.op("Div", "classifier_pooling/mean", total, b.sumTokens("classifier_pooling/tokens", mask))
	if b.float != float32Type {
		x = b.cast("classifier_pooling/narrow", x, b.float)
	}
	return x
}

// tokenMask appends 1 for each token and 0 for padding, [batch, sequence, 1], in float32.
func (b *builder) tokenMask(name string) string {
	return b.op("Unsqueeze", name+"/mask", b.cast(name+"/Cast", "attention_mask", float32Type), b.ints("two_list", []int{1}, 2))
}

// sumTokens appends the sum over the tokens of each text.
func (b *builder) sumTokens(name, x string) string {
	return b.nodes(1, "ReduceSum", name, []string{x, b.ints("one_list", []int{1}, 1)}, attribute{"keepdims", 0})[0]
}

// maskedLM appends the head of a masked language model. Its last product uses the word
// embeddings, which the graph stores once.
func (b *builder) maskedLM(x string) {
	decoder, table := checkpoints.Decoder.Part(), checkpoints.WordEmbeddings.Part().Weight()
	p, transform := decoder.String()+".", checkpoints.LMTransform.Part()
	if b.m.Config.HeadNorm() {
		x = b.beforeHead(x)
	} else {
		x = b.activation(b.m.Config.LMActivation(), strings.TrimSuffix(around(transform), "."), b.dense(transform, x))
		x = b.norm(checkpoints.LMNorm.Part(), x)
	}
	words := table // in the graph already, added by embedding
	if b.m.Tensors[table].DType == checkpoints.I8 && b.o.DType == infer.Int8 {
		words = b.op("Mul", p+"words/Mul", b.cast(p+"words/Cast", table, float32Type), checkpoints.ScaleOf(table))
	}
	words = b.nodes(1, "Transpose", p+"words/Transpose", []string{words}, attribute{"perm", []int64{1, 0}})[0]
	x = b.op("Add", p+"decoder/Add", b.op("MatMul", p+"decoder/MatMul", x, words), b.tensor(decoder.Bias()))
	b.output(logitsOutput, x, "sequence", b.m.Config.VocabSize)
}

// sentence appends what turns hidden states into embeddings: pooling, dense layers, and division
// by the length. The sums are float32, because half precision could not hold them.
func (b *builder) sentence(x string) {
	if b.float != float32Type {
		x = b.cast("hidden/Cast", x, float32Type)
		b.float = float32Type
	}
	one, last := b.ints("one_list", []int{1}, 1), b.ints("last_list", []int{1}, -1)
	s, err := infer.SentenceOf(b.m.Config, b.o.Embedding)
	if err != nil {
		b.fail(err)
		return
	}
	switch s.Pooling {
	case checkpoints.CLSPooling:
		x = b.nodes(1, "Gather", "first_token", []string{x, b.ints("zero", nil, 0)}, attribute{"axis", 1})[0]
	case checkpoints.MaxPooling:
		padding := b.op("Mul", "pooling/least", b.op("Sub", "pooling/padding", b.scalar(1), b.tokenMask("pooling")), b.scalar(b.leastFloat()))
		x = b.nodes(1, "ReduceMax", "pooling/max", []string{b.op("Add", "pooling/Add", x, padding)}, attribute{"axes", []int64{1}}, attribute{"keepdims", 0})[0]
	case checkpoints.LastPooling: // the token whose number is the number of tokens
		m := b.cast("pooling/Cast", "attention_mask", float32Type)
		all := b.nodes(1, "ReduceSum", "pooling/tokens", []string{m, one}, attribute{"keepdims", 1})[0]
		whole := b.op("Equal", "pooling/Equal", b.op("CumSum", "pooling/CumSum", m, b.ints("one", nil, 1)), all)
		m = b.op("Mul", "pooling/last_mask", b.cast("pooling/last_Cast", whole, float32Type), m)
		x = b.sumTokens("pooling/last", b.op("Mul", "pooling/Mul", x, b.op("Unsqueeze", "pooling/mask", m, b.ints("two_list", []int{1}, 2))))
	default:
		m := b.tokenMask("pooling")
		x = b.sumTokens("pooling/sum", b.op("Mul", "pooling/Mul", x, m))
		if s.Normalize && len(s.Dense) == 0 {
			break // no division: dividing by the length comes later
		}
		divisor := b.sumTokens("pooling/tokens", m)
		if s.Pooling == checkpoints.MeanSqrtPooling {
			divisor = b.op("Sqrt", "pooling/root", divisor)
		}
		x = b.op("Div", "pooling/mean", x, divisor)
	}
	for i, d := range s.Dense {
		part := checkpoints.SentenceDense.In(i)
		x = b.dense(part, x)
		if d.Activation != "identity" {
			x = b.activation(d.Activation, part.String(), x)
		}
	}
	width := s.Width(b.m.Config.HiddenSize)
	if !s.Normalize {
		b.output(embeddingOutput, x, width)
		return
	}
	norm := b.nodes(1, "ReduceSum", "pooling/squares", []string{b.op("Mul", "pooling/square", x, x), last}, attribute{"keepdims", 1})[0]
	norm = b.op("Max", "pooling/length", b.op("Sqrt", "pooling/Sqrt", norm), b.add("least_length", float32Type, nil, binary.LittleEndian.AppendUint32(nil, math.Float32bits(1e-12))))
	b.output(embeddingOutput, b.op("Div", "pooling/Div", x, norm), width)
}

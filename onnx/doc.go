// Package onnx writes models as ONNX graphs, and reads them back to prove that
// they compute what the engine computes.
//
// The graphs have opset 17 and IR version 8 and use nothing but the standard
// operators. The inputs are input_ids, attention_mask and, where the model has
// more than one token type, token_type_ids, all int64 [batch, sequence] with
// both dimensions free. The output is one of
//
//	logits              float32 [batch, labels]; of token classification [batch, sequence, labels],
//	                    of a masked language model [batch, sequence, vocabulary size]
//	last_hidden_state   float32 [batch, sequence, hidden size], of a model without a head
//	sentence_embedding  float32 [batch, hidden size], of unit length, with Options.Embedding
//
// Weights of linear layers lie transposed, [in, out], under the names that they
// have in checkpoints.Model.
//
// The f32 graph has the shape that ONNX Runtime's transformer optimizer fuses:
// Attention, SkipLayerNormalization, BiasGelu or FastGelu, for any number and width
// of heads, and EmbedLayerNormalization in BERT. Attention with biases (MPNet) it
// leaves as it is.
//
// The fp16 graph holds and computes everything in half precision but the mean
// and variance of LayerNorm, and gives float32 outputs. Queries are divided by
// the root of the head width before their product with the keys and the mask is
// -10000, so that neither leaves the range of half precision; LayerNorm's
// epsilon is at least 1e-7, which half precision can hold.
//
// The int8 graph has the weights and the scales per output channel that package
// quantize makes or the model holds, for the linear layers of the encoder.
// Weights are stored as w+128 in unsigned bytes with the zero point 128: on
// processors with AVX2 alone ONNX Runtime's product of unsigned with signed bytes
// saturates, and that of unsigned bytes does not. Everything else is float32.
//
// A layer without a calibrated scale of its input is dynamic: DynamicQuantizeLinear
// and MatMulInteger. Activations are quantized per tensor, not per token as in
// Skive's engine, because that is what the operator does.
//
// A layer with one (quantize.Calibration) is static, in the form that quantizers
// write and runtimes fuse: QuantizeLinear and DequantizeLinear before MatMul, with
// one scale for the input, as in the engine, and DequantizeLinear of the weights
// along their outputs. Unsigned bytes reach one step further down than the
// engine's -127.
package onnx

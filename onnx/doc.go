// Package onnx writes models as ONNX graphs. It reads them back to prove that they compute the
// same as the engine.
//
// Graphs have opset 17 and IR version 8 and use standard operators only. The inputs are
// input_ids, attention_mask and, for models with more than one token type, token_type_ids. All
// are int64 [batch, sequence] with both dimensions free. The output is one of
//
//	logits              float32 [batch, labels]; of token classification [batch, sequence, labels],
//	                    of a masked language model [batch, sequence, vocabulary size]
//	last_hidden_state   float32 [batch, sequence, hidden size], of a model without a head
//	sentence_embedding  float32 [batch, hidden size], of unit length, with Options.Embedding
//
// The weights of linear layers are transposed, [in, out], and have the same names as in
// checkpoints.Model.
//
// The f32 graph has the form that ONNX Runtime's transformer optimizer fuses into Attention,
// SkipLayerNormalization, BiasGelu or FastGelu, for any number and width of heads, and into
// EmbedLayerNormalization for BERT. The optimizer does not fuse attention with biases (MPNet).
//
// The fp16 graph stores and computes everything in half precision, except for the mean and
// variance of LayerNorm, and its outputs are float32. Two details keep values in the range of
// half precision: queries are divided by the root of the head width before their product with the
// keys, and the mask is -10000. LayerNorm's epsilon is at least 1e-7, which half precision can
// represent.
//
// The int8 graph has int8 weights with a scale per output channel for the linear layers of the
// encoder. They are the model's own, or those of package quantize. Everything else is float32.
// Weights are stored as w+128 in unsigned bytes with the zero point 128: where a processor has
// only AVX2, ONNX Runtime's product of unsigned with signed bytes saturates, and its product of
// unsigned bytes does not.
//
// A layer without a calibrated input scale is dynamic: DynamicQuantizeLinear and MatMulInteger.
// That operator quantizes activations per tensor. Skive's engine quantizes them per token.
//
// A layer with a calibrated input scale (quantize.Calibration) is static, in the form that
// quantizers write and runtimes fuse: QuantizeLinear and DequantizeLinear before MatMul, with the
// engine's scale for the input, and DequantizeLinear of the weights per output channel. Unsigned
// bytes reach one step further down than the engine's -127.
package onnx

// Package pruning makes Transformer encoders smaller. It removes attention heads and feed-forward
// units, whole layers, and sub-words.
//
// Importance scores every head and unit. Select keeps the best of each layer, SelectGlobal the
// best of all layers, and Search and SearchLatency the best within a budget of operations or
// milliseconds. Rewire cuts the others out of the weights. The result is a smaller Model with the
// same outputs as the original with the others masked.
//
// Rearrange and Tune recover a part of the loss without training. Another round of distillation
// recovers more, and so do several rounds with Iterate.
package pruning

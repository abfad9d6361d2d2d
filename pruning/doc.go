// Package pruning makes Transformer encoders smaller by removing attention
// heads and feed-forward units, whole layers, and sub-words.
//
// Importance scores every head and unit. Select keeps the best of each layer,
// SelectGlobal the best of all layers, and Search and SearchLatency the best
// within a budget of operations or milliseconds. Rewire cuts the others out of
// the weights, which gives a physically smaller Model with the same outputs as
// the original under the mask.
//
// Rearrange and Tune make up for a part of what is lost without training; more
// comes back by another round of distillation, or by several, with Iterate.
package pruning

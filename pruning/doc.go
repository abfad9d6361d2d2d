// Package pruning makes Transformer encoders smaller by removing attention
// heads and feed-forward units.
//
// Importance scores every head and unit, Select keeps the best of each layer,
// and Rewire cuts the others out of the weights, which gives a physically
// smaller Model with the same outputs as the original under the mask. A pruned
// model usually needs another round of distillation.
package pruning

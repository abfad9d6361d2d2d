// Package train fine-tunes Transformer encoders on classification tasks.
//
// Run trains a model's own head on a data set. Fit is the loop behind it, which
// package distill shares: it takes any Objective, a function of a model's
// weights that computes its losses and gradients for a batch, and does the rest:
// batches, AdamW (Loshchilov and Hutter, arXiv 1711.05101), clipping by the
// global norm, the learning-rate schedule, evaluation on a development set by
// the inference engine, the best model, and a training state from which a
// stopped run continues with the bits of an uninterrupted one.
//
// The same seed gives the same bits for any number of threads.
package train

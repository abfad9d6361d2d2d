// Package train fine-tunes Transformer encoders.
//
// Run trains a model with its own head on a data set. Fit is the loop behind Run, and package
// distill uses it, too. It takes any Objective: a function of a model's weights that computes
// losses and gradients for a batch. Fit does the rest: batches, AdamW (Loshchilov and Hutter,
// arXiv 1711.05101), clipping by the global norm and the learning-rate schedule. It evaluates on
// a development set with the inference engine, keeps the best model, and saves a training state.
// A run that continues from this state gives the same bits as one that was never stopped.
//
// The same seed gives the same bits for any number of threads.
package train

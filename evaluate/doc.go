// Package evaluate measures a model on labelled data with the inference engine. It matches labels
// with the model's classes, encodes the texts, computes the answers, and measures them. It links
// no training code, so a service can use it to check its model.
package evaluate

// Package evaluate holds a model against labelled data by the inference engine:
// it decides which class a label is, encodes the texts, computes answers, and
// measures them. A service that checks its model links no training for that.
package evaluate

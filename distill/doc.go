// Package distill trains a small Transformer encoder, the student, to do what a large one, the
// teacher, does.
//
// The losses can be weighted freely (see Losses). Those on predictions are soft cross-entropy
// with a temperature and its schedules (Hinton et al., arXiv 1503.02531), the loss against the
// labels, and the squared difference of the logits. Those inside the encoder compare hidden
// states and embeddings (TinyBERT, Jiao et al., arXiv 1909.10351; PKD, Sun et al., arXiv
// 1908.09355), attention scores and maps (TinyBERT), attention maps and value relations (MiniLM,
// Wang et al., arXiv 2002.10957), and self-attention relations (MiniLMv2, Wang et al., arXiv
// 2012.15828).
//
// Run distills for a task, RunStages in several stages, and General on plain text.
// StudentFromLayers, Narrow and NewStudent make students; Augment makes examples.
package distill

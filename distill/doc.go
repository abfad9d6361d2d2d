// Package distill trains a small Transformer encoder, the student, to do what a
// large one, the teacher, does.
//
// The losses, freely weighted (see Losses): soft cross-entropy on the logits with
// a temperature and its schedules (Hinton et al., arXiv 1503.02531), hard labels,
// squared difference of the logits; hidden states and embeddings (TinyBERT, Jiao
// et al., arXiv 1909.10351; PKD, Sun et al., arXiv 1908.09355); attention scores
// and maps (TinyBERT); MiniLM (Wang et al., arXiv 2002.10957) and MiniLMv2's
// self-attention relations (Wang et al., arXiv 2012.15828).
//
// Run distills for a task, RunStages in several stages, General on plain text.
// StudentFromLayers, Narrow and NewStudent make students; Augment makes examples.
package distill

// Package distill trains a small Transformer encoder, the student, to do what a
// large one, the teacher, does.
//
// The losses, freely weighted: soft cross-entropy on the logits with a
// temperature (Hinton et al., arXiv 1503.02531), hard labels, hidden states and
// embeddings (TinyBERT, Jiao et al., arXiv 1909.10351), and self-attention
// relations (MiniLMv2, Wang et al., arXiv 2012.15828).
package distill

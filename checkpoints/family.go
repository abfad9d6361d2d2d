package checkpoints

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/skive-ml/skive/head"
)

// family says how a family of encoders differs from BERT. Inside Skive all tensors have
// BERT's names, so that no stage needs to know the family. Files use the family's own
// names.
type family struct {
	modelType string
	// models are other names of the family in config.json.
	models []string
	class  string // prefix of its class names in transformers
	prefix string // prefix of the encoder's tensors
	layers string // prefix of its layers' tensors, after that
	// prefixes and namings are what files of other programs use instead of prefix and
	// of the names below. They are read, and never written.
	prefixes []string
	namings  []naming
	// tokenizer is its tokenizer's class in transformers.
	tokenizer string
	// renamed pairs the beginnings of names, ours and the family's. In a layer they
	// follow the layer's number, elsewhere they start the name.
	renamed [][2]string
	// keys maps BERT's names of settings in config.json to the family's; "" means that
	// the family has no such setting.
	keys       map[string]string
	padTokenID int // where config.json has none
	// denseHead says that the dense layer before the classifier belongs to the head of
	// sequence classification, as classifier.dense; the classifier is
	// classifier.out_proj.
	denseHead bool
	// dropsPoolerInput says that this layer's input has a dropout of its own.
	dropsPoolerInput bool
	// headActivation is that layer's activation.
	headActivation string
	// pooler says that the encoder has its own pooler.
	pooler bool
	// lmActivation is the activation in the head of a masked language model; "" means
	// the encoder's.
	lmActivation string
	// noTypes says that there are no token types.
	noTypes bool
	// layerNormEps is the epsilon, if config.json cannot choose it.
	layerNormEps float32
	// embeddingSize is the default width of embeddings, in families where they may be
	// narrower than the hidden states. alwaysProjects says that they are projected even
	// if they are not narrower.
	embeddingSize  int
	alwaysProjects bool
	// positionsByID says that positions depend on ids, see Config.Positions.
	// paddingPosition is the position of padding, and the id that counts as padding, if
	// that is not pad_token_id.
	positionsByID   bool
	paddingPosition int
	// biasesScores says that the layers add a ScoreBias, relative that they have
	// RelativeScores and no table of positions.
	biasesScores, relative bool
	// noOutputDropout says that training applies no dropout to attention's output
	// before it is added to its input.
	noOutputDropout bool
	// noFeedForwardDropout says the same of the feed-forward block.
	noFeedForwardDropout bool
	// sharesLayers says that layers share weights, see shared.go.
	sharesLayers bool
	// preNorm and gated are as in Block.
	preNorm, gated bool
	// rotary is the default base of rotary positions, 0 for none. They have no table.
	// windows says that layers may have a Block.Window.
	rotary  float64
	windows bool
	// unbiased lists the linear layers that have no biases. noShifts says that
	// LayerNorms have none.
	unbiased []Role
	noShifts bool
	// headNorm is Config.HeadNorm.
	headNorm bool
	// dropsUnits says that training applies dropout to the feed-forward units, and not
	// to the block's output. dropsUnitsToo says that it applies dropout to both.
	dropsUnits, dropsUnitsToo bool
	// anyTypes says that a model may have no token types.
	anyTypes bool
	// readOwn reads keys of config.json that only this family has, and sets its
	// defaults. It runs before other keys are read. writeOwn writes such keys.
	readOwn  func(h *hfConfig, text []byte) (notes []string, err error)
	writeOwn func(c Config, out *orderedJSON)
	// truncatedInit says that fresh weights come from a truncated distribution, see InitBERT.
	truncatedInit bool
	// fused lists linear layers that the family keeps in one tensor.
	fused []fused
}

// naming holds the names that a program gives to tensors, as in family.
type naming struct {
	layers  string
	renamed [][2]string
}

// fused are linear layers of a layer whose rows are stacked in one tensor, in this
// order.
type fused struct {
	name  string // after the layer's number
	parts []Role
}

const (
	bertLayers    = "encoder.layer."
	bertTokenizer = "BertTokenizer"
	// mpnetTokenizer is WordPiece with RoBERTa's special tokens.
	mpnetTokenizer = "MPNetTokenizer"
	// libraryTokenizer takes tokenizer.json as it is, and no other file.
	libraryTokenizer = "PreTrainedTokenizerFast"
)

var families = []family{
	{modelType: "bert", class: "Bert", tokenizer: bertTokenizer, prefix: "bert.", layers: bertLayers, headActivation: "tanh", pooler: true},
	robertaFamily("roberta", "Roberta", "RobertaTokenizer"),
	robertaFamily("xlm-roberta", "XLMRoberta", "XLMRobertaTokenizer"),
	robertaFamily("camembert", "Camembert", "CamembertTokenizer"),
	{
		// MPNet (Song et al., arXiv 2004.09297). In transformers, padding has position
		// 1 whatever pad_token_id says.
		modelType: "mpnet", class: "MPNet", tokenizer: mpnetTokenizer, prefix: "mpnet.", layers: bertLayers, headActivation: "tanh", pooler: true, denseHead: true, lmActivation: "gelu",
		padTokenID: 1, positionsByID: true, paddingPosition: 1, noTypes: true, biasesScores: true,
		renamed: [][2]string{
			{"attention.self.query.", "attention.attn.q."},
			{"attention.self.key.", "attention.attn.k."},
			{"attention.self.value.", "attention.attn.v."},
			{"attention.output.dense.", "attention.attn.o."},
			{"attention.output.LayerNorm.", "attention.LayerNorm."},
			{lmPrefix + "transform.dense.", "lm_head.dense."},
			{lmPrefix + "transform.LayerNorm.", "lm_head.layer_norm."},
			{lmPrefix, "lm_head."},
		},
		keys: map[string]string{"type_vocab_size": "", "position_embedding_type": ""},
	},
	{
		modelType: "distilbert", class: "DistilBert", tokenizer: bertTokenizer, prefix: "distilbert.", layers: "transformer.layer.", headActivation: "relu", noTypes: true, layerNormEps: 1e-12, noOutputDropout: true,
		renamed: [][2]string{
			{"attention.self.query.", "attention.q_lin."},
			{"attention.self.key.", "attention.k_lin."},
			{"attention.self.value.", "attention.v_lin."},
			{"attention.output.dense.", "attention.out_lin."},
			{"attention.output.LayerNorm.", "sa_layer_norm."},
			{"intermediate.dense.", "ffn.lin1."},
			{"output.dense.", "ffn.lin2."},
			{"output.LayerNorm.", "output_layer_norm."},
			{"bert.pooler.dense.", "pre_classifier."},
			{lmPrefix + "transform.dense.", "vocab_transform."},
			{lmPrefix + "transform.LayerNorm.", "vocab_layer_norm."},
			{lmPrefix + "decoder.", "vocab_projector."},
			{lmPrefix, "vocab_projector."},
		},
		keys: map[string]string{
			"hidden_size": "dim", "num_hidden_layers": "n_layers", "num_attention_heads": "n_heads", "intermediate_size": "hidden_dim",
			"hidden_act": "activation", "hidden_dropout_prob": "dropout", "attention_probs_dropout_prob": "attention_dropout",
			"classifier_dropout": "seq_classif_dropout", "type_vocab_size": "", "layer_norm_eps": "", "position_embedding_type": "",
		},
	},
	{
		modelType: "electra", class: "Electra", tokenizer: bertTokenizer, prefix: "electra.", layers: bertLayers, headActivation: "gelu", denseHead: true, lmActivation: "gelu", embeddingSize: 128,
		renamed: [][2]string{
			{"bert.pooler.dense.", "sequence_summary.summary."},
			{lmPrefix + "transform.", "generator_predictions."},
			{lmPrefix + "decoder.", "generator_lm_head."},
			{lmPrefix, "generator_lm_head."},
		},
	},
	{
		// ALBERT (Lan et al., arXiv 1909.11942).
		modelType: "albert", class: "Albert", tokenizer: "AlbertTokenizer", prefix: "albert.", layers: "encoder.albert_layer_groups.", headActivation: "tanh", pooler: true,
		embeddingSize: 128, alwaysProjects: true, noFeedForwardDropout: true, sharesLayers: true,
		renamed: [][2]string{
			{"attention.self.", sharedLayer + "attention."},
			{"attention.output.", sharedLayer + "attention."},
			{"intermediate.dense.", sharedLayer + "ffn."},
			{"output.dense.", sharedLayer + "ffn_output."},
			{"output.LayerNorm.", sharedLayer + "full_layer_layer_norm."},
			{"bert.embeddings_project.", "albert.encoder.embedding_hidden_mapping_in."},
			{"bert.pooler.dense.", "albert.pooler."},
			{lmPrefix + "transform.", "predictions."},
			{lmPrefix, "predictions."},
		},
		keys: map[string]string{"classifier_dropout": "classifier_dropout_prob"},
	},
	{
		// ModernBERT (Warner et al., arXiv 2412.13663). Ettin and mmBERT use it too.
		modelType: "modernbert", class: "ModernBert", tokenizer: libraryTokenizer, prefix: "model.", layers: "layers.", padTokenID: 50283, noTypes: true,
		preNorm: true, gated: true, rotary: 160000, windows: true, noShifts: true, headNorm: true, dropsUnits: true, truncatedInit: true,
		unbiased: []Role{Query, Key, Value, AttentionOutput, Gate, Up, Down, Pooler},
		fused:    []fused{{"attn.Wqkv", []Role{Query, Key, Value}}, {"mlp.Wi", []Role{Gate, Up}}},
		renamed: [][2]string{
			{embeddingsPrefix + "word_embeddings.", "model.embeddings.tok_embeddings."},
			{embeddingsPrefix + "LayerNorm.", "model.embeddings.norm."},
			{"attention.output.dense.", "attn.Wo."},
			{"attention.output.LayerNorm.", "attn_norm."},
			{"output.dense.", "mlp.Wo."},
			{"output.LayerNorm.", "mlp_norm."},
			{"bert.pooler.dense.", "head.dense."},
			{"bert.pooler.LayerNorm.", "head.norm."},
			{lmPrefix + "decoder.", "decoder."},
			{lmPrefix, "decoder."},
		},
		keys: map[string]string{
			"hidden_act": "hidden_activation", "hidden_dropout_prob": "mlp_dropout", "attention_probs_dropout_prob": "attention_dropout",
			"layer_norm_eps": "norm_eps", "type_vocab_size": "", "position_embedding_type": "",
		},
	},
	{
		// Nomic Embed (Nussbaum et al., arXiv 2402.01613). Its own code and transformers
		// write the same tensor names.
		modelType: "nomic_bert", class: "NomicBert", tokenizer: bertTokenizer, prefix: "nomic_bert.", layers: "encoder.layers.", headActivation: "tanh", pooler: true,
		prefixes: []string{"bert."}, gated: true, rotary: 1000, unbiased: []Role{Query, Key, Value, AttentionOutput, Gate, Up, Down},
		fused: []fused{{"attn.Wqkv", []Role{Query, Key, Value}}},
		renamed: [][2]string{
			{embeddingsPrefix + "LayerNorm.", "nomic_bert.emb_ln."},
			{"attention.output.dense.", "attn.out_proj."},
			{"attention.output.LayerNorm.", "norm1."},
			{"intermediate.gate.", "mlp.fc12."},
			{"intermediate.dense.", "mlp.fc11."},
			{"output.dense.", "mlp.fc2."},
			{"output.LayerNorm.", "norm2."},
			{lmPrefix + "transform.LayerNorm.", lmPrefix + "transform.layer_norm."},
		},
		namings: []naming{classNaming()}, keys: map[string]string{"position_embedding_type": ""},
		readOwn: readNomic, writeOwn: Config.addNomic,
	},
	{
		// GTE (Zhang et al., arXiv 2407.19669). Its own code calls it "new", and writes the
		// same tensor names as transformers.
		modelType: "gte", models: []string{"new"}, class: "Gte", tokenizer: "XLMRobertaTokenizer", prefix: "gte.", layers: bertLayers, headActivation: "tanh", pooler: true, lmActivation: "gelu",
		prefixes: []string{"new."}, padTokenID: 1, gated: true, rotary: 160000, unbiased: []Role{Gate, Up}, dropsUnitsToo: true, anyTypes: true,
		fused: []fused{{"attention.qkv_proj", []Role{Query, Key, Value}}, {"mlp.up_gate_proj", []Role{Up, Gate}}},
		renamed: [][2]string{
			{"attention.self.query.", "attention.q_proj."},
			{"attention.self.key.", "attention.k_proj."},
			{"attention.self.value.", "attention.v_proj."},
			{"attention.output.dense.", "attention.o_proj."},
			{"attention.output.LayerNorm.", "attn_ln."},
			{"output.dense.", "mlp.down_proj."},
			{"output.LayerNorm.", "mlp_ln."},
			{lmPrefix + "transform.dense.", "lm_head.dense."},
			{lmPrefix + "transform.LayerNorm.", "lm_head.norm."},
			{lmPrefix + "decoder.", "lm_head.decoder."},
			{lmPrefix, "lm_head.decoder."},
		},
		namings: []naming{classNaming(
			[2]string{lmPrefix + "transform.dense.", "lm_head.dense."},
			[2]string{lmPrefix + "transform.LayerNorm.", "lm_head.layer_norm."},
			[2]string{lmPrefix, "lm_head."},
		)},
		keys: map[string]string{"position_embedding_type": ""}, readOwn: readGTE,
	},
	{
		// DeBERTa-v2 and v3 (He et al., arXiv 2006.03654 and 2111.09543).
		modelType: "deberta-v2", class: "DebertaV2", tokenizer: "DebertaV2Tokenizer", prefix: "deberta.", layers: bertLayers, headActivation: "gelu", dropsPoolerInput: true, anyTypes: true, relative: true,
		renamed: append(debertaProjections(),
			[2]string{"bert.pooler.dense.", "pooler.dense."},
			[2]string{lmPrefix + "transform.", "lm_predictions.lm_head."},
			[2]string{lmPrefix, "lm_predictions.lm_head."},
		),
		// The head of a masked language model has BERT's names with legacy true, and
		// fullName gives a pooler the prefix.
		namings: []naming{{bertLayers, debertaProjections()}},
		keys:    map[string]string{"classifier_dropout": "cls_dropout", "position_embedding_type": ""},
		readOwn: readDeBERTa, writeOwn: Config.addDeBERTa,
	},
}

func debertaProjections() [][2]string {
	return [][2]string{
		{"attention.self.query.", "attention.self.query_proj."},
		{"attention.self.key.", "attention.self.key_proj."},
		{"attention.self.value.", "attention.self.value_proj."},
	}
}

// classNaming holds the names in transformers' classes of Nomic and GTE, with those of
// a head. Files that save_pretrained did not write have these names.
func classNaming(head ...[2]string) naming {
	return naming{layers: "layers.", renamed: append([][2]string{
		{"attention.self.query.", "self_attn.q_proj."},
		{"attention.self.key.", "self_attn.k_proj."},
		{"attention.self.value.", "self_attn.v_proj."},
		{"attention.output.dense.", "self_attn.o_proj."},
		{"attention.output.LayerNorm.", "post_attention_layernorm."},
		{"intermediate.gate.", "mlp.gate_proj."},
		{"intermediate.dense.", "mlp.up_proj."},
		{"output.dense.", "mlp.down_proj."},
		{"output.LayerNorm.", "post_mlp_layernorm."},
	}, head...)}
}

// robertaFamily is RoBERTa (Liu et al., arXiv 1907.11692) or a variant that differs
// only in tokenizer and training: XLM-RoBERTa (Conneau et al., arXiv 1911.02116) and
// CamemBERT (Martin et al., arXiv 1911.03894).
func robertaFamily(modelType, class, tokenizer string) family {
	return family{
		modelType: modelType, class: class, tokenizer: tokenizer,
		prefix: "roberta.", layers: bertLayers, headActivation: "tanh", pooler: true, denseHead: true, lmActivation: "gelu", padTokenID: 1, positionsByID: true,
		renamed: [][2]string{
			{lmPrefix + "transform.dense.", "lm_head.dense."},
			{lmPrefix + "transform.LayerNorm.", "lm_head.layer_norm."},
			{lmPrefix, "lm_head."},
		},
	}
}

// key returns the family's name of a setting in config.json.
func (f *family) key(name string) string {
	if key, ok := f.keys[name]; ok {
		return key
	}
	return name
}

// familyOf returns the family of a model type, nil for one that is not known.
func familyOf(modelType string) *family {
	for i := range families {
		if f := &families[i]; f.modelType == modelType || slices.Contains(f.models, modelType) {
			return &families[i]
		}
	}
	return nil
}

// familyNames lists the families, for messages.
func familyNames() string {
	var names []string
	for _, f := range families {
		names = append(names, f.modelType)
	}
	return strings.Join(names, ", ")
}

// family returns the configuration's family. For an unknown one, which Validate
// refuses, it is BERT's.
func (c Config) family() *family {
	if f := familyOf(c.ModelType); f != nil {
		return f
	}
	return &families[0]
}

// naming returns the names that are written.
func (f *family) naming() naming { return naming{f.layers, f.renamed} }

// allNamings returns the names that are read.
func (f *family) allNamings() []naming { return append([]naming{f.naming()}, f.namings...) }

// ownName turns a tensor's name in Skive into the family's own name.
func (c Config) ownName(name string) string { return c.nameIn(c.family().naming(), name) }

// nameIn turns a tensor's name in Skive into its name in a naming.
func (c Config) nameIn(n naming, name string) string {
	f := c.family()
	if f.denseHead && c.classifiesSequences() {
		if s, ok := strings.CutPrefix(name, "bert.pooler."); ok {
			return "classifier." + s
		}
		if s, ok := strings.CutPrefix(name, "classifier."); ok {
			return "classifier.out_proj." + s
		}
	}
	if s, ok := strings.CutPrefix(name, "bert."+bertLayers); ok {
		number, part, _ := strings.Cut(s, ".")
		return f.prefix + n.layers + number + "." + n.rename(part)
	}
	if s := n.rename(name); s != name {
		return s
	}
	if s, ok := strings.CutPrefix(name, "bert."); ok {
		return f.prefix + s
	}
	return name
}

func (n naming) rename(name string) string {
	for _, r := range n.renamed {
		if s, ok := strings.CutPrefix(name, r[0]); ok {
			return r[1] + s
		}
	}
	return name
}

// classifiesSequences tells whether transformers calls the head sequence
// classification.
func (c Config) classifiesSequences() bool {
	return len(c.Labels) > 0 && c.Head.Subject() == head.Texts
}

// HeadActivation is the activation of the dense layer between the first token and the
// classifier, by its Hugging Face name: "tanh" in BERT's pooler and RoBERTa's head,
// "relu" in DistilBERT's, "gelu" in ELECTRA's.
func (c Config) HeadActivation() string {
	if f := c.family(); !f.headNorm {
		return f.headActivation
	}
	return c.ClassifierActivation
}

// HeadNorm tells whether a LayerNorm follows that dense layer (ModernBERT). The two
// then also stand before the classifier of tokens and before the decoder of a masked
// language model, and SetHead keeps them.
func (c Config) HeadNorm() bool { return c.family().headNorm }

// EmbeddingOutputDropout is the dropout of the embedding layer's output in training.
func (c Config) EmbeddingOutputDropout() float32 {
	if c.family().dropsUnits {
		return c.EmbeddingDropout
	}
	return c.HiddenDropout
}

// SetDropout sets all dropout probabilities that the family has.
func (c *Config) SetDropout(p float32) {
	c.HiddenDropout, c.AttentionDropout, c.ClassifierDropout = p, p, p
	if c.family().dropsUnits {
		c.EmbeddingDropout = p
	}
	if c.family().dropsPoolerInput {
		c.PoolerDropout = p
	}
}

// Rotary tells whether the model has rotary positions (see Block.RotaryBase) instead of
// position embeddings.
func (c Config) Rotary() bool { return c.family().rotary != 0 }

// PositionTable tells whether the embeddings of words have those of positions added.
func (c Config) PositionTable() bool { return !c.Rotary() && !c.family().relative }

// HeadInputDropout is the dropout of that dense layer's input in training, as in
// RoBERTa, ELECTRA and DeBERTa.
func (c Config) HeadInputDropout() float32 {
	if c.family().denseHead && c.classifiesSequences() {
		return c.ClassifierDropout
	}
	return c.PoolerDropout
}

// LMActivation is the activation in the head of a masked language model.
func (c Config) LMActivation() string {
	if c.HeadNorm() {
		return c.ClassifierActivation
	}
	if a := c.family().lmActivation; a != "" {
		return a
	}
	return c.Activation
}

// EmbeddingWidth is the width of the embeddings: EmbeddingSize, or the hidden size if
// that is 0.
func (c Config) EmbeddingWidth() int {
	if c.EmbeddingSize == 0 {
		return c.HiddenSize
	}
	return c.EmbeddingSize
}

// ProjectsEmbeddings tells whether a linear layer widens the embeddings to the hidden
// size before the first layer.
func (c Config) ProjectsEmbeddings() bool {
	return c.family().alwaysProjects || c.EmbeddingWidth() != c.HiddenSize
}

// MaxTokens is the number of tokens of the longest sequence.
func (c Config) MaxTokens() int { return c.MaxPositions - c.positionOffset() }

// positionOffset is the position of a sequence's first token.
func (c Config) positionOffset() int {
	if c.family().positionsByID {
		return c.paddingPosition() + 1
	}
	return 0
}

// paddingPosition is the position of padding, and the id that counts as padding, where
// positions depend on ids.
func (c Config) paddingPosition() int { return cmp.Or(c.family().paddingPosition, c.PadTokenID) }

// PositionsByID tells whether positions depend on ids, see Positions. Otherwise they
// are 0, 1, 2, ...
func (c Config) PositionsByID() bool { return c.positionOffset() > 0 }

// Positions sets dst to the positions of a sequence's tokens, which are rows of the
// position embeddings. In RoBERTa and MPNet, as in fairseq, count the tokens up to and
// including this one that are not padding, and add the padding token's id. Padding has
// that id as its position.
func (c Config) Positions(dst, ids []int32) {
	if !c.PositionsByID() {
		for i := range ids {
			dst[i] = int32(i)
		}
		return
	}
	pad := int32(c.paddingPosition())
	next := pad
	for i, id := range ids {
		dst[i] = pad
		if id != pad {
			next++
			dst[i] = next
		}
	}
}

// PaddingPosition is the position of a padding token that is token i of a sequence.
func (c Config) PaddingPosition(i int) int32 {
	if c.PositionsByID() {
		return int32(c.paddingPosition())
	}
	return int32(i)
}

// validateFamily checks what the family requires of the configuration.
func (c Config) validateFamily() error {
	f := c.family()
	switch {
	case f.noTypes && c.TypeVocabSize != 0:
		return fmt.Errorf("type_vocab_size is %d, %s has no token types", c.TypeVocabSize, f.class)
	case !f.noTypes && (c.TypeVocabSize < 1 && !(f.anyTypes && c.TypeVocabSize == 0) || c.TypeVocabSize > maxDimension):
		return fmt.Errorf("type_vocab_size is %d, expected 1 to %d", c.TypeVocabSize, maxDimension)
	case f.layerNormEps != 0 && c.LayerNormEps != f.layerNormEps:
		return fmt.Errorf("layer_norm_eps is %g, in %s it is always %g", c.LayerNormEps, f.class, f.layerNormEps)
	case c.EmbeddingSize != 0 && f.embeddingSize == 0:
		return fmt.Errorf("embedding_size %d other than hidden_size %d: %w (ELECTRA's and ALBERT's are)", c.EmbeddingSize, c.HiddenSize, ErrUnsupported)
	case c.EmbeddingSize < 0 || c.EmbeddingSize > maxDimension:
		return fmt.Errorf("embedding_size is %d, expected 1 to %d", c.EmbeddingSize, maxDimension)
	case c.MaxTokens() < 1:
		return fmt.Errorf("max_position_embeddings is %d, expected more than the position of padding, %d, + 1", c.MaxPositions, c.paddingPosition())
	}
	return nil
}

// otherHeads are the beginnings of the names of tensors that belong to pretraining
// heads or to other tasks.
var otherHeads = []string{
	"cls.", "qa_outputs.", "lm_head.", "dropout.", "classifier.", "pre_classifier.", "vocab_transform.", "vocab_layer_norm.", "vocab_projector.",
	"discriminator_predictions.", "generator_predictions.", "generator_lm_head.", "sequence_summary.", "predictions.", "sop_classifier.", "head.", "decoder.",
	"lm_predictions.", "mask_predictions.",
}

func isOtherHead(name string) bool {
	return slices.ContainsFunc(otherHeads, func(p string) bool { return strings.HasPrefix(name, p) })
}

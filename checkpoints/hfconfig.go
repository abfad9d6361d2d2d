package checkpoints

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/internal/jsonwords"
)

const configName = "config.json"

// hfConfig holds the keys of config.json that concern an encoder. Pointers distinguish
// an absent key from a zero.
type hfConfig struct {
	Architectures []string `json:"architectures"`
	ModelType     *string  `json:"model_type"`

	VocabSize        *int `json:"vocab_size"`
	MaxPositions     *int `json:"max_position_embeddings"`
	TypeVocabSize    *int `json:"type_vocab_size"`
	HiddenSize       *int `json:"hidden_size"`
	NumLayers        *int `json:"num_hidden_layers"`
	NumHeads         *int `json:"num_attention_heads"`
	IntermediateSize *int `json:"intermediate_size"`
	HeadDim          *int `json:"head_dim"`
	PadTokenID       *int `json:"pad_token_id"`

	HiddenAct         *string  `json:"hidden_act"`
	LayerNormEps      *float32 `json:"layer_norm_eps"`
	HiddenDropout     *float32 `json:"hidden_dropout_prob"`
	AttentionDropout  *float32 `json:"attention_probs_dropout_prob"`
	ClassifierDropout *float32 `json:"classifier_dropout"`
	InitializerRange  *float32 `json:"initializer_range"`

	NumLabels *int            `json:"num_labels"`
	ID2Label  json.RawMessage `json:"id2label"`
	Label2ID  json.RawMessage `json:"label2id"`
	Task      *string         `json:"finetuning_task"`

	// DistilBERT's names for some of these.
	Dim               *int     `json:"dim"`
	Layers            *int     `json:"n_layers"`
	DistilHeads       *int     `json:"n_heads"`
	HiddenDim         *int     `json:"hidden_dim"`
	Activation        *string  `json:"activation"`
	Dropout           *float32 `json:"dropout"`
	DistilAttention   *float32 `json:"attention_dropout"`
	SeqClassifDropout *float32 `json:"seq_classif_dropout"`

	// ALBERT's names for some, and which layers share weights.
	ClassifierDropoutProb *float32 `json:"classifier_dropout_prob"`
	LayerGroups           *int     `json:"num_hidden_groups"`
	InnerLayers           *int     `json:"inner_group_num"`

	// Skive's own keys: the sizes of uneven layers, the columns of their heads' biases,
	// what the head was trained on, and how embeddings are made.
	Heads         []int     `json:"skive_attention_heads"`
	Intermediates []int     `json:"skive_intermediate_sizes"`
	BiasColumns   [][]int   `json:"skive_bias_columns"`
	Pairs         bool      `json:"skive_text_pairs"`
	Sentence      *Sentence `json:"skive_sentence"`
	// PrunedHeads lists, for each layer, the heads that prune_heads of transformers
	// removed.
	PrunedHeads map[string][]int `json:"pruned_heads"`

	// Written by the CrossEncoder of sentence-transformers, in old and new versions.
	CrossActivation *string         `json:"sbert_ce_default_activation_function"`
	CrossEncoder    json.RawMessage `json:"sentence_transformers"`

	// BiasBuckets stands in MPNet's configurations, but its code ignores it.
	BiasBuckets *int `json:"relative_attention_num_buckets"`

	// Settings that change the arithmetic and are not implemented.
	PositionType   *string `json:"position_embedding_type"`
	Decoder        bool    `json:"is_decoder"`
	EncoderDecoder bool    `json:"is_encoder_decoder"`
	CrossAttention bool    `json:"add_cross_attention"`
	EmbeddingSize  *int    `json:"embedding_size"`
	ProblemType    *string `json:"problem_type"`
	Quantization   any     `json:"quantization_config"`
	// The same for ELECTRA's multiple choice.
	SummaryType         *string `json:"summary_type"`
	SummaryProjects     *bool   `json:"summary_use_proj"`
	SummaryActivation   *string `json:"summary_activation"`
	SummaryProjToLabels bool    `json:"summary_proj_to_labels"`

	// rotaryBase is the default base of rotary positions, where it is not the family's.
	rotaryBase float64
	// buckets and poolerDropout are Config.RelativeBuckets and Config.PoolerDropout.
	buckets       int
	poolerDropout float32
}

// parsedConfig is a configuration with what else decides on its head.
type parsedConfig struct {
	Config
	architecture string   // the first of architectures, or ""
	labelsGiven  bool     // by id2label, label2id or num_labels
	sharing      sharing  // which layers share weights
	notes        []string // on what was ignored or assumed
}

// ParseConfig parses a Hugging Face config.json. Sizes are required; other absent keys
// have the defaults of the family's transformers class. Labels come from id2label, or
// else from label2id; a class without a name is called LABEL_0, LABEL_1, ... by its
// number. An unknown family is an error that wraps ErrUnsupported. So is a setting that
// changes what the model computes and is not implemented.
func ParseConfig(text []byte) (Config, error) {
	p, err := parseConfig(text)
	return p.Config, err
}

func parseConfig(text []byte) (parsedConfig, error) {
	var h hfConfig
	if err := json.Unmarshal(text, &h); err != nil {
		return parsedConfig{}, jsonError(err)
	}
	f, err := h.family()
	if err != nil {
		return parsedConfig{}, err
	}
	h.distilBERT(f)
	shared, err := h.albert(f)
	if err != nil {
		return parsedConfig{}, err
	}
	var own []string
	if f.readOwn != nil {
		if own, err = f.readOwn(&h, text); err != nil {
			return parsedConfig{}, err
		}
	}
	if err := h.refuse(f); err != nil {
		return parsedConfig{}, err
	}
	c := Config{
		ModelType:         f.modelType,
		TypeVocabSize:     valueOr(h.TypeVocabSize, 2),
		PadTokenID:        valueOr(h.PadTokenID, f.padTokenID),
		Activation:        activationOf(valueOr(h.HiddenAct, "gelu")),
		LayerNormEps:      valueOr(h.LayerNormEps, 1e-12),
		HiddenDropout:     valueOr(h.HiddenDropout, 0.1),
		AttentionDropout:  valueOr(h.AttentionDropout, 0.1),
		InitializerRange:  valueOr(h.InitializerRange, 0.02),
		Task:              valueOr(h.Task, ""),
		ClassifierDropout: valueOr(h.ClassifierDropout, valueOr(h.HiddenDropout, 0.1)),
		Pairs:             h.Pairs || h.CrossActivation != nil || jsonKind(h.CrossEncoder) == "object",
		Sentence:          h.Sentence,
		RelativeBuckets:   h.buckets,
		PoolerDropout:     h.poolerDropout,
	}
	if err := h.sizes(f, &c); err != nil {
		return parsedConfig{}, err
	}
	if f.windows {
		err = c.readModernBERT(text)
	} else if f.rotary != 0 {
		err = c.readRotary(text, cmp.Or(h.rotaryBase, f.rotary))
	}
	if err != nil {
		return parsedConfig{}, err
	}
	labels, given, notes, err := h.labels()
	if err != nil {
		return parsedConfig{}, err
	}
	p := parsedConfig{labelsGiven: given, notes: append(own, notes...), sharing: shared}
	if len(h.Architectures) > 0 {
		p.architecture = h.Architectures[0]
	}
	c.Head, c.Labels = headOf(p.architecture, valueOr(h.ProblemType, ""), len(labels)), labels
	if c.Head.Subject() == head.Choices && f.modelType == "electra" {
		if err := h.refuseSummary(); err != nil {
			return parsedConfig{}, err
		}
	}
	if c.Head.OneClass() && len(labels) == 1 && h.ProblemType != nil {
		return parsedConfig{}, fmt.Errorf("problem_type %q with one label, expected two labels or more, or problem_type %q", *h.ProblemType, head.Regression)
	}
	switch c.Head.Outputs() {
	case head.Tokens:
		c.Labels = nil
	case head.Score:
		if c.Head.Subject() == head.Choices || !given {
			c.Labels = []string{scoreLabel}
		}
	}
	if err := c.Validate(); err != nil {
		return parsedConfig{}, err
	}
	p.Config = c
	return p, nil
}

// sizes reads the sizes of the embeddings and the layers.
func (h *hfConfig) sizes(f *family, c *Config) error {
	var layers, heads, intermediate int
	for _, size := range []struct {
		name  string
		value *int
		dst   *int
	}{
		{"vocab_size", h.VocabSize, &c.VocabSize},
		{"max_position_embeddings", h.MaxPositions, &c.MaxPositions},
		{"hidden_size", h.HiddenSize, &c.HiddenSize},
		{"num_hidden_layers", h.NumLayers, &layers},
		{"num_attention_heads", h.NumHeads, &heads},
		{"intermediate_size", h.IntermediateSize, &intermediate},
	} {
		if size.value == nil {
			return fmt.Errorf("%s is missing", f.key(size.name))
		}
		*size.dst = *size.value
	}
	if f.noTypes {
		c.TypeVocabSize = 0
	}
	c.LayerNormEps = cmp.Or(f.layerNormEps, c.LayerNormEps)
	if f.embeddingSize > 0 {
		if c.EmbeddingSize = valueOr(h.EmbeddingSize, f.embeddingSize); c.EmbeddingSize == c.HiddenSize {
			c.EmbeddingSize = 0
		} else if c.EmbeddingSize < 1 {
			return fmt.Errorf("embedding_size is %d, expected 1 to %d", c.EmbeddingSize, maxDimension)
		}
	}
	if layers < 1 || layers > MaxLayers {
		return fmt.Errorf("%s is %d, expected 1 to %d", f.key("num_hidden_layers"), layers, MaxLayers)
	}
	switch {
	case h.HeadDim != nil:
		c.HeadDim = *h.HeadDim
	case heads < 1 || c.HiddenSize%heads != 0:
		return fmt.Errorf("%s %d is not a multiple of %s %d, and head_dim is missing", f.key("hidden_size"), c.HiddenSize, f.key("num_attention_heads"), heads)
	default:
		c.HeadDim = c.HiddenSize / heads
	}
	c.Layers = make([]LayerSize, layers)
	for i := range c.Layers {
		c.Layers[i] = LayerSize{heads, intermediate}
	}
	if err := h.layerSizes(c.Layers); err != nil {
		return err
	}
	c.BiasColumns = h.BiasColumns
	c.shortenBiasColumns()
	return nil
}

// jsonError says which key of a JSON file has the wrong type.
func jsonError(err error) error {
	var te *json.UnmarshalTypeError
	if errors.As(err, &te) && te.Field != "" {
		return fmt.Errorf("%s is a JSON %s, expected %s", te.Field, te.Value, jsonwords.Of(te.Type))
	}
	return corrupt("%v", err)
}

func valueOr[T any](p *T, def T) T {
	if p == nil {
		return def
	}
	return *p
}

// family finds the family by model_type, or else by the architecture's name.
func (h *hfConfig) family() (*family, error) {
	if h.ModelType != nil {
		if f := familyOf(*h.ModelType); f != nil {
			return f, nil
		}
		return nil, fmt.Errorf("model_type %q: %w (supported: %s)", *h.ModelType, ErrUnsupported, familyNames())
	}
	if len(h.Architectures) == 0 {
		return &families[0], nil
	}
	for i := range families {
		if strings.HasPrefix(h.Architectures[0], families[i].class) {
			return &families[i], nil
		}
	}
	return nil, fmt.Errorf("architecture %q: %w", h.Architectures[0], ErrUnsupported)
}

// distilBERT reads DistilBERT's names of keys; transformers accepts the usual ones too.
func (h *hfConfig) distilBERT(f *family) {
	if f.modelType != "distilbert" {
		return
	}
	h.HiddenSize, h.NumLayers = first(h.Dim, h.HiddenSize), first(h.Layers, h.NumLayers)
	h.NumHeads, h.IntermediateSize = first(h.DistilHeads, h.NumHeads), first(h.HiddenDim, h.IntermediateSize)
	h.HiddenAct, h.HiddenDropout, h.AttentionDropout = h.Activation, h.Dropout, h.DistilAttention
	classifierDropout := float32(0.2)
	h.ClassifierDropout = first(h.SeqClassifDropout, &classifierDropout)
}

// albert reads ALBERT's names of keys, with its defaults. From here on, each layer of a
// group counts as a layer of its own.
func (h *hfConfig) albert(f *family) (sharing, error) {
	if !f.sharesLayers {
		return sharing{}, nil
	}
	activation, classifierDropout, none := "gelu_new", float32(0.1), float32(0)
	h.HiddenAct = first(h.HiddenAct, &activation)
	h.HiddenDropout, h.AttentionDropout = first(h.HiddenDropout, &none), first(h.AttentionDropout, &none)
	h.ClassifierDropout = first(h.ClassifierDropoutProb, &classifierDropout)
	s := sharing{steps: valueOr(h.NumLayers, 0), groups: valueOr(h.LayerGroups, 1), inner: valueOr(h.InnerLayers, 1)}
	switch {
	case s.steps < 1 || s.steps > MaxLayers:
		return s, nil // sizes refuses it
	case s.groups < 1 || s.groups > s.steps:
		return s, fmt.Errorf("num_hidden_groups is %d, expected 1 to num_hidden_layers, %d", s.groups, s.steps)
	case s.inner < 1 || s.inner > MaxLayers:
		return s, fmt.Errorf("inner_group_num is %d, expected 1 to %d", s.inner, MaxLayers)
	}
	layers := s.steps * s.inner
	h.NumLayers = &layers
	return s, nil
}

func first[T any](a, b *T) *T {
	if a != nil {
		return a
	}
	return b
}

func unsupported(format string, args ...any) error {
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), ErrUnsupported)
}

// refuseSummary reports a setting of ELECTRA's multiple choice that differs from
// transformers' default.
func (h *hfConfig) refuseSummary() error {
	switch {
	case valueOr(h.SummaryType, "first") != "first":
		return unsupported("summary_type %q", *h.SummaryType)
	case !valueOr(h.SummaryProjects, true):
		return unsupported("summary_use_proj false")
	case activationOf(valueOr(h.SummaryActivation, "gelu")) != "gelu":
		return unsupported("summary_activation %q", *h.SummaryActivation)
	case h.SummaryProjToLabels:
		return unsupported("summary_proj_to_labels true")
	}
	return nil
}

// refuse reports a setting that is not implemented.
func (h *hfConfig) refuse(f *family) error {
	switch {
	case h.PositionType != nil && *h.PositionType != "absolute" && f.key("position_embedding_type") != "":
		return unsupported("position_embedding_type %q", *h.PositionType)
	case f.biasesScores && valueOr(h.BiasBuckets, biasBuckets) != biasBuckets:
		return unsupported("relative_attention_num_buckets %d other than %d", *h.BiasBuckets, biasBuckets)
	case f.biasesScores && len(h.PrunedHeads) > 0:
		return unsupported("pruned_heads of %s", f.class)
	case h.Decoder:
		return unsupported("is_decoder true")
	case h.EncoderDecoder:
		return unsupported("is_encoder_decoder true")
	case h.CrossAttention:
		return unsupported("add_cross_attention true")
	case f.embeddingSize == 0 && h.EmbeddingSize != nil && h.HiddenSize != nil && *h.EmbeddingSize != *h.HiddenSize:
		return unsupported("embedding_size %d other than hidden_size %d", *h.EmbeddingSize, *h.HiddenSize)
	case h.ProblemType != nil && !slices.Contains([]string{"single_label_classification", string(head.MultiLabel), string(head.Regression)}, *h.ProblemType):
		return unsupported("problem_type %q", *h.ProblemType)
	case h.Quantization != nil:
		return unsupported("quantization_config")
	}
	return nil
}

// layerSizes applies the lists with one entry for each layer.
func (h *hfConfig) layerSizes(layers []LayerSize) error {
	for _, f := range []struct {
		name string
		list []int
		dst  func(*LayerSize) *int
	}{
		{"skive_attention_heads", h.Heads, func(l *LayerSize) *int { return &l.Heads }},
		{"skive_intermediate_sizes", h.Intermediates, func(l *LayerSize) *int { return &l.Intermediate }},
	} {
		if f.list == nil {
			continue
		}
		if len(f.list) != len(layers) {
			return fmt.Errorf("%s has %d entries, num_hidden_layers is %d", f.name, len(f.list), len(layers))
		}
		for i, n := range f.list {
			*f.dst(&layers[i]) = n
		}
	}
	if len(h.PrunedHeads) > 0 && h.Heads != nil {
		return fmt.Errorf("pruned_heads and skive_attention_heads exclude each other")
	}
	for key, heads := range h.PrunedHeads {
		l, err := strconv.Atoi(key)
		if err != nil || l < 0 || l >= len(layers) {
			return fmt.Errorf("pruned_heads: %q is not the number of a layer", key)
		}
		pruned := slices.Clone(heads)
		slices.Sort(pruned)
		layers[l].Heads -= len(slices.Compact(pruned))
	}
	return nil
}

// maxUnnamed bounds the number of classes that have no names.
const maxUnnamed = 1 << 16

// labels returns the class names in order. As in transformers, id2label takes
// precedence over label2id, and a contradicting num_labels over both. A class without a
// name is called by its number.
func (h *hfConfig) labels() (labels []string, given bool, notes []string, err error) {
	const few = 4
	left := 0
	note := func(format string, args ...any) {
		if len(notes) == few {
			left++
			return
		}
		notes = append(notes, configName+": "+fmt.Sprintf(format, args...))
	}
	key := "id2label"
	names, n, err := namesByID(h.ID2Label)
	if err == nil && n == 0 {
		key = "label2id"
		names, n, err = namesOfLabels(h.Label2ID)
	}
	if err != nil {
		return nil, false, nil, err
	}
	if c := h.NumLabels; c != nil && (*c != n || n == 0) {
		if *c < 1 || *c > maxUnnamed {
			return nil, false, nil, fmt.Errorf("num_labels is %d, expected 1 to %d", *c, maxUnnamed)
		}
		if n > 0 {
			note("num_labels is %d and %s has %d names, which are left out", *c, key, n)
		}
		names, n = nil, *c
	}
	if n == 0 {
		return nil, false, nil, nil
	}
	labels = defaultLabels(n)
	if names == nil {
		return labels, true, notes, nil
	}
	for i := range labels {
		if names[i] != "" {
			labels[i] = names[i]
		} else {
			note("%s has no name for class %d, which is called %s", key, i, labels[i])
		}
	}
	for _, i := range slices.Sorted(maps.Keys(names)) {
		if i < 0 || i >= n {
			note("%s: %q is number %d, and the classes are 0 to %d", key, names[i], i, n-1)
		}
	}
	if left > 0 {
		notes = append(notes, fmt.Sprintf("%s: %d more labels like these", configName, left))
	}
	return labels, true, notes, nil
}

// namesByID reads id2label: class names by number, "" for none, and the number of
// classes.
func namesByID(text json.RawMessage) (names map[int]string, n int, err error) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(text, &object); text != nil && err != nil {
		return nil, 0, fmt.Errorf("id2label is a JSON %s, expected an object of names by number", jsonKind(text))
	}
	names = make(map[int]string, len(object))
	keys := make(map[int]string, len(object))
	for key, value := range object {
		i, err := strconv.Atoi(strings.TrimSpace(key))
		if err != nil {
			return nil, 0, fmt.Errorf("id2label: key %q, expected the number of a class", oneLine(key))
		}
		if other, ok := keys[i]; ok {
			return nil, 0, fmt.Errorf("id2label: keys %q and %q are the same number", min(key, other), max(key, other))
		}
		keys[i] = key
		switch kind := jsonKind(value); kind {
		case "string":
			var name string
			if err := json.Unmarshal(value, &name); err != nil {
				return nil, 0, fmt.Errorf("id2label: class %d: %w", i, err)
			}
			names[i] = name
		case "number", "boolean":
			names[i] = string(value)
		case "null":
			names[i] = ""
		default:
			return nil, 0, fmt.Errorf("id2label: the name of class %d is a JSON %s, expected a string", i, kind)
		}
	}
	return names, len(object), nil
}

// namesOfLabels reads label2id; its results are those of namesByID. The numbers may be
// strings, and no class may be missing.
func namesOfLabels(text json.RawMessage) (names map[int]string, n int, err error) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(text, &object); text != nil && err != nil {
		return nil, 0, fmt.Errorf("label2id is a JSON %s, expected an object of numbers by name", jsonKind(text))
	}
	n = len(object)
	names = make(map[int]string, n)
	for _, name := range sortedNames(object) {
		number := string(object[name])
		if jsonKind(object[name]) == "string" {
			number = strings.TrimSpace(strings.Trim(number, `"`))
		}
		i, err := strconv.Atoi(number)
		if _, taken := names[i]; err != nil || i < 0 || i >= n || taken {
			return nil, 0, fmt.Errorf("label2id: %q is %s, expected each of 0 to %d once", oneLine(name), oneLine(number), n-1)
		}
		names[i] = name
	}
	return names, n, nil
}

// jsonKind names the type of a JSON value, for messages.
func jsonKind(text json.RawMessage) string {
	switch text = bytes.TrimSpace(text); {
	case len(text) == 0, text[0] == 'n':
		return "null"
	case text[0] == '"':
		return "string"
	case text[0] == '[':
		return "array"
	case text[0] == '{':
		return "object"
	case text[0] == 't', text[0] == 'f':
		return "boolean"
	}
	return "number"
}

// activations maps Skive's name of an activation to the names in transformers.
var activations = map[string][]string{
	"gelu":     {"gelu", "gelu_python"},
	"gelu_new": {"gelu_new", "gelu_pytorch_tanh", "gelu_python_tanh", "gelu_fast", "gelu_accurate"},
	"relu":     {"relu"},
	"silu":     {"silu", "swish"},
}

// activationOf turns an activation's name in transformers into Skive's. Unknown names
// stay as they are.
func activationOf(name string) string {
	for own, names := range activations {
		if slices.Contains(names, name) {
			return own
		}
	}
	return name
}

// defaultLabels returns the names that transformers gives to n unnamed classes.
func defaultLabels(n int) []string {
	labels := make([]string, n)
	for i := range labels {
		labels[i] = fmt.Sprintf("LABEL_%d", i)
	}
	return labels
}

// architecture is the model's class in transformers.
func (m *Model) architecture() string {
	class := m.Config.family().class
	if !m.HasHead() {
		return class + "Model"
	}
	return class + rows[m.Config.Head].architecture
}

// ConfigJSON returns the model's config.json as SaveHF writes it, with the class in
// transformers and the labels.
func (m *Model) ConfigJSON() ([]byte, error) { return formatConfig(m, false) }

// formatConfig writes the configuration as a config.json. ParseConfig reads it back to
// the same configuration. If Config.Stock is true, unmodified transformers loads it.
// With whole it also holds how embeddings are made, which other files of a Hugging Face
// directory hold otherwise.
func formatConfig(m *Model, whole bool) ([]byte, error) {
	c := m.Config
	if err := c.Validate(); err != nil {
		return nil, err
	}
	out := orderedJSON{}
	f := c.family()
	add := func(name string, value any) {
		if key := f.key(name); key != "" {
			out.add(key, value)
		}
	}
	var heads, intermediates []int
	for _, l := range c.Layers {
		heads = append(heads, l.Heads)
		intermediates = append(intermediates, l.Intermediate)
	}
	add("architectures", []string{m.architecture()})
	add("model_type", c.ModelType)
	add("vocab_size", c.VocabSize)
	add("hidden_size", c.HiddenSize)
	if f.embeddingSize > 0 {
		add("embedding_size", c.EmbeddingWidth())
	}
	add("num_hidden_layers", len(c.Layers))
	if f.sharesLayers {
		out.add("num_hidden_groups", m.layerGroups())
		out.add("inner_group_num", 1)
	}
	add("num_attention_heads", slices.Max(heads))
	if !c.Stock() {
		add("head_dim", c.HeadDim)
	}
	add("intermediate_size", slices.Max(intermediates))
	if !c.Even() {
		add("skive_attention_heads", heads)
		add("skive_intermediate_sizes", intermediates)
	}
	if c.BiasColumns != nil {
		add(biasColumnsKey, c.BiasColumns)
	}
	add("hidden_act", c.Activation)
	add("hidden_dropout_prob", c.HiddenDropout)
	add("attention_probs_dropout_prob", c.AttentionDropout)
	add("classifier_dropout", c.ClassifierDropout)
	add("max_position_embeddings", c.MaxPositions)
	add("type_vocab_size", c.TypeVocabSize)
	if f.biasesScores {
		add("relative_attention_num_buckets", biasBuckets)
	}
	add("initializer_range", c.InitializerRange)
	add("layer_norm_eps", c.LayerNormEps)
	add("pad_token_id", c.PadTokenID)
	add("position_embedding_type", "absolute")
	if f.windows {
		c.addModernBERT(&out)
	} else if f.rotary != 0 {
		c.addRotary(&out)
	}
	if f.writeOwn != nil {
		f.writeOwn(c, &out)
	}
	if len(c.Labels) > 0 {
		out.addLabels(c.Labels)
	}
	if c.Head.Subject() == head.Texts && c.Head != "" {
		out.add("problem_type", c.Head)
	}
	if c.Task != "" {
		out.add("finetuning_task", c.Task)
	}
	if c.Pairs {
		out.add("skive_text_pairs", true)
	}
	if whole && c.Sentence != nil {
		out.add("skive_sentence", c.Sentence)
	}
	switch m.DType() {
	case F32:
		out.add("torch_dtype", "float32")
	case F16:
		out.add("torch_dtype", "float16")
	case BF16:
		out.add("torch_dtype", "bfloat16")
	}
	text, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(text, '\n'), nil
}

// orderedJSON is a JSON object that keeps the order of its keys.
type orderedJSON []struct {
	key   string
	value any
}

func (o *orderedJSON) add(key string, value any) {
	*o = append(*o, struct {
		key   string
		value any
	}{key, value})
}

// addLabels adds id2label and label2id.
func (o *orderedJSON) addLabels(labels []string) {
	names, ids := orderedJSON{}, orderedJSON{}
	seen := make(map[string]bool, len(labels))
	for i, l := range labels {
		names.add(strconv.Itoa(i), l)
		if !seen[l] {
			ids.add(l, i)
		}
		seen[l] = true
	}
	o.add("id2label", names)
	o.add("label2id", ids)
}

func (o orderedJSON) MarshalJSON() ([]byte, error) {
	var buf bytes.Buffer
	buf.WriteByte('{')
	for i, f := range o {
		if i > 0 {
			buf.WriteByte(',')
		}
		for j, v := range []any{f.key, f.value} {
			if j > 0 {
				buf.WriteByte(':')
			}
			b, err := json.Marshal(v)
			if err != nil {
				return nil, err
			}
			buf.Write(b)
			switch v.(type) {
			case float32, float64:
				// Configurations of transformers 5 that check types take no 0 for 0.0.
				if !bytes.ContainsAny(b, ".e") {
					buf.WriteString(".0")
				}
			}
		}
	}
	buf.WriteByte('}')
	return buf.Bytes(), nil
}

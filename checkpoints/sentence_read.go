package checkpoints

import (
	"encoding/json"
	"fmt"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/skive-ml/skive/internal/bounded"
	"github.com/skive-ml/skive/internal/mapped"
)

// Files in a sentence-transformers directory.
const (
	modulesName  = "modules.json"
	promptsName  = "config_sentence_transformers.json"
	sentenceName = "sentence_bert_config.json"
)

// sentenceNames are the possible names of the first module's file, in the order in
// which sentence-transformers looks for them.
var sentenceNames = []string{
	sentenceName, "sentence_roberta_config.json", "sentence_distilbert_config.json", "sentence_camembert_config.json",
	"sentence_albert_config.json", "sentence_xlm-roberta_config.json", "sentence_xlnet_config.json",
}

// moduleFile matches the files of all modules but the first.
var moduleFile = regexp.MustCompile(`^\d+_\w+/(config\.json|model\.safetensors|pytorch_model\.bin)$`)

// module is an entry of modules.json.
type module struct {
	Name string `json:"name"`
	Path string `json:"path"`
	Type string `json:"type"`
}

// class is the name of the module's class, "" if it is not one of
// sentence-transformers'.
func (m module) class() string {
	if !strings.HasPrefix(m.Type, "sentence_transformers.") {
		return ""
	}
	return m.Type[strings.LastIndex(m.Type, ".")+1:]
}

// modules reads modules.json, and returns nil if there is none.
func (d modelDir) modules() ([]module, error) {
	var list []module
	there, err := d.json(modulesName, &list)
	if err != nil || !there {
		return nil, err
	}
	fail := func(i int, format string, args ...any) error {
		return fmt.Errorf("%s: module %d: %w", d.name(modulesName), i, fmt.Errorf(format, args...))
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%s: no modules, expected sentence_transformers.models.Transformer first", d.name(modulesName))
	}
	for i, m := range list {
		if m.Path != "" && !plainName(m.Path) {
			return nil, fail(i, "path %q is not the name of a directory", m.Path)
		}
		if (i == 0) != (m.class() == "Transformer") || !slices.Contains([]string{"Transformer", "Pooling", "Dense", "Normalize", "Dropout"}, m.class()) {
			want := "a Pooling, Dense, Normalize or Dropout of sentence_transformers"
			if i == 0 {
				want = "a Transformer of sentence_transformers"
			}
			return nil, fail(i, "type %q: %w, expected %s (without %s the encoder alone is read)", m.Type, ErrUnsupported, want, modulesName)
		}
	}
	return list, nil
}

// name is the path of a file, for messages.
func (d modelDir) name(file string) string {
	p, _ := d.file(file)
	return p
}

// json reads a JSON file if it exists.
func (d modelDir) json(file string, v any) (there bool, err error) {
	p, ok := d.file(file)
	if !ok {
		return false, nil
	}
	text, err := readAligned(p, bounded.Document)
	if err != nil {
		return false, fmt.Errorf("%s: %w", p, err)
	}
	if err := json.Unmarshal(text, v); err != nil {
		return false, fmt.Errorf("%s: %w", p, jsonError(err))
	}
	return true, nil
}

// truth also accepts a number or null, as Python does where it needs a truth value.
type truth bool

func (t *truth) UnmarshalJSON(text []byte) error {
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		return err
	}
	switch v := v.(type) {
	case nil:
		*t = false
	case bool:
		*t = truth(v)
	case float64:
		*t = v != 0
	default:
		return &json.UnmarshalTypeError{Value: jsonKind(text), Type: reflect.TypeFor[bool]()}
	}
	return nil
}

// transformerFile is sentence_bert_config.json, under whatever name.
type transformerFile struct {
	MaxLength  *float64                   `json:"max_seq_length"`
	LowerCase  truth                      `json:"do_lower_case"`
	Task       *string                    `json:"transformer_task"`
	Output     *string                    `json:"module_output_name"`
	Processing map[string]json.RawMessage `json:"processing_kwargs"`
	Processor  map[string]json.RawMessage `json:"processor_kwargs"`
	Tokenizer  map[string]json.RawMessage `json:"tokenizer_args"`
	Config     map[string]json.RawMessage `json:"config_kwargs"`
	ConfigArgs map[string]json.RawMessage `json:"config_args"`
}

// promptsFile is config_sentence_transformers.json.
type promptsFile struct {
	ModelType     *string            `json:"model_type"`
	Prompts       map[string]*string `json:"prompts"`
	DefaultPrompt *string            `json:"default_prompt_name"`
	Similarity    *string            `json:"similarity_fn_name"`
	TruncateDim   *int               `json:"truncate_dim"`
}

// readSentence reads the modules beside the encoder into the configuration, and the
// tensors of its dense layers. encoder is the first module's directory.
func (m *Model) readSentence(dir, encoder modelDir, modules []module, cfg *parsedConfig) (map[string]foreignTensor, error) {
	var t transformerFile
	file := sentenceName
	for _, name := range sentenceNames {
		if _, ok := encoder.file(name); ok {
			file = name
			break
		}
	}
	if _, err := encoder.json(file, &t); err != nil {
		return nil, err
	}
	var p promptsFile
	if _, err := dir.json(promptsName, &p); err != nil {
		return nil, err
	}
	crossEncoder := valueOr(p.ModelType, "") == "CrossEncoder" || valueOr(t.Task, "") == "sequence-classification"
	if crossEncoder && len(modules) == 1 {
		cfg.Pairs = true
		return nil, nil
	}
	if kind := valueOr(p.ModelType, "SentenceTransformer"); kind != "SentenceTransformer" {
		return nil, fmt.Errorf("%s: model_type %q: %w (SentenceTransformer and CrossEncoder are)", dir.name(promptsName), kind, ErrUnsupported)
	}
	s := &Sentence{
		LowerCase: bool(t.LowerCase), DefaultPrompt: valueOr(p.DefaultPrompt, ""), Similarity: valueOr(p.Similarity, ""),
		Prompts: map[string]string{},
	}
	if err := t.refuse(); err != nil {
		return nil, fmt.Errorf("%s: %w", encoder.name(file), err)
	}
	for name, prompt := range p.Prompts {
		s.Prompts[name] = valueOr(prompt, "")
	}
	if s.DefaultPrompt == "query" || s.DefaultPrompt == "document" {
		s.Prompts[s.DefaultPrompt] += "" // sentence-transformers has these two of itself
	}
	if len(s.Prompts) == 0 {
		s.Prompts = nil
	}
	var err error
	if s.MaxLength, err = t.maxLength(encoder); err != nil {
		return nil, fmt.Errorf("%s: %w", encoder.name(file), err)
	}
	tensors, width, err := m.readModules(dir, modules, cfg.HiddenSize, s)
	if err != nil {
		return nil, err
	}
	if n := valueOr(p.TruncateDim, width); n < width {
		return nil, fmt.Errorf("%s: %w", dir.name(promptsName), unsupported("truncate_dim %d, less than the embedding's width %d", n, width))
	}
	if err := s.validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", dir.name(promptsName), err)
	}
	cfg.Sentence = s
	return tensors, nil
}

// readModules reads the modules after the encoder into s. width is the width of the
// hidden states. It returns the tensors of the dense layers and the embedding's width.
func (m *Model) readModules(dir modelDir, modules []module, hidden int, s *Sentence) (tensors map[string]foreignTensor, width int, err error) {
	width = hidden
	tensors = make(map[string]foreignTensor)
	pooled := false
	for i, module := range modules[1:] {
		fail := func(err error) error {
			return fmt.Errorf("%s: %w", dir.name(path.Join(module.Path, configName)), err)
		}
		misplaced := func(want string) error {
			return fmt.Errorf("%s: module %d: %s %s", dir.name(modulesName), i+1, module.class(), want)
		}
		switch module.class() {
		case "Pooling":
			if pooled {
				return nil, 0, misplaced("follows another one, expected one")
			}
			pooled = true
			if s.Pooling, err = dir.pooling(module.Path, width, s); err != nil {
				return nil, 0, fail(err)
			}
		case "Dense":
			if !pooled || s.Normalize {
				return nil, 0, misplaced("has its place between Pooling and Normalize, elsewhere it is not supported")
			}
			d, err := dir.dense(module.Path, width)
			if err != nil {
				return nil, 0, fail(err)
			}
			if err := m.denseWeights(dir, module.Path, d, fmt.Sprintf("%s%d.", densePrefix, len(s.Dense)), tensors); err != nil {
				return nil, 0, err
			}
			s.Dense, width = append(s.Dense, d), d.Out
		case "Normalize":
			if !pooled {
				return nil, 0, misplaced("has its place after Pooling, elsewhere it is not supported")
			}
			if err := dir.normalize(module.Path); err != nil {
				return nil, 0, err
			}
			s.Normalize = true
		}
	}
	if !pooled {
		return nil, 0, fmt.Errorf("%s: no Pooling, expected one after the Transformer", dir.name(modulesName))
	}
	return tensors, width, nil
}

// normalize checks the settings of a Normalize module.
func (d modelDir) normalize(folder string) error {
	var n struct {
		Input *string `json:"module_input_name"`
	}
	file := path.Join(folder, configName)
	if _, err := d.json(file, &n); folder != "" && err != nil {
		return err
	}
	if in := valueOr(n.Input, sentenceFeature); in != sentenceFeature {
		return fmt.Errorf("%s: %w", d.name(file), unsupported("module_input_name %q", in))
	}
	return nil
}

// sentenceFeature is the modules' name for the embedding.
const sentenceFeature = "sentence_embedding"

// refuse reports a setting that is not implemented.
func (t *transformerFile) refuse() error {
	switch {
	case valueOr(t.Task, "feature-extraction") != "feature-extraction":
		return unsupported("transformer_task %q", *t.Task)
	case valueOr(t.Output, "token_embeddings") != "token_embeddings":
		return unsupported("module_output_name %q", *t.Output)
	}
	for _, settings := range []struct {
		name string
		of   map[string]json.RawMessage
	}{
		{"processing_kwargs", t.Processing}, {"processor_kwargs", t.Processor}, {"tokenizer_args", t.Tokenizer},
		{"config_kwargs", t.Config}, {"config_args", t.ConfigArgs},
	} {
		for _, key := range sortedNames(settings.of) {
			if key != "trust_remote_code" {
				return unsupported("%s: %s", settings.name, oneLine(key))
			}
		}
	}
	return nil
}

// maxLength is the number of tokens to which texts are cut, 0 for no limit. It is
// max_seq_length, or, as in newer versions of sentence-transformers, the tokenizer's
// own maximum.
func (t *transformerFile) maxLength(encoder modelDir) (int, error) {
	if n := t.MaxLength; n != nil {
		if *n < 1 || *n > maxDimension || *n != float64(int(*n)) {
			return 0, fmt.Errorf("max_seq_length is %g, expected 1 to %d", *n, maxDimension)
		}
		return int(*n), nil
	}
	var c struct {
		MaxLength *float64 `json:"model_max_length"`
	}
	if _, err := encoder.json("tokenizer_config.json", &c); err != nil {
		return 0, err
	}
	if n := valueOr(c.MaxLength, 0); n >= 1 && n <= maxDimension {
		return int(n), nil
	}
	return 0, nil // 1e30, for example, means no limit
}

// legacyPoolings are the keys of older configurations. If several are true, their
// vectors are joined in this order.
var legacyPoolings = []struct {
	key  string
	mode Pooling
}{
	{"pooling_mode_cls_token", CLSPooling},
	{"pooling_mode_max_tokens", MaxPooling},
	{"pooling_mode_mean_tokens", MeanPooling},
	{"pooling_mode_mean_sqrt_len_tokens", MeanSqrtPooling},
	{"pooling_mode_weightedmean_tokens", "weightedmean"},
	{"pooling_mode_lasttoken", LastPooling},
}

// pooling reads the configuration of a Pooling module for hidden states of this width.
func (d modelDir) pooling(folder string, width int, s *Sentence) (Pooling, error) {
	var c map[string]json.RawMessage // without a file, the defaults
	if _, err := d.json(path.Join(folder, configName), &c); err != nil {
		return "", err
	}
	read := func(key string, v any) error {
		if text, ok := c[key]; ok {
			if json.Unmarshal([]byte(text), v) != nil {
				want := "a whole number"
				if _, ok := v.(*truth); ok {
					want = "true or false"
				}
				return fmt.Errorf("%s is a JSON %s, expected %s", key, jsonKind(text), want)
			}
		}
		return nil
	}
	for _, key := range []string{"embedding_dimension", "word_embedding_dimension"} {
		n := width
		if err := read(key, &n); err != nil {
			return "", err
		}
		if n != width {
			return "", fmt.Errorf("%s is %d, expected the hidden size %d", key, n, width)
		}
	}
	include := truth(true)
	if err := read("include_prompt", &include); err != nil {
		return "", err
	}
	for _, prompt := range s.Prompts {
		if !include && prompt != "" {
			return "", unsupported("include_prompt false")
		}
	}
	var modes []Pooling
	known := []string{"pooling_mode"}
	for _, l := range legacyPoolings {
		known = append(known, l.key)
		on := truth(false)
		if err := read(l.key, &on); err != nil {
			return "", err
		}
		if on {
			modes = append(modes, l.mode)
		}
	}
	for key := range c {
		if strings.HasPrefix(key, "pooling_mode") && !slices.Contains(known, key) {
			return "", unsupported("%s", oneLine(key))
		}
	}
	if text, ok := c["pooling_mode"]; ok {
		var one Pooling
		if modes = nil; json.Unmarshal(text, &one) == nil {
			modes = []Pooling{one}
		} else if err := json.Unmarshal(text, &modes); err != nil {
			return "", fmt.Errorf("pooling_mode is a JSON %s, expected a string", jsonKind(text))
		}
	} else if len(modes) == 0 {
		modes = []Pooling{MeanPooling}
	}
	if len(modes) != 1 || !slices.Contains(poolings, modes[0]) {
		return "", fmt.Errorf("pooling_mode %q: %w (one of %q is)", modes, ErrUnsupported, poolings)
	}
	return modes[0], nil
}

// dense reads the configuration of a Dense module with inputs of this width.
func (d modelDir) dense(folder string, width int) (Dense, error) {
	var c struct {
		In         *int    `json:"in_features"`
		Out        *int    `json:"out_features"`
		Bias       *truth  `json:"bias"`
		Activation *string `json:"activation_function"`
		Input      *string `json:"module_input_name"`
		Output     *string `json:"module_output_name"`
		Residual   truth   `json:"use_residual"`
	}
	if there, err := d.json(path.Join(folder, configName), &c); err != nil || !there {
		if err == nil {
			err = fmt.Errorf("missing, expected the configuration of a Dense")
		}
		return Dense{}, err
	}
	activation := valueOr(c.Activation, "torch.nn.modules.activation.Tanh")
	own := ""
	for name, class := range denseActivations {
		if strings.HasPrefix(activation, "torch.nn.") && strings.HasSuffix(activation, "."+class) {
			own = name
		}
	}
	input := valueOr(c.Input, sentenceFeature)
	switch {
	case c.In == nil || *c.In != width:
		return Dense{}, fmt.Errorf("in_features is %d, expected the width of what comes in, %d", valueOr(c.In, 0), width)
	case c.Out == nil || *c.Out < 1 || *c.Out > maxDimension:
		return Dense{}, fmt.Errorf("out_features is %d, expected 1 to %d", valueOr(c.Out, 0), maxDimension)
	case own == "":
		return Dense{}, fmt.Errorf("activation_function %q: %w (Identity, Tanh, ReLU and GELU of torch.nn are)", activation, ErrUnsupported)
	case input != sentenceFeature:
		return Dense{}, unsupported("module_input_name %q", input)
	case valueOr(c.Output, input) != input:
		return Dense{}, unsupported("module_output_name %q", *c.Output)
	case bool(c.Residual):
		return Dense{}, unsupported("use_residual true")
	}
	return Dense{*c.Out, bool(valueOr(c.Bias, true)), own}, nil
}

// denseWeights adds the weights of a Dense module to tensors, under their names in a
// Model.
func (m *Model) denseWeights(dir modelDir, folder string, d Dense, prefix string, tensors map[string]foreignTensor) error {
	for _, kind := range weightFiles {
		p, ok := dir.file(path.Join(folder, kind.name))
		if !ok || kind.sharded {
			continue
		}
		f, err := mapped.Open(p)
		if err != nil {
			return err
		}
		m.files = append(m.files, f)
		found, err := kind.parse(f.Data)
		if err != nil {
			return named(p, err)
		}
		parts := []string{"weight"}
		if d.Bias {
			parts = append(parts, "bias")
		}
		for _, part := range parts {
			t, ok := found["linear."+part]
			if !ok {
				return fmt.Errorf("%s: tensor linear.%s: missing", p, part)
			}
			tensors[prefix+part] = t
		}
		return nil
	}
	return fmt.Errorf("%s: no %s or %s", dir.name(folder), safetensorsName, pytorchName)
}

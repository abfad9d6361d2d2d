package checkpoints

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/internal/bounded"
	"github.com/skive-ml/skive/internal/mapped"
)

const (
	pytorchName      = "pytorch_model.bin"
	pytorchIndexName = "pytorch_model.bin.index.json"
	provenanceName   = "skive.json"

	tokenizerConfigName = "tokenizer_config.json"
	stateDir            = "state"
)

// tokenizerNames are the tokenizer's files in a directory. Those in pieceNames are
// SentencePiece models.
var (
	tokenizerNames = append([]string{
		"tokenizer.json", tokenizerConfigName, "special_tokens_map.json", "added_tokens.json",
		"vocab.txt", "vocab.json", "merges.txt",
	}, pieceNames...)
	pieceNames = []string{"sentencepiece.bpe.model", "spiece.model", "spm.model"}
)

// provenanceFile is skive.json.
type provenanceFile struct {
	Version    int     `json:"format_version"`
	Provenance []Stage `json:"provenance"`
}

const provenanceVersion = 1

// openHF reads a Hugging Face directory. Tensors of safetensors files are views of the
// mapped file. So are contiguous tensors of a .bin file.
func openHF(path string) (m *Model, err error) {
	dir, err := openDir(path)
	if err != nil {
		return nil, err
	}
	modules, err := dir.modules()
	if err != nil {
		return nil, err
	}
	encoder := dir
	if len(modules) > 0 && modules[0].Path != "" {
		if encoder, err = openDir(filepath.Join(path, modules[0].Path)); err != nil {
			return nil, err
		}
	}
	configPath, ok := encoder.file(configName)
	if !ok {
		if _, err := os.Stat(filepath.Join(path, stateDir)); err == nil {
			return nil, fmt.Errorf("%s: %w: it holds a training state but no finished model yet", path, ErrNotModel)
		}
		return nil, fmt.Errorf("%s: %w: the directory has no %s%s", path, ErrNotModel, configName, modelsIn(path))
	}
	text, err := readAligned(configPath, bounded.Document)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", configPath, err)
	}
	cfg, err := parseConfig(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", configPath, err)
	}
	opening := &Model{Tensors: make(map[string]Tensor), Notes: cfg.notes}
	defer func() {
		if err != nil {
			m = nil
			opening.Close()
		}
	}()
	defer mapped.Catch(&err, debug.SetPanicOnFault(true))
	var dense map[string]foreignTensor
	if modules != nil {
		if dense, err = opening.readSentence(dir, encoder, modules, &cfg); err != nil {
			return nil, err
		}
	}
	if err := opening.readWeights(encoder, cfg, dense); err != nil {
		return nil, err
	}
	if opening.Tokenizer, err = encoder.tokenizer(); err != nil {
		return nil, err
	}
	if err := opening.readProvenance(dir); err != nil {
		return nil, err
	}
	return opening, nil
}

// modelsIn lists the models inside a directory that is no model itself, such as the
// output directory of a run with several steps.
func modelsIn(path string) string {
	entries, err := os.ReadDir(path)
	if err != nil {
		return ""
	}
	var names []string
	for _, e := range entries {
		_, err := os.Stat(filepath.Join(path, e.Name(), configName))
		if err == nil || !e.IsDir() && filepath.Ext(e.Name()) == Extension {
			names = append(names, filepath.Join(path, e.Name()))
		}
		if len(names) == 12 {
			names = append(names, "...")
			break
		}
	}
	if len(names) == 0 {
		return ""
	}
	return ", but it holds models: expected one of " + strings.Join(names, ", ")
}

// parseWeights parses a file of weights. The tensors are views of the file.
type parseWeights func([]byte) (map[string]foreignTensor, error)

// weightFile is a file with weights. A sharded one is an index that names the files.
type weightFile struct {
	name    string
	sharded bool
	parse   parseWeights
}

// weightFiles are in transformers' order of preference.
var weightFiles = []weightFile{
	{safetensorsName, false, parseSafetensors},
	{safetensorsIndexName, true, parseSafetensors},
	{pytorchName, false, parsePyTorch},
	{pytorchIndexName, true, parsePyTorch},
}

// ModelFiles selects, from the names of a directory's files, those that Open reads: the
// configuration, the weights in their preferred form, the tokenizer and the provenance.
// In a sentence-transformers directory the modules are included.
func ModelFiles(names []string) ([]string, error) {
	var files []string
	there := func(name string) bool { return slices.Contains(names, name) }
	add := func(name string) bool {
		if there(name) {
			files = append(files, name)
		}
		return there(name)
	}
	folder := "" // of the encoder
	if !there(configName) && there(modulesName) {
		for _, name := range names {
			if moduleFile.MatchString(name) && strings.HasPrefix(name, "0_") {
				folder, _, _ = strings.Cut(name, "/")
				folder += "/"
			}
		}
	}
	if !add(folder + configName) {
		return nil, fmt.Errorf("%w: there is no %s", ErrNotModel, configName)
	}
	i := slices.IndexFunc(weightFiles, func(f weightFile) bool { return add(folder + f.name) })
	if i < 0 {
		return nil, fmt.Errorf("%w: there is no %s, %s or %s", ErrNotModel, safetensorsName, safetensorsIndexName, pytorchName)
	}
	if kind := weightFiles[i]; kind.sharded {
		// model.safetensors.index.json has shards model-00001-of-00002.safetensors.
		whole := strings.TrimSuffix(kind.name, ".index.json")
		extension := filepath.Ext(whole)
		for _, name := range names {
			shard, inside := strings.CutPrefix(name, folder)
			if inside && plainName(shard) && strings.HasPrefix(shard, strings.TrimSuffix(whole, extension)+"-") && strings.HasSuffix(shard, extension) {
				add(name)
			}
		}
	}
	add(provenanceName)
	for _, name := range tokenizerNames {
		add(folder + name)
	}
	if !add(modulesName) {
		return files, nil
	}
	add(promptsName)
	for _, name := range sentenceNames {
		add(folder + name)
	}
	for _, name := range names {
		dir, file := path.Split(name)
		if !moduleFile.MatchString(name) || dir == folder || file == pytorchName && there(dir+safetensorsName) {
			continue
		}
		add(name)
	}
	return files, nil
}

// readWeights finds the weights of a directory, in transformers' order of preference.
// It takes from them the configuration's tensors, and the tensors of the dense layers
// after the encoder from dense.
func (m *Model) readWeights(dir modelDir, cfg parsedConfig, dense map[string]foreignTensor) error {
	for _, kind := range weightFiles {
		p, ok := dir.file(kind.name)
		if !ok {
			continue
		}
		tensors := make(map[string]foreignTensor)
		if kind.sharded {
			if err := m.readShards(dir, p, kind.parse, tensors); err != nil {
				return err
			}
		} else {
			f, err := mapped.Open(p)
			if err != nil {
				return err
			}
			m.files = append(m.files, f)
			if tensors, err = kind.parse(f.Data); err != nil {
				return named(p, err)
			}
		}
		maps.Copy(tensors, dense)
		if err := m.adopt(tensors, cfg); err != nil {
			return named(p, err)
		}
		return nil
	}
	return fmt.Errorf("%s: %w: the directory has no %s, %s or %s", dir.path, ErrNotModel, safetensorsName, safetensorsIndexName, pytorchName)
}

// readShards reads the shards that an index names.
func (m *Model) readShards(dir modelDir, indexPath string, parse parseWeights, tensors map[string]foreignTensor) error {
	text, err := readAligned(indexPath, bounded.Document)
	if err != nil {
		return fmt.Errorf("%s: %w", indexPath, err)
	}
	names, shards, err := parseIndex(text)
	if err != nil {
		return fmt.Errorf("%s: %w", indexPath, err)
	}
	for _, shard := range shards {
		p, ok := dir.file(shard)
		if !ok {
			return fmt.Errorf("%s: shard %s is missing", indexPath, shard)
		}
		f, err := mapped.Open(p)
		if err != nil {
			return err
		}
		m.files = append(m.files, f)
		content, err := parse(f.Data)
		if err != nil {
			return named(p, err)
		}
		for _, name := range names[shard] {
			t, ok := content[name]
			if !ok {
				return fmt.Errorf("%s: tensor %s is missing, %s says it is here", p, name, filepath.Base(indexPath))
			}
			tensors[name] = t
		}
	}
	return nil
}

// bufferName matches buffers saved by older versions of transformers and by other code.
var bufferName = regexp.MustCompile(`(^|\.)embeddings\.(position_ids|token_type_ids)$|(^|\.)rotary_emb\.inv_freq$`)

// namedTensor is a tensor with its name in the file.
type namedTensor struct {
	original string
	t        foreignTensor
}

// adopt takes the configuration's tensors from a file's, under the names of
// BertForSequenceClassification, and decides whether there is a head.
func (m *Model) adopt(tensors map[string]foreignTensor, cfg parsedConfig) error {
	canonical := cfg.canonicalNames()
	byName := make(map[string]namedTensor, len(tensors))
	for original, t := range tensors {
		for _, name := range cfg.unshared(cfg.family().fullName(original)) {
			if c, ok := canonical[name]; ok {
				name = c
			}
			if other, ok := byName[name]; ok {
				a, b := min(original, other.original), max(original, other.original)
				return fmt.Errorf("tensors %s and %s are the same one", a, b)
			}
			byName[name] = namedTensor{original, t}
		}
	}
	if err := cfg.divide(byName); err != nil {
		return err
	}
	_, hasWeight := byName[classifierWeight]
	_, hasBias := byName[classifierBias]
	transform := lmTransform
	if cfg.HeadNorm() {
		transform = poolerWeight
	}
	_, hasLM := byName[transform]
	switch {
	case cfg.Head.Outputs() == head.Tokens && hasLM:
		if err := untieDecoder(byName); err != nil {
			return err
		}
	case !classifies(cfg.architecture) && (cfg.architecture != "" || !hasWeight && !hasBias):
		cfg.Head, cfg.Labels = head.SingleLabel, nil
	case !cfg.labelsGiven && len(cfg.Labels) == 0:
		cfg.Labels = defaultLabels(2) // BertConfig's default
	}
	absent, err := m.take(byName, cfg, hasWeight || hasBias)
	if err != nil {
		return err
	}
	m.Config = cfg.Config
	if s := cfg.sharing; s.groups < s.steps {
		m.Notes = append(m.Notes, fmt.Sprintf("%d layers have the weights of %d; here each has its own", s.steps*s.inner, s.groups*s.inner))
	}
	if err := m.initialize(absent); err != nil {
		return err
	}
	var heads, others []string
	for name, f := range byName {
		switch {
		case bufferName.MatchString(f.original):
		case isOtherHead(name):
			heads = append(heads, f.original)
		default:
			others = append(others, f.original)
		}
	}
	m.note("left out the head of another task", heads)
	m.note("left out tensors that the architecture does not have", others)
	return m.validateFinite()
}

// take takes the configuration's tensors out of byName. It returns the tensors of the
// head that the file lacks. hasHead says that the file has the classifier.
func (m *Model) take(byName map[string]namedTensor, cfg parsedConfig, hasHead bool) (absent []Spec, err error) {
	_, hasPooler := byName[poolerWeight]
	budget := 0 // bytes of float64 tensors that do not share storage
	for _, f := range m.files {
		budget += len(f.Data)
	}
	for s := range cfg.Tensors() {
		f, ok := byName[s.Name]
		if !ok {
			switch {
			case s.Role == Pooler && !cfg.pooled() && !hasPooler:
				continue
			case s.Role.inHead() && !hasHead, s.Role.beforeHead() && !hasHead && !hasPooler:
				absent = append(absent, s)
				continue
			}
			return nil, fmt.Errorf("tensor %s: missing", cfg.fileName(s))
		}
		if f.t.dtype == float64Type {
			if budget -= len(f.t.tensor.Data); budget < 0 {
				return nil, corrupt("tensor %s: tensors share their storages too often", f.original)
			}
			if err := f.t.roundFloat64(); err != nil {
				return nil, corrupt("tensor %s: %v", f.original, err)
			}
		}
		if !f.t.known {
			return nil, fmt.Errorf("tensor %s: element type %s: %w (f32, f16, bf16 and f64 are)", f.original, f.t.dtype, ErrUnsupported)
		}
		if !slices.Equal(f.t.tensor.Shape, s.Shape) {
			return nil, fmt.Errorf("tensor %s: shape %v, the configuration says %v", f.original, f.t.tensor.Shape, s.Shape)
		}
		m.Tensors[s.Name] = f.t.tensor
		delete(byName, s.Name)
		if scale, ok := byName[s.inputScale()]; ok {
			if !scale.t.known {
				return nil, fmt.Errorf("tensor %s: element type %s, expected f32", scale.original, scale.t.dtype)
			}
			m.Tensors[s.inputScale()] = scale.t.tensor
			if err := m.checkScale(s.inputScale(), 1); err != nil {
				return nil, err
			}
			delete(byName, s.inputScale())
		}
	}
	return absent, nil
}

// initialize makes fresh weights for the tensors of the head that the file lacks.
func (m *Model) initialize(head []Spec) error {
	var names []string
	limit := m.Bytes()
	for _, s := range head {
		// The number of labels is only a number in a text; all other sizes are in
		// proportion to the file.
		n, err := byteSize(F32, s.Shape)
		if err != nil || n > limit {
			return fmt.Errorf("tensor %s: missing", s.Name)
		}
		limit -= n
		m.Tensors[s.Name] = m.fresh(s, 0)
		names = append(names, s.Name)
	}
	m.note("the head is missing and was initialized at random, to be trained", names)
	return nil
}

// canonicalNames maps the family's names of tensors to ours, for all tensors that the
// model has, or would have with any labels.
func (c parsedConfig) canonicalNames() map[string]string {
	cfg := c.Config
	if len(cfg.Labels) == 0 && cfg.Head.Outputs() != head.Tokens && (c.architecture == "" || classifies(c.architecture)) {
		cfg.Labels = defaultLabels(1)
	}
	names := make(map[string]string)
	namings := cfg.family().allNamings()
	for _, n := range namings {
		for _, name := range []string{lmDecoderWeight, lmDecoderBias} {
			names[cfg.nameIn(n, name)] = name
		}
	}
	for _, n := range namings {
		for s := range cfg.Tensors() {
			names[cfg.nameIn(n, s.Name)] = s.Name
			if scale := s.inputScale(); scale != "" {
				names[cfg.nameIn(n, scale)] = scale
			}
		}
	}
	if !classifies(c.architecture) {
		// An encoder that was saved without a head.
		cfg.Labels = nil
		for _, n := range namings {
			for s := range cfg.Tensors() {
				if own := cfg.nameIn(n, s.Name); names[own] == "" {
					names[own] = s.Name
				}
			}
		}
	}
	return names
}

// fullName turns the name of a tensor in a file into the family's own: the file's may
// lack the prefix, or come from a converted TensorFlow checkpoint.
func (f *family) fullName(name string) string {
	name = strings.TrimPrefix(name, "base_model.")
	for _, p := range f.prefixes {
		if s, ok := strings.CutPrefix(name, p); ok {
			name = f.prefix + s
		}
	}
	starts := []string{"embeddings.", "emb_ln.", "embeddings_project.", "pooler.", "final_norm.", "encoder.relative_attention_bias.", "encoder.embedding_hidden_mapping_in.", "encoder.rel_embeddings.", "encoder.LayerNorm."}
	for _, n := range f.allNamings() {
		starts = append(starts, n.layers)
	}
	for _, p := range starts {
		if strings.HasPrefix(name, p) {
			name = f.prefix + name
		}
	}
	if s, ok := strings.CutSuffix(name, "LayerNorm.gamma"); ok {
		return s + "LayerNorm.weight"
	}
	if s, ok := strings.CutSuffix(name, "LayerNorm.beta"); ok {
		return s + "LayerNorm.bias"
	}
	return name
}

// fileName is the name of a tensor in the directory.
func (c parsedConfig) fileName(s Spec) string {
	f := c.family()
	for _, u := range f.fused {
		if slices.Contains(u.parts, s.Part.Role) {
			return c.fusedName(s.Part.Layer, u) + s.Name[strings.LastIndexByte(s.Name, '.'):]
		}
	}
	if f.sharesLayers && s.Part.Role.inLayer() {
		return c.sharing.name(c.ownName(s.Name), s.Part.Layer)
	}
	return c.ownName(s.Name)
}

// note records what was ignored, with the first few names.
func (m *Model) note(what string, names []string) {
	if len(names) == 0 {
		return
	}
	slices.Sort(names)
	names = slices.Compact(names) // those of fused layers are the same
	const few = 6
	list := strings.Join(names[:min(few, len(names))], ", ")
	if len(names) > few {
		list += fmt.Sprintf(" and %d more", len(names)-few)
	}
	m.Notes = append(m.Notes, what+": "+list)
}

func (m *Model) readProvenance(dir modelDir) error {
	p, ok := dir.file(provenanceName)
	if !ok {
		return nil
	}
	text, err := readAligned(p, bounded.Document)
	if err != nil {
		return named(p, err)
	}
	if m.Provenance, err = parseProvenance(text); err != nil {
		return named(p, err)
	}
	return nil
}

func parseProvenance(text []byte) ([]Stage, error) {
	var f provenanceFile
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, corrupt("%v", err)
	}
	if f.Version > provenanceVersion {
		return nil, fmt.Errorf("%w: format_version %d, this one reads up to %d", ErrNewerVersion, f.Version, provenanceVersion)
	}
	return f.Provenance, nil
}

// SaveHF writes the model as a Hugging Face directory: config.json, model.safetensors,
// the tokenizer's files, and the provenance in skive.json. If Config.Sentence is set,
// it also writes what sentence-transformers reads. The same model gives the same bytes.
//
// The write is atomic: after a failure or a crash at any moment, Open reads either the
// complete old model, if there was one, or the complete new one. Other files in the
// directory stay. An int8 model is refused; use SaveSkive.
func (m *Model) SaveHF(dir string) error {
	if err := m.saveHF(dir); err != nil {
		return fmt.Errorf("writing %s: %w", dir, err)
	}
	return nil
}

func (m *Model) saveHF(dir string) error {
	if err := m.Validate(); err != nil {
		return err
	}
	for _, name := range m.Names() {
		if m.Tensors[name].DType == I8 {
			return fmt.Errorf("tensor %s: int8 weights in a Hugging Face directory: %w (save a %s file)", name, ErrUnsupported, Extension)
		}
	}
	config, err := m.ConfigJSON()
	if err != nil {
		return err
	}
	modules, err := m.sentenceFiles()
	if err != nil {
		return err
	}
	provenance, err := json.MarshalIndent(provenanceFile{provenanceVersion, m.Provenance}, "", "  ")
	if err != nil {
		return err
	}
	rename := m.Config.ownName
	if !m.HasHead() { // BertModel has no prefix
		rename = func(name string) string { return strings.TrimPrefix(m.Config.ownName(name), m.Config.family().prefix) }
	}
	group, dropped := m.shareLayers()
	own := rename
	rename = func(name string) string { return own(group(name)) }
	files := []namedWriter{
		{configName, contentWriter(config)},
		{provenanceName, contentWriter(append(provenance, '\n'))},
		{safetensorsName, func(w io.Writer) error {
			tensors := maps.Clone(m.Tensors)
			maps.DeleteFunc(tensors, func(name string, _ Tensor) bool { return strings.HasPrefix(name, densePrefix) || dropped(name) })
			if err := m.Config.fuse(tensors); err != nil {
				return err
			}
			return writeSafetensors(w, tensors, rename)
		}},
	}
	files = append(files, modules...)
	for _, name := range sortedNames(m.Tokenizer) {
		if !slices.Contains(tokenizerNames, name) {
			return fmt.Errorf("tokenizer file %q: %w (known are %s)", name, ErrUnsupported, strings.Join(tokenizerNames, ", "))
		}
		files = append(files, namedWriter{name, contentWriter(m.Tokenizer[name])})
	}
	owned := []string{configName, provenanceName, safetensorsName, modulesName, promptsName}
	return writeDirAtomic(dir, files, slices.Concat(owned, sentenceNames, tokenizerNames))
}

// Open reads a model: a Hugging Face directory, the output directory of a training run,
// or a .skive file. It finds the format by looking. Large tensors are views of the
// mapped file. They must not be written to, and Close releases them; Clone makes a copy
// without these limits.
//
// The files are checked: sizes, shapes against the configuration, NaN and infinity, and
// the checksums of a .skive file.
func Open(path string) (*Model, error) { return open(path, true) }

// OpenUnverified is Open without checking a .skive file's tensors, for a file that was
// verified before or will be by Model.Verify. Pages are then only read when needed.
func OpenUnverified(path string) (*Model, error) { return open(path, false) }

func open(path string, verify bool) (*Model, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	var m *Model
	if info.IsDir() {
		m, err = openHF(path)
	} else {
		m, err = openFile(path, verify)
	}
	if err != nil {
		return nil, err
	}
	m.path = path
	return m, nil
}

func openFile(path string, verify bool) (*Model, error) {
	f, err := bounded.OpenRegular(path)
	if err != nil {
		return nil, err
	}
	start := make([]byte, len(containerMagic))
	n, err := io.ReadFull(f, start)
	f.Close()
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return nil, err
	}
	if isContainer(start[:n]) || strings.HasSuffix(path, Extension) {
		return openSkive(path, verify)
	}
	return nil, fmt.Errorf("%s: %w: neither a %s file nor a directory with a %s", path, ErrNotModel, Extension, configName)
}

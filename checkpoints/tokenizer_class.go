package checkpoints

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/skive-ml/skive/internal/bounded"
)

// ReadTokenizer reads the tokenizer's files of a directory.
func ReadTokenizer(path string) (map[string][]byte, error) {
	dir, err := openDir(path)
	if err != nil {
		return nil, err
	}
	files, err := dir.tokenizer()
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("%s: no tokenizer: expected tokenizer.json, vocab.txt, or vocab.json with merges.txt", path)
	}
	return files, err
}

// tokenizer reads the tokenizer's files and makes them self-contained: where
// config.json decides which transformers class reads them, that class is written into
// tokenizer_config.json.
func (d modelDir) tokenizer() (map[string][]byte, error) {
	files := make(map[string][]byte)
	for _, name := range tokenizerNames {
		if path, ok := d.file(name); ok {
			b, err := readAligned(path, bounded.Tokenizer)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
			files[name] = b
		}
	}
	path, ok := d.file(configName)
	if !ok || len(files) == 0 {
		return files, nil
	}
	config, err := readAligned(path, bounded.Document)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	stateTokenizerClass(files, config)
	return files, nil
}

// stateTokenizerClass adds tokenizer_class to tokenizer_config.json if it is missing:
// the class that config.json names, or else the family's. If only one class reads these
// files, it is that one; for example, a WordPiece vocabulary beside a configuration of
// ALBERT or RoBERTa belongs to BERT's tokenizer. For ModernBERT it replaces the class, as
// transformers does. Files that are not JSON stay as they are, and their readers refuse
// them.
func stateTokenizerClass(files map[string][]byte, config []byte) {
	var said struct {
		Class     string `json:"tokenizer_class"`
		ModelType string `json:"model_type"`
	}
	text := bytes.TrimSpace(files[tokenizerConfigName])
	if len(text) == 0 {
		text = []byte("{}")
	}
	if json.Unmarshal(bytes.TrimPrefix(text, []byte("\ufeff")), &said) != nil {
		return
	}
	class := said.Class
	if said.Class = ""; json.Unmarshal(config, &said) != nil {
		return
	}
	f := familyOf(said.ModelType)
	// Published files of these families name wrong classes, which transformers ignores.
	ignored := f != nil && f.modelType == said.ModelType && f.tokenizer == libraryTokenizer && files["tokenizer.json"] != nil
	if class != "" && (!ignored || class == libraryTokenizer || class == "TokenizersBackend") {
		return
	}
	if ignored {
		said.Class = libraryTokenizer
	}
	if said.Class == "" {
		if f == nil {
			return
		}
		has := func(names ...string) bool {
			return slices.ContainsFunc(names, func(name string) bool { return files[name] != nil })
		}
		said.Class = f.tokenizer
		if f.modelType != said.ModelType { // a name for which transformers has no class
			said.Class = libraryTokenizer
		}
		wordPiece := said.Class == bertTokenizer || said.Class == mpnetTokenizer
		switch {
		case has("tokenizer.json"):
		case !wordPiece && has("vocab.txt") && !has("vocab.json") && !has(pieceNames...):
			said.Class = bertTokenizer // no other class reads this vocabulary
		case said.Class == libraryTokenizer:
			return
		case !has(pieceNames...) && has("vocab.txt") == (said.Class == bertTokenizer):
			return
		}
	}
	name, err := json.Marshal(said.Class)
	if err != nil || !bytes.HasSuffix(text, []byte("}")) {
		return
	}
	// The last of equal keys counts, and the order of the others matters.
	text = bytes.TrimSpace(bytes.TrimSuffix(text, []byte("}")))
	if !bytes.HasSuffix(text, []byte("{")) {
		text = append(slices.Clip(text), ',')
	}
	files[tokenizerConfigName] = fmt.Appendf(slices.Clip(text), "\n  \"tokenizer_class\": %s\n}\n", name)
}

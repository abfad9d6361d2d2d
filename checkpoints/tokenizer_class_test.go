package checkpoints

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"testing"
)

// The files of a tokenizer say by themselves which class reads them, in the
// directory's tokenizer_config.json, where config.json decides that.
func TestTokenizerClassIsStated(t *testing.T) {
	t.Parallel()
	bert, roberta := `{"model_type": "bert"}`, `{"model_type": "roberta"}`
	for name, c := range map[string]struct {
		config string
		files  map[string]string
		want   string // "" where tokenizer_config.json is as it was
	}{
		"vocab.txt is BERT's":                {bert, map[string]string{"vocab.txt": "a"}, ""},
		"vocab.json is RoBERTa's":            {roberta, map[string]string{"vocab.json": "{}", "merges.txt": ""}, ""},
		"a tokenizer.json of BERT":           {bert, map[string]string{"tokenizer.json": "{}"}, "BertTokenizer"},
		"a tokenizer.json of DistilBERT":     {`{"model_type": "distilbert"}`, map[string]string{"tokenizer.json": "{}"}, "BertTokenizer"},
		"a tokenizer.json of ELECTRA":        {`{"model_type": "electra"}`, map[string]string{"tokenizer.json": "{}"}, "BertTokenizer"},
		"a tokenizer.json of RoBERTa":        {roberta, map[string]string{"tokenizer.json": "{}", "tokenizer_config.json": `{"a": 1}`}, "RobertaTokenizer"},
		"a vocab.txt beside RoBERTa's files": {roberta, map[string]string{"vocab.txt": "a", "vocab.json": "{}", "merges.txt": ""}, "RobertaTokenizer"},
		"vocab.txt alone of MPNet":           {`{"model_type": "mpnet"}`, map[string]string{"vocab.txt": "a"}, "MPNetTokenizer"},
		"vocab.txt alone of ALBERT":          {`{"model_type": "albert"}`, map[string]string{"vocab.txt": "a"}, "BertTokenizer"},
		"vocab.txt alone of RoBERTa":         {roberta, map[string]string{"vocab.txt": "a"}, "BertTokenizer"},
		"vocab.txt alone of ModernBERT":      {`{"model_type": "modernbert"}`, map[string]string{"vocab.txt": "a"}, "BertTokenizer"},
		"vocab.txt alone of Nomic":           {`{"model_type": "nomic_bert"}`, map[string]string{"vocab.txt": "a"}, ""},
		"a tokenizer.json of GTE":            {`{"model_type": "gte"}`, map[string]string{"tokenizer.json": "{}"}, "XLMRobertaTokenizer"},
		"a tokenizer.json of GTE's own code": {`{"model_type": "new"}`, map[string]string{"tokenizer.json": "{}"}, "PreTrainedTokenizerFast"},
		"ALBERT's SentencePiece model":       {`{"model_type": "albert"}`, map[string]string{"vocab.txt": "a", "spiece.model": "x"}, "AlbertTokenizer"},
		"RoBERTa's files of a BERT":          {bert, map[string]string{"vocab.json": "{}", "merges.txt": ""}, "BertTokenizer"},
		"the class in config.json":           {`{"model_type": "bert", "tokenizer_class": "BertJapaneseTokenizer"}`, map[string]string{"vocab.txt": "a"}, "BertJapaneseTokenizer"},
		"both name one": {`{"model_type": "bert", "tokenizer_class": "A"}`,
			map[string]string{"tokenizer.json": "{}", "tokenizer_config.json": `{"tokenizer_class": "B"}`}, ""},
		"null in tokenizer_config.json":  {bert, map[string]string{"tokenizer.json": "{}", "tokenizer_config.json": "\ufeff{\"tokenizer_class\": null}\n"}, "BertTokenizer"},
		"an empty tokenizer_config.json": {bert, map[string]string{"tokenizer.json": "{}", "tokenizer_config.json": " { } "}, "BertTokenizer"},
		"a SentencePiece model of XLM-RoBERTa": {`{"model_type": "xlm-roberta"}`,
			map[string]string{"sentencepiece.bpe.model": "x", "tokenizer_config.json": `{"model_max_length": 512}`}, "XLMRobertaTokenizer"},
		"a SentencePiece model of CamemBERT": {`{"model_type": "camembert"}`, map[string]string{"sentencepiece.bpe.model": "x"}, "CamembertTokenizer"},
		"not JSON":                           {bert, map[string]string{"tokenizer.json": "{}", "tokenizer_config.json": "{]"}, ""},
		"no config.json":                     {"", map[string]string{"tokenizer.json": "{}"}, ""},
		"another family":                     {`{"model_type": "gpt2"}`, map[string]string{"tokenizer.json": "{}"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			on := maps.Clone(c.files)
			if c.config != "" {
				on[configName] = c.config
			}
			for name, text := range on {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			files, err := ReadTokenizer(dir)
			if err != nil {
				t.Fatal(err)
			}
			if c.want == "" {
				if string(files[tokenizerConfigName]) != c.files[tokenizerConfigName] {
					t.Errorf("%s", files[tokenizerConfigName])
				}
				return
			}
			var got struct {
				Class string `json:"tokenizer_class"`
				A     int
			}
			text := bytes.TrimPrefix(files[tokenizerConfigName], []byte("\ufeff"))
			if err := json.Unmarshal(text, &got); err != nil || got.Class != c.want || name == "a tokenizer.json of RoBERTa" && got.A != 1 {
				t.Errorf("%s: %v", text, err)
			}
			for name, text := range c.files {
				if name != tokenizerConfigName && string(files[name]) != text {
					t.Errorf("%s changed", name)
				}
			}
		})
	}
}

package checkpoints

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

const (
	transformerModule = `{"idx":0,"name":"0","path":"","type":"sentence_transformers.models.Transformer"}`
	poolingModule     = `{"idx":1,"name":"1","path":"1_Pooling","type":"sentence_transformers.models.Pooling"}`
	denseModule       = `{"idx":2,"name":"2","path":"2_Dense","type":"sentence_transformers.models.Dense"}`
	normalizeModule   = `{"idx":3,"name":"3","path":"3_Normalize","type":"sentence_transformers.models.Normalize"}`
)

func modulesOf(list ...string) string { return "[" + strings.Join(list, ",") + "]" }

// sentenceDir is the encoder of testdata with files of sentence-transformers.
func sentenceDir(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{configName, safetensorsName, "vocab.txt"} {
		b, err := os.ReadFile(filepath.Join("testdata/encoder", name))
		check(t, err)
		check(t, os.WriteFile(filepath.Join(dir, name), b, 0o666))
	}
	for name, text := range files {
		check(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o777))
		check(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666))
	}
	return dir
}

func TestSentence(t *testing.T) {
	t.Parallel()
	both := modulesOf(transformerModule, poolingModule)
	for _, c := range []struct {
		name  string
		files map[string]string
		want  *Sentence
		pairs bool
	}{
		{"no modules.json", map[string]string{sentenceName: `{"max_seq_length": 5}`}, nil, false},
		{"no configuration of the pooling", map[string]string{modulesName: both}, &Sentence{Pooling: MeanPooling}, false},
		{"old", map[string]string{
			modulesName: modulesOf(transformerModule, poolingModule, normalizeModule), sentenceName: `{"max_seq_length": 5, "do_lower_case": true}`,
			"1_Pooling/config.json": `{"word_embedding_dimension":32,"pooling_mode_cls_token":true,"pooling_mode_mean_tokens":false}`,
			promptsName:             `{"__version__":{"pytorch":"1"},"prompts":{"query":"q: ","passage":null},"default_prompt_name":"query","similarity_fn_name":"dot"}`,
		}, &Sentence{Pooling: CLSPooling, Normalize: true, MaxLength: 5, LowerCase: true, Prompts: map[string]string{"query": "q: ", "passage": ""}, DefaultPrompt: "query", Similarity: "dot"}, false},
		{"new", map[string]string{
			modulesName: modulesOf(`{"idx":0,"name":"0","path":"","type":"sentence_transformers.base.modules.transformer.Transformer","kwargs":["task"]}`,
				`{"idx":1,"name":"1","path":"1_Pooling","type":"sentence_transformers.sentence_transformer.modules.pooling.Pooling"}`,
				`{"idx":2,"name":"2","path":"2_Dropout","type":"sentence_transformers.models.Dropout"}`),
			sentenceName:                 `{"transformer_task":"feature-extraction","modality_config":{"text":{"method":"forward"}},"module_output_name":"token_embeddings","model_args":{"attn_implementation":"eager"}}`,
			"1_Pooling/config.json":      `{"embedding_dimension":32,"pooling_mode":["max"],"include_prompt":false}`,
			"tokenizer_config.json":      `{"model_max_length": 1000000000000000019884624838656}`,
			promptsName:                  `{"model_type":"SentenceTransformer","prompts":{"query":"","document":""},"default_prompt_name":null}`,
			"2_Dropout/config.json":      `{"dropout":0.1}`,
			"sentence_xlnet_config.json": `{"max_seq_length": 3}`,
		}, &Sentence{Pooling: MaxPooling, Prompts: map[string]string{"query": "", "document": ""}}, false},
		{"the tokenizer's length", map[string]string{modulesName: both, "tokenizer_config.json": `{"model_max_length": 7}`, sentenceName: `{"max_seq_length": null}`},
			&Sentence{Pooling: MeanPooling, MaxLength: 7}, false},
		{"truncated to its width", map[string]string{modulesName: both, promptsName: `{"truncate_dim": 32}`}, &Sentence{Pooling: MeanPooling}, false},
		{"numbers and null for truth values", map[string]string{modulesName: both, sentenceName: `{"do_lower_case": 1}`,
			"1_Pooling/config.json": `{"pooling_mode_cls_token":0,"pooling_mode_mean_tokens":1,"pooling_mode_max_tokens":null,"pooling_mode_mean_sqrt_len_tokens":0.0}`},
			&Sentence{Pooling: MeanPooling, LowerCase: true}, false},
		{"a cross-encoder", map[string]string{modulesName: modulesOf(transformerModule), promptsName: `{"model_type":"CrossEncoder"}`}, nil, true},
		{"a cross-encoder by its task", map[string]string{modulesName: modulesOf(transformerModule), sentenceName: `{"transformer_task":"sequence-classification"}`}, nil, true},
	} {
		m, err := Open(sentenceDir(t, c.files))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if !reflect.DeepEqual(m.Config.Sentence, c.want) || m.Config.Pairs != c.pairs {
			t.Errorf("%s: %+v, pairs %v, want %+v, %v", c.name, m.Config.Sentence, m.Config.Pairs, c.want, c.pairs)
		}
		check(t, m.Close())
	}
}

func TestSentenceRefusals(t *testing.T) {
	t.Parallel()
	both, withDense := modulesOf(transformerModule, poolingModule), modulesOf(transformerModule, poolingModule, denseModule)
	pooling := func(text string) map[string]string {
		return map[string]string{modulesName: both, "1_Pooling/config.json": text}
	}
	dense := func(text string) map[string]string {
		return map[string]string{modulesName: withDense, "2_Dense/config.json": text}
	}
	transformer := func(text string) map[string]string {
		return map[string]string{modulesName: both, sentenceName: text}
	}
	of := func(class string) map[string]string {
		return map[string]string{modulesName: modulesOf(transformerModule, `{"idx":1,"path":"1_X","type":"`+class+`"}`)}
	}
	first := func(class string) map[string]string {
		return map[string]string{modulesName: modulesOf(`{"idx":0,"path":"","type":"` + class + `"}`)}
	}
	for _, c := range []struct {
		files       map[string]string
		want        string
		unsupported bool
	}{
		{map[string]string{modulesName: `{}`}, "/modules.json: ", false},
		{map[string]string{modulesName: `[`}, "/modules.json: damaged file", false},
		{map[string]string{modulesName: `[]`}, "/modules.json: no modules, expected", false},
		{map[string]string{modulesName: `[{"path":7}]`}, "/modules.json: path is a JSON number, expected a string", false},
		{map[string]string{modulesName: modulesOf(transformerModule)}, "/modules.json: no Pooling, expected one after the Transformer", false},
		{map[string]string{modulesName: modulesOf(transformerModule, strings.Replace(poolingModule, "1_Pooling", "../1_Pooling", 1))}, `module 1: path "../1_Pooling" is not the name of a directory`, false},
		{of("sentence_transformers.models.WeightedLayerPooling"), `/modules.json: module 1: type "sentence_transformers.models.WeightedLayerPooling": not supported, expected a Pooling, Dense`, true},
		{of("sentence_transformers.models.LSTM"), `models.LSTM": not supported`, true},
		{of("sentence_transformers.sparse_encoder.models.SpladePooling"), `SpladePooling": not supported`, true},
		{of("sentence_transformers.models.LayerNorm"), `LayerNorm": not supported`, true},
		{of("sentence_transformers.models.Transformer"), `module 1: type "sentence_transformers.models.Transformer": not supported`, true},
		{of("custom_st.Pooling"), `module 1: type "custom_st.Pooling": not supported`, true},
		{first("sentence_transformers.models.StaticEmbedding"), `module 0: type "sentence_transformers.models.StaticEmbedding": not supported, expected a Transformer`, true},
		{first("sentence_transformers.models.Asym"), `models.Asym": not supported`, true},
		{first("sentence_transformers.models.Router"), `models.Router": not supported`, true},
		{first("sentence_transformers.models.CLIPModel"), `models.CLIPModel": not supported`, true},
		{first("sentence_transformers.models.WordEmbeddings"), `models.WordEmbeddings": not supported`, true},
		{map[string]string{modulesName: modulesOf(transformerModule, normalizeModule, poolingModule)}, "/modules.json: module 1: Normalize has its place after Pooling", false},
		{map[string]string{modulesName: modulesOf(transformerModule, poolingModule, poolingModule)}, "/modules.json: module 2: Pooling follows another one", false},
		{map[string]string{modulesName: modulesOf(transformerModule, poolingModule, normalizeModule, denseModule)}, "/modules.json: module 3: Dense has its place between", false},
		{map[string]string{modulesName: both, promptsName: `{"model_type":"SparseEncoder"}`}, `/config_sentence_transformers.json: model_type "SparseEncoder": not supported`, true},
		{map[string]string{modulesName: both, promptsName: `{"default_prompt_name":"q"}`}, `/config_sentence_transformers.json: default_prompt_name is "q", expected one of prompts: []`, false},
		{map[string]string{modulesName: both, promptsName: `{"prompts":{"q":1}}`}, `/config_sentence_transformers.json: prompts is a JSON number, expected a string`, false},
		{map[string]string{modulesName: both, promptsName: `{"truncate_dim":31}`}, `/config_sentence_transformers.json: truncate_dim 31, less than the embedding's width 32: not supported`, true},
		{pooling(`{"pooling_mode":"weightedmean"}`), `/1_Pooling/config.json: pooling_mode ["weightedmean"]: not supported (one of ["mean" "cls" "max" "mean_sqrt_len_tokens" "lasttoken"] is)`, true},
		{pooling(`{"pooling_mode":["cls","mean"]}`), `pooling_mode ["cls" "mean"]: not supported`, true},
		{pooling(`{"pooling_mode":[]}`), `pooling_mode []: not supported`, true},
		{pooling(`{"pooling_mode":3}`), `/1_Pooling/config.json: pooling_mode is a JSON number, expected a string`, false},
		{pooling(`{"pooling_mode_weightedmean_tokens":true}`), `pooling_mode ["weightedmean"]: not supported`, true},
		{pooling(`{"pooling_mode_mean_tokens":true,"pooling_mode_max_tokens":true}`), `pooling_mode ["max" "mean"]: not supported`, true},
		{pooling(`{"pooling_mode_median":true}`), `pooling_mode_median: not supported`, true},
		{pooling(`{"pooling_mode_cls_token":"yes"}`), `/1_Pooling/config.json: pooling_mode_cls_token is a JSON string, expected true or false`, false},
		{pooling(`{"pooling_mode_mean_tokens":[true]}`), `/1_Pooling/config.json: pooling_mode_mean_tokens is a JSON array, expected true or false`, false},
		{pooling(`{"pooling_mode_mean_tokens":1,"pooling_mode_max_tokens":2}`), `pooling_mode ["max" "mean"]: not supported`, true},
		{pooling(`{"word_embedding_dimension":"32"}`), `/1_Pooling/config.json: word_embedding_dimension is a JSON string, expected a whole number`, false},
		{map[string]string{modulesName: both, "1_Pooling/config.json": `{"include_prompt":0}`, promptsName: `{"prompts":{"q":"x"}}`}, `/1_Pooling/config.json: include_prompt false: not supported`, true},
		{map[string]string{modulesName: both, "1_Pooling/config.json": `{"include_prompt":null}`, promptsName: `{"prompts":{"q":"x"}}`}, `/1_Pooling/config.json: include_prompt false: not supported`, true},
		{transformer(`{"do_lower_case":"false"}`), `/sentence_bert_config.json: do_lower_case is a JSON string, expected true or false`, false},
		{dense(`{"in_features":32,"out_features":4,"use_residual":1}`), `use_residual true: not supported`, true},
		{pooling(`{"word_embedding_dimension":768}`), `/1_Pooling/config.json: word_embedding_dimension is 768, expected the hidden size 32`, false},
		{map[string]string{modulesName: both, "1_Pooling/config.json": `{"include_prompt":false}`, promptsName: `{"prompts":{"q":"x"}}`}, `/1_Pooling/config.json: include_prompt false: not supported`, true},
		{transformer(`{"max_seq_length":0}`), `/sentence_bert_config.json: max_seq_length is 0, expected 1 to`, false},
		{transformer(`{"max_seq_length":"256"}`), `/sentence_bert_config.json: max_seq_length is a JSON string`, false},
		{transformer(`{"transformer_task":"fill-mask"}`), `/sentence_bert_config.json: transformer_task "fill-mask": not supported`, true},
		{transformer(`{"module_output_name":"sentence_embedding"}`), `module_output_name "sentence_embedding": not supported`, true},
		{transformer(`{"processing_kwargs":{"text":{"truncation":false}}}`), `processing_kwargs: text: not supported`, true},
		{transformer(`{"tokenizer_args":{"trust_remote_code":true,"do_lower_case":true}}`), `tokenizer_args: do_lower_case: not supported`, true},
		{map[string]string{modulesName: withDense}, "/2_Dense/config.json: missing, expected the configuration of a Dense", false},
		{dense(`{"in_features":32,"out_features":4}`), "/2_Dense: no model.safetensors or pytorch_model.bin", false},
		{dense(`{"in_features":31,"out_features":4}`), "/2_Dense/config.json: in_features is 31, expected the width of what comes in, 32", false},
		{dense(`{"in_features":32}`), "/2_Dense/config.json: out_features is 0, expected 1 to", false},
		{dense(`{"in_features":32,"out_features":4,"activation_function":"torch.nn.modules.activation.SiLU"}`), `/2_Dense/config.json: activation_function "torch.nn.modules.activation.SiLU": not supported (Identity, Tanh, ReLU and GELU of torch.nn are)`, true},
		{dense(`{"in_features":32,"out_features":4,"activation_function":"my.Tanh"}`), `activation_function "my.Tanh": not supported`, true},
		{dense(`{"in_features":32,"out_features":4,"use_residual":true}`), `use_residual true: not supported`, true},
		{dense(`{"in_features":32,"out_features":4,"module_input_name":"token_embeddings"}`), `module_input_name "token_embeddings": not supported`, true},
	} {
		_, err := Open(sentenceDir(t, c.files))
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") || errors.Is(err, ErrUnsupported) != c.unsupported {
			t.Errorf("%v: %v, want %s", c.files, err, c.want)
		}
	}
}

// A pruned, converted, padded or quantized model keeps how it makes embeddings.
func TestSentenceStays(t *testing.T) {
	t.Parallel()
	m := open1(t, sentenceDir(t, map[string]string{modulesName: modulesOf(transformerModule, poolingModule, normalizeModule), sentenceName: `{"max_seq_length": 5}`}))
	m.Config.Sentence.Dense = []Dense{{Out: 3, Bias: true, Activation: "tanh"}, {Out: 2, Activation: "identity"}}
	for s := range m.Config.Tensors() {
		if s.Role == SentenceDense {
			m.Tensors[s.Name] = m.fresh(s, 1)
		}
	}
	check(t, m.Validate())
	half, err := m.Convert(F16)
	check(t, err)
	clone := m.Clone()
	clone.Config.Sentence.Dense[0].Out = 9
	if m.Config.Sentence.Dense[0].Out != 3 {
		t.Error("a clone shares the dense layers")
	}
	for name, m := range map[string]*Model{"f32": m, "f16": half} {
		hf, file := filepath.Join(t.TempDir(), "hf"), filepath.Join(t.TempDir(), "m.skive")
		check(t, m.SaveHF(hf))
		check(t, m.SaveSkive(file))
		for _, path := range []string{hf, file} {
			got := open1(t, path)
			if !reflect.DeepEqual(got.Config.Sentence, m.Config.Sentence) || !slices.Equal(got.Names(), m.Names()) {
				t.Errorf("%s of %s: %+v, %v", path, name, got.Config.Sentence, got.Names())
			}
		}
	}
	// Another model in the same place leaves nothing that would be read.
	dir := filepath.Join(t.TempDir(), "hf")
	check(t, m.SaveHF(dir))
	check(t, tinyModel().SaveHF(dir))
	if got := open1(t, dir); got.Config.Sentence != nil {
		t.Errorf("%+v of another model", got.Config.Sentence)
	}
}

// A write of modules that is interrupted leaves the old model or the new one.
func TestSentenceCrashes(t *testing.T) {
	m := open1(t, sentenceDir(t, map[string]string{modulesName: modulesOf(transformerModule, poolingModule), sentenceName: `{"max_seq_length": 5}`})).Clone()
	other := m.Clone()
	other.Config.Sentence.MaxLength, other.Config.Sentence.Pooling, other.Config.Sentence.Normalize = 6, MaxPooling, true
	defer func() { failpoint = nil }()
	stop := errors.New("stop")
	for steps := 0; ; steps += 3 { // every third: each syncs a dozen files
		dir := filepath.Join(t.TempDir(), "hf")
		check(t, m.SaveHF(dir))
		left := steps
		failpoint = func(string) error {
			if left--; left < 0 {
				return stop
			}
			return nil
		}
		err := other.SaveHF(dir)
		failpoint = nil
		got := open1(t, dir)
		s := got.Config.Sentence
		if !reflect.DeepEqual(s, m.Config.Sentence) && !reflect.DeepEqual(s, other.Config.Sentence) {
			t.Fatalf("stopped after %d steps: %+v", steps, s)
		}
		if err == nil {
			if steps < 20 || s.MaxLength != 6 {
				t.Errorf("%d steps, %+v", steps, s)
			}
			return
		}
		check(t, other.SaveHF(dir))
	}
}

func TestModelFilesOfSentences(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ names, want string }{
		{"config.json model.safetensors vocab.txt modules.json 1_Pooling/config.json sentence_bert_config.json config_sentence_transformers.json README.md onnx/model.onnx",
			"config.json model.safetensors vocab.txt modules.json config_sentence_transformers.json sentence_bert_config.json 1_Pooling/config.json"},
		{"config.json pytorch_model.bin modules.json 1_Pooling/config.json 2_Dense/config.json 2_Dense/model.safetensors 2_Dense/pytorch_model.bin",
			"config.json pytorch_model.bin modules.json 1_Pooling/config.json 2_Dense/config.json 2_Dense/model.safetensors"},
		{"0_Transformer/config.json 0_Transformer/pytorch_model.bin 0_Transformer/vocab.txt 0_Transformer/sentence_bert_config.json modules.json 1_Pooling/config.json 2_Dense/pytorch_model.bin",
			"0_Transformer/config.json 0_Transformer/pytorch_model.bin 0_Transformer/vocab.txt modules.json 0_Transformer/sentence_bert_config.json 1_Pooling/config.json 2_Dense/pytorch_model.bin"},
		{"config.json model.safetensors 1_Pooling/config.json sentence_bert_config.json", "config.json model.safetensors"},
		{"config.json model.safetensors modules.json ../1_Pooling/config.json 1_a/b/config.json", "config.json model.safetensors modules.json"},
	} {
		got, err := ModelFiles(strings.Fields(c.names))
		if err != nil || strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, %v", c.names, got, err)
		}
	}
}

func TestPrompt(t *testing.T) {
	t.Parallel()
	prompts := map[string]string{"": "nameless: ", "query": "q: "}
	for _, c := range []struct{ byDefault, name, want string }{
		{"", "", ""}, {"", "query", "q: "}, {"query", "", "q: "},
	} {
		s := Sentence{Prompts: prompts, DefaultPrompt: c.byDefault}
		if got, err := s.Prompt(c.name); got != c.want || err != nil {
			t.Errorf("default %q, %q: %q, %v, want %q", c.byDefault, c.name, got, err, c.want)
		}
	}
}

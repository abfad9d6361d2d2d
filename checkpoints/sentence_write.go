package checkpoints

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// sentenceFiles returns the files that make sentence-transformers compute the same
// embeddings from the directory that the encoder is written to.
func (m *Model) sentenceFiles() ([]namedWriter, error) {
	s := m.Config.Sentence
	if s == nil {
		return nil, nil
	}
	var files []namedWriter
	var failed error
	add := func(name string, v any) {
		text, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			failed = err
		}
		files = append(files, namedWriter{name, contentWriter(append(text, '\n'))})
	}
	var modules []orderedJSON
	folder := func(class string) string {
		i, path := len(modules), ""
		if i > 0 {
			path = fmt.Sprintf("%d_%s", i, class)
		}
		var o orderedJSON
		o.add("idx", i)
		o.add("name", fmt.Sprint(i))
		o.add("path", path)
		o.add("type", "sentence_transformers.models."+class)
		modules = append(modules, o)
		return path
	}
	folder("Transformer")
	var pooling orderedJSON
	pooling.add("word_embedding_dimension", m.Config.HiddenSize)
	for _, l := range legacyPoolings {
		pooling.add(l.key, l.mode == s.Pooling)
	}
	pooling.add("include_prompt", true)
	add(folder("Pooling")+"/"+configName, pooling)
	in := m.Config.HiddenSize
	for i, d := range s.Dense {
		var c orderedJSON
		c.add("in_features", in)
		c.add("out_features", d.Out)
		c.add("bias", d.Bias)
		module := "activation"
		if d.Activation == "identity" {
			module = "linear"
		}
		c.add("activation_function", "torch.nn.modules."+module+"."+denseActivations[d.Activation])
		path := folder("Dense")
		add(path+"/"+configName, c)
		weights := make(map[string]Tensor)
		prefix := fmt.Sprintf("%s%d.", densePrefix, i)
		for name, t := range m.Tensors {
			if part, ok := strings.CutPrefix(name, prefix); ok {
				weights["linear."+part] = t
			}
		}
		files = append(files, namedWriter{path + "/" + safetensorsName, func(w io.Writer) error {
			return writeSafetensors(w, weights, func(name string) string { return name })
		}})
		in = d.Out
	}
	if s.Normalize {
		add(folder("Normalize")+"/"+configName, orderedJSON{})
	}
	add(modulesName, modules)
	text, err := m.TextFiles()
	for _, name := range sortedNames(text) {
		files = append(files, namedWriter{name, contentWriter(text[name])})
	}
	return files, errors.Join(failed, err)
}

// TextFiles returns the files of a sentence-transformers directory about preparing a
// text: where it is cut, and the prompts. Without Config.Sentence there are none.
func (m *Model) TextFiles() (map[string][]byte, error) {
	s := m.Config.Sentence
	if s == nil {
		return nil, nil
	}
	var transformer, prompts orderedJSON
	length := m.Config.MaxTokens()
	if s.MaxLength > 0 {
		length = min(length, s.MaxLength)
	}
	transformer.add("max_seq_length", length)
	transformer.add("do_lower_case", s.LowerCase)
	named := s.Prompts
	if named == nil {
		named = map[string]string{}
	}
	optional := func(text string) any {
		if text == "" {
			return nil
		}
		return text
	}
	prompts.add("prompts", named)
	prompts.add("default_prompt_name", optional(s.DefaultPrompt))
	prompts.add("similarity_fn_name", optional(s.Similarity))
	files := make(map[string][]byte)
	for name, o := range map[string]orderedJSON{sentenceName: transformer, promptsName: prompts} {
		text, err := json.MarshalIndent(o, "", "  ")
		if err != nil {
			return nil, err
		}
		files[name] = append(text, '\n')
	}
	return files, nil
}

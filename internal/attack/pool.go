//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// pool holds what rounds copy: a model for each family and head, as a directory and as a file,
// and data for each task.
type pool struct {
	program string
	dir     string
	models  []string // FAMILY-TASK is the directory, FAMILY-TASK.skive the file
	data    []string // TASK.FORMAT
	hub     *httptest.Server
}

// flagInfo is a flag of a command. kind is "" if it takes no value.
type flagInfo struct{ name, kind string }

// tasks are the general tasks, one for each head, with examples and with input lines for predict.
var tasks = map[string]struct {
	files  map[string]string
	probes []string
}{
	"text": {
		map[string]string{
			"jsonl": records(`{"text": "%s", "label": "fine"}`, `{"text": "%s", "text_pair": "%s", "label": "poor"}`),
			"csv":   "text,label\n" + records("%s,fine", `"%s, %s",poor`),
			"tsv":   "text\tlabel\n" + records("%s\tpoor", "%s %s\tfine"),
		},
		[]string{"good film", `{"text": "bad food", "text_pair": "in paris"}`, ""},
	},
	"multilabel": {
		map[string]string{
			"jsonl": records(`{"text": "%s", "label": ["a", "b"]}`, `{"text": "%s %s", "label": []}`, `{"text": "%s", "label": ["c"]}`),
			"csv":   "text,label\n" + records("%s,a|b", "%s,", "%s %s,c"),
		},
		[]string{"good film", "the staff was never bad .", ""},
	},
	"regression": {
		map[string]string{
			"jsonl": records(`{"text": "%s", "label": 3.5}`, `{"text": "%s", "text_pair": "%s", "label": -1}`, `{"text": "%s", "label": 2e1}`),
			"csv":   "text,label\n" + records("%s,5", "%s %s,0.25", "%s,1"),
		},
		[]string{"good film", `{"text": "bad", "text_pair": "food in paris"}`, ""},
	},
	"choice": {
		map[string]string{
			"jsonl": records(`{"text": "%s", "choices": ["%s", "bad"], "label": 0}`, `{"text": "%s", "choices": ["bad", "good", "%s"], "label": 2}`),
		},
		[]string{`{"text": "film", "choices": ["good", "bad"]}`, `{"text": "the staff", "choices": ["never", "in paris", ""]}`},
	},
	"tokens": {
		map[string]string{
			"jsonl": records(`{"tokens": ["good", "paris"], "labels": ["O", "B-LOC"]}`, `{"tokens": ["in", "paris", "paris", "x"], "labels": ["O", "B-LOC", "I-LOC", "O"]}`),
			"conll": records("good O\nparis B-LOC\n", "bad O\nfilm O\nparis B-LOC\nparis I-LOC\n"),
		},
		[]string{"good paris in film", "unknown words , too", ""},
	},
	"mlm": {
		map[string]string{"txt": records("%s .", "%s in %s .", "")},
		[]string{"good [MASK] in [MASK]", "[MASK]", "bad film"},
	},
}

var words = strings.Fields("good bad film paris in the staff was never food wine room kind awful great hotel . , ##s ##ly")

// records makes sixteen lines in the given formats in turn, with words for each %s.
func records(formats ...string) string {
	var b strings.Builder
	for i := range 16 {
		f := formats[i%len(formats)]
		n := 0
		for strings.Contains(f, "%s") {
			f = strings.Replace(f, "%s", words[(i*5+n*3)%16]+" "+words[(i*7+n)%16], 1)
			n++
		}
		b.WriteString(f + "\n")
	}
	return b.String()
}

// configs are the smallest configurations of the families.
var configs = map[string]string{
	"bert": `{"model_type": "bert", "vocab_size": 25, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
		"intermediate_size": 64, "max_position_embeddings": 32}`,
	"roberta": `{"model_type": "roberta", "vocab_size": 262, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
		"intermediate_size": 48, "max_position_embeddings": 66, "type_vocab_size": 1, "pad_token_id": 1}`,
	"distilbert": `{"model_type": "distilbert", "vocab_size": 25, "dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64,
		"max_position_embeddings": 32}`,
	"electra": `{"model_type": "electra", "vocab_size": 25, "embedding_size": 16, "hidden_size": 48, "num_hidden_layers": 2,
		"num_attention_heads": 4, "intermediate_size": 64, "max_position_embeddings": 32}`,
	"albert": `{"model_type": "albert", "vocab_size": 25, "embedding_size": 16, "hidden_size": 48, "num_hidden_layers": 2,
		"num_attention_heads": 4, "intermediate_size": 64, "max_position_embeddings": 32}`,
	"modernbert": `{"model_type": "modernbert", "vocab_size": 25, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
		"intermediate_size": 48, "max_position_embeddings": 64, "local_attention": 8, "pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3}`,
	"deberta-v2": `{"model_type": "deberta-v2", "vocab_size": 25, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
		"intermediate_size": 48, "max_position_embeddings": 64, "relative_attention": true, "position_buckets": 8, "pos_att_type": "p2c|c2p",
		"share_att_key": true, "norm_rel_ebd": "layer_norm", "position_biased_input": false}`,
	"gte": `{"model_type": "gte", "vocab_size": 25, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
		"intermediate_size": 48, "max_position_embeddings": 64, "pad_token_id": 0}`,
}

// tokenizerFiles returns the tokenizer of a family: WordPiece, or RoBERTa's byte-level BPE.
func tokenizerFiles(family string) map[string]string {
	if family != "roberta" {
		return map[string]string{"vocab.txt": strings.Join(append([]string{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}, words...), "\n") + "\n"}
	}
	vocab := map[string]int{"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "<mask>": 4}
	other := rune(256) // stands for a byte that is not a visible character
	for b := rune(0); b < 256; b++ {
		c := b
		if b < '!' || b > '~' && b < '¡' || b > '¬' && b < '®' {
			c, other = other, other+1
		}
		vocab[string(c)] = 5 + int(b)
	}
	vocab["oo"] = 261
	text, err := json.Marshal(vocab)
	if err != nil {
		panic(err)
	}
	return map[string]string{"vocab.json": string(text), "merges.txt": "#version: 0.2\no o\n"}
}

// hubs are the answers of hubs that do not have the model.
var hubs = map[string]func(http.ResponseWriter){
	"absent":  func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) },
	"denied":  func(w http.ResponseWriter) { w.WriteHeader(http.StatusUnauthorized) },
	"broken":  func(w http.ResponseWriter) { w.WriteHeader(http.StatusInternalServerError) },
	"garbage": func(w http.ResponseWriter) { io.WriteString(w, "<html>") },
	"empty":   func(w http.ResponseWriter) { io.WriteString(w, `{"sha": "", "siblings": []}`) },
	"escape": func(w http.ResponseWriter) {
		io.WriteString(w, `{"sha": "../..", "siblings": [{"rfilename": "../../x"}]}`)
	},
	"cut": func(w http.ResponseWriter) {
		w.Header().Set("Content-Length", "1000")
		io.WriteString(w, `{"sha": "`)
	},
	"gone": func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
}

// badHub answers as the first part of the path says.
func badHub(w http.ResponseWriter, q *http.Request) {
	how, _, _ := strings.Cut(strings.TrimPrefix(q.URL.Path, "/"), "/")
	hubs[how](w)
}

// makePool trains and quantizes the models.
func makePool(program, dir string) (*pool, error) {
	p := &pool{program: program, dir: dir, hub: httptest.NewServer(http.HandlerFunc(badHub))}
	for task, t := range tasks {
		for format, text := range t.files {
			name := task + "." + format
			if err := writeFile(filepath.Join(dir, name), text); err != nil {
				return nil, err
			}
			p.data = append(p.data, name)
		}
	}
	for family, config := range configs {
		files := tokenizerFiles(family)
		files["config.json"] = config
		for name, text := range files {
			if err := writeFile(filepath.Join(dir, "config-"+family, name), text); err != nil {
				return nil, err
			}
		}
		for task := range tasks {
			model := family + "-" + task
			data := p.file(slices.Sorted(maps.Keys(tasks[task].files))[0], task)
			for _, args := range [][]string{
				{"train", "--config", p.path("config-"+family, "config.json"), "--task", task, "--train", data, "--dev", data,
					"--steps", "4", "--batch-size", "8", "--lr", "5e-3", "-o", p.path(model), "-q"},
				{"quantize", "--model", p.path(model), "-o", p.path(model + ".skive"), "-q"},
			} {
				if e, err := p.skive(args...); err != nil || e.code != 0 {
					return nil, fmt.Errorf("%s: %v %s", quoted(args), err, e.stderr)
				}
			}
			if err := os.RemoveAll(p.path(model, "state")); err != nil {
				return nil, err
			}
			p.models = append(p.models, model)
		}
	}
	slices.Sort(p.models)
	slices.Sort(p.data)
	return p, nil
}

func (p *pool) path(names ...string) string {
	return filepath.Join(append([]string{p.dir}, names...)...)
}

// file returns the path of a task's data in a format.
func (p *pool) file(format, task string) string { return p.path(task + "." + format) }

// skive runs the program without faults.
func (p *pool) skive(args ...string) (ending, error) {
	c, err := start(setting{dir: p.dir, env: os.Environ(), reads: -1}, p.program, args...)
	if err != nil {
		return ending{}, err
	}
	return c.end(), nil
}

var flagLine = regexp.MustCompile(`(?m)^ +(?:-\w, +)?--([\w-]+)(?: ([\w.]+))?  `)

// flagsOf reads the flags of a command from its help.
func (p *pool) flagsOf(command string) ([]flagInfo, error) {
	e, err := p.skive(append(strings.Fields(command), "--help")...)
	if err != nil {
		return nil, err
	}
	var flags []flagInfo
	for _, m := range flagLine.FindAllStringSubmatch(e.stdout, -1) {
		if m[1] != "help" {
			flags = append(flags, flagInfo{m[1], m[2]})
		}
	}
	return flags, nil
}

func writeFile(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o644)
}

package tokenize_test

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/tokenize"
)

// directory is a tokenizer directory with what AutoTokenizer of transformers makes
// of texts.
type directory struct {
	Name  string
	Files map[string]string
	Cases []struct {
		A, B       *string
		Max        int
		IDs, Types []int32
		Sum, Off   uint32
	}
}

func readDirectories(t testing.TB) []directory {
	t.Helper()
	return readLists(t, "directories", "directories_mpnet", "directories_modernbert", "directories_gemma", "unigram")
}

func readLists(t testing.TB, names ...string) []directory {
	t.Helper()
	var all []directory
	for _, name := range names {
		f, err := os.Open(filepath.Join("testdata", name+".json.gz"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		var some []directory
		if err := json.NewDecoder(z).Decode(&some); err != nil {
			t.Fatal(err)
		}
		all = append(all, some...)
	}
	unpackModels(t, all)
	return all
}

// unpackModels puts SentencePiece models, and their tables of characters in base64,
// where the files have their names.
func unpackModels(t testing.TB, all []directory) {
	t.Helper()
	for _, name := range []string{"nfkc", "lower", "plain"} {
		model := tokenize.SentencePieceModel(t, name)
		table := base64.StdEncoding.EncodeToString(tokenize.CharsMap(t, model))
		for _, d := range all {
			for file, text := range d.Files {
				if text == "@"+name {
					d.Files[file] = string(model)
				} else if strings.Contains(text, "{{"+name+"}}") {
					d.Files[file] = strings.ReplaceAll(text, "{{"+name+"}}", table)
				}
			}
		}
	}
}

// read writes the files to disk and reads those of the tokenizer, as a model is
// opened.
func (d directory) read(t testing.TB, path string) map[string][]byte {
	t.Helper()
	if err := os.MkdirAll(path, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range d.Files {
		if err := os.WriteFile(filepath.Join(path, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	files, err := checkpoints.ReadTokenizer(path)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// exported is the directory with other files of the tokenizer.
func (d directory) exported(files map[string][]byte) directory {
	out := directory{Files: map[string]string{"config.json": d.Files["config.json"]}}
	for name, text := range files {
		out.Files[name] = string(text)
	}
	return out
}

func checksum(lists ...[]int32) uint32 {
	var s strings.Builder
	for i, l := range lists {
		if i > 0 {
			s.WriteByte(';')
		}
		for j, n := range l {
			if j > 0 {
				s.WriteByte(',')
			}
			fmt.Fprint(&s, n)
		}
	}
	return crc32.ChecksumIEEE([]byte(s.String()))
}

// refusals are the directories that transformers reads and Skive does not.
var refusals = []struct{ says, why string }{
	{"which of them transformers finds there is chance", "no answer is right: transformers has another one in every run"},
	{"the added token ", "of the vocabulary's equal tokens one counts, and transformers gives an added token the id of another token"},
	{"the vocabulary lacks the token", "the model has no row for a token that stands round every text"},
	{"which transformers takes for a part of the token", "the model has no unknown token: transformers fails in the first unknown word"},
}

// compare reports the first text of a directory that gets other tokens.
func (d directory) compare(t *testing.T, name string, tok *tokenize.Tokenizer) {
	t.Helper()
	var e tokenize.Encoding
	wrong := 0
	for _, c := range d.Cases {
		o := tokenize.Options{MaxLength: c.Max, Offsets: true}
		err := error(nil)
		if c.B == nil {
			err = tok.Encode(&e, *c.A, o)
		} else {
			err = tok.EncodePair(&e, *c.A, *c.B, o)
		}
		if err != nil {
			// The ids lie beyond the vocabulary, and no model has rows for them.
			if !strings.Contains(err.Error(), "a special token that the vocabulary lacks") {
				t.Errorf("%s: %q: %v", name, *c.A, err)
			}
			if c.IDs != nil && int(slices.Max(c.IDs)) < tok.VocabSize() && c.Max == 0 {
				t.Errorf("%s: %q: %v, but transformers has %v", name, *c.A, err, c.IDs)
			}
			continue
		}
		var offsets []int32
		for _, o := range e.Offsets {
			offsets = append(offsets, o[0], o[1])
		}
		ids, off := checksum(e.IDs, e.TypeIDs), checksum(offsets)
		if ids == c.Sum && off == c.Off {
			continue
		}
		if wrong++; wrong == 1 {
			b := ""
			if c.B != nil {
				b = *c.B
			}
			t.Errorf("%s: %+q, %+q, at most %d: ids right %t, offsets right %t\n ids   %v\n want  %v\n types %v\n want  %v\n offsets %v", name, *c.A, b, c.Max, ids == c.Sum, off == c.Off,
				e.IDs, c.IDs, e.TypeIDs, c.Types, e.Offsets)
		}
	}
	if wrong > 0 {
		t.Errorf("%s: %d of %d texts are wrong", name, wrong, len(d.Cases))
	}
}

// TestDirectoriesAreReadAsTransformersReadsThem compares the tokens of the
// directories with those of AutoTokenizer, and those of what exports write.
func TestDirectoriesAreReadAsTransformersReadsThem(t *testing.T) {
	t.Parallel()
	all := readDirectories(t)
	dir := t.TempDir()
	texts, refused := 0, 0
	for i, d := range all {
		name := cmp.Or(d.Name, fmt.Sprint("directory ", i))
		files := d.read(t, filepath.Join(dir, fmt.Sprint(i)))
		tok, err := tokenize.Load(files)
		if err != nil {
			refused++
			if !slices.ContainsFunc(refusals, func(r struct{ says, why string }) bool { return strings.Contains(err.Error(), r.says) }) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if len(d.Cases) == 0 {
			t.Errorf("%s is not refused", name)
		}
		d.compare(t, name, tok)
		texts += len(d.Cases)
		with, err := tokenize.WithJSON(files)
		if err != nil {
			if !strings.Contains(err.Error(), "split_special_tokens: true cannot be written") {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if tok, err = tokenize.Load(d.exported(with).read(t, filepath.Join(dir, fmt.Sprint(i, " exported")))); err != nil {
			t.Errorf("%s: written again: %v", name, err)
			continue
		}
		d.compare(t, name+", written again", tok)
	}
	if len(all) < 390 || texts < 20000 || refused > len(all)/50 {
		t.Errorf("%d texts of %d directories, %d of them refused", texts, len(all), refused)
	}
}

// TestExportsAreReadAlikeByTransformers compares what AutoTokenizer makes of some
// directories before and after an export, and what the tokenizers library makes of
// the tokenizer.json alone.
func TestExportsAreReadAlikeByTransformers(t *testing.T) {
	t.Parallel()
	python := os.Getenv("SKIVE_ONNX_PYTHON")
	if python == "" {
		t.Skip("SKIVE_ONNX_PYTHON is not set")
	}
	dir := t.TempDir()
	type pair struct {
		Name     string `json:"name"`
		Given    string `json:"given"`
		Exported string `json:"exported"`
	}
	var pairs []pair
	for i, d := range readDirectories(t) {
		if i%3 != 0 {
			continue
		}
		p := pair{fmt.Sprint("directory ", i), filepath.Join(dir, fmt.Sprint(i)), filepath.Join(dir, fmt.Sprint(i, " exported"))}
		with, err := tokenize.WithJSON(d.read(t, p.Given))
		if err != nil {
			continue // one of the refusals
		}
		d.exported(with).read(t, p.Exported)
		pairs = append(pairs, p)
	}
	input, err := json.Marshal(pairs)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, "testdata/directories.py", "exports")
	cmd.Stdin = bytes.NewReader(input)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%d directories: %v\n%s", len(pairs), err, out)
	}
}

// TestReduceCarriesAddedTokens takes half of the vocabularies away. Texts whose
// tokens are left have the same ones under new ids.
func TestReduceCarriesAddedTokens(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	reduced, refused, texts := 0, 0, 0
	for i, d := range readDirectories(t) {
		if i%3 != 0 {
			continue
		}
		before, err := tokenize.Load(d.read(t, filepath.Join(dir, fmt.Sprint(i))))
		if err != nil {
			continue
		}
		files, ids, err := before.Reduce(func(id int32) bool { return id%2 == 0 })
		if err != nil {
			if !strings.Contains(err.Error(), "byte-pair encoding") {
				refused++
			}
			continue
		}
		reduced++
		after, err := tokenize.Load(d.exported(files).read(t, filepath.Join(dir, fmt.Sprint(i, " reduced"))))
		if err != nil {
			t.Fatal(err)
		}
		_, unknown, _, _, _ := before.Special()
		var a, b tokenize.Encoding
		for _, c := range d.Cases {
			errA, errB := before.Encode(&a, *c.A, tokenize.Options{}), after.Encode(&b, *c.A, tokenize.Options{})
			if (errA == nil) != (errB == nil) {
				t.Errorf("directory %d: %q: %v and %v", i, *c.A, errA, errB)
			}
			// A word that is unknown may be known by pieces now.
			if errA != nil || slices.Contains(a.IDs, unknown) || !isSubset(a.IDs, ids) {
				continue
			}
			texts++
			if !slices.EqualFunc(a.IDs, b.IDs, func(old, id int32) bool { return ids[id] == old }) {
				t.Errorf("directory %d: %q: %v became %v", i, *c.A, a.IDs, b.IDs)
			}
		}
	}
	if reduced < 50 || refused > reduced/10 || texts < 100 {
		t.Errorf("%d reduced, %d refused, %d texts", reduced, refused, texts)
	}
}

func isSubset(part, of []int32) bool {
	return !slices.ContainsFunc(part, func(id int32) bool { return !slices.Contains(of, id) })
}

// Directories of published models that lost tokens, made small: the ids are those of
// AutoTokenizer of transformers 5.23.
func TestDirectoriesOfPublishedModels(t *testing.T) {
	t.Parallel()
	cases, _ := filepath.Glob("../cmd/skive/testdata/cases/tok-*")
	if len(cases) == 0 {
		t.Fatal("there are none")
	}
	for _, path := range cases {
		t.Run(filepath.Base(path), func(t *testing.T) {
			files, err := checkpoints.ReadTokenizer(filepath.Join(path, "model"))
			if err != nil {
				t.Fatal(err)
			}
			tok, err := tokenize.Load(files)
			if err != nil {
				if !strings.Contains(err.Error(), `tokenizer_class: "BertJapaneseTokenizer" is not supported`) {
					t.Error(err)
				}
				return
			}
			inputs, expected := lines(t, filepath.Join(path, "input.jsonl")), lines(t, filepath.Join(path, "expected.jsonl"))
			for i, line := range inputs {
				var input struct{ Text string }
				var want struct{ IDs []int32 }
				if json.Unmarshal([]byte(line), &input) != nil || json.Unmarshal([]byte(expected[i]), &want) != nil {
					t.Fatalf("line %d", i+1)
				}
				var e tokenize.Encoding
				if err := tok.Encode(&e, input.Text, tokenize.Options{}); err != nil || !slices.Equal(e.IDs, want.IDs) {
					t.Errorf("%q: %v, want %v: %v", input.Text, e.IDs, want.IDs, err)
				}
			}
		})
	}
}

func lines(t *testing.T, name string) []string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(b)), "\n")
}

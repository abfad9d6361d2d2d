package tokenize

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	sugarme "github.com/sugarme/tokenizer"
)

func small(t testing.TB) *Tokenizer {
	t.Helper()
	for _, g := range goldens(t, "goldens.json.gz") {
		if g.Name == "uncased" {
			tok, err := Load(map[string][]byte{"tokenizer.json": []byte(g.Tokenizer)})
			if err != nil {
				t.Fatal(err)
			}
			return tok
		}
	}
	t.Fatal("no golden named uncased")
	return nil
}

func TestMaxLengthWithoutRoomForSpecialTokens(t *testing.T) {
	t.Parallel()
	tok := small(t)
	var e Encoding
	if err := tok.Encode(&e, "a", Options{MaxLength: 1}); err == nil {
		t.Error("no error for a text in 1 token")
	}
	if err := tok.Encode(&e, "a", Options{MaxLength: 2}); err != nil || len(e.IDs) != 2 {
		t.Errorf("%v, %v", e.IDs, err)
	}
	if err := tok.EncodePair(&e, "a", "b", Options{MaxLength: 2}); err == nil || !strings.Contains(err.Error(), "3 special tokens") {
		t.Errorf("a pair in 2 tokens: %v", err)
	}
	if err := tok.Encode(&e, "a", Options{MaxLength: -1}); err == nil {
		t.Error("no error for a negative length")
	}
}

func smallBPE(t testing.TB) *Tokenizer {
	t.Helper()
	tok, err := Load(map[string][]byte{"tokenizer.json": []byte(goldens(t, "goldens_bpe.json.gz")[0].Tokenizer)})
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	t.Run("WordPiece", func(t *testing.T) { concurrentUse(t, small(t)) })
	t.Run("BPE", func(t *testing.T) { concurrentUse(t, smallBPE(t)) })
}

// An Encoding goes from one tokenizer to another: what it keeps of the first is
// nothing to the second.
func TestEncodingIsSharedByTokenizers(t *testing.T) {
	t.Parallel()
	var shared Encoding
	for range 2 {
		for _, file := range []string{"goldens_bpe.json.gz", "goldens.json.gz"} {
			for _, g := range goldens(t, file) {
				tok, err := Load(map[string][]byte{"tokenizer.json": []byte(g.Tokenizer)})
				if err != nil {
					t.Fatal(err)
				}
				var own Encoding
				const text = "the quick brown fox é漢"
				if tok.Encode(&own, text, Options{}) != nil || tok.Encode(&shared, text, Options{}) != nil || !slices.Equal(own.IDs, shared.IDs) {
					t.Errorf("%s: %v and %v", g.Name, own.IDs, shared.IDs)
				}
			}
		}
	}
}

func concurrentUse(t *testing.T, tok *Tokenizer) {
	texts := []string{"Hello, World! é 漢字 [MASK]", "the unaffable fox", strings.Repeat("ab ", 50)}
	want := make([]Encoding, len(texts))
	for i, s := range texts {
		if err := tok.Encode(&want[i], s, Options{Offsets: true}); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			var e Encoding
			for n := range 200 {
				i := n % len(texts)
				if err := tok.Encode(&e, texts[i], Options{Offsets: true}); err != nil {
					t.Error(err)
				}
				if !slices.Equal(e.IDs, want[i].IDs) || !slices.Equal(e.Offsets, want[i].Offsets) {
					t.Errorf("%q: other ids", texts[i])
				}
			}
		})
	}
	wg.Wait()
}

func TestNoAllocationIntoAUsedEncoding(t *testing.T) {
	gemma, err := Load(map[string][]byte{"tokenizer.json": []byte(smallGemma)})
	if err != nil {
		t.Fatal(err)
	}
	for _, tok := range []*Tokenizer{small(t), smallBPE(t), gemma} {
		var e Encoding
		for _, o := range []Options{{}, {MaxLength: 8}, {Offsets: true}} {
			encode := func() {
				if tok.Encode(&e, "Hello, World! Déjà vu 漢字 [MASK] 한국어 don't Donaudampfschifffahrtsgesellschaftskapitän", o) != nil ||
					tok.EncodePair(&e, "the fox ΑΣΟΣ", "İstanbul 👍🏽 tail", o) != nil {
					t.Error("error")
				}
			}
			encode()
			if n := testing.AllocsPerRun(50, encode); n != 0 {
				t.Errorf("%+v: %v allocations", o, n)
			}
		}
	}
}

// A word of a million letters takes time n log n, and gives what shorter words
// of the same letters give.
func TestLongWord(t *testing.T) {
	t.Parallel()
	tok := smallBPE(t)
	m := tok.model.(*bytePair)
	var long, short pairBuffer
	for _, n := range []int{2, 7, shortWord} {
		word := []byte(strings.Repeat("the", n))[:n]
		want := slices.Clone(m.merge(&short, word))
		long.ids = long.ids[:0]
		for _, c := range word {
			long.ids = append(long.ids, m.alphabet[c])
		}
		m.merges.mergeLong(&long)
		if !slices.Equal(long.ids, want) {
			t.Errorf("%s: %v with a queue, %v without", word, long.ids, want)
		}
	}
	var e Encoding
	if err := tok.Encode(&e, strings.Repeat("hat", 1<<20/3), Options{}); err != nil || len(e.IDs) < 1000 {
		t.Errorf("%d tokens: %v", len(e.IDs), err)
	}
}

func TestSpecialTokens(t *testing.T) {
	t.Parallel()
	tok, err := NewWordPiece([]string{"[CLS]", "[SEP]", "a", "[UNK]"}, true)
	if err != nil {
		t.Fatal(err)
	}
	pad, unk, cls, sep, mask := tok.Special()
	if got, want := fmt.Sprint(pad, unk, cls, sep, mask), "-1 3 0 1 -1"; got != want {
		t.Errorf("special tokens %s, want %s", got, want)
	}
	if tok.VocabSize() != 4 || tok.Token(2) != "a" || tok.Token(-1) != "" || tok.Token(4) != "" {
		t.Error("wrong vocabulary")
	}
}

func TestNewWordPieceIsReadBackFromItsFiles(t *testing.T) {
	t.Parallel()
	for _, lower := range []bool{true, false} {
		a, err := NewWordPiece([]string{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "e", "É", "##x"}, lower)
		if err != nil {
			t.Fatal(err)
		}
		b, err := Load(a.Files())
		if err != nil {
			t.Fatal(err)
		}
		var x, y Encoding
		for _, s := range []string{"É ex Ex [MASK]", "éxx"} {
			if a.Encode(&x, s, Options{}) != nil || b.Encode(&y, s, Options{}) != nil || !slices.Equal(x.IDs, y.IDs) {
				t.Errorf("lowercase %t, %q: %v and %v", lower, s, x.IDs, y.IDs)
			}
		}
	}
}

// edit returns the small tokenizer.json with one field replaced; value nil
// takes it out.
func edit(t testing.TB, path string, value any) []byte {
	t.Helper()
	return editFile(t, "goldens.json.gz", path, value)
}

func editFile(t testing.TB, file, path string, value any) []byte {
	t.Helper()
	var j map[string]any
	if err := json.Unmarshal([]byte(goldens(t, file)[0].Tokenizer), &j); err != nil {
		t.Fatal(err)
	}
	keys := strings.Split(path, ".")
	at := j
	for _, k := range keys[:len(keys)-1] {
		at = at[k].(map[string]any)
	}
	if last := keys[len(keys)-1]; value == nil {
		delete(at, last)
	} else {
		at[last] = value
	}
	b, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

type obj = map[string]any

func TestLoadErrorsNameFileAndField(t *testing.T) {
	t.Parallel()
	js := func(path string, value any) map[string][]byte {
		return map[string][]byte{"tokenizer.json": edit(t, path, value)}
	}
	bpe := func(path string, value any) map[string][]byte {
		return map[string][]byte{"tokenizer.json": editFile(t, "goldens_bpe.json.gz", path, value)}
	}
	characters := func(vocab obj, merges [][]string) map[string][]byte {
		file, err := json.Marshal(obj{"model": obj{"type": "BPE", "vocab": vocab, "merges": merges, "byte_fallback": true}})
		if err != nil {
			t.Fatal(err)
		}
		return map[string][]byte{"tokenizer.json": file}
	}
	bytesVocab := map[string]int32{"<s>": 0, "</s>": 1}
	for _, c := range byteChars {
		bytesVocab[string(c)] = int32(len(bytesVocab))
	}
	vocabJSON, err := json.Marshal(bytesVocab)
	if err != nil {
		t.Fatal(err)
	}
	merges := func(s string) map[string][]byte {
		return map[string][]byte{"vocab.json": vocabJSON, "merges.txt": []byte(s)}
	}
	vocab := "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n"
	with := func(name, text string) map[string][]byte {
		return map[string][]byte{"vocab.txt": []byte(vocab), name: []byte(text)}
	}
	settings := func(text string) map[string][]byte { return with(configFile, text) }
	for _, c := range []struct {
		name  string
		files map[string][]byte
		want  []string
	}{
		{"nothing", nil, []string{"tokenizer.json", "vocab.txt"}},
		{"not JSON", map[string][]byte{"tokenizer.json": []byte(`{"model": `)}, []string{"tokenizer.json", "not valid JSON"}},
		{"empty file", map[string][]byte{"tokenizer.json": {}}, []string{"tokenizer.json", "not valid JSON"}},
		{"a list", map[string][]byte{"tokenizer.json": []byte(`[]`)}, []string{"tokenizer.json"}},
		{"no model", js("model", nil), []string{"tokenizer.json", "model is missing"}},
		{"another model", js("model.type", "WordLevel"), []string{"model", `"WordLevel"`}},
		{"a vocabulary of another model", js("model.type", "Unigram"), []string{"model.vocab", "scores"}},
		{"no vocabulary", js("model.vocab", obj{}), []string{"model.vocab"}},
		{"vocabulary of strings", js("model.vocab", obj{"a": "b"}), []string{"model", "vocab"}},
		{"negative id", js("model.vocab", obj{"[UNK]": 0, "a": -1}), []string{"model.vocab", "-1"}},
		{"huge id", js("model.vocab", obj{"[UNK]": 0, "a": 10_000_000}), []string{"model.vocab", "10000000"}},
		{"equal ids", js("model.vocab", obj{"[UNK]": 0, "a": 1, "b": 1}), []string{"model.vocab", `"a"`, `"b"`}},
		{"no unknown token", js("model.unk_token", "<unk>"), []string{"model.unk_token", "<unk>"}},
		{"no normalizer", js("normalizer", nil), []string{"normalizer is missing"}},
		{"another normalizer", js("normalizer", obj{"type": "Sequence"}), []string{"normalizer", `"Sequence"`}},
		{"wrong flag", js("normalizer.lowercase", "yes"), []string{"normalizer", "lowercase"}},
		{"another pre-tokenizer", js("pre_tokenizer", obj{"type": "Metaspace"}), []string{"pre_tokenizer", `"Metaspace"`}},
		{"another post-processor", js("post_processor", obj{"type": "Sequence"}), []string{"post_processor", `"Sequence"`}},
		{"unknown special", js("post_processor.special_tokens", obj{}), []string{"post_processor.single[0]", "[CLS]"}},
		{"added id differs", js("added_tokens", []obj{{"id": 9, "content": "[SEP]", "special": true}}), []string{"added_tokens[0]", "[SEP]", "9"}},
		{"added token without content", js("added_tokens", []obj{{"id": 0, "single_word": true}}), []string{"added_tokens[0]", "content"}},
		{"empty vocab.txt", map[string][]byte{"vocab.txt": {}}, []string{"vocab.txt", "[UNK]"}},
		{"lacks [CLS]", map[string][]byte{"vocab.txt": []byte("[UNK]\n[SEP]\na\n")}, []string{"vocab.txt", "[CLS]"}},
		{"not UTF-8", map[string][]byte{"vocab.txt": []byte("[UNK]\n\xff\n")}, []string{"vocab.txt", "UTF-8"}},
		{"bad configuration", map[string][]byte{"vocab.txt": []byte(vocab), "tokenizer_config.json": []byte(`{"do_lower_case": 1}`)},
			[]string{"tokenizer_config.json", "do_lower_case"}},
		{"a class with its own words", settings(`{"tokenizer_class": "BertJapaneseTokenizer"}`), []string{"tokenizer_config.json", "tokenizer_class", "BertJapaneseTokenizer", "BertTokenizer"}},
		{"a class of another model", settings(`{"tokenizer_class": "XLMRobertaTokenizerFast"}`), []string{"tokenizer_class", "XLMRobertaTokenizer", "sentencepiece.bpe.model"}},
		{"a class that is not implemented", settings(`{"tokenizer_class": "T5TokenizerFast"}`), []string{"tokenizer_class", "T5TokenizerFast", "supported"}},
		{"a class that nobody knows", settings(`{"tokenizer_class": "MyTokenizer"}`), []string{"tokenizer_class", "MyTokenizer"}},
		{"a class that is a number", settings(`{"tokenizer_class": 3}`), []string{"tokenizer_config.json", "tokenizer_class", "expected a string", "3"}},
		{"the library's class without its file", settings(`{"tokenizer_class": "PreTrainedTokenizerFast"}`), []string{"tokenizer_class", "tokenizer.json"}},
		{"RoBERTa's class without its files", settings(`{"tokenizer_class": "RobertaTokenizer"}`), []string{"tokenizer_class", "vocab.json", "merges.txt"}},
		{"BERT's class with BPE", map[string][]byte{"tokenizer.json": bpe("version", nil)["tokenizer.json"], "tokenizer_config.json": []byte(`{"tokenizer_class": "BertTokenizer"}`)},
			[]string{"tokenizer.json", "BPE", "BertTokenizer", "WordPiece"}},
		{"RoBERTa's class with WordPiece", map[string][]byte{"tokenizer.json": js("version", nil)["tokenizer.json"], "tokenizer_config.json": []byte(`{"tokenizer_class": "RobertaTokenizer"}`)},
			[]string{"tokenizer.json", "WordPiece", "RobertaTokenizer", "BPE"}},
		{"BERT's class without a vocabulary", map[string][]byte{"tokenizer_config.json": []byte(`{"tokenizer_class": "BertTokenizer"}`)}, []string{"tokenizer.json", "vocab.txt"}},
		{"no classification token", settings(`{"cls_token": null}`), []string{"tokenizer_config.json", "cls_token", "null"}},
		{"a separator with a colon", settings(`{"sep_token": "a:b"}`), []string{"sep_token", `"a:b"`, "colon"}},
		{"an unknown token that is unknown", settings(`{"unk_token": "<unk>"}`), []string{"vocab.txt", "<unk>"}},
		{"a special token of another kind", settings(`{"pad_token": 0}`), []string{"tokenizer_config.json", "pad_token", "expected a string or an object"}},
		{"added tokens as a list", settings(`{"added_tokens_decoder": []}`), []string{"added_tokens_decoder", "expected an object"}},
		{"an added token's id that is a word", settings(`{"added_tokens_decoder": {"a": {"content": "b"}}}`), []string{"added_tokens_decoder", `"a"`, "token id"}},
		{"an added token that is a string", settings(`{"added_tokens_decoder": {"5": "b"}}`), []string{"added_tokens_decoder.5", "expected an object"}},
		{"an added token without content", settings(`{"added_tokens_decoder": {"5": {"special": true}}}`), []string{"added_tokens_decoder.5", "content"}},
		{"additional tokens as a string", settings(`{"additional_special_tokens": "<e1>"}`), []string{"additional_special_tokens", "expected a list"}},
		{"additional tokens of numbers", settings(`{"additional_special_tokens": ["<e1>", 3]}`), []string{"additional_special_tokens[1]", "3"}},
		{"extra tokens as a number", settings(`{"extra_special_tokens": 3}`), []string{"extra_special_tokens", "expected a list"}},
		{"a side that is none", settings(`{"truncation_side": "top"}`), []string{"truncation_side", "left or right", "top"}},
		{"a prefix space that is a word", map[string][]byte{"vocab.json": vocabJSON, "merges.txt": {}, "tokenizer_config.json": []byte(`{"add_prefix_space": "yes"}`)},
			[]string{"tokenizer_config.json", "add_prefix_space", "true or false"}},
		{"versions of tokenizer.json", settings(`{"fast_tokenizer_files": ["tokenizer.json", "tokenizer.4.0.json"]}`), []string{"fast_tokenizer_files", "tokenizer.4.0.json"}},
		{"a map that is a list", with(specialMapFile, `[]`), []string{"special_tokens_map.json"}},
		{"a map that is not JSON", with(specialMapFile, `{`), []string{"special_tokens_map.json", "not valid JSON"}},
		{"a map with a number", with(specialMapFile, `{"mask_token": 3}`), []string{"special_tokens_map.json", "mask_token", "3"}},
		{"added_tokens.json with words", with(addedFile, `{"a": "b"}`), []string{"added_tokens.json", "a", "token id"}},
		{"added_tokens.json that is a list", with(addedFile, `["a"]`), []string{"added_tokens.json"}},
		{"nothing is left of an added token", with(addedFile, `{"\u200b": 5}`), []string{"vocab.txt", "normalization leaves nothing"}},
		{"two added tokens are one", with(addedFile, `{"New": 5, "NEW": 6}`), []string{"vocab.txt", `"New"`, `"NEW"`, `"new"`}},
		{"an added token takes an id", map[string][]byte{"vocab.txt": []byte(vocab + "b\nb\n"), "added_tokens.json": []byte(`{"x": 9}`)}, []string{"vocab.txt", `"x"`, `"b"`, "6"}},
		{"byte-order mark before the unknown token", map[string][]byte{"vocab.txt": []byte("\ufeff[UNK]\n[CLS]\n[SEP]\n")}, []string{"vocab.txt", "[UNK]", "byte-order mark"}},
		{"merges of numbers", bpe("model.merges", []int{3}), []string{"tokenizer.json", "model.merges", "entry 0"}},
		{"merges of three", bpe("model.merges", []string{"a b c"}), []string{"model.merges", `"a b c"`}},
		{"merge of unknown tokens", bpe("model.merges", [][]string{{"a", "~~"}}), []string{"merge 1", `"~~"`}},
		{"a byte is missing", bpe("model.vocab", obj{"<s>": 0, "</s>": 2}), []string{"model", "0x00"}},
		{"fallback to bytes", bpe("model.byte_fallback", true), []string{"model.byte_fallback"}},
		{"dropout", bpe("model.dropout", 0.1), []string{"model.dropout"}},
		{"BPE with a normalizer", bpe("normalizer", obj{"type": "BertNormalizer"}), []string{"normalizer", `"BertNormalizer"`, "NFC"}},
		{"BPE without bytes", bpe("pre_tokenizer", obj{"type": "Whitespace"}), []string{"pre_tokenizer", `"Whitespace"`, "ByteLevel"}},
		{"a split that is another", bpe("pre_tokenizer", obj{"type": "Split", "pattern": obj{"String": " "}, "behavior": "Isolated", "invert": false}),
			[]string{"pre_tokenizer", "Split", "MergedWithPrevious"}},
		{"a merge of bytes", characters(obj{"<0x41>": 0, "a": 1, "<0x41>a": 2}, [][]string{{"<0x41>", "a"}}), []string{"merge 1", `"<0x41>"`, "expected none in a merge"}},
		{"BPE without words", bpe("pre_tokenizer.use_regex", false), []string{"pre_tokenizer.use_regex"}},
		{"no merges.txt", map[string][]byte{"vocab.json": vocabJSON}, []string{"merges.txt"}},
		{"bad merges.txt", merges("#version: 0.2\na b c\n"), []string{"merges.txt: line 2", `"a b c"`}},
		{"merges.txt of another model", merges("a b\n"), []string{"merges.txt", "merge 1", `"ab"`}},
		{"vocab.json without <s>", map[string][]byte{"vocab.json": []byte(strings.Replace(string(vocabJSON), `\u003cs\u003e`, "<<", 1)), "merges.txt": {}},
			[]string{"vocab.json", "<s>"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Load(c.files)
			if err == nil {
				t.Fatal("no error")
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q does not say %q", err, w)
				}
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("%q has several lines", err)
			}
		})
	}
	if _, err := Load(nil); !errors.Is(err, ErrNoTokenizer) {
		t.Error(err)
	}
}

func TestVocabTxt(t *testing.T) {
	t.Parallel()
	for name, files := range map[string]map[string][]byte{
		"CRLF":                     {"vocab.txt": []byte("[UNK]\r\n[CLS]\r\n[SEP]\r\na\r\n##b\r\n")},
		"white space after tokens": {"vocab.txt": []byte("[UNK] \n[CLS]\t\n[SEP]\u00a0\na \n##b\u3000\n")},
		"no newline at the end":    {"vocab.txt": []byte("[UNK]\n[CLS]\n[SEP]\na\n##b")},
	} {
		tok, err := Load(files)
		if err != nil {
			t.Fatal(name, err)
		}
		var e Encoding
		if err := tok.Encode(&e, "Ab", Options{}); err != nil || !slices.Equal(e.IDs, []int32{1, 3, 4, 2}) {
			t.Errorf("%s: %v %v", name, e.IDs, err)
		}
	}
	tok, err := Load(map[string][]byte{
		"vocab.txt":             []byte("<u>\n<s>\n</s>\nA\né\n"),
		"tokenizer_config.json": []byte(`{"do_lower_case": false, "unk_token": "<u>", "cls_token": {"content": "<s>"}, "sep_token": "</s>"}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	var e Encoding
	if err := tok.Encode(&e, "A é a", Options{}); err != nil || !slices.Equal(e.IDs, []int32{1, 3, 4, 0, 2}) {
		t.Errorf("%v %v", e.IDs, err)
	}
}

// TestSchemaAgreesWithSugarme reads tokenizer.json with another implementation
// of its schema.
func TestSchemaAgreesWithSugarme(t *testing.T) {
	t.Parallel()
	file := []byte(goldens(t, "goldens.json.gz")[0].Tokenizer)
	path := filepath.Join(t.TempDir(), "tokenizer.json")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := sugarme.ConfigFromFile(path)
	if err != nil {
		t.Fatal(err)
	}
	tok, err := Load(map[string][]byte{"tokenizer.json": file})
	if err != nil {
		t.Fatal(err)
	}
	vocab := c.Model["vocab"].(map[string]any)
	if len(vocab) != tok.VocabSize() {
		t.Errorf("%d tokens, want %d", tok.VocabSize(), len(vocab))
	}
	for token, id := range vocab {
		if got := tok.Token(int32(id.(float64))); got != token {
			t.Errorf("token %v is %q, want %q", id, got, token)
		}
	}
	_, unk, _, _, _ := tok.Special()
	if tok.Token(unk) != c.Model["unk_token"] {
		t.Errorf("unknown token %q, want %q", tok.Token(unk), c.Model["unk_token"])
	}
	for _, a := range c.AddedTokens {
		if tok.Token(int32(a.Id)) != a.Content {
			t.Errorf("added token %d is %q, want %q", a.Id, tok.Token(int32(a.Id)), a.Content)
		}
	}
}

func TestBuildVocab(t *testing.T) {
	t.Parallel()
	texts := []string{"The room was never dirty, nobody could say", "the staff was Kind — été", "the the was was room"}
	vocab := BuildVocab(slices.Values(texts), 60)
	if len(vocab) > 60 || !slices.Equal(vocab[:5], []string{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}) {
		t.Fatalf("%d tokens: %q", len(vocab), vocab)
	}
	if i, j := slices.Index(vocab, "the"), slices.Index(vocab, "room"); i < 0 || j < i {
		t.Errorf("not by frequency: %q", vocab)
	}
	if !slices.Equal(vocab, BuildVocab(slices.Values(texts), 60)) {
		t.Error("another vocabulary the second time")
	}
	for _, size := range []int{0, 60, 1000} {
		tok, err := NewWordPiece(BuildVocab(slices.Values(texts), size), true)
		if err != nil {
			t.Fatal(err)
		}
		_, unk, _, _, _ := tok.Special()
		for _, s := range texts {
			var e Encoding
			if err := tok.Encode(&e, s, Options{}); err != nil {
				t.Fatal(err)
			}
			if slices.Contains(e.IDs, unk) {
				t.Errorf("size %d: %q has unknown tokens", size, s)
			}
		}
	}
}

func FuzzEncode(f *testing.F) {
	all := slices.Concat(goldens(f, "goldens.json.gz"), goldens(f, "goldens_bpe.json.gz"))
	for _, g := range []golden{goldens(f, "goldens.json.gz")[0], goldens(f, "goldens_bpe.json.gz")[0]} {
		for _, c := range g.Cases[:120] {
			f.Add(c.A, "b", c.Max)
		}
	}
	f.Add("a\xffb", "\xe2\x82", 7)
	var toks []*Tokenizer
	for _, g := range all {
		tok, err := Load(map[string][]byte{"tokenizer.json": []byte(g.Tokenizer)})
		if err != nil {
			f.Fatal(err)
		}
		toks = append(toks, tok)
	}
	var e Encoding
	f.Fuzz(func(t *testing.T, a, b string, maxLength int) {
		maxLength %= 600
		for _, tok := range toks {
			for _, pair := range []bool{false, true} {
				o := Options{MaxLength: maxLength, Offsets: true}
				var err error
				if pair {
					err = tok.EncodePair(&e, a, b, o)
				} else {
					err = tok.Encode(&e, a, o)
				}
				if err != nil {
					if maxLength >= 4 || maxLength == 0 {
						t.Fatal(err)
					}
					continue
				}
				if maxLength > 0 && len(e.IDs) > maxLength || len(e.IDs) != len(e.TypeIDs) || len(e.IDs) != len(e.Offsets) {
					t.Fatalf("%d ids, %d types, %d offsets, at most %d", len(e.IDs), len(e.TypeIDs), len(e.Offsets), maxLength)
				}
				runes := []int{utf8.RuneCountInString(a), utf8.RuneCountInString(b)}
				text, last := 0, int32(0)
				for i, id := range e.IDs {
					if id < 0 || int(id) >= tok.VocabSize() {
						t.Fatalf("id %d", id)
					}
					o := e.Offsets[i]
					if o == [2]int32{} { // a special token: the second text may follow
						if i > 0 {
							text, last = 1, 0
						}
						continue
					}
					if o[0] < last-1 || o[1] < o[0] || o[1] == o[0] && !tok.trim.on || int(o[1]) > max(runes[0], runes[text]) {
						t.Fatalf("token %d has the offsets %v after %d", i, o, last)
					}
					last = o[1]
				}
			}
		}
	})
}

// smallGemma is a tokenizer.json of characters, with two of the bytes.
const smallGemma = `{"model":{"type":"BPE","unk_token":"<unk>","fuse_unk":true,"byte_fallback":true,"vocab":{"<unk>":0,"<bos>":1,"▁":2,"b":3,"▁b":4,"<0xC3>":5,"<0xA9>":6},"merges":["▁ b"]},
		"normalizer":{"type":"Replace","pattern":{"String":" "},"content":"▁"},"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<bos>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],
		"pair":[{"SpecialToken":{"id":"<bos>","type_id":0}},{"Sequence":{"id":"A","type_id":0}},{"SpecialToken":{"id":"<bos>","type_id":1}},{"Sequence":{"id":"B","type_id":1}}],"special_tokens":{"<bos>":{"ids":[1]}}}}`

func FuzzLoad(f *testing.F) {
	vocab := []byte("[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n##e\nnew\n")
	f.Add(edit(f, "version", nil), []byte("[UNK]\n[CLS]\n[SEP]\n"), []byte(`{}`), []byte(`{}`), []byte(`{}`))
	f.Add(edit(f, "post_processor", obj{"type": "BertProcessing", "sep": []any{"[SEP]", 3}, "cls": []any{"[CLS]", 2}}), []byte{}, []byte(`{"unk_token": 3}`), []byte{}, []byte{})
	f.Add([]byte(`{"model":{"vocab":{"[UNK]":0},"type":"WordPiece"},"normalizer":{"type":"BertNormalizer"}}`), []byte{}, []byte{}, []byte{}, []byte{})
	f.Add(editFile(f, "goldens_bpe.json.gz", "version", nil), []byte("#version: 0.2\na b\n"), []byte(`{"add_prefix_space": true}`), []byte{}, []byte{})
	f.Add([]byte(`{"<s>":0,"</s>":1,"a":2,"b":3,"ab":4}`), []byte("a b\n"), []byte(`{"cls_token": {"content": "<s>"}}`), []byte{}, []byte{})
	f.Add([]byte{}, vocab, []byte(`{"tokenizer_class": "BertTokenizerFast", "do_lower_case": false, "model_input_names": ["input_ids"], "truncation_side": "left"}`),
		[]byte(`{"cls_token": {"content": "<c>", "lstrip": true}, "additional_special_tokens": ["A", {"content": "b"}]}`), []byte(`{"New": 7, "é": 9}`))
	f.Add(edit(f, "version", nil), vocab, []byte(`{"tokenizer_class": "BertTokenizer", "added_tokens_decoder": {"9": {"content": "Aé", "normalized": true, "single_word": true}}, "x_token": "b"}`),
		[]byte(`{"extra_special_tokens": {"y_token": "[SEP]x"}}`), []byte(`{"a": 4}`))
	f.Add(edit(f, "version", nil), vocab, []byte(`{"tokenizer_class": "PreTrainedTokenizerFast", "extra_special_tokens": ["漢"], "split_special_tokens": true}`), []byte(`{"mask_token": null}`), []byte(`{"A": 800}`))
	f.Add([]byte(smallGemma),
		vocab, []byte(`{"tokenizer_class": "GemmaTokenizer"}`), []byte{}, []byte{})
	f.Fuzz(func(t *testing.T, tokenizer, vocab, config, special, added []byte) {
		for _, files := range []map[string][]byte{
			{"tokenizer.json": tokenizer},
			{"vocab.txt": vocab, "tokenizer_config.json": config},
			{"vocab.json": tokenizer, "merges.txt": vocab, "tokenizer_config.json": config},
			{"tokenizer.json": tokenizer, "vocab.txt": vocab, "tokenizer_config.json": config, "special_tokens_map.json": special, "added_tokens.json": added},
			{"vocab.txt": vocab, "tokenizer_config.json": config, "special_tokens_map.json": special, "added_tokens.json": added},
			{"vocab.json": tokenizer, "merges.txt": vocab, "special_tokens_map.json": special, "added_tokens.json": added},
		} {
			tok, err := Load(files)
			if err != nil {
				continue
			}
			var e, again Encoding
			if err := tok.EncodePair(&e, "Aé [SEP] 漢", "b New", Options{Offsets: true}); err != nil {
				if !strings.Contains(err.Error(), "that the vocabulary lacks") {
					t.Fatal(err)
				}
				continue
			}
			for _, id := range e.IDs {
				if id < 0 || int(id) >= tok.VocabSize() {
					t.Fatalf("id %d of %d", id, tok.VocabSize())
				}
			}
			// What is loaded can be written as tokenizer.json, or is refused for what it says.
			if files, err = WithJSON(files); err != nil {
				if !strings.Contains(err.Error(), "split_special_tokens") && !strings.Contains(err.Error(), "no such file") {
					t.Fatal(err)
				}
				continue
			}
			if tok, err = Load(map[string][]byte{"tokenizer.json": files["tokenizer.json"]}); err != nil {
				t.Fatal(err)
			}
			if err := tok.EncodePair(&again, "Aé [SEP] 漢", "b New", Options{Offsets: true}); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(e.IDs, again.IDs) || !slices.Equal(e.TypeIDs, again.TypeIDs) {
				t.Fatalf("ids %v, as tokenizer.json %v", e.IDs, again.IDs)
			}
			_, _, _ = tok.Reduce(func(id int32) bool { return id%2 == 0 })
		}
	})
}

// published are the files of the vocabularies that the benchmarks use.
func published(b *testing.B) map[string]map[string][]byte {
	return map[string]map[string][]byte{
		"bert-base-uncased": {"vocab.txt": shared(b, "vocab/bert-base-uncased/vocab.txt")},
		"roberta-base":      {"vocab.json": shared(b, "vocab/roberta-base/vocab.json"), "merges.txt": shared(b, "vocab/roberta-base/merges.txt")},
	}
}

func benchmarkText(b *testing.B) (lines []string) {
	z, err := gzip.NewReader(bytes.NewReader(shared(b, "text/wikitext-2/valid.txt.gz")))
	if err != nil {
		b.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		b.Fatal(err)
	}
	return strings.Split(string(text), "\n")
}

// BenchmarkEncode encodes WikiText with the published vocabularies, and with the tokenizer.json
// files in SKIVE_TOKENIZERS, a list of paths.
func BenchmarkEncode(b *testing.B) {
	lines := benchmarkText(b)
	all := published(b)
	for _, path := range filepath.SplitList(os.Getenv("SKIVE_TOKENIZERS")) {
		file, err := os.ReadFile(path)
		if err != nil {
			b.Fatal(err)
		}
		all[path] = map[string][]byte{"tokenizer.json": file}
	}
	for name, files := range all {
		tok, err := Load(files)
		if err != nil {
			b.Fatal(err)
		}
		benchmarkEncode(b, name, tok, lines)
	}
}

func benchmarkEncode(b *testing.B, name string, tok *Tokenizer, lines []string) {
	for _, offsets := range []bool{false, true} {
		b.Run(fmt.Sprintf("%s/offsets=%t", name, offsets), func(b *testing.B) {
			var e Encoding
			n := 0
			b.ReportAllocs()
			for b.Loop() {
				for _, l := range lines {
					if err := tok.Encode(&e, l, Options{Offsets: offsets}); err != nil {
						b.Fatal(err)
					}
					n += len(e.IDs)
				}
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "tokens/s")
		})
	}
}

func BenchmarkLoad(b *testing.B) {
	all := published(b)
	all["tokenizer.json"] = map[string][]byte{"tokenizer.json": shared(b, "vocab/bert-base-uncased/tokenizer.json")}
	for name, files := range all {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := Load(files); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

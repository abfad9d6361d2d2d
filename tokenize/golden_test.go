package tokenize

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"
)

// golden is a tokenizer with what Hugging Face's library makes of texts.
type golden struct {
	Name, Tokenizer string
	Cases           []struct {
		A       string
		B       *string
		Max     int
		IDs     []int32
		Types   []int32
		Offsets []int32
	}
}

func unzip(t testing.TB, name string) *gzip.Reader {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// decoded holds the goldens that were read, by file.
var decoded sync.Map

func goldens(t testing.TB, name string) []golden {
	t.Helper()
	if g, ok := decoded.Load(name); ok {
		return g.([]golden)
	}
	var g []golden
	if err := json.NewDecoder(unzip(t, name)).Decode(&g); err != nil {
		t.Fatal(err)
	}
	decoded.Store(name, g)
	return g
}

// shared returns a file of the data directory beside the checkout and skips the
// test where it is absent.
func shared(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "shared", "data", name))
	if err != nil {
		t.Skip(err)
	}
	return b
}

func check(t *testing.T, tok *Tokenizer, g golden) {
	t.Helper()
	var e, ids Encoding
	wrong := 0
	for _, c := range g.Cases {
		encode := func(e *Encoding, o Options) error {
			if c.B == nil {
				return tok.Encode(e, c.A, o)
			}
			return tok.EncodePair(e, c.A, *c.B, o)
		}
		if err := encode(&e, Options{MaxLength: c.Max, Offsets: true}); err != nil {
			t.Fatal(err)
		}
		if err := encode(&ids, Options{MaxLength: c.Max}); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(e.IDs, ids.IDs) || len(ids.Offsets) > 0 {
			t.Fatalf("%q: ids differ without offsets", c.A)
		}
		var offsets []int32
		for _, o := range e.Offsets {
			offsets = append(offsets, o[0], o[1])
		}
		if slices.Equal(e.IDs, c.IDs) && slices.Equal(e.TypeIDs, c.Types) && slices.Equal(offsets, c.Offsets) {
			continue
		}
		if wrong++; wrong <= 5 {
			b := ""
			if c.B != nil {
				b = *c.B
			}
			t.Errorf("%+q, %+q, at most %d\n ids     %v\n want    %v\n types   %v\n want    %v\n offsets %v\n want    %v",
				c.A, b, c.Max, e.IDs, c.IDs, e.TypeIDs, c.Types, offsets, c.Offsets)
		}
	}
	if wrong > 0 {
		t.Errorf("%d of %d texts are wrong", wrong, len(g.Cases))
	}
}

func TestEncodingsAreHuggingFaces(t *testing.T) {
	t.Parallel()
	for _, g := range slices.Concat(goldens(t, "goldens.json.gz"), goldens(t, "goldens_bpe.json.gz")) {
		t.Run(g.Name, func(t *testing.T) {
			tok, err := Load(map[string][]byte{"tokenizer.json": []byte(g.Tokenizer)})
			if err != nil {
				t.Fatal(err)
			}
			check(t, tok, g)
		})
	}
}

func TestEncodingsOfPublishedVocabularies(t *testing.T) {
	t.Parallel()
	for _, g := range goldens(t, "goldens_bert.json.gz") {
		t.Run(g.Name, func(t *testing.T) {
			files := map[string][]byte{"vocab.txt": shared(t, "vocab/"+g.Name+"/vocab.txt")}
			if strings.HasSuffix(g.Name, "-cased") {
				files["tokenizer_config.json"] = []byte(`{"do_lower_case": false}`)
			}
			tok, err := Load(files)
			if err != nil {
				t.Fatal(err)
			}
			check(t, tok, g)
			if g.Name == "bert-base-uncased" {
				if tok, err = Load(map[string][]byte{"tokenizer.json": shared(t, "vocab/bert-base-uncased/tokenizer.json")}); err != nil {
					t.Fatal(err)
				}
				check(t, tok, g)
			}
			// What Files returns makes the same tokenizer.
			if tok, err = Load(tok.Files()); err != nil {
				t.Fatal(err)
			}
			check(t, tok, g)
		})
	}
}

func TestEncodingsOfRoBERTa(t *testing.T) {
	t.Parallel()
	g := goldens(t, "goldens_roberta.json.gz")[0]
	z, err := gzip.NewReader(bytes.NewReader(shared(t, "vocab/roberta-base/tokenizer.json.gz")))
	if err != nil {
		t.Fatal(err)
	}
	published, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	for name, files := range map[string]map[string][]byte{
		"tokenizer.json": {"tokenizer.json": published},
		"vocab.json and merges.txt": {
			"vocab.json": shared(t, "vocab/roberta-base/vocab.json"), "merges.txt": shared(t, "vocab/roberta-base/merges.txt"),
			// The published tokenizer.json has the mask take the white space before it,
			// which RobertaTokenizer of version 5 does not by itself.
			"tokenizer_config.json": []byte(`{"mask_token": {"__type": "AddedToken", "content": "<mask>", "lstrip": true, "normalized": false, "special": true}}`),
		},
	} {
		t.Run(name, func(t *testing.T) {
			tok, err := Load(files)
			if err != nil {
				t.Fatal(err)
			}
			check(t, tok, g)
			if got := fmt.Sprint(tok.Special()); got != "1 3 0 2 50264" {
				t.Errorf("special tokens %s", got)
			}
			with, err := WithJSON(tok.Files())
			if err != nil {
				t.Fatal(err)
			}
			for _, files := range []map[string][]byte{tok.Files(), {"tokenizer.json": with["tokenizer.json"]}} {
				if tok, err = Load(files); err != nil {
					t.Fatal(err)
				}
				check(t, tok, g)
			}
		})
	}
}

// TestEveryCharacter compares what becomes of each code point.
func TestEveryCharacter(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]*wordPiece{
		"uncased":   {cleanText: true, chineseChars: true, stripAccents: true, lowercase: true},
		"lowercase": {lowercase: true},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			m.onWord = func(w []byte, _ int) { got = append(got, string(w)) }
			m.prefix = "##"
			m.prepare()
			var w wordBuffer
			var p pieces
			step := rune(1)
			if testing.Short() {
				step = 23
			}
			lines := bufio.NewScanner(unzip(t, "chars_"+name+".txt.gz"))
			n := 0
			for lines.Scan() {
				f := strings.Split(lines.Text(), " ")
				first, _ := strconv.ParseInt(f[0], 16, 32)
				last, _ := strconv.ParseInt(f[1], 16, 32)
				for c := rune(first); c <= rune(last); c += step {
					var want string
					switch f[2] {
					case "":
						want = string(c)
					case "-":
					case "+":
						want = " " + string(c) + " "
					default:
						b, err := hex.DecodeString(f[2])
						if err != nil {
							t.Fatal(err)
						}
						want = string(b)
					}
					// The library's text has yet to be split into words.
					words := splitWords("a" + want + "b")
					got = got[:0]
					m.tokenize(&p, &w, "a"+string(c)+"b", 0)
					if !slices.Equal(got, words) {
						t.Errorf("U+%04X: %+q, want %+q", c, got, words)
					}
					n++
				}
			}
			if n < 1_000_000/int(step) {
				t.Errorf("only %d code points", n)
			}
		})
	}
}

// splitWords is BERT's pre-tokenizer.
func splitWords(s string) []string {
	var words []string
	m := &wordPiece{}
	word := ""
	end := func() {
		if word != "" {
			words = append(words, word)
		}
		word = ""
	}
	for _, r := range s {
		switch m.classOf(r) {
		case space:
			end()
		case punct:
			end()
			words = append(words, string(r))
		default:
			word += string(r)
		}
	}
	end()
	return words
}

func TestInvalidUTF8IsReplacementCharacters(t *testing.T) {
	t.Parallel()
	wordPiece, err := NewWordPiece([]string{"[UNK]", "[CLS]", "[SEP]", "a", "##b", "ab"}, true)
	if err != nil {
		t.Fatal(err)
	}
	for _, tok := range []*Tokenizer{wordPiece, smallBPE(t)} {
		for _, s := range []string{"a\xffb", "\xc3", "a \xe2\x82b", "\xed\xa0\x80ab", "ab\xf4\x90\x80\x80"} {
			var got, want Encoding
			if err := tok.Encode(&got, s, Options{Offsets: true}); err != nil {
				t.Fatal(err)
			}
			if err := tok.Encode(&want, string([]rune(s)), Options{Offsets: true}); err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(got.IDs, got.Offsets) != fmt.Sprint(want.IDs, want.Offsets) {
				t.Errorf("%q: %v %v, want %v %v", s, got.IDs, got.Offsets, want.IDs, want.Offsets)
			}
			for i, o := range got.Offsets {
				if int(o[1]) > utf8.RuneCountInString(s) {
					t.Errorf("%q: token %d ends at %d", s, i, o[1])
				}
			}
		}
	}
}

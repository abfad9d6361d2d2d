package tokenize_test

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skive-ml/skive/tokenize"
)

// Tokens become the text that transformers and its library make of them.
func TestDecode(t *testing.T) {
	t.Parallel()
	f, err := os.Open("testdata/decode.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var goldens []struct {
		List    string
		Number  int
		Decoder json.RawMessage
		Cases   []struct {
			IDs  []int32
			Skip bool
			Text string
		}
	}
	if err := json.NewDecoder(z).Decode(&goldens); err != nil {
		t.Fatal(err)
	}
	directories := map[string][]directory{"directories": readLists(t, "directories"), "unigram": readLists(t, "unigram"), "directories_gemma": readLists(t, "directories_gemma")}
	dir := t.TempDir()
	texts, wrong := 0, 0
	for _, g := range goldens {
		var files map[string][]byte
		if list := directories[g.List]; list != nil {
			files = list[g.Number].read(t, filepath.Join(dir, fmt.Sprint(g.List, g.Number)))
		} else {
			files = map[string][]byte{"tokenizer.json": withDecoder(t, g.List, g.Number, g.Decoder)}
		}
		tok, err := tokenize.Load(files)
		if err != nil {
			continue // the directories' own test says which are refused
		}
		for _, c := range g.Cases {
			got, err := tok.Decode(c.IDs, c.Skip)
			if texts++; got == c.Text && err == nil {
				continue
			}
			if wrong++; wrong < 10 {
				t.Errorf("%s %d, %s: %v, skip %t: %+q, %v, want %+q", g.List, g.Number, g.Decoder, c.IDs, c.Skip, got, err, c.Text)
			}
		}
	}
	if texts < 1000 || wrong > 0 {
		t.Errorf("%d of %d texts are wrong", wrong, texts)
	}
}

// withDecoder is a tokenizer.json of the goldens with another decoder.
func withDecoder(t *testing.T, list string, number int, decoder json.RawMessage) []byte {
	t.Helper()
	var file map[string]json.RawMessage
	if err := json.Unmarshal([]byte(tokenize.GoldenFile(t, list+".json.gz", number)), &file); err != nil {
		t.Fatal(err)
	}
	file["decoder"] = decoder
	text, err := json.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestDecodeRefusesOtherDecoders(t *testing.T) {
	t.Parallel()
	tok, err := tokenize.Load(map[string][]byte{"tokenizer.json": withDecoder(t, "goldens", 0, json.RawMessage(`{"type": "CTC"}`))})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tok.Decode([]int32{1}, false); err == nil || !strings.Contains(err.Error(), `decoder of type "CTC" is not supported`) {
		t.Error(err)
	}
}

func TestID(t *testing.T) {
	t.Parallel()
	vocabulary := []string{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "room", "##s"}
	tok, err := tokenize.NewWordPiece(vocabulary, true)
	if err != nil {
		t.Fatal(err)
	}
	for id, token := range vocabulary {
		if got, ok := tok.ID(token); int(got) != id || !ok {
			t.Errorf("%q: %d, %t, want %d", token, got, ok, id)
		}
	}
	for _, token := range []string{"", "Room", "s"} {
		if id, ok := tok.ID(token); ok {
			t.Errorf("%q: %d", token, id)
		}
	}
}

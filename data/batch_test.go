package data

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/tokenize"
)

// encoded returns a data set of n texts of 3 to 40 tokens, and its encoding.
func encoded(t testing.TB, n int) (*Dataset, *Encoded, *tokenize.Tokenizer) {
	t.Helper()
	tok, err := tokenize.NewWordPiece([]string{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b"}, true)
	if err != nil {
		t.Fatal(err)
	}
	ds := &Dataset{Task: Task{Name: "text", Labels: []string{"x", "y"}}}
	for i := range n {
		e := Example{Text: strings.Repeat("a ", 1+i*7%38), Label: i % 2}
		if i%5 == 0 {
			e.Pair, e.HasPair = "b", true
		}
		ds.Examples = append(ds.Examples, e)
	}
	enc, err := Encode(ds, tok, 0)
	if err != nil {
		t.Fatal(err)
	}
	return ds, enc, tok
}

func TestEncodeKeepsOrderAndTokens(t *testing.T) {
	t.Parallel()
	ds, _, tok := encoded(t, 1000)
	enc, err := Encode(ds, tok, 16)
	if err != nil {
		t.Fatal(err)
	}
	var b Batch
	var e tokenize.Encoding
	longest, tokens := 0, 0
	for i, ex := range ds.Examples {
		if ex.HasPair {
			err = tok.EncodePair(&e, ex.Text, ex.Pair, tokenize.Options{MaxLength: 16})
		} else {
			err = tok.Encode(&e, ex.Text, tokenize.Options{MaxLength: 16})
		}
		if err != nil {
			t.Fatal(err)
		}
		enc.Fill(&b, []int32{int32(i)})
		if !slices.Equal(b.IDs, e.IDs) || !slices.Equal(b.TypeIDs, e.TypeIDs) || enc.Length(i) != len(e.IDs) {
			t.Fatalf("example %d: %v %v, want %v %v", i, b.IDs, b.TypeIDs, e.IDs, e.TypeIDs)
		}
		longest, tokens = max(longest, len(e.IDs)), tokens+len(e.IDs)
	}
	if enc.Longest() != longest || enc.Tokens() != tokens || enc.Len() != 1000 || enc.Label(3) != 1 {
		t.Error(enc.Longest(), enc.Tokens(), enc.Len(), enc.Label(3))
	}
	if _, err := Encode(ds, tok, 2); err == nil || !strings.Contains(err.Error(), "example 1") {
		t.Errorf("no room for the special tokens: %v", err)
	}
}

func TestFill(t *testing.T) {
	_, enc, _ := encoded(t, 10)
	var b Batch
	examples := []int32{0, 1, 5}
	enc.Fill(&b, examples)
	if b.Sequences() != 3 || b.Tokens() != enc.Length(0)+enc.Length(1)+enc.Length(5) {
		t.Fatal(b.Sequences(), b.Tokens())
	}
	if !slices.Equal(b.Index, examples) || !slices.Equal(b.Labels, []int32{0, 1, 1}) {
		t.Error(b.Index, b.Labels)
	}
	for s := range b.Sequences() {
		lo, hi := b.Offsets[s], b.Offsets[s+1]
		if int(hi-lo) != enc.Length(int(examples[s])) || b.IDs[lo] != 2 || b.IDs[hi-1] != 3 {
			t.Errorf("sequence %d: %v", s, b.IDs[lo:hi])
		}
		for i := lo; i < hi; i++ {
			if b.Positions[i] != i-lo {
				t.Errorf("position %d of token %d", b.Positions[i], i)
			}
		}
	}
	if n := testing.AllocsPerRun(20, func() { enc.Fill(&b, examples) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestBatches(t *testing.T) {
	t.Parallel()
	const n = 2500
	_, enc, _ := encoded(t, n)
	for _, o := range []BatchOptions{
		{Examples: 32}, {Tokens: 300}, {Examples: 32, Shuffle: true}, {Tokens: 300, Shuffle: true, Seed: 3},
		{Examples: 32, Bucket: true}, {Tokens: 300, Bucket: true},
		{Examples: 7, Bucket: true, Shuffle: true}, {Tokens: 300, Bucket: true, Shuffle: true}, {Tokens: 5}, {},
	} {
		t.Run(fmt.Sprintf("%+v", o), func(t *testing.T) {
			batches := Batches(enc, o, 1)
			var all []int32
			padding, tokens := 0, 0
			for i, b := range batches {
				sum, longest := 0, 0
				for _, ex := range b {
					sum, longest = sum+enc.Length(int(ex)), max(longest, enc.Length(int(ex)))
				}
				if o.Tokens > 0 && sum > o.Tokens && len(b) > 1 {
					t.Fatalf("batch %d has %d tokens", i, sum)
				}
				if size := max(o.Examples, 0); size > 0 && (len(b) > size || len(b) < size && !o.Bucket && i < len(batches)-1) {
					t.Fatalf("batch %d has %d examples", i, len(b))
				}
				padding, tokens = padding+longest*len(b)-sum, tokens+sum
				all = append(all, b...)
			}
			if o.Bucket && padding*10 > tokens {
				t.Errorf("lengths within a batch differ: %d padding on %d tokens", padding, tokens)
			}
			again := Batches(enc, o, 1)
			if fmt.Sprint(again) != fmt.Sprint(batches) {
				t.Error("another order the second time")
			}
			next := fmt.Sprint(Batches(enc, o, 2)) != fmt.Sprint(batches)
			seed := o
			seed.Seed++
			other := fmt.Sprint(Batches(enc, seed, 1)) != fmt.Sprint(batches)
			if next != o.Shuffle || other != o.Shuffle {
				t.Errorf("another order in the next epoch: %t, under another seed: %t", next, other)
			}
			if !o.Shuffle && !o.Bucket && !slices.IsSorted(all) {
				t.Error("not in file order")
			}
			slices.Sort(all)
			for i, ex := range all {
				if int(ex) != i || len(all) != n {
					t.Fatal("not every example once")
				}
			}
		})
	}
	if b := Batches(&Encoded{}, BatchOptions{}, 0); len(b) != 0 {
		t.Error(b)
	}
}

// Nothing of a plain text is lost or doubled, whatever the length of the
// sequences that it is cut into.
func TestPlainTextIsLaidEndToEnd(t *testing.T) {
	t.Parallel()
	_, _, tok := encoded(t, 1)
	ds := &Dataset{Task: Task{Name: "mlm", Kind: head.MaskedLM}}
	var want []int32
	for i := range 700 {
		ds.Examples = append(ds.Examples, Example{Text: strings.Repeat("b ", i%4) + "a"})
		for range i % 4 {
			want = append(want, 6)
		}
		want = append(want, 5)
	}
	for _, length := range []int{3, 4, 17, 64, 5000, 0} {
		enc, err := Encode(ds, tok, length)
		if err != nil {
			t.Fatal(err)
		}
		var b Batch
		var got []int32
		for i := range enc.Len() {
			enc.Fill(&b, []int32{int32(i)})
			n := len(b.IDs)
			if length > 0 && n > length || i < enc.Len()-1 && n != length || b.IDs[0] != 2 || b.IDs[n-1] != 3 {
				t.Fatalf("length %d: sequence %d is %v", length, i, b.IDs)
			}
			got = append(got, b.IDs[1:n-1]...)
		}
		if !slices.Equal(got, want) {
			t.Errorf("length %d: the text has changed", length)
		}
	}
	for _, length := range []int{1, 2} {
		if _, err := Encode(ds, tok, length); err == nil {
			t.Errorf("length %d: no error", length)
		}
	}
	if _, err := Encode(&Dataset{Task: ds.Task, Examples: []Example{{Text: " "}}}, tok, 8); err == nil {
		t.Error("a text without words: no error")
	}
}

// The choices of an example stand side by side in a batch; the first token of a
// word carries its label.
func TestFillOfChoicesAndWords(t *testing.T) {
	t.Parallel()
	tok, err := tokenize.NewWordPiece([]string{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "##b"}, true)
	if err != nil {
		t.Fatal(err)
	}
	var b Batch
	choices := &Dataset{Task: Task{Kind: head.MultipleChoice}, Examples: []Example{
		{Text: "a", Choices: []string{"a", "b b", "b"}, Label: 1}, {Text: "b", Choices: []string{"a", "b"}, Label: -1},
	}}
	enc, err := Encode(choices, tok, 0)
	if err != nil {
		t.Fatal(err)
	}
	enc.Fill(&b, []int32{1, 0})
	if !slices.Equal(b.Index, []int32{1, 1, 0, 0, 0}) || !slices.Equal(b.Labels, []int32{-1, -1, 0, 1, 0}) || b.Sequences() != 5 || enc.Length(0) != 16 || enc.Longest() != 6 {
		t.Errorf("%+v", b)
	}
	if n := enc.MeanLength(); n != 5 { // 5, 6 and 5, 5 and 5 tokens
		t.Errorf("a mean length of %d, want that of a sequence: 5", n)
	}
	if lo, hi := enc.Rows(1); lo != 3 || hi != 5 {
		t.Errorf("rows %d to %d", lo, hi)
	}
	words := &Dataset{Task: Task{Kind: head.TokenClassification, Labels: []string{"O", "B-X"}}, Examples: []Example{
		{Text: "bb a bb", Words: []string{"bb", "a", "bb"}, Labels: []int32{1, -1, 0}}, {Text: "a", Words: []string{"a"}, Labels: []int32{1}},
	}}
	if enc, err = Encode(words, tok, 6); err != nil {
		t.Fatal(err)
	}
	enc.Fill(&b, []int32{0, 1})
	if !slices.Equal(b.TokenLabels, []int32{-1, 1, -1, -1, 0, -1, -1, 1, -1}) {
		t.Errorf("%v for %v", b.TokenLabels, b.IDs)
	}
	if enc, err = Encode(words, tok, 5); err != nil { // the last word is cut off
		t.Fatal(err)
	}
	logits := make([]float32, 2*enc.Tokens())
	for i := range enc.Tokens() {
		logits[2*i+1] = 1 // B-X everywhere
	}
	o := enc.Outcome(logits, 2)
	if !slices.Equal(o.Predicted, []int32{1, 0, 1}) || !slices.Equal(o.Want, []int32{1, 0, 1}) || !slices.Equal(o.Unit, []int32{0, 0, 1}) {
		t.Errorf("%+v", o)
	}
}

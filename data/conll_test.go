package data

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/tokenize"
)

// readWords reads a file of words and writes its sentences as word/label, with
// "." between words and "; " between sentences.
func readWords(t *testing.T, name, content string, o ReadOptions) (string, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	ds, err := Read(path, task(t, "tokens"), o)
	if err != nil {
		return "", err
	}
	var sentences []string
	for _, e := range ds.Examples {
		var words []string
		for i, w := range e.Words {
			if i < len(e.Labels) {
				w += "/" + ds.Task.Labels[e.Labels[i]]
			}
			words = append(words, w)
		}
		sentences = append(sentences, strings.Join(words, "."))
	}
	return strings.Join(sentences, "; "), nil
}

const conllu = "# sent_id = 1\n# text = vámonos al mar\n1-2\tvámonos\t_\t_\t_\t_\t_\t_\t_\t_\n1\tvamos\tir\tVERB\tv\t_\t0\troot\t_\tB-X\n2\tnos\tnos\tPRON\tp\t_\t1\tobj\t_\t_\n" +
	"# within\n3\t10 000\t_\tNUM\tm\t_\t1\tobj\t_\t_\n3.1\tsee\t_\tVERB\tv\t_\t_\t_\t_\t_\n\n# newdoc\n1\t#\t#\tSYM\ts\t_\t0\troot\t_\tB-Y\n"

func TestCoNLL(t *testing.T) {
	t.Parallel()
	need := ReadOptions{RequireLabels: true}
	column := func(name string) ReadOptions { return ReadOptions{RequireLabels: true, LabelColumn: name} }
	for _, c := range []struct {
		name, content string
		o             ReadOptions
		want          string // or what the error says
	}{
		{"comments", "# sent_id = 1\na\tO\nb\tB-X\n", need, "a/O.b/B-X"},
		{"comments of three words", "# id 1\na O\n\n# id 2\nb O\n# the end\n", need, "x.conll:6: a comment inside of a sentence"},
		{"comments between sentences", "# id 1\na O\n\n# id 2\n# text b\nb O\n\n# the end\n", need, "a/O; b/O"},
		{"a comment with as many columns as words", "# a = b\nx NN B-NP O\n\n# newdoc\n", need, "x/O"},
		{"CoNLL-U's comments in a file of two columns", "# newdoc\n# newpar\nx O\n", need, "x/O"},
		{"documents of CoNLL-2012", "#begin document (a); part 000\nx O\n\n#end document\n", need, "x/O"},
		{"words that begin with #", "# O\n1 O\n#tag B-X\n\n#tag B-X\n", need, "#/O.1/O.#tag/B-X; #tag/B-X"},
		{"words that begin with # in a file of tabs", "#\tO\nx\tO\n", need, "#/O.x/O"},
		{"words that begin with #, without labels", "#\n#a\nb\n", ReadOptions{}, "#.#a.b"},
		{"a no-break space inside of a word", "10\u00a0000 B-NUM\nboats O\n", need, "10\u00a0000/B-NUM.boats/O"},
		{"other white space inside of words", "a\u2009b\tO\na\u3000b\tO\na\u2028b\tO\na\u0085b\tO\na\vb\tO\n", need, "a\u2009b/O.a\u3000b/O.a\u2028b/O.a\u0085b/O.a\vb/O"},
		{"several spaces and tabs", "a \t B-X \n  b\t\tO\r\n", need, "a/B-X.b/O"},
		{"white space at the ends of lines", "a\tO \t\r\nb\tO\t\r\n \t\r\nc\tO\r\n", need, "a/O.b/O; c/O"},
		{"a word of two words", "x B-X\nNew York O\n", need, "x.conll:2: found 3 columns, the sentence's first word has 2"},
		{"a label that is missing after other columns", "x NN B-NP B-X\ny NN O\n", need, "x.conll:2: found 3 columns, the sentence's first word has 4"},
		{"other columns in another sentence", "x NN B-X\n\ny O\n", need, "x/B-X; y/O"},
		{"other columns behind the label", "x B-X\ny O note\n", column("2"), "x/B-X.y/O"},
		{"columns by spaces", "-DOCSTART- -X- -X- O\n\nEU NNP B-NP B-ORG\n", need, "EU/B-ORG"},
		{"columns by tabs, one within with a space", "EU\ta b\tB-ORG\n", need, "EU/B-ORG"},
		{"-DOCSTART- with tabs, and no empty line", "-DOCSTART-\tO\na\tO\n-DOCSTART-\tO\nb\tO\n", need, "a/O; b/O"},
		{"spaces and tabs that divide", "EU NNP\tB-ORG\n", need, `x.conll:1: "EU NNP" has a space: columns are divided by tabs, or by spaces`},
		{"another column", "EU NNP B-NP B-ORG\n", column("2"), "EU/NNP"},
		{"a column that is not there", "EU NNP B-ORG\n", column("4"), `x.conll:1: the column of the label is "4", expected a number from 2 to 3`},
		{"a column without a name", "EU NNP B-ORG\n", column("pos"), `the column of the label is "pos", expected a number`},
		{"words that are numbered", "1\tAufgrund\tO\n2\tseiner\tO\n", need, "x.conll:1: the first column numbers the words, expected the word there"},
		{"words that are numbers", "1 O\n2 O\n", need, "1/O.2/O"},
		{"CoNLL-U", conllu, need, "vamos/VERB.nos/PRON.10 000/NUM; #/SYM"},
		{"CoNLL-U, another column", conllu, column("deprel"), "vamos/root.nos/obj.10 000/obj; #/root"},
		{"CoNLL-U, entities", conllu, column("MISC"), "vamos/B-X.nos/_.10 000/_; #/B-Y"},
		{"CoNLL-U, no such column", conllu, column("ner"), `x.conll:1: expected the columns FORM and "ner", found "ID", "FORM"`},
		{"CoNLL-U without UPOS", "1\ta\t_\t_\t_\t_\t_\t_\t_\t_\n", ReadOptions{}, "a"},
		{"CoNLL-U without UPOS where it is needed", "1\ta\t_\t_\t_\t_\t_\t_\t_\t_\n", need, `the labels are missing`},
		{"CoNLL-U with too few columns", conllu + "2\ta\n", need, "x.conll:12: found 2 columns, expected 10 with tabs between them"},
		{"CoNLL-U with spaces", strings.ReplaceAll("1\ta\t_\tX\t_\t_\t_\t_\t_\t_\n2\ta\t_\tX\t_\t_\t_\t_\t_\t_\n", "\t", " "), need, "the first column numbers the words"},
		{"CoNLL-U with another ID", conllu + "x\ta\t_\tX\t_\t_\t_\t_\t_\t_\n", need, `x.conll:12: the ID is "x", expected a number`},
		{"CoNLL-U Plus", "# global.columns = ID FORM UPOS NER\n1\ta\tX\tB-X\n2\tb\tY\tO\n", column("ner"), "a/B-X.b/O"},
		{"white space of its own", "a O\n\u00a0 O\n", need, `word 2 is "\u00a0", expected more than white space`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := readWords(t, "x.conll", c.content, c.o)
			if err != nil {
				got = err.Error()
			}
			if got != c.want && (err == nil || !strings.Contains(got, c.want)) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestWordsOfJSON(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		content, want string
		o             ReadOptions
	}{
		{`{"tokens": ["10 000", "10\u00a0000", "New  York"], "labels": ["O", "O", "B-X"]}`, "10 000/O.10\u00a0000/O.New  York/B-X", ReadOptions{}},
		{`{"tokens": ["a", "b"], "pos_tags": ["X", "Y"], "ner_tags": ["O", "O"]}`, "a/X.b/Y", ReadOptions{LabelColumn: "pos_tags"}},
		{`{"tokens": ["a", "b"], "pos_tags": ["X", "Y"], "ner_tags": ["O", "O"]}`, "a/O.b/O", ReadOptions{TextColumn: "text", LabelColumn: "label"}},
		{`{"forms": ["a"], "ner_tags": ["O"]}`, "a/O", ReadOptions{TextColumn: "forms"}},
	} {
		if got, err := readWords(t, "x.jsonl", c.content, c.o); err != nil || got != c.want {
			t.Errorf("%s: %q (%v), want %q", c.content, got, err, c.want)
		}
	}
}

// A word's label stands at its first token, whatever white space is in the word.
func TestLabelsOfWordsWithWhiteSpace(t *testing.T) {
	t.Parallel()
	tok, err := tokenize.NewWordPiece([]string{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c"}, true)
	if err != nil {
		t.Fatal(err)
	}
	words := Task{Kind: head.TokenClassification, Labels: []string{"X", "Y", "O"}}
	ds := &Dataset{Task: words, Examples: []Example{{Text: "a b c\u00a0\u00a0b a c", Words: []string{"a b", "c\u00a0\u00a0b", "a", "c"}, Labels: []int32{0, 1, 2, 0}}}}
	enc, err := Encode(ds, tok, 7)
	if err != nil {
		t.Fatal(err)
	}
	var b Batch
	enc.Fill(&b, []int32{0})
	for i, want := range []int32{-1, 0, -1, 1, -1, 2, -1} { // [CLS] a b c b a [SEP]
		if b.TokenLabels[i] != want {
			t.Fatalf("labels of tokens %v", b.TokenLabels)
		}
	}
	// The last word lies beyond the maximum length: it is measured as "O", and
	// where no label is "O" as wrong.
	rows := make([]float32, 7*3)
	for _, c := range []struct {
		labels []string
		want   int32
	}{{words.Labels, 2}, {[]string{"X", "Y", "Z"}, -1}} {
		enc.Task.Labels = c.labels
		o := enc.Outcome(rows, 3)
		if got := o.Predicted[3]; got != c.want {
			t.Errorf("the word that was cut off is %d, want %d", got, c.want)
		}
	}
	ds.Examples[0].Words[1] = "d"
	if _, err := Encode(ds, tok, 7); err == nil || !strings.Contains(err.Error(), `word 2, "d", is not where the text has it`) {
		t.Error(err)
	}
}

package data

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/skive-ml/skive/tokenize"
)

func readContent(t *testing.T, file, task, content string, o ReadOptions) (*Dataset, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), file)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	known, err := TaskByName(task)
	if err != nil {
		t.Fatal(err)
	}
	return Read(path, known, o)
}

// The forms that Hugging Face's datasets library writes with to_json and to_csv
// give the examples of the benchmarks' own.
func TestHubForms(t *testing.T) {
	t.Parallel()
	const record = `"passage": "New York is big.\n@highlight\nÉva left", "query": "@placeholder is a city"`
	for _, c := range []struct {
		name, task, file, content, want string
	}{
		{"WSC", "wsc", "x.jsonl", `{"text": "Anna told Ben a lie . He should stop .", "span1_index": 0, "span2_index": 5, "span1_text": "Anna", "span2_text": "He", "idx": 0, "label": 0}`,
			"* Anna * told Ben a lie . # He # should stop .=0"},
		{"WSC, an index that counts otherwise, and several places", "wsc", "x.jsonl", `{"text": "He said : Kay Lee . He left , he .", "span1_index": 2, "span2_index": 5, "span1_text": "kay lee", "span2_text": "he", "label": 0}`,
			"He said : * Kay Lee * . # He # left , he .=0"},
		{"WSC, a span that is nowhere", "wsc", "x.jsonl", `{"text": "Kamenev saw Zinoviev . They left .", "span1_index": 0, "span2_index": 4, "span1_text": "Kamenev and Zinoviev", "span2_text": "They", "label": 0}`,
			"* Kamenev saw Zinoviev * . # They # left .=0"},
		{"WSC, the pronoun first", "wsc", "x.jsonl", `{"text": "He said Ben left.", "span1_index": 2, "span2_index": 0, "span1_text": "Ben", "span2_text": "He", "idx": 0, "label": -1}`,
			"# He # said * Ben * left.=-1"},
		{"WSC as CSV", "wsc", "x.csv", "text,span1_index,span2_index,span1_text,span2_text,idx,label\n\"Anna said, he left .\",0,2,Anna,he,0,1\n",
			"* Anna * said, # he # left .=1"},
		{"MultiRC", "multirc", "x.jsonl", `{"paragraph":"p","question":"q","answer":"a","idx":{"paragraph":3,"question":7,"answer":0},"label":1}` + "\n" +
			`{"paragraph":"p","question":"r","answer":"c","idx":{"paragraph":3,"question":8,"answer":0},"label":0}` + "\n" +
			`{"paragraph":"p","question":"q","answer":"b","idx":{"paragraph":3,"question":7,"answer":1},"label":-1}`, "p|q a=1; p|r c=0#1; p|q b=-1"},
		{"MultiRC as CSV", "multirc", "x.csv", "paragraph,question,answer,idx,label\np,q,a,\"{'paragraph': 0, 'question': 0, 'answer': 0}\",1\np,q,b,\"{'paragraph': 0, 'question': 1, 'answer': 0}\",0\n",
			"p|q a=1; p|q b=0#1"},
		{"MultiRC, flattened", "multirc", "x.csv", "paragraph,question,answer,idx.paragraph,idx.question,idx.answer,label\np,q,a,0,0,0,1\np,q,b,0,1,0,0\n", "p|q a=1; p|q b=0#1"},
		{"MultiRC without numbers", "multirc", "x.jsonl", `{"paragraph":"p","question":"q","answer":"a","label":1}` + "\n" + `{"paragraph":"o","question":"q","answer":"a","label":1}` + "\n" +
			`{"paragraph":"p","question":"q","answer":"b","label":1}`, "p|q a=1; o|q a=1#1; p|q b=1"},
		{"ReCoRD", "record", "x.jsonl", `{` + record + `, "entities": ["New York", "Éva"], "entity_spans": {"text": ["New York", "Éva"], "start": [0, 28], "end": [8, 31]}, "answers": ["York"], "idx": {"passage": 0, "query": 0}}` + "\n" +
			`{` + record + `, "entities": ["Éva"], "answers": ["she", "Éva"], "idx": {"passage": 0, "query": 1}}`,
			"New York is big. Éva left|New York is a city=0(0.6666667); New York is big. Éva left|Éva is a city=0; New York is big. Éva left|Éva is a city=1(1)#1"},
		{"ReCoRD's test set", "record", "x.jsonl", `{` + record + `, "entities": ["Éva"], "answers": []}`, "New York is big. Éva left|Éva is a city=-1"},
		{"WiC", "wic", "x.jsonl", `{"word":"w","sentence1":"a w","sentence2":"w","start1":2,"start2":0,"end1":3,"end2":1,"idx":0,"label":1}`, "w : a * w *|* w *=1"},
		{"WiC as CSV", "wic", "x.csv", "word,sentence1,sentence2,start1,start2,end1,end2,idx,label\nw,a w,w,2,0,3,1,0,0\n", "w : a * w *|* w *=0"},
		{"COPA", "copa", "x.jsonl", `{"premise":"It rained.","choice1":"a","choice2":"b","question":"cause","idx":0,"label":-1}`, "It rained. What was the cause of this?|a|b=-1"},
		{"COPA as CSV", "copa", "x.csv", "premise,choice1,choice2,question,idx,label\nIt rained.,a,b,cause,0,1\n", "It rained. What was the cause of this?|a|b=1"},
		{"BoolQ as CSV", "boolq", "x.csv", "question,passage,idx,label\nq,p,0,1\n", "q|p=1"},
		{"BoolQ's own as CSV", "boolq", "x.csv", "question,answer,passage\nq,True,p\n", "q|p=1"},
		{"CB", "cb", "x.jsonl", `{"premise":"a","hypothesis":"b","idx":0,"label":1}`, "a|b=1"},
		{"RTE", "rte", "x.jsonl", `{"premise":"a","hypothesis":"b","idx":0,"label":1}`, "a|b=1"},
		{"AX-b", "axb", "x.jsonl", `{"sentence1":"a","sentence2":"b","idx":0,"label":1}`, "a|b=1"},
		{"AX-g", "axg", "x.jsonl", `{"premise":"Ann saw him.","hypothesis":"b","idx":0,"label":1}` + "\n" + `{"premise":"Ann saw her.","hypothesis":"b","idx":1,"label":1}` + "\n" +
			`{"premise":"She left.","hypothesis":"c","idx":2,"label":0}` + "\n" + `{"premise":"He left.","hypothesis":"c","idx":3,"label":0}`, "Ann saw him.|b=1; Ann saw her.|b=1; She left.|c=0#1; He left.|c=0#1"},
		{"AX-g with numbers as CSV", "axg", "x.csv", "premise,hypothesis,label,pair_id\na,b,entailment,7\n", "a|b=0#7"},
		{"CoLA", "cola", "x.jsonl", `{"sentence":"a","label":1,"idx":0}`, "a=1"},
		{"MRPC", "mrpc", "x.jsonl", `{"sentence1":"a","sentence2":"b","label":0,"idx":0}`, "a|b=0"},
		{"QQP", "qqp", "x.jsonl", `{"question1":"a","question2":"b","label":1,"idx":0}`, "a|b=1"},
		{"STS-B", "stsb", "x.jsonl", `{"sentence1":"a","sentence2":"b","label":3.25,"idx":0}` + "\n" + `{"sentence1":"a","sentence2":"b","label":-1.0,"idx":0}`, "a|b=0(3.25); a|b=-1"},
		{"MNLI", "mnli", "x.jsonl", `{"premise":"a","hypothesis":"b","label":2,"idx":0}` + "\n" + `{"premise":"a","hypothesis":"b","label":-1,"idx":0}`, "a|b=2; a|b=-1"},
		{"SNLI as CSV", "snli", "x.csv", "premise,hypothesis,label\na,b,1\nc,d,-1\n", "a|b=1; c|d=-1"},
		{"QNLI", "qnli", "x.jsonl", `{"question":"a","sentence":"b","label":-1,"idx":0}`, "a|b=-1"},
		{"WNLI", "wnli", "x.jsonl", `{"sentence1":"a","sentence2":"b","label":1,"idx":0}`, "a|b=1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ds, err := readContent(t, c.file, c.task, c.content, ReadOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if got := show(ds); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

// Class indices are in the order of the hub's ClassLabel features.
func TestLabelsAreInTheHubsOrder(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"cola": "unacceptable acceptable", "sst2": "negative positive", "mrpc": "not_equivalent equivalent", "qqp": "not_duplicate duplicate",
		"mnli": "entailment neutral contradiction", "snli": "entailment neutral contradiction", "qnli": "entailment not_entailment",
		"rte": "entailment not_entailment", "wnli": "not_entailment entailment", "boolq": "False True", "cb": "entailment contradiction neutral",
		"wic": "False True", "wsc": "False True", "axb": "entailment not_entailment", "axg": "entailment not_entailment",
	} {
		if got := strings.Join(task(t, name).Labels, " "); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func TestHubFormsThatAreRefused(t *testing.T) {
	t.Parallel()
	need := ReadOptions{RequireLabels: true}
	for _, c := range []struct{ task, file, content, want string }{
		{"wsc", "x.jsonl", `{"text": "a b", "span1_text": "a", "label": 0}`, `expected the columns "span1_text" and "span2_text", found "label", "span1_text", "text"`},
		{"wsc", "x.jsonl", `{"text": "a b", "span1_text": "a", "span1_index": 0.5, "span2_text": "b", "span2_index": 1, "label": 0}`, `"span1_index": expected a whole number, found 0.5`},
		{"wsc", "x.jsonl", `{"text": "a b", "span1_text": "a", "span1_index": 5, "span2_text": "b", "span2_index": 1, "label": 0}`, `"a" is given at word 5, but the text has 2 words`},
		{"multirc", "x.jsonl", `{"paragraph": "p", "question": "q", "label": 0}`, `expected the columns "paragraph", "question" and "answer", found`},
		{"multirc", "x.jsonl", `{"paragraph": "p", "question": "q", "answer": "a", "label": -1}`, "label -1 is not a class index"},
		{"record", "x.jsonl", `{"passage": "p", "query": "q", "entities": ["e"], "answers": []}`, "the query has no answers"},
		{"record", "x.jsonl", `{"passage": "p", "query": "q", "answers": ["a"]}`, `expected the key "entities"`},
		{"record", "x.csv", "passage,query,entities,answers\np,q,['e'],['e']\n", `expected a JSON object with "passage"`},
		{"record", "x.jsonl", `{"text": "p", "text_pair": "q", "label": 1}`, `expected the keys "passage" and "qas", or "passage", "query", "entities" and "answers", found "label"`},
		{"wic", "x.csv", "word,sentence1,sentence2,start1,end1,label\nw,a w,w,x,3,0\n", `"start1": expected a whole number, found x`},
		{"stsb", "x.jsonl", `{"sentence1": "a", "sentence2": "b", "label": -1.0}`, `"label": the label is missing (-1.0 means that)`},
		{"snli", "x.jsonl", `{"premise": "a", "hypothesis": "b", "label": -1}`, "no examples: all 1 records were skipped"},
		{"copa", "x.jsonl", `{"premise": "a", "choice1": "a", "choice2": "b", "question": "cause", "label": -1}`, "label -1 is not the number of a choice"},
	} {
		if _, err := readContent(t, c.file, c.task, c.content, need); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %s", c.content, err, c.want)
		}
	}
	ds, err := readContent(t, "x.csv", "snli", "premise,hypothesis,label\na,b,1\nc,d,-1\n", need)
	if err != nil || len(ds.Examples) != 1 || ds.Skipped != 1 {
		t.Errorf("SNLI with a pair without gold label: %v %v", ds, err)
	}
}

// answers encodes a data set and returns the outcome of a model that gives each
// example a class.
func answers(t *testing.T, ds *Dataset, class func(i int) int32) *Outcome {
	t.Helper()
	tok, err := tokenize.NewWordPiece([]string{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}, true)
	if err != nil {
		t.Fatal(err)
	}
	enc, err := Encode(ds, tok, 8)
	if err != nil {
		t.Fatal(err)
	}
	rows := make([]float32, 2*len(ds.Examples))
	for i := range ds.Examples {
		rows[2*i+int(class(i))] = 1
	}
	return enc.Outcome(rows, 2)
}

// The official scorer's values of MultiRC come out of the flat form, in any order
// of its rows; out of rows that say nothing of their question, F1 alone does.
func TestMultiRCByRows(t *testing.T) {
	t.Parallel()
	var golden struct {
		MultiRC []struct {
			Predicted, Want [][]int32
			F1a, EM         float64
		}
	}
	b, err := os.ReadFile("testdata/metrics.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &golden); err != nil {
		t.Fatal(err)
	}
	type row struct {
		flat, general string
		predicted     int32
	}
	for _, g := range golden.MultiRC {
		var rows []row
		for q := range g.Want {
			for a, label := range g.Want[q] {
				rows = append(rows, row{
					fmt.Sprintf(`{"paragraph": "p", "question": "q", "answer": "a", "idx": {"paragraph": %d, "question": %d, "answer": %d}, "label": %d}`, q/4, q, a, label),
					fmt.Sprintf(`{"text": "p", "text_pair": "q%d a", "label": %d}`, q, label), g.Predicted[q][a]})
			}
		}
		rand.New(rand.NewPCG(1, 1)).Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
		var flat, general strings.Builder
		for _, r := range rows {
			flat.WriteString(r.flat + "\n")
			general.WriteString(r.general + "\n")
		}
		for content, metrics := range map[string]map[string]float64{flat.String(): {"f1a": g.F1a, "em": g.EM}, general.String(): {"f1a": g.F1a}} {
			ds, err := readContent(t, "x.jsonl", "multirc", content, ReadOptions{RequireLabels: true})
			if err != nil {
				t.Fatal(err)
			}
			o := answers(t, ds, func(i int) int32 { return rows[i].predicted })
			if names := ds.Task.Metrics(); len(names) != len(metrics) {
				t.Errorf("metrics %v, want %v", names, metrics)
			}
			for name, want := range metrics {
				if got, err := o.Metric(name); err != nil || math.Abs(got-want) > 1e-9 {
					t.Errorf("%s is %v (%v), want %v", name, got, err, want)
				}
			}
		}
	}
}

// ReCoRD's rows earn what the same queries in the official form do.
func TestReCoRDByRows(t *testing.T) {
	t.Parallel()
	official, err := readContent(t, "x.jsonl", "record", `{"passage": {"text": "Ann Lee met Bob", "entities": [{"start": 0, "end": 6}, {"start": 12, "end": 14}]}, "qas": [{"query": "@placeholder a", "answers": [{"text": "Ann"}]}, {"query": "@placeholder b", "answers": [{"text": "Bob"}]}]}`, ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	flat, err := readContent(t, "x.jsonl", "record", `{"passage": "Ann Lee met Bob", "query": "@placeholder a", "entities": ["Ann Lee", "Bob"], "answers": ["Ann"]}`+"\n"+
		`{"passage": "Ann Lee met Bob", "query": "@placeholder b", "entities": ["Ann Lee", "Bob"], "answers": ["Bob"]}`, ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	class := func(i int) int32 { return b2i(i == 0 || i == 3) }
	for name, want := range map[string]float64{"f1": (2.0/3 + 1) / 2, "em": 0.5} {
		a, _ := answers(t, official, class).Metric(name)
		b, _ := answers(t, flat, class).Metric(name)
		if a != b || math.Abs(a-want) > 1e-6 {
			t.Errorf("%s is %v and %v, want %v", name, a, b, want)
		}
	}
	if show(official) != show(flat) {
		t.Errorf("%s, want %s", show(flat), show(official))
	}
}

// AX-g without numbers of pairs: two records in a row are a pair where they
// differ by a pronoun at most; else there is no parity, and the accuracy's
// interval is that of independent examples.
func TestPairsOfAXg(t *testing.T) {
	t.Parallel()
	line := func(premise string, label int) string {
		return fmt.Sprintf(`{"premise": "%s", "hypothesis": "h", "label": %d}`, premise, label) + "\n"
	}
	for _, c := range []struct {
		name, content string
		parity        float64 // -1 where it is left out
	}{
		{"pairs", line("He saw his cat.", 0) + line("She saw her cat.", 0) + line("They left.", 1) + line("He left.", 1), 1},
		{"equal ones", line("a", 0) + line("a", 0) + line("b", 1) + line("b", 1), 1},
		{"another order", line("He left.", 0) + line("He sang.", 0) + line("She left.", 1) + line("She sang.", 1), -1},
		{"an odd number", line("He left.", 0) + line("She left.", 0) + line("He sang.", 1), -1},
		{"numbered pairs", strings.ReplaceAll(line("x", 0), "}", `, "pair_id": 3}`) + strings.ReplaceAll(line("y", 1), "}", `, "pair_id": 4}`) + strings.ReplaceAll(line("z", 0), "}", `, "pair_id": 3}`), 1},
	} {
		ds, err := readContent(t, "x.jsonl", "axg", c.content, ReadOptions{RequireLabels: true})
		if err != nil {
			t.Fatal(err)
		}
		o := answers(t, ds, func(i int) int32 { return int32(ds.Examples[i].Label) })
		if got := slices.Contains(ds.Task.Metrics(), "parity"); got != (c.parity >= 0) {
			t.Errorf("%s: metrics %v", c.name, ds.Task.Metrics())
		}
		if c.parity >= 0 {
			if got, err := o.Metric("parity"); err != nil || got != c.parity {
				t.Errorf("%s: parity %v (%v), want %v", c.name, got, err, c.parity)
			}
		} else if got, _ := o.Interval("accuracy"); got != Wilson(1, len(ds.Examples)) {
			t.Errorf("%s: interval %v", c.name, got)
		}
	}
}

func TestListsOfLabels(t *testing.T) {
	t.Parallel()
	three := ReadOptions{Labels: []string{"x", "y", "z"}}
	lines := func(lists ...string) string {
		var b strings.Builder
		for _, l := range lists {
			fmt.Fprintf(&b, `{"text": "a", "label": %s}`+"\n", l)
		}
		return b.String()
	}
	table := func(fields ...string) string {
		var b strings.Builder
		w := csv.NewWriter(&b)
		w.Write([]string{"text", "label"})
		for _, f := range fields {
			w.Write([]string{"a", f})
		}
		w.Flush()
		return b.String()
	}
	for _, c := range []struct {
		name, file, content string
		o                   ReadOptions
		want                string // labels and all lists, or what the error says
	}{
		{"0 and 1", "x.jsonl", lines("[0, 1]", "[1, 0]", "[1, 0]"), ReadOptions{}, "[0 1] [1] [0] [0]"},
		{"numbers with a point, as the loss wants them", "x.jsonl", lines("[0.0, 1.0, 1.0]", "[0.0, 0.0, 0.0]"), three, "[x y z] [1 2] []"},
		{"truth values", "x.jsonl", lines("[true, false, true]", "null"), three, "[x y z] [0 2] []"},
		{"a label that never holds", "x.jsonl", lines("[1, 0, 0]", "[0, 1, 0]"), ReadOptions{}, "[0 1 2] [0] [1]"},
		{"all of them hold", "x.jsonl", lines("[1, 1, 1]"), three, "[x y z] [0 1 2]"},
		{"indices", "x.jsonl", lines("[0, 1]", "[0]", "[]", "[1]"), ReadOptions{}, "[0 1] [0 1] [0] [] [1]"},
		{"one index each", "x.jsonl", lines("[0]", "[1]"), ReadOptions{}, "[0 1] [0] [1]"},
		{"fewer indices than labels", "x.jsonl", lines("[0, 1]", "[1, 0]"), three, "[x y z] [0 1] [1 0]"},
		{"names", "x.jsonl", lines(`["0", "1"]`, `["1", "0"]`), ReadOptions{Labels: []string{"0", "1"}}, "[0 1] [0 1] [1 0]"},
		{"a list in a field of a CSV", "x.csv", table("[0, 1]", "[1, 0]"), ReadOptions{}, "[0 1] [1] [0]"},
		{"names in a field of a CSV", "x.csv", table(`["x", "z"]`, "y", ""), three, "[x y z] [0 2] [1] []"},
		{"Python's list of names", "x.csv", table("['x', 'z']", "[]", "['y']"), three, "[x y z] [0 2] [] [1]"},
		{"NumPy's list of names", "x.csv", table("['x' 'z']", "['y'\n 'z']"), three, "[x y z] [0 2] [1 2]"},
		{"quotes and other marks in Python's names", "x.csv", table(`["it's", 'a|b']`, `['a, b', '\'"\\ \u00e9\xe9\n']`), ReadOptions{}, "['\"\\ \u00e9\u00e9 a, b a|b it's] [3 2] [1 0]"},
		{"NumPy's 0 and 1", "x.csv", table("[0 1 1]", "[0 0 1]"), three, "[x y z] [1 2] [2]"},
		{"with a point", "x.csv", table("[0. 1. 1.]", "[1. 0.\n 0.]"), three, "[x y z] [1 2] [0]"},
		{"NumPy's truth values", "x.csv", table("[False  True False]"), three, "[x y z] [1]"},
		{"Python's truth values", "x.tsv", "text\tlabel\na\t[False, True, True]\n", three, "[x y z] [1 2]"},
		{"NumPy's indices", "x.csv", table("[0 2]", "[1]"), three, "[x y z] [0 2] [1]"},
		{"a list that NumPy cuts short", "x.csv", table("[0 1 ... 0]"), three, `x.csv:2: "label": expected labels with | between them, or a list such as ["a", "b"], found [0 1 ... 0]`},
		{"names without quotes", "x.csv", table("[x, z]"), three, `expected labels with | between them, or a list such as ["a", "b"], found [x, z]`},
		{"NumPy's numbers by their types", "x.csv", table("[np.int64(1)]"), three, `expected labels with | between them, or a list`},
		{"commas and none", "x.csv", table("[0, 1 1]"), three, `expected labels with | between them, or a list`},
		{"none and commas", "x.csv", table("[0 1, 1]"), three, `expected labels with | between them, or a list`},
		{"a comma at the end", "x.csv", table("['x',]"), three, `expected labels with | between them, or a list`},
		{"nothing between two", "x.csv", table("['x''z']"), three, `expected labels with | between them, or a list`},
		{"a string that does not end", "x.csv", table("['x]"), three, `expected labels with | between them, or a list`},
		{"an escape that is none", "x.csv", table(`['\q']`), three, `expected labels with | between them, or a list`},
		{"Python's list in a string of JSON", "x.jsonl", lines(`"['x']"`), three, `expected a list of labels, found ['x']`},
		{"lists of another length", "x.jsonl", lines("[0, 1, 0, 0]"), three, `x.jsonl:1: "label": expected each label once, or in all lists of the file 0 or 1 for each label, found [0, 1, 0, 0]`},
		{"lists of two lengths", "x.jsonl", lines("[0, 1, 0]", "[1, 0]"), ReadOptions{}, `x.jsonl:1: "label": expected each label once`},
		{"truth values of two lengths", "x.jsonl", lines("[true, false]", "[true]"), ReadOptions{}, `x.jsonl:1: "label": expected an integer or a string, found true`},
		{"a number below 0", "x.jsonl", lines("[-1, 1]", "[2]"), ReadOptions{RequireLabels: true}, `x.jsonl:1: "label": label -1 is below 0, expected the number of a class or a name`},
		{"no list", "x.jsonl", lines("1"), three, `x.jsonl:1: "label": expected a list of labels, found 1`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := ""
			if ds, err := readContent(t, c.file, "multilabel", c.content, c.o); err != nil {
				got = err.Error()
			} else {
				got = fmt.Sprint(ds.Task.Labels)
				for _, e := range ds.Examples {
					got += fmt.Sprint(" ", e.Labels)
				}
			}
			if got != c.want && (c.want[0] == '[' || !strings.Contains(got, c.want)) {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

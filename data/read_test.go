package data

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/skive-ml/skive/head"
)

func task(t testing.TB, name string) Task {
	t.Helper()
	task, err := TaskByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return task
}

// show writes examples as text|pair=label, with further truths in brackets.
func show(ds *Dataset) string {
	var s []string
	for _, e := range ds.Examples {
		x := e.Text
		if e.HasPair {
			x += "|" + e.Pair
		}
		for _, c := range e.Choices {
			x += "|" + c
		}
		x += fmt.Sprintf("=%d", e.Label)
		if e.Labels != nil {
			x += fmt.Sprint(e.Labels)
		}
		if e.Value != 0 {
			x += fmt.Sprintf("(%g)", e.Value)
		}
		if e.Group != 0 {
			x += fmt.Sprintf("#%d", e.Group)
		}
		s = append(s, x)
	}
	return strings.Join(s, "; ")
}

func TestRead(t *testing.T) {
	t.Parallel()
	two := ReadOptions{Labels: []string{"neg", "pos"}}
	for _, c := range []struct {
		name, file, task, content string
		o                         ReadOptions
		want, labels              string
	}{
		{"SST-2", "dev.tsv", "sst2", "sentence\tlabel\na \"b\t1\n\"c\t0\n", ReadOptions{}, `a "b=1; "c=0`, "[negative positive]"},
		{"SST-2 test", "test.tsv", "sst2", "index\tsentence\n0\ta b\n", ReadOptions{}, "a b=-1", "[negative positive]"},
		{"MRPC", "train.tsv", "mrpc", "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\r\n1\t7\t8\ta\tb\r\n", ReadOptions{}, "a|b=1", "[not_equivalent equivalent]"},
		{"CoLA", "train.tsv", "cola", "gj04\t1\t\tHe left.\ngj04\t0\t*\tLeft he.\n", ReadOptions{}, "He left.=1; Left he.=0", "[unacceptable acceptable]"},
		{"CoLA test", "test.tsv", "cola", "index\tsentence\n0\tHe left.\n", ReadOptions{}, "He left.=-1", "[unacceptable acceptable]"},
		{"QQP skips broken lines", "train.tsv", "qqp", "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n1\t2\t3\ta\tb\t1\n4\t5\n6\t7\t8\tc\td\t0\n", ReadOptions{}, "a|b=1; c|d=0", "[not_duplicate duplicate]"},
		{"MNLI", "dev.tsv", "mnli", "index\tsentence1\tsentence2\tlabel1\tgold_label\n0\ta\tb\tx\tcontradiction\n", ReadOptions{}, "a|b=2", "[entailment neutral contradiction]"},
		{"QNLI", "dev.tsv", "qnli", "index\tquestion\tsentence\tlabel\n0\tq\ts\tentailment\n", ReadOptions{}, "q|s=0", "[entailment not_entailment]"},
		{"RTE of GLUE", "dev.tsv", "rte", "index\tsentence1\tsentence2\tlabel\n0\ta\tb\tnot_entailment\n", ReadOptions{}, "a|b=1", "[entailment not_entailment]"},
		{"RTE of SuperGLUE", "val.jsonl", "rte", `{"premise": "a", "hypothesis": "b", "label": "entailment", "idx": 0}`, ReadOptions{}, "a|b=0", "[entailment not_entailment]"},
		{"WNLI", "dev.tsv", "wnli", "index\tsentence1\tsentence2\tlabel\n0\ta\tb\t1\n", ReadOptions{}, "a|b=1", "[not_entailment entailment]"},
		{"BoolQ", "val.jsonl", "boolq", `{"question": "q", "passage": "p", "idx": 0, "label": true}` + "\n", ReadOptions{}, "q|p=1", "[False True]"},
		{"BoolQ's own form", "dev.jsonl", "boolq", `{"question": "q", "title": "T", "answer": false, "passage": "p"}`, ReadOptions{}, "q|T -- p=0", "[False True]"},
		{"CB", "val.jsonl", "cb", `{"premise": "a", "hypothesis": "b", "label": "neutral"}`, ReadOptions{}, "a|b=2", "[entailment contradiction neutral]"},
		{"WiC", "val.jsonl", "wic", `{"word": "w", "sentence1": "a", "sentence2": "b", "label": false}`, ReadOptions{}, "w : a|b=0", "[False True]"},
		{"WiC with places", "val.jsonl", "wic", `{"word": "é", "sentence1": "aé b", "sentence2": "é", "start1": 1, "end1": 2, "start2": 0, "end2": 1, "label": true}`, ReadOptions{}, "é : a* é * b|* é *=1", "[False True]"},
		{"WSC", "train.jsonl", "wsc", `{"text": "Mark told  Pete many lies. He should stop.", "target": {"span1_text": "Mark", "span1_index": 0, "span2_text": "He", "span2_index": 5}, "label": true}`, ReadOptions{}, "* Mark * told  Pete many lies. # He # should stop.=1", "[False True]"},
		{"WSC, spans of several words and before punctuation", "train.jsonl", "wsc", `{"text": "It was his, said the old man.", "target": {"span1_text": "the old man", "span1_index": 4, "span2_text": "his", "span2_index": 2}, "label": false}`, ReadOptions{}, "It was # his #, said * the old man *.=0", "[False True]"},
		{"WSC, another spelling of the span", "train.jsonl", "wsc", `{"text": "Then He left.", "target": {"span1_text": "then", "span1_index": 0, "span2_text": "he", "span2_index": 1}}`, ReadOptions{}, "* Then * # He # left.=-1", "[False True]"},
		{"COPA", "val.jsonl", "copa", `{"premise": "It rained.", "choice1": "a", "choice2": "b", "question": "effect", "label": 1, "idx": 0}`, ReadOptions{}, "It rained. What happened as a result?|a|b=1", "[]"},
		{"MultiRC", "val.jsonl", "multirc", `{"idx": 0, "passage": {"text": "p", "questions": [{"question": "q", "answers": [{"text": "a", "label": 1}, {"text": "b", "label": 0}]}, {"question": "r", "answers": [{"text": "c", "label": 0}]}]}}`, ReadOptions{}, "p|q a=1; p|q b=0; p|r c=0#1", "[0 1]"},
		{"ReCoRD", "val.jsonl", "record", `{"passage": {"text": "New York is big.\n@highlight\nÉva left", "entities": [{"start": 0, "end": 7}, {"start": 28, "end": 30}, {"start": 0, "end": 7}]}, "qas": [{"query": "@placeholder is a city", "answers": [{"text": "York"}]}, {"query": "@placeholder went", "answers": [{"text": "Éva"}, {"text": "she"}]}]}`, ReadOptions{},
			"New York is big. Éva left|New York is a city=0(0.6666667); New York is big. Éva left|Éva is a city=0; New York is big. Éva left|New York went=0#1; New York is big. Éva left|Éva went=1(1)#1", "[0 1]"},
		{"AX-b", "AX-b.jsonl", "axb", `{"sentence1": "a", "sentence2": "b", "label": "not_entailment"}`, ReadOptions{}, "a|b=1", "[entailment not_entailment]"},
		{"AX-g", "AX-g.jsonl", "axg", `{"premise": "a", "hypothesis": "b", "label": "entailment", "pair_id": 7}`, ReadOptions{}, "a|b=0#7", "[entailment not_entailment]"},
		{"STS-B", "dev.tsv", "stsb", "index\tsentence1\tsentence2\tscore\n0\ta\tb\t3.200\n", ReadOptions{}, "a|b=0(3.2)", "[]"},
		{"STS-B test", "test.tsv", "stsb", "index\tsentence1\tsentence2\n0\ta\tb\n", ReadOptions{}, "a|b=-1", "[]"},
		{"MNLI with the hub's label", "dev.csv", "mnli", "sentence1,sentence2,label\na,b,1\n", ReadOptions{}, "a|b=1", "[entailment neutral contradiction]"},
		{"MNLI skips what has no gold label", "dev.tsv", "mnli", "sentence1\tsentence2\tgold_label\na\tb\t-\nc\td\tneutral\n", ReadOptions{RequireLabels: true}, "c|d=1 skipped 1", "[entailment neutral contradiction]"},
		{"SNLI", "snli.jsonl", "snli", `{"gold_label": "-", "sentence1": "a", "sentence2": "b"}` + "\n" + `{"gold_label": "entailment", "sentence1": "a", "sentence2": "b"}`, ReadOptions{}, "a|b=0 skipped 1", "[entailment neutral contradiction]"},
		{"several labels", "x.jsonl", "multilabel", `{"text": "a", "label": ["sad", "angry"]}` + "\n" + `{"text": "b", "label": []}`, ReadOptions{}, "a=0[1 0]; b=0", "[angry sad]"},
		{"several labels in a table", "x.csv", "multilabel", "text,label\na,y|x\nb,\n", ReadOptions{Labels: []string{"x", "y", "z"}}, "a=0[1 0]; b=0", "[x y z]"},
		{"numbers", "x.csv", "regression", "text,label\na,-1.5\nb,2e1\n", ReadOptions{}, "a=0(-1.5); b=0(20)", "[]"},
		{"choices", "x.jsonl", "choice", `{"text": "a", "choices": ["b", "c", "d"], "label": 2}`, ReadOptions{}, "a|b|c|d=2", "[]"},
		{"CoNLL", "x.conll", "tokens", "-DOCSTART- -X- O O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\n\n\nPeter NNP B-NP B-PER\n", ReadOptions{}, "EU rejects=0[0 2]; Peter=0[1]", "[B-ORG B-PER O]"},
		{"words of JSON", "x.jsonl", "tokens", `{"tokens": ["EU", "rejects"], "ner_tags": [1, 0]}`, ReadOptions{Labels: []string{"O", "B-ORG"}}, "EU rejects=0[1 0]", "[O B-ORG]"},
		{"words without labels", "x.txt", "tokens", "EU\nrejects\n", ReadOptions{}, "EU rejects=-1", "[]"},
		{"plain text", "x.txt", "mlm", " = Title = \n \n\n\"Some text\n", ReadOptions{RequireLabels: true}, "= Title ==0; \"Some text=0", "[]"},
		{"text of JSON", "x.jsonl", "mlm", `{"text": "a"}`, ReadOptions{}, "a=0", "[]"},
		{"text", "x.jsonl", "text", "\n{\"text\": \"a\", \"label\": \"pos\"}\r\n\n{\"label\": 0, \"text\": \"b\", \"text_pair\": \"c\"}\n", two, "a=1; b|c=0", "[neg pos]"},
		{"a list", "x.json", "text", "[\n{\"text\": \"a\", \"label\": 1},\n {\"text\": \"b\", \"label\": 0}]\n", ReadOptions{}, "a=1; b=0", "[0 1]"},
		{"CSV", "x.csv", "text", "label,text\r\npos,\"a, \"\"b\"\"\r\nnext line\"\r\nneg,c\r\n", two, "a, \"b\"\nnext line=1; c=0", "[neg pos]"},
		{"TSV of text", "x.tsv", "text", "text\tlabel\n\"a\tpos\n", two, `"a=1`, "[neg pos]"},
		{"named columns", "x.csv", "text", "a,b,c\nx,y,1\n", ReadOptions{TextColumn: "a", PairColumn: "b", LabelColumn: "c", Labels: two.Labels}, "x|y=1", "[neg pos]"},
		{"names in sorted order", "x.csv", "text", "text,label\na,b\nc,a\nd,b\n", ReadOptions{}, "a=1; c=0; d=1", "[a b]"},
		{"integers", "x.csv", "text", "text,label\na,1\nb,0\n", ReadOptions{}, "a=1; b=0", "[0 1]"},
		{"integers from 1 on", "x.csv", "text", "text,label\na,10\nb,1\nc,5\n", ReadOptions{}, "a=2; b=0; c=1", "[1 5 10]"},
		{"integers with gaps", "x.jsonl", "text", "{\"text\": \"a\", \"label\": 10002}\n{\"text\": \"b\", \"label\": 10001}\n", ReadOptions{}, "a=1; b=0", "[10001 10002]"},
		{"an opinion from -1 to 1", "x.csv", "text", "text,label\na,1\nb,-1\nc,0\n", ReadOptions{RequireLabels: true}, "a=2; b=0; c=1", "[-1 0 1]"},
		{"integers that are strings", "x.jsonl", "text", "{\"text\": \"a\", \"label\": \"5\"}\n{\"text\": \"b\", \"label\": 3}\n", ReadOptions{}, "a=1; b=0", "[3 5]"},
		{"codes that are no numbers", "x.csv", "text", "text,label\na,007\nb,07\nc,3\n", ReadOptions{}, "a=1; b=2; c=0", "[3 007 07]"},
		{"names that are integers", "x.csv", "text", "text,label\na,1\nb,5\n", ReadOptions{Labels: []string{"1", "2", "3", "4", "5"}}, "a=0; b=4", "[1 2 3 4 5]"},
		{"another case", "x.csv", "text", "text,label\na,POSITIVE\nb, Negative\n", ReadOptions{Labels: []string{"negative", "positive"}}, "a=1; b=0", "[negative positive]"},
		{"the spelling goes first", "x.csv", "text", "text,label\na,US\nb,us\n", ReadOptions{Labels: []string{"us", "US"}}, "a=1; b=0", "[us US]"},
		{"another case of another script", "x.csv", "text", "text,label\na,ΝΑΙ\nb,όχι\n", ReadOptions{Labels: []string{"ναι", "ΌΧΙ"}}, "a=0; b=1", "[ναι ΌΧΙ]"},
		{"truth values as names", "x.jsonl", "text", "{\"text\": \"a\", \"label\": true}\n{\"text\": \"b\", \"label\": false}\n", ReadOptions{RequireLabels: true}, "a=1; b=0", "[False True]"},
		{"truth values of a model", "x.jsonl", "text", `{"text": "a", "label": true}`, ReadOptions{Labels: []string{"true", "false"}}, "a=0", "[true false]"},
		{"the form of text for a task", "x.jsonl", "sst2", `{"text": "a", "label": "positive"}`, ReadOptions{}, "a=1", "[negative positive]"},
		{"no label", "x.jsonl", "sst2", `{"text": "a", "label": null}`, ReadOptions{}, "a=-1", "[negative positive]"},
		{"-1 is no label", "x.jsonl", "sst2", `{"text": "a", "label": -1}`, ReadOptions{}, "a=-1", "[negative positive]"},
		{"limit", "x.csv", "text", "text,label\na,b\nc,a\nd,b\n", ReadOptions{Limit: 2}, "a=1; c=0", "[a b]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, zipped := range []bool{false, true} {
				content := []byte(c.content)
				if zipped {
					var b bytes.Buffer
					z := gzip.NewWriter(&b)
					z.Write(content)
					z.Close()
					content = b.Bytes()
				}
				path := filepath.Join(t.TempDir(), c.file)
				if err := os.WriteFile(path, content, 0o600); err != nil {
					t.Fatal(err)
				}
				ds, err := Read(path, task(t, c.task), c.o)
				if err != nil {
					t.Fatal(err)
				}
				got := show(ds)
				if ds.Skipped > 0 && c.task != "qqp" {
					got += fmt.Sprintf(" skipped %d", ds.Skipped)
				}
				if got != c.want || fmt.Sprint(ds.Task.Labels) != c.labels {
					t.Errorf("%s %v, want %s %s", got, ds.Task.Labels, c.want, c.labels)
				}
			}
		})
	}
}

func TestReadErrorsNameFileAndLine(t *testing.T) {
	t.Parallel()
	need := ReadOptions{RequireLabels: true}
	for _, c := range []struct {
		file, task, content string
		o                   ReadOptions
		want                string
	}{
		{"x.tsv", "sst2", "", need, "x.tsv: no examples"},
		{"x.tsv", "sst2", "sentence\tlabel\n", need, "x.tsv: no examples"},
		{"x.jsonl", "text", "\n\n", need, "x.jsonl: no examples"},
		{"x.json", "text", "[]", need, "x.json: no examples"},
		{"x.tsv", "sst2", "sentence\tlabel\na\t1\nb\t2\n", need, `x.tsv:3: "label": label 2 is not a class index from 0 to 1`},
		{"x.tsv", "sst2", "sentence\tlabel\na\t-1\n", need, `x.tsv:2: "label": label -1 is not`},
		{"x.tsv", "sst2", "sentence\tlabel\na\tgood\n", need, `x.tsv:2: "label": unknown label "good" (one of "negative", "positive")`},
		{"x.tsv", "sst2", "sentence\tlabel\na\n", need, "x.tsv:2: found 1 fields, expected 2"},
		{"x.tsv", "sst2", "sentence\tlabel\na\t\n", need, `x.tsv:2: "label": the label is empty`},
		{"x.tsv", "sst2", "index\tsentence\n0\ta\n", need, `x.tsv:2: the label is missing: expected the column "label"`},
		{"x.tsv", "sst2", "foo\tbar\n0\ta\n", need, `x.tsv:1: expected the columns "sentence" or "text", found "foo", "bar"`},
		{"x.tsv", "rte", "index\tsentence1\n0\ta\n", need, `expected the columns "sentence1" and "sentence2" or`},
		{"x.csv", "text", "text,text\na,b\n", need, `x.csv:1: two columns are named "text"`},
		{"x.csv", "text", "text,label\na,b\n\"c,d\n", need, "x.csv:3:"},
		{"x.csv", "text", "text,label\na,b\nc\n", need, "x.csv:3: found 1 fields, expected 2"},
		{"x.csv", "text", "text,label\na,b\nc,1\n", need, `x.csv:3: "label": label 1 is an integer, but in line 2 the label is a name`},
		{"x.csv", "text", "text,label\na,0\nc,b\n", need, `x.csv:3: "label": label "b" is a name, but in line 2 the label is an integer`},
		{"x.csv", "text", "text,label\na,b\n", ReadOptions{PairColumn: "second"}, `x.csv:2: expected the column "second"`},
		{"x.csv", "text", "text,label\na,b\nc,b\n", need, `x.csv: all labels are "b"`},
		{"x.jsonl", "text", "{\"text\": \"a\", \"label\": 1}\n{\"text\": 3}\n", ReadOptions{}, `x.jsonl:2: "text": expected a string, found 3`},
		{"x.jsonl", "text", `{"text": "a", "label": 1.5}`, need, `x.jsonl:1: "label": expected an integer or a string, found 1.5`},
		{"x.jsonl", "text", `{"text": "a", "label": 0.5}`, need, `x.jsonl:1: "label": expected an integer or a string, found 0.5`},
		{"x.csv", "text", "text,label\na,1.0\nb,2.5\n", need, `x.csv:3: "label": label 2.5 is a number with a fraction, expected an integer or a name`},
		{"x.csv", "text", "text,label\na,x\nb, \n", need, `x.csv:3: "label": the label is empty`},
		{"x.jsonl", "text", `{"text": "a", "label": ""}`, need, `x.jsonl:1: "label": the label is empty`},
		{"x.jsonl", "text", "{\"text\": \"a\"\n", need, "x.jsonl:1: not valid JSON"},
		{"x.jsonl", "text", "3\n", need, "x.jsonl:1: expected a JSON object"},
		{"x.jsonl", "text", "null\n", need, "x.jsonl:1: expected a JSON object"},
		{"x.json", "text", "[\n{\"text\": \"a\", \"label\": \"b\"},\n\n7]", need, "x.json:4: expected a JSON object"},
		{"x.json", "text", "[{\"text\": \"a\", \"label\": \"b\"}", need, "x.json:1: the list does not end"},
		{"x.json", "text", "[{\"text\": \"a\", \"label\": \"b\"}] x", need, "x.json:1: text follows the list"},
		{"x.tsv", "stsb", "sentence1\tsentence2\tscore\na\tb\t3\na\tb\thigh\n", need, `x.tsv:3: "score": expected a number, found high`},
		{"x.tsv", "stsb", "sentence1\tsentence2\tscore\na\tb\tNaN\n", need, `"score": expected a number, found NaN`},
		{"x.tsv", "stsb", "sentence1\tsentence2\tscore\na\tb\t\n", need, `the label is missing: expected the column "score"`},
		{"x.jsonl", "copa", `{"premise": "a", "choice1": "b", "question": "cause", "label": 0}`, need, `x.jsonl:1: expected the columns "premise", "question", "choice1" and "choice2", found "choice1",`},
		{"x.jsonl", "copa", `{"premise": "a", "choice1": "b", "choice2": "c", "question": "why", "label": 0}`, need, `"question": expected "cause" or "effect", found "why"`},
		{"x.jsonl", "copa", `{"premise": "a", "choice1": "b", "choice2": "c", "question": "cause", "label": 2}`, need, `"label": label 2 is not the number of a choice from 0 to 1`},
		{"x.jsonl", "copa", `{"premise": "a", "choice1": "b", "choice2": "c", "question": "cause"}`, need, `the label is missing`},
		{"x.jsonl", "choice", `{"text": "a", "choices": ["b"], "label": 0}`, need, `"choices": expected two at least, found 1`},
		{"x.csv", "choice", "text,label\na,0\n", need, `x.csv:2: expected a JSON object with "choices"`},
		{"x.jsonl", "multirc", `{"passage": {"text": "p", "questions": [{"question": "q", "answers": [{"text": "a"}]}]}}`, need, "x.jsonl:1: question 1, answer 1: the label is missing"},
		{"x.jsonl", "multirc", `{"passage": {"text": "p", "questions": [{"question": "q", "answers": [{"text": "a", "label": 2}]}]}}`, need, "label 2 is not a class index from 0 to 1"},
		{"x.jsonl", "multirc", `{"passage": 3}`, need, `x.jsonl:1: "passage":`},
		{"x.jsonl", "record", `{"passage": {"text": "p", "entities": [{"start": 0, "end": 1}]}, "qas": []}`, need, "entity 1 is from 0 to 1 of 1 characters"},
		{"x.jsonl", "record", `{"passage": {"text": "p"}, "qas": [{"query": "q"}]}`, need, "query 1: the query has no answers"},
		{"x.jsonl", "wic", `{"word": "w", "sentence1": "a", "sentence2": "b", "start1": 0, "end1": 2, "label": true}`, need, `"start1" and "end1" are 0 and 2, the sentence has 1 characters`},
		{"x.jsonl", "wsc", `{"text": "a b", "target": {"span1_text": "a", "span1_index": 0, "span2_text": "c", "span2_index": 2}, "label": true}`, need, `"target": "c" is given at word 2, but the text has 2 words`},
		{"x.jsonl", "wsc", `{"text": "a b", "target": {}, "label": true}`, need, `"target": expected the columns "span1_text" and "span2_text", found none`},
		{"x.conll", "tokens", "a O\nb\n", need, `x.conll:2: the word "b" has no label`},
		{"x.conll", "tokens", "a\nb O\n", need, `x.conll:2: the word before "b" has no label`},
		{"x.conll", "tokens", "a\n\n", need, `x.conll:1: the labels are missing`},
		{"x.jsonl", "tokens", `{"tokens": ["a", "b"], "labels": ["O"]}`, need, `"labels": 1 labels for 2 words`},
		{"x.jsonl", "tokens", `{"tokens": ["a", " \u00a0"], "labels": ["O", "O"]}`, need, `word 2 is " \u00a0", expected more than white space`},
		{"x.jsonl", "tokens", `{"tokens": [], "labels": []}`, need, `there are no words`},
		{"x.jsonl", "multilabel", `{"text": "a", "label": "x"}`, need, `"label": expected a list of labels, found x`},
		{"x.jsonl", "multilabel", `{"text": "a", "label": ["x", "x"]}`, need, `"label": expected each label once`},
		{"x.jsonl", "multilabel", `{"text": "a", "label": ["z"]}`, ReadOptions{Labels: []string{"x"}}, `"label": unknown label "z"`},
		{"x.txt", "mlm", " \n\n", need, "x.txt: no examples"},
		{"x.txt", "mlm", "a\n\xff\n", need, "x.txt:2: is not valid UTF-8"},
		{"x.tsv", "sst2", "sentence\tlabel\na\t1\n\xff\t1\n", need, "x.tsv:3: is not valid UTF-8"},
		{"x.tsv", "sst2", "\xff\xfes\x00", need, "x.tsv: is UTF-16"},
		{"x.tsv.gz", "sst2", "\x1f\x8b\x08", need, "x.tsv.gz: decompressing"},
		{"x.parquet", "text", "PAR1", need, "x.parquet:1: unknown format"},
	} {
		t.Run(c.want, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), c.file)
			if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Read(path, task(t, c.task), c.o)
			var f *FileError
			if err == nil || !strings.Contains(err.Error(), c.want) || !errors.As(err, &f) {
				t.Errorf("error %v", err)
			}
			if strings.Contains(c.want, "no examples") && !errors.Is(err, ErrEmpty) {
				t.Errorf("%v is not ErrEmpty", err)
			}
		})
	}
	if _, err := Read(filepath.Join(t.TempDir(), "absent.tsv"), task(t, "sst2"), need); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "absent.tsv") {
		t.Error(err)
	}
}

func TestTaskByName(t *testing.T) {
	t.Parallel()
	for _, name := range TaskNames() {
		if got, err := TaskByName(name); err != nil || got.Name != name {
			t.Errorf("%s: %v %v", name, got, err)
		}
	}
	for _, name := range []string{"SST-2", "STS-B", "MultiRC", "AX-b", "ReCoRD", "CoLA"} {
		if _, err := TaskByName(name); err != nil {
			t.Error(err)
		}
	}
	if _, err := TaskByName("nli"); err == nil || !strings.Contains(err.Error(), "sst2") {
		t.Error(err)
	}
	// The caller's labels are its own.
	a := task(t, "sst2")
	a.Labels[0] = "x"
	if task(t, "sst2").Labels[0] != "negative" {
		t.Error("labels are shared")
	}
}

func TestReadBenchmarkFiles(t *testing.T) {
	t.Parallel()
	dir := filepath.Join("..", "..", "shared", "data")
	if _, err := os.Stat(dir); err != nil {
		t.Skip(err)
	}
	for _, c := range []struct {
		file, task string
		rows       int
		counts     []int // by label; nil for a file without labels
	}{
		{"glue/SST-2/train.tsv.gz", "sst2", 67349, []int{29780, 37569}},
		{"glue/SST-2/dev.tsv", "sst2", 872, []int{428, 444}},
		{"glue/SST-2/test.tsv", "sst2", 1821, nil},
		{"glue/MRPC/train.tsv", "mrpc", 3667, []int{1194, 2473}},
		{"glue/MRPC/dev.tsv", "mrpc", 408, []int{129, 279}},
		{"glue/MRPC/test.tsv", "mrpc", 1725, nil},
		{"glue/MRPC/msr_paraphrase_train.txt", "mrpc", 4076, []int{1323, 2753}},
		{"glue/RTE/train.tsv", "rte", 2490, []int{1249, 1241}},
		{"glue/RTE/dev.tsv", "rte", 277, []int{146, 131}},
		{"glue/RTE/test.tsv", "rte", 3000, nil},
		{"glue/QNLI/dev.tsv.gz", "qnli", 5463, []int{2702, 2761}},
		{"glue/QNLI/test.tsv.gz", "qnli", 5463, nil},
		{"superglue/RTE/train.jsonl", "rte", 2490, []int{1249, 1241}},
		{"superglue/RTE/val.jsonl", "rte", 277, []int{146, 131}},
		{"superglue/RTE/test.jsonl.gz", "rte", 3000, nil},
		{"superglue/BoolQ/val.jsonl.gz", "boolq", 3270, []int{1237, 2033}},
		{"superglue/BoolQ/test.jsonl.gz", "boolq", 3245, nil},
		{"boolq-original/dev.jsonl.gz", "boolq", 3270, []int{1237, 2033}},
	} {
		if testing.Short() && c.rows > 2000 {
			continue
		}
		ds, err := Read(filepath.Join(dir, c.file), task(t, c.task), ReadOptions{RequireLabels: c.counts != nil})
		if err != nil {
			t.Error(err)
			continue
		}
		counts := make([]int, len(ds.Task.Labels))
		for _, e := range ds.Examples {
			if e.Label >= 0 {
				counts[e.Label]++
			}
			if e.Text == "" || ds.Task.Pair != e.HasPair || e.HasPair && e.Pair == "" {
				t.Fatalf("%s: %+v", c.file, e)
			}
		}
		if len(ds.Examples) != c.rows || c.counts != nil && !slices.Equal(counts, c.counts) {
			t.Errorf("%s: %d rows, labels %v, want %d, %v", c.file, len(ds.Examples), counts, c.rows, c.counts)
		}
	}
	if testing.Short() {
		return
	}
	a, err := Read(filepath.Join(dir, "superglue/BoolQ/val.jsonl.gz"), task(t, "boolq"), ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := Read(filepath.Join(dir, "boolq-original/dev.jsonl.gz"), task(t, "boolq"), ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if show(a) != show(b) {
		t.Error("the two forms of BoolQ differ")
	}
}

// parseBytes reads the content of a file.
func parseBytes(file string, content []byte, task Task, o ReadOptions) (*Dataset, error) {
	name, text, err := document(file, bytes.NewReader(content), int64(len(content)))
	if err != nil {
		return nil, err
	}
	return parse(file, name, text, task, o)
}

func fuzzRead(f *testing.F, file string, tasks []string, seeds ...string) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		for _, name := range tasks {
			for _, o := range []ReadOptions{{}, {RequireLabels: true, Labels: []string{"a", "b"}}} {
				ds, err := parseBytes(file, content, task(t, name), o)
				if err != nil {
					var f *FileError
					if !errors.As(err, &f) || f.Path != file {
						t.Fatalf("%v names no file", err)
					}
					continue
				}
				if len(ds.Examples) == 0 {
					t.Fatal("an empty data set")
				}
				for _, e := range ds.Examples {
					if ds.Task.Kind == head.SingleLabel && e.Label >= len(ds.Task.Labels) || e.Label < -1 || o.RequireLabels && e.Label < 0 {
						t.Fatalf("label %d of %v", e.Label, ds.Task.Labels)
					}
				}
			}
		}
	})
}

func FuzzTSV(f *testing.F) {
	fuzzRead(f, "x.tsv", []string{"sst2", "cola", "mrpc", "qqp", "text"}, "sentence\tlabel\na\t1\n", "a\t1\t*\tb\n", "\ufeffQuality\t#1 String\t#2 String\r\n1\ta\tb\r\n", "text\tlabel\n\t\n")
}

func FuzzCoNLL(f *testing.F) {
	fuzzRead(f, "x.txt", []string{"tokens", "mlm"}, "a O\n\nb B-X\n", "-DOCSTART-\na\n")
}

func FuzzCSV(f *testing.F) {
	fuzzRead(f, "x.csv", []string{"text", "rte"}, "text,label\na,b\n", "text,label\n\"a\n\",0\n", "premise,hypothesis,label\na,b,1\n")
}

func FuzzJSON(f *testing.F) {
	fuzzRead(f, "x.json", []string{"text", "boolq", "wic", "wsc", "copa", "multirc", "record", "stsb", "multilabel", "choice", "tokens", "mlm", "axg"}, `{"text": "a b", "target": {"span1_text": "a", "span1_index": 0, "span2_text": "b", "span2_index": 1}}`,
		`{"passage": {"text": "p", "entities": [{"start": 0, "end": 0}], "questions": [{"question": "q", "answers": [{"text": "a"}]}]}, "qas": [{"query": "@placeholder", "answers": [{"text": "p"}]}]}`, `{"tokens": ["a"], "labels": ["O"]}`, `{"text": "a", "choices": ["b", "c"], "label": ["x"]}`, `{"text": "a", "label": "b"}`, "[{\"text\": \"a\"},\n{}]", `{"question": "q", "passage": "p", "title": "t", "label": true}`, `{"word": "w", "sentence1": "", "sentence2": "b"}`)
}

func FuzzGzip(f *testing.F) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write([]byte("sentence\tlabel\na\t1\n"))
	z.Close()
	fuzzRead(f, "x.tsv.gz", []string{"sst2"}, b.String())
}

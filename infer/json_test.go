package infer

import (
	"fmt"
	"strings"
	"testing"

	"github.com/skive-ml/skive/head"
)

// Keys are those of an input, exactly. What may be meant for one is refused, and
// anything else is of no concern.
func TestParseInput(t *testing.T) {
	t.Parallel()
	pair := Input{Text: "a", Pair: "b", HasPair: true}
	for _, c := range []struct {
		line string
		want Input
		err  string
	}{
		{"a text", Input{Text: "a text"}, ""},
		{`"quoted"`, Input{Text: `"quoted"`}, ""},
		{`{"text": "a"}`, Input{Text: "a"}, ""},
		{` {"text": "a", "text_pair": "b"} `, pair, ""},
		{`{"text": "a", "text_pair": null}`, Input{Text: "a"}, ""},
		{`{"text": "a", "text_pair": ""}`, Input{Text: "a", HasPair: true}, ""},
		{`{"text": "a", "choices": ["b", "c"]}`, Input{Text: "a", Choices: []string{"b", "c"}}, ""},
		{`{"te\u0078t": "a", "text_pair": "b"}`, pair, ""},
		{`{"id": 7, "label": "x", "text": "a", "meta": {"Text": [1, {"text": 2}]}, "title": "t", "text_pair": "b"}`, pair, ""},
		{`{"text": "a", "next": "b", "ext": "md", "test": true, "context": "c", "text_id": 3, "pair_id": 4, "labels": []}`, Input{Text: "a"}, ""},
		{`{"text": "a", "voices": 1, "textual": true, "": 0, "textpairwise": 1}`, Input{Text: "a"}, ""},
		{`{"Text": "a"}`, Input{}, `unknown key "Text", expected "text"`},
		{`{"text": "a", "TEXT": "b"}`, Input{}, `unknown key "TEXT", expected "text"`},
		{`{"text": "a", "Text_Pair": "b"}`, Input{}, `unknown key "Text_Pair", expected "text_pair"`},
		{`{"text": "a", "txt_pair": "b"}`, Input{}, `unknown key "txt_pair", expected "text_pair"`},
		{`{"text": "a", "textPair": "b"}`, Input{}, `unknown key "textPair", expected "text_pair"`},
		{`{"text": "a", "text-pair": "b"}`, Input{}, `unknown key "text-pair", expected "text_pair"`},
		{`{"text": "a", "text_pairs": "b"}`, Input{}, `unknown key "text_pairs", expected "text_pair"`},
		{`{"text": "a", "text_piar": "b"}`, Input{}, `unknown key "text_piar", expected "text_pair"`},
		{`{"text": "a", "test_pair": "b"}`, Input{}, `unknown key "test_pair", expected "text_pair"`},
		{`{"text": "a", "pair": "b"}`, Input{}, `unknown key "pair", expected "text_pair"`},
		{`{"text": "a", "text2": "b"}`, Input{}, `unknown key "text2", expected "text_pair"`},
		{`{"text": "a", "text_b": "b"}`, Input{}, `unknown key "text_b", expected "text_pair"`},
		{`{"text": "a", "choice": ["b"]}`, Input{}, `unknown key "choice", expected "choices"`},
		{`{"text": "a", "Choices": ["b"]}`, Input{}, `unknown key "Choices", expected "choices"`},
		{`{"text": "a", "text": "b"}`, Input{}, `the key "text" is there twice`},
		{`{"text": "a", "text_pair": "b", "te\u0078t_pair": "c"}`, Input{}, `the key "text_pair" is there twice`},
		{`{"text": "a", "id": 1, "id": 2}`, Input{Text: "a"}, ""},
		{`{"sentence": "a", "label": 1}`, Input{}, `the JSON object has no "text", found "label", "sentence"`},
		{`{"text": null}`, Input{}, `the JSON object has no "text", found "text"`},
		{`{}`, Input{}, `the JSON object has no "text", found none`},
		{`{"text": 5}`, Input{}, `"text": expected a string, found 5`},
		{`{"text": "a", "text_pair": ["b"]}`, Input{}, `"text_pair": expected a string, found ["b"]`},
		{`{"text": "a", "choices": "b"}`, Input{}, `"choices": expected a list of strings, found "b"`},
		{`{"text": "a", "choices": ["b", null]}`, Input{}, `"choices": expected a list of strings, number 2 is null`},
		{`{"text": "a"`, Input{}, `not a JSON object: unexpected end of JSON input`},
		{`{"text": "a"} x`, Input{}, `not a JSON object: invalid character 'x'`},
	} {
		got, err := ParseInput(c.line)
		switch {
		case c.err != "":
			if err == nil || !strings.HasPrefix(err.Error(), c.err) {
				t.Errorf("%s: %v, want %s", c.line, err, c.err)
			}
		case err != nil || fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", c.want):
			t.Errorf("%s: %+v, %v, want %+v", c.line, got, err, c.want)
		}
	}
}

// Whatever names and choices hold, an answer is a line of as many fields as it has.
func TestAnswersAreLines(t *testing.T) {
	t.Parallel()
	one := []float32{1}
	word := func(text, label string) Word { return Word{Text: text, Label: label} }
	for _, c := range []struct {
		kind head.Kind
		p    Prediction
		want string
	}{
		{head.SingleLabel, Prediction{Label: "New York", Probabilities: one}, "New York\t1.0000"},
		{head.SingleLabel, Prediction{Label: "two\nlines", Probabilities: one}, `"two\nlines"` + "\t1.0000"},
		{head.SingleLabel, Prediction{Label: "a\tb\r", Probabilities: one}, `"a\tb\r"` + "\t1.0000"},
		{head.SingleLabel, Prediction{Label: "a\u2028b", Probabilities: one}, `"a\u2028b"` + "\t1.0000"},
		{head.SingleLabel, Prediction{Label: `"a"`, Probabilities: one}, `"\"a\""` + "\t1.0000"},
		{head.SingleLabel, Prediction{Label: `say "a"\n`, Probabilities: one}, `say "a"\n` + "\t1.0000"},
		{head.MultipleChoice, Prediction{Label: "it\nrained", Probabilities: one}, `"it\nrained"` + "\t1.0000"},
		{head.MultiLabel, Prediction{Labels: []string{"a\tb", "c d"}}, `"a\tb"` + "\tc d"},
		{head.MultiLabel, Prediction{}, ""},
		{head.TokenClassification, Prediction{Words: []Word{word("w5", "B-PER"), word("w6", "of a\nkind"), word("w7", "two words"), word("w8", "")}},
			`w5/B-PER w6/"of a\nkind" w7/"two words" w8/`},
		{head.MaskedLM, Prediction{Masks: [][]Fill{{{Token: "a\n", Probability: 1}, {Token: ",", Probability: 0}}, {{Token: "b", Probability: 1}}}},
			`"a\n" 1.0000, , 0.0000` + "\tb 1.0000"},
	} {
		if got := c.p.Text(c.kind); got != c.want {
			t.Errorf("%s: %q, want %q", c.kind, got, c.want)
		}
	}
}

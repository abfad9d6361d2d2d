package infer

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/internal/textkeys"
)

// ParseInput reads an input from a line. A line that begins with { is a JSON object
// with "text" and perhaps "text_pair" or "choices"; any other line is plain text. Other
// keys are ignored, unless one looks like a misspelling of these, which is an error.
func ParseInput(line string) (Input, error) {
	if !strings.HasPrefix(strings.TrimSpace(line), "{") {
		return Input{Text: line}, nil
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal([]byte(line), &object); err != nil {
		return Input{}, fmt.Errorf("not a JSON object: %w", err)
	}
	if err := checkKeys(line, object); err != nil {
		return Input{}, err
	}
	var (
		text, pair *string
		choices    []*string
	)
	for _, field := range []struct {
		key  string
		to   any
		want string
	}{{"text", &text, "a string"}, {"text_pair", &pair, "a string"}, {"choices", &choices, "a list of strings"}} {
		if raw, ok := object[field.key]; ok && json.Unmarshal(raw, field.to) != nil {
			return Input{}, fmt.Errorf("%q: expected %s, found %.40s", field.key, field.want, raw)
		}
	}
	if text == nil {
		return Input{}, fmt.Errorf(`the JSON object has no "text", found %s`, foundKeys(object))
	}
	input := Input{Text: *text}
	if pair != nil {
		input.Pair, input.HasPair = *pair, true
	}
	for i, c := range choices {
		if c == nil {
			return Input{}, fmt.Errorf(`"choices": expected a list of strings, number %d is null`, i+1)
		}
		input.Choices = append(input.Choices, *c)
	}
	return input, nil
}

// checkKeys reports duplicate keys of an input, and keys that look like a misspelling.
func checkKeys(line string, object map[string]json.RawMessage) error {
	for _, key := range slices.Sorted(maps.Keys(object)) {
		if meant := textkeys.Meant(key); meant != "" {
			return fmt.Errorf("unknown key %q, expected %q", key, meant)
		}
	}
	// The line is an object: a brace, then keys and values in turn.
	d := json.NewDecoder(strings.NewReader(line))
	seen := map[json.Token]bool{}
	var value json.RawMessage
	for d.Token(); d.More(); d.Decode(&value) {
		key, _ := d.Token()
		if seen[key] && slices.Contains(textkeys.All, key.(string)) {
			return fmt.Errorf("the key %q is there twice", key)
		}
		seen[key] = true
	}
	return nil
}

// foundKeys lists the keys of an object, shortened if there are many.
func foundKeys(object map[string]json.RawMessage) string {
	var found []string
	for _, key := range slices.Sorted(maps.Keys(object)) {
		if found = append(found, fmt.Sprintf("%.40q", key)); len(found) == 8 {
			break
		}
	}
	if len(found) == 0 {
		return "none"
	}
	return strings.Join(found, ", ")
}

// Document returns the answer of a head of this kind as a value for package json.
func (p *Prediction) Document(kind head.Kind) any { return shown[kind].document(p) }

// Text returns the answer of a head of this kind as a line of text.
func (p *Prediction) Text(kind head.Kind) string { return shown[kind].text(p) }

// form is how a head's answer is shown.
type form struct {
	document func(p *Prediction) any
	text     func(p *Prediction) string
}

var shown = map[head.Kind]form{
	head.SingleLabel: {func(p *Prediction) any { return classDocument(p) }, classText},
	head.MultiLabel: {
		func(p *Prediction) any {
			document := classDocument(p)
			labels := append([]string{}, p.Labels...)
			document.Labels = &labels
			return document
		},
		func(p *Prediction) string {
			var fields []string
			for _, label := range p.Labels {
				fields = append(fields, field(label, "\t"))
			}
			return strings.Join(fields, "\t")
		},
	},
	head.Regression: {
		func(p *Prediction) any {
			return struct {
				Value  float32   `json:"value"`
				Logits []float32 `json:"logits"`
			}{p.Logits[0], p.Logits}
		},
		func(p *Prediction) string { return fmt.Sprintf("%.4f", p.Logits[0]) },
	},
	head.MultipleChoice:      {func(p *Prediction) any { return classDocument(p) }, classText},
	head.TokenClassification: {wordsDocument, wordsText},
	head.MaskedLM:            {masksDocument, masksText},
}

// field writes a name as a field of a line. A name that contains the separator or a
// line break, or begins with a quotation mark, becomes a JSON string.
func field(name, separator string) string {
	breaks := func(r rune) bool { return r < ' ' || r == '\u2028' || r == '\u2029' }
	if !strings.HasPrefix(name, `"`) && !strings.Contains(name, separator) && !strings.ContainsFunc(name, breaks) {
		return name
	}
	quoted, _ := json.Marshal(name) // a string can always be marshalled
	return string(quoted)
}

// predictedClass is the document of a class, a choice or labels.
type predictedClass struct {
	Label         string    `json:"label"`
	Index         int       `json:"index"`
	Logits        []float32 `json:"logits"`
	Probabilities []float32 `json:"probabilities"`
	Labels        *[]string `json:"labels,omitempty"`
}

func classDocument(p *Prediction) predictedClass {
	return predictedClass{p.Label, p.Index, p.Logits, p.Probabilities, nil}
}

func classText(p *Prediction) string {
	return fmt.Sprintf("%s\t%.4f", field(p.Label, "\t"), p.Probabilities[p.Index])
}

// predictedWord is a word of a document. Label is null where the model gives the word
// none.
type predictedWord struct {
	Word        string  `json:"word"`
	Label       *string `json:"label"`
	Probability float32 `json:"probability"`
	Start       int     `json:"start"`
	End         int     `json:"end"`
}

func wordsDocument(p *Prediction) any {
	words := make([]predictedWord, len(p.Words))
	for i := range p.Words {
		word := &p.Words[i]
		words[i] = predictedWord{word.Text, nil, word.Probability, word.Start, word.End}
		if word.Index >= 0 {
			words[i].Label = &word.Label
		}
	}
	return struct {
		Words []predictedWord `json:"words"`
	}{words}
}

func wordsText(p *Prediction) string {
	var fields []string
	for _, word := range p.Words {
		fields = append(fields, word.Text+"/"+field(word.Label, " "))
	}
	return strings.Join(fields, " ")
}

// predictedToken is a proposed token for a mask in a document.
type predictedToken struct {
	Token       string  `json:"token"`
	ID          int32   `json:"id"`
	Probability float32 `json:"probability"`
}

func masksDocument(p *Prediction) any {
	masks := make([][]predictedToken, len(p.Masks))
	for i, fills := range p.Masks {
		for _, f := range fills {
			masks[i] = append(masks[i], predictedToken(f))
		}
	}
	return struct {
		Masks [][]predictedToken `json:"masks"`
	}{masks}
}

func masksText(p *Prediction) string {
	var fields []string
	for _, fills := range p.Masks {
		var tokens []string
		for _, f := range fills {
			tokens = append(tokens, fmt.Sprintf("%s %.4f", field(f.Token, "\t"), f.Probability))
		}
		fields = append(fields, strings.Join(tokens, ", "))
	}
	return strings.Join(fields, "\t")
}

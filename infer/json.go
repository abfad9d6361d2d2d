package infer

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/skive-ml/skive/head"
)

// ParseInput reads an input from a line: plain text, or an object of JSON if it begins with
// {, with "text" and perhaps "text_pair" or "choices".
func ParseInput(line string) (Input, error) {
	if !strings.HasPrefix(strings.TrimSpace(line), "{") {
		return Input{Text: line}, nil
	}
	var object struct {
		Text    *string  `json:"text"`
		Pair    *string  `json:"text_pair"`
		Choices []string `json:"choices"`
	}
	if err := json.Unmarshal([]byte(line), &object); err != nil {
		return Input{}, fmt.Errorf("not a JSON object: %w", err)
	}
	if object.Text == nil {
		return Input{}, fmt.Errorf(`the JSON object has no "text"`)
	}
	input := Input{Text: *object.Text, Choices: object.Choices}
	if object.Pair != nil {
		input.Pair, input.HasPair = *object.Pair, true
	}
	return input, nil
}

// Document is the answer of a head of the kind as a document for package json.
func (p *Prediction) Document(kind head.Kind) any { return shown[kind].document(p) }

// Text is the answer of a head of the kind as a line.
func (p *Prediction) Text(kind head.Kind) string { return shown[kind].text(p) }

// form is how what a head answers is shown.
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
		func(p *Prediction) string { return strings.Join(p.Labels, "\t") },
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
	return fmt.Sprintf("%s\t%.4f", p.Label, p.Probabilities[p.Index])
}

// predictedWord is a word of a document; Label is null where the
// model says nothing of it.
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
		fields = append(fields, word.Text+"/"+word.Label)
	}
	return strings.Join(fields, " ")
}

// predictedToken is a token in the place of a mask in a document.
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
			tokens = append(tokens, fmt.Sprintf("%s %.4f", f.Token, f.Probability))
		}
		fields = append(fields, strings.Join(tokens, ", "))
	}
	return strings.Join(fields, "\t")
}

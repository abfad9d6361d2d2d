package data

import (
	"fmt"

	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/tokenize"
)

// kind says what this package does for a kind of head.
type kind struct {
	// lines reads a file that is neither a table nor JSON. It is nil if such files are tables.
	// tsv says whether a .tsv is read by lines, too.
	lines func(content []byte, o ReadOptions) (rows, error)
	tsv   bool
	// records makes the examples of a record. It is nil if a record is one example, with a text
	// or a pair and a label. label then sets the true answer from the label's cell.
	records func(p *parser, r row, line int) ([]Example, error)
	label   func(p *parser, e *Example, c cell, column string, line int) error
	// encode appends an example.
	encode func(p *encodedPart, e *tokenize.Encoding, ex *Example, tok *tokenize.Tokenizer, maxLength int) error
	// targets returns how many numbers of a batch's Targets an example has, and target sets them.
	// Both are nil if there are none.
	targets func(t Task) int
	target  func(ex *Example, to []float32)
	// metrics returns the metrics that an outcome has.
	metrics func(o *Outcome) map[string]func(*Outcome) float64
	// measure appends a model's answer to example i, and answered makes that answer the example's
	// label. Both are nil if the model's outputs are not rows of the examples.
	measure  func(m *measuring, i int, rows []float32)
	answered func(e *Encoded, ex *Example, i int, rows []float32, columns int)
	// order sorts examples so that similar ones are adjacent.
	order func(a, b *Example) int
}

var kinds = map[head.Kind]kind{
	head.SingleLabel: {
		order: byLabel,
		label: func(p *parser, e *Example, c cell, column string, line int) (err error) {
			if p.def.noGold && (c.text == "-" || wholeNumber(c.text) == "-1" && p.o.RequireLabels) {
				return errSkip
			}
			e.Label, err = p.label(c, column, line)
			return err
		},
		encode:   (*encodedPart).text,
		metrics:  classMetrics,
		measure:  (*measuring).class,
		answered: chosen,
	},
	head.MultiLabel: {
		order: byLabels,
		label: func(p *parser, e *Example, c cell, column string, line int) (err error) {
			e.Label, e.Labels, err = p.several(c, column, line)
			return err
		},
		encode:  (*encodedPart).text,
		targets: func(t Task) int { return len(t.Labels) },
		target: func(ex *Example, to []float32) {
			for _, l := range ex.Labels {
				to[l] = 1
			}
		},
		metrics: func(*Outcome) map[string]func(*Outcome) float64 {
			return map[string]func(*Outcome) float64{
				"f1_micro": ofClasses(F1), "f1_macro": (*Outcome).labelF1, "accuracy": (*Outcome).exactMatch,
			}
		},
		measure: (*measuring).labels,
		answered: func(_ *Encoded, ex *Example, _ int, rows []float32, _ int) {
			ex.Labels = nil
			for l, x := range rows {
				if x > 0 {
					ex.Labels = append(ex.Labels, int32(l))
				}
			}
		},
	},
	head.Regression: {
		order: byValue,
		label: func(p *parser, e *Example, c cell, column string, _ int) (err error) {
			e.Label, e.Value, err = p.value(c, column)
			return err
		},
		encode:  (*encodedPart).text,
		targets: func(Task) int { return 1 },
		target:  func(ex *Example, to []float32) { to[0] = ex.Value },
		metrics: func(*Outcome) map[string]func(*Outcome) float64 {
			return map[string]func(*Outcome) float64{
				"pearson":  func(o *Outcome) float64 { return Pearson(o.Scores, o.Values) },
				"spearman": func(o *Outcome) float64 { return Spearman(o.Scores, o.Values) },
			}
		},
		measure:  (*measuring).number,
		answered: func(_ *Encoded, ex *Example, _ int, rows []float32, _ int) { ex.Value = rows[0] },
	},
	head.MultipleChoice: {
		order:   byLabel,
		records: choices,
		encode:  (*encodedPart).choices,
		metrics: func(*Outcome) map[string]func(*Outcome) float64 {
			return map[string]func(*Outcome) float64{"accuracy": ofClasses(Accuracy)}
		},
		measure:  (*measuring).choice,
		answered: chosen,
	},
	head.TokenClassification: {
		order:    byLabels,
		lines:    newCoNLL,
		tsv:      true,
		records:  tokens,
		encode:   (*encodedPart).labelled,
		metrics:  wordMetrics,
		measure:  (*measuring).words,
		answered: labelledWords,
	},
	head.MaskedLM: {
		order: byLabel,
		lines: func(content []byte, _ ReadOptions) (rows, error) { return newLines(content), nil },
		label: func(_ *parser, e *Example, _ cell, _ string, _ int) error { e.Label = 0; return nil },
		encode: func(p *encodedPart, e *tokenize.Encoding, ex *Example, tok *tokenize.Tokenizer, _ int) error {
			return p.text(e, ex, tok, 0)
		},
		metrics: func(*Outcome) map[string]func(*Outcome) float64 {
			return map[string]func(*Outcome) float64{"accuracy": ofClasses(Accuracy), "perplexity": (*Outcome).perplexity}
		},
	},
}

// kindOf returns the entry for the kind of a task.
func (t Task) kindOf() (kind, error) {
	k, ok := kinds[t.Kind]
	if !ok {
		return k, fmt.Errorf("task %q: unknown kind %q", t.Name, t.Kind)
	}
	return k, nil
}

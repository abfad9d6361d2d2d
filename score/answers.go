package score

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/settings"
)

// kind is what a column holds.
type kind uint8

const (
	words kind = iota // a string
	whole
	number
	numbers
	names    // a list of strings
	document // anything else, as JSON
)

// value is that of a column in a row.
type value struct {
	text     string
	whole    int
	number   float32
	numbers  []float32
	names    []string
	document any
}

// answer is what a model says of a row.
type answer struct {
	prediction *infer.Prediction
	embedding  []float32
	head       head.Kind
}

// field is a part of an answer that can be a column.
type field struct {
	name string
	kind kind
	// main says that it is one where nobody asks for columns.
	main bool
	of   func(a *answer) value
}

var (
	label         = field{"label", words, true, func(a *answer) value { return value{text: a.prediction.Label} }}
	index         = field{"index", whole, false, func(a *answer) value { return value{whole: a.prediction.Index} }}
	probability   = field{"probability", number, true, func(a *answer) value { return value{number: a.prediction.Probabilities[a.prediction.Index]} }}
	probabilities = field{"probabilities", numbers, false, func(a *answer) value { return value{numbers: a.prediction.Probabilities} }}
	logits        = field{"logits", numbers, false, func(a *answer) value { return value{numbers: a.prediction.Logits} }}
	embedded      = field{"embedding", numbers, true, func(a *answer) value { return value{numbers: a.embedding} }}
	answered      = field{"answer", document, true, func(a *answer) value { return value{document: a.prediction.Document(a.head)} }}
)

func (f field) inMain(main bool) field {
	f.main = main
	return f
}

// fields are the parts of what a head answers.
var fields = map[head.Kind][]field{
	head.SingleLabel: {label, probability, index, probabilities, logits},
	head.MultiLabel: {
		{"labels", names, true, func(a *answer) value { return value{names: a.prediction.Labels} }},
		probabilities.inMain(true), logits,
	},
	head.Regression: {
		{"value", number, true, func(a *answer) value { return value{number: a.prediction.Logits[0]} }},
	},
	head.MultipleChoice:      {index.inMain(true), probability, label.inMain(false), probabilities, logits},
	head.TokenClassification: {answered},
	head.MaskedLM:            {answered},
}

// column is one that is added.
type column struct {
	name  string
	model int
	field
}

// Scorer answers for blocks with the models of its options.
type Scorer struct {
	o       Options
	models  []*opened
	columns []column
}

// opened is a model that is ready.
type opened struct {
	Model
	*infer.Pool
	checkpoint *checkpoints.Model
	sum        string
	embedding  string
	config     checkpoints.Config // as inputs are checked by
	fields     []field
}

// Open opens the models of a job. Close the scorer when no blocks are under way.
func Open(o Options) (*Scorer, error) {
	s := &Scorer{o: o}
	for _, m := range o.Models {
		opened, err := o.open(m)
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		s.models = append(s.models, opened)
	}
	if err := s.addColumns(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (o *Options) open(m Model) (*opened, error) {
	checkpoint, err := checkpoints.Open(m.Path)
	if err != nil {
		return nil, &settings.Error{Field: "Models", Err: err}
	}
	if len(checkpoint.Tokenizer) == 0 {
		return nil, errors.Join(settings.Errorf("Models", "%s: %w", m.Path, infer.ErrNoTokenizer), checkpoint.Close())
	}
	w := &opened{Model: m, checkpoint: checkpoint, sum: checksum(checkpoint), embedding: o.Engine.Embedding, config: checkpoint.Config.Clone()}
	if w.embedding == "" && checkpoint.Config.Sentence != nil {
		w.embedding = infer.OfModel
	}
	engine := infer.PoolOptions{Options: o.Engine, Instances: o.Threads, MaxQueue: 1 << 16}
	engine.Embedding, engine.Threads, engine.PadTo = w.embedding, 0, 0
	pool, err := infer.NewPool(checkpoint, engine)
	w.Pool = pool
	var wrong *settings.Error
	switch {
	case errors.As(err, &wrong):
		err = settings.In("Engine", err)
	case err != nil:
		err = settings.Errorf("Models", "%s: %w", m.Path, err)
	}
	if err != nil {
		return nil, errors.Join(err, checkpoint.Close())
	}
	w.fields = fields[w.config.Head]
	if w.embedding != "" {
		w.config.Head, w.config.Pairs, w.fields = head.SingleLabel, false, []field{embedded}
	}
	return w, nil
}

// Close releases the models.
func (s *Scorer) Close() error {
	var errs []error
	for _, m := range s.models {
		errs = append(errs, m.Pool.Close(), m.checkpoint.Close())
	}
	return errors.Join(errs...)
}

// Notes says what reading the models left out or made up, by their paths.
func (s *Scorer) Notes() map[string][]string {
	notes := map[string][]string{}
	for _, m := range s.models {
		if n := m.Pool.Notes(); len(n) > 0 {
			notes[m.Path] = n
		}
	}
	return notes
}

// checksum tells models apart by all that their answers follow from.
func checksum(m *checkpoints.Model) string {
	h := sha256.New()
	write := func(name string, b []byte) {
		fmt.Fprintf(h, "%q %d\n", name, len(b))
		h.Write(b)
	}
	config, _ := json.Marshal(m.Config) // it has a form
	write("config", config)
	for _, name := range m.Names() {
		t := m.Tensors[name]
		write(fmt.Sprintf("%s %v %v", name, t.DType, t.Shape), t.Data)
	}
	for _, name := range slices.Sorted(maps.Keys(m.Tokenizer)) {
		write(name, m.Tokenizer[name])
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// prefix begins the default names of a model's columns.
func (m *opened) prefix() string {
	switch {
	case m.Name != "":
		return m.Name + "_"
	case m.embedding != "":
		return ""
	}
	return "predicted_"
}

// addColumns finds what is added, under which names.
func (s *Scorer) addColumns() error {
	if len(s.o.Columns) == 0 {
		for i, m := range s.models {
			for _, f := range m.fields {
				if f.main {
					s.columns = append(s.columns, column{m.prefix() + f.name, i, f})
				}
			}
		}
	}
	for _, text := range s.o.Columns {
		c, err := s.column(text)
		if err != nil {
			return err
		}
		s.columns = append(s.columns, c)
	}
	seen := map[string]bool{}
	for _, c := range s.columns {
		if seen[c.name] {
			return settings.Errorf("Columns", "two columns would be called %q", c.name)
		}
		seen[c.name] = true
	}
	return nil
}

// column finds the field of MODEL.FIELD=NAME.
func (s *Scorer) column(text string) (column, error) {
	what, name, named := strings.Cut(text, "=")
	model, wanted, ok := strings.Cut(what, ".")
	if !ok {
		model, wanted = "", what
	}
	var known []string
	for i, m := range s.models {
		if ok && m.Name != model || !ok && len(s.models) > 1 {
			for _, f := range m.fields {
				known = append(known, m.Name+"."+f.name)
			}
			continue
		}
		for _, f := range m.fields {
			if f.name == wanted && !(named && name == "") {
				return column{cmp.Or(name, m.prefix()+f.name), i, f}, nil
			}
			known = append(known, f.name)
		}
	}
	return column{}, settings.Errorf("Columns", "%q, expected FIELD or FIELD=NAME with one of %s", text, strings.Join(known, ", "))
}

// fatal tells whether an error is no single row's.
func fatal(err error) bool {
	var file *infer.ModelFileError
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, infer.ErrClosed) ||
		errors.Is(err, infer.ErrNoTokenizer) || errors.As(err, &file)
}

// ask gets the answers of a model to inputs. An input that it does not answer has its error
// in bad, by its place.
func (m *opened) ask(ctx context.Context, inputs []infer.Input, bad []error) ([]answer, error) {
	answers := make([]answer, len(inputs))
	some := func(lo, hi int) error {
		if m.embedding != "" {
			vectors, err := m.Embed(ctx, inputs[lo:hi])
			for i := range vectors {
				answers[lo+i].embedding = vectors[i]
			}
			return err
		}
		predictions, err := m.Predict(ctx, inputs[lo:hi])
		for i := range predictions {
			answers[lo+i] = answer{prediction: &predictions[i], head: m.config.Head}
		}
		return err
	}
	err := some(0, len(inputs))
	if err == nil || fatal(err) {
		return answers, err
	}
	for i := range inputs {
		if err := some(i, i+1); err != nil {
			if fatal(err) {
				return nil, err
			}
			bad[i] = errors.New(strings.TrimPrefix(err.Error(), "infer: input 0: "))
		}
	}
	return answers, nil
}

// appendJSON appends a value as JSON.
func appendJSON(b []byte, k kind, v *value) []byte {
	switch k {
	case words:
		return appendString(b, v.text)
	case whole:
		return strconv.AppendInt(b, int64(v.whole), 10)
	case number:
		return appendFloat(b, v.number)
	case numbers:
		b = append(b, '[')
		for i, f := range v.numbers {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendFloat(b, f)
		}
		return append(b, ']')
	case names:
		b = append(b, '[')
		for i, s := range v.names {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendString(b, s)
		}
		return append(b, ']')
	}
	text, _ := json.Marshal(v.document) // documents of infer have a form
	return append(b, text...)
}

func appendString(b []byte, s string) []byte {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	e.Encode(s) // a string has a form
	return append(b, bytes.TrimSuffix(buf.Bytes(), []byte{'\n'})...)
}

// appendFloat writes a number as package json does.
func appendFloat(b []byte, f float32) []byte {
	form := byte('f')
	if abs := math.Abs(float64(f)); abs != 0 && (float32(abs) < 1e-6 || float32(abs) >= 1e21) {
		form = 'e'
	}
	n := len(b)
	b = strconv.AppendFloat(b, float64(f), form, -1, 32)
	if n = len(b) - n; form == 'e' && n >= 4 && b[len(b)-4] == 'e' && b[len(b)-3] == '-' && b[len(b)-2] == '0' {
		b[len(b)-2] = b[len(b)-1]
		b = b[:len(b)-1]
	}
	return b
}

// appendField appends a value as a field of a table.
func appendField(b []byte, f format, k kind, v *value) []byte {
	text := v.text
	if k != words {
		text = string(appendJSON(nil, k, v))
	}
	return appendText(b, f, text)
}

// appendText appends a text as a field of a table. In a TSV, which has no quotes, one that would
// end a field or a line is a string of JSON, as in the lines of skive predict.
func appendText(b []byte, f format, text string) []byte {
	switch {
	case f == tab && (strings.ContainsAny(text, "\t\r\n") || strings.HasPrefix(text, `"`)):
		return appendString(b, text)
	case f == comma && (strings.ContainsAny(text, "\",\r\n") || text == ""):
		return append(append(append(b, '"'), strings.ReplaceAll(text, `"`, `""`)...), '"')
	}
	return append(b, text...)
}

// Checksums tell the models apart, in their order.
func (s *Scorer) Checksums() []string {
	var sums []string
	for _, m := range s.models {
		sums = append(sums, m.sum)
	}
	return sums
}

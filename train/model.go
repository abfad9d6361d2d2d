package train

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"strings"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/tokenize"
)

// A LabelError tells that an example's label does not fit the model.
type LabelError struct {
	// Set is "training" or "development", Example the number of the example,
	// counted from 1.
	Set     string
	Example int
	// Label is the class index, -1 for none; Labels are the model's classes.
	Label  int
	Labels []string
}

func (e *LabelError) Error() string {
	if e.Label < 0 {
		return fmt.Sprintf("%s set: example %d has no label", e.Set, e.Example)
	}
	return fmt.Sprintf("%s set: example %d has label %d, the model's %d labels (%s) are 0 to %d",
		e.Set, e.Example, e.Label, len(e.Labels), strings.Join(e.Labels, ", "), len(e.Labels)-1)
}

// Relabel returns a data set, "training" say, with the labels of a model, see
// data.Dataset.Relabel. An example whose label does not fit the model, or that has
// none although it is required, is a *LabelError. A single text is an error where
// the model was trained on pairs.
func Relabel(set string, ds *data.Dataset, cfg checkpoints.Config, required bool) (*data.Dataset, error) {
	if ds.Task.Kind == head.MaskedLM {
		return ds, nil
	}
	if err := cfg.CheckNames(); err != nil {
		return nil, fmt.Errorf("the model's labels: %w", err)
	}
	ds, err := ds.Relabel(cfg.Labels)
	if err == nil {
		err = checkPairs(cfg, ds)
	}
	if err != nil {
		return nil, fmt.Errorf("%s set: %w", set, err)
	}
	for i := range ds.Examples {
		ex, classes := &ds.Examples[i], cfg.Labels
		if ds.Task.Kind == head.MultipleChoice {
			if classes = ex.Choices; len(classes) == 0 {
				return nil, fmt.Errorf("%s set: example %d has no choices, want those of a question", set, i+1)
			}
		}
		wrong := func(label int) error { return &LabelError{Set: set, Example: i + 1, Label: label, Labels: classes} }
		if ex.Label >= len(classes) || ex.Label < 0 && required {
			return nil, wrong(ex.Label)
		}
		for _, label := range ex.Labels {
			if int(label) >= len(classes) {
				return nil, wrong(int(label))
			}
		}
	}
	return ds, nil
}

// twoClasses reports a training set in which all labels are the same.
func twoClasses(ds *data.Dataset) error {
	if ds.Task.Kind != head.SingleLabel {
		return nil
	}
	first := -1
	for i := range ds.Examples {
		switch label := ds.Examples[i].Label; {
		case label < 0 || label == first:
		case first < 0:
			first = label
		default:
			return nil
		}
	}
	if first < 0 || first >= len(ds.Task.Labels) {
		return nil
	}
	return fmt.Errorf("training set: all labels are %q, expected two classes at least", ds.Task.Labels[first])
}

// checkVocabulary reports a tokenizer that has more tokens than the model has
// embeddings: training would fail at the first of the others.
func checkVocabulary(m *checkpoints.Model) error {
	tok, err := tokenize.Load(m.Tokenizer)
	if err != nil {
		return fmt.Errorf("the model's tokenizer: %w", err)
	}
	if n := tok.VocabSize(); n > m.Config.VocabSize {
		return fmt.Errorf("the tokenizer has %d tokens, and the model embeddings for %d (vocab_size), expected as many at least", n, m.Config.VocabSize)
	}
	return nil
}

// alone tells whether an example is one text.
func alone(e data.Example) bool { return !e.HasPair && e.Pair == "" }

// readsTexts tells whether a model answers for a text or a pair as a whole.
func readsTexts(c checkpoints.Config) bool {
	return c.Head == head.SingleLabel || c.Head == head.MultiLabel || c.Head == head.Regression
}

// checkPairs reports examples without the second text that the model was trained on.
func checkPairs(c checkpoints.Config, ds *data.Dataset) error {
	if i := slices.IndexFunc(ds.Examples, alone); c.Pairs && readsTexts(c) && i >= 0 {
		return fmt.Errorf("example %d is one text, the model was trained on pairs: expected a second text", i+1)
	}
	return nil
}

// CheckHead reports a model whose head does not answer the task.
func CheckHead(cfg checkpoints.Config, task data.Task) error {
	if has, want := cfg.Head, task.Kind; has != want {
		return fmt.Errorf("the model's head does %s, the task %q is %s", has, task.Name, want)
	}
	return nil
}

// trainable returns a copy of the model with f32 weights and a head for the
// task. A model without head gets a fresh one, and so does a masked language
// model that is to do another task; one with the generic names LABEL_0, LABEL_1,
// ... keeps its weights and takes the task's names; one whose head is another is an
// error, and so are other classes, by Relabel. With headless the head is left as it is.
func trainable(model *checkpoints.Model, task data.Task, seed uint64, headless bool) (*checkpoints.Model, error) {
	work := model.Clone()
	for name, t := range work.Tensors {
		if t.DType == checkpoints.I8 {
			return nil, fmt.Errorf("tensor %s is int8: a quantized model cannot be trained", name)
		}
		f32, err := t.Convert(checkpoints.F32)
		if err != nil {
			return nil, fmt.Errorf("tensor %s: %w", name, err)
		}
		work.Tensors[name] = f32
	}
	labels, kind := task.Labels, task.Kind
	switch fresh := !work.HasHead() || work.Config.Head.Outputs() == head.Tokens && kind != work.Config.Head; {
	case headless:
	case fresh && kind.Named() && len(labels) == 0:
		return nil, fmt.Errorf("neither the model nor the task %q names the labels", task.Name)
	case fresh:
		if err := work.SetHead(kind, labels, seed); err != nil {
			return nil, err
		}
	case work.Config.Head != kind:
		return nil, CheckHead(work.Config, task)
	case kind.Named() && len(labels) == len(work.Config.Labels) && work.Config.GenericLabels():
		work.Config.Labels = slices.Clone(labels)
	}
	return work, work.Validate()
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Checksum tells models apart by their tensors. Runs record it in the
// provenance.
func Checksum(m *checkpoints.Model) string {
	sum := uint32(0)
	for _, name := range m.Names() {
		sum = crc32.Update(sum, castagnoli, []byte(name))
		sum = crc32.Update(sum, castagnoli, m.Tensors[name].Data)
	}
	return fmt.Sprintf("%08x", sum)
}

// DataChecksum tells data sets apart by their examples and labels.
func DataChecksum(ds *data.Dataset) string {
	sum := uint32(0)
	var buf []byte
	for i := range ds.Examples {
		e := &ds.Examples[i]
		buf = append(buf[:0], e.Text...)
		buf = append(buf, 0)
		buf = append(buf, e.Pair...)
		buf = binary.LittleEndian.AppendUint64(append(buf, 0), uint64(e.Label))
		for _, c := range e.Choices {
			buf = append(append(buf, c...), 0)
		}
		for _, l := range e.Labels {
			buf = binary.LittleEndian.AppendUint32(buf, uint32(l))
		}
		if e.Value != 0 {
			buf = binary.LittleEndian.AppendUint32(buf, math.Float32bits(e.Value))
		}
		sum = crc32.Update(sum, castagnoli, buf)
	}
	return fmt.Sprintf("%08x", sum)
}

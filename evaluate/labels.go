package evaluate

import (
	"fmt"
	"slices"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/head"
	"github.com/skive-ml/skive/tokenize"
)

// A LabelError tells that an example's label does not fit the model.
type LabelError struct {
	// Set is "training" or "development". Example is the number of the example, counted from 1.
	Set     string
	Example int
	// Label is the class index, -1 for none. Labels are the model's classes.
	Label  int
	Labels []string
}

func (e *LabelError) Error() string {
	if e.Label < 0 {
		return fmt.Sprintf("%s set: example %d has no label", e.Set, e.Example)
	}
	return fmt.Sprintf("%s set: example %d has label %d, the model's %d labels (%s) are 0 to %d",
		e.Set, e.Example, e.Label, len(e.Labels), data.ListLabels(e.Labels), len(e.Labels)-1)
}

// Relabel returns a data set with the labels of a model, see data.Dataset.Relabel. set is its
// name in errors, such as "training". An example whose label does not fit the model, or that
// lacks a required label, is a *LabelError. Single texts are an error if the model was trained on
// pairs.
func Relabel(set string, ds *data.Dataset, cfg checkpoints.Config, required bool) (*data.Dataset, error) {
	if ds.Task.Kind.Subject() == head.Masks {
		return ds, nil
	}
	if err := cfg.CheckNames(); err != nil {
		return nil, fmt.Errorf("the model's labels: %w", err)
	}
	ds, err := ds.Relabel(cfg.Labels)
	if err == nil {
		err = CheckPairs(cfg, ds)
	}
	if err != nil {
		return nil, fmt.Errorf("%s set: %w", set, err)
	}
	for i := range ds.Examples {
		ex, classes := &ds.Examples[i], cfg.Labels
		if ds.Task.Kind.Subject() == head.Choices {
			if classes = ex.Choices; len(classes) == 0 {
				return nil, fmt.Errorf("%s set: example %d has no choices, expected those of a question", set, i+1)
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

// Assumed says what had to be assumed about labels: for which classes the numbers in the data
// stand, or for which labels of the data a model's labels stand that are just numbers. It is ""
// if both sides have names.
func Assumed(cfg checkpoints.Config, ds *data.Dataset) string {
	named := ds.Task.Labels
	counted := cfg.Labels
	if ds.Numbered {
		counted = named
	}
	if ds.Numbers(cfg.Labels) && !data.Unnamed(counted) {
		numbers := make([]string, len(counted))
		for i, name := range counted {
			numbers[i] = fmt.Sprintf("%d %s", i, name)
		}
		return "numbers instead of labels are taken for the model's classes: " + data.ListLabels(numbers)
	}
	if !ds.Task.Kind.Named() || len(named) == 0 || data.Unnamed(named) || !data.StandFor(cfg.Labels, named) {
		return ""
	}
	return fmt.Sprintf("the model's labels %s are only numbers and are taken for %s, in this order", data.ListLabels(cfg.Labels), data.ListLabels(named))
}

// CheckVocabulary reports a tokenizer with more tokens than the model has embeddings. The model
// would fail at the first token without one.
func CheckVocabulary(m *checkpoints.Model) error {
	tok, err := tokenize.Load(m.Tokenizer)
	if err != nil {
		return fmt.Errorf("the model's tokenizer: %w", err)
	}
	if n := tok.VocabSize(); n > m.Config.VocabSize {
		return fmt.Errorf("the tokenizer has %d tokens, but the model has embeddings for only %d (vocab_size)", n, m.Config.VocabSize)
	}
	return nil
}

// alone tells whether an example is one text.
func alone(e data.Example) bool { return !e.HasPair && e.Pair == "" }

// ReadsPairs tells whether a model that is trained on this data set expects pairs of texts
// (checkpoints.Config.Pairs). It does if it answers for whole texts and no example is a single
// text.
func ReadsPairs(c checkpoints.Config, ds *data.Dataset) bool {
	return c.Head.Subject() == head.Texts && !slices.ContainsFunc(ds.Examples, alone)
}

// CheckPairs reports examples without a second text if the model was trained on pairs.
func CheckPairs(c checkpoints.Config, ds *data.Dataset) error {
	if i := slices.IndexFunc(ds.Examples, alone); c.NeedsPair() && i >= 0 {
		return fmt.Errorf("example %d is a single text, but the model was trained on pairs: expected a second text", i+1)
	}
	return nil
}

// CheckUnlabeled reports examples that cannot be added to a training set because they lack what
// all its own examples have: a second text, choices, or words.
func CheckUnlabeled(set, more *data.Dataset) error {
	has := func(e data.Example) (bool, string) {
		switch set.Task.Kind.Subject() {
		case head.Texts:
			return e.HasPair || e.Pair != "", "a second text"
		case head.Choices:
			return len(e.Choices) > 0, "choices"
		case head.Words:
			return len(e.Words) > 0, "words"
		}
		return false, ""
	}
	for _, e := range set.Examples {
		if ok, _ := has(e); !ok {
			return nil
		}
	}
	for i, e := range more.Examples {
		if ok, what := has(e); !ok {
			return fmt.Errorf("example %d has only one text, expected %s, as in the whole training set", i+1, what)
		}
	}
	return nil
}

// CheckHead reports a model whose head does not fit the task.
func CheckHead(cfg checkpoints.Config, task data.Task) error {
	if has, want := cfg.Head, task.Kind; has != want {
		return fmt.Errorf("the model's head is for %s, but the task %q is %s", has, task.Name, want)
	}
	return nil
}

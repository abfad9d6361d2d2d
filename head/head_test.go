package head

import (
	"slices"
	"testing"
)

// Every kind has its facts, and the values are those that files hold.
func TestKinds(t *testing.T) {
	t.Parallel()
	values := []Kind{"", "multi_label_classification", "regression", "multiple_choice", "token_classification", "masked_lm"}
	if !slices.Equal(All(), values) || len(table) != len(values) {
		t.Errorf("the kinds are %q, of which %d have facts; want %q", All(), len(table), values)
	}
	for _, c := range []struct {
		kind     Kind
		name     string
		perToken bool
		named    bool
		width    int // of 3 labels and 50 tokens
		metric   string
	}{
		{SingleLabel, "single_label_classification", false, true, 3, "accuracy"},
		{MultiLabel, "multi_label_classification", false, true, 3, "f1_micro"},
		{Regression, "regression", false, false, 1, "pearson"},
		{MultipleChoice, "multiple_choice", false, false, 1, "accuracy"},
		{TokenClassification, "token_classification", true, true, 3, "accuracy"},
		{MaskedLM, "masked_lm", true, false, 50, "perplexity"},
	} {
		k := c.kind
		if k.String() != c.name || k.PerToken() != c.perToken || k.Named() != c.named || k.Width(3, 50) != c.width || k.Metrics()[0] != c.metric {
			t.Errorf("%s: per token %v, named %v, width %d, metrics %q; want %+v", k, k.PerToken(), k.Named(), k.Width(3, 50), k.Metrics(), c)
		}
	}
	if other := Kind("spans"); other.Known() || other.String() != "spans" {
		t.Errorf("%s counts as known", other)
	}
}

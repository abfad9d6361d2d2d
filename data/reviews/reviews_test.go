package reviews

import (
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/skive-ml/skive/data"
)

func TestGenerateIsReproducible(t *testing.T) {
	t.Parallel()
	o := Options{Train: 500, Dev: 100, Seed: 7}
	train, dev := Generate(o)
	again, devAgain := Generate(o)
	if !reflect.DeepEqual(train.Examples, again.Examples) || !reflect.DeepEqual(dev.Examples, devAgain.Examples) {
		t.Error("the same options gave other reviews")
	}
	o.Seed++
	other, _ := Generate(o)
	if reflect.DeepEqual(train.Examples, other.Examples) {
		t.Error("another seed gave the same reviews")
	}
}

func TestLabelsAreBalanced(t *testing.T) {
	t.Parallel()
	train, dev := Generate(Options{Train: 20000, Dev: 3000, Seed: 1})
	for name, set := range map[string]*data.Dataset{"train": train, "dev": dev} {
		positive := 0
		for _, e := range set.Examples {
			positive += e.Label
		}
		if share := float64(positive) / float64(len(set.Examples)); share < 0.47 || share > 0.53 {
			t.Errorf("%s: %.3f of the reviews are positive, want about half", name, share)
		}
	}
}

func TestDevelopmentReviewsAreNew(t *testing.T) {
	t.Parallel()
	train, dev := Generate(Options{Train: 20000, Dev: 2000, Seed: 1})
	texts, bindings, words := map[string]bool{}, map[string]bool{}, map[string]bool{}
	templates := map[string]bool{}
	for _, e := range train.Examples {
		texts[e.Text] = true
		for _, b := range bindingsOf(e.Text) {
			bindings[b] = true
		}
		templates[templatesOf(e.Text)] = true
		for _, w := range strings.Fields(e.Text) {
			words[w] = true
		}
	}
	for _, e := range dev.Examples {
		if texts[e.Text] {
			t.Fatalf("text seen in training: %s", e.Text)
		}
		found := bindingsOf(e.Text)
		if len(found) != 2 {
			t.Fatalf("%d aspects with an opinion in %q, want 2", len(found), e.Text)
		}
		for _, b := range found {
			if bindings[b] {
				t.Fatalf("pairing %q of %q was seen in training", b, e.Text)
			}
		}
		if templates[templatesOf(e.Text)] {
			t.Fatalf("pairing of templates of %q was seen in training", e.Text)
		}
		for _, w := range strings.Fields(e.Text) {
			if !words[w] {
				t.Fatalf("word %q of %q was never seen in training", w, e.Text)
			}
		}
	}
}

// bindingsOf finds each aspect and the opinion that follows it.
func bindingsOf(text string) (pairs []string) {
	all := slices.Concat(opinions[0], opinions[1])
	aspect := ""
	for _, w := range strings.Fields(text) {
		if slices.Contains(aspects, w) {
			aspect = w
		} else if aspect != "" && slices.Contains(all, w) {
			pairs = append(pairs, aspect+" "+w)
			aspect = ""
		}
	}
	return pairs
}

// templatesOf names the templates of a review's main and conceded clause, or
// returns the text of a single clause.
func templatesOf(text string) string {
	words := strings.Fields(text)
	for i, w := range words {
		if slices.Contains(aspects, w) {
			words[i] = "@"
		} else if slices.Contains(opinions[0], w) || slices.Contains(opinions[1], w) {
			words[i] = "*"
		}
	}
	blank := strings.Join(words, " ")
	if pair, ok := written()[blank]; ok {
		return pair
	}
	return blank
}

// written maps every review with blanks to its templates.
var written = sync.OnceValue(func() map[string]string {
	m := map[string]string{}
	for _, join := range joins {
		for _, main := range clauses {
			for _, conceded := range clauses {
				blank := strings.NewReplacer("M", main.text, "C", conceded.text).Replace(join)
				m[blank] = main.text + " | " + conceded.text
			}
		}
	}
	return m
})

package data

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/skive-ml/skive/head"
)

func TestHoldOut(t *testing.T) {
	t.Parallel()
	classes := &Dataset{Task: Task{Name: "text", Labels: []string{"a", "b", "c"}}}
	for i := range 100 {
		label := 0
		if i%5 == 0 {
			label = 1
		}
		classes.Examples = append(classes.Examples, Example{Text: fmt.Sprint("text ", i), Label: label})
	}
	classes.Examples[7].Label = 2
	rest, held := classes.HoldOut(20, 1)
	count := func(ds *Dataset) (n [3]int) {
		for _, e := range ds.Examples {
			n[e.Label]++
		}
		return n
	}
	if got, want := fmt.Sprint(count(held), count(rest)), "[16 4 0] [63 16 1]"; got != want {
		t.Errorf("classes of held and rest %s, want %s", got, want)
	}
	numbered := &Dataset{Task: classes.Task, Examples: classes.Examples, Numbered: true}
	if rest, held := numbered.HoldOut(20, 1); !rest.Numbered || !held.Numbered {
		t.Error("numbers of classes are taken for names")
	}
	again, same := classes.HoldOut(20, 1)
	if !reflect.DeepEqual(again, rest) || !reflect.DeepEqual(same, held) {
		t.Error("the same seed divides otherwise")
	}
	if _, other := classes.HoldOut(20, 2); reflect.DeepEqual(other, held) {
		t.Error("another seed holds out the same")
	}

	twice := &Dataset{Task: classes.Task}
	for i := range 60 {
		twice.Examples = append(twice.Examples, Example{Text: fmt.Sprint("text ", i%20), Label: i % 2})
	}
	rest, held = twice.HoldOut(12, 3)
	texts := map[string]bool{}
	for _, e := range held.Examples {
		texts[e.Text] = true
	}
	for _, e := range rest.Examples {
		if texts[e.Text] {
			t.Errorf("%q is on both sides", e.Text)
		}
	}
	if n := len(held.Examples); n < 9 || n > 15 {
		t.Errorf("%d of 60 are held out, want some 12", n)
	}

	numbers := &Dataset{Task: Task{Name: "regression", Kind: head.Regression}}
	for i := range 50 {
		numbers.Examples = append(numbers.Examples, Example{Text: fmt.Sprint(i), Value: float32(i * 37 % 50)})
	}
	_, held = numbers.HoldOut(10, 1)
	parts := map[int]int{}
	for _, e := range held.Examples {
		parts[int(e.Value)/5]++
	}
	if len(held.Examples) != 10 || len(parts) != 10 {
		t.Errorf("%d numbers of %d tenths are held out, want one of each", len(held.Examples), len(parts))
	}

	answers := &Dataset{Task: Task{Name: "multirc", Labels: []string{"0", "1"}}}
	for i := range 60 {
		answers.Examples = append(answers.Examples, Example{Text: fmt.Sprint(i), Group: i / 3, Label: i % 2})
	}
	_, held = answers.HoldOut(12, 1)
	groups := map[int]int{}
	for _, e := range held.Examples {
		groups[e.Group]++
	}
	for g, n := range groups {
		if n != 3 {
			t.Errorf("%d of the 3 answers to question %d are held out", n, g)
		}
	}
	if rest, held = numbers.HoldOut(0, 1); len(held.Examples) != 0 || len(rest.Examples) != 50 {
		t.Errorf("%d of none are held out", len(held.Examples))
	}
}

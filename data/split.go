package data

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"strings"
)

// HoldOut divides a data set: about n examples are held out, and the rest is what is
// left. Both keep the order. The draw follows from the seed alone and is stratified: classes,
// sets of labels and numbers are spread in both as in the whole. Examples that are
// measured together, or have the same texts, stay on one side. So does the only
// example of a class: it is not held out.
func (ds *Dataset) HoldOut(n int, seed uint64) (rest, held *Dataset) {
	units := ds.together()
	r := rand.New(rand.NewPCG(seed, 0x686f6c64))
	r.Shuffle(len(units), func(i, j int) { units[i], units[j] = units[j], units[i] })
	first := func(unit []int) *Example { return &ds.Examples[unit[0]] }
	order := kinds[ds.Task.Kind].order
	slices.SortStableFunc(units, func(a, b []int) int { return order(first(a), first(b)) })
	if ds.Task.Kind.OneClass() {
		units = slices.DeleteFunc(units, ds.whole())
	}
	out := make([]bool, len(ds.Examples))
	total := 0
	for _, unit := range units {
		total += len(unit)
	}
	// Of the sorted ones each adds its share, and is held out when that makes a whole.
	share, due := min(1, float64(n)/float64(max(1, total))), r.Float64()
	for _, unit := range units {
		if due += float64(share * float64(len(unit))); due >= float64(len(unit)) {
			due -= float64(len(unit))
			for _, i := range unit {
				out[i] = true
			}
		}
	}
	rest, held = &Dataset{Task: ds.Task, Skipped: ds.Skipped, Numbered: ds.Numbered}, &Dataset{Task: ds.Task, Numbered: ds.Numbered}
	for i, e := range ds.Examples {
		if out[i] {
			held.Examples = append(held.Examples, e)
		} else {
			rest.Examples = append(rest.Examples, e)
		}
	}
	return rest, held
}

// together are the numbers of the examples that belong together: to a group, or with
// the same texts.
func (ds *Dataset) together() [][]int {
	grouped := ds.Task.definition().grouped
	number := map[any]int{}
	var units [][]int
	for i := range ds.Examples {
		e := &ds.Examples[i]
		var key any = e.Group
		if !grouped {
			key = strings.Join(append([]string{e.Text, e.Pair}, e.Choices...), "\x00")
		}
		u, ok := number[key]
		if !ok {
			u = len(units)
			number[key] = u
			units = append(units, nil)
		}
		units[u] = append(units[u], i)
	}
	return units
}

// whole tells whether units have all the examples of a class.
func (ds *Dataset) whole() func(unit []int) bool {
	count := func(numbers []int) map[int]int {
		n := map[int]int{}
		for _, i := range numbers {
			n[ds.Examples[i].Label]++
		}
		return n
	}
	all := make([]int, len(ds.Examples))
	for i := range all {
		all[i] = i
	}
	total := count(all)
	return func(unit []int) bool {
		for label, n := range count(unit) {
			if n == total[label] {
				return true
			}
		}
		return false
	}
}

// byLabel, byLabels and byValue put examples in the order of what is true of them.
func byLabel(a, b *Example) int  { return cmp.Compare(a.Label, b.Label) }
func byValue(a, b *Example) int  { return cmp.Compare(a.Value, b.Value) }
func byLabels(a, b *Example) int { return slices.Compare(labelSet(a), labelSet(b)) }

// labelSet are the labels that an example or its words have.
func labelSet(e *Example) []int32 {
	return slices.Compact(slices.Sorted(slices.Values(e.Labels)))
}

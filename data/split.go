package data

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"strings"
)

// HoldOut divides a data set: about n examples are held out, and rest has the others, both in
// order. The seed alone decides the draw, which is stratified: classes, sets of labels and
// numbers are distributed in both parts as in the whole. Examples that are measured together, or
// have the same texts, stay together. The only example of a class is never held out.
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
	// Going through the sorted units, each adds its share. A unit is held out when the sum passes
	// a whole number.
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

// together returns the numbers of examples that belong together, because they are in one group or
// have the same texts.
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

// whole returns a function that tells whether a unit has all examples of a class.
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

// byLabel, byLabels and byValue sort examples by their true answers.
func byLabel(a, b *Example) int  { return cmp.Compare(a.Label, b.Label) }
func byValue(a, b *Example) int  { return cmp.Compare(a.Value, b.Value) }
func byLabels(a, b *Example) int { return slices.Compare(labelSet(a), labelSet(b)) }

// labelSet returns the labels of an example or its words.
func labelSet(e *Example) []int32 {
	return slices.Compact(slices.Sorted(slices.Values(e.Labels)))
}

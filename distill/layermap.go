package distill

import (
	"fmt"
	"strconv"
	"strings"
)

// LayerMap says which layer of the teacher each layer of the student learns
// from.
type LayerMap struct {
	kind  string
	pairs [][2]int // student, teacher
}

// Uniform maps the student's layers to the teacher's at even distances, last to
// last (TinyBERT, Jiao et al., arXiv 1909.10351). Teacher layer counts that are
// no multiple of the student's work. It is the zero LayerMap.
func Uniform() LayerMap { return LayerMap{} }

// Last maps the student's last layer to the teacher's last, and no other
// (FastFormers' state loss, MiniLM).
func Last() LayerMap { return LayerMap{kind: "last"} }

// Explicit maps student layer pair[0] to teacher layer pair[1] for each pair.
func Explicit(pairs ...[2]int) LayerMap { return LayerMap{kind: "explicit", pairs: pairs} }

// ParseLayerMap reads "uniform", "last", or a list of student:teacher pairs
// such as "0:2,1:5".
func ParseLayerMap(s string) (LayerMap, error) {
	switch s {
	case "", "uniform":
		return Uniform(), nil
	case "last":
		return Last(), nil
	}
	var pairs [][2]int
	for _, part := range strings.Split(s, ",") {
		a, b, ok := strings.Cut(part, ":")
		student, err1 := strconv.Atoi(strings.TrimSpace(a))
		teacher, err2 := strconv.Atoi(strings.TrimSpace(b))
		if !ok || err1 != nil || err2 != nil {
			return LayerMap{}, fmt.Errorf("layer-map %q: want uniform, last, or pairs of student:teacher layers such as 0:2,1:5", s)
		}
		pairs = append(pairs, [2]int{student, teacher})
	}
	return Explicit(pairs...), nil
}

// String is the inverse of ParseLayerMap.
func (m LayerMap) String() string {
	if m.kind == "" {
		return "uniform"
	}
	if m.kind == "last" {
		return "last"
	}
	parts := make([]string, len(m.pairs))
	for i, p := range m.pairs {
		parts[i] = fmt.Sprintf("%d:%d", p[0], p[1])
	}
	return strings.Join(parts, ",")
}

// resolve lists the pairs of student and teacher layers for these depths.
func (m LayerMap) resolve(student, teacher int) ([][2]int, error) {
	switch m.kind {
	case "last":
		return [][2]int{{student - 1, teacher - 1}}, nil
	case "explicit":
		if len(m.pairs) == 0 {
			return nil, fmt.Errorf("layer-map: no pairs")
		}
		for _, p := range m.pairs {
			if p[0] < 0 || p[0] >= student || p[1] < 0 || p[1] >= teacher {
				return nil, fmt.Errorf("layer-map: pair %d:%d, the student's layers are 0 to %d and the teacher's 0 to %d", p[0], p[1], student-1, teacher-1)
			}
		}
		return m.pairs, nil
	}
	layers := UniformLayers(student, teacher)
	if layers == nil {
		return nil, fmt.Errorf("layer-map uniform: a student of %d layers is deeper than its teacher of %d: map the layers explicitly", student, teacher)
	}
	pairs := make([][2]int, student)
	for i, t := range layers {
		pairs[i] = [2]int{i, t}
	}
	return pairs, nil
}

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

// Uniform maps the student's layers to the teacher's at even distances, the last to the last
// (TinyBERT, Jiao et al., arXiv 1909.10351). The number of the teacher's layers need not be a
// multiple of the student's. Uniform is the zero LayerMap.
func Uniform() LayerMap { return LayerMap{} }

// Last maps only the student's last layer, to the teacher's last (FastFormers' state loss,
// MiniLM).
func Last() LayerMap { return LayerMap{kind: "last"} }

// Skip maps the student's layers, except for the last, to every k-th layer of the teacher
// (PKD-Skip, Sun et al., arXiv 1908.09355). k is the teacher's depth divided by the student's,
// rounded down: a student of 6 layers learns from layers 2, 4, 6, 8 and 10 of 12. The last layer
// learns through the logits.
func Skip() LayerMap { return LayerMap{kind: "skip"} }

// Explicit maps student layer pair[0] to teacher layer pair[1] for each pair.
func Explicit(pairs ...[2]int) LayerMap { return LayerMap{kind: "explicit", pairs: pairs} }

// ParseLayerMap reads "uniform", "last", "skip", or a list of student:teacher pairs
// such as "0:2,1:5".
func ParseLayerMap(s string) (LayerMap, error) {
	switch s {
	case "", "uniform":
		return Uniform(), nil
	case "last":
		return Last(), nil
	case "skip":
		return Skip(), nil
	}
	var pairs [][2]int
	for _, part := range strings.Split(s, ",") {
		a, b, ok := strings.Cut(part, ":")
		student, err1 := strconv.Atoi(strings.TrimSpace(a))
		teacher, err2 := strconv.Atoi(strings.TrimSpace(b))
		if !ok || err1 != nil || err2 != nil {
			return LayerMap{}, fmt.Errorf("layer map %q: want uniform, last, skip, or pairs of student:teacher layers such as 0:2,1:5", s)
		}
		pairs = append(pairs, [2]int{student, teacher})
	}
	return Explicit(pairs...), nil
}

// String returns the map in the form that ParseLayerMap reads.
func (m LayerMap) String() string {
	switch m.kind {
	case "":
		return "uniform"
	case "last", "skip":
		return m.kind
	}
	parts := make([]string, len(m.pairs))
	for i, p := range m.pairs {
		parts[i] = fmt.Sprintf("%d:%d", p[0], p[1])
	}
	return strings.Join(parts, ",")
}

// MarshalText returns String. UnmarshalText is ParseLayerMap.
func (m LayerMap) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

func (m *LayerMap) UnmarshalText(text []byte) (err error) {
	*m, err = ParseLayerMap(string(text))
	return err
}

// IsZero reports whether the map is Uniform.
func (m LayerMap) IsZero() bool { return m.kind == "" }

// resolve returns the pairs of student and teacher layers for these depths.
func (m LayerMap) resolve(student, teacher int) ([][2]int, error) {
	switch m.kind {
	case "last":
		return [][2]int{{student - 1, teacher - 1}}, nil
	case "explicit":
		if len(m.pairs) == 0 {
			return nil, fmt.Errorf("layer map: no pairs")
		}
		for _, p := range m.pairs {
			if p[0] < 0 || p[0] >= student || p[1] < 0 || p[1] >= teacher {
				return nil, fmt.Errorf("layer map: pair %d:%d, the student's layers are 0 to %d and the teacher's 0 to %d", p[0], p[1], student-1, teacher-1)
			}
		}
		return m.pairs, nil
	}
	if m.kind == "skip" && student < 2 {
		return nil, fmt.Errorf("layer map skip: leaves out the last layer, and the student has no other")
	}
	layers := UniformLayers(student, teacher)
	if layers == nil {
		return nil, fmt.Errorf("layer map %v: a student of %d layers is deeper than its teacher of %d: map the layers explicitly", m, student, teacher)
	}
	if m.kind == "skip" {
		layers = layers[:student-1]
		for i := range layers {
			layers[i] = (i+1)*(teacher/student) - 1
		}
	}
	pairs := make([][2]int, len(layers))
	for i, t := range layers {
		pairs[i] = [2]int{i, t}
	}
	return pairs, nil
}

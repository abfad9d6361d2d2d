package checkpoints

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Groups of consecutive layers share their weights in ALBERT. In Skive each layer has
// its own, as all stages expect, so that pruning and training may change layers
// separately. Files are read and written as transformers has them, with as few groups
// as the weights allow.

// sharedLayer follows the group's number in the names of ALBERT's layers, if a group
// has one layer.
const sharedLayer = "albert_layers.0."

// sharing says which layers of a file are the same: each step of the encoder goes
// through the inner layers of one group. The zero value shares nothing.
type sharing struct{ steps, groups, inner int }

// group returns a step's group. The division is transformers' own, also if the groups
// do not divide the steps evenly.
func (s sharing) group(step int) int {
	return int(float64(step) / (float64(s.steps) / float64(s.groups)))
}

// uses returns the layers for which an inner layer of a group stands.
func (s sharing) uses(group, inner int) (layers []int) {
	if inner < 0 || inner >= s.inner {
		return nil
	}
	for i := range s.steps {
		if s.group(i) == group {
			layers = append(layers, i*s.inner+inner)
		}
	}
	return layers
}

// name turns the name of a tensor without sharing into its name in a file.
func (s sharing) name(name string, layer int) string {
	own := fmt.Sprintf("%d.%s", layer, sharedLayer)
	return strings.Replace(name, own, fmt.Sprintf("%d.albert_layers.%d.", s.group(layer/s.inner), layer%s.inner), 1)
}

// unshared is the reverse: for the full name of a tensor in a file it returns the names
// of the layers' own tensors. A tensor outside of layers keeps its name. A tensor that
// no layer uses gets a name that no tensor has.
func (c parsedConfig) unshared(name string) []string {
	f := c.family()
	in, inLayer := strings.CutPrefix(name, f.prefix+f.layers)
	if !f.sharesLayers || !inLayer {
		return []string{name}
	}
	group, in, _ := strings.Cut(in, ".")
	number, part, _ := strings.Cut(strings.TrimPrefix(in, "albert_layers."), ".")
	g, err1 := strconv.Atoi(group)
	k, err2 := strconv.Atoi(number)
	var names []string
	if err1 == nil && err2 == nil {
		for _, l := range c.sharing.uses(g, k) {
			names = append(names, f.prefix+f.layers+strconv.Itoa(l)+"."+sharedLayer+part)
		}
	}
	if names == nil {
		names = []string{"unused " + name}
	}
	return names
}

// layerGroups is the smallest number of equal groups whose layers are the same. In a
// family that does not share layers it is the number of layers.
func (m *Model) layerGroups() int {
	n := len(m.Config.Layers)
	if !m.Config.family().sharesLayers {
		return n
	}
	parts := make([]map[string]Tensor, n)
	for i := range parts {
		parts[i] = make(map[string]Tensor)
	}
	for name, t := range m.Tensors {
		if l, part, ok := layerTensor(name); ok && l < n {
			parts[l][part] = t
		}
	}
	same := func(a, b Tensor) bool {
		return a.DType == b.DType && slices.Equal(a.Shape, b.Shape) && bytes.Equal(a.Data, b.Data)
	}
	for size := n; size > 1; size-- {
		alike := n%size == 0
		for l := 0; l < n && alike; l++ {
			first := l - l%size
			alike = m.Config.Layers[l] == m.Config.Layers[first] && maps.EqualFunc(parts[l], parts[first], same)
		}
		if alike {
			return n / size
		}
	}
	return n
}

// layerTensor parses the Skive name of a tensor in a layer.
func layerTensor(name string) (layer int, part string, ok bool) {
	s, ok := strings.CutPrefix(name, layersPrefix)
	number, part, _ := strings.Cut(s, ".")
	layer, err := strconv.Atoi(number)
	return layer, part, ok && err == nil
}

// shareLayers returns two functions for writing a file with layerGroups groups. One
// puts the group's number in place of the layer's in a tensor's name. The other says
// whether the tensor is left out because the first layer of its group has it.
func (m *Model) shareLayers() (group func(name string) string, dropped func(name string) bool) {
	size := len(m.Config.Layers) / m.layerGroups()
	if size == 1 {
		return func(name string) string { return name }, func(string) bool { return false }
	}
	return func(name string) string {
			if l, part, ok := layerTensor(name); ok {
				return layerPrefix(l/size) + part
			}
			return name
		}, func(name string) bool {
			l, _, ok := layerTensor(name)
			return ok && l%size != 0
		}
}

package checkpoints

import (
	"bytes"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// ALBERT's layers have their weights in common, in groups that follow each other. In Skive each layer has its own, as all
// stages expect: pruning and training may then take a layer where the others do not go. Files are read and written
// as stock transformers has them: with as few groups as the weights allow.

// sharedLayer is what the names of ALBERT's layers have after the number of their group, where a group has one layer.
const sharedLayer = "albert_layers.0."

// sharing says which layers of a file are the same: the encoder takes steps, each through the inner layers of one of the
// groups. The zero value shares nothing.
type sharing struct{ steps, groups, inner int }

// uses returns the layers that an inner layer of a group stands for.
func (s sharing) uses(group, inner int) (layers []int) {
	for i := range s.steps {
		// The division is that of transformers, for numbers of groups that do not divide the steps, too.
		if int(float64(i)/(float64(s.steps)/float64(s.groups))) == group {
			layers = append(layers, i*s.inner+inner)
		}
	}
	return layers
}

// unshare returns tensors of a file with each layer's own in the place of the groups', by the names that the family has
// for as many groups as there are layers.
func (c parsedConfig) unshare(tensors map[string]foreignTensor) map[string]foreignTensor {
	f := c.family()
	if !f.sharesLayers {
		return tensors
	}
	all := make(map[string]foreignTensor, len(tensors))
	for name, t := range tensors {
		full := f.fullName(name)
		in, inLayer := strings.CutPrefix(full, f.prefix+f.layers)
		group, in, _ := strings.Cut(in, ".")
		in, inner := strings.CutPrefix(in, "albert_layers.")
		number, part, _ := strings.Cut(in, ".")
		g, err1 := strconv.Atoi(group)
		k, err2 := strconv.Atoi(number)
		if !inLayer || !inner || err1 != nil || err2 != nil || k < 0 || k >= c.sharing.inner {
			all[name] = t
			continue
		}
		layers := c.sharing.uses(g, k)
		if len(layers) == 0 {
			all[name] = t
		}
		for _, l := range layers {
			all[f.prefix+f.layers+strconv.Itoa(l)+"."+sharedLayer+part] = t
		}
	}
	return all
}

// layerGroups is the smallest number of groups, of as many layers each, whose layers are the same. It is the number of
// layers in a family that does not share them.
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

// layerTensor takes a name apart that a tensor of a layer has in Skive.
func layerTensor(name string) (layer int, part string, ok bool) {
	s, ok := strings.CutPrefix(name, layersPrefix)
	number, part, _ := strings.Cut(s, ".")
	layer, err := strconv.Atoi(number)
	return layer, part, ok && err == nil
}

// shareLayers returns what a file with layerGroups has for the model's tensors: a name with the number of the group in the
// place of the layer's, and whether the tensor is left out, since its group's first layer has it.
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

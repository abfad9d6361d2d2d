package checkpoints

import (
	"bytes"
	"fmt"
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

// group is that of a step. The division is that of transformers, for numbers of groups that do not divide the steps, too.
func (s sharing) group(step int) int {
	return int(float64(step) / (float64(s.steps) / float64(s.groups)))
}

// uses returns the layers that an inner layer of a group stands for.
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

// name returns a file's name of a tensor, from that which it has where no layers are shared.
func (s sharing) name(name string, layer int) string {
	own := fmt.Sprintf("%d.%s", layer, sharedLayer)
	return strings.Replace(name, own, fmt.Sprintf("%d.albert_layers.%d.", s.group(layer/s.inner), layer%s.inner), 1)
}

// unshared returns, for the full name of a tensor in a file, the names that the family has for the layers' own where no
// layers are shared; for a tensor outside of layers its name, and for one that no layer uses a name that none has.
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

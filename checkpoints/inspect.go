package checkpoints

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Info describes a model at a path.
type Info struct {
	// Format is "huggingface" or "skive"; FormatVersion is that of a .skive
	// file.
	Format        string `json:"format"`
	FormatVersion int    `json:"format_version,omitempty"`
	// Weights is the name of the file that holds the weights.
	Weights      string `json:"weights"`
	Architecture string `json:"architecture"`
	Config       Config `json:"config"`
	DType        string `json:"dtype"`
	// Parameters counts weights, and Bytes what they take, scales of int8
	// weights included. FileBytes is the size of all files of the model.
	Parameters int64 `json:"parameters"`
	Bytes      int64 `json:"bytes"`
	FileBytes  int64 `json:"file_bytes"`
	// Layers is the share of each encoder layer, first to last.
	Layers []LayerInfo `json:"layers"`
	// Tensors lists all tensors in the order of the architecture.
	Tensors    []TensorInfo `json:"tensors"`
	Tokenizer  []string     `json:"tokenizer"`
	Provenance []Stage      `json:"provenance"`
	Notes      []string     `json:"notes,omitempty"`
	// Checksums is "ok" when the format has checksums, which were verified,
	// and "none" otherwise.
	Checksums string `json:"checksums"`
}

// LayerInfo describes one encoder layer.
type LayerInfo struct {
	Heads        int   `json:"heads"`
	Intermediate int   `json:"intermediate"`
	Parameters   int64 `json:"parameters"`
	Bytes        int64 `json:"bytes"`
	// InputScales are the scales of the quantized inputs of the layer's linear
	// layers, by their names ("attention.self.query"), where they were calibrated.
	InputScales map[string]float32 `json:"input_scales,omitempty"`
}

// TensorInfo describes one tensor.
type TensorInfo struct {
	Name  string `json:"name"`
	DType string `json:"dtype"`
	Shape []int  `json:"shape"`
	Bytes int64  `json:"bytes"`
}

// Inspect reads the model at path as Open does, with every check, and
// describes it.
func Inspect(path string) (*Info, error) {
	m, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	info := &Info{
		Format:       "huggingface",
		Architecture: m.architecture(),
		Config:       m.Config.Clone(),
		DType:        m.DType().String(),
		Parameters:   m.Parameters(),
		Bytes:        m.Bytes(),
		Layers:       make([]LayerInfo, m.Config.NumLayers()),
		Tokenizer:    sortedNames(m.Tokenizer),
		Provenance:   m.Provenance,
		Notes:        m.Notes,
		Checksums:    "none",
	}
	if stat, err := os.Stat(path); err == nil && !stat.IsDir() {
		info.Format, info.FormatVersion, info.Checksums = "skive", containerVersion, "ok"
		info.Weights, info.FileBytes = filepath.Base(path), stat.Size()
	} else if err := info.directory(path); err != nil {
		return nil, err
	}
	layerOf := make(map[string]int)
	for _, s := range m.Config.tensorSpecs() {
		if s.part == encoder {
			for _, name := range []string{s.name, s.name + scaleSuffix, s.inputScale()} {
				layerOf[name] = s.layer
			}
		}
	}
	for i := range info.Layers {
		info.Layers[i].Heads = m.Config.Layers[i].Heads
		info.Layers[i].Intermediate = m.Config.Layers[i].Intermediate
	}
	for _, name := range m.Names() {
		t := m.Tensors[name]
		info.Tensors = append(info.Tensors, TensorInfo{name, t.DType.String(), append([]int(nil), t.Shape...), int64(len(t.Data))})
		if l, ok := layerOf[name]; ok {
			info.Layers[l].Bytes += int64(len(t.Data))
			if linear, ok := strings.CutSuffix(name, inputScaleSuffix); ok {
				if info.Layers[l].InputScales == nil {
					info.Layers[l].InputScales = make(map[string]float32)
				}
				info.Layers[l].InputScales[strings.TrimPrefix(linear, layerPrefix(l))] = t.Float32s()[0]
			}
			if !isScale(name) {
				info.Layers[l].Parameters += int64(t.Elements())
			}
		}
	}
	return info, nil
}

// directory fills in what concerns the files of a Hugging Face directory.
func (info *Info) directory(path string) error {
	dir, err := openDir(path)
	if err != nil {
		return err
	}
	names := append([]string{configName, provenanceName}, tokenizerNames...)
	for _, name := range []string{safetensorsName, safetensorsIndexName, pytorchName} {
		p, ok := dir.file(name)
		if !ok {
			continue
		}
		info.Weights = name
		names = append(names, name)
		if name == safetensorsIndexName {
			text, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			_, shards, err := parseIndex(text)
			if err != nil {
				return fmt.Errorf("%s: %w", p, err)
			}
			names = append(names, shards...)
		}
		break
	}
	for _, name := range names {
		p, ok := dir.file(name)
		if !ok {
			continue
		}
		stat, err := os.Stat(p)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		} else if err == nil {
			info.FileBytes += stat.Size()
		}
	}
	return nil
}

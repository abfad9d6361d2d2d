package train

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"slices"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/evaluate"
	"github.com/skive-ml/skive/head"
)

// twoClasses reports a training set in which all labels are the same.
func twoClasses(ds *data.Dataset) error {
	if !ds.Task.Kind.OneClass() {
		return nil
	}
	first := -1
	for i := range ds.Examples {
		switch label := ds.Examples[i].Label; {
		case label < 0 || label == first:
		case first < 0:
			first = label
		default:
			return nil
		}
	}
	if first < 0 || first >= len(ds.Task.Labels) {
		return nil
	}
	return fmt.Errorf("training set: all labels are %q, expected two classes at least", ds.Task.Labels[first])
}

// trainable returns a copy of the model with f32 weights and a head for the task. A model without
// a head gets a new one. So does a masked language model that is trained for another task. A
// model whose labels are just numbers keeps its weights and takes the task's names. Any other
// head is an error, and so are other classes (see Relabel). With headless, the head stays as it
// is.
func trainable(model *checkpoints.Model, task data.Task, seed uint64, headless bool) (*checkpoints.Model, error) {
	work := model.Clone()
	for name, t := range work.Tensors {
		if t.DType == checkpoints.I8 {
			return nil, fmt.Errorf("tensor %s is int8: a quantized model cannot be trained", name)
		}
		f32, err := t.Convert(checkpoints.F32)
		if err != nil {
			return nil, fmt.Errorf("tensor %s: %w", name, err)
		}
		work.Tensors[name] = f32
	}
	labels, kind := task.Labels, task.Kind
	switch fresh := !work.HasHead() || work.Config.Head.Outputs() == head.Tokens && kind != work.Config.Head; {
	case headless:
	case fresh && kind.Named() && len(labels) == 0:
		return nil, fmt.Errorf("neither the model nor the task %q names the labels", task.Name)
	case fresh:
		if err := work.SetHead(kind, labels, seed); err != nil {
			return nil, err
		}
	case work.Config.Head != kind:
		return nil, evaluate.CheckHead(work.Config, task)
	case kind.Named() && data.StandFor(work.Config.Labels, labels):
		work.Config.Labels = slices.Clone(labels)
	}
	return work, work.Validate()
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Checksum returns a checksum of the model's tensors. Runs record it in the provenance.
func Checksum(m *checkpoints.Model) string {
	sum := uint32(0)
	for _, name := range m.Names() {
		sum = crc32.Update(sum, castagnoli, []byte(name))
		sum = crc32.Update(sum, castagnoli, m.Tensors[name].Data)
	}
	return fmt.Sprintf("%08x", sum)
}

// DataChecksum returns a checksum of the examples and labels of a data set.
func DataChecksum(ds *data.Dataset) string {
	sum := uint32(0)
	var buf []byte
	for i := range ds.Examples {
		e := &ds.Examples[i]
		buf = append(buf[:0], e.Text...)
		buf = append(buf, 0)
		buf = append(buf, e.Pair...)
		buf = binary.LittleEndian.AppendUint64(append(buf, 0), uint64(e.Label))
		for _, c := range e.Choices {
			buf = append(append(buf, c...), 0)
		}
		for _, l := range e.Labels {
			buf = binary.LittleEndian.AppendUint32(buf, uint32(l))
		}
		if e.Value != 0 {
			buf = binary.LittleEndian.AppendUint32(buf, math.Float32bits(e.Value))
		}
		sum = crc32.Update(sum, castagnoli, buf)
	}
	return fmt.Sprintf("%08x", sum)
}

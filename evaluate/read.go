package evaluate

import (
	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
)

// Read reads a file of a task that a model has to answer. If neither the task nor the options
// name labels, and the model's head fits the task, the model's labels count.
func Read(path string, task data.Task, model checkpoints.Config, o data.ReadOptions) (*data.Dataset, error) {
	if model.Head != task.Kind {
		return data.Read(path, task, o) // CheckHead reports that later
	}
	o.ModelLabels = model.Labels
	return data.Read(path, task, o)
}

// ReadTraining reads a file of a task that a model has to learn. It works like Read, except for a
// model whose labels are just numbers (data.Unnamed). The file's own labels then take their
// place, unless these are numbers of the model's classes.
func ReadTraining(path string, task data.Task, model checkpoints.Config, o data.ReadOptions) (*data.Dataset, error) {
	if !data.Unnamed(model.Labels) {
		return Read(path, task, model, o)
	}
	ds, err := data.Read(path, task, o)
	if err == nil && len(model.Labels) > len(ds.Task.Labels) {
		if numbered, err := ds.Relabel(model.Labels); err == nil {
			ds = numbered
		}
	}
	return ds, err
}

// ReadDevelopment reads the file on which a model is measured while it learns. The labels of the
// training set are those of both files.
func ReadDevelopment(path string, task data.Task, training *data.Dataset, o data.ReadOptions) (*data.Dataset, error) {
	o.ModelLabels = training.Task.Labels
	return data.Read(path, task, o)
}

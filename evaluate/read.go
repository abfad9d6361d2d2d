package evaluate

import (
	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
)

// Read reads a file of a task that a model is to answer. Where the task names no
// labels, and the options neither, they are the model's, if its head answers it.
func Read(path string, task data.Task, model checkpoints.Config, o data.ReadOptions) (*data.Dataset, error) {
	if model.Head != task.Kind {
		return data.Read(path, task, o) // CheckHead says so
	}
	o.ModelLabels = model.Labels
	return data.Read(path, task, o)
}

// ReadTraining reads a file of a task that a model is to learn. It is Read, but that
// labels of a model that only number its classes (data.Unnamed) say nothing: the
// file's own take their place, unless those are numbers of the model's classes.
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

// ReadDevelopment reads the file by which a model is measured while it learns:
// labels of the training set hold for both.
func ReadDevelopment(path string, task data.Task, training *data.Dataset, o data.ReadOptions) (*data.Dataset, error) {
	o.ModelLabels = training.Task.Labels
	return data.Read(path, task, o)
}

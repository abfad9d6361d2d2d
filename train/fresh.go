package train

import (
	"path/filepath"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/head"
)

// Fresh makes a model with random weights, to be trained from scratch. Its sizes are those of a
// config.json, with the tokenizer beside that file. If masked is set, it is a masked language
// model. Otherwise it has the classes that the file names, or those of the data.
func Fresh(config string, seed uint64, masked bool) (*checkpoints.Model, error) {
	cfg, err := checkpoints.ReadFresh(config)
	if err != nil {
		return nil, err
	}
	switch {
	case masked:
		cfg.Head, cfg.Labels = head.MaskedLM, nil
	case data.Unnamed(cfg.Labels):
		cfg.Labels = nil
	}
	m := checkpoints.InitBERT(cfg, seed)
	if m.Tokenizer, err = checkpoints.ReadTokenizer(filepath.Dir(config)); err != nil {
		return nil, err
	}
	return m, nil
}

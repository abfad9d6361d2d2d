package train

import (
	"path/filepath"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/head"
)

// Fresh makes a model of random weights to be trained from scratch: of the sizes of a
// config.json, with the tokenizer beside it. It is a masked language model if masked says
// so, else one for the classes that the file names, or that the data will have.
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

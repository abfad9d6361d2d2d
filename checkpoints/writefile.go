package checkpoints

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// WriteFile replaces the file at path by what write produces. Whenever the
// process or the machine stops, path is the complete old file or the complete
// new one. Missing directories are made.
func WriteFile(path string, write func(io.Writer) error) error {
	if err := writeFileAtomic(path, write); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// ReadTokenizer reads the tokenizer's files that lie in a directory.
func ReadTokenizer(dir string) (map[string][]byte, error) {
	files := make(map[string][]byte)
	for _, name := range tokenizerNames {
		switch b, err := os.ReadFile(filepath.Join(dir, name)); {
		case err == nil:
			files[name] = b
		case !os.IsNotExist(err):
			return nil, err
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s: no tokenizer: expected tokenizer.json or vocab.txt", dir)
	}
	return files, nil
}

package data

import (
	"strings"

	"github.com/skive-ml/skive/internal/bounded"
)

// ReadText reads plain text: one example without a label per line, except empty lines. It
// recognizes gzip by the content. Errors are *FileError. A file without text is ErrEmpty.
func ReadText(path string) (*Dataset, error) {
	_, content, err := readDocument(path)
	if err != nil {
		return nil, err
	}
	ds := &Dataset{Task: Task{Name: "text", Metric: "accuracy"}}
	number := 0
	for line := range strings.Lines(string(content)) {
		if number++; len(line) > bounded.Line {
			return nil, &FileError{path, number, &bounded.TooLongError{Limit: bounded.Line}}
		}
		if line = strings.TrimSpace(line); line != "" {
			ds.Examples = append(ds.Examples, Example{Text: line, Label: -1})
		}
	}
	if len(ds.Examples) == 0 {
		return nil, &FileError{path, 0, ErrEmpty}
	}
	return ds, nil
}

package checkpoints

import (
	"errors"
	"fmt"

	"github.com/skive-ml/skive/internal/mapped"
)

var (
	// ErrNotModel is returned when a path holds none of the formats that Open
	// knows.
	ErrNotModel = errors.New("not a model")
	// ErrUnsupported is returned for a model that is well formed but needs
	// something that is not implemented, such as another architecture.
	ErrUnsupported = errors.New("not supported")
	// ErrCorrupt is returned when a file is damaged: truncated, changed, or
	// not in the format that its name promises.
	ErrCorrupt = errors.New("damaged file")
	// ErrNewerVersion is returned for a file that a newer version of Skive
	// has written.
	ErrNewerVersion = errors.New("written by a newer version of Skive")
	// ErrNotFinite is returned for weights that hold NaN or infinity, which is
	// what diverged training leaves behind.
	ErrNotFinite = errors.New("holds NaN or infinity")
	// ErrFileChanged is returned when a file was overwritten or cut off while a
	// model had it mapped.
	ErrFileChanged = mapped.ErrChanged
)

// named says which file an error comes from, once.
func named(path string, err error) error {
	var file *mapped.Error
	if errors.As(err, &file) {
		return err
	}
	return fmt.Errorf("%s: %w", path, err)
}

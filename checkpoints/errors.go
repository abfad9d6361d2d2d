package checkpoints

import (
	"errors"
	"fmt"

	"github.com/skive-ml/skive/internal/mapped"
)

var (
	// ErrNotModel is returned when a path holds no format that Open knows.
	ErrNotModel = errors.New("not a model")
	// ErrUnsupported is returned for a well-formed model that needs something which is
	// not implemented, such as another architecture.
	ErrUnsupported = errors.New("not supported")
	// ErrCorrupt is returned for a damaged file: truncated, changed, or not in the
	// format that its name promises.
	ErrCorrupt = errors.New("damaged file")
	// ErrNewerVersion is returned for a file that a newer version of Skive wrote.
	ErrNewerVersion = errors.New("written by a newer version of Skive")
	// ErrNotFinite is returned for weights that contain NaN or infinity. Diverged
	// training leaves such weights behind.
	ErrNotFinite = errors.New("holds NaN or infinity")
	// ErrFileChanged is returned when a file was overwritten or cut off while a model
	// had it mapped.
	ErrFileChanged = mapped.ErrChanged
)

// named adds the name of the file to an error, unless the error has it already.
func named(path string, err error) error {
	var file *mapped.Error
	if errors.As(err, &file) {
		return err
	}
	return fmt.Errorf("%s: %w", path, err)
}

package settings_test

import (
	"errors"
	"fmt"

	"github.com/skive-ml/skive/settings"
	"github.com/skive-ml/skive/train"
)

// An error of options has the path of the field, which is the Go program's own name of the
// setting.
func Example() {
	o := train.Defaults()
	o.LearningRate = -1
	err := o.Validate()
	var wrong *settings.Error
	fmt.Println(err, errors.As(err, &wrong))
	// Output: LearningRate: -1, expected a finite rate that is not negative true
}

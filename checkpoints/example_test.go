package checkpoints_test

import (
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/skive-ml/skive/checkpoints"
)

// A model is opened whatever its format, and saved as another.
func ExampleOpen() {
	model, err := checkpoints.Open("testdata/safetensors") // a Hugging Face directory, or a .skive file
	if err != nil {
		log.Fatal(err)
	}
	defer model.Close()
	fmt.Println(model.Config.ModelType, len(model.Config.Layers), model.Config.Labels, model.Parameters())

	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := model.SaveSkive(filepath.Join(dir, "model.skive")); err != nil {
		log.Fatal(err)
	}
	// Output: bert 2 [negative neutral positive] 17123
}

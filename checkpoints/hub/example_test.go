package hub_test

import (
	"fmt"
	"log"
	"os"

	"github.com/skive-ml/skive/checkpoints/hub"
)

// Where models come from and go to is what the hub's other tools are told, too. Pull
// downloads one: hub.Pull(ctx, "sentence-transformers/all-MiniLM-L6-v2", "main", options).
func ExampleFromEnvironment() {
	os.Setenv("HF_ENDPOINT", "https://hub.example.org")
	os.Setenv("HF_HUB_CACHE", "models")
	options, err := hub.FromEnvironment()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(options.Endpoint, options.Cache)
	// Output: https://hub.example.org models
}

// Command embed answers requests by a model that is part of the program: one file to
// copy, and none to find.
//
//	go run ./examples/embed "could you play some jazz"
package main

import (
	"context"
	"embed"
	"fmt"
	"log"
	"os"

	"github.com/skive-ml/skive/infer"
)

//go:generate go run ./make model.skive

//go:embed model.skive
var files embed.FS

func main() {
	engine, err := infer.OpenFS(files, "model.skive", infer.Options{Threads: 1})
	if err != nil {
		log.Fatal(err)
	}
	defer engine.Close()
	for _, request := range os.Args[1:] {
		answers, err := engine.Predict(context.Background(), []infer.Input{{Text: request}})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(answers[0].Label)
	}
}

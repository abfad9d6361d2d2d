package score_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/skive-ml/skive/score"
)

func Example() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	in := filepath.Join(dir, "reviews.jsonl")
	if err := os.WriteFile(in, []byte(`{"id": 1, "text": "w7 w30 w8"}`+"\n"), 0o666); err != nil {
		fmt.Println(err)
		return
	}
	o := score.Defaults()
	o.Models = []score.Model{{Path: "../train/testdata/tiny"}}
	o.Inputs, o.Output = []string{in}, filepath.Join(dir, "out")
	o.Columns = score.Columns{"label=color"}
	result, err := score.Run(context.Background(), o)
	if err != nil {
		fmt.Println(err)
		return
	}
	text, _ := os.ReadFile(filepath.Join(o.Output, "part-00000-000000.jsonl"))
	fmt.Printf("%d row: %s", result.Rows, text)
	// Output: 1 row: {"id": 1, "text": "w7 w30 w8","color":"blue"}
}

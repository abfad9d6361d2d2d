// Command skive-beam is skive score on an engine of Apache Beam: on prism, which is in the program, or on
// Flink, Spark or any other job server by --runner and --endpoint.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	_ "github.com/apache/beam/sdks/v2/go/pkg/beam/io/filesystem/local"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/runners"
	_ "github.com/apache/beam/sdks/v2/go/pkg/beam/runners/flink"
	_ "github.com/apache/beam/sdks/v2/go/pkg/beam/runners/prism"
	_ "github.com/apache/beam/sdks/v2/go/pkg/beam/runners/spark"
	_ "github.com/apache/beam/sdks/v2/go/pkg/beam/runners/universal"

	transforms "github.com/skive-ml/skive/beam/score"
	"github.com/skive-ml/skive/score"
)

func main() {
	var o transforms.Options
	model := flag.String("model", "", "`[NAME=]MODEL`,... that answer; each a path or address that all workers reach")
	input := flag.String("input", "", "pattern of files, as of skive score")
	columns := flag.String("columns", "", "`FIELD[=NAME],...` that are added")
	flag.StringVar(&o.Output, "output", "", "`DIRECTORY` of the parts")
	flag.StringVar(&o.TextColumn, "text-column", "", "`NAME` of the column or key of the text")
	flag.StringVar(&o.PairColumn, "pair-column", "", "`NAME` of the second text's")
	flag.StringVar(&o.ChoicesColumn, "choices-column", "", "`NAME` of the list of choices")
	flag.StringVar(&o.Compression, "compression", "", "none, gzip or zstd, of the parts")
	flag.StringVar(&o.MaxBad, "max-bad", "", "`ROWS` of a block, or a share such as 0.1%, that may be bad")
	flag.StringVar(&o.Embedding, "embedding", "", "mean, cls or model: embeddings instead of labels")
	flag.StringVar(&o.DType, "dtype", "", "f32, fp16, bf16 or int8")
	flag.IntVar(&o.MaxLength, "max-length", 0, "cut texts to this number of tokens")
	flag.Int64Var(&o.Block, "block", 0, "bytes of input whose rows make a part")
	flag.IntVar(&o.Threads, "threads", 0, "instances of each model in a worker process (default its cores)")
	flag.Parse()
	transforms.EndWithParent()
	beam.Init() // does not return in a worker
	if err := run(&o, *model, *input, *columns); err != nil {
		fmt.Fprintln(os.Stderr, "skive-beam:", strings.ReplaceAll(err.Error(), "\n", "; "))
		os.Exit(1)
	}
}

func run(o *transforms.Options, models, input, columns string) error {
	if models == "" || input == "" || o.Output == "" {
		return fmt.Errorf("-model, -input and -output are required")
	}
	for arg := range strings.SplitSeq(models, ",") {
		name, path, ok := strings.Cut(arg, "=")
		if !ok {
			name, path = "", arg
		}
		o.Models = append(o.Models, score.Model{Name: name, Path: path})
	}
	if columns != "" {
		o.Columns = strings.Split(columns, ",")
	}
	inputs, err := filepath.Glob(input)
	if err != nil {
		return err
	}
	if len(inputs) == 0 {
		return fmt.Errorf("-input: %s: no such file", input)
	}
	slices.Sort(inputs)
	ctx := context.Background()
	p, s := beam.NewPipelineWithRoot()
	if err := transforms.Files(ctx, s, *o, inputs); err != nil {
		return err
	}
	runner := *runners.Runner
	if runner == "" {
		runner = "prism"
	}
	result, err := beam.Run(ctx, runner, p)
	if err != nil {
		return err
	}
	if result != nil {
		for _, c := range result.Metrics().AllMetrics().Counters() {
			if c.Key.Namespace == "skive" {
				fmt.Printf("%s: %d\n", c.Name(), c.Result())
			}
		}
	}
	return nil
}

// Command reviews counts the verdicts of reviews, as a pipeline of one's own around score.Texts.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/io/textio"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/transforms/stats"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/x/beamx"

	transforms "github.com/skive-ml/skive/beam/score"
	"github.com/skive-ml/skive/score"
)

func init() {
	register.Function1x2(verdict)
	register.Function2x1(line)
}

// verdict is the label of an answer.
func verdict(answer string) (string, error) {
	var a struct {
		Label string `json:"predicted_label"`
	}
	err := json.Unmarshal([]byte(answer), &a)
	return a.Label, err
}

func line(label string, n int) string { return fmt.Sprintf("%s\t%d", label, n) }

func main() {
	model := flag.String("model", "", "model of reviews")
	input := flag.String("input", "", "files of a review a line")
	output := flag.String("output", "verdicts.tsv", "file of labels and how often they occur")
	flag.Parse()
	transforms.EndWithParent()
	beam.Init()
	p, s := beam.NewPipelineWithRoot()
	o := transforms.Options{Models: []score.Model{{Path: *model}}}
	answers, failed := transforms.Texts(s, o, textio.Read(s, *input))
	counts := stats.Count(s, beam.ParDo(s, verdict, answers))
	textio.Write(s, *output, beam.ParDo(s, line, counts))
	textio.Write(s, *output+".failed", failed)
	if err := beamx.Run(context.Background(), p); err != nil {
		log.Fatal(err)
	}
}

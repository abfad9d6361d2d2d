package compress

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
)

// The models that the default command makes, and what they reach, are those of every other
// machine: figures and checksums were made on amd64, and CI asks them of arm64 too. The
// recipe is the default with few steps and examples.
func TestTheDefaultIsTheSameOnEveryMachine(t *testing.T) {
	t.Parallel()
	r := Default()
	r.Reviews = &Reviews{Train: 1500, Dev: 100}
	r.Teacher.Steps, r.Teacher.EvalEvery = 6, 3
	r.Distill.Steps, r.Distill.EvalEvery = 4, 2
	r.Recover.Steps = 2
	r.ImportanceExamples = 64
	for _, o := range []*int{&r.Teacher.BatchSize, &r.Distill.BatchSize, &r.Recover.BatchSize} {
		*o = 16
	}
	report, err := Run(context.Background(), r, Options{Force: true, Output: filepath.Join(t.TempDir(), "out"), Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, row := range report.Rows {
		got = append(got, fmt.Sprintf("%s: %.2f %s", row.Name, row.Metric, row.Checksum))
	}
	if want := []string{
		"teacher, padded: 0.48 bf340c4f", "dynamic length: 0.48 bf340c4f",
		"distilled student: 0.48 67fbb4e1", "fused int8: 0.48 8d8bd950",
		"pruned 25 % heads, 25 % FFN: 0.48 f552772b", "pruned 33 % heads, 50 % FFN: 0.48 ab6f4426",
	}; !slices.Equal(got, want) {
		t.Errorf("got\n%#v\nwant\n%#v", got, want)
	}
}

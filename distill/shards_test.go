package distill

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/skive-ml/skive/checkpoints"
	"github.com/skive-ml/skive/data"
	"github.com/skive-ml/skive/infer"
	"github.com/skive-ml/skive/internal/golden"
	"github.com/skive-ml/skive/settings"
)

func generalText(t *testing.T) *data.Dataset {
	text := &data.Dataset{Task: data.Task{Name: "text", Metric: "accuracy"}}
	for _, e := range golden.Data(t).Examples {
		text.Examples = append(text.Examples, data.Example{Text: e.Text, Label: -1})
	}
	return text
}

func generalOptions() Options {
	o := Defaults()
	o.Soft, o.Relations, o.Hidden, o.RelationHeads, o.Steps, o.BatchSize = 0, 1, 1, 8, 6, 8
	return o
}

// A distillation from shards that two processes made has the weights of one that asks the teacher.
func TestShardsChangeNoBit(t *testing.T) {
	t.Parallel()
	teacher := golden.Model(t)
	student := narrowStudent(t, teacher)
	o := generalOptions()
	ctx := context.Background()
	text := generalText(t)
	want, _, err := General(ctx, teacher, student, text, o)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	killed, running := filepath.Join(dir, ".shard-00000.skivekd-1"), filepath.Join(dir, ".shard-00000.skivekd-2")
	for _, path := range []string{killed, running} {
		if err := os.WriteFile(path, nil, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chtimes(killed, time.Time{}, time.Now().Add(-2*time.Hour)); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		complete, err := MakeShards(ctx, teacher, student, text, dir, settings.Shard{Index: i, Of: 2}, o)
		if err != nil || complete != (i == 1) {
			t.Fatal(complete, err)
		}
		if _, _, err := GeneralFromShards(ctx, teacher, student, dir, o); i == 0 && !errors.Is(err, os.ErrNotExist) {
			t.Errorf("without a manifest: %v", err)
		}
	}
	if _, err := os.Stat(killed); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what a killed process left is still there: %v", err)
	}
	if _, err := os.Stat(running); err != nil {
		t.Error("what another process writes was taken away")
	}
	got, _, err := GeneralFromShards(ctx, teacher, student, dir, o)
	if err != nil {
		t.Fatal(err)
	}
	if !sameTensors(got, want) {
		t.Error("other weights from shards")
	}
	// What is damaged is computed anew.
	path := shardPath(dir, 0)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	l := layoutIn(t, b)
	for at := l.at[0][0]; at < l.size; at += 1001 {
		b[at] ^= 1
	}
	if err := os.WriteFile(path, b, 0o666); err != nil {
		t.Fatal(err)
	}
	if got, _, err = GeneralFromShards(ctx, teacher, student, dir, o); err != nil || !sameTensors(got, want) {
		t.Errorf("damaged outputs: other weights, %v", err)
	}
	b[l.tokensAt+100] ^= 1
	if err := os.WriteFile(path, b, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, _, err = GeneralFromShards(ctx, teacher, student, dir, o); err == nil || !strings.Contains(err.Error(), "the checksum of its tokens is wrong") {
		t.Errorf("damaged tokens: %v", err)
	}
	if complete, err := MakeShards(ctx, teacher, student, text, dir, settings.Shard{}, o); err != nil || !complete {
		t.Errorf("made again: %v, %v", complete, err)
	}
	if _, _, err = GeneralFromShards(ctx, teacher, student, dir, o); err != nil {
		t.Error(err)
	}
}

func TestShardsOfSomethingElse(t *testing.T) {
	t.Parallel()
	teacher := golden.Model(t)
	student := narrowStudent(t, teacher)
	dir, ctx := t.TempDir(), context.Background()
	if _, err := MakeShards(ctx, teacher, student, generalText(t), dir, settings.Shard{}, generalOptions()); err != nil {
		t.Fatal(err)
	}
	other := teacher.Clone()
	other.Tensors["bert.embeddings.LayerNorm.bias"].Data[0] ^= 1
	o := generalOptions()
	if _, _, err := GeneralFromShards(ctx, other, student, dir, o); !errors.Is(err, ErrShards) || !strings.Contains(err.Error(), "another teacher") {
		t.Error(err)
	}
	o.Embeddings = 1
	if _, _, err := GeneralFromShards(ctx, teacher, student, dir, o); !errors.Is(err, ErrShards) || !strings.Contains(err.Error(), "the losses read embeddings") {
		t.Error(err)
	}
	o = generalOptions()
	o.MaxLength = 5
	if _, _, err := GeneralFromShards(ctx, teacher, student, dir, o); !errors.Is(err, ErrShards) || !strings.Contains(err.Error(), "MaxLength: 5") {
		t.Error(err)
	}
	o = generalOptions()
	o.TeacherPrecision = infer.BF16
	if _, _, err := GeneralFromShards(ctx, teacher, student, dir, o); !errors.Is(err, ErrShards) {
		t.Error(err)
	}
	// Nor are they replaced, or taken for what was asked for.
	var exists *checkpoints.ExistsError
	for share := range 2 {
		if _, err := MakeShards(ctx, other, student, generalText(t), dir, settings.Shard{Index: share, Of: 2}, generalOptions()); !errors.As(err, &exists) {
			t.Errorf("share %d of another teacher: %v", share, err)
		}
	}
	if _, _, err := GeneralFromShards(ctx, teacher, student, dir, generalOptions()); err != nil {
		t.Error(err)
	}
	if err := os.Remove(filepath.Join(dir, "shard-00000.skivekd")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := GeneralFromShards(ctx, teacher, student, dir, generalOptions()); err == nil || !strings.Contains(err.Error(), "shard-00000.skivekd") {
		t.Error(err)
	}
}

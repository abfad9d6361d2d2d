//go:build linux

package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// command makes command lines that succeed without faults.
type command struct {
	name   string
	weight int
	build  func(*round) error
}

var commands = []command{
	{"train", 12, buildTrain},
	{"distill", 8, buildDistill},
	{"prune", 8, buildPrune},
	{"quantize", 10, buildQuantize},
	{"export", 10, buildExport},
	{"eval", 8, buildEval},
	{"predict", 12, buildPredict},
	{"reference", 4, buildReference},
	{"bench", 4, buildBench},
	{"inspect", 5, buildInspect},
	{"data show", 4, buildShow},
	{"data convert", 4, buildConvert},
	{"data generate", 2, buildGenerate},
	{"compress", 5, buildCompress},
	{"pull", 1, buildPull},
}

// trainingFlags returns flags that train, distill and prune --recover share.
func (r *round) trainingFlags() []string {
	flags := []string{"--steps", r.one("2", "3", "6"), "--batch-size", r.one("4", "8"), "--lr", "1e-3", "--eval-every", r.one("1", "2")}
	if r.chance(2) && r.command != "prune" {
		flags = append(flags, "--save-every", "1")
	}
	switch r.IntN(8) {
	case 0:
		flags = append(flags, "--quantize-aware", r.one("dynamic", "static"))
	case 1:
		flags = append(flags, "--recompute")
	case 2:
		flags = append(flags, "--precision", "bf16")
	case 3:
		flags = append(flags, "--accumulate", "2", "--schedule", "cosine", "--layer-decay", "0.9")
	case 4:
		r.beside = append(r.beside, "log", "log.seed-1", "log.seed-2", "events", "events.seed-1", "events.seed-2")
		flags = append(flags, "--log", "log", "--tensorboard", "events")
	}
	return flags
}

// sets returns flags for the training and the development file.
func (r *round) sets() ([]string, error) {
	train, err := r.data(r.task)
	if err != nil {
		return nil, err
	}
	dev, err := r.data(r.task)
	return []string{"--task", r.task, "--train", train, "--dev", dev}, err
}

func buildTrain(r *round) error {
	sets, err := r.sets()
	if err != nil {
		return err
	}
	source := []string{"--model", ""}
	if r.chance(3) {
		dir, err := r.copy("config-"+r.one(slices.Sorted(maps.Keys(configs))...), "config")
		if err != nil {
			return err
		}
		source = []string{"--config", filepath.Join(dir, "config.json")}
	} else if source[1], err = r.model(r.task, false); err != nil {
		return err
	}
	out := r.writesModel("out")
	switch r.IntN(6) {
	case 0:
		r.parts = []string{"seed-1", "seed-2"}
		out = append(out, "--seeds", "2")
	case 1:
		r.parts = []string{"", "last"}
		out = append(out, "--keep-last")
	}
	r.add(slices.Concat(source, sets, out, r.trainingFlags())...)
	return nil
}

func buildDistill(r *round) error {
	teacher, err := r.model(r.task, false)
	if err != nil {
		return err
	}
	sets, err := r.sets()
	if err != nil {
		return err
	}
	student := []string{"--layers", "1"}
	switch r.IntN(6) {
	case 0:
		student = []string{"--teacher-layers", "1"}
	case 1:
		student = []string{"--layers", "1", "--init", "random", "--hidden", "16", "--heads", "2", "--ffn", "32"}
	case 2:
		student = []string{"--layers", "1", "--hidden-loss", "1", "--embeddings", "0.1"}
	case 3:
		student = []string{"--layers", "1", "--relations", "1", "--relation-heads", "2", "--cache", "cache"}
		r.beside = append(r.beside, "cache")
	}
	r.add(slices.Concat([]string{"--teacher", teacher}, sets, student, r.writesModel("out"), r.trainingFlags())...)
	return nil
}

func buildPrune(r *round) error {
	model, err := r.model(r.task, false)
	if err != nil {
		return err
	}
	sets, err := r.sets()
	if err != nil {
		return err
	}
	cut := [][]string{{"--heads", "1", "--ffn", "16", "--importance", "magnitude"}}
	if _, err := os.Stat(r.path(model, "vocab.txt")); err == nil { // WordPiece
		cut = append(cut, []string{"--prune-vocab"})
	}
	if r.task != "mlm" { // its loss depends on random masks
		cut = append(cut, []string{"--heads", "1", "--ffn", "32", "--global"}, []string{"--target-flops", "0.7"},
			[]string{"--heads", "1", "--ffn", "32", "--layers", "1"},
			[]string{"--heads", "1", "--rearrange", "--tune"}, []string{"--ffn", "16", "--importance", "fisher"})
		if r.chance(20) {
			cut, r.excused.varies = [][]string{{"--target-speedup", "1.1"}}, true
		}
	}
	flags := cut[r.IntN(len(cut))]
	if r.chance(3) && flags[0] == "--heads" {
		flags = slices.Concat(flags, []string{"--recover"}, r.trainingFlags())
	}
	r.add(slices.Concat([]string{"--model", model}, sets, flags, r.writesModel("out"))...)
	return nil
}

func buildQuantize(r *round) error {
	model, err := r.model(r.task, false)
	if err != nil {
		return err
	}
	var flags []string
	switch r.IntN(5) {
	case 0:
		flags = []string{"--embeddings"}
	case 1:
		flags = []string{"--dtype", r.one("fp16", "bf16", "f32")}
	case 2:
		file, err := r.input("inputs", strings.Join(tasks[r.task].probes, "\n")+"\n")
		if err != nil {
			return err
		}
		flags = []string{"--calibrate", file, "--calibrate-method", r.one("minmax", "percentile", "entropy", "mse")}
	case 3:
		if r.task != "mlm" {
			file, err := r.data(r.task)
			if err != nil {
				return err
			}
			flags = []string{"--max-drop", r.one("0", "1"), "--task", r.task, "--data", file}
		}
	}
	r.add(slices.Concat([]string{"--model", model}, flags, r.writesModel("out.skive"))...)
	return nil
}

func buildExport(r *round) error {
	format := r.one("hf", "onnx", "skive")
	model, err := r.model(r.task, format != "hf" && r.chance(2))
	if err != nil {
		return err
	}
	flags := []string{"--model", model, "--format", format}
	if r.chance(3) {
		flags = append(flags, "--dtype", "f32")
	}
	switch format {
	case "hf":
		flags = append(flags, r.writesModel("out")...)
	case "skive":
		flags = append(flags, r.writesModel("out.skive")...)
	case "onnx":
		if r.chance(2) {
			flags = append(flags, r.writesFiles("out", "model.onnx")...)
		} else {
			flags = append(flags, r.writesFiles("out.onnx")...)
			r.beside = append(r.beside, "vocab.txt", "vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json", "config.json")
		}
	}
	r.add(flags...)
	return nil
}

func buildEval(r *round) error {
	model, err := r.anyModel(r.task)
	if err != nil {
		return err
	}
	file, err := r.data(r.task)
	if err != nil {
		return err
	}
	r.add("--model", model, "--task", r.task, "--data", file)
	if r.chance(3) && r.task != "mlm" { // other tokenizers have other words
		other, err := r.anyModel(r.task)
		if err != nil {
			return err
		}
		r.add("--against", other)
	}
	return nil
}

func buildPredict(r *round) error {
	model, err := r.anyModel(r.task)
	if err != nil {
		return err
	}
	r.add("--model", model)
	if r.chance(4) && r.task != "choice" {
		r.add("--embedding", r.one("mean", "cls"))
	}
	if r.chance(3) {
		r.add("--dtype", r.one("f32", "int8", "bf16", "fp16"))
	}
	lines := tasks[r.task].probes
	var b strings.Builder
	for range r.one("", "123456", strings.Repeat("x", 500)) {
		fmt.Fprintln(&b, lines[r.IntN(len(lines))])
	}
	r.stdin = []byte(b.String())
	return nil
}

func buildReference(r *round) error {
	model, err := r.anyModel(r.task)
	if err != nil {
		return err
	}
	file, err := r.input("inputs", strings.Join(tasks[r.task].probes, "\n")+"\n")
	if err != nil {
		return err
	}
	r.add(slices.Concat([]string{"--model", model, "--data", file}, r.writesModel("out.skive"))...)
	return nil
}

func buildBench(r *round) error {
	r.excused.varies = true
	if r.chance(4) {
		dir, err := r.copy("config-"+r.one(slices.Sorted(maps.Keys(configs))...), "config")
		r.add("--config", filepath.Join(dir, "config.json"), "--duration", "20ms", "--seq", "8")
		return err
	}
	if r.chance(4) {
		model, err := r.model("text", false)
		r.add("--model", model, "--train", "--steps", "2")
		return err
	}
	model, err := r.anyModel(r.task)
	r.add("--model", model, "--duration", "20ms", "--batch", r.one("1", "4"))
	if r.chance(2) {
		r.add("--profile")
	}
	return err
}

func buildInspect(r *round) error {
	model, err := r.anyModel(r.task)
	if err != nil {
		return err
	}
	if !r.chance(3) {
		r.args = []string{"--", model}
		return nil
	}
	other, err := r.anyModel(r.task)
	r.args = []string{"--diff", "--", model, other}
	return err
}

func buildShow(r *round) error {
	file, err := r.data(r.task)
	r.args = []string{"--task", r.task, "--", file}
	return err
}

func buildConvert(r *round) error {
	file, err := r.data(r.task)
	r.args = slices.Concat([]string{"--task", r.task}, r.writesFiles("out.jsonl"), []string{"--", file})
	return err
}

func buildGenerate(r *round) error {
	r.add(append(r.writesFiles("out", "train.jsonl", "dev.jsonl"), "--train", r.one("1", "100", "5000"), "--dev", "50")...)
	return nil
}

func buildCompress(r *round) error {
	r.task = "text"
	sets, err := r.sets()
	if err != nil {
		return err
	}
	model, err := r.model(r.task, false)
	if err != nil {
		return err
	}
	training := "batch_size: 8, lr: 0.001, steps: " + r.one("1", "3")
	recipe := fmt.Sprintf("teacher: {%[1]s}\nstudent: {layers: 1}\ndistill: {%[1]s}\nrecover: {%[1]s}\nprune: [{heads: 0.5, ffn: 0.5}]\ninstances: 1\n", training)
	parts := []string{"teacher", "student", "student-int8.skive", "pruned-50-50-int8.skive"}
	switch r.IntN(8) {
	case 0:
		recipe += "quantize_aware: {activations: dynamic, " + training + "}\n"
	case 1:
		recipe = strings.Replace(recipe, "prune: [{heads: 0.5, ffn: 0.5}]", "target_speedup: 1.1", 1)
		parts = parts[:2]
		r.excused.varies, r.excused.failure = true, true // perhaps no student is that fast
	}
	file, err := r.input("recipe.yaml", recipe)
	r.add(slices.Concat([]string{"--model", model, "--force"}, sets, []string{"--recipe", file}, r.writesModel("out", parts...))...)
	return err
}

func buildPull(r *round) error {
	r.args = []string{"--", r.one("owner/name", "owner/name@v1", "owner", "../name", "owner/name@../x", "a/b@")}
	r.excused.refusal, r.excused.failure = true, true // no hub has these models
	r.excused.long = time.Second                      // pull retries for longer
	r.setting.env = append(r.setting.env, "HF_ENDPOINT="+r.pool.hub.URL+"/"+r.one(slices.Sorted(maps.Keys(hubs))...))
	return nil
}

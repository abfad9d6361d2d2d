package main

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// What has no end or no sense of size is refused in one line, for every file that
// a command reads and every count that decides how much it allocates.
func TestBoundsOfFilesAndCounts(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("no /dev/zero")
	}
	dir := t.TempDir()
	model := filepath.Join("..", "..", "train", "testdata", "tiny")
	words := filepath.Join(dir, "words.jsonl")
	if err := os.WriteFile(words, []byte(strings.Repeat(`{"text": "w9 w20", "label": "red"}`+"\n", 4)), 0o600); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "out")
	sets := []string{"--task", "text", "--train", words, "--dev", words, "-o", out}
	config := func(name, sizes string) string {
		path := filepath.Join(dir, name)
		text := `{"model_type": "bert", "vocab_size": 100, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8, "max_position_embeddings": 16` + sizes + "}"
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const zero, device = "/dev/zero", "/dev/zero: is a device, expected a "
	for _, c := range []struct {
		args string // %s is the sets' flags
		want string
	}{
		{"data show --task text " + zero, device + "file or a pipe"},
		{"data show --task tokens " + zero, device},
		{"data show --task mlm " + dir, dir + ": is a directory, expected a file or a pipe"},
		{"data convert --task text " + zero + " -o " + out, device},
		{"eval --task text --model " + model + " --data " + zero, "--data: open " + device},
		{"eval --task text --model " + zero + " --data " + words, "--model: open " + device + "regular file"},
		{"train --model " + model + " --task text --train " + zero + " --dev " + words + " -o " + out, "--train: open " + device},
		{"train --model " + model + " --task text --train " + words + " --dev " + zero + " -o " + out, "--dev: open " + device},
		{"train --config " + zero + " %s", "--config: open " + device},
		{"distill --teacher " + zero + " --layers 1 %s", "--teacher: open " + device},
		{"distill --teacher " + model + " --layers 1 --stages " + zero + " %s", "--stages: open " + device},
		{"distill --teacher " + model + " --layers 1 --unlabeled " + zero + " %s", "--unlabeled: open " + device},
		{"distill --general --teacher " + model + " --layers 1 --relations 1 --text " + zero + " -o " + out, "--text: open " + device},
		{"compress --recipe " + zero + " -o " + out, "--recipe: open " + device},
		{"compress --model " + zero + " %s", "--model: open " + device},
		{"quantize --model " + model + " --calibrate " + zero + " -o " + out, "--calibrate: open " + device},
		{"bench --model " + model + " --data " + zero, "--data: open " + device},
		{"bench --train --model " + model + " --data " + zero, "--data: open " + device},
		{"inspect " + zero, device + "regular file"},
		{"predict --model " + zero, "--model: open " + device},
		{"export --format hf --model " + zero + " -o " + out, "--model: open " + device},

		{"train --model " + model + " --batch-size 1000000000 %s", "--batch-size: 1000000000, expected a positive number of examples, 65536 at most"},
		{"train --model " + model + " --batch-tokens 1000000000000 %s", "--batch-tokens: 1000000000000, expected a positive number of tokens, 4194304 at most"},
		{"train --model " + model + " --accumulate 1000000000 %s", "--accumulate: 1000000000, expected a positive number of batches, 65536 at most"},
		{"train --model " + model + " --epochs 1000000000 %s", "--epochs: 1000000000, expected a positive number, 100000 at most"},
		{"train --model " + model + " --seeds 1000000000 %s", "--seeds: 1000000000, expected a positive number of runs, 1000 at most"},
		{"train --model " + model + " --max-length 1000000000 %s", "--max-length: 1000000000, expected at most the model's"},
		{"train --threads 1000000000 --model " + model + " %s", "--threads: 1000000000, expected 1 to 4096"},
		{"distill --teacher " + model + " --layers 1 --augment 1000000000 %s", "--augment: 1000000000, expected a positive number of copies, 1000 at most"},
		{"distill --teacher " + model + " --layers 1 --augment 1 --augment-candidates 1000000000 %s", "--augment-candidates: 1000000000, expected a positive number of words, 1000 at most"},
		{"distill --teacher " + model + " --layers 1 --init random --hidden 16000000 --ffn 16000000 %s", "weights, expected 2147483648 at most"},
		{"compress --instances 1000000000 -o " + out, "--instances: 1000000000, expected 0 to 4096"},
		{"bench --model " + model + " --batch 1000000000", "--batch: 1000000000, expected 1 to 65536"},
		{"bench --model " + model + " --seq 1000000000", "--seq: 1000000000, expected 1 to"},
		{"bench --model " + model + " --instances 1000000000", "--instances: 1000000000, expected 1 to 4096"},
		{"bench --train --model " + model + " --steps 1000000000", "--steps: 1000000000, expected 1 to 100000"},
		{"bench --train --model " + model + " --batch 60000 --steps 100000 --seq 4", "--steps: 100000, expected 14 at most in batches of 60000 with 4 tokens each"},
		{"bench --config " + config("wide.json", `, "hidden_size": 16000000, "num_attention_heads": 1`), "wide.json: the sizes make a model of"},
		{"bench --config " + config("deep.json", `, "num_hidden_layers": 1000000000`), "deep.json: num_hidden_layers is 1000000000, expected 1 to 4096"},
		{"data generate --train 1000000000000 -o " + out, "--train: 1000000000000, expected 1 to 1000000 examples"},
	} {
		t.Run(c.want, func(t *testing.T) {
			var args []string
			for _, a := range strings.Fields(c.args) {
				if a == "%s" {
					args = append(args, sets...)
				} else {
					args = append(args, a)
				}
			}
			code, stdout, stderr := execute(t, append(args, "-q")...)
			if code == 0 || stdout != "" || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, c.want) {
				t.Errorf("%s: exit %d, %q, want %s", c.args, code, stderr, c.want)
			}
		})
	}
}

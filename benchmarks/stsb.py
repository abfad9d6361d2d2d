"""Spearman's correlation of a sentence-transformers model's similarities with those that people gave, in several number formats.

    python3 benchmarks/stsb.py --model DIR --pairs stsb-en-test.csv

The file has a line "sentence, sentence, score" for each pair, as https://github.com/PhilipMay/stsb-multi-mt has STS-B. Embeddings are
made by `skive predict --embedding model`, that is, pooled, normalized and cut as the model's files say.
"""

import argparse
import csv
import json
import math
import os
import subprocess
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def ranks(values):
    """The ranks of the values; equal ones have the mean of theirs."""
    order = sorted(range(len(values)), key=values.__getitem__)
    out = [0.0] * len(values)
    i = 0
    while i < len(order):
        j = i
        while j < len(order) and values[order[j]] == values[order[i]]:
            j += 1
        for k in order[i:j]:
            out[k] = (i + j - 1) / 2
        i = j
    return out


def pearson(a, b):
    ma, mb = sum(a) / len(a), sum(b) / len(b)
    dot = sum((x - ma) * (y - mb) for x, y in zip(a, b))
    return dot / math.sqrt(sum((x - ma) ** 2 for x in a) * sum((y - mb) ** 2 for y in b))


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", required=True)
    p.add_argument("--pairs", required=True)
    p.add_argument("--dtype", nargs="*", default=["f32", "bf16", "int8"])
    a = p.parse_args()
    with open(a.pairs, newline="", encoding="utf-8") as f:
        rows = list(csv.reader(f))
    texts = "".join(" ".join(t.split()) + "\n" for first, second, _ in rows for t in (first, second))
    scores = ranks([float(score) for _, _, score in rows])
    with tempfile.TemporaryDirectory() as d:
        skive = os.path.join(d, "skive")
        subprocess.run(["go", "build", "-o", skive, "./cmd/skive"], cwd=ROOT, check=True)
        for dtype in a.dtype:
            command = [skive, "predict", "-q", "--model", a.model, "--embedding", "model", "--dtype", dtype]
            out = subprocess.run(command, input=texts, text=True, stdout=subprocess.PIPE, check=True).stdout
            v = [json.loads(line) for line in out.splitlines()]
            print(f"{dtype}: {100 * pearson(ranks([cosine(*pair) for pair in zip(v[::2], v[1::2])]), scores):.2f}", flush=True)


if __name__ == "__main__":
    main()

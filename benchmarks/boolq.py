"""BoolQ end to end: FastFormers' headline, and mixed lengths against ONNX Runtime.

    benchmarks/.venv/bin/python benchmarks/boolq.py --boolq val.jsonl.gz --vocab vocab.txt

Weights are random, texts and their lengths are real. The headline compares PyTorch's f32 12L-768 (SDPA, all threads, one example at a
time, padded to 512 tokens) with our int8 4L-312 with 8 heads and 600 feed-forward units over all inputs, one `skive predict` process
from its start to its end: loading and tokenization count against us alone. Mixed lengths are all inputs in the order of the file, 32 at a
time, int8: ONNX Runtime with each batch padded to its longest against `skive bench`. The runtimes take turns.
"""

import argparse
import gzip
import json
import os
import shutil
import subprocess
import tempfile
import time

from infer import HERE, make

SMALL, BASE = "4L-312-8h-600", "12L-768"


def median(values):
    return sorted(values)[len(values) // 2]


def torch_seconds(folder, encoded, samples):
    """Median seconds of one example padded to 512 tokens."""
    import torch
    from transformers import BertForSequenceClassification

    model = BertForSequenceClassification.from_pretrained(folder, attn_implementation="sdpa").eval()
    times = []
    with torch.inference_mode():
        for e in encoded[:: max(1, len(encoded) // samples)][:samples]:
            n, pad = len(e.ids), 512 - len(e.ids)
            tensors = [torch.tensor([x + [0] * pad]) for x in (e.ids, [1] * n, e.type_ids)]
            start = time.perf_counter()
            model(input_ids=tensors[0], attention_mask=tensors[1], token_type_ids=tensors[2])
            times.append(time.perf_counter() - start)
    return median(times[1:])


def ort_rate(file, encoded, threads):
    """Examples a second in batches of 32, each padded to its longest."""
    import numpy as np
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    names = {i.name for i in session.get_inputs()}
    start = time.perf_counter()
    for at in range(0, len(encoded), 32):
        batch = encoded[at:at + 32]
        longest = max(len(e.ids) for e in batch)
        rows = lambda f: np.array([f(e) + [0] * (longest - len(e.ids)) for e in batch], np.int64)
        inputs = {"input_ids": rows(lambda e: e.ids), "attention_mask": rows(lambda e: [1] * len(e.ids)), "token_type_ids": rows(lambda e: e.type_ids)}
        session.run(None, {k: v for k, v in inputs.items() if k in names})
    return len(encoded) / (time.perf_counter() - start)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--boolq", required=True, help="val.jsonl of BoolQ, may be .gz")
    p.add_argument("--vocab", required=True, help="BERT's vocab.txt, uncased")
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--samples", type=int, default=50, help="inputs that PyTorch is timed on")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--limit", type=int, help="use the first inputs alone")
    p.add_argument("--mixed", default=f"{SMALL},4L-312,{BASE}", help="shapes for mixed lengths")
    o = p.parse_args()

    from tokenizers import BertWordPieceTokenizer

    with (gzip.open if o.boolq.endswith(".gz") else open)(o.boolq, "rt") as f:
        pairs = [(r["passage"], r["question"]) for r in map(json.loads, f)][: o.limit]
    tokenizer = BertWordPieceTokenizer(o.vocab, lowercase=True)
    tokenizer.enable_truncation(512, strategy="longest_first")
    encoded = tokenizer.encode_batch(pairs)
    print(f"{len(encoded)} inputs, {sum(len(e.ids) for e in encoded) / len(encoded):.0f} tokens on average, {o.threads} threads", flush=True)

    with tempfile.TemporaryDirectory() as scratch:
        skive, inputs = os.path.join(scratch, "skive"), os.path.join(scratch, "inputs.jsonl")
        subprocess.run(["go", "build", "-o", skive, "./cmd/skive"], cwd=os.path.dirname(HERE), check=True)
        with open(inputs, "w") as f:
            f.writelines(json.dumps({"text": a, "text_pair": b}) + "\n" for a, b in pairs)
        shapes = list(dict.fromkeys([SMALL, BASE] + o.mixed.split(",")))
        for shape in shapes:
            folder = os.path.join(scratch, shape)
            make(shape, folder)
            shutil.copy(o.vocab, os.path.join(folder, "vocab.txt"))
            subprocess.run([skive, "quantize", "--model", folder, "-q", "-o", folder + ".skive"], check=True, capture_output=True)

        theirs, ours = [], []
        for _ in range(o.rounds):
            theirs.append(torch_seconds(os.path.join(scratch, BASE), encoded, o.samples))
            start = time.perf_counter()
            with open(inputs) as f:
                subprocess.run([skive, "predict", "--model", os.path.join(scratch, SMALL + ".skive"), "--threads", str(o.threads), "--json", "-q"],
                               stdin=f, stdout=subprocess.DEVNULL, check=True)
            ours.append((time.perf_counter() - start) / len(pairs))
        print(f"end to end: PyTorch {median(theirs) * 1e3:.1f} ms, Skive {median(ours) * 1e3:.3f} ms an example: {median(theirs) / median(ours):.0f} x", flush=True)

        for shape in o.mixed.split(","):
            theirs, ours = [], []
            folder = os.path.join(scratch, shape)
            for _ in range(o.rounds):
                theirs.append(max(ort_rate(os.path.join(folder, name + "-int8.onnx"), encoded, o.threads) for name in ("ort", "ort-fused")))
                seconds = 1.5 * len(encoded) / theirs[0]
                command = [skive, "bench", "--model", folder + ".skive", "--data", inputs, "--batch", "32", "--threads", str(o.threads),
                           "--duration", f"{seconds:.1f}s", "--json"]
                ours.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["examples_per_s"])
            print(f"mixed lengths, {shape}: ONNX Runtime {median(theirs):.1f}, Skive {median(ours):.1f} examples/s: {median(ours) / median(theirs):.2f} x", flush=True)


if __name__ == "__main__":
    main()

"""Compares Skive's training steps with PyTorch's: the same weights and the same examples, taking turns in one run.

    benchmarks/setup.sh
    benchmarks/.venv/bin/python benchmarks/train.py --data ../shared/data --tokenizer DIR -o train.json [--only 4L-312,...] [--rounds 3]

PyTorch runs the Hugging Face model with SDPA and with eager attention, of which the faster counts, fused AdamW with clipping at 1,
dropout 0.1, dynamic padding per batch, on all cores. It stays loaded and waits while Skive runs; Skive is a fresh process each
time. A figure is the median step of a turn; a ratio divides the figures of one round, and the median of the rounds' ratios counts.
Cases that OUT.json holds already are not measured again, so that a broken-off run can be continued.

With --precision bf16, for CPUs that have AVX512_BF16, PyTorch runs its steps under torch.autocast in bfloat16 and Skive its own with
--precision bf16. Of the distillation the teacher alone is then in bf16, against PyTorch's step in f32.

Cases: the shapes by name, with batches of 128 random tokens; distill, a TinyBERT-style step 12L-768 to 4L-312 (hidden states
through a projection, and logits); distill-attention, the same with attention scores before the softmax, for which PyTorch has an
attention of its own that keeps them, in the place of SDPA and eager; sst2 and boolq, real lengths, consecutive examples of a shuffled slice (--data: a directory with
glue/SST-2/train.tsv.gz and superglue/BoolQ/train.part-olora-2000.json.gz; --tokenizer: a Hugging Face directory with an uncased
WordPiece tokenizer.json and vocab.txt). There the ratio is of examples per second, so more is better.
"""

import argparse
import gzip
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
VOCABULARY, THREADS, WARM = 30522, os.cpu_count(), 3  # WARM as in skive bench --train
# name: layers, hidden size, heads, intermediate size
SHAPES = {"4L-312": (4, 312, 12, 1200), "6L-384": (6, 384, 12, 1536), "12L-768": (12, 768, 12, 3072)}
# name: shape, batch, tokens of each example (0: real lengths), measured steps of a turn, bar
CASES = {
    "4L-312": ("4L-312", 16, 128, 6, "<= 0.70"),
    "6L-384": ("6L-384", 16, 128, 4, "<= 0.75"),
    "12L-768": ("12L-768", 8, 128, 3, "<= 0.85"),
    "distill": ("4L-312", 8, 128, 4, "<= 0.88"),
    "distill-attention": ("4L-312", 8, 128, 4, ""),
    "sst2": ("6L-384", 32, 0, 16, ">= 2"),
    "boolq": ("6L-384", 16, 0, 8, ">= 2"),
}
BF16_BARS = {"4L-312": "<= 0.80", "6L-384": "<= 0.80", "12L-768": "<= 0.80", "distill": "<= 0.60", "distill-attention": "",
             "sst2": "", "boolq": ""}


def make(shape, folder, tokenizer):
    """Writes random weights of a shape as a directory that both read."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    layers, hidden, heads, intermediate = SHAPES[shape]
    torch.manual_seed(1)
    BertForSequenceClassification(BertConfig(vocab_size=VOCABULARY, hidden_size=hidden, num_hidden_layers=layers,
                                             num_attention_heads=heads, intermediate_size=intermediate)).save_pretrained(folder)
    for name in ("tokenizer.json", "vocab.txt") if tokenizer else ():
        if os.path.exists(os.path.join(tokenizer, name)):
            shutil.copy(os.path.join(tokenizer, name), folder)


def examples(case, folder, count):
    """A shuffled slice of a data set, as lists of (text, pair or None)."""
    if case == "sst2":
        with gzip.open(os.path.join(folder, "glue/SST-2/train.tsv.gz"), "rt") as f:
            rows = [(line.split("\t")[0].strip(), None) for line in f][1:]
    else:
        with gzip.open(os.path.join(folder, "superglue/BoolQ/train.part-olora-2000.json.gz"), "rt") as f:
            text = f.read()
        rows = [r["sentence"].removeprefix("question: ").split("\npassage: ", 1) for r in json.loads(text)]
    random.Random(1).shuffle(rows)
    return rows[:count]


def scored(module, query, key, value, attention_mask, scaling=None, dropout=0.0, **_):
    """Attention that keeps its scores before the softmax, [batch, heads, tokens, tokens]."""
    import torch

    module.scores = query @ key.transpose(2, 3) * (scaling or query.shape[-1] ** -0.5)
    masked = module.scores if attention_mask is None else module.scores + attention_mask
    weights = torch.nn.functional.dropout(masked.softmax(-1), dropout, module.training)
    return (weights @ value).transpose(1, 2).contiguous(), weights


def attentions(case):
    """The attention implementations that a case tries."""
    return ("scored",) if case == "distill-attention" else ("sdpa", "eager")


def torch_worker(case, folder, teacher, data, attention, precision):
    """Waits for lines on standard input, does a turn of steps for each, and prints the milliseconds of all of them."""
    import torch
    from transformers import AttentionInterface, BertForSequenceClassification

    AttentionInterface.register("scored", scored)
    shape, batch, seq, steps, _ = CASES[case]
    torch.set_num_threads(THREADS)
    torch.manual_seed(1)
    model = BertForSequenceClassification.from_pretrained(folder, attn_implementation=attention).train()
    parameters = list(model.parameters())
    projections = []
    if teacher:
        big = BertForSequenceClassification.from_pretrained(teacher, attn_implementation=attention).eval()
        projections = [torch.nn.Linear(model.config.hidden_size, big.config.hidden_size, bias=False) for _ in range(2)]
        parameters += [p for layer in projections for p in layer.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=5e-5, weight_decay=0.01, fused=True)
    if seq:
        r = random.Random(1)
        tokens = [[r.randrange(5, VOCABULARY) for _ in range(seq)] for _ in range(batch * (steps + WARM))]
    else:
        from tokenizers import Tokenizer
        tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.enable_truncation(512)
        with open(data) as f:
            rows = [json.loads(line) for line in f]
        encoded = [tokenizer.encode(r["text"], r["text_pair"]) if "text_pair" in r else tokenizer.encode(r["text"]) for r in rows]
        tokens, types = [e.ids for e in encoded], [e.type_ids for e in encoded]

    def collate(at):
        chosen = range(at, at + batch)
        n = max(len(tokens[i]) for i in chosen)
        pad = lambda rows: torch.tensor([rows[i] + [0] * (n - len(rows[i])) for i in chosen])
        x = {"input_ids": pad(tokens)}
        if seq:
            x["attention_mask"] = torch.ones_like(x["input_ids"])
        else:
            x["token_type_ids"] = pad(types)
            x["attention_mask"] = torch.tensor([[1] * len(tokens[i]) + [0] * (n - len(tokens[i])) for i in chosen])
        return x, torch.tensor([i % 2 for i in chosen])

    autocast = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16" and not teacher)

    def loss_of(x, y):
        if teacher:
            with torch.no_grad():
                target = big(**x, output_hidden_states=True)
            out = model(**x, output_hidden_states=True)
            n, m = len(out.hidden_states) - 1, len(target.hidden_states) - 1
            hidden = [torch.nn.functional.mse_loss(projections[min(i, 1)](h), target.hidden_states[i * m // n])
                      for i, h in enumerate(out.hidden_states)]
            loss = sum(hidden) / len(hidden) + torch.nn.functional.cross_entropy(out.logits, target.logits.softmax(-1))
            if attention == "scored":
                small, large = ([layer.attention.self.scores for layer in m.bert.encoder.layer] for m in (model, big))
                loss = loss + sum(torch.nn.functional.mse_loss(x, large[(i + 1) * len(large) // len(small) - 1]) for i, x in enumerate(small)) / len(small)
            return loss
        return torch.nn.functional.cross_entropy(model(**x).logits, y)

    def step(x, y):
        with autocast:
            loss = loss_of(x, y)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        return loss.item()

    print("ready", flush=True)
    for _ in sys.stdin:
        times = []
        for i in range(steps + WARM):
            start = time.perf_counter()
            x, y = collate(i * batch)
            step(x, y)
            times.append((time.perf_counter() - start) * 1e3)
        print(json.dumps(times[WARM:]), flush=True)


def skive_turn(case, skive, folder, teacher, data, precision):
    _, batch, seq, steps, _ = CASES[case]
    command = [skive, "bench", "--train", "--model", folder, "--batch", str(batch), "--steps", str(steps), "--threads", str(THREADS),
               "--json", "-q", "--profile"]
    command += ["--seq", str(seq)] if seq else ["--data", data]
    command += ["--teacher", teacher, "--teacher-precision", precision] if teacher else ["--precision", precision]
    command += ["--attention"] if case == "distill-attention" else []
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr}")
    return json.loads(done.stdout)


def measure(case, skive, scratch, o):
    shape, batch, seq, steps, bar = CASES[case]
    if o.precision == "bf16":
        bar = BF16_BARS[case]
    folder = os.path.join(scratch, shape)
    teacher = os.path.join(scratch, "12L-768") if case.startswith("distill") else ""
    for name, path in ((shape, folder), ("12L-768", teacher)):
        if path and not os.path.exists(path):
            subprocess.run([sys.executable, "-c", f"import sys; sys.path.insert(0, {HERE!r}); import train; "
                            f"train.make({name!r}, {path!r}, {o.tokenizer!r})"], check=True, capture_output=True)
    data = ""
    if not seq:
        data = os.path.join(scratch, case + ".jsonl")
        with open(data, "w") as f:
            for text, second in examples(case, o.data, batch * (steps + WARM)):
                f.write(json.dumps({"text": text} | ({"text_pair": second} if second else {})) + "\n")
    workers = {}
    for attention in attentions(case):
        workers[attention] = subprocess.Popen([sys.executable, __file__, "--worker", case, folder, teacher, data, attention, o.precision],
                                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        for attention, w in workers.items():
            if w.stdout.readline().strip() != "ready":
                sys.exit(f"{case}: PyTorch with {attention} attention does not start")
        rounds = []
        for number in range(o.rounds):
            turn = {}
            for attention, w in workers.items():
                w.stdin.write("\n")
                w.stdin.flush()
                times = json.loads(w.stdout.readline())
                turn[attention] = statistics.median(times) if seq else sum(times) / len(times)
            ours = skive_turn(case, skive, folder, teacher, data, o.precision)
            turn["skive"] = ours["step_ms"] if seq else 1e3 * batch / ours["examples_per_s"]
            turn["report"] = ours
            theirs = min(turn[attention] for attention in workers)
            turn["ratio"] = turn["skive"] / theirs if seq else theirs / turn["skive"]
            rounds.append(turn)
            times = ", ".join(f"{name} {turn[name]:.0f}" for name in (*workers, "skive"))
            print(f"    {case} round {number + 1}: {times} ms, ratio {turn['ratio']:.3f}", file=sys.stderr, flush=True)
    finally:
        for w in workers.values():
            w.stdin.close()
            w.wait()
    return {"case": case, "precision": o.precision, "shape": shape, "batch": batch, "tokens": seq, "bar": bar, "rounds": rounds,
            "ratio": statistics.median(r["ratio"] for r in rounds)}


def row(result):
    middle = lambda key: statistics.median(r[key] for r in result["rounds"])
    if "scored" in result["rounds"][0]:
        sdpa, eager = "", f"{middle('scored'):.0f} (scored)"
    else:
        sdpa, eager = f"{middle('sdpa'):.0f}", f"{middle('eager'):.0f}"
    report = lambda key: statistics.median(r["report"][key] for r in result["rounds"])
    return (f"| {result['case']}, {result.get('precision', 'f32')} | {result['shape']} | {result['batch']} × {result['tokens'] or 'real'} | {sdpa} | "
            f"{eager} | {middle('skive'):.0f} | {result['ratio']:.2f} | {result['bar']} | {100 * report('peak_share'):.0f} % | "
            f"{100 * report('outside_gemm_share'):.0f} % |")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--only", default=",".join(CASES), help="cases, separated by commas")
    p.add_argument("--precision", default="f32", choices=["f32", "bf16"])
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--data", default=os.path.join(os.path.dirname(HERE), "..", "shared", "data"))
    p.add_argument("--tokenizer", default=os.environ.get("SKIVE_MINILM", ""))
    p.add_argument("--again", action="store_true", help="measure cases that the output holds, too")
    p.add_argument("-o", "--output", help="JSON file for all figures")
    p.add_argument("--worker", nargs=6, help=argparse.SUPPRESS)
    o = p.parse_args()
    if o.worker:
        torch_worker(*o.worker)
        return
    cases = o.only.split(",")
    for case in cases:
        if case not in CASES:
            p.error(f"--only: {case!r} is none of {', '.join(CASES)}")
        if not CASES[case][2] and not (os.path.isdir(o.data) and o.tokenizer):
            p.error(f"{case} needs --data and --tokenizer")
    results = {}
    if o.output and os.path.exists(o.output):
        with open(o.output) as f:
            results = {(r["case"], r.get("precision", "f32")): r for r in json.load(f)}
    with tempfile.TemporaryDirectory() as scratch:
        skive = os.path.join(scratch, "skive")
        subprocess.run(["go", "build", "-o", skive, "./cmd/skive"], cwd=os.path.dirname(HERE), check=True)
        print("| case | shape | batch | PyTorch SDPA ms | PyTorch eager ms | Skive ms | ratio | bar | of peak | outside GEMM |")
        print("|---" * 10 + "|", flush=True)
        for case in cases:
            key = (case, o.precision)
            if key not in results or o.again:
                results[key] = measure(case, skive, scratch, o)
                if o.output:
                    with open(o.output + ".tmp", "w") as f:
                        json.dump(list(results.values()), f, indent=1)
                    os.replace(o.output + ".tmp", o.output)
            print(row(results[key]), flush=True)


if __name__ == "__main__":
    main()
